"""COCO: every image is annotated for all classes; 100 detections of an image and class count."""

from __future__ import annotations

from wsl_det.evaluation.protocols.protocol import Protocol

COCO = Protocol(
    name="coco",
    title="COCO",
    limit=100,
    by_class=True,
    recalls=(
        ("AR1", 0, 1),
        ("AR10", 0, 10),
        ("AR100", 0, 100),
        ("ARs", 1, 100),
        ("ARm", 2, 100),
        ("ARl", 3, 100),
    ),
)
