"""Reading Detectron2's ``.pkl`` weights without executing anything: numpy arrays and plain values only.

Pickle's own arrays are not even built by numpy: small stand-ins take numpy's place while unpickling
and check shape, type and length before memory is touched. Neither arrays nor values may come to more
than the file has bytes, however often the pickle refers to the same ones.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wsl_det.core import foreign
from wsl_det.errors import CheckpointError

_DEEPEST, _WIDEST = 6, 64
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


class _Encoded:
    """Bytes as Python 3 writes them into an old pickle protocol: text, encoded when it is asked for."""

    def __init__(self, text: Any, encoding: Any = "latin1") -> None:
        # Other codecs can import and decompress.
        if encoding != "latin1" or not isinstance(text, str):
            raise pickle.UnpicklingError(f"codec {encoding!r} is refused")
        self.text = text


class _Array:
    """Stands in for ``numpy.ndarray``; nothing is allocated before ``value`` is asked for."""

    state: tuple[Any, ...] | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array's state is malformed")
        _, shape, dtype, fortran, raw = state
        self.state = shape, dtype, raw, "F" if fortran else "C"

    @property
    def value(self) -> np.ndarray:
        if self.state is None:
            raise pickle.UnpicklingError("an array has no content")
        return _checked(*self.state)


def _checked(shape: Any, dtype: Any, raw: Any, order: Any) -> np.ndarray:
    data = raw.text if isinstance(raw, _Encoded) else raw
    sizes = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not sizes or not isinstance(dtype, _DType) or not isinstance(data, str | bytes | bytearray):
        raise pickle.UnpicklingError("an array's state is malformed")
    kind = np.dtype(dtype.order + dtype.code)
    if math.prod(shape) * kind.itemsize != len(data):
        raise pickle.UnpicklingError(f"an array of shape {shape} carries {len(data)} bytes")
    flat = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, kind)
    return flat.astype(kind.newbyteorder("=")).reshape(shape, order="F" if order == "F" else "C")


def _text(value: Any) -> str:
    if isinstance(value, _Encoded):
        return value.text
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError("only arrays can be rebuilt")
    return _Array()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> _Array:
    array = _Array()
    array.state = shape, dtype, raw, order
    return array


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    _check_keys(pair[0] for pair in pairs)
    return OrderedDict(pairs)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("collections", "OrderedDict"): _ordered,
    ("_codecs", "encode"): _Encoded,
    # The empty bytes of protocol 2.
    **{(module, "bytes"): lambda: b"" for module in ("__builtin__", "builtins")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{
        (f"numpy.{core}.multiarray", "scalar"): lambda dtype, raw=b"": _checked((), dtype, raw, "C").item()
        for core in ("core", "_core")
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


def _check_keys(keys: Iterable[Any]) -> None:
    # The hash of a deeply nested tuple ends the process.
    for key in keys:
        if not isinstance(key, str | bytes | int | float | None | _Encoded):
            raise pickle.UnpicklingError(f"a {type(key).__name__} stands as a key, expected text")


def _keys_checked(load: Callable[[Any], None], keys: slice) -> Callable[[Any], None]:
    """An instruction of pickle's that looks first at what will be hashed: ``keys`` of the stack."""

    def checked(unpickler: _Unpickler) -> None:
        _check_keys(unpickler.stack[keys])
        load(unpickler)

    return checked


# The Python implementation on purpose: the C one allocates what a hostile memo index asks for.
class _Unpickler(pickle._Unpickler):
    stack: list[Any]
    read: Callable[[int], bytes]

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self.size = len(data)

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

    def load_bytearray8(self) -> None:
        # Plain pickle zeroes as many bytes as are promised before it reads the first.
        (length,) = struct.unpack("<Q", self.read(8))
        if length > self.size:
            raise pickle.UnpicklingError(f"it promises {length} bytes in a file of {self.size}")
        self.stack.append(bytearray(self.read(length)))

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,  # type: ignore[dict-item]
        **{
            code[0]: _keys_checked(pickle._Unpickler.dispatch[code[0]], keys)  # type: ignore[arg-type]
            for code, keys in (
                (pickle.SETITEM, slice(-2, -1)),
                (pickle.SETITEMS, slice(0, None, 2)),
                (pickle.DICT, slice(0, None, 2)),
                (pickle.ADDITEMS, slice(None)),
                (pickle.FROZENSET, slice(None)),
            )
        },
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to data outside the file")


def read(path: str | Path) -> dict[str, Any]:
    """The dict in a ``.pkl``: nested dicts, lists and plain values, arrays as ``numpy.ndarray``.

    Python 2 pickles are read as Detectron2 reads them (latin1). Anything that would call code, an
    array that lies about its size, an object array or a truncated file is a CheckpointError.
    """
    path = Path(path)
    foreign.refuse_others(path)
    if foreign.is_zip(path):
        raise CheckpointError(
            f"{path} is no pickle but a zip, as torch.save writes; name it {path.with_suffix('.pth').name}: "
            "readers, Detectron2's too, are chosen by the suffix"
        )
    try:
        data = path.read_bytes()
        value = _Unpickler(data).load()
        plain = _Plain(len(data)).of(value)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a pickle of numpy arrays ({error}); nothing in it was executed"
        ) from None
    except (EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a pickle ({type(error).__name__}: {error}); "
            "it may be truncated: copy or download it again"
        ) from None
    except (MemoryError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path} asks for more than it holds ({foreign.damage(error, path)})") from None
    if not isinstance(plain, dict):
        raise CheckpointError(f"{path} holds a {type(plain).__name__}; expected a dict of arrays")
    return plain


class _Plain:
    """Stand-ins replaced by arrays; ``budget`` bounds the number of values and the bytes of the arrays.

    A list or an array's bytes may be referred to many times for two bytes each, and lists of such
    lists multiply.
    """

    def __init__(self, budget: int) -> None:
        self.left = {"values": budget, "bytes of arrays": budget}

    def of(self, value: Any, depth: int = 0) -> Any:
        self._spend("values", 1)
        if depth > _DEEPEST:
            raise pickle.UnpicklingError("it is nested deeper than any weights are")
        if isinstance(value, dict):
            text = (bytes, _Encoded)
            return {_text(k) if isinstance(k, text) else k: self.of(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.of(v, depth + 1) for v in value] if depth else value
        if isinstance(value, _Encoded):
            self._spend("bytes of arrays", len(value.text))
            return value.text.encode("latin1")
        if isinstance(value, _Array):
            array = value.value
            self._spend("bytes of arrays", array.nbytes)
            return array
        if isinstance(value, int) and value.bit_length() > _WIDEST:
            raise pickle.UnpicklingError(f"it holds a number of {value.bit_length()} bits")
        if value is None or isinstance(value, str | bytes | bytearray | bool | int | float):
            return value
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, which is not a numpy array")

    def _spend(self, what: str, amount: int) -> None:
        self.left[what] -= amount
        if self.left[what] < 0:
            raise pickle.UnpicklingError(f"it refers to its own parts so often that {what} outgrow the file")
