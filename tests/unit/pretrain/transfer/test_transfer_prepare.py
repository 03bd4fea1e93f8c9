"""Folders of links from what authors distribute, in small; half-made data are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pretrain.shards import write as shards
from pretrain.stream import selection
from pretrain.transfer import prepare, sources
from wsl_det.errors import ConfigError, DataError


def _touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def _cub(root: Path) -> Path:
    names = ["001.Crow/a.jpg", "001.Crow/b.jpg", "002.Jay/c.jpg", "002.Jay/d.jpg"]
    for name in names:
        _touch(root / "images" / name)
    (root / "images.txt").write_text("".join(f"{i} {n}\n" for i, n in enumerate(names, 1)))
    (root / "classes.txt").write_text("1 001.Crow\n2 002.Jay\n")
    (root / "image_class_labels.txt").write_text("1 1\n2 1\n3 2\n4 2\n")
    (root / "train_test_split.txt").write_text("1 1\n2 0\n3 1\n4 0\n")
    return root


def test_cub_makes_links_and_a_sidecar(tmp_path: Path) -> None:
    about = prepare.lay(sources.cub(_cub(tmp_path / "cub")), tmp_path / "out")
    link = tmp_path / "out" / "val" / "002.Jay" / "d.jpg"
    assert link.is_symlink()
    assert link.resolve() == (tmp_path / "cub" / "images" / "002.Jay" / "d.jpg").resolve()
    assert (about["classes"], about["train"], about["val"]) == (2, 2, 2)
    assert json.loads((tmp_path / "out" / "transfer.json").read_text())["data"] == "CUB-200-2011"
    with pytest.raises(ConfigError, match="not empty"):
        prepare.lay(sources.cub(tmp_path / "cub"), tmp_path / "out")


def test_half_unpacked_data_leave_nothing(tmp_path: Path) -> None:
    root = _cub(tmp_path / "cub")
    (root / "images" / "002.Jay" / "d.jpg").unlink()
    with pytest.raises(DataError, match="1 of 4 images are not there"):
        prepare.lay(sources.cub(root), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (root / "train_test_split.txt").write_text("1 1\n2 0\n3 1\n")
    with pytest.raises(DataError, match="lists 3 images"):
        sources.cub(root)


def test_classes_of_one_split_only_are_named(tmp_path: Path) -> None:
    root = _cub(tmp_path / "cub")
    (root / "train_test_split.txt").write_text("1 1\n2 0\n3 1\n4 1\n")
    with pytest.raises(DataError, match=r"only in train: 1 \(002.Jay\)"):
        prepare.lay(sources.cub(root), tmp_path / "out")


def test_places(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "categories_places365.txt").write_text("/a/airfield 0\n/a/apartment_building/outdoor 1\n")
    (lists / "places365_train_standard.txt").write_text(
        "/a/airfield/1.jpg 0\n/a/apartment_building/outdoor/2.jpg 1\n"
    )
    (lists / "places365_val.txt").write_text("v1.jpg 1\nv2.jpg 0\n")
    for name in (
        "large/a/airfield/1.jpg",
        "large/a/apartment_building/outdoor/2.jpg",
        "val/v1.jpg",
        "val/v2.jpg",
    ):
        _touch(tmp_path / name)
    listing = sources.places(lists, tmp_path / "large", tmp_path / "val")
    prepare.lay(listing, tmp_path / "out")
    assert (tmp_path / "out" / "val" / "a-apartment_building-outdoor" / "v1.jpg").exists()


def test_imagenet_by_order_and_by_kaggles_table(tmp_path: Path) -> None:
    for wnid in ("n01440764", "n01443537"):
        _touch(tmp_path / "train" / wnid / f"{wnid}_1.JPEG")
    for i in (1, 2):
        _touch(tmp_path / "val" / f"ILSVRC2012_val_0000000{i}.JPEG")
    labels = tmp_path / "labels.txt"
    labels.write_text("n01443537\nn01440764\n")
    wanted = {"ILSVRC2012_val_00000001.JPEG": "n01443537", "ILSVRC2012_val_00000002.JPEG": "n01440764"}
    table = tmp_path / "table.csv"
    table.write_text(
        "ImageId,PredictionString\nILSVRC2012_val_00000002,n01440764 1 2 3 4\n"
        "ILSVRC2012_val_00000001,n01443537 1 2 3 4 n01443537 5 6 7 8\n"
    )
    for source in (labels, table):
        listing = sources.imagenet(tmp_path / "train", tmp_path / "val", source)
        assert {i.name: i.label for i in listing.images if i.split == "val"} == wanted
    labels.write_text("490\n361\n")
    with pytest.raises(DataError, match="no wnid"):
        sources.imagenet(tmp_path / "train", tmp_path / "val", labels)
    labels.write_text("n01443537\n")
    with pytest.raises(DataError, match="1 labels for 2 photos"):
        sources.imagenet(tmp_path / "train", tmp_path / "val", labels)


def test_synsets_draw_the_same_photos_again(tmp_path: Path) -> None:
    for wnid in ("n01440764", "n01443537", "n01484850"):
        for i in range(6):
            _touch(tmp_path / "in22k" / wnid / f"{i}.JPEG")
    wanted = tmp_path / "list.txt"
    wanted.write_text("n01443537\nn01440764\n")
    one = sources.synsets(tmp_path / "in22k", str(wanted), val_per_class=2)
    two = sources.synsets(tmp_path / "in22k", str(wanted), val_per_class=2)
    assert one.images == two.images
    assert {k: dict(v) for k, v in one.counts().items()}["val"] == {"n01440764": 2, "n01443537": 2}
    with pytest.raises(DataError, match="have no folder"):
        sources.synsets(tmp_path / "in22k", "timm:imagenet", val_per_class=2)
    with pytest.raises(ConfigError, match="ships no list"):
        sources.synset_list("timm:in5k")
    assert len(sources.synset_list("timm:imagenet")[0]) == 1000


def test_posts_are_split_as_pretraining_splits_them(tmp_path: Path) -> None:
    ids = [f"p{i}" for i in range(60)]
    for name in ids:
        _touch(tmp_path / "photos" / f"{name}.jpg")
    posts, truth = tmp_path / "posts.jsonl", tmp_path / "truth.jsonl"
    posts.write_text("".join(json.dumps({"id": n, "image": f"{n}.jpg", "caption": "#a"}) + "\n" for n in ids))
    truth.write_text(
        "".join(json.dumps({"id": n, "wnid": f"n{i % 2}"}) + "\n" for i, n in enumerate(ids[:-1]))
    )
    listing = sources.posts(truth, [str(posts)], tmp_path / "photos", heldout=0.3)
    held = selection.held_out(np.array([shards.post_hash(n) for n in ids[:-1]], dtype=np.uint64), 0.3)
    found = {image.source.stem: image.split == "val" for image in listing.images}
    assert found == dict(zip(ids[:-1], held.tolist(), strict=True))
    assert listing.left_out == {"without a true class": 1}


def test_posts_that_show_several_classes_are_left_out(tmp_path: Path) -> None:
    shown = {f"p{i}": [f"n{i % 2}"] for i in range(20)} | {
        "two": ["n0", "n1"],
        "none": [],
        "twice": ["n0", "n0"],
    }
    for name in shown:
        _touch(tmp_path / "photos" / f"{name}.jpg")
    posts, truth = tmp_path / "posts.jsonl", tmp_path / "truth.jsonl"
    posts.write_text(
        "".join(json.dumps({"id": n, "image": f"{n}.jpg", "caption": "#a"}) + "\n" for n in shown)
    )
    truth.write_text("".join(json.dumps({"id": n, "synsets": s}) + "\n" for n, s in shown.items()))
    listing = sources.posts(truth, [str(posts)], tmp_path / "photos", heldout=0.3)
    assert listing.left_out == {"without one true class alone": 2}
    assert {i.label for i in listing.images if i.source.stem == "twice"} == {"n0"}
    truth.write_text(json.dumps({"id": "p0", "classes": ["a"]}) + "\n")
    with pytest.raises(DataError, match='"wnid", "label" or "synsets"'):
        sources.posts(truth, [str(posts)], tmp_path / "photos", heldout=0.3)
