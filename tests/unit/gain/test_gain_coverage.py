"""What two lists cover: unlike lists are refused by name, sound pairs pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import mixtures, simulation
from benchmarks.simulation import Detector
from wsl_det import predictions
from wsl_det.coco import reader
from wsl_det.errors import DataError
from wsl_det.evaluation import coco_ap
from wsl_det.gain import coverage, report
from wsl_det.gain.comparison import Options

Rows = list[dict[str, Any]]
FEW = Options(4, 0)


@pytest.fixture(scope="module")
def lists() -> tuple[dict[str, Any], Rows, Rows]:
    """An annotation tree and two sound lists of 28 images."""
    scene = simulation.world(images=28, classes=6, seed=9)
    detectors = Detector(box_noise=0.05, background=7.0), Detector(box_noise=0.04, background=7.0, missed=0.1)
    trees = [simulation.to_coco(scene, simulation.detect(scene, one)) for one in detectors]
    return trees[0][0], trees[0][1], trees[1][1]


def write(folder: Path, tree: dict[str, Any], a: Rows, b: Rows) -> tuple[Path, Path, Path]:
    paths = folder / "gt.json", folder / "a" / "p.json", folder / "b" / "p.json"
    for path, content in zip(paths, (tree, a, b), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return paths


def half_the_images(rows: Rows) -> Rows:
    return [row for row in rows if row["image_id"] % 2]


def threshold(rows: Rows) -> Rows:
    return [row for row in rows if row["score"] >= 0.7]


def limit(rows: Rows) -> Rows:
    kept: Rows = []
    for image in {row["image_id"] for row in rows}:
        here = [row for row in rows if row["image_id"] == image]
        kept += sorted(here, key=lambda row: -row["score"])[:5]
    return kept


def corners(rows: Rows) -> Rows:
    def change(x: float, y: float, w: float, h: float) -> list[float]:
        return [x, y, x + w, y + h]

    return [{**row, "bbox": change(*row["bbox"])} for row in rows]


def shares(rows: Rows) -> Rows:
    size = np.tile([simulation.WIDTH, simulation.HEIGHT], 2)
    return [{**row, "bbox": (np.array(row["bbox"]) / size).tolist()} for row in rows]


def rotated(rows: Rows) -> Rows:
    return [{**row, "category_id": row["category_id"] % 6 + 1} for row in rows]


UNLIKE: dict[Callable[[Rows], Rows], str] = {
    half_the_images: "no detections on 14 of 28 images",
    threshold: "scores: .*lowest",
    limit: "detections an image: .*at most 5, on 2[0-9] of 28 images",
    corners: r"boxes of .* fit as \[x0, y0, x1, y1\]",
    shares: r"boxes of .* fit as \[x, y, width, height\] as shares of the image",
    lambda rows: shares(corners(rows)): r"fit as \[x0, y0, x1, y1\] as shares of the image",
    rotated: "category ids of .* are in another order",
}


@pytest.mark.parametrize("change", UNLIKE)
@pytest.mark.parametrize("side", [0, 1])
def test_unlike_lists_are_refused(
    lists: tuple[dict[str, Any], Rows, Rows], tmp_path: Path, change: Callable[[Rows], Rows], side: int
) -> None:
    tree, *sides = lists
    sides[side] = change(sides[side])
    gt, a, b = write(tmp_path, tree, *sides)
    with pytest.raises(DataError, match=rf"(?s)not alike.*{UNLIKE[change]}.*--allow-mismatch"):
        report.make(gt, [a], [b], FEW)
    made = report.make(gt, [a], [b], FEW, allow_mismatch=True)
    assert [d for d in made.content["meta"]["differences"] if not d["free"]]


def test_sound_lists_pass_and_what_they_cover_is_told(
    lists: tuple[dict[str, Any], Rows, Rows], tmp_path: Path
) -> None:
    tree, first, second = lists
    # Four images of 28 without detections: a detector may find nothing there.
    first = [row for row in first if row["image_id"] > 4]
    gt, a, b = write(tmp_path, tree, first, second)
    made = report.make(gt, [a], [b], FEW)
    shown = made.content["meta"]["coverage"]["baseline"][0]
    assert (shown["images"], shown["without"], shown["detections"]) == (28, 4, len(first))
    assert shown["lowest_score"] == min(row["score"] for row in first)
    assert any("no detections on 4 of 28 images" in note for note in made.content["meta"]["notes"])
    assert "no detections on 4 of 28 images" in made.html()


def test_identical_lists_are_a_warning(lists: tuple[dict[str, Any], Rows, Rows], tmp_path: Path) -> None:
    tree, first, _ = lists
    gt, a, b = write(tmp_path, tree, first, first[::-1])
    made = report.make(gt, [a], [b], Options(100, 0))
    assert any("two lists are identical" in note for note in made.content["meta"]["notes"])
    assert {row["p"] for row in made.content["bbox"]["metrics"].values()} == {1.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [(corners, "[x0, y0, x1, y1]"), (shares, "shares of the image"), (rotated, "in another order")],
)
def test_one_list_alone_is_warned_of(
    lists: tuple[dict[str, Any], Rows, Rows], change: Callable[[Rows], Rows], said: str
) -> None:
    tree, first, _ = lists
    assert coco_ap.evaluate(tree, first)["meta"]["notes"] == []
    assert said in coco_ap.evaluate(tree, change(first))["meta"]["notes"][0]


def test_category_ids_of_masks_without_boxes_are_looked_at_too(
    lists: tuple[dict[str, Any], Rows, Rows], tmp_path: Path
) -> None:
    def masked(rows: Rows) -> Rows:
        return [{k: v for k, v in r.items() if k != "bbox"} | {"segmentation": outline(r)} for r in rows]

    def outline(row: dict[str, Any]) -> list[list[float]]:
        x, y, w, h = row["bbox"]
        return [[x, y, x + w, y, x + w, y + h, x, y + h]]

    tree, first, second = lists
    tree = tree | {"annotations": [one | {"segmentation": outline(one)} for one in tree["annotations"]]}
    gt, a, b = write(tmp_path, tree, masked(first), masked(second))
    report.make(gt, [a], [b], FEW)
    b.write_text(json.dumps(masked(rotated(second))))
    with pytest.raises(DataError, match=r"category ids of .*another order"):
        report.make(gt, [a], [b], FEW)


def test_weak_detectors_are_not_strange() -> None:
    """Planted mixtures of every base AP, and one that calls everything by one name."""
    for seed in range(9):
        mixture = mixtures.draw(seed, seed % 3, localization=seed % 2 == 0, images=100)
        runs = [mixtures.detect(mixture.scene, one) for one in (mixture.base, mixture.detector())]
        assert coverage.check(runs[:1], runs[1:], mixture.scene.truth)[1] == [], seed
    scene = simulation.world(images=100, classes=6, seed=9)
    _, rows = simulation.to_coco(scene, simulation.detect(scene, Detector()))
    truth = reader.from_tree(simulation.to_coco(scene, simulation.detect(scene, Detector()))[0])
    collapsed = predictions.columns([{**row, "category_id": 3} for row in rows], source="one name")
    assert coverage.check([collapsed], [collapsed], truth)[1] == []
