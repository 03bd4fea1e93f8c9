"""Random access to a shard folder: memory-mapped arrays beside the tars, no tar is ever scanned."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretrain.shards import remote
from pretrain.vocabulary import classes as vocabulary
from wsl_det.core import addresses, files, foreign
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
# Offsets and values of the labels of a folder's first kind (DATA.LABELS), and of its second.
LABEL_ARRAYS = (("label_offsets", "label_values"), ("synset_offsets", "synset_values"))
KINDS = (["hashtags"], ["hashtags", "synsets"], ["synsets"])
Labels = tuple[NDArray[np.int64], NDArray[np.int32]]  # row i's are values[offsets[i]:offsets[i + 1]]
_OPEN_FILES = 64
_CHUNK = 1 << 20  # images looked at at once when an index is checked
_AGAIN = "copy or build the shards again"


class _Shard(msgspec.Struct):
    """What is read of an entry of dataset.json's ``shards``; others are kept for people."""

    file: str
    bytes: int | None = None
    etag: str = ""


class _Dataset(msgspec.Struct):
    """What is read of dataset.json."""

    schema: int
    name: str
    sha256: str
    shards: list[_Shard]
    images: int
    vocabulary: str | None = None
    arrays: dict[str, str] = {}
    label_kinds: list[str] = msgspec.field(default_factory=lambda: list(KINDS[0]))


class ShardIndex:
    """The images of a shard folder by number, 0..n-1; cheap to open, safe to fork and to pickle."""

    kinds: dict[str, Labels]  # what is known of the images: "hashtags", "synsets" (the true class) or both
    label_offsets: NDArray[np.int64]  # (n + 1,), of the first kind
    label_values: NDArray[np.int32]  # (number of labels,)
    post_hash: NDArray[np.uint64]  # (n,)

    def __init__(self, folder: str | Path) -> None:
        self.source = addresses.text(folder)
        # Of an address, the copy in the cache, whose files are fetched when they are opened.
        self.folder = addresses.place(self.source) if addresses.is_address(folder) else Path(folder)
        self.dataset, self._told = _read_dataset(self.source)
        self.name, self.sha256 = self._told.name, self._told.sha256
        # A foreign shard's path may be absolute, or lead out of the folder.
        self.shards = [addresses.join(self.source, entry.file) for entry in self._told.shards]
        self._placed: dict[str, Path] = {}
        self._map_arrays()
        # pid and tars: a forked worker must not share the parent's table.
        self._tars: tuple[int, OrderedDict[int, _Tar]] = (os.getpid(), OrderedDict())
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._size)

    @cached_property
    def vocabulary(self) -> vocabulary.Vocabulary:
        """The vocabulary that the labels are ids of."""
        return vocabulary.read(addresses.local(addresses.join(self.source, "vocab.json")))

    @cached_property
    def shard_starts(self) -> NDArray[np.int64]:
        """First image of each shard, then the number of images, (shards + 1,)."""
        return np.searchsorted(self._shard, np.arange(len(self.shards) + 1)).astype(np.int64)

    def key(self, i: int) -> str:
        """The WebDataset key of image ``i``, unique in the folder."""
        start, stop = self._key_offsets[i], self._key_offsets[i + 1]
        try:
            return self._key_bytes[start:stop].tobytes().decode()
        except UnicodeDecodeError:
            raise DataError(
                f"{self.folder}: the index has a key of image {i} that is no UTF-8; {_AGAIN}"
            ) from None

    def labels(self, i: int) -> NDArray[np.int32]:
        """Class ids of image ``i``, (k,) with k >= 1, ascending, each once."""
        return self.label_values[self.label_offsets[i] : self.label_offsets[i + 1]]

    def read(self, i: int) -> bytes:
        """The JPEG file of image ``i``; raises DataError when the tar is shorter than the index says.

        Of a tar at an address, BadImage for a photo that the store does not give.
        """
        if isinstance(self.shards[self._shard[i]], str) and self._remote is not None:
            return self._remote.read(i)
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

    def ahead(self, order: Iterable[NDArray[np.int64]]) -> AbstractContextManager[None]:
        """A block in which what ``order`` names, batch by batch, is read ahead where that helps."""
        return nullcontext() if self._remote is None else self._remote.ahead(order)

    def requests(self, images: NDArray[np.int64]) -> tuple[int, int, int] | None:
        """Requests for these photos, their bytes, and those drawn; None where the shards lie on the disk."""
        if not any(map(addresses.is_address, self.shards)):
            return None
        spans = remote.Places(self._shard, self._offset, self._size).spans(np.unique(images))
        return len(spans), sum(span.stop - span.start for span in spans), int(self._size[images].sum())

    @property
    def stretch(self) -> int:
        """About how many photos are read together."""
        return int(remote.stretch_bytes() // max(float(self._size.mean()), 1.0))

    @cached_property
    def _remote(self) -> remote.Remote | None:
        places = remote.Places(self._shard, self._offset, self._size)
        told = [(entry.bytes, entry.etag) for entry in self._told.shards]
        key = self.key if self.dataset.get("kind") == "shards" else None
        return remote.open_remote(self.sha256, self.shards, told, places, key)

    def check(self) -> ShardIndex:
        """Itself, when every number of the index points where one can be; DataError otherwise.

        Arrays must have the hashes that dataset.json states (older folders state none), labels must be of the
        vocabulary, and photos lie inside their tars, by the sizes of the tars that dataset.json states.
        """
        told, arrays = self._told, self._arrays
        if told.vocabulary is not None and self.vocabulary.sha256 != told.vocabulary:
            raise DataError(f"{self.folder}: vocab.json is not the vocabulary of these shards; {_AGAIN}")
        with ThreadPoolExecutor() as pool:
            found = pool.map(files.sha256, [self._place(name) for name in arrays if name in told.arrays])
        for name, digest in zip([name for name in arrays if name in told.arrays], found, strict=True):
            if digest != told.arrays[name]:
                if addresses.is_address(self.source):
                    self._place(name).unlink()
                raise DataError(
                    f"{self.folder}: index/{name}.npy is damaged or was changed: dataset.json says another "
                    f"sha256; {_AGAIN}"
                )
        unknown = np.iinfo(np.int64).max
        ends = np.array([unknown if e.bytes is None else e.bytes for e in told.shards], np.int64)
        for wrong, what in _marks(arrays, len(self.vocabulary), ends):
            if wrong:
                raise DataError(f"{self.folder}: the index {what}; {_AGAIN}")
        return self

    def _place(self, name: str) -> Path:
        if name not in self._placed:  # all at once: each takes a few answers of the store's
            names = [name for name in (*ARRAYS, *LABEL_ARRAYS[1]) if name in self._told.arrays]
            names = names if addresses.is_address(self.source) and name in names else [name]
            files_ = [addresses.join(self.source, f"{FOLDER}/{name}.npy") for name in names]
            with ThreadPoolExecutor() as pool:
                self._placed |= dict(zip(names, pool.map(addresses.local, files_), strict=True))
        return self._placed[name]

    def _map_arrays(self) -> None:
        kinds = self._told.label_kinds
        names = [*ARRAYS, *(LABEL_ARRAYS[1] if len(kinds) > 1 else ())]
        self._arrays = arrays = {name: _map(self._place(name), dtype_of(name)) for name in names}
        rows = len(arrays["size"])
        lengths = {name: rows + 1 for name in names if name.endswith("_offsets")}
        for name in ("shard", "offset", "post_hash", *lengths):
            if len(arrays[name]) != lengths.get(name, rows):
                raise DataError(f"{self.folder}: index arrays disagree in length; {_AGAIN}")
        if rows != self._told.images:
            raise DataError(
                f"{self.folder}: the index has {rows} images, dataset.json says {self._told.images}; {_AGAIN}"
            )
        self.label_offsets, self.label_values = arrays["label_offsets"], arrays["label_values"]
        pairs = zip(kinds, LABEL_ARRAYS, strict=False)
        self.kinds = {kind: (arrays[offsets], arrays[values]) for kind, (offsets, values) in pairs}
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
                table[shard] = _Tar(Path(self.shards[shard]), self._told.shards[shard].bytes)
            table.move_to_end(shard)
            if len(table) > _OPEN_FILES:
                table.popitem(last=False)
            return table[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.source}

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
    """The index of a folder made by ``build_shards`` or ``index_shards``; DataError when it is none."""
    return ShardIndex(folder).check()


def _read_dataset(folder: str) -> tuple[dict[str, Any], _Dataset]:
    if not (addresses.is_address(folder) or Path(folder).is_dir()):
        raise DataError(f"shard folder {folder} does not exist; make it with wsl-det build_shards")
    path = addresses.local(addresses.join(folder, "dataset.json"))
    value = files.read_json(path, "data set description")
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        found = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise DataError(f"{folder}/dataset.json has schema {found!r:.60}; this version reads {SCHEMA}")
    missing = [key for key in ("name", "sha256", "shards", "images") if key not in value]
    if missing:
        raise DataError(f"{folder}/dataset.json lacks {', '.join(missing)}; {_AGAIN}")
    try:
        told = msgspec.convert(value, _Dataset)
    except msgspec.ValidationError as error:
        raise DataError(f"{folder}/dataset.json is damaged ({error}); {_AGAIN}") from None
    if told.label_kinds not in KINDS:
        raise DataError(
            f"{folder}/dataset.json has label_kinds {told.label_kinds!r:.60}; expected one of {KINDS}"
        )
    return value, told


def dtype_of(name: str) -> Any:
    """The type of an array of the index."""
    return ARRAYS[name.replace("synset", "label")]


def _map(path: Path, dtype: Any) -> NDArray[Any]:
    try:
        with np.errstate(over="ignore"):  # of a shape that no file can have
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; {_AGAIN}") from None
    except foreign.NO_ARRAYS as error:
        raise DataError(f"{path} is no whole numpy array ({foreign.damage(error, path)}); {_AGAIN}") from None
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
        found = f"{array.dtype}{array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise DataError(f"{path} holds {found}, expected {np.dtype(dtype)} in one dimension; {_AGAIN}")
    return array


def _marks(
    arrays: dict[str, NDArray[Any]], num_classes: int, ends: NDArray[np.int64]
) -> Iterator[tuple[bool, str]]:
    """Whether something points where nothing can be, and what; ``ends`` are the sizes of the tars."""
    ends_of = {"key_offsets": "key_bytes", **dict(LABEL_ARRAYS)}
    spans = [(name, len(arrays[values])) for name, values in ends_of.items() if name in arrays]
    for name, length in spans:
        spanned = arrays[name][0] == 0 and arrays[name][-1] == length
        yield not spanned, f"has {name} that do not span their values"
    for first in range(0, len(arrays["size"]), _CHUNK):
        upto = slice(first, first + _CHUNK + 1)
        for name, length in spans:
            starts = arrays[name][upto]
            # The true class of a photo may be unknown; a photo without any label is in no folder.
            ascending = starts.max() <= length and (np.diff(starts) >= int(name != "synset_offsets")).all()
            yield not ascending, f"has {name} that do not ascend"
        shard, offset, size = (arrays[name][upto] for name in ("shard", "offset", "size"))
        # Rows stand in the order of the tars: the stream goes shard by shard.
        there = shard.min() >= 0 and shard.max() < len(ends) and (np.diff(shard) >= 0).all()
        yield not there, f"names tars that are not among the {len(ends)}, or not in their order"
        yield offset.min() < 0 or size.min() < 1, "has photos of no bytes, or before the start of their tar"
        yield bool((size > ends[shard] - offset).any()), "has photos beyond the end of their tar"
        for name, values in LABEL_ARRAYS:
            if name in arrays:
                labels = arrays[values][arrays[name][upto][0] : arrays[name][upto][-1]]
                strange = labels.min(initial=0) < 0 or labels.max(initial=0) >= num_classes
                yield strange, f"has labels that are not among the {num_classes} classes of the vocabulary"
