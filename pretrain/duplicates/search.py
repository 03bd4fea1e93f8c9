"""The search: every test image against every training image, and the line between copy and stranger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretrain.duplicates import calibration, describing, neighbours, rmac
from pretrain.duplicates.calibration import EDITS, Plant, Planted
from pretrain.duplicates.describing import Crew, Unit, Work
from pretrain.duplicates.neighbours import Neighbours
from pretrain.duplicates.rmac import Settings, Vectors
from pretrain.duplicates.sources import Images, TestImages, TrainImages
from pretrain.workers import mapping, outputs
from pretrain.workers.outputs import Outputs
from wsl_det.core import seed as seeds
from wsl_det.core.verdicts import SearchedSet
from wsl_det.errors import ConfigError, DataError


@dataclass(frozen=True)
class Options:
    """How to search. ``planted`` copies of each kind calibrate the threshold of each set, unless it is given.

    ``recall`` is the mean over the kinds of edit that the threshold shall reach. ``self_search`` is
    "exact" or "faiss", for training images against each other.
    """

    settings: Settings = field(default_factory=Settings)
    neighbours: int = neighbours.K
    planted: int = 200
    recall: float = 0.95
    threshold: float | None = None
    workers: int | None = None
    device: str = "cpu"
    cache: Path | None = None
    seed: int = 0
    self_search: str = "exact"

    def __post_init__(self) -> None:
        mapping.num_workers(self.workers)
        if not 0 < self.recall <= 1:
            raise ConfigError(f"--recall {self.recall}: expected a share above 0, at most 1")
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise ConfigError(f"--threshold {self.threshold}: a score is a cosine, -1 to 1")
        if self.planted < 0 or (self.planted == 0 and self.threshold is None):
            raise ConfigError(
                f"--planted {self.planted}: without planted copies there is nothing to calibrate on; "
                "give 20 or more, or your own --threshold"
            )


@dataclass
class QuerySet:
    """One set of images that was searched for, with its descriptors and what was found.

    ``usable`` are the rows of ``images`` that decode; ``views`` the descriptors of them, one array for
    each flip; ``scores`` and ``rows`` (usable, k) the neighbours, -1 where there are fewer than k.
    """

    searched: SearchedSet
    images: Images
    usable: NDArray[np.int64]
    views: tuple[Vectors, ...]
    rejected: dict[int, str]
    ids: tuple[int, ...] = ()
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))


@dataclass
class Found:
    """A finished search: sets with neighbours, training images that do not decode, calibration by set."""

    sets: list[QuerySet]
    train: TrainImages
    train_rejected: dict[int, str]
    thresholds: dict[str, float]
    calibration: dict[str, dict[str, object]]


def search(train: TrainImages, tests: Sequence[TestImages], work: Work, options: Options) -> Found:
    """Search all test sets in one pass over the training images; without sets, these for each other.

    Then a pair is (earlier, later) and found once, and all descriptors, of both flips, are in memory.
    """
    with Crew(work, mapping.num_workers(options.workers)) as crew:
        found = _search(train, tests, crew, options) if tests else _search_itself(train, crew, options)
        return _calibrate(found, crew, options)


def _search(train: TrainImages, tests: Sequence[TestImages], crew: Crew, options: Options) -> Found:
    sets = [_describe_set(one, crew) for one in tests]
    # One array for all sets: each training image is multiplied once.
    every = Neighbours(
        [np.concatenate(flip) for flip in zip(*(s.views for s in sets), strict=True)], options.neighbours
    )
    rejected: dict[int, str] = {}
    for part in _train_units(train, crew):
        rejected |= part.unreadable
        every.add(part.vectors[part.usable], part.rows[part.usable])
    _all_unreadable(len(rejected), len(train), f"the shards in {train.folder}")
    start = 0
    for one in sets:
        stop = start + len(one.usable)
        one.scores, one.rows = every.scores[start:stop], every.rows[start:stop]
        start = stop
    return Found(sets, train, rejected, {}, {})


def _search_itself(train: TrainImages, crew: Crew, options: Options) -> Found:
    plain, flipped = (outputs.joined(list(_train_units(train, crew, flip=flip))) for flip in (False, True))
    rejected = plain.unreadable
    _all_unreadable(len(rejected), len(train), f"the shards in {train.folder}")
    usable = plain.rows[plain.usable]
    views = tuple(view.vectors[view.usable] for view in (plain, flipped))
    found = neighbours.among_themselves(views, usable, options.neighbours, options.self_search)
    searched = SearchedSet("train", "train", train.posts.sha256, len(train))
    one = QuerySet(searched, train, usable, views, {}, scores=found.scores, rows=found.rows)
    return Found([one], train, rejected, {}, {})


def _train_units(train: TrainImages, crew: Crew, *, flip: bool = False) -> Iterator[Outputs]:
    identity = rmac.identity(rmac.backbone_sha256(crew.work.backbone), crew.work.settings)
    # The folder in a cache for descriptors of one kind of one data set.
    text = json.dumps(identity, sort_keys=True) + train.posts.sha256
    stored = hashlib.sha256(text.encode()).hexdigest()[:32]
    units = describing.units(train, range(len(train)), flip=flip, stored=stored)
    what = "training images, flipped" if flip else "training images"
    return crew.describe(units, f"{what}, {describing.UNIT} at a time")


def _describe_set(test: TestImages, crew: Crew) -> QuerySet:
    views = []
    for flip in (False, True):
        units = describing.units(test, range(len(test)), flip=flip)
        what = f"{test.name}{', flipped' if flip else ''}, {describing.UNIT} at a time"
        views.append(outputs.joined(list(crew.describe(units, what))))
    first, rejected = views[0], views[0].unreadable
    _all_unreadable(len(rejected), len(test), f"set {test.name}", next(iter(rejected.values()), ""))
    vectors = tuple(view.vectors[view.usable] for view in views)
    return QuerySet(test.searched(first.hashes), test, first.rows[first.usable], vectors, rejected, test.ids)


def _all_unreadable(rejected: int, images: int, where: str, reason: str = "") -> None:
    if rejected == images:
        why = f" ({reason})" if reason else ""
        raise DataError(f"none of the {images} images of {where} can be read{why}; nothing can be searched")


def _calibrate(found: Found, crew: Crew, options: Options) -> Found:
    mates = _class_mates(found, crew, options)
    for one in found.sets:
        planted = _plant(one, crew, options)
        threshold = options.threshold
        given = threshold is not None
        if threshold is None:
            threshold = calibration.choose(planted, options.recall)
        found.thresholds[one.searched.name] = threshold
        found.calibration[one.searched.name] = calibration.record(
            planted, mates, threshold=threshold, target=options.recall, given=given
        )
    return found


def _plant(one: QuerySet, crew: Crew, options: Options) -> Planted:
    """Edited copies of a sample of the set, as if they lay in the shards, scored with their originals."""
    rng = seeds.numpy_generator("planted", options.seed, one.searched.name)
    number = min(options.planted, len(one.usable))
    sample = np.sort(rng.choice(len(one.usable), number, replace=False))
    scores, kth = {}, {}
    for kind in EDITS if number else ():
        plant = Plant(kind, options.seed)
        rows = tuple(one.usable[sample].tolist())
        units = [Unit(one.images, rows[i : i + 64], change=plant) for i in range(0, number, 64)]
        parts = crew.describe(units, f"planted copies, {kind}")
        copies = np.concatenate([part.vectors for part in parts])
        scores[kind] = calibration.pair_scores(tuple(view[sample] for view in one.views), copies)
        kth[kind] = one.scores[sample, -1]
    return Planted(scores, kth)


def _class_mates(found: Found, crew: Crew, options: Options) -> NDArray[np.float32]:
    """Scores of pairs of training images that share a hashtag; known duplicates among them are left in."""
    rng = seeds.numpy_generator("class mates", options.seed)
    pairs = calibration.class_mates(found.train.posts, options.planted, rng)
    rows = sorted(set(pairs.ravel().tolist()) - set(found.train_rejected))
    views = [_vectors(found.train, rows, crew, flip=flip) for flip in (False, True)]
    kept = [(int(a), int(b)) for a, b in pairs if a in views[0] and b in views[0]]
    if not kept:
        return np.zeros(0, dtype=np.float32)
    first = tuple(np.stack([view[a] for a, _ in kept]) for view in views)
    return calibration.pair_scores(first, np.stack([views[0][b] for _, b in kept]))


def _vectors(train: TrainImages, rows: Sequence[int], crew: Crew, *, flip: bool) -> dict[int, Vectors]:
    units = [Unit(train, tuple(rows[i : i + 64]), flip) for i in range(0, len(rows), 64)]
    return {
        int(row): vector
        for part in crew.describe(units, "pairs of the same class")
        for row, vector, usable in zip(part.rows, part.vectors, part.usable, strict=True)
        if usable
    }
