"""Chooses each arm's learning rate on the held-out part, and writes the choice where reports look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsl_det import evaluation, predictions
from wsl_det.core import files
from wsl_det.errors import DataError
from wsl_det.study import jobs, split
from wsl_det.study.jobs import Job
from wsl_det.study.plan import Study


@dataclass(frozen=True)
class Choice:
    """One arm's sweep.

    scores: percent on the held-out part in the order of learning_rates, None where the training
    diverged or nothing is defined. size: how many rates were tried.
    """

    learning_rates: tuple[float, ...]
    chosen: float
    scores: tuple[float | None, ...]
    size: int
    metric: str
    seed: int
    heldout_share: float
    heldout_images: int

    @property
    def warning(self) -> str:
        """A sentence when a better rate may lie outside the list, or the list says nothing; else empty."""
        # A rate above that diverged closes that end: there is nothing better beyond it.
        ends = {min(self.learning_rates): "lower", max(self.learning_rates): "higher"}
        if self.size > 1 and len(set(self.scores)) == 1:
            told = f"every learning rate scores {self.scores[0]}"
            return f"{told}: the sweep says nothing, the lowest was taken"
        if self.size < 2 or self.chosen not in ends:
            return ""
        return (
            f"the best learning rate {self.chosen:g} is at an end of the list: a {ends[self.chosen]} one may "
            "be better"
        )

    def record(self) -> dict[str, Any]:
        """What stands under "sweep" in the predictions' meta file."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def choose(study: Study, cut: split.Split, finished: Sequence[tuple[Job, str]]) -> Choice:
    """The best rate of one arm's finished (or diverged) sweep jobs; the lowest among equals.

    Raises DataError when no rate gave a defined score.
    """
    arm = finished[0][0].arm
    scores = [
        None if state == jobs.DIVERGED else score(jobs.predictions_of(job), cut.heldout, study.sweep.metric)
        for job, state in finished
    ]
    rates = [job.learning_rate for job, _ in finished]
    known = [(-s, r) for s, r in zip(scores, rates, strict=True) if s is not None and r is not None]
    if not known:
        raise DataError(
            f"arm {arm.name}: no learning rate of {', '.join(f'{r:g}' for r in arm.learning_rates)} gave a "
            f"{study.sweep.metric} on the held-out part (diverged, or nothing to score); add lower rates"
        )
    return _choice(study, cut, tuple(arm.learning_rates), min(known)[1], tuple(scores))


def only(study: Study, cut: split.Split, rate: float) -> Choice:
    """The choice of an arm with a single rate: nothing was tried against it."""
    return _choice(study, cut, (rate,), rate, (None,))


def _choice(
    study: Study, cut: split.Split, rates: tuple[float, ...], chosen: float, scores: tuple[float | None, ...]
) -> Choice:
    sweep = study.sweep
    return Choice(rates, chosen, scores, len(rates), sweep.metric, sweep.seed, study.heldout, cut.images[1])


def score(predicted: Path, annotations: Path, metric: str) -> float | None:
    """One number of results.json, such as "bbox.AP", in percent; None where it is undefined."""
    iou_type, name = metric.split(".")
    value = evaluation.evaluate(annotations, predicted, [iou_type])[iou_type][name]
    return None if value is None else float(value)


def record(job: Job, choice: Choice) -> None:
    """Write the sweep into a final run's meta file, so that the gain report may accept its learning rate.

    A single rate is no sweep, and nothing is written: two arms with one rate each must share it.
    """
    if choice.size < 2:
        return
    path = predictions.meta_path(jobs.predictions_of(job))
    meta = predictions.read_meta(jobs.predictions_of(job))
    if meta is None or meta.get("sweep") == choice.record():
        return
    files.write_json(path, {**meta, "sweep": choice.record()})
