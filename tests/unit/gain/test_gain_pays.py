"""Where hashtags pay: planted causes, noise of the baseline, tables that are refused, the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lvis_sets
import numpy as np
import planted_classes
import pytest

from benchmarks import simulation
from benchmarks.simulation import Detector
from pretrain.shards import detection_classes
from pretrain.vocabulary.classes import Vocabulary, VocabularyClass
from tools import report_gain
from wsl_det import gain
from wsl_det.coco import reader
from wsl_det.errors import DataError
from wsl_det.evaluation import detections, matching, metrics
from wsl_det.gain import partial as correlation
from wsl_det.gain import pays, report
from wsl_det.gain.class_gains import ClassGains, Halved
from wsl_det.gain.comparison import Options
from wsl_det.predictions import read

HOSTILE = "<script>alert('x')</script>"


def shows(cause: str, seeds: range, key: str = "gain", **size: int) -> list[int]:
    """By seed 1, -1 or 0: whether the interval leaves 0 out, and on which side."""
    found = []
    for seed in seeds:
        made = planted_classes.plant(cause, seed, **size)
        low, high = pays.of(made.tags, made.halved, made.truth, seed)[key]["interval"]
        found.append(int(low > 0) - int(high < 0))
    return found


def test_hashtags_show_and_nothing_else_does() -> None:
    assert sum(shows("hashtags", range(3))) >= 2
    for cause in planted_classes.CAUSES[1:]:
        assert shows(cause, range(1)) == [0], cause


@pytest.mark.slow
@pytest.mark.parametrize("cause", planted_classes.CAUSES)
def test_only_hashtags_show_over_many_seeds(cause: str) -> None:
    found = shows(cause, range(30))
    if cause == "hashtags":
        assert sum(found) >= 22 and -1 not in found
    else:  # 5% of 30, and three standard deviations of it
        assert np.count_nonzero(found) <= 5


def test_without_noise_it_is_the_partial_correlation_of_textbooks() -> None:
    rng = np.random.default_rng(0)
    known = np.column_stack([np.ones(50), rng.normal(size=(50, 2))])
    base = known @ [0, 1, 1] + rng.normal(size=50)
    x, y = base + rng.normal(size=50), base + rng.normal(size=50)
    w = rng.integers(1, 9, 50).astype(float)
    found, slope = correlation.partial(
        correlation.moments(x, known, np.stack([base, base]), np.stack([y, y]), w)
    )
    columns, root = np.column_stack([known, base]), np.sqrt(w)
    left = [v - columns @ np.linalg.lstsq(columns * root[:, None], v * root, rcond=None)[0] for v in (x, y)]
    assert found == pytest.approx(
        (w * left[0] * left[1]).sum() / np.sqrt((w * left[0] ** 2).sum() * (w * left[1] ** 2).sum())
    )
    assert slope == pytest.approx((w * left[0] * left[1]).sum() / (w * left[0] ** 2).sum())


def test_noise_of_the_baseline_neither_hides_nor_invents() -> None:
    """x and y share nothing but a baseline that is measured as badly as it varies; y falls with its noise."""
    rng = np.random.default_rng(1)
    true = rng.normal(size=20_000)
    base = true + rng.normal(size=(2, len(true)))
    x = true + rng.normal(size=len(true))
    y = true - 0.5 * (base - true) + rng.normal(size=base.shape)
    ones = np.ones(len(true))
    assert abs(correlation.partial(correlation.moments(x, ones[:, None], base, y, ones))[0]) < 0.03
    naive = np.stack([base.mean(axis=0)] * 2)  # one baseline for both, its noise in it
    assert correlation.partial(correlation.moments(x, ones[:, None], naive, y, ones))[0] > 0.15


def test_ranks_share_ties_and_pass_over_what_is_undefined() -> None:
    assert correlation.ranks(np.array([5.0, 1, np.nan, 5, 9])).tolist()[:2] == [0, -1]
    assert correlation.ranks(np.array([5.0, 1, 5, 9])).tolist() == [0, -1, 0, 1]
    assert correlation.ranks(np.array([2.0])).tolist() == [0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pays")
    scene = simulation.world(images=60, classes=16, seed=4)
    for name, detector in (("a", Detector(missed=0.4)), ("b", Detector(missed=0.2))):
        truth, results = simulation.to_coco(scene, simulation.detect(scene, detector))
        (path / f"{name}.json").write_text(json.dumps(results))
    truth["categories"][0]["name"] = HOSTILE
    (path / "gt.json").write_text(json.dumps(truth))
    (path / "train.json").write_text(json.dumps(truth | {"annotations": truth["annotations"][::2]}))
    (path / "table.json").write_text(json.dumps(table(truth)))
    return path


def table(truth: dict[str, Any]) -> dict[str, Any]:
    rows = [
        {"name": c["name"], "category_id": c["id"], "synsets": [] if k == 5 else ["n00000000"]}
        | {
            "hashtags": [0, 10, 100][k % 3],
            "covered": k % 3 > 0,
            "should_gain": None if k == 5 else k % 3 > 1,
        }
        for k, c in enumerate(truth["categories"])
    ]
    head = {"kind": "hashtags-of-classes", "schema": 1, "vocabulary": "f" * 64, "counted": "posts"}
    return head | {"classes": rows}


def test_the_report_joins_scores_what_was_said_and_shows_it(folder: Path, capsys: Any) -> None:
    words = ["--gt", folder / "gt.json", "--baseline", folder / "a.json", "--candidate", folder / "b.json"]
    words += ["--vocab", folder / "table.json", "--train-gt", folder / "train.json"]
    words += ["--output", folder / "out", "--bootstrap", 60, "--attribution-bootstrap", 0]
    assert report_gain.main([str(word) for word in words]) == 0
    found = json.loads((folder / "out" / "gain.json").read_text())["bbox"]["hashtags"]
    assert found["sentence"] in " ".join(capsys.readouterr().out.split())
    assert found["covariates"] == ["training objects", "test images", "median size", "baseline AP@.1"]
    assert found["classes"]["all"] == 16
    assert found["classes"]["mapped"] == found["classes"]["with_objects"] - 1
    assert found["expected"]["said_in"]["path"] == str(folder / "table.json")
    assert sum(found["expected"]["classes"]) == sum(found["covered"]["classes"]) == found["classes"]["used"]
    truth = reader.read(folder / "gt.json")
    trained = reader.read(folder / "train.json").class_counts()
    shapes = matching.object_shapes(truth, "bbox")
    sides = []
    for name in ("a", "b"):
        aligned = detections.align(read(folder / f"{name}.json"), truth, "bbox")
        measured = metrics.measure(matching.match_aligned(aligned, shapes, truth, "bbox"))
        sides.append(measured.by_class[0, :, 0])
    for k, row in enumerate(found["by_class"]):
        assert row["training_objects"] == trained[k] and row["hashtags"] == (
            None if k == 5 else [0, 10, 100][k % 3]
        )
        a, b = sides[0][k], sides[1][k]
        assert row["gain"] == (None if np.isnan(a) else pytest.approx(b - a))
    page = (folder / "out" / "gain.html").read_text()
    assert "Where hashtags pay" in page and HOSTILE not in page
    told = re.findall(r"<title>([^<]*hashtags, gain in AP@.1[^<]*)</title>", page)
    shown = [row for row in found["by_class"] if None not in (row["gain"], row["hashtags"])]
    assert len(told) == 2 * len(shown) and any("&lt;script&gt;" in text for text in told)  # wide and narrow
    assert (folder / "out" / "hashtags_bbox.png").is_file()


def test_few_classes_say_so_and_end_in_no_number(folder: Path) -> None:
    truth = json.loads((folder / "gt.json").read_text())
    few = table(truth)
    for row in few["classes"][4:]:
        row["synsets"] = []
    sides = [[folder / "a.json"], [folder / "b.json"]]
    made = report.make(folder / "gt.json", *sides, Options(20, 0), hashtags=few)
    found = made.content["bbox"]["hashtags"]
    assert found["gain"]["correlation"] is None and "too few" in found["sentence"]
    assert found["covariates"] == ["test images", "median size", "baseline AP@.1"]
    assert "Where hashtags pay" in made.html()
    planted = planted_classes.plant("nothing", 0)
    equal = replace(planted.tags, counts=np.full(80, 5.0))
    assert "equally many" in pays.of(equal, planted.halved, planted.truth, 0)["sentence"]
    halves = planted.halved
    same = [
        ClassGains(part.base, 0 * part.gain, part.recognition) for part in (halves.splits, halves.resamples)
    ]
    found = pays.of(planted.tags, Halved(halves.whole, *same), planted.truth, 0)
    assert "not enough to compare" in found["sentence"] and found["covered"]["adjusted"] is None


def test_lvis_counts_training_images_and_reads_its_synsets(tmp_path: Path) -> None:
    truth, results = lvis_sets.make(np.random.default_rng(0), images=40, classes=12)
    for k, category in enumerate(truth["categories"]):
        category |= {"synset": ["dog.n.01", "zebra.n.01"][k % 2], "image_count": k}
    tags = tuple(
        VocabularyClass(i, tag, (wnid,), (tag,), 9 - i)
        for i, (tag, wnid) in enumerate([("poodle", "n02113335"), ("zebra", "n02391049")])
    )
    Vocabulary("wordnet", tags).write(tmp_path / "vocab.json")
    of = partial(detection_classes.of, tmp_path / "vocab.json")
    found = gain.compare(truth, results[::2], results, bootstrap=20, attribution_bootstrap=0, hashtags=of)
    one = found.content["bbox"]["hashtags"]
    assert one["covariates"][0] == "training images"
    assert [row["hashtags"] for row in one["by_class"]] == [
        9 - k % 2 for k in range(len(truth["categories"]))
    ]
    assert [row["training_images"] for row in one["by_class"]] == list(range(len(truth["categories"])))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t["classes"].pop(), r"has no class .*1 of 16 classes"),
        (lambda t: t["classes"][1].update(hashtags=-1), "a count of hashtags that is none"),
        (lambda t: t["classes"][1].update(hashtags="many"), "none that expect_gain wrote"),
        (lambda t: t.pop("vocabulary"), "none that expect_gain wrote"),
        (lambda t: [t["classes"][k].update(name="one", category_id=900 + k) for k in (0, 1)], "has no class"),
        (lambda t: t["classes"].extend([{**t["classes"][2], "category_id": 999}] * 2), "stands twice"),
    ],
)
def test_tables_that_are_none_are_refused(folder: Path, change: Any, told: str) -> None:
    odd = json.loads((folder / "table.json").read_text())
    change(odd)
    with pytest.raises(DataError, match=told):
        report.make(folder / "gt.json", [folder / "a.json"], [folder / "b.json"], Options(4, 0), hashtags=odd)


def test_categories_of_one_name_have_their_own_hashtags(folder: Path) -> None:
    tree = json.loads((folder / "gt.json").read_text())
    for category in tree["categories"][:3]:
        category["name"] = "crane"
    found = pays.hashtags(table(tree), reader.from_tree(tree), None)
    assert found.counts[:3].tolist() == [0, 10, 100] and found.covered[:3].tolist() == [False, True, True]


def test_a_handful_of_resamples_claims_no_link() -> None:
    planted = planted_classes.plant("hashtags", 0)
    one = planted.halved.resamples
    few = ClassGains(
        *(part[:, : 2 * (pays.FEWEST_RESAMPLES - 1)] for part in (one.base, one.gain, one.recognition))
    )
    found = pays.of(planted.tags, replace(planted.halved, resamples=few), planted.truth, 0)
    assert "--bootstrap 20" in found["sentence"] and found["covered"]["difference"] is None


def test_training_annotations_of_other_classes_are_refused(folder: Path) -> None:
    tree = json.loads((folder / "train.json").read_text())
    tree["categories"][2]["name"] = "else"
    (folder / "other.json").write_text(json.dumps(tree))
    said = json.loads((folder / "table.json").read_text())
    sides = [[folder / "a.json"], [folder / "b.json"]]
    with pytest.raises(DataError, match=r"other\.json has no category .*--train-gt"):
        report.make(folder / "gt.json", *sides, Options(4, 0), hashtags=said, train_gt=folder / "other.json")
