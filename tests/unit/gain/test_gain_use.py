"""The report as others use it: what it opens with, names, inputs in memory, the gate."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import simulation
from benchmarks.simulation import Detector
from tools import report_gain
from wsl_det import errors, gain
from wsl_det.errors import ConfigError, DataError
from wsl_det.gain import answer, gallery, gate, report, verdict
from wsl_det.gain.comparison import Options

SIDES = {"random": Detector(missed=0.35), "hashtags $8x4d$": Detector(class_error=0.05, box_noise=0.05)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gt.json with a crowd, and predictions.json in a folder of each side."""
    path = tmp_path_factory.mktemp("use")
    scene = simulation.world(images=60, classes=4, seed=3)
    for name, detector in SIDES.items():
        truth, results = simulation.to_coco(scene, simulation.detect(scene, detector))
        (path / name).mkdir()
        (path / name / "predictions.json").write_text(json.dumps(results))
    truth["annotations"][0]["iscrowd"] = 1
    (path / "gt.json").write_text(json.dumps(truth))
    return path


def paths(folder: Path) -> tuple[Path, Path, Path]:
    return folder / "gt.json", *(folder / name / "predictions.json" for name in SIDES)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def content(folder: Path) -> dict[str, Any]:
    gt, a, b = paths(folder)
    return report.make(gt, [a], [b], Options(100, 10)).content


def test_it_opens_with_what_was_asked_and_says_the_same_everywhere(
    folder: Path, content: dict[str, Any]
) -> None:
    opening = content["bbox"]["asked"]
    assert list(opening["metrics"]) == ["AP", "AP50", "AP75"]
    for name, row in opening["metrics"].items():
        whole = content["bbox"]["metrics"][name]
        assert {k: row[k] for k in ("baseline", "candidate", "gain", "interval")} == {
            k: whole[k] for k in ("baseline", "candidate", "gain", "interval")
        }
        assert row["relative"] == pytest.approx(row["gain"] / row["baseline"])
    said = verdict.paper(content, "bbox"), verdict.reading(content, "bbox")
    mixtures = opening["paper"]["mixtures"]
    assert f"{mixtures['holds']} of {mixtures['mixtures']} simulated gains" in said[0]
    off = opening["method_error"]["two_factor"]["0.1"]
    assert f"{verdict.signed(off['low'])} to {verdict.signed(off['high'])} points off" in said[1]
    lines = " ".join(" ".join(verdict.summary(content)).split())
    gt, a, b = paths(folder)
    page = gain.compare(gt, a, b, bootstrap=100, attribution_bootstrap=10).html()
    for sentence in said:
        assert sentence in lines and sentence in page


def test_the_levels_are_compared_and_the_better_one_believed() -> None:
    levels = {"two_factor": 1.0, "attribution": 2.0, "apart": True, "believed": "attribution"}
    levels["rmse"] = {"two_factor": 0.9, "attribution": 0.5}
    said = answer.levels(levels)
    assert "believe the split by kind of error" in said and "0.5 points off, the other 0.9" in said
    assert answer.levels(levels | {"apart": False}) == ""


def test_objects_are_counted_once_and_crowds_apart(content: dict[str, Any]) -> None:
    assert content["meta"]["crowds"] == 1
    assert sum(row["objects"] for row in content["bbox"]["by_group"]["size"]) == content["meta"]["objects"]
    assert sum(row["objects"] for row in content["bbox"]["by_class"]) == content["meta"]["objects"]


def test_sides_are_called_by_their_folders_or_as_asked(folder: Path, content: dict[str, Any]) -> None:
    assert content["meta"]["names"] == dict(zip(("baseline", "candidate"), SIDES, strict=True))
    gt, a, b = paths(folder)
    named = gain.compare(gt, a, b, bootstrap=4, attribution_bootstrap=0, names=("<b>", "new"))
    assert verdict.headline(named.content, "bbox").startswith("new ")
    assert "&lt;b&gt;" in named.html() and "<b></" not in named.html()
    assert answer.names("out/random/seed_1/p.json", "out/tags/seed_1/p.json") == ("random", "tags")
    assert answer.names("a.json", "b.json") == ("a", "b")
    assert answer.names("a.json", "a.json") == ("baseline", "candidate")


def test_inputs_in_memory_give_the_numbers_of_the_files(folder: Path, content: dict[str, Any]) -> None:
    gt, *files = paths(folder)
    tree = json.loads(gt.read_text())
    rows = [json.loads(path.read_text()) for path in files]
    names = {image["id"]: image["file_name"] for image in tree["images"]}

    def by_image(some: list[dict[str, Any]], keys: dict[int, Any]) -> dict[Any, Any]:
        found = {}
        for image, key in keys.items():
            here = [row for row in some if row["image_id"] == image]
            boxes = np.array([row["bbox"] for row in here]).reshape(-1, 4)
            found[key] = Detections(
                xyxy=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
                confidence=np.array([row["score"] for row in here]),
                class_id=np.array([row["category_id"] - 1 for row in here]),
            )
        return found

    coco = SimpleNamespace(dataset=tree)
    loaded = SimpleNamespace(
        dataset={"annotations": [{**row, "id": i, "area": 1} for i, row in enumerate(rows[1])]}
    )
    given = [
        (tree, rows[0], rows[1]),
        (coco, rows[0], loaded),
        (str(gt), by_image(rows[0], {i: i for i in names}), by_image(rows[1], names)),
    ]
    for truth, a, b in given:
        card = gain.compare(truth, a, b, bootstrap=4, attribution_bootstrap=0)
        for name, row in card.content["bbox"]["metrics"].items():
            assert row["gain"] == pytest.approx(content["bbox"]["metrics"][name]["gain"], abs=1e-9)
    both = gain.compare(tree, [rows[0], rows[1]], rows[1], bootstrap=4, attribution_bootstrap=0)
    assert both.content["meta"]["runs"] == {"baseline": 2, "candidate": 1}
    for wrong in (
        {1: SimpleNamespace()},
        {"no.jpg": Detections(np.empty((0, 4)), np.empty(0), np.empty(0))},
        3,
    ):
        with pytest.raises((DataError, TypeError)):
            gain.compare(tree, rows[0], wrong, bootstrap=4, attribution_bootstrap=0)


class Detections:
    """As supervision's, as far as it is read."""

    def __init__(self, xyxy: np.ndarray, confidence: np.ndarray, class_id: np.ndarray) -> None:
        self.xyxy, self.confidence, self.class_id = xyxy, confidence, class_id

    def __len__(self) -> int:
        return len(self.xyxy)


def test_the_gate_looks_at_the_lower_end(content: dict[str, Any]) -> None:
    low = content["bbox"]["metrics"]["AP"]["interval"][0]
    assert gate.unmet(content, gate.parse([f"AP >= {low - 0.01:.4f}"])) == []
    (line,) = gate.unmet(content, gate.parse([f"bbox: AP >= {low + 0.01:.4f}"]))
    assert "not met: bbox: AP >=" in line and f"begins at {low:+.2f}" in line
    record = content["bbox"]
    lows = {
        "recognition": record["two_factor"]["0.1"]["interval"]["recognition"][0],
        "localization@0.5": record["two_factor"]["0.5"]["interval"]["localization"][0],
        "missed": record["attribution"]["missed"]["interval"][0],
        "localization by kind": record["attribution"]["localization"]["interval"][0],
        "large": record["metrics"]["APl"]["interval"][0],
    }
    for name, value in lows.items():
        assert not gate.unmet(content, gate.parse([f"{name} >= {value - 0.01:.4f}"]))
        assert gate.unmet(content, gate.parse([f"{name} >= {value + 0.01:.4f}"]))
    assert "rare in training; --train-gt does" in gate.unmet(content, gate.parse(["rare >= 0"]))[0]
    assert "no segm" in gate.unmet(content, gate.parse(["segm: AP >= 0"]))[0]
    for wrong in ("AP > 1", "accuracy >= 1", "AP >= many", ""):
        with pytest.raises(ConfigError, match=r"expected .*NAME >= POINTS"):
            gate.parse([wrong])


def test_the_tool_ends_with_1_when_a_requirement_is_not_met(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gt, a, b = paths(folder)
    words = ["--gt", gt, "--baseline", a, "--candidate", b, "--output", tmp_path / "out", "--bootstrap", 4]
    words += ["--attribution-bootstrap", 0, "--names", "old", "new", "--require"]
    run = [str(word) for word in words]
    assert errors.run(report_gain.main, [*run, "AP >= -90"]) == 0
    assert errors.run(report_gain.main, [*run, "AP >= 90", "AP50 >= -90"]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("not met") == 1 and shown.err.strip().count("\n") == 0
    assert "new against old" in shown.out
    assert errors.run(report_gain.main, [*run, "AP >> 90"]) == 2


@pytest.mark.parametrize("odd", ["leads out", "links out", "16 bits", "sound"])
def test_the_gallery_shows_what_every_other_reader_of_photos_would_take(
    folder: Path, tmp_path: Path, odd: str
) -> None:
    gt, a, b = paths(folder)
    tree = json.loads(gt.read_text())
    inside, outside = tmp_path / "photos", tmp_path / "elsewhere"
    inside.mkdir(), outside.mkdir()
    for image in tree["images"]:
        name = image["file_name"]
        place = outside if odd.endswith("out") else inside
        pixels = np.full((480, 640), 300, np.uint16) if odd == "16 bits" else np.zeros((480, 640), np.uint8)
        Image.fromarray(pixels).save(place / name, "PNG")
        if odd == "leads out":
            image["file_name"] = f"../elsewhere/{name}"
        if odd == "links out":
            (inside / name).symlink_to(outside / name)
    made = report.make(tree, [a], [b], Options(4, 0))
    if odd == "sound":
        assert gallery.choose(made, inside)
        return
    with pytest.raises(DataError, match="none of the images"):
        gallery.choose(made, inside)


def test_the_documented_example_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gt, a, b = paths(folder)
    for path, name in ((gt, "gt.json"), (a, "random.json"), (b, "hashtags.json")):
        (tmp_path / name).write_bytes(path.read_bytes())
    (tmp_path / "photos").mkdir()
    for image in json.loads(gt.read_text())["images"]:
        Image.new("RGB", (64, 48)).save(tmp_path / "photos" / image["file_name"])
    text = (Path(__file__).parents[3] / "docs" / "gain.md").read_text()
    monkeypatch.chdir(tmp_path)
    for block in text.split("```python\n")[1:]:
        exec(block.split("```")[0], {})
    assert "data:image/jpeg" in (tmp_path / "gain.html").read_text(encoding="utf-8")


def test_the_methods_worked_example_comes_out():
    text = (Path(__file__).parents[3] / "docs" / "method.md").read_text()
    blocks = text.split("```python\n")[1:]
    assert blocks
    for block in blocks:
        exec(block.split("```")[0], {})
