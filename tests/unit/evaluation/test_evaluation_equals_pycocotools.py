"""Every number equals pycocotools' to 1e-9, on generated, random and published sets."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import coco_sets
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsl_det import predictions
from wsl_det.coco import reader
from wsl_det.evaluation import average_precision, evaluate, matching, metrics

CASES: dict[str, dict[str, Any]] = {
    "crowds, ties, empty image, absent class": {"score_digits": 1, "crowd_rate": 0.3},
    "bbox only": {"masks": False},
    "more than 100 detections of a class in an image": {
        "images": 3,
        "classes": 1,
        "noise": 260,
        "masks": False,
    },
    "many classes, few objects": {"classes": 30, "images": 20},
    "no crowds, unique scores": {"crowd_rate": 0.0, "score_digits": 15},
}


def compare(truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str) -> None:
    table = matching.match(predictions.columns(results, source="results"), reader.from_tree(truth), iou_type)
    ours = metrics.measure(table)
    theirs = coco_sets.reference(truth, results, iou_type)
    for name, value in theirs["metrics"].items():
        np.testing.assert_allclose(ours.metrics[name][0], value, rtol=0, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(ours.by_class[:, :, 0], theirs["by_class"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("case", "iou_type"),
    [
        (case, kind)
        for case, options in CASES.items()
        for kind in ("bbox", "segm")
        if kind == "bbox" or options.get("masks", True)
    ],
)
def test_generated_sets(case: str, iou_type: str) -> None:
    for seed in range(3):
        compare(*coco_sets.make(np.random.default_rng(seed), **CASES[case]), iou_type)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(data=st.data())
def test_random_sets(data: st.DataObject) -> None:
    """Boxes on a coarse grid, so that equal overlaps, equal scores and touching edges are common."""
    side = st.integers(0, 6)
    number = st.integers(1, 3)
    truth: dict[str, Any] = {
        "images": [{"id": i, "height": 200, "width": 200} for i in (4, 0, 9)],
        "categories": [{"id": i, "name": "same"} for i in (7, 0)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": name, "bbox": [x * 10, y * 10, w * 13, h * 13],
             "area": w * h * 169, "iscrowd": crowd}
            for i, (image, name, x, y, w, h, crowd) in enumerate(
                data.draw(st.lists(st.tuples(st.sampled_from([0, 4, 9]), st.sampled_from([0, 7]), side, side,
                                             number, number, st.integers(0, 1)), min_size=1, max_size=12)))
        ],
    }  # fmt: skip
    results = [
        {"image_id": image, "category_id": name, "bbox": [x * 10, y * 10, w * 13, h * 13], "score": score / 4}
        for image, name, x, y, w, h, score in data.draw(
            st.lists(st.tuples(st.sampled_from([0, 4, 9]), st.sampled_from([0, 7]), side, side,
                               number, number, st.integers(0, 4)), min_size=1, max_size=25))
    ]  # fmt: skip
    compare(truth, results, "bbox")


def test_recall_points_reached_are_those_of_pycocotools() -> None:
    """All recalls of up to 400 objects, met exactly or not: numpy.searchsorted in linspace is the rule."""
    points = np.linspace(0, 1, 101)
    for objects in [*range(1, 402, 7), 100, 200, 300, 35, 41, 1000]:
        true = np.arange(objects + 1, dtype=np.int32)
        expected = np.searchsorted(points, true / objects, side="right")
        found = np.empty(objects + 1)
        average_precision._points_reached(true, np.full(objects + 1, 100.0 / objects), found)
        np.testing.assert_array_equal(found, expected, err_msg=str(objects))


def test_results_file_has_the_documented_form(tmp_path: Path) -> None:
    truth, results = coco_sets.make(np.random.default_rng(5))
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "p.json").write_text(json.dumps(results))
    content = evaluate(tmp_path / "gt.json", tmp_path / "p.json", ["bbox", "segm"])
    json.dumps(content, allow_nan=False)
    for iou_type in ("bbox", "segm"):
        numbers = content[iou_type]
        want = coco_sets.reference(truth, results, iou_type)
        assert list(numbers) == [*coco_sets.METRICS, "AP_by_iou", "AP_by_class"]
        assert list(numbers["AP_by_iou"]) == [f"{0.5 + 0.05 * i:.2f}" for i in range(10)]
        assert numbers["AP"] == pytest.approx(want["metrics"]["AP"], abs=1e-9)
        assert numbers["AP_by_iou"]["0.75"] == pytest.approx(want["metrics"]["AP75"], abs=1e-9)
        for k, numbers_of_class in enumerate(numbers["AP_by_class"].values()):
            expected = want["by_class"][2:, k]
            if np.isnan(expected).any():
                assert numbers_of_class == {"AP": None, "AP50": None}
            else:
                assert numbers_of_class["AP"] == pytest.approx(expected.mean(), abs=1e-9)
                assert numbers_of_class["AP50"] == pytest.approx(expected[0], abs=1e-9)
    assert content["meta"]["made_from"]["gt"]["sha256"]
    assert "renumbered" in content["meta"]["notes"][0]


def test_masks_beside_boxes_use_the_area_of_the_mask() -> None:
    """A detection file with both must score masks as one with masks alone: the size bins differ otherwise."""
    truth, results = coco_sets.make(np.random.default_rng(3), size=120, noise=15)
    without_boxes = [{k: v for k, v in row.items() if k != "bbox"} for row in results]
    assert evaluate(truth, results, ["segm"])["segm"] == evaluate(truth, without_boxes, ["segm"])["segm"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("iou_type", "expected"), [("bbox", (50.4581, 69.6973, 57.2982)), ("segm", (31.9545, 56.2288, 29.8927))]
)
def test_published_fixture(tmp_path: Path, iou_type: str, expected: tuple[float, ...]) -> None:
    archive = Path(__file__).parents[3].parent / "shared" / "data" / "coco_ap_fixture.tar"
    if not archive.exists():
        pytest.skip(f"{archive} is absent")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    folder = tmp_path / "coco_ap_fixture"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / f"instances_val2014_fake{iou_type}100_results.json").read_text())
    numbers = evaluate(truth, results, [iou_type])[iou_type]
    assert (numbers["AP"], numbers["AP50"], numbers["AP75"]) == pytest.approx(expected, abs=1e-4)
    compare(truth, results, iou_type)
