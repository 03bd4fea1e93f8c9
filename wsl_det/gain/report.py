"""The gain report: from two sets of prediction files to gain.json and the page a person reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core import files, log, provenance
from wsl_det.errors import ConfigError, DataError
from wsl_det.evaluation import coco_ap, matching
from wsl_det.evaluation import duplicates as duplicates_of
from wsl_det.evaluation.duplicates import Duplicates
from wsl_det.evaluation.protocols import choose as protocols
from wsl_det.gain import answer, bands, comparison, coverage, inputs, like_for_like, pays, side, verdict
from wsl_det.gain.compared import Compared
from wsl_det.gain.comparison import Options
from wsl_det.predictions import Predictions

SCHEMA = 1
Table = Mapping[str, Any] | Callable[[GroundTruth], Mapping[str, Any]]
"""Hashtags by class (``pretrain.shards.detection_classes.of``), or what makes them of a ground truth."""
_SIDES = ("baseline", "candidate")
_BACKBONE = ("backbone", "sha256")
_P_OF_ONE = (
    "inversion of the interval, percentiles of the resamples farther out by what resampling lacks (no less "
    "than so many resamples can show); by class Student’s t on the standard error of the resamples, with one "
    "degree of freedom less than images of the class"
)
_P_OF_SEVERAL = "Welch’s t over the variance from images and between runs"
FEW_IMAGES = 50
"""Test images under which intervals are rough, if they hold (benchmarks/README.md)."""


@dataclass(frozen=True, repr=False)
class GainReport(Compared):
    """A finished comparison as people meet it: a table, and in a notebook's cell the page below it.

    images: the folder of the test images, for the gallery of the page, or None.
    """

    images: str | Path | None = None

    def __repr__(self) -> str:
        return verdict.table(self.content)

    def html(self, images: str | Path | None = None) -> str:
        """The page gain.html; ``images`` instead of the report's own."""
        from wsl_det.gain import figures, page  # matplotlib takes a second to load

        return page.render(self, figures.draw(self.content), images or self.images)

    def _repr_html_(self) -> str:
        from wsl_det.gain import page

        # In a frame of its own, so that the page's style and the notebook's leave each other alone; where
        # notebooks are shown without frames, the table stands.
        frame = f'<iframe srcdoc="{escape(self.html(), quote=True)}" sandbox="allow-scripts"'
        return f'{page.table(self.content)}{frame} style="width:100%;height:56rem;border:0"></iframe>'


def make(
    gt: inputs.Truth,
    baseline: Sequence[inputs.One],
    candidate: Sequence[inputs.One],
    options: Options | None = None,
    *,
    allow_mismatch: bool = False,
    duplicates: Duplicates | None = None,
    names: tuple[str, str] | None = None,
    images: str | Path | None = None,
    protocol: str | None = None,
    hashtags: Table | None = None,
    train_gt: str | Path | None = None,
) -> GainReport:
    """Compare the predictions of two sides, one or several runs (training seeds) each.

    What is compared may be files or in memory (see ``inputs``). ``names`` of the sides are by default those
    of their runs' folders.
    Raises DataError for files that are not what they should be, and for sides that are not alike
    (unless ``allow_mismatch``, which prints the differences in the report). ``duplicates`` treats test
    images that were seen in training, the same way on both sides. ``images`` is the folder of the test
    images, for the gallery of the page. ``protocol`` refuses a ground truth that is scored by another.
    ``hashtags`` asks where they pay, and ``train_gt``, the annotations trained on, says how often each class
    stands in them, and so which are rare, common and frequent where the ground truth does not say it.
    """
    options = options or Options()
    _check_options(options, baseline, candidate)
    gt_sha256 = duplicates_of.gt_hash(gt)
    truth, training, of_bands = _truth(gt, protocol, train_gt)
    tags = None if hashtags is None else _tags(hashtags, truth, training)
    runs = [
        [inputs.detections(one, truth, f"the {name}" + f", run {i + 1}" * (len(given) > 1))
         for i, one in enumerate(given)]
        for name, given in (("baseline", baseline), ("candidate", candidate))
    ]  # fmt: skip
    differences, notes = like_for_like.check(runs[0], runs[1], gt_sha256, True)
    covered, more, remarks = coverage.check(runs[0], runs[1], truth)
    differences, notes = differences + more, remarks + notes
    if not allow_mismatch:
        like_for_like.refuse(differences)
    about: dict[str, Any] = {}
    if duplicates is not None:
        truth, treated, about = duplicates.apply(truth, [*runs[0], *runs[1]], gt_sha256)
        runs = [treated[: len(runs[0])], treated[len(runs[0]) :]]
        notes = [duplicates_of.note(about), *notes]
    content: dict[str, Any] = {}
    for iou_type in _shared_types(truth, [*runs[0], *runs[1]]):
        shapes = matching.object_shapes(truth, iou_type)
        oracles = options.attribution_bootstrap > 0
        sides = [side.build(one, truth, shapes, iou_type, oracles=oracles) for one in runs]
        track = partial(log.progress, what=f"{iou_type}, resamples")
        record = comparison.compare(sides[0], sides[1], options, track)
        if tags is not None:
            record["hashtags"] = pays.record(tags, truth, (sides[0], sides[1]), options, track)
        content[iou_type] = {"asked": answer.asked(record)} | record
    content["meta"] = _meta(truth, gt, baseline, candidate, duplicates) | {
        "coverage": covered,
        "duplicates": about or None,
        "images": len(truth.image_ids),
        "objects": int(truth.object_counts.sum()),
        "crowds": int(truth.object_crowd.sum()),
        "levels": {name: answer.localization(record) for name, record in content.items()},
        "names": dict(zip(("baseline", "candidate"), names or _names(runs), strict=True)),
        "options": asdict(options),
        "p": "by the rule of the interval, of a true gain of 0: "
        + (_P_OF_ONE if len(baseline) == len(candidate) == 1 else _P_OF_SEVERAL),
        "calibration": answer.calibration(len(truth.image_ids)),
        "runs": {"baseline": len(baseline), "candidate": len(candidate)},
        "backbones": {name: len(side.units(one)) for name, one in zip(_SIDES, runs, strict=True)},
        "differences": [asdict(difference) for difference in differences],
        "notes": [
            *notes,
            *of_bands,
            *coco_ap.notes(truth),
            *_few_notes(len(truth.image_ids)),
            *_seed_notes(runs),
        ],
        "ancestry": {
            name: [{"path": p.source, "header": p.meta} for p in one]
            for name, one in zip(("baseline", "candidate"), runs, strict=True)
        },
    }
    return GainReport(content, truth, runs[0], runs[1], images)


def write(report: GainReport, output: str | Path, images: str | Path | None = None) -> Path:
    """Write gain.json, the figures and gain.html into a folder; the path of the page.

    ``images`` is the folder of the test images, for the gallery, instead of the report's own.
    """
    from wsl_det.gain import figures, page

    output = Path(output)
    if output.is_file():
        raise DataError(f"{output} is a file; --output names a folder for the report")
    drawn = figures.draw(report.content)
    html = page.render(report, drawn, images or report.images)
    for name, figure in drawn.items():
        figure.write(output / name)
    files.write_json(output / "gain.json", report.content)
    files.write_text(output / "gain.html", html)
    return output / "gain.html"


def _check_options(options: Options, baseline: Sequence[Any], candidate: Sequence[Any]) -> None:
    few = "an interval needs at least 2 resamples"
    if options.bootstrap < 2:
        raise ConfigError(f"--bootstrap is {options.bootstrap}; {few}")
    if options.attribution_bootstrap < 2 and options.attribution_bootstrap != 0:
        raise ConfigError(
            f"--attribution-bootstrap is {options.attribution_bootstrap}; {few}, "
            "and 0 leaves the attribution out"
        )
    if not baseline or not candidate:
        raise DataError("each side needs at least one predictions file")
    for name, paths in (("baseline", baseline), ("candidate", candidate)):
        given = [path for path in map(inputs.path_of, paths) if path is not None]
        places = [Path(path).resolve() for path in given]
        twice = [str(path) for path, place in zip(given, places, strict=True) if places.count(place) > 1]
        if twice:
            raise DataError(
                f"the {name} names {twice[0]} more than once; several files are runs with different training "
                "seeds, and a run that counts twice makes the interval too narrow"
            )


def _truth(
    gt: inputs.Truth, protocol: str | None, train_gt: str | Path | None
) -> tuple[GroundTruth, inputs.Training | None, list[str]]:
    """The ground truth, what was trained on, and what a reader should know of the classes' frequency."""
    truth = inputs.ground_truth(gt, protocol)
    training = None if train_gt is None else inputs.training(train_gt, truth)
    if training is None:
        return truth, None, []
    if truth.federated is not None and any(truth.category_frequency):
        said = f"rare, common and frequent are by the frequency that {truth.source} states, not by --train-gt"
        return truth, training, [said]
    return replace(truth, category_frequency=bands.frequency(training.images)), training, []


def _tags(hashtags: Table, truth: GroundTruth, training: inputs.Training | None) -> pays.Hashtags:
    objects = None if training is None else training.objects.tolist()
    return pays.hashtags(hashtags(truth) if callable(hashtags) else hashtags, truth, objects)


def _shared_types(truth: GroundTruth, runs: Sequence[Predictions]) -> list[str]:
    types = [coco_ap.choose(run, truth, None) for run in runs]
    shared = [name for name in coco_ap.IOU_TYPES if all(name in one for one in types)]
    if not shared:
        carried = "; ".join(f"{run.source}: {', '.join(one)}" for run, one in zip(runs, types, strict=True))
        raise DataError(f"the predictions share no IoU type to compare ({carried})")
    return shared


def _meta(
    truth: GroundTruth,
    gt: inputs.Truth,
    baseline: Sequence[Any],
    candidate: Sequence[Any],
    duplicates: Duplicates | None,
) -> dict[str, Any]:
    made_from: dict[str, str | Path | None] = {"gt": inputs.path_of(gt)}
    made_from |= {"verdicts": duplicates.verdicts.path} if duplicates is not None else {}
    for name, paths in (("baseline", baseline), ("candidate", candidate)):
        made_from |= {f"{name}.{i}" if i else name: inputs.path_of(one) for i, one in enumerate(paths)}
    return provenance.header("gain", SCHEMA, made_from) | {"protocol": protocols.of(truth).name}


def _names(runs: Sequence[Sequence[Predictions]]) -> tuple[str, str]:
    first, second = (side[0].source for side in runs)
    return answer.names(first, second)


def _few_notes(images: int) -> list[str]:
    if images >= FEW_IMAGES:
        return []
    return [f"only {images} test images: with fewer than {FEW_IMAGES} the 95% intervals are rough"]


def _seed_notes(runs: Sequence[Sequence[Predictions]]) -> list[str]:
    if len(runs[0]) == len(runs[1]) == 1:
        return [
            "one training run a side: the intervals cover the choice of test images, not the training seed, "
            "whose variance was not measured"
        ]
    notes = []
    for name, one in zip(_SIDES, runs, strict=True):
        number, shared = len(side.units(one)), {like_for_like.header_value(r.meta, *_BACKBONE) for r in one}
        if number < len(one):
            notes.append(
                f"the {name}’s {len(one)} runs are of {number} backbones: fine-tunings of one are averaged "
                f"first, and it is {number} that count"
            )
        elif len(one) > 1 and len(shared) == 1 and None not in shared:
            notes.append(
                f"the {name}’s {len(one)} runs start from one backbone: their variance is that of "
                "fine-tuning, and what another seed of pretraining would change was not measured"
            )
    if min(len(one) for one in runs) == 1:
        notes.append("one side has a single run: the seed variance of the other side stands for both")
    return notes
