"""The demo data set: the same bytes from a seed, COCO that pycocotools reads, posts apart from scenes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from wsl_det.demo import dataset
from wsl_det.demo.catalogue import DETECTED, KINDS
from wsl_det.errors import ConfigError, DataError

COUNTS = {"posts": 60, "train": 40, "val": 12}


def _hashes(folder: Path) -> dict[str, str]:
    # dataset.json carries the command line, which differs between callers.
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "dataset.json")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


@pytest.fixture(scope="module", autouse=True)
def tiny_size():
    dataset.SIZES["tiny"] = COUNTS
    yield
    del dataset.SIZES["tiny"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_size) -> Path:
    return dataset.make(tmp_path_factory.mktemp("demo") / "data", size="tiny", workers=1)


def test_a_seed_gives_the_same_bytes_whatever_the_number_of_workers(made, tmp_path):
    again = dataset.make(tmp_path / "again", size="tiny", workers=2)
    assert _hashes(again) == _hashes(made)


def test_another_seed_gives_other_pictures(made, tmp_path, monkeypatch):
    monkeypatch.setitem(dataset.SIZES, "tiny", {"posts": 2, "train": 2, "val": 1})
    other = _hashes(dataset.make(tmp_path / "other", size="tiny", random_seed=1, workers=1))
    ours = _hashes(made)
    pictures = [name for name in other if name.endswith(".jpg")]
    assert len(pictures) == 5
    assert all(other[name] != ours[name] for name in pictures)


def test_no_picture_occurs_twice_in_posts_train_and_val(made):
    hashes = [h for name, h in _hashes(made).items() if name.endswith(".jpg")]
    assert len(hashes) == sum(COUNTS.values())
    assert len(set(hashes)) == len(hashes)


def test_the_annotations_are_sound_coco(made):
    crowds = split = 0
    for part in ("train", "val"):
        coco = COCO(made / "detection" / "annotations" / f"instances_{part}.json")
        assert len(coco.imgs) == COUNTS[part]
        for row in coco.anns.values():
            image = coco.imgs[row["image_id"]]
            mask = coco.annToMask(row)
            assert mask.shape == (image["height"], image["width"])
            left, top, width, height = row["bbox"]
            assert left >= 0 and top >= 0 and width > 0 and height > 0
            assert left + width <= image["width"] and top + height <= image["height"]
            rows, columns = np.nonzero(mask)
            # pycocotools rasterizes polygons by pixel centres: at most one pixel from the corners.
            assert abs(columns.min() - left) <= 1 and abs(columns.max() + 1 - left - width) <= 1
            assert abs(rows.min() - top) <= 1 and abs(rows.max() + 1 - top - height) <= 1
            edge = 2 * (width + height)
            assert abs(float(mask.sum()) - row["area"]) <= edge
            crowds += row["iscrowd"]
            split += not row["iscrowd"] and len(row["segmentation"]) > 1
            if row["iscrowd"]:
                packed = coco_mask.frPyObjects(row["segmentation"], *row["segmentation"]["size"])
                assert coco_mask.area(packed) == row["area"]
    assert crowds >= 1
    assert split >= 1


def test_visible_parts_do_not_overlap(made):
    coco = COCO(made / "detection" / "annotations" / "instances_train.json")
    for image in coco.imgs.values():
        covered = np.zeros((image["height"], image["width"]), dtype=np.int32)
        for row in coco.imgToAnns[image["id"]]:
            covered += coco.annToMask(row)
        # Neighbours share the pixels of their border, where rasterizing rounds both ways.
        assert (covered > 1).mean() < 0.01


def test_posts_have_a_tail_noise_and_truth(made):
    posts = [json.loads(line) for line in (made / "posts" / "posts.jsonl").read_text("utf-8").splitlines()]
    truth = [json.loads(line) for line in (made / "posts" / "truth.jsonl").read_text("utf-8").splitlines()]
    assert [p["id"] for p in posts] == [t["id"] for t in truth]
    assert all((made / "posts" / "images" / p["image"]).is_file() for p in posts)
    counts = Counter(c for t in truth for c in set(t["classes"]))
    assert counts.most_common(1)[0][0] == "automobile"
    synsets = {kind.name: kind.synset for kind in KINDS}
    assert all([synsets[c] for c in t["classes"]] == t["synsets"] for t in truth)
    assert all(t["wrong"] not in t["classes"] for t in truth)
    assert {c["name"] for c in _categories(made)} == {kind.name for kind in DETECTED}


def test_what_exists_is_kept_when_it_is_the_same_and_refused_when_not(made, tmp_path):
    before = (made / "dataset.json").stat().st_mtime_ns
    assert dataset.make(made, size="tiny", workers=1) == made
    assert (made / "dataset.json").stat().st_mtime_ns == before
    with pytest.raises(DataError, match="seed 0, schema 2; asked for size tiny, seed 5, schema 2"):
        dataset.make(made, size="tiny", random_seed=5)
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "dataset.json").write_text('{"size": "tiny", "seed": 0, "schema": 1}', encoding="utf-8")
    with pytest.raises(DataError, match="tiny, seed 0, schema 1; asked for size tiny, seed 0, schema 2"):
        dataset.make(earlier, size="tiny")
    (other := tmp_path / "other").mkdir()
    (other / "letter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="not a demo data set"):
        dataset.make(other, size="tiny")
    assert [p.name for p in other.iterdir()] == ["letter.txt"]


def test_an_unknown_size_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match="small, full"):
        dataset.make(tmp_path / "x", size="huge")


def _categories(made: Path) -> list[dict]:
    return json.loads((made / "detection" / "annotations" / "instances_val.json").read_bytes())["categories"]
