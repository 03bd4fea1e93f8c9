"""Files from elsewhere: hostile, damaged, or simply of another kind."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from wsl_det.backbone import artifact, pickles, sources
from wsl_det.errors import CheckpointError


class Call:
    """Pickles into a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickled_arrays_come_back_equal(tmp_path, protocol):
    arrays = {
        "c": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big endian": np.arange(3, dtype=">f4"),
        "half": np.ones((2, 0, 3), np.float16),
        "scalar": np.float32(2.5),
    }
    value = {
        "model": OrderedDict(arrays),
        "__author__": "me",
        "matching_heuristics": True,
        "n": [1, None, 2.5],
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    back = pickles.read(path)
    assert (back["__author__"], back["matching_heuristics"], back["n"]) == ("me", True, [1, None, 2.5])
    for name, array in arrays.items():
        np.testing.assert_array_equal(back["model"][name], array)


def test_a_python_2_pickle_is_read_as_detectron2_reads_it(tmp_path):
    # What Python 2's cPickle wrote at protocol 2: bytes for names and for the array's content.
    raw = np.array([1, 2], "<f4").tobytes()
    written = (
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + bytes([len(raw)]) + raw + b"tbs."
    )
    path = tmp_path / "old.pkl"
    path.write_bytes(written)
    np.testing.assert_array_equal(pickles.read(path)["w"], [1, 2])


def huge(shape):
    """An array pickle that promises ``shape`` and brings one number."""
    text = pickle.dumps(np.zeros(1, np.float32), protocol=2)
    return text.replace(pickle.dumps((1,), protocol=2)[2:-1], pickle.dumps(shape, protocol=2)[2:-1])


MARK = "wsl_det_test_was_executed"
HOSTILE = {
    "system": pickle.dumps(Call(os.system, f"touch {MARK}")),
    "eval": pickle.dumps({"model": Call(eval, f"open('{MARK}', 'w')")}),
    "codec": pickle.dumps(Call(__import__("_codecs").encode, "a", "zlib_codec"), protocol=2),
    "object array": pickle.dumps({"model": np.array([1, None], dtype=object)}),
    "record array": pickle.dumps({"model": np.zeros(2, dtype=[("a", "f4")])}),
    "getattr": b"\x80\x02cbuiltins\ngetattr\ncos\nsystem\nX\x01\x00\x00\x00a\x86R.",
    "state of a function": b"\x80\x02c_codecs\nencode\n}X\x08\x00\x00\x00__name__K\x01sb.",
    "extension": b"\x80\x02\x82\x01.",
    "memo bomb": b"\x80\x02]r\xff\xff\xff\x7f.",
    "long string": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "huge array": huge((10**6, 10**6)),
    "negative array": huge((-1,)),
    "big reconstruct": b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.",
    "list": pickle.dumps([1, 2]),
    "text": b"this is not a pickle",
    "empty": b"",
    "html": b"<!DOCTYPE html><html>404</html>",
    "deep": b"\x80\x02" + b"]" * 3000 + b"a" * 2999 + b".",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_unexecuted(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pkl"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(CheckpointError, match=r"x\.pkl"):
        pickles.read(path)
    assert not (tmp_path / MARK).exists()


def test_every_truncation_of_a_pickle_is_refused(tmp_path):
    whole = pickle.dumps({"model": {"conv1_w": np.ones((4, 3, 7, 7), np.float32)}}, protocol=2)
    path = tmp_path / "x.pkl"
    for length in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            pickles.read(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_every_truncation_of_a_pth_is_refused(tmp_path, zipped):
    buffer = io.BytesIO()
    torch.save({"conv1.weight": torch.ones(8, 3, 7, 7)}, buffer, _use_new_zipfile_serialization=zipped)
    whole = buffer.getvalue()
    path = tmp_path / "x.pth"
    for length in range(0, len(whole) - 1, len(whole) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"x\.pth"):
            sources.read(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_flipped_bytes_never_end_in_a_traceback(tmp_path, small_pth, zipped):
    payload = torch.load(small_pth, weights_only=True)
    few = {k: v for k, v in payload.items() if k.startswith(("conv1", "layer1.0.conv1", "bn1"))}
    buffer = io.BytesIO()
    torch.save(few, buffer, _use_new_zipfile_serialization=zipped)
    whole = buffer.getvalue()
    rng = np.random.default_rng(0)
    path = tmp_path / "x.pth"
    for position in rng.choice(min(len(whole), 3000), 150):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):  # a part of a trunk is refused in any case
            sources.read(path)


def test_a_pth_that_calls_code_is_refused_unexecuted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for zipped in (True, False):
        torch.save(
            {"model": Call(os.system, f"touch {MARK}")}, "x.pth", _use_new_zipfile_serialization=zipped
        )
        with pytest.raises(CheckpointError, match="not a checkpoint of tensors"):
            sources.read("x.pth")
    assert not (tmp_path / MARK).exists()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, small_pth):
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(small_pth) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for record in source.infolist():
            target.writestr(
                record.filename, bytes(10**5) if "/data/" in record.filename else source.read(record)
            )
    with pytest.raises(CheckpointError, match="zip whose records are compressed"):
        sources.read(bomb)


def with_value(state, key, value):
    return {**state, key: value}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(64, 3, 7, 7, dtype=torch.int64), "int64"),
        (torch.ones(64, 3, 7, 7, dtype=torch.complex64), "complex64"),
        (torch.full((64, 3, 7, 7), torch.nan), "NaN or infinity"),
        (torch.full((64, 3, 7, 7), torch.inf), "NaN or infinity"),
        (torch.full((64, 3, 7, 7), 1e300, dtype=torch.float64), "NaN or infinity"),
        (torch.ones(1).expand(64, 3, 7, 7), "storage"),
        (torch.ones(1).expand(10**6, 10**6), "storage"),
        (torch.ones(4, 4).to_sparse(), "sparse"),
        (torch.ones(63, 3, 7, 7), "shape|differences"),
        ([1, 2], "a list"),
    ],
)
def test_values_that_are_no_weights_are_refused_by_name(tmp_path, timm_resnext, value, message):
    path = tmp_path / "x.pth"
    torch.save(with_value(timm_resnext.state_dict(), "conv1.weight", value), path)
    with pytest.raises(CheckpointError, match=message) as caught:
        sources.read(path)
    assert "conv1" in str(caught.value)


def test_half_precision_is_widened(tmp_path, timm_resnext):
    path = tmp_path / "x.pth"
    torch.save({k: v.half() for k, v in timm_resnext.state_dict().items()}, path)
    source = sources.read(path)
    assert {v.dtype for v in source.weights.values()} == {torch.float32}
    assert {f.dtype for f in source.fates if f.fate == "used"} == {"float16"}


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 64, b"\x80\x00\x00\x00\x00\x00\x00\x00{"])
def test_damaged_safetensors_are_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="safetensors"):
        sources.read(path)


def test_absent_files_and_folders_without_a_run_say_so(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        sources.read(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match=r"no model_final\.pth"):
        sources.read(tmp_path)
    (tmp_path / "model_0000009.pth").touch()
    with pytest.raises(CheckpointError, match=r"name its file: .*model_0000009\.pth"):
        sources.read(tmp_path)
    with pytest.raises(CheckpointError, match=r"ends in '\.h5'"):
        (tmp_path / "x.h5").touch()
        sources.read(tmp_path / "x.h5")


def test_foreign_weights_are_answered_with_the_command_that_converts_them(tmp_path, small_pth):
    with pytest.raises(CheckpointError, match=r"export_backbone .*small\.pth"):
        artifact.read(small_pth)
    with pytest.raises(CheckpointError, match="export_backbone"):
        artifact.read(tmp_path / "R-50.pkl")
