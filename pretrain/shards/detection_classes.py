"""How often pretraining saw what detection classes name: hashtags of their synsets and of kinds of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from pretrain.vocabulary import audit, classes, wordnet
from pretrain.vocabulary.classes import Vocabulary
from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core import files, provenance, rows
from wsl_det.errors import DataError, as_words

KIND, SCHEMA = "hashtags-of-classes", 1
_SHOWN = 5


def of(path: str | Path, truth: GroundTruth | None = None) -> dict[str, Any]:
    """The table of the categories of ``truth``, by default COCO's 80; see ``table``.

    path: a shard folder (images with each label, by its dataset.json), a vocab.json (posts), or a table that
    ``expect_gain`` wrote, which is read as it stands, with ``said_in``. Raises DataError for anything else.
    """
    path = Path(path)
    if path.is_file():
        read = files.read_json(path, "vocabulary")
        if isinstance(read, dict) and read.get("kind") == KIND:
            return read | {"said_in": {"path": str(path), "sha256": files.sha256(path)}}
    counted, unit, source = _counted(path)
    if truth is None:
        categories = [(i, name, "") for i, name in enumerate(wordnet.coco_categories(), start=1)]
    else:
        synsets = truth.category_synsets or [""] * len(truth.category_names)
        categories = list(zip(truth.category_ids.tolist(), truth.category_names, synsets, strict=True))
    every = {wnid for entry in counted.classes for wnid in entry.synsets}
    strange = {wnid for wnid in every if wordnet.wnid(wordnet.named(wnid) or 0) != wnid}
    if strange:
        raise DataError(
            f"{path} names synsets that WordNet 3.0 does not have, such as {rows.short(min(strange))}"
        )
    head = provenance.header(KIND, SCHEMA, {"vocabulary": source})
    return head | {"vocabulary": counted.sha256, "counted": unit, "classes": table(counted, categories)}


def table(counted: Vocabulary, categories: Sequence[tuple[int, str, str]]) -> list[dict[str, Any]]:
    """A row for each (id, name, synset or "") of a detection class.

    synsets: wnids, empty where the class could not be mapped, and why these. hashtags: labels of the classes
    of the vocabulary that mean one of the synsets or a kind of it; of one with k meanings, of which m are
    such, m / k (#dog is a cad in one of seven). sure: of those that mean nothing else. covered: whether there
    is any. should_gain: whether hashtags are at least the median over the covered classes; None where the
    class could not be mapped.
    """
    mapped = [_synsets(name, synset) for _, name, synset in categories]
    names = [name for _, name, _ in categories]
    covering = audit.of_categories(counted, names, [offsets for offsets, _ in mapped])
    seen = [row.expected_posts for row in covering]
    enough = median([count for count in seen if count] or [1])
    return [
        {"category_id": i, "name": row.name, "synsets": list(row.wnids), "source": source}
        | {"hashtags": count, "sure": row.sure_posts, "covered": count > 0}
        | {"should_gain": count >= enough if row.wnids else None}
        | {"most": [entry.name for entry in sorted((*row.sure, *row.maybe), key=_by_count)[:_SHOWN]]}
        for (i, _, _), row, count, (_, source) in zip(categories, covering, seen, mapped, strict=True)
    ]


def _by_count(entry: classes.VocabularyClass) -> tuple[int, int]:
    return -entry.count, entry.id


def _synsets(name: str, synset: str) -> tuple[tuple[int, ...], str]:
    """The synsets of a category, as offsets, and where they come from."""
    if synset:
        offset = wordnet.named(synset)
        return ((offset,), f"the annotations say {synset}") if offset else ((), f"no {synset} in WordNet 3.0")
    coco = wordnet.coco_categories().get(name.lower())
    if coco:
        return coco, "the table of COCO's categories"
    senses = wordnet.load_senses().get(name.lower().replace(" ", "_"), ())
    if len(senses) == 1:
        return senses, "the only noun of its name in WordNet 3.0"
    why = (
        f"{len(senses)} nouns of its name in WordNet 3.0" if senses else "no noun of its name in WordNet 3.0"
    )
    return (), f"{why}; a category's synset says which"


def _counted(path: Path) -> tuple[Vocabulary, str, Path]:
    """The vocabulary with what was counted of each class, what that is, and the file that says so."""
    if not path.is_dir():
        return classes.read(path), "posts", path
    source = path / "dataset.json"
    told, vocabulary = (
        files.read_json(source, "data set of a shard folder"),
        classes.read(path / "vocab.json"),
    )
    known = told if isinstance(told, dict) else {}
    counts = known.get("class_counts") or []
    if known.get("vocabulary") != vocabulary.sha256 or not _are_counts(counts, len(vocabulary)):
        raise DataError(
            f"{source} has no class_counts for the {len(vocabulary)} classes of the vocab.json beside it; "
            "copy both from one shard folder, or build the shards again"
        )
    entries = zip(vocabulary.classes, counts, strict=True)
    return (
        replace(vocabulary, classes=tuple(replace(entry, count=count) for entry, count in entries)),
        "images",
        source,
    )


def _are_counts(counts: Any, length: int) -> bool:
    return (
        isinstance(counts, list) and len(counts) == length and all(type(c) is int and c >= 0 for c in counts)
    )


def summary(content: dict[str, Any]) -> list[str]:
    """What a table expects, as lines for a terminal."""
    listed = content["classes"]
    gaining = sorted((row for row in listed if row["should_gain"]), key=lambda row: -row["hashtags"])
    without = [row["name"] for row in listed if row["should_gain"] is not None and not row["covered"]]
    unmapped = [row["name"] for row in listed if row["should_gain"] is None]
    lines = [
        f"{len(listed):>6,} classes, {sum(row['covered'] for row in listed):,} covered by the vocabulary"
    ]
    for what, names in (
        ("should gain most, by their hashtags", [f"{r['name']} {r['hashtags']:,.0f}" for r in gaining]),
        ("are not covered", without),
        ("could not be mapped to a synset", unmapped),
    ):
        if names:
            lines.append(f"{len(names):>6,} {what}: {as_words(names, 12)}")
    return lines
