"""WebDataset samples as posts and images: img2dataset's output and what else is found in tars."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from pretrain.posts.records import Columns, Ledger
from pretrain.shards import images
from pretrain.shards import webdataset_tars as samples
from wsl_det.core.photos import BadImage
from wsl_det.errors import DataError


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def read(path, columns=Columns(), shared=frozenset()):  # noqa: B008 (frozen)
    ledger, refused = Ledger(), {}
    return list(samples.read_tar(path, columns, ledger, refused, shared)), ledger, refused


def test_samples_are_runs_of_one_key(tmp_path, world):
    note = {"caption": "a #crane", "url": "http://x", "key": "000000001", "uid": 77}
    path = write_tar(
        tmp_path / "00000.tar",
        [
            ("000000000.jpg", world.jpeg(0)),
            ("000000000.txt", b"#goldfish"),
            ("000000001.json", json.dumps(note).encode()),
            ("000000001.JPG", world.jpeg(1)),
            ("000000002.txt", b"#crane"),
            ("sub/000000003.jpg", world.jpeg(3)),
            ("sub/000000003.seg.png", world.jpeg(3)),
            ("sub/000000003.json", b'{"hashtags": ["crane", "#Brown Bear"], "caption": "#no"}'),
            ("000000004.jpg", world.jpeg(4)),
            ("000000004.json", b"[1]"),
            ("000000005.jpg", world.jpeg(5)),
            ("000000005.txt", b"\xff\xfe"),
            ("000000006.png", world.jpeg(6)),
            ("000000006.pkl", b"cposix"),
        ],
    )
    found, ledger, refused = read(path)
    assert [(s.post.id, s.post.image, s.post.hashtags) for s in found] == [
        ("00000/000000000", "00000.tar/000000000.jpg", ("goldfish",)),
        ("00000/000000001", "00000.tar/000000001.JPG", ("crane",)),
        ("00000/sub/000000003", "00000.tar/sub/000000003.jpg", ("crane", "Brown Bear")),
    ]
    assert found[1].where.read() == world.jpeg(1)
    assert ledger.skipped == {
        "no image in the sample": 1,
        "a .json that is no object with columns": 1,
        "a .txt that is not UTF-8 or too long": 1,
        'neither "caption" nor "hashtags"': 1,
    }
    assert ledger.first["no image in the sample"] == (str(path), 3)
    assert refused == {"00000.tar/000000006.pkl": "a pickle in a tar"}
    named, _, _ = read(path, Columns(id="uid"))
    assert [s.post.id for s in named][:2] == ["00000/000000000", "77"]


@pytest.mark.parametrize(
    ("note", "skipped"),
    [
        (b'\xef\xbb\xbf{"caption": "#crane"}', None),  # a mark that Windows writes
        (b'{"caption": "#crane", "bytes": ' + b"9" * 5000 + b"}", None),
        (b'{"caption": ', "a .json that is not JSON"),
        (b'{"caption": "\xff"}', "a .json that is not UTF-8"),
        (b'"#crane"', "a .json that is not an object with columns"),
        (b"", "a .json that is no object with columns"),
    ],
)
def test_a_json_is_read_as_a_line_of_posts_is(tmp_path, world, note, skipped):
    path = write_tar(tmp_path / "0.tar", [("a.jpg", world.jpeg(0)), ("a.json", note)])
    found, ledger, _ = read(path)
    assert [s.post.hashtags for s in found] == ([] if skipped else [("crane",)])
    assert list(ledger.skipped) == ([skipped] if skipped else [])


def test_names_that_tars_share_are_no_ids(tmp_path, world):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        note = json.dumps({"id": f"{folder}1", "caption": "#crane"}).encode()
        write_tar(tmp_path / folder / "0.tar", [("x.jpg", world.jpeg(1)), ("x.json", note)])
    tars = samples.expand([tmp_path / "*/0.tar"])
    assert samples.namesakes(tars) == {"0"}
    assert [s.post.id for tar in tars for s in read(tar, shared=samples.namesakes(tars))[0]] == ["a1", "b1"]
    with pytest.raises(DataError, match=r'not the only tar of that name.* no "number"'):
        read(tars[1], Columns(id="number"), samples.namesakes(tars))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("none.tar", "does not exist"), ("*.tar", "nothing matches"), (".", "is a folder; name its tars")],
)
def test_tars_that_are_none(tmp_path, monkeypatch, pattern, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        samples.expand([pattern])


def test_a_tar_named_twice(tmp_path):
    write_tar(tmp_path / "a.tar", [])
    with pytest.raises(DataError, match="named twice"):
        samples.expand([tmp_path / "a.tar", tmp_path / "*.tar"])


@pytest.mark.parametrize("value", range(1, 9))
def test_an_orientation_that_only_the_json_remembers_is_applied(world, value):
    exif = Image.Exif()
    exif[0x0112] = value
    data = world.jpeg(1, (40, 20), exif=exif)
    # The same pixels with the mark lost, as a downloader that encodes anew leaves them.
    lost = io.BytesIO()
    Image.open(io.BytesIO(data)).save(lost, "JPEG", quality=95)
    words = samples._ORIENTATIONS[value - 1]
    noted = samples.orientation_noted({"exif": json.dumps({"Image Orientation": words, "Image Make": "x"})})
    assert noted == value
    upright = images.to_jpeg(lost.getvalue(), orientation=noted)
    found, want = (np.asarray(Image.open(io.BytesIO(d)), int) for d in (upright, images.to_jpeg(data)))
    assert found.shape == want.shape and np.abs(found - want).mean() < 3
    # A file that still says it is not turned twice.
    assert images.to_jpeg(data, orientation=noted) == images.to_jpeg(data)


@pytest.mark.parametrize("exif", [None, "{", "[]", "null", {"Image Orientation": 6}, '{"x": 1}', 5])
def test_other_notes_mean_upright(exif):
    assert samples.orientation_noted({"exif": exif}) == 1


def test_images_are_found_while_their_post_is_the_last(tmp_path, world):
    path = write_tar(
        tmp_path / "0.tar",
        [(f"{i}.{e}", d) for i in "ab" for e, d in (("jpg", world.jpeg(1)), ("txt", b"#crane"))],
    )
    source = samples.SampleTars([path])
    names = []
    for post in source.read(Columns(), Ledger()):
        assert source.locate(post.image).read() == world.jpeg(1)
        names.append(post.image)
    with pytest.raises(BadImage, match="missing file"):
        source.locate(names[0])


def test_what_belongs_to_no_sample_breaks_none_apart(tmp_path, world):
    path = write_tar(
        tmp_path / "0.tar",
        [
            ("a.jpg", world.jpeg(0)),
            ("._a.jpg", b"\0\5\26\7"),
            ("README", b"about"),
            ("d/.DS_Store", b"x"),
            ("a.txt", b"#crane"),
            ("sub/._b.json", b"x"),
            ("sub/b.json", b'{"caption": "#crane"}'),
            ("sub/._b.jpg", b"x"),
            ("sub/b.jpg", world.jpeg(1)),
        ],
    )
    found, ledger, refused = read(path)
    assert [s.post.id for s in found] == ["0/a", "0/sub/b"] and not ledger.skipped
    assert found[1].where.read() == world.jpeg(1)
    assert list(refused.values()) == ["a hidden file in a tar"] * 4


def test_a_name_twice_is_two_samples(tmp_path, world):
    notes = [json.dumps({"id": f"p{k}", "caption": "#crane"}).encode() for k in range(3)]
    members = [("a.jpg", world.jpeg(0)), ("a.json", notes[0]), ("a.jpg", world.jpeg(1)), ("a.json", notes[1])]
    members += [
        ("b.txt", b"#crane"),
        ("b.jpg", world.jpeg(3)),
        ("a.jpg", world.jpeg(2)),
        ("a.json", notes[2]),
    ]
    found, ledger, _ = read(write_tar(tmp_path / "0.tar", members))
    assert [s.post.id for s in found] == ["p0", "p1", "0/b", "p2"] and not ledger.skipped
    assert [s.where.read() for s in found] == [world.jpeg(k) for k in (0, 1, 3, 2)]


def test_names_that_are_no_utf8_are_written_escaped(tmp_path, world):
    path = write_tar(tmp_path / "0.tar", [("caf\udce9.jpg", world.jpeg(0)), ("caf\udce9.txt", b"#crane")])
    found, ledger, _ = read(path)
    assert [s.post.id for s in found] == ["0/caf\\udce9"] and not ledger.skipped
    assert found[0].where.read() == world.jpeg(0)
