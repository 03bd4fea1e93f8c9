"""Which protocol a ground truth is scored by: found by the file, confirmed or refused by ``--protocol``."""

from __future__ import annotations

from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.errors import ConfigError, DataError
from wsl_det.evaluation.protocols.coco import COCO
from wsl_det.evaluation.protocols.lvis import LVIS
from wsl_det.evaluation.protocols.protocol import Protocol

PROTOCOLS = {one.name: one for one in (COCO, LVIS)}
METRICS = tuple(dict.fromkeys(name for one in PROTOCOLS.values() for name in one.metrics))


def of(truth: GroundTruth, asked: str | None = None) -> Protocol:
    """The protocol of a ground truth; DataError where ``asked`` names one that would score it wrongly."""
    found = COCO if truth.federated is None else LVIS
    if asked is not None and asked not in PROTOCOLS:
        raise ConfigError(f"protocol {asked!r} is not known; expected {' or '.join(PROTOCOLS)}")
    if asked in (None, found.name):
        return found
    if found is LVIS:
        raise DataError(
            f"{truth.source} is federated, as LVIS is: its images carry neg_category_ids or "
            "not_exhaustive_category_ids. They are annotated for some classes only, and COCO's protocol "
            "would count right detections of all others as false; leave --protocol out, or give lvis"
        )
    raise DataError(
        f"{truth.source} has neither neg_category_ids nor not_exhaustive_category_ids, which LVIS's protocol "
        "scores by: without them no image says for which classes it was annotated; leave --protocol out, or "
        "give --protocol coco"
    )
