"""One evaluation from the command line's words to R.json; every process of the job calls ``evaluate``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pretrain.duplicates.sources import manifest
from pretrain.transfer import ancestry, features, scores, seen
from pretrain.transfer.backbone import Named, Network
from pretrain.transfer.features import Rows, View
from pretrain.transfer.folders import Split
from wsl_det.backbone.sources import Source
from wsl_det.core import dist, files, log, provenance, verdicts
from wsl_det.errors import ConfigError, DataError

KIND, SCHEMA = "classification transfer", 1
MODES = ("features", "finetune", "head")
_LISTED = 50


@dataclass(frozen=True)
class Request:
    """What is asked, in plain values; ``None`` leaves a choice to what the backbone says of itself."""

    backbone: Named
    data: Path
    output: Path
    mode: str = "features"
    size: int | None = None
    resize: int | None = None
    cache: Path | None = None
    verdicts: Path | None = None
    duplicates: str | None = None
    device: str = "cpu"
    amp: str = "none"
    threads: int = 2
    seed: int = 0
    check_share: float = 0.1
    skip_budget: float = 0.01
    strengths: Sequence[float] = ()
    vocabulary: Path | None = None
    finetune: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """A request with what it names opened: what every mode needs."""

    request: Request
    source: Source
    view: View
    device: torch.device


def evaluate(request: Request) -> None:
    """Measure and write ``request.output``, whole or not at all; every process calls this."""
    check(request)
    log.setup(None, dist.rank())
    # Our own threads decode; OpenCV's would fight them for the same cores.
    cv2.setNumThreads(1)
    source = request.backbone.read()
    setting = Setting(request, source, _view(request, source), dist.flag_device(request.device))
    from pretrain.transfer import finetune, head, linear

    runs = {"features": linear.measure, "head": head.measure, "finetune": finetune.measure}
    found = runs[request.mode](setting)
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
    told = ancestry.view(source)
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


def outputs(setting: Setting, network: Network, split: Split, what: str, folder: Path) -> Path:
    """Make what a network says of a split's photos, with all processes; returns where it lies."""
    name = features.key(setting.source.sha256, split, setting.view, what.partition(" ")[0])
    place = folder / name
    features.outputs(network, split, setting.view, place, threads=setting.request.threads, what=what)
    return place


def check_readable(rows: Rows, split: Split, what: str, budget: float) -> None:
    """Tell of photos that could not be read; DataError when they are more than the budget."""
    if not rows.unreadable:
        return
    first = min(rows.unreadable)
    told = (
        f"{len(rows.unreadable)} of {len(split)} {what} photos cannot be read, such as {split.names[first]}"
    )
    told += f" ({rows.unreadable[first]})"
    if len(rows.unreadable) > budget * len(split):
        raise DataError(f"{told}; more than --skip-budget {budget:g} allows: repair them or raise it")
    fate = "counted as wrong" if what == "val" else "left out"
    log.get("transfer").warning("%s; they are %s", told, fate)


def result(
    setting: Setting,
    *,
    answers: scores.Answers,
    classes: Sequence[str],
    val: Split,
    rows: Rows,
    more: Mapping[str, Any],
    answerable: Sequence[str] | None = None,
    made_from: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The value of R.json. ``rows`` tell hashes and unreadable photos of val; ``more`` is the mode's own."""
    request, source = setting.request, setting.source
    judged = None if request.verdicts is None else verdicts.read(request.verdicts)
    marks: NDArray[np.bool_] | None = None
    if judged is not None:
        marks = seen.duplicates(judged, val, rows.hashes)
    found = scores.record(answers, classes, duplicate=marks, mode=request.duplicates, answerable=answerable)
    sources = {
        "backbone": f"sha256:{source.sha256}",
        "val": f"sha256:{manifest(val.names, rows.hashes)}",
        **(made_from or {}),
        **({"verdicts": f"sha256:{judged.sha256}"} if judged else {}),
    }
    head = provenance.header(KIND, SCHEMA, sources, free=("--threads", "--cache", "--device"))
    return {
        "top1": found.pop("top1"),
        "top5": found.pop("top5"),
        "mode": request.mode,
        "backbone": _about(source),
        "pretraining": ancestry.pretraining(source),
        "data": {"path": str(request.data), "images": found.pop("images"), "classes": found.pop("classes")},
        "view": {**asdict(setting.view), "crop": "centre, one"},
        "unreadable": {"val": len(rows.unreadable), "val_names": _named(val, rows)},
        "duplicates": _duplicates(judged, marks, request.duplicates),
        **more,
        **found,
        "meta": head,
    }


def _named(split: Split, rows: Rows) -> list[str]:
    return features.names(split, sorted(rows.unreadable)[:_LISTED])


def _about(source: Source) -> dict[str, Any]:
    told = source.origin.get("provenance")
    known = told if isinstance(told, Mapping) else {}
    return {
        "path": str(source.path),
        "sha256": source.sha256,
        "arch": source.arch.name,
        "bn": source.bn,
        "input": source.convention.to_meta(),
        "training_data": known.get("training_data") or source.origin.get("dataset"),
        "fine_tuned_on_in1k": known.get("fine_tuned_on_in1k"),
    }


def _duplicates(
    judged: verdicts.Verdicts | None, marks: NDArray[np.bool_] | None, mode: str | None
) -> dict[str, Any] | None:
    if judged is None or marks is None:
        return None
    return {"mode": mode, "images": int(marks.sum()), "verdicts": judged.ancestry()}


def summary(found: Mapping[str, Any], output: Path) -> str:
    """What a result says, for the terminal."""
    counted = {**found["data"], **found}
    lines = scores.lines(counted)
    seen_ = found["duplicates"]
    if seen_ is not None:
        how = "left out" if seen_["mode"] == "exclude" else "counted as wrong: a lower bound"
        lines.append(f"{seen_['images']} photos seen in training are {how}")
    return "\n".join([*lines, f"wrote {shlex.quote(str(output))}"])
