"""The held-out part: a pure function of the image id, nothing lost, nothing in both parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsl_det.errors import DataError
from wsl_det.study import split


def test_every_image_and_object_is_in_exactly_one_part(world, tmp_path: Path) -> None:
    cut = split.write(world.train, 0.3, tmp_path / "split")
    whole = json.loads(world.train.read_text())
    fit, held = (json.loads(path.read_text()) for path in (cut.fit, cut.heldout))
    for section in ("images", "annotations"):
        both = fit[section] + held[section]
        assert sorted(item["id"] for item in both) == sorted(item["id"] for item in whole[section])
    assert fit["categories"] == held["categories"] == whole["categories"]
    assert {a["image_id"] for a in held["annotations"]} <= {i["id"] for i in held["images"]}
    assert cut.images == (len(fit["images"]), len(held["images"]))
    assert held["wsl_det"]["role"] == "heldout"


def test_membership_depends_on_the_id_alone_and_grows_with_the_share() -> None:
    ids = range(2000)
    small = {i for i in ids if split.is_held_out(i, 0.1)}
    large = {i for i in ids if split.is_held_out(i, 0.3)}
    assert small < large
    # Binomial: three standard deviations around the share.
    assert 160 <= len(small) <= 240
    assert 540 <= len(large) <= 660
    # On record: another hash would move every study's split.
    assert [i for i in range(1, 40) if split.is_held_out(i, 0.1)] == ON_RECORD


ON_RECORD = [18, 20, 24, 33, 38, 39]


def test_it_is_written_again_only_when_the_source_or_the_share_changed(world, tmp_path: Path) -> None:
    folder = tmp_path / "split"
    cut = split.write(world.train, 0.3, folder)
    first = cut.heldout.stat().st_mtime_ns
    split.write(world.train, 0.3, folder)
    assert cut.heldout.stat().st_mtime_ns == first
    split.write(world.train, 0.6, folder)
    assert cut.heldout.stat().st_mtime_ns > first
    cut.fit.write_text("half a fi")
    split.write(world.train, 0.6, folder)
    assert json.loads(cut.fit.read_text())["images"]


def test_parts_without_objects_and_broken_files_are_refused(world, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="change data: heldout"):
        split.write(world.train, 1e-9, tmp_path / "split")
    with pytest.raises(DataError, match="no object to fit on"):
        split.write(world.train, 1 - 1e-9, tmp_path / "split")
    broken = tmp_path / "broken.json"
    whole = json.loads(world.train.read_text()) | {"images": [{"id": 7, "file_name": "a.jpg"}]}
    for content, told in (
        ([], "expected a COCO annotation file"),
        ({"images": [], "categories": []}, "lists no images"),
        ({"images": [{"id": "1"}], "categories": [{"id": 1, "name": "a"}]}, "image '1' has id '1'"),
        ({**whole, "annotations": [{**whole["annotations"][0], "image_id": 5}]}, "refers to image 5"),
    ):
        broken.write_text(json.dumps(content))
        with pytest.raises(DataError, match=told):
            split.write(broken, 0.3, tmp_path / "split")
    assert not (tmp_path / "split").exists()
