"""Verdicts of a duplicate review: which test images were seen in training, by whose judgement.

A verdicts file is what the review page saves: one row for each pair of a test image and a training
image that a person looked at, and a header that names what was searched. Both halves read it:
pretraining leaves the training images out, evaluation leaves the test images out or gives them no
credit. The format stands in ``docs/duplicates.md``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from wsl_det.core import files, provenance, rows
from wsl_det.core.arguments import MODES
from wsl_det.errors import ConfigError, DataError

SCHEMA = 1
KIND = "duplicate verdicts"
YES, NO, UNSURE = "yes", "no", "unsure"
CHOICES = (YES, NO, UNSURE)
_AGAIN = "save it again from review.html"
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_EXPECTED = {
    **dict.fromkeys(("set", "image", "train", "name", "kind", "sha256"), "a text"),
    **dict.fromkeys(("pair", "image_id", "train_row", "images"), "a whole number of 64 bits"),
    **{"score": "a finite number", "verdict": ", ".join(CHOICES)},
}


class SearchedSet(msgspec.Struct, frozen=True):
    """One set of test images that was searched for: its name and the hash that identifies it.

    ``sha256`` is of the annotation file for a COCO set ("coco"), of the sorted image hashes for a
    folder ("folder"), and the data set's own for training images searched for each other ("train").
    """

    name: str
    kind: str
    sha256: str
    images: _Whole


class Judged(msgspec.Struct, frozen=True):
    """One judged pair. ``image`` names the test image in its set (``image_id`` too for COCO sets)."""

    pair: _Whole
    set: str
    image: str
    image_id: _Whole | None
    train: str  # key of the training image
    train_row: _Whole  # its number in the shard folder's index
    score: Annotated[float, msgspec.Meta(ge=-(2.0**63), le=2.0**63)]
    verdict: Literal["yes", "no", "unsure"]


@dataclass(frozen=True)
class Verdicts:
    """A verdicts file, checked; ``pairs`` is how many pairs there were to judge."""

    path: Path
    sha256: str
    reader: str
    candidates: str
    train_sha256: str
    sets: tuple[SearchedSet, ...]
    pairs: int
    rows: tuple[Judged, ...]

    def counts(self) -> dict[str, int]:
        """How many pairs were judged yes, no, unsure, and not at all."""
        given = Counter[str](row.verdict for row in self.rows)
        return {**{choice: given[choice] for choice in CHOICES}, "unjudged": self.pairs - len(self.rows)}

    def duplicates(self) -> list[Judged]:
        """The pairs judged yes."""
        return [row for row in self.rows if row.verdict == YES]

    def ancestry(self) -> dict[str, Any]:
        """What a header says about these verdicts."""
        facts = {"path": str(self.path), "sha256": self.sha256, "reader": self.reader}
        return {**facts, "candidates": self.candidates, **self.counts()}


def read(path: str | Path) -> Verdicts:
    """The verdicts in a file; raises DataError for what is no such file, or not a whole one."""
    path = Path(path)
    value = files.read_json(path, "verdicts file")
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise DataError(f"{path} is no verdicts file; expected what review.html saves (kind {KIND!r})")
    if value.get("schema") != SCHEMA:
        raise DataError(f"{path} has schema {value.get('schema')!r}; this version reads {SCHEMA}")
    where = f"{path} is no whole verdicts file ({_AGAIN})"
    try:
        made = value["made_from"]
        texts = (value["reader"], made["candidates"]["sha256"], made["train"]["sha256"])
        reader, candidates, train = msgspec.convert(texts, tuple[str, str, str])
        pairs = msgspec.convert(value["pairs"], _Whole)
        sets = rows.typed(value["sets"], SearchedSet, lambda at, _: f"{where}: set {at}", _EXPECTED)
        judged = [{"image_id": None, **row} for row in value["verdicts"]]
        given = rows.typed(judged, Judged, lambda at, _: f"{where}: verdict {at}", _EXPECTED)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{where}: {what}") from None
    sha256 = files.sha256(path)
    found = Verdicts(path, sha256, reader, candidates, train, tuple(sets), pairs, tuple(given))
    _check(found)
    return found


def _check(found: Verdicts) -> None:
    names = {one.name for one in found.sets}
    seen: set[int] = set()
    for row in found.rows:
        if row.set not in names:
            raise DataError(f"{found.path}: pair {row.pair} is of set {row.set!r}, not among {sorted(names)}")
        if not 0 <= row.pair < found.pairs:
            raise DataError(f"{found.path}: there is no pair {row.pair} among {found.pairs}; {_AGAIN}")
        if row.pair in seen:
            raise DataError(f"{found.path}: pair {row.pair} is judged twice; {_AGAIN}")
        seen.add(row.pair)


def check_mode(mode: str) -> str:
    """``mode``, when it is a way to treat duplicates; ConfigError otherwise."""
    if mode not in MODES:
        raise ConfigError(f"duplicates {mode!r}: expected {' or '.join(MODES)}")
    return mode


def image_ids(verdicts: Verdicts, gt_sha256: str, known: NDArray[np.int64], source: str) -> list[int]:
    """Ids of the images of an annotation file that are duplicates, ascending, each once.

    ``gt_sha256`` and ``known`` (its image ids) must be those of a COCO set that was searched;
    DataError otherwise, so that verdicts about one test set are never applied to another.
    """
    mine = {one.name for one in verdicts.sets if one.kind == "coco" and one.sha256 == gt_sha256}
    if not mine:
        searched = ", ".join(f"{one.name} ({one.kind}, sha256 {one.sha256[:12]})" for one in verdicts.sets)
        raise DataError(
            f"{verdicts.path} is about other images than {source} (sha256 {gt_sha256[:12]}): it judges "
            f"{searched}; search this annotation file with wsl-det find_duplicates --against"
        )
    there = set(known.tolist())
    rows = [row for row in verdicts.rows if row.set in mine]
    for row in rows:
        if row.image_id not in there:
            raise DataError(
                f"{verdicts.path}: pair {row.pair} judges image {row.image_id} ({row.image}), which "
                f"{source} does not have; {_AGAIN}"
            )
    return sorted({row.image_id for row in rows if row.verdict == YES and row.image_id is not None})


def accuracy(correct: NDArray[np.bool_], duplicate: NDArray[np.bool_], mode: str) -> float:
    """Share of right answers, in [0, 1], with duplicates left out or, "wrong", counted as errors.

    ``correct`` and ``duplicate`` (N,) of each test image. Counting duplicates as errors is the lower
    bound of Mahajan et al. (2018). NaN when no image is left.
    """
    check_mode(mode)
    if correct.shape != duplicate.shape or correct.ndim != 1:
        raise DataError(
            f"{correct.shape} answers and {duplicate.shape} duplicate marks; expected one of each an image"
        )
    credit = correct & ~duplicate
    images = len(correct) if mode == "wrong" else int((~duplicate).sum())
    return float(credit.sum() / images) if images else float("nan")


def agreement(a: Verdicts, b: Verdicts) -> dict[str, Any]:
    """How far two readers agree on the pairs that both judged.

    ``raw`` is the share of equal verdicts, ``kappa`` Cohen's (1960): 0 is what their habits alone
    would give, 1 full agreement, None where it is undefined (nothing in common, or both readers gave
    one and the same verdict throughout). ``table[i][j]`` counts verdict i of ``a`` with j of ``b``.
    """
    same_review(a, b)
    other = {row.pair: row.verdict for row in b.rows}
    common = [(row, other[row.pair]) for row in a.rows if row.pair in other]
    table = np.zeros((len(CHOICES), len(CHOICES)), dtype=np.int64)
    for ours, theirs in common:
        table[CHOICES.index(ours.verdict), CHOICES.index(theirs)] += 1
    n = len(common)
    raw = float(np.trace(table) / n) if n else None
    chance = float((table.sum(1) * table.sum(0)).sum() / n**2) if n else 1.0
    kappa = None if raw is None or chance == 1.0 else (raw - chance) / (1.0 - chance)
    return {
        "judged_by_both": n,
        "raw": raw,
        "kappa": kappa,
        "choices": list(CHOICES),
        "table": table.tolist(),
        "disagreements": [ours.pair for ours, theirs in common if ours.verdict != theirs],
    }


def same_review(a: Verdicts, b: Verdicts) -> None:
    """Raise DataError unless both files judge the same list of pairs."""
    if a.candidates != b.candidates:
        raise DataError(
            f"{a.path} and {b.path} judge different lists of pairs (sha256 {a.candidates[:12]} and "
            f"{b.candidates[:12]}); both readers need the review.html of one search"
        )


def settled(a: Verdicts, b: Verdicts) -> list[Judged]:
    """The verdicts of two readers as one list: equal ones stand, all others are unsure.

    A pair that only one of them judged is unsure too.
    """
    same_review(a, b)
    given: dict[int, list[Judged]] = {}
    for row in (*a.rows, *b.rows):
        given.setdefault(row.pair, []).append(row)
    alike = {pair: len(both) == 2 and both[0].verdict == both[1].verdict for pair, both in given.items()}
    return [
        both[0] if alike[pair] else msgspec.structs.replace(both[0], verdict=UNSURE)
        for pair, both in sorted(given.items())
    ]


def write_settled(path: str | Path, a: Verdicts, b: Verdicts) -> None:
    """Write what two readers settled as a verdicts file, whole or not at all."""
    rows = settled(a, b)
    head = provenance.header(KIND, SCHEMA, {"first": a.path, "second": b.path})
    head["made_from"] |= {"candidates": {"sha256": a.candidates}, "train": {"sha256": a.train_sha256}}
    rest = {
        "reader": f"{a.reader} and {b.reader}",
        "sets": msgspec.to_builtins(a.sets),
        "pairs": a.pairs,
        "verdicts": msgspec.to_builtins(rows),
    }
    files.write_json(path, head | rest)
