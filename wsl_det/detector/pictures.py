"""Folders of drawn pictures: predictions beside their annotations, and a detector on one's own photos."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsl_det import predictions
from wsl_det.coco import masks as mask_runs
from wsl_det.core import files, log, provenance
from wsl_det.core.config import Config
from wsl_det.detector import coco_records, draw, images, infer, settings, trunks, weights
from wsl_det.detector.coco_records import CocoDataset, Record
from wsl_det.detector.draw import Shape
from wsl_det.detector.drawn import Picture
from wsl_det.detector.engine import select_engine
from wsl_det.detector.types import Prediction
from wsl_det.errors import ConfigError, DataError

_QUALITY = 92


@dataclass
class Drawn:
    """How many pictures were written, and which files could not be used, with the reason."""

    written: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    other: Counter[str] = field(default_factory=Counter)  # what was not looked at, by suffix
    pictures: list[Picture] = field(default_factory=list)

    def add(self, picture: Picture, drawing: np.ndarray, folder: Path) -> None:
        """Write a drawing into its folder."""
        _save(drawing, folder / picture.file)
        self.pictures.append(picture)
        self.written += 1

    def lines(self, output: str | Path) -> list[str]:
        """What to tell the user."""
        skipped = [f"skipped {path}: {reason}" for path, reason in self.skipped.items()]
        if self.other:
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.other.items()))
            skipped.append(
                f"not looked at: {kinds}; photos are files named {', '.join(images.SUFFIXES)}, and folders "
                "inside the folder are not searched"
            )
        return [*skipped, f"{self.written} pictures in {output}"]


def compare(
    gt: str | Path,
    predicted: str | Path,
    image_dir: str | Path,
    output: str | Path,
    *,
    score: float,
    limit: int,
    right: Mapping[int, bool] | None = None,
) -> Drawn:
    """Write one picture per image: annotations on the left, predictions of at least ``score`` on the right.

    ``limit`` bounds their number (0: all); ``right`` says of rows of the file whether they are. Unreadable
    photos are skipped and counted; a predictions file that speaks of other images or categories is a
    DataError.
    """
    dataset = coco_records.read(gt, image_dir, Path(gt).stem)
    found = predictions.read(predicted)
    by_image = _by_image(found, dataset)
    records = dataset.records[:limit] if limit else dataset.records
    drawn = Drawn()
    for record in log.progress(records, len(records), "drawing"):
        pixels = _pixels(record, drawn)
        if pixels is None:
            continue
        rows = [r for r in by_image.get(record.image_id, []) if found.scores[r] >= score]
        theirs = [
            replace(_predicted(found, r, dataset, record), right=None if right is None else right.get(r))
            for r in rows
        ]
        name = f"{record.image_id}_{_short(record.path.stem)}.jpg"
        picture = Picture(name, record.path.name, len(theirs))
        if right is not None:
            picture.right, picture.wrong = (sum(s.right is x for s in theirs) for x in (True, False))
        told = f"predictions (score at least {score:g}" + (")" if right is None else f"): {picture.told}")
        panels = [
            ("annotations", draw.draw(pixels, annotated(record, dataset.class_names))),
            (told, draw.draw(pixels, theirs)),
        ]
        drawn.add(picture, draw.side_by_side(panels), Path(output))
    if records and not drawn.written:
        first, reason = next(iter(drawn.skipped.items()))
        raise DataError(
            f"none of {len(records)} images could be read, such as {first} ({reason}); check --images"
        )
    return drawn


def annotated(record: Record, names: Sequence[str]) -> list[Shape]:
    """An image's annotations, crowds included, as shapes to draw."""
    size, name = (record.height, record.width), f"an annotation of image {record.image_id}"
    return [
        Shape(
            a.box_xyxy, a.category, names[a.category], mask=_mask(a.segmentation, size, name), crowd=a.crowd
        )
        for a in record.annotations
    ]


def detected(prediction: Prediction, record: Record, names: Sequence[str], score: float = 0.0) -> list[Shape]:
    """Detections of at least ``score`` in an image as shapes to draw; ``names`` by class."""
    size = (record.height, record.width)
    none: list[Any] = [None] * len(prediction.scores)
    rows = zip(
        prediction.boxes_xyxy.tolist(),
        prediction.classes.tolist(),
        prediction.scores.tolist(),
        prediction.masks if prediction.masks is not None else none,
        strict=True,
    )
    name = f"a detection in image {record.image_id}"
    return [Shape(tuple(box), k, names[k], s, _mask(m, size, name)) for box, k, s, m in rows if s >= score]


def panel(
    record: Record, prediction: Prediction | None, names: Sequence[str], score: float
) -> np.ndarray | None:
    """Annotations beside detections, an (H, W, 3) picture; None for an unreadable image."""
    pixels = _pixels(record, Drawn())
    if pixels is None:
        return None
    found = detected(prediction, record, names, score) if prediction is not None else []
    panels = [("annotations", draw.draw(pixels, annotated(record, names)))]
    return draw.side_by_side([*panels, (f"score at least {score:g}", draw.draw(pixels, found))])


def predict(
    cfg: Config, weights_path: str, source: str | Path, output: str | Path, *, engine_name: str, score: float
) -> Drawn:
    """A detector over one's own photos (a folder or one file), drawn and as json.

    Writes ``drawn/NAME.jpg``, ``predictions.json`` (a COCO results list of what scores at least
    ``score``) and ``images.json`` (the images and categories its ids speak of). The classes are the
    checkpoint's when it names them.
    """
    cfg = trunks.settled(cfg.override(MODEL__WEIGHTS=weights_path))
    settings.check(cfg)
    weights.check(cfg)
    drawn = Drawn()
    records = _photos(Path(source), drawn)
    payload = weights.read(weights_path)
    start = weights.from_header(payload, weights_path)
    numbers = range(1, cfg.MODEL.ROI_HEADS.NUM_CLASSES + 1)
    classes = start.categories or [{"id": k, "name": f"class {k}"} for k in numbers]
    cfg = cfg.override(MODEL__ROI_HEADS__NUM_CLASSES=len(classes))
    engine = select_engine(engine_name)(cfg)
    model = engine.build()
    weights.fill(model, payload, weights_path)
    found = {i: _above(p, score) for i, p in infer.detect(engine, model, cfg, records, "detecting")}
    names = [c["name"] for c in classes]
    for record, name in zip(records, drawing_names([r.path for r in records]), strict=True):
        if record.image_id in found and (pixels := _pixels(record, drawn)) is not None:
            shapes = detected(found[record.image_id], record, names)
            picture = Picture(name, record.path.name, len(shapes))
            drawn.add(picture, draw.draw(pixels, shapes), Path(output) / "drawn")
    _write_json(Path(output), records, classes, found, start)
    return drawn


def drawing_names(photos: Sequence[Path]) -> list[str]:
    """File names for the drawings of photos of one folder: no two alike, on no file system.

    A photo's stem if no other photo has it; else its whole name, which may be another's stem, then numbered.
    """
    stems = Counter(_folded(path.stem) for path in photos)
    taken: set[str] = set()
    found = []
    for path in photos:
        own, whole = [_short(path.stem)] if stems[_folded(path.stem)] == 1 else [], _short(path.name)
        tries = itertools.chain([*own, whole], (f"{whole}_{i}" for i in itertools.count(2)))
        name = next(name for name in tries if _folded(name) not in taken)
        taken.add(_folded(name))
        found.append(f"{name}.jpg")
    return found


def _short(name: str) -> str:
    """``name``, or its beginning when a file system would not take it with a few letters more."""
    data = os.fsencode(name)
    return name if len(data) <= 200 else data[:200].decode(errors="ignore")


def _folded(name: str) -> str:
    """What some file systems make of a name: letter case and the composition of accents are lost."""
    return unicodedata.normalize("NFC", name).casefold()


def _write_json(
    output: Path,
    records: Sequence[Record],
    classes: Sequence[Mapping[str, Any]],
    found: Mapping[int, Prediction],
    start: weights.Start,
) -> None:
    listed = [
        {"id": r.image_id, "file_name": r.path.name, "height": r.height, "width": r.width} for r in records
    ]
    files.write_json(
        output / "images.json", {"images": listed, "annotations": [], "categories": list(classes)}
    )
    rows = infer.coco_rows(found.items(), [c["id"] for c in classes])
    meta = provenance.header("predictions", infer.SCHEMA, {"weights": f"sha256:{start.sha256}"})
    predictions.write(output / "predictions.json", rows, {**meta, "backbone": start.backbone})


def _photos(source: Path, drawn: Drawn) -> list[Record]:
    """Records of the readable images of a folder, by name; sizes are read from the headers."""
    if not source.exists():
        raise DataError(f"--images {source} does not exist; give a folder of photos, or one photo")
    found = sorted(source.iterdir()) if source.is_dir() else [source]
    candidates = [p for p in found if p.suffix.lower() in images.SUFFIXES and not p.is_dir()]
    drawn.other.update(
        "folder" if p.is_dir() else p.suffix.lower() or "without suffix" for p in found if p not in candidates
    )
    records: list[Record] = []
    for path in candidates:
        if path.exists() and not path.is_file():
            drawn.skipped[str(path)] = "it is no regular file"  # a pipe would be waited for
            continue
        try:
            height, width = images.header_size(path)
        except images.BadImage as error:
            drawn.skipped[str(path)] = str(error)
            continue
        records.append(Record(len(records) + 1, path, height, width, ()))
    if not records:
        why = next((f", such as {path}: {reason}" for path, reason in drawn.skipped.items()), "")
        raise DataError(
            f"--images {source} holds no readable photo ({len(found)} files, {len(candidates)} of them named "
            f"{', '.join(images.SUFFIXES)}{why})"
        )
    return records


def _above(prediction: Prediction, score: float) -> Prediction:
    keep = prediction.scores >= score
    masks = prediction.masks
    kept = None if masks is None else [m for m, k in zip(masks, keep.tolist(), strict=True) if k]
    return Prediction(prediction.boxes_xyxy[keep], prediction.scores[keep], prediction.classes[keep], kept)


def _by_image(found: predictions.Predictions, dataset: CocoDataset) -> dict[int, list[int]]:
    known = {r.image_id for r in dataset.records}
    rows: dict[int, list[int]] = {}
    for row, (image_id, category) in enumerate(
        zip(found.image_ids.tolist(), found.category_ids.tolist(), strict=True)
    ):
        if image_id not in known or category not in dataset.category_ids:
            raise DataError(
                f"{found.source}: row {row} is of image {image_id}, category {category}, which "
                f"{dataset.json_path} does not have; the two files do not belong together"
            )
        rows.setdefault(image_id, []).append(row)
    return rows


def _predicted(found: predictions.Predictions, row: int, dataset: CocoDataset, record: Record) -> Shape:
    category = dataset.category_ids.index(int(found.category_ids[row]))
    segmentation = None if found.masks is None else found.masks[row]
    mask = _mask(segmentation, (record.height, record.width), f"{found.source}: row {row}")
    box = (0.0, 0.0, 0.0, 0.0)
    if found.boxes_xywh is not None:
        x, y, w, h = found.boxes_xywh[row].tolist()
        box = (x, y, x + w, y + h)
    elif mask is not None and mask.any():
        ys, xs = np.nonzero(mask)
        box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
    return Shape(box, category, dataset.class_names[category], float(found.scores[row]), mask)


def _mask(segmentation: Any, size: tuple[int, int], name: str) -> np.ndarray | None:
    """(H, W) uint8 of polygons or an RLE of ``name``; None when there is nothing."""
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        segmentation = [np.asarray(part).tolist() for part in segmentation]
    return mask_runs.pixels(segmentation, *size, name)


def _pixels(record: Record, drawn: Drawn) -> np.ndarray | None:
    try:
        return images.read_image(record.path, "RGB", (record.height, record.width))
    except images.BadImage as error:
        drawn.skipped[str(record.path)] = str(error)
        return None


def _save(picture: np.ndarray, path: Path) -> None:
    with files.atomic_path(path) as scratch:
        Image.fromarray(picture).save(scratch, quality=_QUALITY)


def check_score(score: float) -> float:
    """--score, if it is one."""
    if not 0 <= score <= 1:
        raise ConfigError(f"--score is {score:g}; expected 0 to 1")
    return score
