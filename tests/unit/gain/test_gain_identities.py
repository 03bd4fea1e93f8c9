"""What must hold whatever the data: sums, signs, weights. To 1e-9."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import simulation
from benchmarks.simulation import Detector
from wsl_det import predictions
from wsl_det.coco import reader
from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.evaluation import matching, metrics
from wsl_det.gain import attribution, comparison, factors, measures, mends, resamples, side
from wsl_det.gain.comparison import Options

OPTIONS = Options(bootstrap=40, attribution_bootstrap=10)
SIDES = {
    "weak": Detector(box_noise=0.12, missed=0.3),
    "strong": Detector(class_error=0.08, background=2.0),
    "strict": Detector(box_noise=0.08, follows_iou=4.0),
}


@pytest.fixture(scope="module")
def scene() -> simulation.World:
    return simulation.world(images=60, classes=5, seed=4)


def record(scene: simulation.World, a: list[str], b: list[str]) -> dict[str, Any]:
    shapes = matching.object_shapes(scene.truth, "bbox")
    sides = [
        side.build(
            [simulation.detect(scene, SIDES[n], luck=i) for i, n in enumerate(names)],
            scene.truth,
            shapes,
            "bbox",
        )
        for names in (a, b)
    ]
    return comparison.compare(sides[0], sides[1], OPTIONS, measures.quiet)


@pytest.fixture(scope="module")
def gain(scene: simulation.World) -> dict[str, Any]:
    return record(scene, ["weak"], ["strong"])


@pytest.fixture(scope="module")
def reverse(scene: simulation.World) -> dict[str, Any]:
    return record(scene, ["strong"], ["weak"])


@pytest.mark.parametrize(
    "names", [(["weak"], ["strong"]), (["weak", "strict"], ["strong", "strong", "strict"])]
)
def test_parts_add_to_the_gain(scene: simulation.World, names: tuple[list[str], list[str]]) -> None:
    one = record(scene, *names)
    total = one["metrics"]["AP"]["gain"]
    for tau in comparison.ANCHORS:
        split = one["two_factor"][tau]
        assert split["recognition"] + split["localization"] == pytest.approx(total, abs=1e-9)
    assert sum(share["gain"] for share in one["attribution"].values()) == pytest.approx(total, abs=1e-9)
    for name in ("baseline", "candidate"):
        burdens = sum(share["burden"][name] for share in one["attribution"].values())
        assert burdens == pytest.approx(np.log(100) - np.log(one["metrics"]["AP"][name]), abs=1e-9)


def test_exchanging_the_sides_changes_every_sign(gain: dict[str, Any], reverse: dict[str, Any]) -> None:
    for name, row in gain["metrics"].items():
        back = reverse["metrics"][name]
        assert back["gain"] == pytest.approx(-row["gain"], abs=1e-9)
        assert back["interval"] == pytest.approx([-b for b in reversed(row["interval"])], abs=1e-9)
        assert back["p"] == row["p"]
    for tau, split in gain["two_factor"].items():
        for part in ("recognition", "localization"):
            assert reverse["two_factor"][tau][part] == pytest.approx(-split[part], abs=1e-9)
    for kind, share in gain["attribution"].items():
        assert reverse["attribution"][kind]["gain"] == pytest.approx(-share["gain"], abs=1e-9)
    for row, back in zip(gain["curve"], reverse["curve"], strict=True):
        assert back["gain"] == pytest.approx(-row["gain"], abs=1e-9)


def test_identical_sides_give_zeros_and_p_of_one(scene: simulation.World) -> None:
    one = record(scene, ["weak"], ["weak"])
    for row in one["metrics"].values():
        assert (row["gain"], row["interval"], row["p"]) == (0.0, [0.0, 0.0], 1.0)
    for split in one["two_factor"].values():
        assert (split["recognition"], split["localization"]) == (0.0, 0.0)
    for share in one["attribution"].values():
        assert (share["gain"], share["interval"]) == (0.0, [0.0, 0.0])
    assert {row["p"] for row in one["by_class"]} == {1.0}


def test_curve_and_anchors_are_the_plain_numbers(scene: simulation.World, gain: dict[str, Any]) -> None:
    measured = metrics.measure(
        matching.match(simulation.detect(scene, SIDES["weak"], luck=0), scene.truth, "bbox")
    )
    assert [row["baseline"] for row in gain["curve"]] == pytest.approx(
        measured.by_iou[2:, 0].tolist(), abs=1e-9
    )
    assert [row["iou"] for row in gain["curve"]] == [round(0.5 + 0.05 * i, 2) for i in range(10)]
    assert gain["two_factor"]["0.1"]["anchor"]["baseline"] == pytest.approx(measured.by_iou[0, 0], abs=1e-9)
    for row in gain["curve"]:
        expected = row["gain"] / row["baseline"] if row["baseline"] >= 1 else None
        assert row["relative"] == expected


def test_weights_of_one_are_the_plain_numbers(scene: simulation.World) -> None:
    table = matching.match(simulation.detect(scene, SIDES["weak"]), scene.truth, "bbox")
    plain = measures.columns(table)
    many = measures.columns(table, np.ones((table.num_images, 70), dtype=np.uint8))
    assert many.shape == (plain.shape[0], 70)
    np.testing.assert_allclose(many, np.broadcast_to(plain, many.shape), rtol=0, atol=1e-12)


def duplicated(
    scene: simulation.World, found: predictions.Predictions, weights: np.ndarray
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The data with every image as often as its weight, copies next to the original in id order."""
    truth, results = simulation.to_coco(scene, found)
    copies = {image["id"]: int(w) for image, w in zip(truth["images"], weights, strict=True)}
    out: dict[str, Any] = {"categories": truth["categories"], "images": [], "annotations": []}
    for image in truth["images"]:
        out["images"] += [{**image, "id": image["id"] * 10 + c} for c in range(copies[image["id"]])]
    for annotation in truth["annotations"]:
        for c in range(copies[annotation["image_id"]]):
            number = len(out["annotations"]) + 1
            out["annotations"].append(
                {**annotation, "id": number, "image_id": annotation["image_id"] * 10 + c}
            )
    rows = [{**r, "image_id": r["image_id"] * 10 + c} for r in results for c in range(copies[r["image_id"]])]
    return out, rows


def test_integer_weights_equal_duplicated_images(scene: simulation.World) -> None:
    """All metrics, AP by IoU, by class, and AP after every subset of mends."""
    found = simulation.detect(scene, SIDES["weak"])
    # Scores of two decimals tie across images; inside an image ties have no defined order when it is copied.
    ids = np.arange(len(found)) % 97
    found = replace(
        found, scores=np.round(found.scores, 2) + np.where(found.image_ids % 2 == 0, 0, 1e-4) + ids * 1e-7
    )
    weights = resamples.multiplicities(60, 3, seed=8)
    table, images = both(found, scene.truth)
    weighted = measures.columns(table, weights)
    values = mends.values(images, weights)
    for b in range(weights.shape[1]):
        truth, rows = duplicated(scene, found, weights[:, b])
        copies = reader.from_tree(copy.deepcopy(truth))
        hard_table, hard_images = both(predictions.columns(rows, source="copies"), copies)
        np.testing.assert_allclose(weighted[:, b], measures.columns(hard_table)[:, 0], rtol=0, atol=1e-9)
        ones = np.ones((len(truth["images"]), 1), dtype=np.uint8)
        np.testing.assert_allclose(values[:, b], mends.values(hard_images, ones)[:, 0], rtol=0, atol=1e-9)


def both(found: predictions.Predictions, truth: GroundTruth) -> tuple[Any, Any]:
    built = side.build([found], truth, matching.object_shapes(truth, "bbox"), "bbox")
    return built.tables[0], built.pairs[0]


def test_no_mend_is_plain_ap_and_all_mends_are_perfect(scene: simulation.World) -> None:
    for detector in SIDES.values():
        table, images = both(simulation.detect(scene, detector), scene.truth)
        weights = np.concatenate(
            [np.ones((60, 1), np.uint8), resamples.multiplicities(60, 5, seed=1)], axis=1
        )
        values = mends.values(images, weights)
        np.testing.assert_allclose(
            values[0], metrics.measure(table, weights).metrics["AP"], rtol=0, atol=1e-9
        )
        np.testing.assert_allclose(values[-1], 100, rtol=0, atol=1e-9)


def test_logarithmic_mean_and_factors_on_a_drawn_out_case() -> None:
    assert factors.logarithmic_mean(np.array(30.0), np.array(30.0)) == pytest.approx(30.0, abs=1e-12)
    assert factors.logarithmic_mean(np.array(20.0), np.array(40.0)) == pytest.approx(
        20 / np.log(2), abs=1e-12
    )
    assert np.isnan(factors.logarithmic_mean(np.array(0.0), np.array(40.0)))
    close = factors.logarithmic_mean(np.array(30.0), np.array(30.0 + 1e-9))
    assert close == pytest.approx(30.0 + 5e-10, abs=1e-13)
    recognition, localization = factors.two_factors(
        np.array(20.0), np.array(50.0), np.array(40.0), np.array(50.0)
    )
    assert (recognition, localization) == (0.0, 20.0)


def test_shapley_weights_divide_a_known_game() -> None:
    weights = attribution.shapley_weights(3)
    additive = np.array([sum(v for i, v in enumerate((1.0, 2.0, 4.0)) if s >> i & 1) for s in range(8)])
    assert (weights @ additive).tolist() == pytest.approx([1, 2, 4], abs=1e-12)
    # Only 0 and 1 together win: they share, 2 gets nothing.
    glove = np.array([float(s & 3 == 3) for s in range(8)])
    assert (weights @ glove).tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-12)
