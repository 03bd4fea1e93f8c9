"""One evaluation from the command line's words to R.json; every process of the job calls ``evaluate``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from pretrain.transfer import backbone, finetune, head, linear, scores
from pretrain.transfer.features import View
from pretrain.transfer.results import Request, Setting
from wsl_det.backbone.sources import Source
from wsl_det.core import dist, files, log, verdicts
from wsl_det.errors import ConfigError

MODES = {"features": linear.measure, "finetune": finetune.measure, "head": head.measure}


def evaluate(request: Request) -> None:
    """Measure and write ``request.output``, whole or not at all; every process calls this."""
    check(request)
    log.setup(None, dist.rank())
    # Our own threads decode; OpenCV's would fight them for the same cores.
    cv2.setNumThreads(1)
    source = request.backbone.read()
    setting = Setting(request, source, _view(request, source), dist.device(request.device, "--device"))
    found = MODES[request.mode](setting)
    if found is not None and dist.is_main():
        files.write_json(request.output, found)
        print(summary(found, request.output), flush=True)


def check(request: Request) -> None:
    """ConfigError for what cannot be honoured, before any process is started or photo read."""
    if request.mode not in MODES:
        raise ConfigError(f"--mode {request.mode}: expected one of {', '.join(MODES)}")
    if (request.verdicts is None) != (request.duplicates is None):
        raise ConfigError(
            "--verdicts FILE and --duplicates exclude|wrong belong together; give both or neither"
        )
    if request.verdicts is not None:
        verdicts.read(request.verdicts)
    if request.output.is_dir():
        raise ConfigError(f"--output {request.output} is a folder; name a file in it")
    if not 0 <= request.skip_budget < 1:
        raise ConfigError(f"--skip-budget is {request.skip_budget}; expected a fraction from 0 to below 1")
    if request.threads < 1:
        raise ConfigError(f"--threads is {request.threads}; expected 1 or more")


def _view(request: Request, source: Source) -> View:
    """Sizes as asked, else those of the pretraining run's own test crop, else 224 from 256."""
    told = backbone.view(source)
    size, resize = told or (View.size, View.resize)
    if request.size is not None and request.resize is None:
        resize = max(request.size, round(request.size * resize / size))
    size = request.size or size
    resize = request.resize or resize
    if not 32 <= size <= resize <= 4096:
        raise ConfigError(f"--size {size} --resize {resize}: expected 32 <= size <= resize <= 4096")
    asked = request.size is not None or request.resize is not None
    why = "as asked" if asked else "as the pretraining run was measured" if told else "the usual test crop"
    log.get("transfer").info("photos: shorter side to %d, centre %d x %d (%s)", resize, size, size, why)
    return View(size, resize, request.amp)


def summary(found: Mapping[str, Any], output: Path) -> str:
    """What a result says, for the terminal."""
    counted = {**found["data"], **found}
    lines = scores.lines(counted)
    seen_ = found["duplicates"]
    if seen_ is not None:
        how = "left out" if seen_["mode"] == "exclude" else "counted as wrong: a lower bound"
        lines.append(f"{seen_['images']} photos seen in training are {how}")
    return "\n".join([*lines, f"wrote {shlex.quote(str(output))}"])
