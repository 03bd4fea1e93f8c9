"""Feature transfer: the trunk stays as it is, a linear classifier is fitted to its features."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from pretrain.duplicates.sources import manifest
from pretrain.transfer import features, folders, results, scores, strength
from pretrain.transfer.backbone import Network
from pretrain.transfer.folders import Folders
from pretrain.transfer.logistic import Problem, Scaling
from pretrain.transfer.results import Setting
from pretrain.workers.outputs import Outputs
from wsl_det.core import dist, log, seed
from wsl_det.errors import DataError


def measure(setting: Setting) -> dict[str, Any] | None:
    """The result of feature transfer; None on the other processes, which only make features."""
    request = setting.request
    grid = strength.check_grid(request.strengths or strength.GRID)
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
        names = folders.shown([data.classes[int(i)] for i in lost])
        raise DataError(f"{len(lost)} classes have no readable train photo: {names}; repair them")
    began = time.process_time()
    rng = seed.numpy_generator("transfer split", request.seed)
    chosen = strength.choose(
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
        "choice": chosen.record(),
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
