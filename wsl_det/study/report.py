"""The end of a study: gain reports, verdicts, study.json with what was chosen and measured, and its page."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsl_det.core import files, pages, provenance
from wsl_det.errors import WslError
from wsl_det.evaluation.coco_ap import IOU_TYPES
from wsl_det.study import capacities, contrasts, jobs, levels, process
from wsl_det.study.capacities import Entry
from wsl_det.study.jobs import Job
from wsl_det.study.plan import Study
from wsl_det.study.sweep import Choice

SCHEMA = 2


def write(study: Study, every: Sequence[Job], choices: Mapping[str, Choice]) -> list[str]:
    """Make the gain reports, the table of capacities, study.json and study.html; lines for a terminal."""
    finals = [job for job in every if job.stage == jobs.FINAL]
    folders = {pair: _gain(study, pair, finals) for pair in study.pairs}
    gains = {pair: files.read_json(folder / "gain.json", "gain report") for pair, folder in folders.items()}
    entries = [
        Entry(arm.trunk, arm.pretraining, "", tuple(results_of(arm.name, finals))) for arm in study.arms
    ]
    title = f"{study.name}: AP by trunk and pretraining"
    table = capacities.write(title, entries, study.output / "table")
    measured = levels.measure(study, finals)
    arms = [_arm(study, arm.name, finals, choices[arm.name]) | measured[arm.name] for arm in study.arms]
    pairs = contrasts.judge(study, gains)
    record = {
        **provenance.header("study", SCHEMA, {"gt": study.test.annotations}),
        "title": study.name,
        "arms": arms,
        "pairs": pairs,
        "named": contrasts.history(study),
        "reports": [
            {"baseline": a, "candidate": b, "folder": str(folder)} for (a, b), folder in folders.items()
        ],
        "table": str(table.parent),
    }
    page = _page(record, files.read_json(table.parent / "capacities.json"), study.output)
    files.write_json(study.output / "study.json", record)
    lines = [_line(arm) for arm in arms]
    lines += [f"warning: arm {arm['name']}: {arm['warning']}" for arm in arms if arm["warning"]]
    lines += [row["verdict"] for row in pairs if row["verdict"]]
    lines += [f"{b} against {a}: {folder / 'gain.html'}" for (a, b), folder in folders.items()]
    return [
        *lines,
        f"table of capacities: {table}",
        f"page: {page}",
        f"written: {study.output / 'study.json'}",
    ]


def results_of(arm: str, finals: Sequence[Job]) -> list[Path]:
    """The results files of an arm's final runs."""
    return [job.folder / "results.json" for job in finals if job.arm.name == arm]


def _gain(study: Study, pair: tuple[str, str], finals: Sequence[Job]) -> Path:
    folder = study.output / "reports" / f"{pair[1]}_against_{pair[0]}"
    sides = [[str(jobs.predictions_of(j)) for j in finals if j.arm.name == name] for name in pair]
    options = study.report
    words = [sys.executable, "-m", "wsl_det", "report_gain", "--gt", str(study.test.annotations)]
    words += ["--baseline", *sides[0], "--candidate", *sides[1], "--output", str(folder)]
    words += ["--bootstrap", str(options.bootstrap), "--seed", str(options.seed)]
    words += ["--attribution-bootstrap", str(options.attribution_bootstrap)]
    words += ["--images", str(study.test.images)] if options.gallery else []
    words += ["--allow-mismatch"] if study.allow_mismatch else []
    code, tail = process.call(words)
    if code != 0:
        raise WslError(f"the report of {pair[1]} against {pair[0]} failed:\n  " + "\n  ".join(tail))
    return folder


def _arm(study: Study, name: str, finals: Sequence[Job], choice: Choice) -> dict[str, Any]:
    arm = study.arm(name)
    return {
        "name": name,
        "root": arm.root,
        "trunk": arm.trunk,
        "pretraining": arm.pretraining,
        "learning_rate": choice.chosen,
        "sweep": choice.record(),
        "tuned_as": arm.tuned_as,
        "warning": choice.warning or None,
        "runs": [
            {"seed": job.seed, "pretraining_seed": job.backbone, "folder": str(job.folder)}
            | _scores(job.folder / "results.json")
            for job in finals
            if job.arm.name == name
        ],
    }


def _scores(path: Path) -> dict[str, Any]:
    results = files.read_json(path, "results")
    names = [(kind, metric) for kind in IOU_TYPES if kind in results for metric in ("AP", "AP50", "AP75")]
    return {f"{kind}.{metric}": results[kind][metric] for kind, metric in names}


def render(record: Mapping[str, Any], table: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The page of study.json's content and of its table of capacities, and its figures by name."""
    from wsl_det.study import figures  # matplotlib takes a second to load

    drawn = {f"bars_{name}": one for name, one in capacities.render(table)[1].items()}
    types = [name for name in IOU_TYPES if all(name in arm["levels"] for arm in record["arms"])]
    for name in types:
        drawn |= {f"{kind}_{name}": one for kind, one in figures.draw(record["arms"], name).items()}
    page = pages.load("study.html", Path(__file__).parent)
    return page.render(content=record, figures=drawn, types=types, levels=levels.LEVELS), drawn


def _page(record: Mapping[str, Any], table: Mapping[str, Any], folder: Path) -> Path:
    """Write study.html, and its figures as SVG and PNG; the page's path."""
    page, drawn = render(record, table)
    for name, one in drawn.items():
        one.write(folder / "figures" / name)
    files.write_text(folder / "study.html", page)
    return folder / "study.html"


def _line(arm: Mapping[str, Any]) -> str:
    shown = ", ".join(f"seed {run['seed']}: AP {_number(run.get('bbox.AP'))}" for run in arm["runs"])
    return f"{arm['name']}: learning rate {arm['learning_rate']:g}; {shown}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"
