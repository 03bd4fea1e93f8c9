"""vocab.html: the audit of a vocabulary as one self-contained file that a person reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain.posts.records import Ledger
from pretrain.vocabulary import audit, audit_coverage, audit_plot
from pretrain.vocabulary import build as vocabulary_builder
from pretrain.vocabulary.build import Selection
from pretrain.vocabulary.classes import Vocabulary
from pretrain.vocabulary.hashtags import Resolver
from pretrain.vocabulary.label_quality import Quality
from pretrain.vocabulary.tally import Tally
from wsl_det.core import figures, files, pages

_WORST = 30


@dataclass(frozen=True)
class Made:
    """A vocabulary and what was met while it was made."""

    built: Vocabulary
    tally: Tally
    ledger: Ledger
    selection: Selection
    resolver: Resolver
    quality: Quality | None = None  # when the posts' truth is known


def write(path: str | Path, made: Made) -> None:
    """Write the page, whole or not at all."""
    files.write_text(path, render(made))


def render(made: Made) -> str:
    """The page as HTML."""
    return pages.load("vocab.html", Path(__file__).parent).render(facts(made))


def facts(made: Made) -> dict[str, Any]:
    """Everything the page shows."""
    built, tally = made.built, made.tally
    in1k = audit_coverage.of_in1k(built)
    ranked = sorted(built.classes, key=lambda entry: (-entry.count, entry.id))
    counts = [entry.count for entry in ranked if entry.count]
    unknown = sorted(tally.unknown.counts.values(), reverse=True)
    curves = [(figures.OCHRE, unknown), (figures.BLUE, counts)]
    return {
        "vocabulary": built,
        "tally": tally,
        "skipped": made.ledger.summary(),
        "labels": sum(counts),
        "ranked": ranked,
        "head_share": _head_share(counts),
        "plot": audit_plot.zipf(curves),
        "spoken": audit.spoken(built, tally, made.resolver),
        "discarded": audit.discarded(built, tally, made.selection),
        "merged": audit.merged(built, tally),
        "polysemous": audit.polysemous(built),
        "collisions": audit.collisions(built, tally, made.resolver),
        "in1k": in1k,
        "in1k_sure": [row for row in in1k if row.sure],
        "in1k_maybe": [row for row in in1k if row.maybe and not row.sure],
        "in1k_none": [row for row in in1k if not row.sure and not row.maybe],
        "coco": audit_coverage.of_coco(built),
        "counts": vocabulary_builder.summary(tally),
        "quality": made.quality,
        "worst": _worst(made.quality),
    }


def _head_share(counts: list[int]) -> float:
    """The share of labels that the most frequent tenth of the posted classes has."""
    return sum(counts[: max(1, len(counts) // 10)]) / max(1, sum(counts))


def _worst(quality: Quality | None) -> list[tuple[audit.Meaning, int, int]]:
    """The synsets of the truth of which the smallest share of posts was found: synset, found, posts."""
    if quality is None:
        return []
    shares = ((quality.found_of[wnid] / posts, -posts, wnid) for wnid, posts in quality.posts_of.items())
    return [
        (audit.meaning(wnid), quality.found_of[wnid], -posts) for _, posts, wnid in sorted(shares)[:_WORST]
    ]
