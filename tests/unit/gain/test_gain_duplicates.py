"""The gain report under verdicts: both sides alike, named in the report, and never mixed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import simulation
from benchmarks.simulation import Detector
from wsl_det import gain, predictions
from wsl_det.core import files
from wsl_det.errors import DataError
from wsl_det.evaluation import coco_ap, duplicates
from wsl_det.gain import like_for_like, report
from wsl_det.gain.comparison import Options

OPTIONS = Options(bootstrap=20, attribution_bootstrap=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gt.json, a.json, b.json and verdicts that call a quarter of the images duplicates."""
    path = tmp_path_factory.mktemp("gain_duplicates")
    scene = simulation.world(images=24, classes=3, seed=2)
    for name, detector in {"a": Detector(missed=0.35), "b": Detector(missed=0.1)}.items():
        truth, results = simulation.to_coco(scene, simulation.detect(scene, detector))
        files.write_json(path / f"{name}.json", results)
    files.write_json(path / "gt.json", truth)
    images = truth["images"]
    one = {"name": "gt", "kind": "coco", "sha256": files.sha256(path / "gt.json"), "images": len(images)}
    rows = [
        {"pair": n, "set": "gt", "image": "x.jpg", "image_id": image["id"], "train": "k", "train_row": n}
        | {"score": 0.9, "verdict": "yes"}
        for n, image in enumerate(images[::4])
    ]
    made = {"candidates": {"sha256": "c"}, "train": {"sha256": "t"}}
    head = {"kind": "duplicate verdicts", "schema": 1, "made_from": made, "reader": "ann"}
    files.write_json(path / "v.json", {**head, "sets": [one], "pairs": len(rows), "verdicts": rows})
    return path


@pytest.mark.parametrize("mode", ["exclude", "wrong"])
def test_the_report_scores_as_the_evaluation_does_and_says_so(folder: Path, mode: str) -> None:
    treated = duplicates.read(folder / "v.json", mode)
    made = report.make(
        folder / "gt.json", [folder / "a.json"], [folder / "b.json"], OPTIONS, duplicates=treated
    )
    for side, name in (("baseline", "a"), ("candidate", "b")):
        alone = coco_ap.evaluate(folder / "gt.json", folder / f"{name}.json", ["bbox"], treated)
        assert made.content["bbox"]["metrics"]["AP"][side] == pytest.approx(alone["bbox"]["AP"], abs=1e-9)
    meta = made.content["meta"]
    assert meta["duplicates"]["mode"] == mode
    assert meta["made_from"]["verdicts"]["sha256"] == files.sha256(folder / "v.json")
    assert meta["images"] == (18 if mode == "exclude" else 24)
    kinds = made.content["bbox"]["attribution"]
    total = sum(kinds[kind]["gain"] for kind in kinds)
    assert total == pytest.approx(made.content["bbox"]["metrics"]["AP"]["gain"], abs=1e-6)
    same = gain.compare(
        *(folder / name for name in ("gt.json", "a.json", "b.json")),
        bootstrap=20,
        attribution_bootstrap=5,
        verdicts=folder / "v.json",
        duplicates=mode,
    )
    assert same.content["bbox"] == made.content["bbox"]
    assert "v.json" in meta["notes"][0]
    assert "duplicate test images" in made.html()


def test_sides_that_were_cut_differently_are_refused(folder: Path) -> None:
    found = predictions.read(folder / "a.json")
    config = {"dataset": {"gt_sha256": "g", "images": 1}, "config": {"SEED": 1}}
    seen = {"duplicates": {"mode": "exclude", "verdicts": {"sha256": "a" * 64}}}
    other = {"duplicates": {"mode": "exclude", "verdicts": {"sha256": "b" * 64}}}

    def side(meta: dict) -> list:
        return [predictions.Predictions(**{**vars(found), "meta": config | meta})]

    assert not [d for d in like_for_like.check(side(seen), side(seen), None, False)[0] if not d.free]
    for one, two in ((seen, {}), (seen, other)):
        with pytest.raises(DataError, match="duplicates: "):
            like_for_like.check(side(one), side(two), None, False)


def test_json_of_the_report_is_plain(folder: Path, tmp_path: Path) -> None:
    treated = duplicates.read(folder / "v.json", "exclude")
    made = report.make(
        folder / "gt.json", [folder / "a.json"], [folder / "a.json"], OPTIONS, duplicates=treated
    )
    report.write(made, tmp_path)
    assert json.loads((tmp_path / "gain.json").read_text())["meta"]["duplicates"]["images"] == 6
    assert np.isclose(made.content["bbox"]["metrics"]["AP"]["gain"], 0)
