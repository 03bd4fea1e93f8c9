"""The job behind tools/index_shards.py: an index of other people's WebDataset tars, which stay."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from pretrain.posts import records as posts
from pretrain.posts.seen import Seen
from pretrain.shards import dataset_json, images
from pretrain.shards import webdataset_tars as samples
from pretrain.shards.build import begin_again
from pretrain.shards.dataset_json import Naming
from pretrain.shards.images import Located
from pretrain.shards.records import WORK, must_be_new, output_folder, plan_hash, remembered
from pretrain.shards.webdataset_tars import Sample
from pretrain.shards.write import NO_LABEL, Rejection, Written, key_of, labels_of
from pretrain.vocabulary import classes as vocabulary
from pretrain.vocabulary.classes import Labeller
from pretrain.workers import mapping
from wsl_det.core import addresses, files, log, stores
from wsl_det.core.photos import BadImage
from wsl_det.errors import public

_HEADERS, _BUFFER = 1 << 14, 4 << 20  # bytes of an address read at a time: headers alone, or all there is
_UNUSABLE = "the mark of its orientation was lost: build_shards would turn it"


@dataclass(frozen=True)
class Options:
    """How tars are indexed.

    ``decode`` checks every image by decoding it; without, only reading the tars is left.
    ``absolute`` states the tars' full paths; else they are relative to the index, so that both
    can move together. ``classes`` not None: labels are the ``.cls`` members, whose numbers count in it.
    """

    workers: int | None = None
    scheduler: str | None = None
    decode: bool = True
    absolute: bool = False
    classes: Sequence[str] | None = None
    naming: Naming = Naming()  # noqa: RUF009 (frozen)


class _Task(NamedTuple):
    """What one tar's rows depend on; goes to the worker that makes them."""

    number: int
    tar: str | Path
    vocab_path: str
    columns: posts.Columns
    decode: bool
    shared: frozenset[str]
    classes: Sequence[str] | None


class _Indexed(NamedTuple):
    """The rows of one tar, what was met in it, and the members that were refused."""

    rows: Written
    ledger: posts.Ledger
    refused: dict[str, str]


def build(
    patterns: Sequence[str | Path],
    columns: posts.Columns,
    *,
    vocab_path: str | Path,
    output: str | Path,
    options: Options,
) -> tuple[dict[str, Any], posts.Ledger]:
    """Make ``output``, a folder that ``index.open_index`` reads, whole or not at all.

    Returns dataset.json's value. A run that was killed is gone on with. Raises DataError when
    ``output`` is a filled folder, when a tar is damaged, and when no image is left.
    """
    must_be_new(output)
    tars = samples.expand(patterns)
    vocab = vocabulary.read(vocab_path)
    ledger, refused = posts.Ledger(), dict[str, str]()
    shared = samples.namesakes(tars)
    tasks = [
        _Task(
            number,
            tar if isinstance(tar, str) else tar.absolute(),
            str(Path(vocab_path).absolute()),
            columns,
            options.decode,
            shared,
            options.classes,
        )
        for number, tar in enumerate(tars)
    ]
    with output_folder(output) as folder:
        begin_again(folder)
        # Whoever does the work may run in another folder.
        work = partial(_index, (folder / WORK).absolute())
        workers = mapping.num_workers(options.workers)
        indexed = mapping.in_order(work, tasks, workers, options.scheduler)
        progress = log.progress(indexed, len(tasks), "tars")
        rows = _unique(_parted(progress, ledger, refused), Seen())
        kinds = ("hashtags",) if options.classes is None else ("synsets",)
        place = partial(_place, output, options.absolute)
        totals = dataset_json.collect(folder, rows, refused, place, kinds)
        holder = ".json or .txt with their hashtags" if options.classes is None else ".cls with their class"
        remedy = f"check that the samples have a {holder}, and that --vocab {vocab_path}"
        names = ", ".join(map(str, patterns))
        dataset_json.must_hold_images(folder, totals, ledger, made_from=names, remedy=f"{remedy} fits them")
        dataset = dataset_json.describe(options.naming, vocab, totals, ledger)
        dataset_json.finish(folder, dataset, vocab_path, kind="index of shards", decoded=options.decode)
    return dataset, ledger


def _place(output: str | Path, absolute: bool, shard: Written, number: int) -> str:
    if addresses.is_address(shard.file):
        path, home = public(addresses.text(shard.file)), public(addresses.text(output))
        beside = path.split("/")[:3] == home.split("/")[:3] and not absolute
        return posixpath.relpath(path, home) if beside else path
    path = str(shard.file.resolve())
    return path if absolute or addresses.is_address(output) else os.path.relpath(path, Path(output).resolve())


def _parted(indexed: Iterable[_Indexed], ledger: posts.Ledger, refused: dict[str, str]) -> Iterator[Written]:
    for found in indexed:
        ledger.add(found.ledger)
        refused.update(found.refused)
        yield found.rows


def _unique(shards: Iterable[Written], seen: Seen) -> Iterator[Written]:
    """Rows whose key did not come before, in this tar or another."""
    for shard in shards:
        new = [i for i, key in enumerate(shard.keys) if seen.add(key)]
        if repeated := len(shard.keys) - len(new):
            shard.dropped["id seen before"] += repeated
            shard.keys, shard.ids = [shard.keys[i] for i in new], [shard.ids[i] for i in new]
            shard.spans, shard.labels = [shard.spans[i] for i in new], [shard.labels[i] for i in new]
            shard.digests = [shard.digests[i] for i in new] if shard.digests else []
        yield shard


def _index(work: Path, task: _Task) -> _Indexed:
    ledger, refused = posts.Ledger(), dict[str, str]()
    size, tag = told = _told(task.tar)
    plan = plan_hash(
        [str(task.tar), size, tag, files.sha256(task.vocab_path), task.columns, task.decode, task.classes]
    )
    read = partial(
        samples.read_tar,
        task.tar,
        task.columns,
        ledger,
        refused,
        task.shared,
        classes=task.classes,
        buffer=_BUFFER if task.decode else _HEADERS,
    )
    rows = remembered(
        work / f"{task.number:06d}",
        plan,
        lambda: _rows(task, read(), told),
        lambda shard: shard.bytes == size,
    )
    if not ledger.records:
        for _ in read():  # taken over from an earlier run: only the ledger is missing
            pass
    return _Indexed(rows, ledger, refused)


def _told(tar: str | Path) -> tuple[int, str]:
    """Bytes of a tar, and what changes with them."""
    if isinstance(tar, str):
        return stores.info(tar)
    status = tar.stat()
    return status.st_size, str(status.st_mtime_ns)


def _rows(task: _Task, found: Iterable[Sample], told: tuple[int, str]) -> Written:
    shard, labeller = Written(Path(task.tar)), _labeller(task.vocab_path)
    away = addresses.is_address(task.tar)
    read = _Sequential(task.tar) if away else None
    kind = "hashtags" if task.classes is None else "synsets"
    for sample in found:
        labels = next(filter(None, labels_of(sample.post, labeller, (kind,))), ())
        if not labels:
            shard.dropped[NO_LABEL[kind]] += 1
            continue
        try:
            digest = _check(sample, task.decode, read)
        except BadImage as rejected:
            shard.rejected.append(Rejection(sample.post.id, sample.post.image or "", str(rejected)))
            continue
        shard.keys.append(key_of(sample.post.id))
        shard.ids.append(sample.post.id)
        shard.spans.append((sample.where.offset, sample.where.size))
        shard.labels.append(labels)
        if kind == "synsets" and task.decode:
            shard.digests.append(digest)
    shard.bytes, shard.etag = told[0], told[1] if away else ""
    # Of a tar that is not read, its store's tag stands for what it holds.
    shard.sha256 = (
        addresses.sha256(task.tar)
        if task.decode or not away
        else hashlib.sha256(repr(told).encode()).hexdigest()
    )
    return shard


class _Sequential:
    """A tar at an address, many of its photos a request."""

    def __init__(self, tar: str | Path) -> None:
        self.file = addresses.opened(tar, _BUFFER)

    def __call__(self, where: Located) -> bytes:
        self.file.seek(where.offset)
        return self.file.read(where.size)


def _check(sample: Sample, decode: bool, read: Callable[[Located], bytes] | None) -> str:
    """The SHA-256 of an image that training can read, empty when it is not looked at; BadImage otherwise."""
    if not sample.where.size:
        raise BadImage("empty file")
    if not decode:
        return ""
    data = sample.where.read() if read is None else read(sample.where)
    if sample.where.orientation != 1 and images.orientation(data) == 1:
        raise BadImage(_UNUSABLE)
    images.check(data)
    return hashlib.sha256(data).hexdigest()


@cache
def _labeller(vocab_path: str) -> Labeller:
    return Labeller(vocabulary.read(vocab_path))
