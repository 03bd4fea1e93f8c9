"""dataset.json: a shard folder's name, identity, counts per class, and the ledger of what was left out."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretrain.posts import records as posts
from pretrain.shards import write as shards
from pretrain.shards.index_writer import IndexWriter
from pretrain.shards.write import Rejection, Written
from pretrain.vocabulary.classes import Vocabulary
from wsl_det.errors import ConfigError

_NAME_PART = re.compile(r"[A-Za-z0-9_]+")
_REJECTED = "rejected.jsonl"


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


def collect(folder: Path, written: Iterable[Written], refused: Mapping[str, str], name: Any) -> Totals:
    """Write index and list of rejections of finished shards into ``folder``, in their order.

    ``refused`` (tar members and why) is read when all shards are in. ``name(shard, number)`` gives
    a shard its place and returns the path, relative to ``folder``, that dataset.json states.
    """
    totals = Totals()
    with IndexWriter(folder) as writer, open(folder / _REJECTED, "w", encoding="utf-8") as list_file:
        for shard in written:
            totals.dropped.update(shard.dropped)
            _note(shard.rejected, list_file, totals)
            if not shard.keys:
                continue
            entry = {"file": name(shard, writer.num_shards), "images": len(shard.keys)}
            totals.shards.append({**entry, "bytes": shard.bytes, "sha256": shard.sha256})
            writer.add(shard)
            for labels in shard.labels:
                totals.class_counts.update(labels)
        _note((Rejection("", member, why) for member, why in refused.items()), list_file, totals)
        totals.array_hashes = writer.finish()
        totals.num_images = writer.num_images
    return totals


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


def nothing_left(made_from: str, remedy: str, totals: Totals, ledger: posts.Ledger) -> str:
    """The message for a job that leaves no image."""
    why = totals.dropped + totals.rejected
    told = [*ledger.summary(), *(f"{count:,} {reason}" for reason, count in why.most_common())]
    reasons = ", ".join(told) or "no posts"
    return f"no image is left of {made_from}: {reasons}; {remedy}; nothing was written"


def summary(dataset: Mapping[str, Any], ledger: posts.Ledger, output: str | Path) -> str:
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
        lines.append(f"the rejected images are listed in {Path(output) / _REJECTED}")
    return "\n".join(lines)


def rejections(folder: str | Path) -> Iterator[Rejection]:
    """The images that were left out of a shard folder, with the reason."""
    with open(Path(folder) / _REJECTED, encoding="utf-8") as list_file:
        for line in list_file:
            yield Rejection(**json.loads(line))
