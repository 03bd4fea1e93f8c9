"""What every mode of an evaluation shares: what is asked, opened, and how its result is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pretrain.duplicates.sources import manifest
from pretrain.transfer import backbone, features, scores
from pretrain.transfer.backbone import Named, Network
from pretrain.transfer.features import View
from pretrain.transfer.folders import Split
from pretrain.workers.outputs import Outputs
from wsl_det.backbone.sources import Source
from wsl_det.core import log, provenance, verdicts
from wsl_det.core.budget import Budget
from wsl_det.core.verdicts import Verdicts
from wsl_det.errors import DataError

KIND, SCHEMA = "classification transfer", 1
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


def outputs(setting: Setting, network: Network, split: Split, what: str, folder: Path) -> Path:
    """Make what a network says of a split's photos, with all processes; returns where it lies."""
    name = features.key(setting.source.sha256, split, setting.view, what.partition(" ")[0])
    place = folder / name
    features.outputs(network, split, setting.view, place, threads=setting.request.threads, what=what)
    return place


def check_readable(rows: Outputs, split: Split, what: str, budget: float) -> None:
    """Tell of photos that could not be read; DataError when they are more than the budget."""
    counted = Budget(budget, "--skip-budget", len(split))
    counted.count((f"{what}/{split.names[row]}", why) for row, why in sorted(rows.unreadable.items()))
    if counted.bad:
        fate = "counted as wrong" if what == "val" else "left out"
        log.get("transfer").warning("%s; they are %s", counted.summary(), fate)


def result(
    setting: Setting,
    *,
    answers: scores.Answers,
    classes: Sequence[str],
    val: Split,
    rows: Outputs,
    more: Mapping[str, Any],
    answerable: Sequence[str] | None = None,
    made_from: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The value of R.json. ``rows`` tell hashes and unreadable photos of val; ``more`` is the mode's own."""
    request, source = setting.request, setting.source
    judged = None if request.verdicts is None else verdicts.read(request.verdicts)
    marks: NDArray[np.bool_] | None = None
    duplicates: dict[str, Any] | None = None
    if judged is not None:
        marks = seen_in_training(judged, val, rows.hashes)
        seen = {"mode": request.duplicates, "images": int(marks.sum())}
        duplicates = {**seen, "verdicts": judged.ancestry()}
    found = scores.record(answers, classes, duplicate=marks, mode=request.duplicates, answerable=answerable)
    sources = {
        "backbone": f"sha256:{source.sha256}",
        "val": f"sha256:{manifest(val.names, rows.hashes)}",
        **(made_from or {}),
        **({"verdicts": f"sha256:{judged.sha256}"} if judged else {}),
    }
    names = [val.names[row] for row in sorted(rows.unreadable)]
    head = provenance.header(KIND, SCHEMA, sources, free=("--threads", "--cache", "--device"))
    return {
        "top1": found.pop("top1"),
        "top5": found.pop("top5"),
        "mode": request.mode,
        "backbone": _about(source),
        "pretraining": backbone.pretraining(source),
        "data": {"path": str(request.data), "images": found.pop("images"), "classes": found.pop("classes")},
        "view": {**asdict(setting.view), "crop": "centre, one"},
        "unreadable": {"val": len(rows.unreadable), "val_names": names[:_LISTED]},
        "duplicates": duplicates,
        **more,
        **found,
        "meta": head,
    }


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


def seen_in_training(judged: Verdicts, split: Split, hashes: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) True for photos judged duplicates; ``hashes`` are the SHA-256 of the files.

    DataError when these photos, by names and contents, are none of the sets that were searched, so that
    verdicts about one test set are never applied to another.
    """
    identity = manifest(split.names, hashes)
    mine = {one.name for one in judged.sets if one.kind == "folder" and one.sha256 == identity}
    if not mine:
        searched = ", ".join(f"{one.name} ({one.kind}, {one.images:,} images)" for one in judged.sets)
        raise DataError(
            f"{judged.path} is about other images than {split.folder}: it judges {searched}; search this "
            f"folder with wsl-det find_duplicates --against {split.folder}"
        )
    place = {name: row for row, name in enumerate(split.names)}
    marks = np.zeros(len(split), dtype=np.bool_)
    for row in judged.rows:
        if row.set not in mine or row.verdict != verdicts.YES:
            continue
        if row.image not in place:
            raise DataError(f"{judged.path}: pair {row.pair} judges {row.image}, not in {split.folder}")
        marks[place[row.image]] = True
    return marks
