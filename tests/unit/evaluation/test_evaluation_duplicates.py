"""AP with duplicates left out or without credit, against pycocotools on files that say the same."""

from __future__ import annotations

import json
from pathlib import Path

import coco_sets
import numpy as np
import pytest

from tools import evaluate_predictions
from wsl_det import errors
from wsl_det.core import files
from wsl_det.errors import ConfigError, DataError
from wsl_det.evaluation import coco_ap, duplicates


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    truth, results = coco_sets.make(np.random.default_rng(4))
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "p.json").write_text(json.dumps(results))
    return tmp_path


def judge(folder: Path, given: dict[int, str], **change: object) -> Path:
    """A verdicts file about gt.json: {image id: verdict}."""
    images = len(json.loads((folder / "gt.json").read_text())["images"])
    rows = [
        {"pair": i, "set": "gt", "image": f"{image}.jpg", "image_id": image, "train": f"k{i}"}
        | {"train_row": i, "score": 0.9, "verdict": verdict}
        for i, (image, verdict) in enumerate(given.items())
    ]
    one = {"name": "gt", "kind": "coco", "sha256": files.sha256(folder / "gt.json"), "images": images}
    value = {
        "kind": "duplicate verdicts",
        "schema": 1,
        "made_from": {"candidates": {"sha256": "c"}, "train": {"sha256": "t"}},
        "reader": "ann",
        "sets": [one | change],
        "pairs": len(rows) + 1,
        "verdicts": rows,
    }
    path = folder / "v.json"
    path.write_text(json.dumps(value))
    return path


def score(folder: Path, mode: str | None = None, gt: str = "gt.json", p: str = "p.json") -> dict:
    treated = duplicates.read(folder / "v.json", mode) if mode else None
    return coco_ap.evaluate(folder / gt, folder / p, None, treated)


SEEN = {0, 9, 15}


def test_left_out_is_the_smaller_test_set(folder: Path) -> None:
    judge(folder, {image: "yes" for image in SEEN} | {3: "no", 6: "unsure"})
    truth, results = (json.loads((folder / n).read_text()) for n in ("gt.json", "p.json"))
    truth["images"] = [i for i in truth["images"] if i["id"] not in SEEN]
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] not in SEEN]
    (folder / "gt2.json").write_text(json.dumps(truth))
    (folder / "p2.json").write_text(json.dumps([r for r in results if r["image_id"] not in SEEN]))
    found, expected = score(folder, "exclude"), score(folder, gt="gt2.json", p="p2.json")
    for iou_type in ("bbox", "segm"):
        assert found[iou_type] == expected[iou_type]
    assert found["bbox"]["AP"] != score(folder)["bbox"]["AP"]
    about = found["meta"]["duplicates"]
    assert (about["mode"], about["images"], about["verdicts"]["unsure"]) == ("exclude", 3, 1)
    assert about["verdicts"]["path"].endswith("v.json")
    assert "3 duplicate test images left out" in found["meta"]["notes"][-1]


def test_no_credit_is_objects_here_and_detections_elsewhere(folder: Path) -> None:
    judge(folder, dict.fromkeys(SEEN, "yes"))
    truth, results = (json.loads((folder / n).read_text()) for n in ("gt.json", "p.json"))
    # The same by other means: detections of the duplicates move to empty images of their own.
    ghosts = {image: 1000 + image for image in SEEN}
    truth["images"] += [
        {**image, "id": ghosts[image["id"]]} for image in truth["images"] if image["id"] in SEEN
    ]
    moved = [{**r, "image_id": ghosts.get(r["image_id"], r["image_id"])} for r in results]
    # Ties are broken by image id, so that scores must not tie for the comparison.
    rng = np.random.default_rng(0)
    for row, other in zip(results, moved, strict=True):
        row["score"] = other["score"] = float(rng.random())
    (folder / "gt2.json").write_text(json.dumps(truth))
    (folder / "p.json").write_text(json.dumps(results))
    (folder / "p2.json").write_text(json.dumps(moved))
    found, expected = score(folder, "wrong"), score(folder, gt="gt2.json", p="p2.json")
    for iou_type in ("bbox", "segm"):
        for name in coco_sets.METRICS:
            assert found[iou_type][name] == pytest.approx(expected[iou_type][name], abs=1e-12), name
    assert found["bbox"]["AP"] < score(folder)["bbox"]["AP"]


def test_no_duplicates_changes_no_number(folder: Path) -> None:
    judge(folder, {3: "no", 6: "unsure"})
    plain = score(folder)
    for mode in ("exclude", "wrong"):
        assert score(folder, mode)["bbox"] == plain["bbox"]


def test_what_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge(folder, {0: "yes"}, sha256="e" * 64)
    with pytest.raises(DataError, match="about other images"):
        score(folder, "wrong")
    judge(folder, {777: "yes"})
    with pytest.raises(DataError, match="777"):
        score(folder, "exclude")
    everything = [image["id"] for image in json.loads((folder / "gt.json").read_text())["images"]]
    judge(folder, dict.fromkeys(everything, "yes"))
    with pytest.raises(DataError, match="leaves none"):
        score(folder, "exclude")
    assert score(folder, "wrong")["bbox"]["AP"] == 0
    with pytest.raises(ConfigError, match="belong together"):
        duplicates.read(folder / "v.json", None)
    argv = ["--gt", str(folder / "gt.json"), "--predictions", str(folder / "p.json")]
    assert errors.run(evaluate_predictions.main, [*argv, "--duplicates", "wrong"]) == 2
    assert "give both" in capsys.readouterr().err
    verdicts = ["--verdicts", str(folder / "v.json"), "--duplicates", "wrong"]
    assert errors.run(evaluate_predictions.main, [*argv, *verdicts]) == 0
    assert "counted as errors" in capsys.readouterr().out
