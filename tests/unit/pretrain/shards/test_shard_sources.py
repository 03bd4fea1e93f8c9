"""Shards from several folders, tars and samples; read by webdataset; other people's shards indexed."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile

import pytest
from PIL import Image
from test_samples import write_tar

from pretrain.posts.records import Columns
from pretrain.shards import adopt as shard_indexer
from pretrain.shards import build as shard_builder
from pretrain.shards import index
from pretrain.shards.build import Options
from pretrain.vocabulary import build as vocabulary_builder
from pretrain.vocabulary import hashtags
from wsl_det import errors
from wsl_det.errors import DataError


@pytest.fixture
def made(tmp_path, world):
    """Posts, images and a vocabulary, and the same as two tars of samples in ``tars``."""
    world.write_images(tmp_path / "images")
    path = world.write_posts(tmp_path / "posts.jsonl")
    select = vocabulary_builder.Selection("in1k")
    vocab, _, _ = vocabulary_builder.build([path], Columns(), hashtags.Rules(), select, workers=1)
    vocab.write(tmp_path / "vocab.json")
    (tmp_path / "tars").mkdir()
    rows = list(world.captions.items())
    for number in range(2):
        members = []
        for name, (image, caption) in rows[number::2]:
            note = json.dumps({"id": name, "caption": caption}).encode()
            members += [(f"{name}.jpg", (tmp_path / "images" / image).read_bytes()), (f"{name}.json", note)]
        write_tar(tmp_path / f"tars/{number:05d}.tar", members)
    return tmp_path


def build(made, output, source, **options):
    return shard_builder.build(
        [made / "posts.jsonl"],
        Columns(),
        image_source=source,
        vocab_path=made / "vocab.json",
        output=made / output,
        options=Options(**{"workers": 1, **options}),
    )[0]


def build_samples(made, output, *tars):
    return shard_builder.build_from_samples(
        tars or [made / "tars/*.tar"],
        Columns(),
        vocab_path=made / "vocab.json",
        output=made / output,
        options=Options(workers=1),
    )[0]


def index_tars(made, output, *tars, **options):
    return shard_indexer.build(
        tars or [made / "tars/*.tar"],
        Columns(),
        vocab_path=made / "vocab.json",
        output=made / output,
        options=shard_indexer.Options(**{"workers": 1, **options}),
    )[0]


def rejections(folder):
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


def rows_of(folder):
    found = index.open_index(folder)
    return {found.key(i): (found.labels(i).tolist(), found.read(i)) for i in range(len(found))}


def test_several_folders_and_tars(made):
    (made / "more").mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.move(made / "images" / name, made / "more" / name)
    with tarfile.open(made / "rest-1.tar", "w") as tar:
        tar.add(made / "images/c.jpg", "c.jpg")
        link = tarfile.TarInfo("d.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (made / "images/c.jpg").unlink()
    dataset = build(made, "out", [made / "more", made / "rest-*.tar", made / "images"])
    assert dataset["images"] == 4
    # The link is what the post asks for; it is refused, not looked for elsewhere.
    assert dataset["skipped"]["images"] == {"a link in a tar": 2}
    assert [(r["id"], r["image"]) for r in rejections(made / "out")] == [
        ("p4", "d.jpg"),
        ("", "d.jpg"),
    ]


def test_samples_make_the_same_rows_as_posts_and_images(made):
    build(made, "out", made / "images")
    dataset = build_samples(made, "from_tars")
    assert (dataset["posts"], dataset["images"]) == (6, 5)
    assert rows_of(made / "from_tars") == rows_of(made / "out")


def test_shards_read_by_webdataset(made):
    webdataset = pytest.importorskip("webdataset")
    build(made, "out", made / "images")
    found = index.open_index(made / "out")
    shard = str(made / "out/train-{000000..000000}.tar")
    rows = list(
        webdataset.WebDataset(shard, shardshuffle=False).decode("pil").to_tuple("__key__", "jpg", "json")
    )
    assert [key for key, _, _ in rows] == [found.key(i) for i in range(len(found))]
    for i, (_, image, note) in enumerate(rows):
        assert image.size == (24, 16) and note["labels"] == found.labels(i).tolist()


def test_foreign_shards_are_indexed_where_they_lie(made):
    before = {p.name: p.read_bytes() for p in (made / "tars").iterdir()}
    build(made, "out", made / "images")
    dataset = index_tars(made, "index")
    assert rows_of(made / "index") == rows_of(made / "out")
    assert {p.name: p.read_bytes() for p in (made / "tars").iterdir()} == before
    assert [entry["file"] for entry in dataset["shards"]] == ["../tars/00000.tar", "../tars/00001.tar"]
    assert dataset["name"] == "train-posts-5-3"
    assert dataset["skipped"]["posts"] == {"no hashtag of the vocabulary": 1}
    assert sorted(p.name for p in (made / "index").iterdir()) == [
        "dataset.json", "index", "rejected.jsonl", "vocab.json",
    ]  # fmt: skip
    for name in ("label_values", "label_offsets"):
        rows = {f"{o}/{name}": (made / o / f"index/{name}.npy").stat().st_size for o in ("out", "index")}
        assert len(set(rows.values())) == 1
    # The tars and their index can move together, but not apart.
    (made / "moved").mkdir()
    for name in ("tars", "index"):
        shutil.move(made / name, made / "moved" / name)
    assert rows_of(made / "moved/index") == rows_of(made / "out")


def test_absolute_paths_and_workers_change_no_row(made):
    index_tars(made, "one")
    dataset = index_tars(made, "two", workers=2, absolute=True)
    assert rows_of(made / "one") == rows_of(made / "two")
    assert all(os.path.isabs(entry["file"]) for entry in dataset["shards"])
    assert dataset["sha256"] == index.open_index(made / "one").sha256
    shutil.move(made / "two", made / "tars/two")
    assert rows_of(made / "tars/two") == rows_of(made / "one")


def test_what_training_could_not_read_as_it_lies_is_listed(made, world):
    png, alpha = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(png, "PNG")
    Image.new("RGBA", (9, 9)).save(alpha, "PNG")
    turned = json.dumps({"caption": "#crane", "exif": '{"Image Orientation": "Rotated 90 CW"}'}).encode()
    files = {
        "ok": ("png", png.getvalue()),
        "alpha": ("png", alpha.getvalue()),
        "cut": ("jpg", world.jpeg(1)[:-20]),
        "empty": ("jpg", b""),
        "turned": ("jpg", world.jpeg(2)),
    }
    members = []
    for key, (ending, data) in files.items():
        note = turned if key == "turned" else b'{"caption": "#crane"}'
        members += [(f"{key}.{ending}", data), (f"{key}.json", note)]
    write_tar(made / "tars/extra.tar", [*members, ("ok.pickle", b"x"), ("../up.jpg", b"x")])
    dataset = index_tars(made, "index", made / "tars/extra.tar")
    assert dataset["images"] == 1
    listed = {r["image"].partition("/")[2]: r["reason"] for r in rejections(made / "index")}
    assert listed == {
        "alpha.png": "not gray or RGB of 8 bits: build_shards would rewrite it",
        "cut.jpg": "truncated image",
        "empty.jpg": "empty file",
        "turned.jpg": "the mark of its orientation was lost: build_shards would turn it",
        "ok.pickle": "a pickle in a tar",
        "../up.jpg": "name leaves the tar",
    }
    assert index_tars(made, "believed", made / "tars/extra.tar", decode=False)["images"] == 4
    # What only needs rewriting is there once it is rewritten, upright.
    assert build_samples(made, "out", made / "tars/extra.tar")["images"] == 3
    sizes = {k: Image.open(io.BytesIO(v[1])).size for k, v in rows_of(made / "out").items()}
    assert sorted(sizes.values()) == [(9, 9), (9, 9), (16, 24)]


def test_keys_that_repeat_across_tars_count_once(made):
    shutil.copy(made / "tars/00000.tar", made / "tars/copy.tar")
    dataset = index_tars(made, "index")
    assert dataset["images"] == 5 and dataset["skipped"]["posts"]["id seen before"] == 2
    found = index.open_index(made / "index")
    assert len({found.key(i) for i in range(5)}) == 5


def test_a_tar_that_changed_after_it_was_indexed_is_an_error(made):
    index_tars(made, "index")
    path = made / "tars/00001.tar"
    path.write_bytes(path.read_bytes() + bytes(10240))
    with pytest.raises(DataError, match=r"00001\.tar has .* when it was indexed.*truncated or was changed"):
        rows_of(made / "index")


def test_an_index_under_way_goes_on_after_a_failure(made, monkeypatch):
    path = made / "tars/00001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(DataError, match=r"00001\.tar is no whole"):
        index_tars(made, "index")
    assert (made / ".index.partial/work/000000.json").exists()
    path.write_bytes(whole)
    decoded = []
    check = shard_indexer.images.check
    monkeypatch.setattr(shard_indexer.images, "check", lambda data: decoded.append(data) or check(data))
    dataset = index_tars(made, "index")
    assert dataset["images"] == 5 and dataset["posts"] == 6 and len(decoded) == 3
    build(made, "out", made / "images")
    assert rows_of(made / "index") == rows_of(made / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shards", "none.tar"], "tar none.tar does not exist"),
        (["--shards", "posts.jsonl"], "no whole, uncompressed tar"),
        (["--vocab", "none.json"], "vocabulary none.json does not exist"),
        (["--output", "images"], "images already holds something"),
        (["--workers", "0"], "--workers 0"),
        (
            ["--caption-column", "text"],
            '6 skipped: neither "text" nor "hashtags" (first',
        ),
    ],
)
def test_index_shards_refuses(made, tool, capsys, monkeypatch, words, message):
    monkeypatch.chdir(made)
    before = sorted(path.name for path in made.iterdir())
    argv = ["--shards", "tars/*.tar", "--vocab", "vocab.json", "--output", "index", "--workers", "1", *words]
    assert errors.run(tool("index_shards"), argv) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in made.iterdir()) == before


def test_the_tools_from_tars_to_shards_and_index(made, tool, capsys, monkeypatch):
    monkeypatch.chdir(made)
    tail = ["--vocab", "vocab.json", "--workers", "1", "--source", "web"]
    assert tool("build_shards")(["--samples", "tars/*.tar", "--output", "out", *tail]) == 0
    assert tool("index_shards")(["--shards", "tars/*.tar", "--output", "index", *tail]) == 0
    assert capsys.readouterr().out.count("train-web-5-3") == 2
    for words in ([], ["--posts", "posts.jsonl"], ["--posts", "p", "--images", "i", "--samples", "s"]):
        with pytest.raises(SystemExit) as stopped:
            tool("build_shards")([*words, "--output", "out2", *tail])
        assert stopped.value.code == 2
        assert "give either --posts and --images, or --samples" in capsys.readouterr().err


def test_posts_that_name_urls_are_told_what_to_do(made):
    (made / "posts.jsonl").write_text('{"id": "1", "image": "https://x.org/a.jpg", "caption": "#crane"}\n')
    with pytest.raises(DataError, match=r"1 a URL, not a file: download it first \(wsl-det write_urls\)"):
        build(made, "out", made / "images")
