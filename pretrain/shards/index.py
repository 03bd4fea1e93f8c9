"""Random access to a shard folder: memory-mapped arrays beside the tars, no tar is ever scanned."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.vocabulary import classes as vocabulary
from wsl_det.core import files
from wsl_det.errors import DataError

SCHEMA = 1
FOLDER = "index"
# Every array of the index with its dtype. Rows are images in shard order, then in tar order;
# the two "offsets" arrays have one entry more than there are images.
ARRAYS = {
    "shard": np.int32,  # number of the tar
    "offset": np.int64,  # first byte of the JPEG in the tar
    "size": np.int64,  # bytes of the JPEG
    "label_offsets": np.int64,  # row i's labels are label_values[label_offsets[i]:label_offsets[i + 1]]
    "label_values": np.int32,  # class ids, ascending in each image
    "post_hash": np.uint64,  # first 8 bytes of sha256(post id), big-endian
    "key_offsets": np.int64,
    "key_bytes": np.uint8,  # keys in UTF-8
}
_OPEN_FILES = 64


class ShardIndex:
    """The images of a shard folder by number, 0..n-1; cheap to open, safe to fork and to pickle."""

    label_offsets: NDArray[np.int64]  # (n + 1,)
    label_values: NDArray[np.int32]  # (number of labels,)
    post_hash: NDArray[np.uint64]  # (n,)

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.dataset: dict[str, Any] = _dataset(self.folder)
        self.name: str = self.dataset["name"]
        self.sha256: str = self.dataset["sha256"]
        # A foreign shard's path may be absolute, or lead out of the folder.
        self.shards: list[Path] = [self.folder / entry["file"] for entry in self.dataset["shards"]]
        self._map_arrays()
        # pid and tars: a forked worker must not share the parent's table.
        self._tars: tuple[int, OrderedDict[int, _Tar]] = (os.getpid(), OrderedDict())
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._size)

    @cached_property
    def vocabulary(self) -> vocabulary.Vocabulary:
        """The vocabulary that the labels are ids of."""
        return vocabulary.read(self.folder / "vocab.json")

    @cached_property
    def shard_starts(self) -> NDArray[np.int64]:
        """First image of each shard, then the number of images, (shards + 1,)."""
        return np.searchsorted(self._shard, np.arange(len(self.shards) + 1)).astype(np.int64)

    def key(self, i: int) -> str:
        """The WebDataset key of image ``i``, unique in the folder."""
        start, stop = self._key_offsets[i], self._key_offsets[i + 1]
        return self._key_bytes[start:stop].tobytes().decode()

    def labels(self, i: int) -> NDArray[np.int32]:
        """Class ids of image ``i``, (k,) with k >= 1, ascending, each once."""
        return self.label_values[self.label_offsets[i] : self.label_offsets[i + 1]]

    def read(self, i: int) -> bytes:
        """The JPEG file of image ``i``; raises DataError when the tar is shorter than the index says."""
        size = int(self._size[i])
        # Holding the tar keeps its descriptor open even if another thread drops it from the table.
        tar = self._tar(int(self._shard[i]))
        data = os.pread(tar.descriptor, size, int(self._offset[i]))
        if len(data) != size:
            raise DataError(
                f"{self.shards[self._shard[i]]} ends before image {self.key(i)!r} does; "
                "the shard is truncated: copy or build it again"
            )
        return data

    def _map_arrays(self) -> None:
        arrays = {name: _map(self.folder, name, dtype) for name, dtype in ARRAYS.items()}
        rows = len(arrays["size"])
        lengths = {"label_offsets": rows + 1, "key_offsets": rows + 1}
        for name in ("shard", "offset", "post_hash", *lengths):
            if len(arrays[name]) != lengths.get(name, rows):
                raise DataError(f"{self.folder}: index arrays disagree in length; build the shards again")
        if rows != self.dataset["images"]:
            raise DataError(
                f"{self.folder}: the index has {rows} images, dataset.json says {self.dataset['images']}; "
                "build the shards again"
            )
        self.label_offsets, self.label_values = arrays["label_offsets"], arrays["label_values"]
        self.post_hash = arrays["post_hash"]
        self._shard, self._offset, self._size = arrays["shard"], arrays["offset"], arrays["size"]
        self._key_offsets, self._key_bytes = arrays["key_offsets"], arrays["key_bytes"]

    def _tar(self, shard: int) -> _Tar:
        with self._lock:
            owner, table = self._tars
            if owner != os.getpid():
                table = OrderedDict()
                self._tars = (os.getpid(), table)
            if shard not in table:
                table[shard] = _Tar(self.shards[shard], self.dataset["shards"][shard].get("bytes"))
            table.move_to_end(shard)
            if len(table) > _OPEN_FILES:
                table.popitem(last=False)
            return table[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    def close(self) -> None:
        """Close the tars; a later read opens them again."""
        self._tars = (os.getpid(), OrderedDict())


class _Tar:
    """An open tar that closes itself when nobody holds it any more."""

    def __init__(self, path: Path, size: int | None) -> None:
        self.descriptor = -1
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise DataError(f"shard {path} is gone; copy or build the shards again") from None
        found = os.fstat(self.descriptor).st_size
        if size is not None and found != size:
            raise DataError(
                f"shard {path} has {found:,} bytes, {size:,} when it was indexed: it is truncated or was "
                "changed; copy, build or index it again"
            )

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def open_index(folder: str | Path) -> ShardIndex:
    """The index of a folder made by tools/build_shards.py or index_shards.py; DataError when it is none."""
    return ShardIndex(folder)


def _dataset(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise DataError(f"shard folder {folder} does not exist; make it with tools/build_shards.py")
    value = files.read_json(folder / "dataset.json", "data set description")
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        found = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise DataError(f"{folder}/dataset.json has schema {found}; this version reads {SCHEMA}")
    missing = [key for key in ("name", "sha256", "shards", "images") if key not in value]
    if missing:
        raise DataError(f"{folder}/dataset.json lacks {', '.join(missing)}; build the shards again")
    return value


def _map(folder: Path, name: str, dtype: Any) -> NDArray[Any]:
    path = folder / FOLDER / f"{name}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; build the shards again") from None
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is no whole numpy array ({error}); build the shards again") from None
    if array.dtype != dtype or array.ndim != 1:
        raise DataError(
            f"{path} holds {array.dtype}{array.shape}, expected {np.dtype(dtype)} in one dimension"
        )
    return array
