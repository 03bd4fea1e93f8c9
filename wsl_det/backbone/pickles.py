"""Reading Detectron2's ``.pkl`` weights without executing anything: numpy arrays and plain values only.

Pickle's own arrays are not even built by numpy: small stand-ins take numpy's place while unpickling
and check shape, type and length before memory is touched.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wsl_det.errors import CheckpointError

_KINDS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


class _DType:
    """Stands in for ``numpy.dtype``: a plain number type and its byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        code = _text(code)
        if code.lstrip("<>|=") not in _KINDS:
            raise pickle.UnpicklingError(f"array type {code!r} is not a plain number type")
        self.code = code.lstrip("<>|=")
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1]) if isinstance(state, tuple) and len(state) > 1 else "?"
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"byte order {order!r} of an array is unknown")
        self.order = ">" if order == ">" else "<"


class _Array:
    """Stands in for ``numpy.ndarray``; ``value`` is the array once its state has been checked."""

    value: np.ndarray

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array's state is malformed")
        _, shape, dtype, fortran, raw = state
        self.value = _checked(shape, dtype, raw, "F" if fortran else "C")


def _checked(shape: Any, dtype: Any, raw: Any, order: Any) -> np.ndarray:
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    sizes = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not sizes or not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("an array's state is malformed")
    kind = np.dtype(dtype.order + dtype.code)
    if math.prod(shape) * kind.itemsize != len(data):
        raise pickle.UnpicklingError(f"an array of shape {shape} carries {len(data)} bytes")
    flat = np.frombuffer(data, kind).astype(kind.newbyteorder("="))
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError("only arrays can be rebuilt")
    return _Array()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> _Array:
    array = _Array()
    array.value = _checked(shape, dtype, raw, order)
    return array


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    return _checked((), dtype, raw, "C").item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    # How Python 3 writes bytes into an old pickle protocol; other codecs can import and decompress.
    if encoding != "latin1" or not isinstance(text, str):
        raise pickle.UnpicklingError(f"codec {encoding!r} is refused")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    # The empty bytes of protocol 2.
    **{(module, "bytes"): _no_bytes for module in ("__builtin__", "builtins")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


# The Python implementation on purpose: the C one allocates what a hostile memo index asks for.
class _Unpickler(pickle._Unpickler):
    stack: list[Any]

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not a numpy array")
        return _ALLOWED[module, name]

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"it asks for extension {code}, which is not a numpy array")

    def load_build(self) -> None:
        # Plain pickle sets any attribute of anything it can name, our own functions included.
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _DType | _Array):
            target.__setstate__(state)
        elif not isinstance(target, OrderedDict):
            raise pickle.UnpicklingError(f"it sets the state of a {type(target).__name__}")

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}  # type: ignore[dict-item]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to data outside the file")


def read(path: str | Path) -> dict[str, Any]:
    """The dict in a ``.pkl``: nested dicts, lists and plain values, arrays as ``numpy.ndarray``.

    Python 2 pickles are read as Detectron2 reads them (latin1). Anything that would call code, an
    array that lies about its size, an object array or a truncated file is a CheckpointError.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    try:
        value = _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        plain = _plain(value)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a pickle of numpy arrays ({error}); nothing in it was executed"
        ) from None
    except (
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        UnicodeDecodeError,
    ) as error:
        raise CheckpointError(
            f"{path} cannot be read as a pickle ({type(error).__name__}: {error}); "
            "it may be truncated: copy or download it again"
        ) from None
    except (MemoryError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            f"{path} asks for more than it holds ({type(error).__name__}); refused"
        ) from None
    if not isinstance(plain, dict):
        raise CheckpointError(f"{path} holds a {type(plain).__name__}; expected a dict of arrays")
    return plain


def _plain(value: Any, depth: int = 0) -> Any:
    if depth > 6:
        raise pickle.UnpicklingError("it is nested deeper than any weights are")
    if isinstance(value, dict):
        return {_text(k): _plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, _Array):
        if not hasattr(value, "value"):
            raise pickle.UnpicklingError("an array has no content")
        return value.value
    if isinstance(value, list | tuple | set):
        return [_plain(v, depth + 1) for v in value] if depth else value
    if value is None or isinstance(value, str | bytes | bool | int | float):
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, which is not a numpy array")
