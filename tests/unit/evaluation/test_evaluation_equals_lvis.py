"""Federated ground truth is scored as the lvis package and hotcoco score it, and nowhere as COCO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import coco_sets
import lvis_sets
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsl_det import predictions
from wsl_det.coco import reader
from wsl_det.errors import DataError
from wsl_det.evaluation import coco_ap, evaluate, match_table, matching, metrics
from wsl_det.evaluation.match_table import FIRST_COCO

SETS = {
    "crowded": st.sampled_from([0, 0, 0, 310]),
    "negatives": st.sampled_from([0.0, 0.4, 1.0]),
    "open_classes": st.sampled_from([0.0, 0.3, 1.0]),
    "score_digits": st.sampled_from([1, 8]),
    "masks": st.booleans(),
    "seed": st.integers(0, 2**32 - 1),
}


def numbers(truth: dict[str, Any], results: list[dict[str, Any]], iou_type: str) -> dict[str, np.ndarray]:
    table = matching.match(predictions.columns(results, source="results"), reader.from_tree(truth), iou_type)
    found = metrics.measure(table)
    ones = metrics.measure(table, np.ones((table.num_images, 1), dtype=np.uint8))
    assert list(found.metrics) == lvis_sets.METRICS
    for name, value in found.metrics.items():  # the compiled loops say the same
        np.testing.assert_allclose(ones.metrics[name], value, atol=1e-9, rtol=0)
    return {
        "metrics": np.array([values[0] for values in found.metrics.values()]),
        "by_class": found.by_class[FIRST_COCO:, :, 0],
    }


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=1e-9, rtol=0, err_msg=name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for peer in ("lvis", "hotcoco"):  # `make env` brings both
        pytest.importorskip(peer)
    return tmp_path_factory.mktemp("lvis")


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(**SETS)
def test_equal_to_lvis_and_to_hotcoco(folder: Path, seed: int, masks: bool, **kind: Any) -> None:
    truth, results = lvis_sets.make(np.random.default_rng(seed), masks=masks, **kind)
    if not results:
        return
    for iou_type in ("bbox", "segm") if masks else ("bbox",):
        found = numbers(truth, results, iou_type)
        same(found, lvis_sets.lvis(truth, results, iou_type, folder))
        same(found, lvis_sets.hotcoco(truth, results, iou_type, folder))


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32 - 1))
def test_ignore_and_iscrowd_are_read_as_lvis_reads_them(folder: Path, seed: int) -> None:
    truth, results = lvis_sets.make(np.random.default_rng(seed), flags=True)
    if results:
        same(numbers(truth, results, "bbox"), lvis_sets.lvis(truth, results, "bbox", folder))


@pytest.mark.parametrize("seed", range(3))
def test_what_has_no_area_is_not_there_as_in_lvis(folder: Path, seed: int) -> None:
    truth, results = lvis_sets.make(np.random.default_rng(seed), masks=True, crowded=310)
    for annotation in truth["annotations"][::3]:
        annotation["area"] = 0
    for row in results[::4]:
        row["bbox"] = [*row["bbox"][:2], 0, 9]
        row["segmentation"] = coco_sets.rle_of([0, 0, 0, 0])
    same(numbers(truth, results, "bbox"), lvis_sets.lvis(truth, results, "bbox", folder))
    assert any("an area of 0" in note for note in evaluate(truth, results)["meta"]["notes"])
    for annotation in truth["annotations"]:
        annotation["area"] = annotation["area"] or 1
    same(numbers(truth, results, "segm"), lvis_sets.lvis(truth, results, "segm", folder))


def test_id_0_is_an_id(folder: Path) -> None:
    truth, results = lvis_sets.make(np.random.default_rng(5))
    wanted = lvis_sets.lvis(truth, results, "bbox", folder)
    for annotation in truth["annotations"]:
        annotation["id"] -= 1  # lvis would take the match with annotation 0 for none
    same(numbers(truth, results, "bbox"), wanted)


def test_results_file_has_lvis_numbers_and_the_first_line_says_so(tmp_path: Path) -> None:
    truth, results = lvis_sets.make(np.random.default_rng(6), masks=True)
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "p.json").write_text(json.dumps(results))
    for asked in (None, "lvis"):
        content = evaluate(tmp_path / "gt.json", tmp_path / "p.json", protocol=asked)
        for iou_type in ("bbox", "segm"):
            assert list(content[iou_type]) == [*lvis_sets.METRICS, "AP_by_iou", "AP_by_class"]
        assert content["meta"]["protocol"] == "lvis"
        first = coco_ap.lines(content)[0]
        assert first == "protocol: LVIS, at most 300 detections an image over all classes"


def test_a_federated_file_is_not_scored_as_coco_nor_another_as_lvis(tmp_path: Path) -> None:
    truth, results = lvis_sets.make(np.random.default_rng(7))
    with pytest.raises(DataError, match=r"is federated.*neg_category_ids.*COCO's protocol would count"):
        evaluate(truth, results, protocol="coco")
    del truth["images"][1]["neg_category_ids"]
    with pytest.raises(DataError, match="image 3 has no neg_category_ids"):
        evaluate(truth, results)
    for image in truth["images"]:
        image.pop("neg_category_ids", None)
        del image["not_exhaustive_category_ids"]
    with pytest.raises(DataError, match="neither neg_category_ids nor not_exhaustive_category_ids"):
        evaluate(truth, results, protocol="lvis")
    assert coco_ap.lines(evaluate(truth, results))[0].startswith("protocol: COCO, at most 100")


def test_tables_are_kept_with_their_protocol(tmp_path: Path) -> None:
    truth, results = lvis_sets.make(np.random.default_rng(8))
    table = matching.match(predictions.columns(results, source="r"), reader.from_tree(truth), "bbox")
    table.save(tmp_path / "t.npz")
    again = match_table.load(tmp_path / "t.npz")
    assert again.protocol is table.protocol
    assert metrics.measure(again).metrics.keys() == metrics.measure(table).metrics.keys()
    np.testing.assert_equal(metrics.measure(again).metrics, metrics.measure(table).metrics)
