"""Files are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsl_det.core import files, log
from wsl_det.errors import DataError


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    files.write_json(target, {"v": 1})
    with pytest.raises(ValueError), files.atomic_path(target) as scratch:
        scratch.write_text("half")
        raise ValueError
    assert files.read_json(target) == {"v": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_nan_is_refused_before_the_file_is_touched(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"v": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with pytest.raises(OSError), files.atomic_dir(tmp_path / "d") as scratch:
        (scratch / "x").write_text("1")
        raise OSError
    assert not list(tmp_path.iterdir())
    with files.atomic_dir(tmp_path / "d") as scratch:
        (scratch / "x").write_text("1")
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["x"]


@pytest.mark.parametrize("content", [b"", b'{"a": [1, 2', b"\xff\xfe\x00"])
def test_truncated_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"predictions .*p\.json is not whole JSON"):
        files.read_json(path, "predictions")


def test_absent_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        files.read_json(tmp_path / "no.json")


def test_names_that_are_not_utf8_are_written_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"photo\xff\xe9.jpg")
    files.write_json(tmp_path / "x.json", {"file": name})
    assert files.read_json(tmp_path / "x.json") == {"file": name}
    log.setup(tmp_path).info("cannot read %s", name)
    assert "photo\\udcff\\udce9.jpg" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    log.setup()


def test_a_key_that_stands_twice_is_refused_in_every_json_file(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": [{"b": 1, "b": 2}]}')
    with pytest.raises(DataError, match=r"result file .*x.json: the key 'b' stands twice"):
        files.read_json(tmp_path / "x.json", "result file")
