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


def test_what_is_hidden_and_circles_add_no_photos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = world.write(tmp_path / "data", train=2, val=1)
    plain = folders.open_folders(root)
    label = root / "train" / "n00000001"
    for beside in (".ipynb_checkpoints", "@eaDir", "__MACOSX", "deeper/.thumbs"):
        (label / beside).mkdir(parents=True)
        shutil.copy(label / "0.jpg", label / beside / "0.jpg")
        (root / "train" / beside).mkdir(parents=True, exist_ok=True)
    shutil.rmtree(root / "train" / "deeper")
    (label / "._0.jpg").write_bytes(b"x")
    (label / "IMG.heic").write_bytes(b"x")
    (label / "up").symlink_to("..")
    (label / "self").symlink_to(".")
    (label / "deeper" / "far").symlink_to(root.resolve())
    assert folders.open_folders(root).train.names == plain.train.names
    assert caplog.text.count("leads in a circle") == 3 and "1 .heic" in caplog.text
    (label / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(label / "0.jpg", tmp_path / "elsewhere" / "2.jpg")
    assert "n00000001/more/2.jpg" in folders.open_folders(root).train.names


@pytest.mark.parametrize("how", ["link", "links of photos", "copy", "renamed copy"])
def test_val_that_is_train_is_refused(tmp_path: Path, how: str) -> None:
    root = world.write(tmp_path, train=3, val=1)
    shutil.rmtree(root / "val")
    if how == "link":
        (root / "val").symlink_to("train")
    else:
        shutil.copytree(root / "train", root / "val")
    for path in sorted(root.glob("val/*/*.jpg")):
        if how == "links of photos":
            path.unlink()
            path.symlink_to(root / "train" / path.relative_to(root / "val"))
        elif how == "renamed copy":
            path.rename(path.with_name(f"other{path.name}"))
    with pytest.raises(DataError, match="9 of 9 val photos looked at are photos of train"):
        folders.open_folders(root)


def test_some_photos_of_val_in_train_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = world.write(tmp_path, train=3, val=2)
    shutil.copy(root / "train" / "n00000001" / "1.jpg", root / "val" / "n00000001" / "0.jpg")
    folders.open_folders(root)
    assert "1 of 6 val photos looked at are photos of train" in caplog.text
