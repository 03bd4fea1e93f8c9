"""What one detector gains over another: how much, how sure, and in recognition or localization.

In a notebook::

    from wsl_det import gain

    card = gain.compare("instances_val2017.json", "baseline.json", "candidate.json")
    card                                               # the table, and the page below it
    card.content["bbox"]["metrics"]["AP"]["interval"]  # any number of gain.json
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wsl_det.gain.inputs import One, Truth
    from wsl_det.gain.report import GainReport, Table

__all__ = ["compare"]


def compare(
    gt: Truth,
    baseline: One | Sequence[One],
    candidate: One | Sequence[One],
    *,
    bootstrap: int = 1000,
    attribution_bootstrap: int = 200,
    seed: int = 0,
    allow_mismatch: bool = False,
    names: tuple[str, str] | None = None,
    images: str | Path | None = None,
    verdicts: str | Path | None = None,
    duplicates: str | None = None,
    protocol: str | None = None,
    hashtags: Table | None = None,
    train_gt: str | Path | None = None,
) -> GainReport:
    """The gain report of two sides, as ``tools/report_gain.py`` makes it.

    gt: a COCO or LVIS annotation file, its tree, or pycocotools' ``COCO``. baseline, candidate: a results
    file, a list of detections, what ``COCO.loadRes`` returns, or supervision ``Detections`` by image id or
    file name (class_id is then the place of the category in the order of the ids); a list of these is runs
    with different training seeds. names: of the two sides, by default those of their folders. bootstrap,
    attribution_bootstrap: resamples of the images (levels 1 and 2, and level 3, of docs/method.md; 0 for
    the second leaves level 3 out). images: the folder of the test images, for the photos of the page.
    verdicts: a file of the duplicate review, with duplicates "exclude" or "wrong": what becomes of test
    images that were seen in training (gt must then be a file). protocol: "coco" or "lvis" refuses a gt that
    is scored by the other. hashtags: what ``pretrain.shards.detection_classes.of(vocab, truth)`` gives, or a
    function that makes it of the ground truth; asks where hashtags pay. train_gt: the annotations trained on,
    which say how often each class stands in them, and so which are rare, common and frequent where gt does
    not say it. The result prints as the table, and shows the
    page below it in a notebook; ``content`` is gain.json, ``report.write(result, folder)`` writes the files.
    Raises ConfigError for numbers of resamples that make no interval, DataError for files that are not what
    they should be and for sides that are not alike (unless ``allow_mismatch``).
    """
    from wsl_det.evaluation import duplicates as treatment
    from wsl_det.gain import inputs, report

    return report.make(
        gt,
        inputs.runs(baseline),
        inputs.runs(candidate),
        report.Options(bootstrap, attribution_bootstrap, seed),
        allow_mismatch=allow_mismatch,
        duplicates=treatment.read(verdicts, duplicates),
        names=names,
        images=images,
        protocol=protocol,
        hashtags=hashtags,
        train_gt=train_gt,
    )
