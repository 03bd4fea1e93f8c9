"""Feature transfer: the trunk stays as it is, a linear classifier is fitted to its features.

The strength of its penalty is chosen on a part of the training images; val images are never asked.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pretrain.duplicates.sources import manifest
from pretrain.transfer import features, folders, logistic, prepare, results, scores
from pretrain.transfer.backbone import Network
from pretrain.transfer.folders import Folders
from pretrain.transfer.logistic import Fit, Problem, Scaling
from pretrain.transfer.results import Setting
from pretrain.workers.outputs import Outputs
from wsl_det.core import dist, log, seed
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
    tried: list[Tried] = []
    fits: dict[float, Fit] = {}
    last: Fit | None = None
    worse = 0
    for strength in log.progress(ordered[::-1], len(ordered), "strengths"):
        last = fits[strength] = _rough(problem, strength, last)
        tried.append(_try(last, check))
        worse = worse + 1 if tried[-1] is not max(tried, key=_rank) else 0
        if worse >= _PATIENCE:
            break
    best = max(tried, key=_rank)
    border = {ordered[0]: "weakest", ordered[-1]: "strongest"}.get(best.strength)
    place = ordered.index(best.strength)
    for other in (ordered[i] for i in (place - 1, place + 1) if 0 <= i < len(ordered)):
        between = float(np.sqrt(best.strength * other))
        tried.append(_try(_rough(problem, between, fits[best.strength]), check))
    best = max(tried, key=_rank)
    if border is not None:
        told = "the best strength, %g, is the %s of --strengths: a wider grid may do better"
        log.get("transfer").warning(told, best.strength, border)
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


def measure(setting: Setting) -> dict[str, Any] | None:
    """The result of feature transfer; None on the other processes, which only make features."""
    request = setting.request
    grid = check_grid(request.strengths or GRID)
    data = folders.open_folders(request.data)
    network = Network(setting.source).frozen(setting.device)
    with features.cache_folder(request.cache) as folder:
        places = [
            results.outputs(setting, network, split, f"features ({what})", folder)
            for split, what in ((data.train, "train"), (data.val, "val"))
        ]
        # The fit is one process's: the others are done.
        if not dist.is_main():
            return None
        train, val = (features.load(s, p) for s, p in zip((data.train, data.val), places, strict=True))
    return fitted(setting, data, train, val, grid)


def fitted(
    setting: Setting, data: Folders, train: Outputs, val: Outputs, grid: tuple[float, ...]
) -> dict[str, Any]:
    """Choose the strength on a part of train, fit on all of train, answer val."""
    request = setting.request
    results.check_readable(train, data.train, "train", request.skip_budget)
    results.check_readable(val, data.val, "val", request.skip_budget)
    usable = train.usable
    x, y = train.vectors[usable], data.train.labels[usable]
    lost = np.setdiff1d(np.arange(len(data.classes)), y)
    if len(lost):
        names = prepare.shown([data.classes[int(i)] for i in lost])
        raise DataError(f"{len(lost)} classes have no readable train photo: {names}; repair them")
    began = time.process_time()
    rng = seed.numpy_generator("transfer split", request.seed)
    chosen = choose(
        x,
        y,
        len(data.classes),
        grid=grid,
        share=request.check_share,
        seed_rng=rng,
        seed=request.seed,
        device=setting.device,
    )
    scaling = Scaling.of(x)
    fit = Problem(scaling(x), y, len(data.classes), device=setting.device).fit(chosen.strength)
    if not fit.converged:
        log.get("transfer").warning(
            "L-BFGS ended with a gradient of %.1e after %d evaluations", fit.gradient, fit.evaluations
        )
    top = scores.best(fit.scores(scaling(val.vectors)), val.usable)
    more = {
        "fit": {
            "method": "multinomial logistic regression, L2, L-BFGS",
            "objective": "mean cross-entropy + strength / 2 * sum of squared weights, bias free",
            "scaling": "features centred, divided by one number (their root mean variance), train only",
            "features": int(x.shape[1]),
            "strength": fit.strength,
            "train_images": len(x),
            "train_unreadable": len(train.unreadable),
            "loss": fit.loss,
            "gradient": fit.gradient,
            "evaluations": fit.evaluations,
            "converged": fit.converged,
            "cpu_seconds": round(time.process_time() - began, 2),
        },
        "choice": asdict(chosen),
    }
    return results.result(
        setting,
        answers=scores.Answers(data.val.labels, top),
        classes=data.classes,
        val=data.val,
        rows=val,
        more=more,
        made_from={"train": f"sha256:{manifest(data.train.names, train.hashes)}"},
    )
