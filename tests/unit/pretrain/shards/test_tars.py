"""Tars that are damaged or hostile."""

from __future__ import annotations

import io
import tarfile

import pytest

from pretrain.shards import tars
from wsl_det.errors import DataError


def add(tar, name, data=b"abc", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    info.type, info.linkname = kind, link
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def hostile(tmp_path):
    path = tmp_path / "hostile.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "./a/one.jpg", b"1" * 600)
        add(tar, "/etc/passwd")
        add(tar, "a/../../up.jpg")
        add(tar, "soft.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd")
        add(tar, "hard.jpg", kind=tarfile.LNKTYPE, link="a/one.jpg")
        add(tar, "null", kind=tarfile.CHRTYPE)
        add(tar, "pipe", kind=tarfile.FIFOTYPE)
        add(tar, "folder", kind=tarfile.DIRTYPE)
        add(tar, "a/one.pyd")
        add(tar, "a/one.PTH")
    return path


def test_hostile_members_are_refused_each_with_its_reason(hostile):
    found = tars.contents(hostile)
    assert list(found.files) == ["a/one.jpg"]
    offset, size = found.files["a/one.jpg"]
    assert hostile.read_bytes()[offset : offset + size] == b"1" * 600
    assert found.refused == {
        "/etc/passwd": "name leaves the tar",
        "a/../../up.jpg": "name leaves the tar",
        "soft.jpg": "a link in a tar",
        "hard.jpg": "a link in a tar",
        "null": "not a plain file in a tar",
        "pipe": "not a plain file in a tar",
        "a/one.pyd": "a pickle in a tar",
        "a/one.PTH": "a pickle in a tar",
    }


@pytest.mark.parametrize("size", [0, 100, 512, 700, 1024, 1100, 1536, 2048, 3000])
def test_a_truncated_tar_is_an_error_wherever_it_ends(tmp_path, size):
    path = tmp_path / "short.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("a.jpg", "b.jpg"):
            add(tar, name, b"x" * 600)
    whole = path.read_bytes()
    assert len(tars.contents(path).files) == 2
    path.write_bytes(whole[:size])
    with pytest.raises(DataError, match=r"short\.tar is no whole, uncompressed tar"):
        tars.contents(path)


def test_an_absent_tar(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        tars.contents(tmp_path / "none.tar")
