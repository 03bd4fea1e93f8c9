"""Photos in which the sides differ most, over all classes and by class, with every box of both sides."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsl_det.coco import masks as mask_runs
from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core import photos
from wsl_det.core.pages import printable
from wsl_det.errors import DataError
from wsl_det.evaluation import matching
from wsl_det.evaluation.match_table import COCO_THRESHOLDS, FIRST_COCO, IGNORED, MatchTable
from wsl_det.gain import mends, side
from wsl_det.gain.compared import Compared
from wsl_det.gain.pairs import ImagePairs
from wsl_det.predictions import Predictions

SHOTS = 4
"""Photos of wins, and as many of losses."""
SIDE = 520
"""Longest side of an embedded picture, in pixels."""
KINDS = ("found", "classification", "localization", "duplicate", "background")
"""What a detection is, at an IoU of 0.5: found an object, or one of the kinds of error of ``mends``."""
FOUND = KINDS.index("found")
SIGNS = {"found": "✓", "classification": "C", "localization": "L", "duplicate": "D", "background": "B",
         "missed": "M"}  # fmt: skip
LONGEST = 22
"""Characters of a class name that are written on a box."""


@dataclass(frozen=True)
class Shown:
    """The detections of one side that the gallery shows: as many as there are objects, best first.

    chosen: (N,) into ``pairs``. kind: (D,) into ``KINDS``, -1 for what is neither found nor false.
    target: (D,) the object that a detection is about, or -1.
    """

    table: MatchTable
    pairs: ImagePairs
    run: Predictions
    chosen: np.ndarray
    kind: np.ndarray
    target: np.ndarray

    def balance(self, label: int | None = None) -> np.ndarray:
        """(I,) found minus false detections of each image, of all classes or of one."""
        those = self.chosen if label is None else self.chosen[self.pairs.label[self.chosen] == label]
        change = np.where(self.kind[those] == FOUND, 1, -1)
        return np.bincount(self.pairs.image[those], weights=change, minlength=self.table.num_images)


def choose(
    report: Compared, folder: str | Path, changed: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The shots of the gallery, wins first; images that cannot be read are passed over.

    Ranked by how the count of found objects minus false detections differs between the sides (first
    run each) at IoU 0.5; then, for each class of ``changed`` (rows of ``by_class``), the photo in which it
    changed most in its own direction. Raises DataError when the folder has none of the images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"image folder {folder} does not exist; --images names the folder of the test images")
    sides = _shown(report)
    shots: dict[int, dict[str, Any]] = {}
    unread: set[int] = set()
    for title, ranked, most, about in _wanted(report, sides, changed):
        taken = 0
        for i in ranked.tolist():
            if taken == most:
                break
            if i not in shots and i not in unread:
                name = report.truth.file_names[i]
                picture = None if name is None else _thumbnail(folder, name)
                if picture is None:
                    unread.add(i)
                else:
                    shots[i] = _shot(i, title, report, sides, picture)
            if i in shots:
                taken += 1
                shots[i]["about"] += about
    if not shots and unread:
        raise DataError(f"none of the images named in {report.truth.source} can be read in {folder}")
    return list(shots.values())


def _wanted(
    report: Compared, sides: Sequence[Shown], changed: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, np.ndarray, int, list[int]]]:
    """(title, images by how well they show it, how many of them, category ids that it is about)."""
    name = report.content["meta"]["names"]["candidate"]
    labels = {int(k): i for i, k in enumerate(report.truth.category_ids)}
    wanted: list[tuple[str, int, int, int | None]] = [
        (f"{name} wins", 1, SHOTS, None), (f"{name} loses", -1, SHOTS, None)
    ]  # fmt: skip
    for row in changed:
        way = 1 if row["gain"] > 0 else -1
        wanted.append((f"{row['name']} {'gains' if way > 0 else 'loses'}", way, 1, row["category_id"]))
    for title, way, most, category in wanted:
        label = None if category is None else labels[category]
        lead = way * (sides[1].balance(label) - sides[0].balance(label))
        order = np.argsort(-lead, kind="stable")
        yield title, order[: int((lead > 0).sum())], most, [] if category is None else [category]


def _shown(report: Compared) -> list[Shown]:
    iou_type = report.iou_types()[0]
    truth, runs = report.truth, (report.baseline[0], report.candidate[0])
    shapes = matching.object_shapes(truth, iou_type)
    sides = [side.build([run], truth, shapes, iou_type) for run in runs]
    overlap = mends.foreground([one.pairs[0] for one in sides])
    shown = []
    for run, one in zip(runs, sides, strict=True):
        table, pairs = one.tables[0], one.pairs[0]
        target = mends.targets(pairs, 0, overlap)
        kind = _kinds(pairs, target)
        kind[table.status[0, FIRST_COCO][pairs.place] == IGNORED] = -1
        best = np.arange(min(int(table.counts[0].sum()), len(kind)))
        shown.append(Shown(table, pairs, run, best[kind[best] >= 0], kind, target))
    return shown


def _kinds(pairs: ImagePairs, target: np.ndarray) -> np.ndarray:
    """(D,) into ``KINDS``; the class decides before the box, as the kinds' sentences on the page say."""
    about = target >= 0
    own, near = about.copy(), about.copy()
    own[about] = pairs.object_label[target[about]] == pairs.label[about]
    first = pairs.object_starts[pairs.image[about]]
    near[about] = (
        pairs.overlap[pairs.overlap_starts[:-1][about] + target[about] - first] >= COCO_THRESHOLDS[0]
    )
    ways = [pairs.matched[0] >= 0, ~about, own & near, own]
    places = [KINDS.index(name) for name in ("found", "background", "duplicate", "localization")]
    return np.select(ways, places, KINDS.index("classification"))


def _thumbnail(folder: Path, name: str) -> tuple[str, float, int, int] | None:
    """(data URL, scale, width, height) of a picture upright; None for one that ``photos`` refuses."""
    try:
        with photos.opened(photos.below(folder, name)) as file:
            picture = photos.rgb(file)
    except photos.BadImage:
        return None
    scale = min(1.0, SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    data = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS).save(data, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}", scale, *size


def _shot(
    i: int, title: str, report: Compared, sides: Sequence[Shown], picture: tuple[str, float, int, int]
) -> dict[str, Any]:
    data, scale, width, height = picture
    truth, names = report.truth, report.content["meta"]["names"]
    panes = [
        _pane(names[key], i, truth, one, (scale, width, height))
        for key, one in zip(("baseline", "candidate"), sides, strict=True)
    ]
    here = [truth.object_class[truth.object_image == i]]
    here += [one.pairs.label[one.chosen[one.pairs.image[one.chosen] == i]] for one in sides]
    return {
        "id": f"photo{i}",
        "title": title,
        "name": truth.file_names[i],
        "data": data,
        "width": width,
        "height": height,
        "stroke": round(width / 190, 2),
        "letters": _letters(width),
        "panes": panes,
        "about": [],
        "shows": [int(truth.category_ids[k]) for k in np.unique(np.concatenate(here))],
    }


def _letters(width: int) -> float:
    """Height of the letters, in pixels of a picture that stands some 360 pixels wide on the page."""
    return round(width * 0.03, 2)


def _pane(label: str, i: int, truth: GroundTruth, one: Shown, size: tuple[float, int, int]) -> dict[str, Any]:
    pairs = one.pairs
    here = one.chosen[pairs.image[one.chosen] == i]
    wanted = set(one.target[here].tolist())
    objects = np.flatnonzero((truth.object_image == i) & pairs.counted)
    shapes = []
    for o in objects:
        name = truth.class_names[truth.object_class[o]]
        kind = "truth" if o in wanted else "missed"
        shapes.append(_shape(truth.object_boxes_xywh[o], kind, name, None, size))
    rows = one.table.row[pairs.place[here]]
    boxes = _boxes(one.run, rows, truth.image_sizes[i])
    # False ones first, so that what was found lies over them.
    for d, box in sorted(zip(here, boxes, strict=True), key=lambda pair: one.kind[pair[0]] == FOUND):
        name, score = truth.class_names[pairs.label[d]], float(one.table.score[pairs.place[d]])
        shapes.append(_shape(box, KINDS[one.kind[d]], name, score, size))
    _place([shape for shape in shapes if shape["letters"]], size)
    counts = {kind: sum(shape["kind"] == kind for shape in shapes) for kind in (*KINDS, "missed")}
    told = f"{counts['found']} of {len(objects)} found"
    told += "".join(f", {number} {kind}" for kind, number in counts.items() if number and kind != "found")
    return {"label": label, "shapes": shapes, "count": told}


def _boxes(run: Predictions, rows: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(N, 4) xywh of detections; of their masks where the predictions carry no boxes."""
    if run.boxes_xywh is not None:
        return run.boxes_xywh[rows]
    assert run.masks is not None, "predictions carry boxes or masks"
    sizes = np.tile(size, (len(rows), 1))
    return mask_runs.read(
        [run.masks[i] for i in rows], sizes, lambda k: f"{run.source}: row {rows[k]}"
    ).boxes_xywh


def _shape(
    box: np.ndarray, kind: str, name: str, score: float | None, size: tuple[float, int, int]
) -> dict[str, Any]:
    x, y, w, h = (round(float(v) * size[0], 1) for v in box)
    told = name if score is None else f"{name} {score:.2f}"
    letters = "" if kind == "truth" else f"{SIGNS[kind]} {printable(name, LONGEST)}"
    letters += "" if score is None else f" {score:.2f}"
    return {"x": x, "y": y, "w": w, "h": h, "kind": kind, "text": f"{told} ({kind})", "letters": letters}


def _place(shapes: Sequence[dict[str, Any]], size: tuple[float, int, int]) -> None:
    """Put the letters of each box at one of its edges: the first free one, else where they cover least."""
    _, width, height = size
    high = 1.25 * _letters(width)
    taken: list[tuple[float, float, float]] = []
    for shape in shapes:
        long = 0.5 * high * len(shape["letters"])
        left = max(min(shape["x"], width - long), 0.2 * high)
        edges = [shape["y"] - 0.2 * high, shape["y"] + high, shape["y"] + shape["h"] - 0.3 * high,
                 shape["y"] + shape["h"] + high]  # fmt: skip
        feet = [min(max(foot, high), height - 0.2 * high) for foot in edges]

        def covered(foot: float, left: float = left, long: float = long) -> float:
            return sum(
                max(0.0, min(left + long, x + w) - max(left, x)) * max(0.0, high - abs(foot - y))
                for x, y, w in taken
            )

        foot = min(feet, key=covered)
        taken.append((left, foot, long))
        shape["at"] = round(left, 1), round(foot, 1)
