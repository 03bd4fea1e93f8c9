"""tools/eval_transfer.py in this process: what it writes, what it chooses on, what it refuses."""

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transfer_world as world

from pretrain.duplicates.sources import manifest
from pretrain.transfer import evaluate
from pretrain.vocabulary import classes as vocabulary
from pretrain.vocabulary.classes import Vocabulary, VocabularyClass
from wsl_det import errors

TOOL = runpy.run_path(str(Path(__file__).parents[4] / "tools" / "eval_transfer.py"))["main"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return world.run(tmp_path / "run")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return world.write(tmp_path / "data")


def _measure(run: Path, data: Path, *words: str, name: str = "R.json") -> dict[str, Any]:
    output = data.parent / name
    argv = ["--backbone", str(run), "--data", str(data), "--output", str(output), "--threads", "1", *words]
    assert errors.run(TOOL, argv) == 0
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def _refused(run: Path, data: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    output = data.parent / "bad.json"
    argv = ["--backbone", str(run), "--data", str(data), "--output", str(output), "--threads", "1", *words]
    assert errors.run(TOOL, argv) == 2
    assert not output.exists()
    return capsys.readouterr().err


def test_features(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _measure(run, data, "--strengths", "0.001", "0.1", "--check-share", "0.25")
    assert found["top1"]["interval"][0] <= found["top1"]["value"] <= found["top1"]["interval"][1]
    assert found["top5"] is None
    assert found["top1"]["value"] > 60  # three kinds of stripes, by a trunk of chance
    assert found["view"] == {"size": 32, "resize": 36, "amp": "none", "crop": "centre, one"}
    assert found["pretraining"]["sampling"] == "sqrt"
    assert found["pretraining"]["capacity"].endswith("2x4d (stem 64, res2 32 channels)")
    assert found["meta"]["kind"] == "classification transfer"
    assert set(found["meta"]["made_from"]) == {"backbone", "val", "train"}
    assert found["choice"]["checked_on"] == 6
    assert "top1" in capsys.readouterr().out


def test_val_chooses_nothing(run: Path, data: Path) -> None:
    words = ("--strengths", "0.0001", "0.01", "1")
    before = _measure(run, data, *words)
    folders = sorted((data / "val").iterdir())
    # The same photos under other classes: every choice must stay as it was.
    for folder, other in zip(folders, [*folders[1:], folders[0]], strict=True):
        folder.rename(data / "val" / f".{other.name}")
    for folder in sorted((data / "val").iterdir()):
        folder.rename(data / "val" / folder.name.removeprefix("."))
    after = _measure(run, data, *words)
    assert after["choice"] == before["choice"]
    kept = ("strength", "loss", "gradient", "evaluations")
    assert {k: after["fit"][k] for k in kept} == {k: before["fit"][k] for k in kept}
    assert after["top1"]["value"] < before["top1"]["value"]


def test_cached_features_give_the_same_and_follow_the_photos(run: Path, data: Path, tmp_path: Path) -> None:
    words = ("--strengths", "0.01", "--cache", str(tmp_path / "cache"))
    first = _measure(run, data, *words)
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.npz")}
    assert len(made) == 2
    assert _measure(run, data, *words)["by_class"] == first["by_class"]
    assert {p: p.stat().st_mtime_ns for p in made} == made
    next(iter(made)).write_bytes(b"half a file")
    assert _measure(run, data, *words)["by_class"] == first["by_class"]
    (data / "val" / "n00000000" / "0.jpg").unlink()
    assert _measure(run, data, *words)["data"]["images"] == 11
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 3


def test_unreadable_photos(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        (data / split / "n00000001" / "1.jpg").write_bytes(b"\xff\xd8 no photo")
    told = _refused(run, data, capsys, "--strengths", "0.01")
    assert "1 photos of 24 cannot be used:\n  train/n00000001/1.jpg" in told
    found = _measure(run, data, "--strengths", "0.01", "--skip-budget", "0.1")
    assert found["fit"]["train_images"] == 23
    assert found["unreadable"] == {"val": 1, "val_names": ["n00000001/1.jpg"]}
    assert found["data"]["images"] == 12
    assert [1, None, 1] in found["confusion"]["counts"]


def _verdicts(path: Path, data: Path, images: list[str]) -> Path:
    names = sorted(p.relative_to(data / "val").as_posix() for p in (data / "val").rglob("*.jpg"))
    hashes = [hashlib.sha256((data / "val" / n).read_bytes()).hexdigest() for n in names]
    rows = [
        {"pair": i, "set": "val", "image": n, "image_id": None, "train": "t", "train_row": 0, "score": 1.0}
        for i, n in enumerate(images)
    ]
    value = {
        "kind": "duplicate verdicts",
        "schema": 1,
        "reader": "test",
        "made_from": {"candidates": {"sha256": "2" * 64}, "train": {"sha256": "1" * 64}},
        "sets": [{"name": "val", "kind": "folder", "sha256": manifest(names, hashes), "images": len(names)}],
        "pairs": len(rows),
        "verdicts": [{**row, "verdict": "yes"} for row in rows],
    }
    path.write_text(json.dumps(value))
    return path


def test_lower_bound(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged = _verdicts(tmp_path / "v.json", data, ["n00000000/0.jpg", "n00000002/1.jpg"])
    words = ("--strengths", "0.01", "--verdicts", str(judged))
    plain = _measure(run, data, "--strengths", "0.01")
    bound = _measure(run, data, *words, "--duplicates", "wrong")
    assert bound["top1"]["value"] <= plain["top1"]["value"]
    assert bound["duplicates"]["images"] == 2
    assert _measure(run, data, *words, "--duplicates", "exclude")["data"]["images"] == 10
    assert "belong together" in _refused(run, data, capsys, *words)
    (data / "val" / "n00000000" / "1.jpg").write_bytes(world.photo(0, np.random.default_rng(9)))
    assert "about other images" in _refused(run, data, capsys, *words, "--duplicates", "wrong")


def test_head_by_vocabulary(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [("a", ("n00000000",)), ("b", ("n00000001", "n00000002")), ("c", ()), ("d", ("n00000077",))]
    classes = tuple(VocabularyClass(i, n, s, (n,), 1) for i, (n, s) in enumerate(entries))
    words = Vocabulary("in1k", classes)
    words.write(tmp_path / "vocab.json")
    assert "give it as --vocab" in _refused(run, data, capsys, "--mode", "head")
    told = _refused(run, data, capsys, "--mode", "head", "--vocab", str(tmp_path / "vocab.json"))
    assert "is the vocabulary" in told
    mine = world.run(tmp_path / "mine", vocabulary=vocabulary.class_hash(classes))
    found = _measure(mine, data, "--mode", "head", "--vocab", str(tmp_path / "vocab.json"))
    assert found["head"]["answering"] == 2
    assert found["head"]["ambiguous"] == {"b": ["n00000001", "n00000002"]}
    assert found["top1_strict"]["value"] <= found["top1"]["value"]
    assert found["confusion"]["answered"] == ["a", "b"]
    # Both synsets of "b" are right answered so: [true, answered, images] of the folders 0, 1 and 2.
    right = sum(n for t, a, n in found["confusion"]["counts"] if (t, a) in {(0, 0), (1, 1), (2, 1)})
    total = sum(n for *_, n in found["confusion"]["counts"])
    assert found["top1"]["value"] == pytest.approx(100 * right / total)
    (data / "val" / "n00000000").rename(data / "val" / "n00000005")
    assert _measure(mine, data, "--mode", "head", "--vocab", str(tmp_path / "vocab.json"))["head"][
        "missing"
    ] == ["n00000005"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--backbone", "timm:resnet50"), "has no tag"),
        (("--backbone", "timm:resnet50.never_was"), "publishes no resnet50.never_was"),
        (("--size", "8"), "expected 32 <= size"),
        (("--strengths", "0"), "above 0"),
        (("--threads", "0"), "1 or more"),
        (("--mode", "finetune", "--batch", "7"), "whole BN groups"),
        (("--mode", "finetune", "--rates", "-1", "--epochs", "9", "--batch", "32"), "above 0"),
        (("--output", "."), "is a folder"),
    ],
)
def test_refused(
    run: Path, data: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert told in _refused(run, data, capsys, *words)


def test_one_photo_a_class_needs_a_strength(
    run: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (data / "train").iterdir():
        for photo in sorted(folder.iterdir())[1:]:
            photo.unlink()
    assert "one each" in _refused(run, data, capsys)
    assert _measure(run, data, "--strengths", "0.1")["choice"]["tried"] == []
    shutil.rmtree(data / "train" / "n00000001")
    assert "only in val: 1 (n00000001)" in _refused(run, data, capsys)


def test_modes_are_those_of_the_tool() -> None:
    assert tuple(evaluate.MODES) == ("features", "finetune", "head")
