"""Files from elsewhere: hostile, damaged, or simply of another kind."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import json
import os
import pickle
import resource
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from wsl_det.backbone import artifact, pickles, sources
from wsl_det.core import checkpoint
from wsl_det.errors import CheckpointError, WslError


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


def nested(levels: int = 5) -> bytes:
    """A list of 250 references to a list of 250 references to and so on, two bytes each."""
    lists = b"]q\x00(" + b"K\x01" * 250 + b"e"
    for level in range(1, levels):
        lists += b"]q%c(" % level + b"h%c" % (level - 1) * 250 + b"e"
    return b"\x80\x02}X\x05\x00\x00\x00model" + lists + b"s."


def zipped() -> bytes:
    buffer = io.BytesIO()
    torch.save({"conv1.weight": torch.ones(1)}, buffer)
    return buffer.getvalue()


class Sharing:
    """Pickles as an array does, but brings no bytes of its own."""

    def __init__(self, raw: bytes):
        self.raw = raw

    def __reduce__(self):
        function, arguments, state = np.zeros(1, np.uint8).__reduce__()
        return function, arguments, (state[0], (len(self.raw),), *state[2:4], self.raw)


def sharing(protocol: int) -> bytes:
    """Twenty thousand arrays, two gigabytes, made of the same hundred kilobytes."""
    raw = bytes(100_000)
    return pickle.dumps({"model": {str(i): Sharing(raw) for i in range(20_000)}}, protocol=protocol)


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
    "nested references": nested(),
    "shared bytes": sharing(4),
    "shared text": sharing(2),
    "huge bytearray": b"\x80\x05\x96" + (4 << 30).to_bytes(8, "little") + b"abc.",
    "huge bytes": b"\x80\x05\x8e" + (4 << 30).to_bytes(8, "little") + b"abc.",
    "huge frame": b"\x80\x05\x95" + (4 << 30).to_bytes(8, "little") + b"N.",
    "itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "PyTorch's zip": zipped(),
    "deep": b"\x80\x02" + b"]" * 3000 + b"a" * 2999 + b".",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_unexecuted(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pkl"
    path.write_bytes(HOSTILE[name])
    with little_memory(), pytest.raises(CheckpointError, match=r"x\.pkl"):
        pickles.read(path)
    assert not (tmp_path / MARK).exists()


@contextlib.contextmanager
def little_memory(megabytes: int = 300):
    """A MemoryError, instead of a slow machine, for whoever takes more memory; nothing here may need it.

    The readers turn MemoryErrors into messages, so the peak is looked at as well.
    """
    gc.collect()  # what is freed in the meantime would be room to spare
    tracemalloc.start()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 2**20, before[1]))
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 2**19
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
def test_a_lack_of_memory_is_not_told_as_damage(tmp_path, suffix):
    path, large = tmp_path / f"x{suffix}", np.ones(2**24, np.float32)
    if suffix == ".pth":
        torch.save({"conv1.weight": torch.from_numpy(large)}, path)
    elif suffix == ".pkl":
        path.write_bytes(pickle.dumps({"conv1_w": large}))
    else:
        path.write_bytes(safetensors({"conv1.weight": tensor([2**24], 0, 2**26)}, large.tobytes()))
    del large
    with little_memory(16), pytest.raises(WslError, match=r"has 67,.* more than the memory that is left"):
        sources.read(path)


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


def safetensors(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file as its header tells it: eight bytes of length, JSON, the tensors' bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def tensor(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


NAMED = "conv1.weight"
DAMAGED_SAFETENSORS = {
    "empty": b"",
    "no header": b"{}",
    "a header of 2**64 bytes": b"\xff" * 64,
    "a header of terabytes": safetensors({NAMED: tensor([1], 0, 4)}, bytes(4), length=2**42),
    "no JSON": b"\x80\x00\x00\x00\x00\x00\x00\x00{",
    "a list": safetensors([1, 2]),
    "a shape of terabytes": safetensors({NAMED: tensor([2**20, 2**22], 0, 4)}, bytes(4)),
    "a shape that overflows": safetensors({NAMED: tensor([2**40, 2**40], 0, 0)}),
    "offsets of terabytes": safetensors({NAMED: tensor([2**40], 0, 2**42)}, bytes(4)),
    "overlapping": safetensors({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
    "twice the same bytes": safetensors({"a": tensor([2], 0, 8), "b": tensor([2], 0, 8)}, bytes(8)),
    "a hole": safetensors({"a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, bytes(12)),
    "backwards": safetensors({NAMED: tensor([1], 4, 0)}, bytes(4)),
    "negative": safetensors({NAMED: tensor([1], -4, 0)}, bytes(4)),
    "negative shape": safetensors({NAMED: tensor([-1], 0, 4)}, bytes(4)),
    "unknown type": safetensors({NAMED: tensor([1], 0, 4, "F33")}, bytes(4)),
    "truncated": safetensors({NAMED: tensor([4], 0, 16)}, bytes(15)),
    "more than it says": safetensors({NAMED: tensor([4], 0, 16)}, bytes(17)),
    "a zip": zipped(),
}


@pytest.mark.parametrize("name", DAMAGED_SAFETENSORS)
def test_damaged_safetensors_are_refused(tmp_path, name):
    path = tmp_path / "x.safetensors"
    path.write_bytes(DAMAGED_SAFETENSORS[name])
    with little_memory(), pytest.raises(CheckpointError, match=r"x\.safetensors is not a whole safetensors"):
        sources.read(path)


@pytest.mark.parametrize("dtype", ["I64", "BOOL", "U8", "F8_E4M3"])
def test_safetensors_of_other_types_are_refused_by_name(tmp_path, dtype):
    size = 8 if dtype == "I64" else 1
    layer = {"layer1.0.conv1.weight": tensor([2], 0, 2 * size, dtype)}
    (tmp_path / "x.safetensors").write_bytes(safetensors(layer, bytes(2 * size)))
    with pytest.raises(CheckpointError, match=r"conv1\.weight: \w+, expected a floating type"):
        sources.read(tmp_path / "x.safetensors")


def test_safetensors_with_nan_are_refused(tmp_path, timm_resnext):
    from safetensors.torch import save_file

    state = {k: v.contiguous() for k, v in timm_resnext.state_dict().items()}
    save_file({**state, "bn1.bias": torch.full((64,), torch.nan)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"stem\.conv1\.norm\.bias: 64 of 64"):
        sources.read(tmp_path / "x.safetensors")


@pytest.mark.parametrize("about", ["{", "[1]", '{"arch": 7}', '{"arch": {"depth": "x"}}', "[" * 100_000])
def test_safetensors_that_lie_about_themselves_are_refused_or_not_believed(tmp_path, timm_resnext, about):
    from safetensors.torch import save_file

    state = {k: v.contiguous() for k, v in timm_resnext.state_dict().items()}
    save_file(state, tmp_path / "x.safetensors", metadata={"wsl_det": about})
    if about in ("[1]", '{"arch": 7}'):  # says nothing: the names decide, as for everybody's file
        assert sources.read(tmp_path / "x.safetensors").convention.name == "torchvision"
    else:
        with pytest.raises(CheckpointError, match=r"damaged|no JSON|cannot be read"):
            sources.read(tmp_path / "x.safetensors")


def rewritten(whole: bytes, old: bytes, new: bytes) -> bytes:
    """A ``.pth`` with ``new`` for ``old`` in its pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(buffer, "w") as target:
        for record in source.infolist():
            content = source.read(record)
            assert not record.filename.endswith("data.pkl") or old in content
            target.writestr(
                record.filename, content.replace(old, new) if "data.pkl" in record.filename else content
            )
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "before 1.6"])
@pytest.mark.parametrize("what", ["storage", "shape"])
def test_a_pth_that_promises_terabytes_is_refused(tmp_path, kind, what):
    buffer = io.BytesIO()
    torch.save({"conv1.weight": torch.ones(77)}, buffer, _use_new_zipfile_serialization=kind == "zip")
    huge = b"\x8a\x06" + (2**42).to_bytes(6, "little")
    # The pickle's 77 stands for the storage's length, then for the shape.
    after = {"storage": b"tq" if kind == "zip" else b"Ntq", "shape": b"\x85q"}[what]
    old, new = b"KM" + after, huge + after
    path = tmp_path / "x.pth"
    raw = buffer.getvalue()
    path.write_bytes(rewritten(raw, old, new) if kind == "zip" else raw.replace(old, new))
    assert new in path.read_bytes()
    with little_memory(), pytest.raises(CheckpointError, match=r"x\.pth"):
        sources.read(path)


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
def test_folders_loops_and_pipes_are_no_files(tmp_path, suffix):
    folder, loop, pipe = (tmp_path / f"{n}{suffix}" for n in ("folder", "loop", "pipe"))
    folder.mkdir()
    loop.symlink_to(tmp_path / f"other{suffix}")
    (tmp_path / f"other{suffix}").symlink_to(loop)
    os.mkfifo(pipe)
    for path in (folder, loop, pipe):
        with pytest.raises(CheckpointError, match=path.name):
            sources.read(path)
    for reader in (pickles.read, checkpoint.load_weights, artifact.read):
        for path in (folder, loop, pipe):
            with pytest.raises(CheckpointError, match=path.name):
                reader(path)


def test_an_overlapping_zip_is_refused(tmp_path):
    """Two entries of the directory that are one record: what a zip bomb of today is made of."""
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w") as target:
        target.writestr("a/data.pkl", b"\x80\x02}.")
        target.writestr("a/version", b"3\n")
        target.writestr("a/data/0", bytes(10_000))
        for number in range(1, 50):
            twin = copy.copy(target.infolist()[2])
            twin.filename = f"a/data/{number}"
            target.filelist.append(twin)
            target.NameToInfo[twin.filename] = twin
    path = tmp_path / "bomb.pth"
    path.write_bytes(bomb.getvalue())
    assert path.stat().st_size < 20_000
    with pytest.raises(CheckpointError, match="zip whose records overlap"):
        checkpoint.load_weights(path)


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


def test_a_zip_that_spans_disks_ends_in_a_message(tmp_path, small_pth):
    data = bytearray(small_pth.read_bytes())
    end = data.rindex(b"PK\x06\x07")  # torch writes zip64: its locator counts the disks
    data[end + 16] = 9
    for suffix in (".pth", ".pkl"):
        (tmp_path / f"x{suffix}").write_bytes(data)
        with pytest.raises(CheckpointError):
            sources.read(tmp_path / f"x{suffix}")
