"""The end of a study: gain reports for its pairs, and study.json with what was chosen and measured."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsl_det import predictions
from wsl_det.core import files, provenance
from wsl_det.core.config import Config
from wsl_det.errors import ConfigError, DataError, WslError
from wsl_det.gain import like_for_like
from wsl_det.predictions import Predictions
from wsl_det.study import capacities, jobs, process
from wsl_det.study.capacities import Entry
from wsl_det.study.jobs import Job
from wsl_det.study.plan import Study
from wsl_det.study.sweep import Choice

SCHEMA = 1


def check_alike(study: Study, configs: Mapping[str, Config]) -> None:
    """Refuse before the first training what the gain report would refuse after the last.

    ``configs`` holds one resolved configuration of each arm. Raises ConfigError with the settings in
    which a pair differs beyond backbone, run and swept learning rate, unless the study allows it.
    """
    if study.allow_mismatch:
        return
    for pair in study.pairs:
        baseline, candidate = (_future(study, name, configs[name]) for name in pair)
        try:
            like_for_like.check([baseline], [candidate], None, False)
        except DataError as error:
            raise ConfigError(
                f"arms {pair[0]} and {pair[1]}: {error} (in a study: allow_mismatch: true)"
            ) from None


def _future(study: Study, arm: str, cfg: Config) -> Predictions:
    """Predictions as an arm's final run will have them, as far as likeness can be told from the header."""
    size = len(study.arm(arm).learning_rates)
    # Every final run of a study trains and is scored on the same data.
    config = {k: v for k, v in cfg.to_dict().items() if k != "DATASETS"}
    meta = {"config": config, "sweep": {"size": size} if size > 1 else None}
    return predictions.columns([], source=arm, meta=meta)


def write(study: Study, every: Sequence[Job], choices: Mapping[str, Choice]) -> list[str]:
    """Make the gain reports of all pairs and study.json; closing lines for a terminal."""
    finals = [job for job in every if job.stage == jobs.FINAL]
    reports = {pair: _gain(study, pair, finals) for pair in study.pairs}
    entries = [
        Entry(arm.trunk, arm.pretraining, "", tuple(results_of(arm.name, finals))) for arm in study.arms
    ]
    table = capacities.write(f"{study.name}: AP by trunk and pretraining", entries, study.output / "table")
    record = {
        **provenance.header("study", SCHEMA, {"gt": study.test.annotations}),
        "arms": [_arm(study, name, finals, choice) for name, choice in choices.items()],
        "reports": [
            {"baseline": a, "candidate": b, "folder": str(folder)} for (a, b), folder in reports.items()
        ],
        "table": str(table.parent),
    }
    files.write_json(study.output / "study.json", record)
    lines = [_line(arm) for arm in record["arms"]]
    lines += [f"warning: arm {name}: {c.warning}" for name, c in choices.items() if c.warning]
    lines += [f"{b} against {a}: {folder / 'gain.html'}" for (a, b), folder in reports.items()]
    return [*lines, f"table of capacities: {table}", f"written: {study.output / 'study.json'}"]


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
        "trunk": arm.trunk,
        "pretraining": arm.pretraining,
        "learning_rate": choice.chosen,
        "sweep": choice.record(),
        "warning": choice.warning or None,
        "runs": [
            {"seed": job.seed, "folder": str(job.folder), **_scores(job.folder / "results.json")}
            for job in finals
            if job.arm.name == name
        ],
    }


def _scores(path: Path) -> dict[str, Any]:
    results = files.read_json(path, "results")
    names = [
        (kind, metric) for kind in ("bbox", "segm") if kind in results for metric in ("AP", "AP50", "AP75")
    ]
    return {f"{kind}.{metric}": results[kind][metric] for kind, metric in names}


def _line(arm: Mapping[str, Any]) -> str:
    shown = ", ".join(f"seed {run['seed']}: AP {_number(run.get('bbox.AP'))}" for run in arm["runs"])
    return f"{arm['name']}: learning rate {arm['learning_rate']:g}; {shown}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"
