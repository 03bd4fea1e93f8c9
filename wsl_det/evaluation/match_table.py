"""Which detection found which object, at every IoU: made once, read by AP, curves and resamples."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from wsl_det.core import files
from wsl_det.errors import DataError
from wsl_det.evaluation.protocols.choose import PROTOCOLS
from wsl_det.evaluation.protocols.protocol import Protocol

SCHEMA = 1
COCO_THRESHOLDS = np.linspace(0.5, 0.95, 10)
ANCHOR_THRESHOLDS = np.array([0.1, 0.3])
THRESHOLDS = np.concatenate([ANCHOR_THRESHOLDS, COCO_THRESHOLDS])
"""IoU of the rows of a table: the two loose anchors, then COCO's ten."""
FIRST_COCO = len(ANCHOR_THRESHOLDS)

AREAS = ("all", "small", "medium", "large")
AREA_RANGES = np.array([[0, 1e10], [0, 32.0**2], [32.0**2, 96.0**2], [96.0**2, 1e10]])
"""Object areas in pixels, both ends included, as in pycocotools."""

FALSE, TRUE, IGNORED = 0, 1, 2


@dataclass(frozen=True)
class MatchTable:
    """Detections against objects of one test set, for one IoU type.

    thresholds: (T,) IoU. image_ids: (I,) int64. category_ids: (K,) int64. class_names: (K,) str.
    Detections by class, then descending score, ties by image id and file order:
    class_starts: (K + 1,) int64; score: (D,) float64; image, rank: (D,) int32; row: (D,) int64.
    matched: (T, D) int32 object index, or -1 (area range "all").
    status: (4, T, D) uint8 FALSE, TRUE or IGNORED for the area ranges of ``AREAS``.
    Objects: object_image, object_class: (G,) int32; counts: (4, G) bool, whether an object counts
    in an area range (crowds and ignored ones never do).
    by: the name of the protocol. frequency: (K,) "r", "c", "f" or "", as the categories have it.
    """

    iou_type: str
    thresholds: np.ndarray
    image_ids: np.ndarray
    category_ids: np.ndarray
    class_names: np.ndarray
    class_starts: np.ndarray
    score: np.ndarray
    image: np.ndarray
    rank: np.ndarray
    row: np.ndarray
    matched: np.ndarray
    status: np.ndarray
    object_image: np.ndarray
    object_class: np.ndarray
    counts: np.ndarray
    by: str
    frequency: np.ndarray

    @property
    def protocol(self) -> Protocol:
        return PROTOCOLS[self.by]

    @property
    def num_images(self) -> int:
        return len(self.image_ids)

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)

    @cached_property
    def recall_hits(self) -> np.ndarray:
        """(R, D) uint8: at how many of COCO's ten IoUs a detection is true, for each of the recalls."""
        recalls = self.protocol.recalls
        hits = np.zeros((len(recalls), len(self.score)), dtype=np.uint8)
        true = {a: (self.status[a, FIRST_COCO:] == TRUE).sum(0, dtype=np.uint8) for a in range(len(AREAS))}
        for row, (_, area, most) in zip(hits, recalls, strict=True):
            row[:] = np.where(self.rank < most, true[area], 0)
        return hits

    def save(self, path: str | Path) -> None:
        """Write the table as a compressed ``.npz`` of plain arrays."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        with files.atomic_path(Path(path)) as scratch, open(scratch, "wb") as out:
            np.savez_compressed(out, allow_pickle=False, schema=np.array(SCHEMA), **arrays)


def load(path: str | Path) -> MatchTable:
    """The table that ``MatchTable.save`` wrote; DataError for anything else."""
    try:
        # numpy.load would also take other kinds of files; a table is a zip archive of plain arrays.
        with open(path, "rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise DataError(f"match table {path} does not exist") from None
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"match table {path} is not a whole .npz file ({error}); make it again") from None
    wanted = {field.name for field in fields(MatchTable)}
    if "category_ids" in content:  # tables from before there were protocols are COCO's
        content = {"by": np.array("coco"), "frequency": np.full(len(content["category_ids"]), "")} | content
    if content.get("schema") != SCHEMA or not wanted <= set(content):
        raise DataError(f"match table {path} has another schema than {SCHEMA}; make it again")
    content.pop("schema")
    iou_type, by = (str(content.pop(name)) for name in ("iou_type", "by"))
    return MatchTable(iou_type=iou_type, by=by, **{name: content[name] for name in wanted & set(content)})
