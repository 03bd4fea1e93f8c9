"""Stored outputs come back whole, or are made anew."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pretrain.workers import outputs
from pretrain.workers.outputs import Outputs
from wsl_det.core import foreign
from wsl_det.errors import WslError


def _made(first: int = 4) -> Outputs:
    rows = np.arange(first, first + 3)
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    return Outputs(rows, vectors, ["a" * 64, "", "b" * 64], {first + 1: "truncated image"})


def test_what_is_stored_comes_back_and_units_join(tmp_path: Path) -> None:
    _made().store(tmp_path / "deep" / "4.npz")
    found = outputs.load(tmp_path / "deep" / "4.npz", range(4, 7))
    assert found is not None and (found.vectors == _made().vectors).all()
    assert found.hashes == _made().hashes and found.unreadable == {5: "truncated image"}
    assert found.usable.tolist() == [True, False, True]
    both = outputs.joined([found, _made(7)])
    assert both.rows.tolist() == list(range(4, 10)) and sorted(both.unreadable) == [5, 8]
    assert both.usable.tolist() == [True, False, True] * 2


@pytest.mark.parametrize(
    "how", ["absent", "cut", "other rows", "no zip", "other arrays", "a member that is no array"]
)
def test_what_does_not_fit_is_made_anew(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "4.npz"
    _made().store(path)
    if how == "absent":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif how == "a member that is no array":
        with zipfile.ZipFile(path) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, record in records.items():
                archive.writestr(name, b"no array" if name == "rows.npy" else record)
    elif how == "no zip":
        path.write_bytes(b"\x93NUMPY")
    elif how == "other arrays":
        np.savez(path, outputs=np.zeros((3, 2), np.float32), hashes=np.array(["a"] * 3))
    assert outputs.load(path, range(5, 8) if how == "other rows" else range(4, 7)) is None
    told = how not in ("absent", "other rows")
    assert [f"{path} is damaged (" in line for line in caplog.messages] == [True] * told


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), MemoryError("no 8 bytes")])
def test_what_is_no_damage_is_not_made_anew(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    _made().store(tmp_path / "4.npz")
    monkeypatch.setattr(np, "load", refuse)
    monkeypatch.setattr(foreign, "bytearray", refuse, raising=False)
    with pytest.raises((PermissionError, WslError), match=r"denied|more than the memory that is left .no 8"):
        outputs.load(tmp_path / "4.npz", range(4, 7))
