"""The job behind tools/build_shards.py: posts, images and a vocabulary to a folder of shards."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pretrain import images, index, mapping, post_files, posts, shards, vocabulary
from pretrain.index_writer import IndexWriter
from pretrain.labels import Labeller
from pretrain.shards import Planned, Rejection, Written
from pretrain.vocabulary import Vocabulary
from wsl_det.core import files, log, provenance
from wsl_det.errors import ConfigError, DataError

_NAME_PART = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class Options:
    """How shards are made; none of it but ``workers`` changes what is in them.

    ``shard_mb`` is megabytes (2**20 bytes) of image files a shard; ``workers`` None takes every
    core; ``role`` and ``source`` open the data set's name (train-IG-940M-1.5k).
    """

    shard_mb: int = 128
    workers: int | None = None
    role: str = "train"
    source: str = "posts"
    max_short_side: int = images.MAX_SHORT_SIDE

    def __post_init__(self) -> None:
        for name in ("shard_mb", "max_short_side"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: give 1 or more")
        mapping.num_workers(self.workers)
        for part in (self.role, self.source):
            if not _NAME_PART.fullmatch(part):
                raise ConfigError(f"{part!r} is part of file names: use letters, digits and _ only")


@dataclass
class Totals:
    """What was written and what was left out."""

    written: list[dict[str, Any]]
    class_counts: Counter[int]
    rejected: Counter[str]
    array_hashes: dict[str, str]
    num_images: int = 0


def build(
    paths: Sequence[str | Path],
    columns: posts.Columns,
    *,
    image_source: str | Path,
    vocab_path: str | Path,
    output: str | Path,
    options: Options,
) -> tuple[dict[str, Any], posts.Ledger]:
    """Make the shard folder ``output``, whole or not at all; returns dataset.json's value.

    Raises DataError when ``output`` is a filled folder, when posts, images or vocabulary cannot be
    read, and when no image is left.
    """
    output = Path(output)
    _must_be_new(output)
    vocab = vocabulary.read(vocab_path)
    source = images.open_source(image_source)
    paths = post_files.expand(paths)
    ledger = posts.Ledger()
    planner = shards.Planner(Labeller(vocab), source, options.shard_mb << 20)
    with files.atomic_dir(output) as folder:
        plan = planner.plan(post_files.read(paths, columns, ledger))
        totals = _write_all(folder, plan, options)
        if not totals.num_images:
            raise DataError(_nothing_left(paths, image_source, vocab_path, planner.dropped + totals.rejected))
        files.write_bytes(folder / "vocab.json", Path(vocab_path).read_bytes())
        dataset = _describe(options, vocab, totals, planner.dropped, ledger)
        made_from = {"vocabulary": vocab_path, **{f"posts {path}": path for path in paths}}
        header = provenance.header("shards", index.SCHEMA, made_from)
        files.write_json(folder / "dataset.json", {**header, **dataset})
    return dataset, ledger


def _must_be_new(output: Path) -> None:
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() or output.is_symlink():
        raise DataError(f"{output} already holds something; choose another --output, or remove it first")


def _write_all(folder: Path, plan: Iterable[Planned], options: Options) -> Totals:
    totals = Totals([], Counter(), Counter(), {})
    with IndexWriter(folder) as writer, open(folder / "rejected.jsonl", "w", encoding="utf-8") as rejected:
        for shard in log.progress(_written(folder, plan, options), None, "shards"):
            for rejection in shard.rejected:
                rejected.write(json.dumps(rejection._asdict()) + "\n")
                totals.rejected[rejection.reason] += 1
            if shard.keys:
                _take(shard, folder, options.role, writer, totals)
        totals.array_hashes = writer.finish()
        totals.num_images = writer.num_images
    return totals


def _take(shard: Written, folder: Path, role: str, writer: IndexWriter, totals: Totals) -> None:
    # Shards whose images were all rejected leave no gap in the numbers: braces must expand.
    name = f"{role}-{writer.num_shards:06d}.tar"
    os.replace(shard.file, folder / name)
    writer.add(shard)
    entry = {"file": name, "images": len(shard.keys), "bytes": shard.bytes, "sha256": shard.sha256}
    totals.written.append(entry)
    for labels in shard.labels:
        totals.class_counts.update(labels)


def _written(folder: Path, plan: Iterable[Planned], options: Options) -> Iterator[Written]:
    """Finished shards in the order of the plan, made by a pool of processes or here."""
    write = partial(_write_numbered, folder, max_short_side=options.max_short_side)
    return mapping.in_order(write, enumerate(plan), mapping.num_workers(options.workers))


def _write_numbered(folder: Path, numbered: tuple[int, Planned], *, max_short_side: int) -> Written:
    number, planned = numbered
    return shards.write_shard(folder / f".unfinished-{number:06d}.tar", planned, max_short_side)


def _describe(
    options: Options, vocab: Vocabulary, totals: Totals, dropped: Counter[str], ledger: posts.Ledger
) -> dict[str, Any]:
    labels = [totals.class_counts[entry.id] for entry in vocab.classes]
    content = [vocab.sha256, *(entry["sha256"] for entry in totals.written), *totals.array_hashes.values()]
    return {
        "name": shards.data_set_name(options.role, options.source, totals.num_images, len(vocab)),
        "sha256": hashlib.sha256("\n".join(content).encode()).hexdigest(),
        "role": options.role,
        "source": options.source,
        "vocabulary": vocab.sha256,
        "images": totals.num_images,
        "classes": len(vocab),
        "classes_with_images": sum(count > 0 for count in labels),
        "labels": sum(labels),
        "posts": ledger.read,
        "skipped": {
            "records": dict(sorted(ledger.skipped.items())),
            "posts": dict(sorted(dropped.items())),
            "images": dict(sorted(totals.rejected.items())),
        },
        "shards": totals.written,
        "arrays": totals.array_hashes,
        "class_counts": labels,
    }


def _nothing_left(paths: Sequence[str | Path], source: object, vocab: object, why: Counter[str]) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in why.most_common()) or "no posts"
    return (
        f"no image is left of {', '.join(map(str, paths))}: {reasons}; check that "
        f"--images {source} is what the posts' image paths are relative to, and that --vocab {vocab} fits "
        "these posts; nothing was written"
    )


def summary(dataset: dict[str, Any], ledger: posts.Ledger, output: str | Path) -> str:
    """What to print: what was read, left out and written."""
    lines = ledger.summary()
    lines += [
        f"{count:>14,} {what} skipped: {reason}"
        for what in ("posts", "images")
        for reason, count in sorted(dataset["skipped"][what].items(), key=lambda item: -item[1])
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
        lines.append(f"the rejected images are listed in {Path(output) / 'rejected.jsonl'}")
    return "\n".join(lines)


def rejections(folder: str | Path) -> list[Rejection]:
    """The images that were left out of a shard folder, with the reason."""
    text = (Path(folder) / "rejected.jsonl").read_text(encoding="utf-8")
    return [Rejection(**json.loads(line)) for line in text.splitlines()]
