"""dataset.json: a shard folder's name, identity, counts per class, and the ledger of what was left out."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.posts import records as posts
from pretrain.shards import index
from pretrain.shards import write as shards
from pretrain.shards.records import WORK
from pretrain.shards.write import Rejection, Written, post_hash
from pretrain.vocabulary.classes import Vocabulary
from pretrain.workers import mapping
from wsl_det.core import files, provenance
from wsl_det.errors import ConfigError, DataError

_HEADER = 128  # bytes of every .npy header here; version 1.0 pads to a multiple of 64
_MAGIC = b"\x93NUMPY\x01\x00"
_NAME_PART = re.compile(r"[A-Za-z0-9_]+")
_REJECTED = "rejected.jsonl"


class IndexWriter:
    """Appends the rows of finished shards to the arrays that ``index.ShardIndex`` maps."""

    def __init__(self, folder: Path, kinds: Sequence[str]) -> None:
        self.num_images = 0
        self.num_shards = 0
        self._label_counts = [0, 0]
        self._key_bytes = 0
        self._label_arrays = index.LABEL_ARRAYS[: len(kinds)]
        names = [*index.ARRAYS, *(name for pair in self._label_arrays[1:] for name in pair)]
        (folder / index.FOLDER).mkdir()
        self._arrays = {
            name: _GrowingArray(folder / index.FOLDER / f"{name}.npy", np.dtype(dtype))
            for name in names
            if (dtype := index.dtype_of(name))
        }
        for offsets, _ in self._label_arrays:
            self._arrays[offsets].append([0])
        self._arrays["key_offsets"].append([0])

    def add(self, shard: Written) -> None:
        """Append the rows of the next shard."""
        keys = [key.encode() for key in shard.keys]
        lengths = np.cumsum([len(key) for key in keys], dtype=np.int64)
        rows = {
            "shard": np.full(len(keys), self.num_shards),
            "offset": [offset for offset, _ in shard.spans],
            "size": [size for _, size in shard.spans],
            "post_hash": np.array([post_hash(name) for name in shard.ids], np.uint64),
            "key_offsets": lengths + self._key_bytes,
            "key_bytes": np.frombuffer(b"".join(keys), np.uint8),
        }
        for i, (offsets, values) in enumerate(self._label_arrays):
            labels = (shard.labels, shard.synset_labels)[i]
            counts = np.cumsum([len(found) for found in labels], dtype=np.int64)
            rows |= {offsets: counts + self._label_counts[i], values: [x for found in labels for x in found]}
            self._label_counts[i] += int(counts[-1])
        for name, column in rows.items():
            self._arrays[name].append(column)
        self.num_images += len(keys)
        self.num_shards += 1
        self._key_bytes += int(lengths[-1])

    def finish(self) -> dict[str, str]:
        """Complete the arrays; their SHA-256 by name."""
        return {name: array.finish() for name, array in self._arrays.items()}

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(self, *error: object) -> None:
        for array in self._arrays.values():
            array.file.close()


class _GrowingArray:
    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path = path
        self.dtype = dtype
        self.length = 0
        self.file = open(path, "wb")  # noqa: SIM115 (closed by the writer's __exit__)
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
        return files.sha256(self.path)


@dataclass(frozen=True)
class Naming:
    """What opens a data set's name: train-IG-940M-1.5k is role, source, images, classes."""

    role: str = "train"
    source: str = "posts"

    def __post_init__(self) -> None:
        for part in (self.role, self.source):
            if not _NAME_PART.fullmatch(part):
                raise ConfigError(f"{part!r} is part of file names: use letters, digits and _ only")


@dataclass
class Totals:
    """What is in a folder of shards and what was left out."""

    shards: list[dict[str, Any]] = field(default_factory=list)
    class_counts: Counter[int] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)  # posts
    rejected: Counter[str] = field(default_factory=Counter)  # images
    array_hashes: dict[str, str] = field(default_factory=dict)
    num_images: int = 0
    kinds: Sequence[str] = ("hashtags",)  # of labels, the first first
    synset_counts: Counter[int] = field(default_factory=Counter)  # of the second kind
    apart: Counter[str] = field(default_factory=Counter)  # images without labels of the second kind


def collect(
    folder: Path,
    written: Iterable[Written],
    refused: Mapping[str, str],
    name: Any,
    kinds: Sequence[str] = ("hashtags",),
) -> Totals:
    """Write index and list of rejections of finished shards into ``folder``, in their order.

    ``refused`` (tar members and why) is read when all shards are in. ``name(shard, number)`` gives
    a shard its place and returns the path, relative to ``folder``, that dataset.json states. Raises
    DataError for one photo in two classes.
    """
    totals, class_of = Totals(kinds=kinds), dict[str, tuple[tuple[int, ...], str]]()
    with IndexWriter(folder, kinds) as writer, open(folder / _REJECTED, "w", encoding="utf-8") as list_file:
        for shard in written:
            totals.dropped.update(shard.dropped)
            totals.apart.update(shard.apart)
            _check_classes(shard, class_of)
            _note(shard.rejected, list_file, totals)
            if not shard.keys:
                continue
            entry = {"file": name(shard, writer.num_shards), "images": len(shard.keys)}
            etag = {"etag": shard.etag} if shard.etag else {}
            totals.shards.append({**entry, "bytes": shard.bytes, "sha256": shard.sha256, **etag})
            writer.add(shard)
            for labels in shard.labels:
                totals.class_counts.update(labels)
            for labels in shard.synset_labels:
                totals.synset_counts.update(labels)
        _note((Rejection("", member, why) for member, why in refused.items()), list_file, totals)
        totals.array_hashes = writer.finish()
        totals.num_images = writer.num_images
    return totals


def _check_classes(shard: Written, class_of: dict[str, tuple[tuple[int, ...], str]]) -> None:
    for digest, labels, name in zip(shard.digests, shard.labels, shard.ids, strict=False):
        other, first = class_of.setdefault(digest[:16], (labels, name))
        if other != labels:
            raise DataError(
                f"one photo is in two classes: {first} and {name} are the same file; remove it from one of "
                "them (or from both, where nobody knows) and give the same command again"
            )


def _note(rejected: Iterable[Rejection], list_file: Any, totals: Totals) -> None:
    for rejection in rejected:
        list_file.write(json.dumps(rejection._asdict()) + "\n")
        totals.rejected[rejection.reason] += 1


def describe(naming: Naming, vocab: Vocabulary, totals: Totals, ledger: posts.Ledger) -> dict[str, Any]:
    """The value of dataset.json, but for its header."""
    labels = [totals.class_counts[entry.id] for entry in vocab.classes]
    content = [vocab.sha256, *(entry["sha256"] for entry in totals.shards), *totals.array_hashes.values()]
    return {
        "name": shards.data_set_name(naming.role, naming.source, totals.num_images, len(vocab)),
        "sha256": hashlib.sha256("\n".join(content).encode()).hexdigest(),
        "role": naming.role,
        "source": naming.source,
        "vocabulary": vocab.sha256,
        "images": totals.num_images,
        "classes": len(vocab),
        "classes_with_images": sum(count > 0 for count in labels),
        "labels": sum(labels),
        "label_kinds": list(totals.kinds),
        **_second_kind(totals, len(vocab)),
        "posts": ledger.read,
        "skipped": {
            "records": dict(sorted(ledger.skipped.items())),
            "posts": dict(sorted(totals.dropped.items())),
            "images": dict(sorted(totals.rejected.items())),
        },
        "shards": totals.shards,
        "arrays": totals.array_hashes,
        "class_counts": labels,
    }


def _second_kind(totals: Totals, num_classes: int) -> dict[str, Any]:
    if len(totals.kinds) < 2:
        return {}
    counts = [totals.synset_counts[i] for i in range(num_classes)]
    return {"in_no_arm": dict(sorted(totals.apart.items())), "synset_class_counts": counts}


def finish(
    folder: Path,
    dataset: Mapping[str, Any],
    vocab_path: str | Path,
    *,
    kind: str,
    made_from: Mapping[str, str | Path] | None = None,
    **more: Any,
) -> None:
    """Write vocab.json and dataset.json into ``folder``; ``more`` is the job's own."""
    files.write_bytes(folder / "vocab.json", Path(vocab_path).read_bytes())
    sources = {"vocabulary": vocab_path, **(made_from or {})}
    header = provenance.header(kind, index.SCHEMA, sources, mapping.FREE)
    files.write_json(folder / "dataset.json", {**header, **dataset, **more})


def must_hold_images(
    folder: Path, totals: Totals, ledger: posts.Ledger, *, made_from: str, remedy: str
) -> None:
    """Raise DataError, with what became of everything, when a job leaves no image."""
    if totals.num_images > totals.apart.total():
        return
    shutil.rmtree(folder / WORK)  # nothing of this is worth going on with
    why = totals.dropped + totals.rejected + totals.apart
    told = [*ledger.summary(), *(f"{count:,} {reason}" for reason, count in why.most_common())]
    reasons = ", ".join(told) or "no posts"
    raise DataError(f"no image is left of {made_from}: {reasons}; {remedy}; nothing was written")


def summary(dataset: Mapping[str, Any], ledger: posts.Ledger, output: str | Path) -> str:
    """What to print: what was read, left out and written."""
    lines = ledger.summary()
    lines += [
        f"{count:>14,} {what} skipped: {reason}"
        for what in ("posts", "images")
        for reason, count in sorted(dataset["skipped"][what].items(), key=lambda item: -item[1])
    ]
    lines += [
        f"{n:>14,} images in no arm of a comparison: {why}" for why, n in dataset.get("in_no_arm", {}).items()
    ]
    size = sum(entry["bytes"] for entry in dataset["shards"])
    lines += [
        f"{dataset['posts']:>14,} posts read",
        f"{dataset['images']:>14,} images with {dataset['labels']:,} labels of "
        f"{dataset['classes_with_images']:,} classes (vocabulary: {dataset['classes']:,})",
        f"{len(dataset['shards']):>14,} shards, {size / 2**20:,.1f} MB",
        f"wrote {output}: {dataset['name']}, sha256 {dataset['sha256']}",
    ]
    if dataset["skipped"]["images"]:
        lines.append(f"the rejected images are listed in {Path(output) / _REJECTED}")
    return "\n".join(lines)
