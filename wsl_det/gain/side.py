"""One side of a comparison: its runs (training seeds) on the test set, matched for one IoU type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.evaluation import detections, matching
from wsl_det.evaluation.match_table import MatchTable
from wsl_det.gain import estimates, measures, mends, pairs
from wsl_det.gain.like_for_like import header_value
from wsl_det.predictions import Predictions

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rows of numbers (N, B) from the columns (S, B) of two sides."""


@dataclass(frozen=True)
class Side:
    """Match tables and, where oracles are asked for, image pairs of the runs of one side.

    units: the runs, by number, that count as one (see ``units``).
    """

    tables: list[MatchTable]
    pairs: list[pairs.ImagePairs]
    units: list[list[int]]


def units(runs: Sequence[Predictions]) -> list[list[int]]:
    """The runs of a side that are one pretraining: fine-tunings of one backbone, by its sha256 in the header.

    Where the runs name fewer than two backbones there is nothing to tell apart, and each is its own.
    """
    named = [header_value(run.meta, "backbone", "sha256") for run in runs]
    several = len(set(named) - {None}) > 1
    found: dict[str | int, list[int]] = {}
    for i, name in enumerate(named):
        found.setdefault(name if several and name else i, []).append(i)
    return list(found.values())


def build(
    runs: Sequence[Predictions],
    truth: GroundTruth,
    shapes: matching.ObjectShapes,
    iou_type: str,
    *,
    oracles: bool = True,
) -> Side:
    """Match every run of a side against the ground truth, once."""
    tables, by_image = [], []
    for run in runs:
        found = detections.align(run, truth, iou_type)
        table = matching.match_aligned(found, shapes, truth, iou_type)
        tables.append(table)
        if oracles:
            by_image.append(pairs.build(table, found, shapes, truth))
    return Side(tables, by_image, units(runs))


@dataclass(frozen=True)
class Numbers:
    """Numbers of one side: of each of its k runs (k, S), and of each under resamples of images (k, S, B).

    S is what ``measures.Layout`` or the subsets of mends lay out. Fine-tunings of one backbone are one run
    here, their mean; ``within`` (S,) is the variance between them, averaged over backbones, if any has two.
    """

    of_runs: np.ndarray
    resampled_runs: np.ndarray
    within: np.ndarray | None = None

    @cached_property
    def mean(self) -> np.ndarray:
        """(S,) the mean over the runs."""
        return self.of_runs.mean(axis=0)

    @cached_property
    def replicates(self) -> np.ndarray:
        """(S, B) the mean over the runs under resamples."""
        if len(self.resampled_runs) == 1:
            return self.resampled_runs[0]
        return self.resampled_runs.mean(axis=0)


def scores(side: Side, weights: np.ndarray, track: measures.Progress) -> Numbers:
    """Levels 1 and 2: the columns of ``measures`` of each run, plain and under resamples."""
    of_runs = np.stack([measures.columns(table)[:, 0] for table in side.tables])
    resampled = np.stack([measures.columns(one, weights, track=track) for one in side.tables])
    return _numbers(of_runs, resampled, side.units)


def mended(side: Side, weights: np.ndarray, overlap: float) -> Numbers:
    """Level 3: AP under each of ``mends.SUBSETS``, likewise; ``overlap`` as from ``mends.foreground``."""
    both = np.concatenate([np.ones((len(weights), 1), dtype=np.uint8), weights], axis=1)
    values = np.stack([mends.values(one, both, overlap) for one in side.pairs])
    return _numbers(values[:, :, 0], values[:, :, 1:], side.units)


def _numbers(of_runs: np.ndarray, resampled: np.ndarray, units: list[list[int]]) -> Numbers:
    several = [unit for unit in units if len(unit) > 1]
    if not several:
        return Numbers(of_runs, resampled)
    within = np.mean([np.var(of_runs[unit], axis=0, ddof=1) for unit in several], axis=0)
    values, replicates = (np.stack([x[unit].mean(axis=0) for unit in units]) for x in (of_runs, resampled))
    return Numbers(values, replicates, within)


def of_runs(one: Numbers, other: Numbers, statistic: Statistic) -> list[estimates.Runs]:
    """For each row of ``statistic`` its values with one run after another standing for its side."""
    values = np.stack([statistic(run[:, None], other.mean[:, None])[:, 0] for run in one.of_runs])
    if len(values) == 1:
        return [estimates.Runs(value) for value in values.T]
    resampled = np.stack([statistic(run, other.replicates) for run in one.resampled_runs])
    return [estimates.runs_of(values[:, i], resampled[:, i]) for i in range(values.shape[1])]
