"""Writes the index of a shard folder array by array, so that no array is ever whole in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pretrain.shards import index
from pretrain.shards.write import Written, post_hash

_HEADER = 128  # bytes of every .npy header here; version 1.0 pads to a multiple of 64
_MAGIC = b"\x93NUMPY\x01\x00"


class IndexWriter:
    """Appends the rows of finished shards to the arrays that ``index.ShardIndex`` maps."""

    def __init__(self, folder: Path) -> None:
        self.num_images = 0
        self.num_shards = 0
        self._label_count = 0
        self._key_bytes = 0
        (folder / index.FOLDER).mkdir()
        self._arrays = {
            name: _GrowingArray(folder / index.FOLDER / f"{name}.npy", np.dtype(dtype))
            for name, dtype in index.ARRAYS.items()
        }
        self._arrays["label_offsets"].append([0])
        self._arrays["key_offsets"].append([0])

    def add(self, shard: Written) -> None:
        """Append the rows of the next shard."""
        counts = np.cumsum([len(labels) for labels in shard.labels], dtype=np.int64)
        keys = [key.encode() for key in shard.keys]
        lengths = np.cumsum([len(key) for key in keys], dtype=np.int64)
        rows = {
            "shard": np.full(len(keys), self.num_shards),
            "offset": [offset for offset, _ in shard.spans],
            "size": [size for _, size in shard.spans],
            "label_offsets": counts + self._label_count,
            "label_values": [label for labels in shard.labels for label in labels],
            "post_hash": np.array([post_hash(name) for name in shard.ids], np.uint64),
            "key_offsets": lengths + self._key_bytes,
            "key_bytes": np.frombuffer(b"".join(keys), np.uint8),
        }
        for name, values in rows.items():
            self._arrays[name].append(values)
        self.num_images += len(keys)
        self.num_shards += 1
        self._label_count += int(counts[-1])
        self._key_bytes += int(lengths[-1])

    def finish(self) -> dict[str, str]:
        """Complete the arrays; their SHA-256 by name."""
        return {name: array.finish() for name, array in self._arrays.items()}

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for array in self._arrays.values():
            array.file.close()


class _GrowingArray:
    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path = path
        self.dtype = dtype
        self.length = 0
        self.file = open(path, "w+b")  # noqa: SIM115 (closed by the writer's __exit__)
        self.file.write(bytes(_HEADER))

    def append(self, values: Any) -> None:
        array = np.ascontiguousarray(values, self.dtype)
        self.file.write(array.tobytes())
        self.length += len(array)

    def finish(self) -> str:
        text = repr({"descr": self.dtype.str, "fortran_order": False, "shape": (self.length,)})
        room = _HEADER - len(_MAGIC) - 2
        self.file.seek(0)
        self.file.write(_MAGIC + room.to_bytes(2, "little") + text.encode().ljust(room - 1) + b"\n")
        self.file.flush()
        self.file.seek(0)
        return hashlib.file_digest(self.file, "sha256").hexdigest()
