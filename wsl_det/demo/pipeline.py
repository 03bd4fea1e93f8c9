"""The demo: the real tools, one after another, from drawing the data to the gain report."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsl_det.core import files
from wsl_det.demo import commands
from wsl_det.demo.commands import Stage
from wsl_det.errors import DataError

SCHEMA = 1
_SETTINGS = "demo.json"
_PRETRAIN = "configs/quick/pretrain_demo.yaml"
_ARMS = {  # folder -> config; the same detector, data, seed and schedule
    "candidate": "configs/quick/demo_mask_rcnn.yaml",
    "baseline": "configs/quick/demo_mask_rcnn_scratch.yaml",
}
_SHORT_PRETRAIN = ("SOLVER.TOTAL_IMAGES", "4800", "SOLVER.WARMUP_UPDATES", "20")
_SHORT_DETECT = ("SOLVER.MAX_ITER", "90", "SOLVER.STEPS", "(70,)", "SOLVER.WARMUP_ITERS", "20")


def stages(root: Path, *, short: bool) -> list[Stage]:
    """The demo's commands, in order, with everything below the folder ``root``."""
    data, posts, scenes = root / "data", root / "data" / "posts", root / "data" / "detection"
    truth = scenes / "annotations" / "instances_val.json"
    size = "small" if short else "full"
    shrunk = _SHORT_PRETRAIN if short else ()
    report = root / "report"
    first = [
        _stage("draw the data", "make_demo_data", data / "dataset.json", "--output", data, "--size", size),
        _stage("vocabulary from the hashtags", "build_vocab", root / "vocab.json",
               "--posts", posts / "posts.jsonl", "--kind", "wordnet", "--min-count", 5 if short else 20,
               "--output", root / "vocab.json"),
        _stage("shards of posts", "build_shards", root / "shards" / "dataset.json",
               "--posts", posts / "posts.jsonl", "--images", posts / "images", "--vocab", root / "vocab.json",
               "--source", "demo", "--output", root / "shards"),
        _stage("pretrain on the hashtags", "pretrain_net", root / "pretrain" / "model_final.pth",
               "--config-file", _PRETRAIN, "--resume", "DATA.SHARDS", root / "shards",
               "OUTPUT_DIR", root / "pretrain", *shrunk),
        _stage("export the trunk", "export_backbone", root / "backbone.pth",
               root / "pretrain", root / "backbone.pth"),
    ]  # fmt: skip
    arms = [_arm(root, scenes, arm, short) for arm in _ARMS]
    scored = [
        _stage(f"score the {arm}", "evaluate_predictions", root / arm / "scores.json",
               "--gt", truth, "--predictions", root / arm / "predictions.json",
               "--output", root / arm / "scores.json")
        for arm in _ARMS
    ]  # fmt: skip
    resamples = ("--bootstrap", 200, "--attribution-bootstrap", 50) if short else ()
    last = [
        _stage("gain report", "report_gain", report / "gain.html",
               "--gt", truth, "--baseline", root / "baseline" / "predictions.json",
               "--candidate", root / "candidate" / "predictions.json",
               "--images", scenes / "val", "--output", report, *resamples),
        _stage("draw the candidate's detections", "draw_predictions", root / "drawn",
               "--gt", truth, "--predictions", root / "candidate" / "predictions.json",
               "--images", scenes / "val", "--limit", 10 if short else 40, "--output", root / "drawn"),
    ]  # fmt: skip
    return [*first, *arms, *scored, *last]


def run(root: str | Path, tools: Path, *, short: bool = False, fresh: bool = False) -> None:
    """Run every stage whose product is not there yet, then say where the report is and what it found.

    ``tools`` is the folder of the tools. A stage that fails ends the demo; what was finished is
    kept and a second call goes on from there. ``fresh`` removes an earlier demo first.
    """
    root = Path(root)
    _claim(root, short=short, fresh=fresh)
    plan = stages(root, short=short)
    began = time.monotonic()
    took: list[tuple[str, float | None]] = []
    for _, group in itertools.groupby(enumerate(plan, 1), lambda s: s[1].together or s[0]):
        waiting = []
        for number, stage in group:
            print(f"\n== {number}/{len(plan)} {stage.title}", flush=True)
            if stage.product.exists():
                print(f"{stage.product} is there; skipped (--fresh makes everything again)", flush=True)
                took.append((stage.title, None))
            else:
                waiting.append(stage)
        took += _done(tools, waiting)
    for title, seconds in took:
        print(f"{title:34s} {'earlier' if seconds is None else f'{seconds:6.1f} s'}")
    print(f"{'all':34s} {time.monotonic() - began:6.1f} s\n")
    print("\n".join(outcome(root)))


def outcome(root: Path) -> list[str]:
    """The end of the story: the two APs, the three main numbers of the gain, where the report is."""
    content = files.read_json(root / "report" / "gain.json", "gain report")["bbox"]
    score, split = content["metrics"]["AP"], content["two_factor"]["0.1"]
    return [
        f"box AP from random numbers {_number(score['baseline'])}, "
        f"from the hashtag trunk {_number(score['candidate'])}",
        f"  gain in box AP        {_interval(score['gain'], score['interval'])}",
        f"  of it, recognition    {_interval(split['recognition'], split['interval']['recognition'])}",
        f"  of it, localization   {_interval(split['localization'], split['interval']['localization'])}",
        f"detections drawn: {root / 'drawn'}",
        f"report: {root / 'report' / 'gain.html'}",
    ]


def _done(tools: Path, waiting: Sequence[Stage]) -> list[tuple[str, float | None]]:
    if len(waiting) > 1:
        seconds = commands.call_together(tools, waiting)
    else:
        seconds = [commands.call(tools, stage) for stage in waiting]
    return [(stage.title, s) for stage, s in zip(waiting, seconds, strict=True)]


def _stage(title: str, tool: str, product: Path, *arguments: object) -> Stage:
    return Stage(title, tool, tuple(str(a) for a in arguments), product)


def _arm(root: Path, scenes: Path, arm: str, short: bool) -> Stage:
    registered: list[object] = []
    for part in ("train", "val"):
        truth = scenes / "annotations" / f"instances_{part}.json"
        registered += ["--register", f"demo_{part}", truth, scenes / part]
    weights = ("MODEL.WEIGHTS", root / "backbone.pth") if arm == "candidate" else ()
    keys = ("OUTPUT_DIR", root / arm, *weights, *(_SHORT_DETECT if short else ()))
    command = ("--config-file", _ARMS[arm], "--resume", *registered, *keys)
    stage = _stage(f"fine-tune the {arm}", "train_net", root / arm / "results.json", *command)
    return replace(stage, together="arms", mark=arm)


def _claim(root: Path, *, short: bool, fresh: bool) -> None:
    """Mark the folder as this demo's, or refuse a folder that holds something else."""
    mark = root / _SETTINGS
    wanted: dict[str, Any] = {"schema": SCHEMA, "short": short}
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is a file; the demo needs a folder of its own")
    if mark.is_file():
        if fresh:
            shutil.rmtree(root)
        elif (found := files.read_json(mark, "demo settings")) != wanted:
            other = "short" if found.get("short") else "full"
            raise DataError(f"{root} holds a {other} demo; pass --fresh to replace it, or another --output")
    elif root.exists() and any(root.iterdir()):
        raise DataError(f"{root} holds files that no demo made; choose another --output")
    files.write_json(mark, wanted)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1f}"


def _interval(value: float | None, interval: Sequence[float | None]) -> str:
    low, high = interval
    if value is None:
        return "undefined"
    if low is None or high is None:
        return f"{value:+.1f}"
    return f"{value:+.1f} (95% interval {low:+.1f} to {high:+.1f})"
