"""The strength of the penalty, chosen on a part of the training images; val images are never asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pretrain.transfer import folders, logistic
from pretrain.transfer.logistic import Fit, Problem, Scaling
from wsl_det.core import log
from wsl_det.errors import ConfigError, DataError

GRID = tuple(10.0**power for power in range(-6, 2))
# Weaker penalties take longest; after this many in a row that were worse the rest are not tried.
_PATIENCE = 2
_ITERATIONS = 100  # of a search that only compares


@dataclass(frozen=True)
class Tried:
    """One strength: top-1 accuracy (percent) and mean loss (nats) on the images left for checking."""

    strength: float
    top1: float
    loss: float
    gradient: float
    evaluations: int
    converged: bool


@dataclass(frozen=True)
class Choice:
    """The chosen strength and how it came about; ``border`` is "strongest", "weakest" or None."""

    strength: float
    tried: tuple[Tried, ...]
    grid: tuple[float, ...]
    border: str | None
    fitted_on: int
    checked_on: int
    seed: int

    def record(self) -> dict[str, Any]:
        """Plain values for a result file."""
        return {**asdict(self), "tried": [asdict(one) for one in self.tried], "grid": list(self.grid)}


def check_grid(grid: Sequence[float]) -> tuple[float, ...]:
    """Strengths in ascending order, each once; ConfigError for what is no positive number."""
    bad = [value for value in grid if not 0 < value < float("inf")]
    if bad or not grid:
        raise ConfigError(f"--strengths {' '.join(map(str, grid))}: expected numbers above 0")
    return tuple(sorted(set(grid)))


def choose(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    *,
    grid: Sequence[float] = GRID,
    share: float = 0.1,
    seed_rng: np.random.Generator,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Choice:
    """The strength of ``grid`` with the best accuracy on a stratified part of the training images.

    From strong to weak, each starting where the last ended; equal accuracies: the smaller loss. Then
    the two values half a step (of the grid, in logarithms) beside the best one are tried as well.
    """
    ordered = check_grid(grid)
    if len(ordered) == 1:
        return Choice(ordered[0], (), ordered, None, len(labels), 0, seed)
    fit_rows, check_rows = _split(labels, num_classes, share, seed_rng)
    scaling = Scaling.of(features[fit_rows])
    problem = Problem(scaling(features[fit_rows]), labels[fit_rows], num_classes, device=device)
    check = (scaling(features[check_rows]), labels[check_rows])
    tried, fits = _coarse(problem, check, ordered)
    best = max(tried, key=_rank)
    border = {ordered[0]: "weakest", ordered[-1]: "strongest"}.get(best.strength)
    for between in _beside(ordered, best.strength):
        tried.append(_try(_rough(problem, between, fits[best.strength]), check))
    best = max(tried, key=_rank)
    if border is not None:
        log.get("transfer").warning(
            "the best strength, %g, is the %s of --strengths: a wider grid may do better",
            best.strength,
            border,
        )
    done = tuple(sorted(tried, key=lambda one: one.strength))
    return Choice(best.strength, done, ordered, border, len(fit_rows), len(check_rows), seed)


def _split(
    labels: NDArray[np.int64], num_classes: int, share: float, rng: np.random.Generator
) -> tuple[folders.Ints, folders.Ints]:
    if not 0 < share < 1:
        raise ConfigError(f"--check-share is {share}; expected a fraction between 0 and 1")
    if int(np.bincount(labels, minlength=num_classes).max()) < 2:
        raise DataError(
            f"{len(labels)} training images of {num_classes} classes, one each: there is nothing to choose "
            "the strength on; give one value: --strengths 0.01"
        )
    return folders.stratified(labels, share, rng)


def _coarse(
    problem: Problem, check: tuple[NDArray[np.float32], NDArray[np.int64]], grid: tuple[float, ...]
) -> tuple[list[Tried], dict[float, Fit]]:
    tried: list[Tried] = []
    fits: dict[float, Fit] = {}
    last: Fit | None = None
    worse = 0
    for strength in log.progress(grid[::-1], len(grid), "strengths"):
        last = fits[strength] = _rough(problem, strength, last)
        tried.append(_try(last, check))
        worse = worse + 1 if tried[-1] is not max(tried, key=_rank) else 0
        if worse >= _PATIENCE:
            break
    return tried, fits


def _rough(problem: Problem, strength: float, start: Fit | None) -> Fit:
    """Near enough to the minimum to compare accuracies by."""
    return problem.fit(strength, start, tolerance=logistic.ROUGH, iterations=_ITERATIONS)


def _try(fit: Fit, check: tuple[NDArray[np.float32], NDArray[np.int64]]) -> Tried:
    scores = torch.from_numpy(fit.scores(check[0])).double()
    labels = torch.from_numpy(check[1])
    loss = float(torch.nn.functional.cross_entropy(scores, labels))
    top1 = 100 * float((scores.argmax(1) == labels).double().mean())
    return Tried(fit.strength, top1, loss, fit.gradient, fit.evaluations, fit.converged)


def _rank(one: Tried) -> tuple[float, float]:
    return one.top1, -one.loss


def _beside(grid: tuple[float, ...], best: float) -> list[float]:
    place = grid.index(best)
    around = [grid[i] for i in (place - 1, place + 1) if 0 <= i < len(grid)]
    return [float(np.sqrt(best * other)) for other in around]
