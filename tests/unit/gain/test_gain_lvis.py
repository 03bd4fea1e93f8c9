"""The report on federated ground truth: its numbers, oracles on checked pairs, bands and intervals."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import lvis_sets
import numpy as np
import pytest

from benchmarks import bench_bands
from wsl_det import predictions
from wsl_det.coco import reader
from wsl_det.core import seed as seeds
from wsl_det.evaluation import matching
from wsl_det.gain import bands, gate, measures, mends, report, resamples, side, verdict
from wsl_det.gain.comparison import Options

Rows = list[dict[str, Any]]


def built(tree: dict[str, Any], found: Rows) -> side.Side:
    truth = reader.from_tree(tree)
    shapes = matching.object_shapes(truth, "bbox")
    return side.build([predictions.columns(found, source="r")], truth, shapes, "bbox")


def values(tree: dict[str, Any], found: Rows) -> dict[int, float]:
    one = built(tree, found)
    ones = np.ones((one.tables[0].num_images, 1), dtype=np.uint8)
    return dict(zip(mends.SUBSETS, mends.values(one.pairs[0], ones)[:, 0], strict=True))


@pytest.fixture(scope="module")
def sides() -> tuple[dict[str, Any], Rows, Rows]:
    tree, found = lvis_sets.make(np.random.default_rng(3), images=30, classes=6, score_digits=8)
    for i, category in enumerate(tree["categories"]):
        category["frequency"] = "rcf"[i % 3]
    rng = np.random.default_rng(0)
    return tree, found, [row for row in found if rng.random() < 0.8]


@pytest.mark.parametrize("empty", [False, True])
def test_mending_everything_gives_100_and_nothing_gives_ap(
    sides: tuple[dict[str, Any], Rows, Rows],
    empty: bool,
) -> None:
    tree, found, _ = copy.deepcopy(sides)
    for row in tree["annotations"][::4] if empty else ():
        row["area"] = 0
    for row in found[::4] if empty else ():
        row["bbox"][2] = 0
    mended = values(tree, found)
    assert mended[31] == pytest.approx(100)
    assert mended[0] == pytest.approx(measures.columns(built(tree, found).tables[0])[0, 0], abs=1e-9)
    assert all(value >= mended[0] - 1e-9 for value in mended.values())


def tiny(**lists: list[int]) -> dict[str, Any]:
    box = {"bbox": [10, 10, 40, 40], "area": 1600, "image_id": 0, "id": 1, "category_id": 0}
    image = {"id": 0, "height": 99, "width": 99, "neg_category_ids": [], "not_exhaustive_category_ids": []}
    categories = [{"id": k, "name": str(k), "frequency": "r"} for k in range(3)]
    return {"images": [image | lists], "categories": categories, "annotations": [box]}


HIT = {"image_id": 0, "category_id": 0, "bbox": [10, 10, 40, 40], "score": 0.5}
FALSE = {"image_id": 0, "category_id": 0, "bbox": [60, 60, 30, 30], "score": 0.9}


@pytest.mark.parametrize(
    ("lists", "false_class", "costs"),
    [
        ({}, 0, True),  # shown there: judged, and background is mended
        ({}, 1, False),  # neither shown nor listed: never judged
        ({"not_exhaustive_category_ids": [0]}, 0, False),  # perhaps an object that nobody annotated
    ],
)
def test_background_is_mended_on_checked_pairs_only(
    lists: dict[str, list[int]], false_class: int, costs: bool
) -> None:
    mended = values(tiny(**lists), [HIT, {**FALSE, "category_id": false_class}])
    assert (mended[0] < 99) == costs
    assert mended[mends.LOCALIZATION | mends.BACKGROUND] == pytest.approx(100)


def test_classes_are_mended_into_shown_classes_from_checked_ones_only() -> None:
    wrong = {**HIT, "category_id": 1}
    both = mends.LOCALIZATION | mends.CLASSIFICATION
    assert values(tiny(neg_category_ids=[1]), [wrong])[both] == pytest.approx(100)
    # Class 1 was not judged there: the detection may be right, and is nobody's error.
    assert values(tiny(), [wrong])[both] == 0
    lenient = {"neg_category_ids": [1], "not_exhaustive_category_ids": [1]}
    assert values(tiny(**lenient), [wrong])[both] == 0


def test_the_report_says_lvis_from_its_first_line_to_its_page(
    sides: tuple[dict[str, Any], Rows, Rows], tmp_path: Path
) -> None:
    tree, a, b = sides
    for name, rows in (("a", a), ("b", b)):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    (tmp_path / "gt.json").write_text(json.dumps(tree))
    paths = tmp_path / "gt.json", [tmp_path / "a.json"], [tmp_path / "b.json"]
    made = report.make(*paths, Options(100, 4), allow_mismatch=True, protocol="lvis")
    one = made.content["bbox"]
    assert list(one["metrics"]) == lvis_sets.METRICS
    assert verdict.summary(made.content)[0].startswith("protocol: LVIS")
    rows = {row["name"]: row for row in one["by_group"]["frequency"]}
    for name, metric in (("rare", "APr"), ("common", "APc"), ("frequent", "APf")):
        for key in ("baseline", "candidate", "gain", "interval"):
            assert rows[name][key] == pytest.approx(one["metrics"][metric][key], abs=1e-9)
        assert gate.unmet(made.content, gate.parse([f"{name} >= {rows[name]['interval'][0] - 0.01}"])) == []
    html = report.write(made, tmp_path / "out").read_text()
    for row in rows.values():  # a median of 2.5 is no 2
        low, middle, high = row["images_a_class"]
        assert low == high or f"median {middle:g}, test images each" in html
    assert "LVIS’s numbers" in html and "All 13 numbers" in html and "COCO’s numbers" not in html
    total = sum(share["gain"] for share in one["attribution"].values())
    assert total == pytest.approx(one["metrics"]["AP"]["gain"], abs=1e-9)


def test_identical_sides_have_no_gain_in_any_band(sides: tuple[dict[str, Any], Rows, Rows]) -> None:
    tree, a, _ = sides
    made = report.make(tree, [a], [a], Options(100, 0), allow_mismatch=True).content
    for row in made["bbox"]["by_group"]["frequency"]:
        assert (row["gain"], row["interval"]) == (0.0, [0.0, 0.0])


def test_crossed_intervals_hold_the_chance_of_classes_and_what_images_share() -> None:
    truth, *detectors = bench_bands.make(seeds.numpy_generator("test"), np.full(30, 2))
    shapes = matching.object_shapes(truth, "bbox")
    one, other = (side.build([d], truth, shapes, "bbox", oracles=False) for d in detectors)
    weights = resamples.multiplicities(one.tables[0].num_images, 200, 0)
    a, b = (side.scores(x, weights, measures.quiet) for x in (one, other))
    layout, every = measures.Layout(one.tables[0]), np.arange(30)
    gain = bands.crossed(a, b, layout, every, 0)[0]
    of_classes = (b.mean - a.mean)[layout.classes]
    alone = np.std(of_classes, ddof=1) / np.sqrt(30)
    assert 0.85 * alone < gain.standard_error < 1.6 * alone
    assert gain.interval[0] < gain.point < gain.interval[1]
    assert gain.point == pytest.approx(of_classes.mean())
    lone = bands.crossed(a, b, layout, every[:1], 0)[0]
    assert np.isnan(lone.interval).all()  # one class shows nothing of how classes differ


def test_a_band_at_ap_0_has_no_factors_and_warns_of_nothing(
    sides: tuple[dict[str, Any], Rows, Rows],
) -> None:
    tree, a, _ = sides
    rare = {c["id"] for c in tree["categories"] if c["frequency"] == "r"}
    none = [row for row in a if row["category_id"] not in rare]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = report.make(tree, [none], [a], Options(20, 0), allow_mismatch=True).content
    row = next(row for row in made["bbox"]["by_group"]["frequency"] if row["name"] == "rare")
    assert row["baseline"] == 0 and row["gain"] == row["candidate"] > 0 and None not in row["interval"]
    assert row["factors"]["recognition"] == {"gain": None, "interval": [None, None]}


def test_training_images_make_bands_as_lvis_cuts_them() -> None:
    assert bands.frequency(np.array([0, 1, 10, 11, 100, 101])) == ["", "r", "r", "c", "c", "f"]


def test_what_covers_too_little_or_too_much_is_said_with_its_coverage() -> None:
    for row in bands._measured()["by_images_a_class"]:
        told = bands.uncalibrated(row["images_a_class"])
        for part, share in row["covered"].items():
            assert (part in told) == (not 90 <= share <= 98)
