"""Bad folders are told apart: absent, empty, of other classes, of one class."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import transfer_world as world

from pretrain.transfer import folders
from pretrain.transfer.features import View
from wsl_det.core.photos import BadImage
from wsl_det.errors import DataError


def test_classes_and_labels(tmp_path: Path) -> None:
    found = folders.open_folders(world.write(tmp_path, train=2, val=1))
    assert found.classes == ("n00000000", "n00000001", "n00000002")
    assert found.train.names[2] == "n00000001/0.jpg"
    assert found.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    before = found.val.listing()
    (tmp_path / "val" / "n00000000" / "0.jpg").write_bytes(b"other")
    assert found.val.listing() != before


def _break(root: Path, how: str) -> None:
    if how == "no val":
        shutil.rmtree(root / "val")
    elif how == "other classes":
        (root / "val" / "n00000001").rename(root / "val" / "n00000009")
    elif how == "empty class":
        shutil.rmtree(root / "val" / "n00000001")
        (root / "val" / "n00000001").mkdir()
    elif how == "one class":
        for split in ("train", "val"):
            for name in ("n00000001", "n00000002"):
                shutil.rmtree(root / split / name)
    else:
        shutil.rmtree(root / "train")
        (root / "train").mkdir()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("no val", "no folder val/"),
        ("other classes", r"only in train: 1 \(n00000001\)\n  only in val: 1 \(n00000009\)"),
        ("empty class", r"1 of 3 classes hold no image \(n00000001\)"),
        ("one class", "one class"),
        ("no classes", "no class folders"),
    ],
)
def test_bad_folders(tmp_path: Path, how: str, told: str) -> None:
    _break(world.write(tmp_path, train=2, val=1), how)
    with pytest.raises(DataError, match=told):
        folders.open_folders(tmp_path)


def test_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        folders.open_folders(tmp_path / "nowhere")


def test_pixels_of_broken_files(tmp_path: Path) -> None:
    data = world.photo(0, __import__("numpy").random.default_rng(0))
    assert folders.pixels(data, View(32, 36).crop).shape == (32, 32, 3)
    for broken in (b"", b"no image", data[: len(data) // 2]):
        with pytest.raises(BadImage):
            folders.pixels(broken, View(32, 36).crop)
