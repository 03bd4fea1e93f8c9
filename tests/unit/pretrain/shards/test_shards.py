from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import subprocess
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pretrain.posts import files as post_files
from pretrain.posts import records as posts
from pretrain.posts.records import Columns
from pretrain.shards import build as shard_builder
from pretrain.shards import images, index
from pretrain.shards import write as shards
from pretrain.shards.build import Options
from pretrain.vocabulary import build as vocabulary_builder
from pretrain.vocabulary import hashtags
from wsl_det.errors import ConfigError, DataError


@pytest.fixture
def made(tmp_path, world):
    """Posts, images and a vocabulary in ``tmp_path``."""
    world.write_images(tmp_path / "images")
    path = world.write_posts(tmp_path / "posts.jsonl")
    select = vocabulary_builder.Selection("in1k")
    vocab, _, _ = vocabulary_builder.build([path], Columns(), hashtags.Rules(), select, workers=1)
    vocab.write(tmp_path / "vocab.json")
    return tmp_path


def build(made, output="out", source="images", **options):
    dataset, _ = shard_builder.build(
        [made / "posts.jsonl"],
        Columns(),
        image_source=made / source,
        vocab_path=made / "vocab.json",
        output=made / output,
        options=Options(**{"workers": 1, **options}),
    )
    return dataset


def test_the_index_finds_what_the_tars_hold(made):
    dataset = build(made)
    found = index.open_index(made / "out")
    names = {entry.name: entry.id for entry in found.vocabulary.classes}
    assert len(found) == dataset["images"] == 5
    assert [found.key(i) for i in range(5)] == ["p1", "p2", "p3", "p4", "p6"]  # p5 has no hashtag
    assert found.labels(2).tolist() == sorted([names["brown_bear"], names["goldfish"]])
    assert found.labels(4).tolist() == [names["goldfish"]]  # synonyms count once; URLs do not
    assert found.label_offsets.tolist() == [0, 1, 2, 4, 5, 6]
    assert found.label_values.dtype == np.int32 and found.post_hash.dtype == np.uint64
    assert int(found.post_hash[0]) == int(hashlib.sha256(b"p1").hexdigest()[:16], 16)
    assert found.read(0) == (made / "images/a.jpg").read_bytes()  # a sound JPEG keeps its bytes
    assert isinstance(found.label_values, np.memmap)


def test_tar_reads_the_shards(made):
    build(made)
    shard = made / "out/train-000000.tar"
    names = subprocess.check_output(["tar", "tf", shard], text=True).split()
    assert names[:4] == ["p1.jpg", "p1.json", "p2.jpg", "p2.json"]
    sidecar = json.loads(subprocess.check_output(["tar", "xOf", shard, "p2.json"]))
    label = index.open_index(made / "out").labels(1).tolist()
    assert sidecar == {"id": "p2", "hashtags": ["UrsusArctos", "brownbear", "Alaska"], "labels": label}
    with tarfile.open(shard) as tar:
        assert {(m.mtime, m.uid, m.gid, m.mode, m.uname) for m in tar} == {(0, 0, 0, 0o644, "")}
        image = Image.open(io.BytesIO(tar.extractfile("p1.jpg").read()))
        assert image.size == (24, 16)


def test_dataset_json_tells_name_counts_and_what_was_left_out(made):
    (made / "images/d.jpg").unlink()
    build(made, role="val", source="images")
    value = json.loads((made / "out/dataset.json").read_text())
    assert value["name"] == "val-posts-4-3"
    assert value["skipped"]["posts"] == {"no hashtag of the vocabulary": 1}
    assert value["skipped"]["images"] == {"missing file": 1}
    names = [entry["name"] for entry in json.loads((made / "vocab.json").read_text())["classes"]]
    counts = dict(zip(names, value["class_counts"], strict=True))
    assert counts == {"brown_bear": 3, "goldfish": 2, "crane": 0} and value["labels"] == 5
    assert value["made_from"]["vocabulary"]["sha256"]
    assert (made / "out/vocab.json").read_bytes() == (made / "vocab.json").read_bytes()
    rejected = (made / "out/rejected.jsonl").read_text()
    assert json.loads(rejected) == {"id": "p4", "image": "d.jpg", "reason": "missing file"}


def test_workers_and_runs_do_not_change_a_byte(made, world):
    captions = {f"q{i}": (f"{'abcdf'[i % 5]}.jpg", "#goldfish") for i in range(40)}
    (made / "images/c.jpg").write_bytes(b"broken")
    world.write_posts(made / "posts.jsonl", captions)
    options = {"shard_mb": 1}
    folders = [build(made, f"out{n}", workers=n, **options) and made / f"out{n}" for n in (1, 2)]
    one, two = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in folders)
    assert one.keys() == two.keys()
    # The command that made a folder stands in dataset.json; it is the test runner's here.
    assert one == two


def test_many_shards_by_size_and_by_count(made, monkeypatch, world):
    monkeypatch.setattr(shards, "MAX_IMAGES", 2)
    (made / "images/a.jpg").write_bytes(b"")
    (made / "images/b.jpg").write_bytes(b"not an image")
    dataset = build(made)
    # The first shard of the plan lost all its images: the others close ranks.
    assert [entry["file"] for entry in dataset["shards"]] == ["train-000000.tar", "train-000001.tar"]
    assert [entry["images"] for entry in dataset["shards"]] == [2, 1]
    found = index.open_index(made / "out")
    assert [found.read(i) for i in range(3)] == [(made / f"images/{x}.jpg").read_bytes() for x in "cdf"]
    assert dataset["skipped"]["images"] == {"empty file": 1, "not an image": 1}
    assert sorted(p.name for p in (made / "out").iterdir()) == [
        "dataset.json", "index", "rejected.jsonl", "train-000000.tar", "train-000001.tar", "vocab.json",
    ]  # fmt: skip
    planner = shards.Planner(_Everything(), images.ImageFolder(made / "images"), 900)
    monkeypatch.setattr(shards, "MAX_IMAGES", 100)
    plan = list(planner.plan(post_files.read([str(made / "posts.jsonl")], Columns(), posts.Ledger())))
    assert len(plan) > 1 and all(sum(i.where.size for i in shard.items) <= 900 for shard in plan)


class _Everything:
    def labels(self, tags):
        return [0]


def test_images_from_a_tar(made):
    build(made)
    with tarfile.open(made / "photos.tar", "w") as tar:
        tar.add(made / "images", "some/top")
        link = tarfile.TarInfo("some/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(DataError, match="5 missing file"):
        build(made, "from_tar", "photos.tar")  # two folders deep: only one top folder may be left out
    with tarfile.open(made / "photos.tar", "w") as tar:
        tar.add(made / "images", "./top")
    build(made, "from_tar", "photos.tar")
    for name in ("train-000000.tar", "index/label_values.npy"):
        assert (made / "from_tar" / name).read_bytes() == (made / "out" / name).read_bytes()


@pytest.mark.parametrize("damage", ["truncate", "gzip", "text"])
def test_a_tar_that_is_none(made, damage):
    path = made / "photos.tar"
    with tarfile.open(path, "w:gz" if damage == "gzip" else "w") as tar:
        tar.add(made / "images", "images")
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:1200])
    if damage == "text":
        path.write_text("hello")
    with pytest.raises(DataError, match="no whole, uncompressed tar"):
        build(made, "out", "photos.tar")
    assert not (made / "out").exists()


def test_hostile_and_repeated_posts(made, world):
    captions = {
        "a.b/c": ("a.jpg", "#goldfish"),
        "a_b_c": ("a.jpg", "#goldfish"),
        "up": ("../posts.jsonl", "#goldfish"),
        "root": ("/etc/passwd", "#goldfish"),
        "folder": (".", "#goldfish"),
        "日本": ("b.jpg", "#goldfish"),
    }
    world.write_posts(made / "posts.jsonl", captions)
    with open(made / "posts.jsonl", "a") as file:
        file.write(
            '{"id": "a_b_c", "image": "b.jpg", "caption": "#crane"}\n{"id": "x", "caption": "#crane"}\n'
        )
    dataset = build(made)
    found = index.open_index(made / "out")
    keys = [found.key(i) for i in range(len(found))]
    assert len(set(keys)) == 3 and keys[1] == "a_b_c" and not any("." in key or "/" in key for key in keys)
    assert dataset["skipped"]["images"] == {"not a file": 1, "path leaves the image folder": 2}
    assert dataset["skipped"]["posts"] == {"id seen before": 1, "no image named": 1}


def test_an_output_that_exists_is_refused_with_the_remedy(made):
    (made / "out").mkdir()
    build(made)  # an empty folder is no obstacle
    before = (made / "out/dataset.json").read_bytes()
    with pytest.raises(DataError, match=r"out already holds something; choose another --output"):
        build(made)
    assert (made / "out/dataset.json").read_bytes() == before


def test_nothing_is_left_behind_when_the_job_fails(made):
    shutil.rmtree(made / "images")
    (made / "images").mkdir()
    with pytest.raises(DataError, match=r"no image is left of .*5 missing file.*nothing was written"):
        build(made)
    with pytest.raises(DataError, match="does not exist; give the folder or the tar"):
        build(made, source="nowhere")
    assert sorted(p.name for p in made.iterdir()) == ["images", "posts.jsonl", "vocab.json"]


def test_bad_options():
    for options in ({"shard_mb": 0}, {"workers": 0}, {"role": "a/b"}, {"max_short_side": 0}):
        with pytest.raises(ConfigError):
            Options(**options)


def test_the_index_survives_pickling_and_forgets_its_files(made):
    build(made)
    found = index.open_index(made / "out")
    found.read(0)
    copy = pickle.loads(pickle.dumps(found))
    assert copy.read(3) == found.read(3) and copy.sha256 == found.sha256
    found.close()
    assert found.read(0)


def test_a_key_that_is_no_utf8_is_told(made):
    """Of an older folder, whose arrays have no hashes."""
    build(made)
    told(made / "out", arrays={})
    keys = np.load(made / "out/index/key_bytes.npy")
    keys[0] = 0xFF
    np.save(made / "out/index/key_bytes.npy", keys)
    with pytest.raises(DataError, match="a key of image 0 that is no UTF-8"):
        index.open_index(made / "out").key(0)


def open_header(path):
    """A bracket of the header is not closed."""
    path.write_bytes(path.read_bytes().replace(b"}", b"(", 1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "does not exist; make it with"),
        (lambda d: (d / "dataset.json").write_text("{"), "not whole JSON"),
        (lambda d: (d / "dataset.json").write_text("{}"), "schema None"),
        (lambda d: (d / "index/size.npy").unlink(), r"size\.npy does not exist"),
        (lambda d: (d / "index/size.npy").write_bytes(b"\x93NUMPY"), "no whole numpy array"),
        (lambda d: open_header(d / "index/size.npy"), "no whole numpy array"),
        (lambda d: np.save(d / "index/size.npy", np.zeros(5, np.int32)), "holds int32"),
        (lambda d: np.save(d / "index/size.npy", np.zeros(4, np.int64)), "disagree in length"),
        (lambda d: (d / "vocab.json").unlink(), "vocabulary .* does not exist"),
        (
            lambda d: np.savez(d / "x.npz", a=np.zeros(3)) or (d / "x.npz").rename(d / "index/size.npy"),
            "several",
        ),
        (lambda d: (d / "index/size.npy").write_bytes(header("<i8", (2**61,))), "no whole numpy array"),
        (lambda d: (d / "index/size.npy").write_bytes(header("<i8", (-1,))), r"no whole|disagree in length"),
        (lambda d: (d / "index/size.npy").write_bytes(header("|O", (5,))), "no whole numpy array"),
        (lambda d: told(d, shards=[{"file": 1}] * 1), r"damaged .*shards\[0\]\.file"),
        (lambda d: told(d, images="5"), r"damaged .*images"),
        (lambda d: told(d, images=None), r"damaged .*images"),
        (lambda d: told(d, arrays=[1]), r"damaged .*arrays"),
        (lambda d: told(d, vocabulary="0" * 64), "vocab.json is not the vocabulary"),
    ],
)
def test_a_damaged_folder_is_refused(made, damage, message):
    build(made)
    damage(made / "out")
    with pytest.raises(DataError, match=message):
        _ = index.open_index(made / "out").vocabulary


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("label_values", lambda a: a * 0 + 99, "labels that are not among the 3 classes"),
        ("label_values", lambda a: a * 0 - 1, "labels that are not among the 3 classes"),
        ("offset", lambda a: a + 10**6, "beyond the end of their tar"),
        ("offset", lambda a: a - 10**6, "before the start of their tar"),
        ("offset", lambda a: a * 0 + (2**63 - 1), "beyond the end of their tar"),
        ("size", lambda a: a * 0, "photos of no bytes"),
        ("size", lambda a: a * 0 + 2**62, "beyond the end of their tar"),
        ("shard", lambda a: a + 1, "tars that are not among the 1"),
        ("shard", lambda a: a - 1, "tars that are not among the 1"),
        ("label_offsets", lambda a: a[::-1], "label_offsets that do not span"),
        ("label_offsets", lambda a: a + 1, "label_offsets that do not span"),
        ("label_offsets", lambda a: np.concatenate([a[:1], a[1:-1] + 10**9, a[-1:]]), "do not ascend"),
        (
            "key_offsets",
            lambda a: np.concatenate([a[:1], a[1:-1] * 0, a[-1:]]),
            "key_offsets that do not ascend",
        ),
        ("post_hash", lambda a: a[::-1], None),
    ],
)
def test_an_index_that_points_elsewhere_is_refused(made, name, change, message):
    build(made)
    path = made / f"out/index/{name}.npy"
    np.save(path, np.ascontiguousarray(change(np.load(path))))
    with pytest.raises(DataError, match=rf"index/{name}\.npy is damaged or was changed"):
        index.open_index(made / "out")
    told(made / "out", arrays=None)  # as older folders are
    if message is None:
        assert len(index.open_index(made / "out")) == 5
    else:
        with pytest.raises(DataError, match=message):
            index.open_index(made / "out")


def told(folder, **changes):
    """dataset.json with other values; None takes one out."""
    path = folder / "dataset.json"
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in value.items() if v is not None or k == "images"}))


def header(dtype, shape):
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(40)


def test_a_truncated_shard_is_an_error_when_read(made):
    build(made)
    shard = made / "out/train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:1500])
    found = index.open_index(made / "out")
    with pytest.raises(DataError, match="truncated"):
        found.read(4)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (272, "272"), (999, "999"), (1497, "1.5k"), (8500, "8.5k"), (12_912, "13k"), (17_000, "17k"),
     (940_000_000, "940M"), (999_999, "1M"), (1_000_000_000, "1B"), (3_500_000_000, "3.5B")],
)  # fmt: skip
def test_counts_as_the_paper_writes_them(count, text):
    assert shards.human(count) == text


def test_a_dead_worker_is_an_error_not_a_hang(made, monkeypatch):
    monkeypatch.setattr(shard_builder, "finished_shard", _die)
    with pytest.raises(DataError, match="worker process died"):
        build(made, workers=2)
    assert not (made / "out").exists()


def _die(*args, **kwargs):
    import os

    os._exit(1)


def test_a_full_disk_leaves_nothing(made, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "_member", full)
    with pytest.raises(
        DataError, match=r"disk of .*out is full \(No space left on device\); nothing was kept"
    ):
        build(made)
    assert sorted(p.name for p in made.iterdir()) == ["images", "posts.jsonl", "vocab.json"]


def test_labels_and_counts_agree(made):
    dataset = build(made)
    found = index.open_index(made / "out")
    counted = Counter(found.label_values.tolist())
    assert [counted[i] for i in range(len(found.vocabulary))] == dataset["class_counts"]
