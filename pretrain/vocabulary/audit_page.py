"""vocab.html: the audit of a vocabulary as one self-contained file that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pretrain.posts.records import Ledger
from pretrain.vocabulary import audit
from pretrain.vocabulary import build as vocabulary_builder
from pretrain.vocabulary.audit import Quality
from pretrain.vocabulary.build import Selection
from pretrain.vocabulary.classes import Vocabulary
from pretrain.vocabulary.counting import Tally
from pretrain.vocabulary.hashtags import Resolver
from wsl_det.core import figures, pages
from wsl_det.core.figures import Drawing

_WORST = 30
Curve = tuple[str, Sequence[int]]  # colour, and numbers in descending order
_POINTS = 240


@dataclass(frozen=True)
class Made:
    """A vocabulary and what was met while it was made."""

    built: Vocabulary
    tally: Tally
    ledger: Ledger
    selection: Selection
    resolver: Resolver
    quality: Quality | None = None  # when the posts' truth is known


def render(made: Made) -> str:
    """The page as HTML."""
    return pages.load("vocab.html", Path(__file__).parent).render(facts(made))


def facts(made: Made) -> dict[str, Any]:
    """Everything the page shows."""
    built, tally = made.built, made.tally
    in1k = audit.of_in1k(built)
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
        # Of the labels, what the most frequent tenth of the posted classes has.
        "head_share": sum(counts[: max(1, len(counts) // 10)]) / max(1, sum(counts)),
        "plot": zipf(curves),
        "spoken": audit.spoken(built, tally, made.resolver),
        "discarded": audit.discarded(built, tally, made.selection),
        "merged": audit.merged(built, tally),
        "polysemous": audit.polysemous(built),
        "collisions": audit.collisions(built, tally, made.resolver),
        "in1k": in1k,
        "in1k_sure": [row for row in in1k if row.sure],
        "in1k_maybe": [row for row in in1k if row.maybe and not row.sure],
        "in1k_none": [row for row in in1k if not row.sure and not row.maybe],
        "coco": audit.of_coco(built),
        "counts": vocabulary_builder.summary(tally),
        "quality": made.quality,
        "worst": _worst(made.quality),
    }


def _worst(quality: Quality | None) -> list[tuple[audit.Meaning, int, int]]:
    """The synsets of the truth of which the smallest share of posts was found: synset, found, posts."""
    if quality is None:
        return []
    shares = ((quality.found_of[wnid] / posts, -posts, wnid) for wnid, posts in quality.posts_of.items())
    return [
        (audit.meaning(wnid), quality.found_of[wnid], -posts) for _, posts, wnid in sorted(shares)[:_WORST]
    ]


def zipf(curves: Sequence[Curve]) -> Drawing:
    """The curves for a page."""
    return figures.drawing("zipf", curves, _draw)


def _draw(curves: Sequence[Curve], narrow: bool) -> Figure:
    figure = Figure(figsize=(3.6, 2.9) if narrow else (7, 3), layout="constrained")
    axes = figure.subplots()
    for colour, numbers in curves:
        # Ranks spread evenly in logarithms, the first and the last among them.
        ranks = np.unique(np.geomspace(1, max(len(numbers), 1), _POINTS).round().astype(int))
        shown = [rank for rank in ranks if rank <= len(numbers) and numbers[rank - 1] > 0]
        # A single class has a place but no line.
        mark = "o" if len(shown) == 1 else None
        axes.plot(shown, [numbers[rank - 1] for rank in shown], color=colour, lw=1.8, marker=mark)
    most = max((numbers[0] for _, numbers in curves if numbers), default=1)
    axes.set(xscale="log", yscale="log", xlabel="rank", ylabel="how often")
    axes.set(xlim=(1, _decade(max(len(numbers) for _, numbers in curves))), ylim=(1, _decade(most)))
    for axis in (axes.xaxis, axes.yaxis):  # plain numbers: powers would be formulas
        axis.set_major_formatter("{x:,.0f}")
        axis.set_minor_formatter("")
    figures.bare(axes, "both")
    return figure


def _decade(number: int) -> int:
    """The power of ten at or above a number, 10 at least."""
    return int(10 ** max(1, np.ceil(np.log10(max(number, 1)))))
