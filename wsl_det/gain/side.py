"""One side of a comparison: its runs (training seeds) on the test set, matched for one IoU type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wsl_det.evaluation import detections, matching
from wsl_det.evaluation.ground_truth import GroundTruth
from wsl_det.evaluation.match_table import MatchTable
from wsl_det.gain import measures, mends, pairs
from wsl_det.predictions import Predictions


@dataclass(frozen=True)
class Side:
    """Match tables and image pairs of the runs of one side."""

    tables: list[MatchTable]
    pairs: list[pairs.ImagePairs]

    @property
    def num_runs(self) -> int:
        return len(self.tables)


def build(
    runs: Sequence[Predictions], truth: GroundTruth, shapes: matching.ObjectShapes, iou_type: str
) -> Side:
    """Match every run of a side against the ground truth, once."""
    tables, by_image = [], []
    for run in runs:
        found = detections.align(run, truth, iou_type)
        table = matching.match_aligned(found, shapes, truth, iou_type)
        tables.append(table)
        by_image.append(pairs.build(table, found, shapes, truth))
    return Side(tables, by_image)


@dataclass(frozen=True)
class Numbers:
    """Numbers of one side: of each run (k, S), of the mean of its runs (S,), and under resamples (S, B).

    The first axis of ``replicates`` is what ``measures.Layout`` or the subsets of mends lay out.
    """

    of_runs: np.ndarray
    replicates: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(S,) the mean over the runs."""
        return self.of_runs.mean(axis=0)

    def with_run(self, i: int) -> np.ndarray:
        """(S,) run ``i`` standing for the side."""
        return self.of_runs[i]


def scores(side: Side, weights: np.ndarray, track: measures.Progress) -> Numbers:
    """Levels 1 and 2: the columns of ``measures`` for each run and for the mean under resamples."""
    of_runs = np.stack([measures.columns(table)[:, 0] for table in side.tables])
    replicates = sum(measures.columns(table, weights, track=track) for table in side.tables)
    return Numbers(of_runs, np.asarray(replicates) / side.num_runs)


def mended(side: Side, weights: np.ndarray) -> Numbers:
    """Level 3: AP under each of the 32 subsets of mends, likewise."""
    both = np.concatenate([np.ones((len(weights), 1), dtype=np.uint8), weights], axis=1)
    values = [mends.values(one, both) for one in side.pairs]
    of_runs = np.stack([value[:, 0] for value in values])
    return Numbers(of_runs, np.mean([value[:, 1:] for value in values], axis=0))
