"""All compiled loops run once on almost nothing, so that nobody waits for numba later."""

from __future__ import annotations

from typing import Any

from wsl_det.gain import report

_MASK = [[1.0, 1.0, 7.0, 1.0, 7.0, 7.0, 1.0, 7.0]]
_CROWD = {"size": [9, 9], "counts": [0, 81]}


def compile_loops() -> None:
    """Compile, and keep in numba's cache, whatever evaluation and report of boxes and masks call."""
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 6, 6]}
    annotations = [
        box | {"id": i + 1, "area": 36, "iscrowd": i, "segmentation": mask}
        for i, mask in enumerate((_MASK, _CROWD))
    ]
    truth: dict[str, Any] = {
        "images": [{"id": i, "height": 9, "width": 9} for i in (1, 2)],
        "categories": [{"id": i, "name": str(i)} for i in (1, 2)],
        "annotations": annotations,
    }
    found = [box | {"score": 0.5, "segmentation": _MASK}]
    report.make(truth, [found], [found], report.Options(2, 2), allow_mismatch=True)
