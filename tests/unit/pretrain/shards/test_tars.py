"""Tars that are damaged or hostile."""

from __future__ import annotations

import io
import tarfile

import pytest

from pretrain.shards import images, tars
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
        add(tar, "a/._one.jpg")
        add(tar, "__MACOSX/a/one.jpg")
    return path


def test_hostile_members_are_refused_each_with_its_reason(hostile):
    found = tars.contents(hostile)
    ((name, offset, size),) = found.files
    assert name == "a/one.jpg"
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
        "a/._one.jpg": "a hidden file in a tar",
        "__MACOSX/a/one.jpg": "a hidden file in a tar",
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


def test_what_came_instead_of_a_tar_is_named(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(DataError, match="it is a git-lfs pointer: run git lfs pull"):
        tars.contents(tmp_path / "x.tar")


def test_an_absent_tar(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        tars.contents(tmp_path / "none.tar")


def test_tars_that_were_appended_are_read_too(tmp_path):
    parts = []
    for name in "abc":
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for number in range(2):
                add(tar, f"{name}{number}.jpg", f"{name}{number}".encode() * 300)
        parts.append((tmp_path / f"{name}.tar").read_bytes())
    path = tmp_path / "all.tar"
    path.write_bytes(parts[0] + bytes(512 * 7) + parts[1] + parts[2])
    data, found = path.read_bytes(), tars.contents(path).files
    assert [one.name for one in found] == ["a0.jpg", "a1.jpg", "b0.jpg", "b1.jpg", "c0.jpg", "c1.jpg"]
    assert all(data[o : o + size] == name[:2].encode() * 300 for name, o, size in found)
    for junk in (b"x", bytes(512) + b"\x1f\x8b" * 400, parts[1][:700]):
        path.write_bytes(parts[0] + junk)
        with pytest.raises(DataError, match=r"no tar follow|truncated|unexpected end"):
            tars.contents(path)
    path.write_bytes(parts[0] + bytes(100))
    assert len(tars.contents(path).files) == 2


@pytest.mark.parametrize("name", ["", ".", "./", "././."])
def test_a_file_without_a_name_is_no_file_of_the_tar(tmp_path, name):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, name)
        add(tar, "a/one.jpg")
    found = tars.contents(tmp_path / "x.tar")
    assert [m.name for m in found.files] == ["a/one.jpg"] and len(found.refused) <= 1
    assert images.open_source(tmp_path / "x.tar").locate("one.jpg").size == 3


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
@pytest.mark.parametrize("size", [2**33, 2**62])
def test_a_header_that_names_more_bytes_than_memory_holds_is_refused_unread(tmp_path, kind, size):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(DataError, match=f"no whole, uncompressed tar .a header of {size} bytes"):
        tars.contents(tmp_path / "x.tar")
