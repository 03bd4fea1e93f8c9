"""Shard writing, reading and random access against webdataset, on the same photos.

    python benchmarks/bench_shards.py --images FOLDER_OF_JPEGS [--number 500] [--rounds 5]

Writing: ours checks, that is decodes, every image, drops what it cannot use and writes an index;
``ShardWriter`` only packs bytes. So ours is also shown without the check of the images, which does the same
work as the peer. Reading: one pass over all images in tar order (webdataset's pipeline without decoding,
without workers: ``WebLoader`` over ``WebDataset``) against our index. Random access: images in a
shuffled order by our index; a tar has no such access, so the peer is Python's ``tarfile`` with its own
table of members. The contents (every JPEG and its labels) are compared first; a difference ends the
program with 1. Jobs take turns; the figure is the median over rounds of the CPU time ratio.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
Work = Callable[[], Any]
SHARD_MB = 4


def write_posts(images: list[Path], home: Path) -> tuple[Path, Path]:
    """Posts of the photos with two hashtags each, and their vocabulary."""
    from pretrain.posts.records import Columns
    from pretrain.vocabulary import job as vocabulary_job
    from pretrain.vocabulary.hashtags import Rules

    posts, vocab = home / "posts.jsonl", home / "vocab.json"
    with posts.open("w") as file:
        for number, path in enumerate(images):
            tags = "#goldfish #crane" if number % 2 else "#brownbear"
            file.write(json.dumps({"id": f"{number:06d}", "image": path.name, "caption": tags}) + "\n")
    selection = vocabulary_job.Selection("wordnet", None, 1)
    vocabulary_job.run(vocabulary_job.Job([posts], Columns(), Rules(), selection, output=vocab), workers=1)
    return posts, vocab


def ours_writes(posts: Path, vocab: Path, source: Path, output: Path, *, check: bool) -> None:
    from pretrain.posts.records import Columns
    from pretrain.shards import build as shard_builder
    from pretrain.shards import images

    options = shard_builder.Options(shard_mb=SHARD_MB, workers=1)
    arguments = {"image_source": str(source), "vocab_path": vocab, "output": output, "options": options}
    if check:
        shard_builder.build([str(posts)], Columns(), **arguments)
        return
    with mock.patch.object(images, "to_jpeg", lambda data, *_: data):
        shard_builder.build([str(posts)], Columns(), **arguments)


def theirs_writes(folder: Path, output: Path) -> None:
    """The samples of our own ``folder`` packed anew, their JSON encoded by webdataset."""
    import webdataset

    from pretrain.shards import index

    ours = index.open_index(folder)
    tags = {0: ["brownbear"], 1: ["goldfish", "crane"]}
    output.mkdir()
    with webdataset.ShardWriter(
        str(output / "train-%06d.tar"), maxsize=SHARD_MB << 20, maxcount=10_000, verbose=0
    ) as sink:
        for i in range(len(ours)):
            labels = {"id": ours.key(i), "hashtags": tags[i % 2], "labels": ours.labels(i).tolist()}
            sink.write({"__key__": ours.key(i), "jpg": ours.read(i), "json": labels})


def ours_reads(folder: Path, order: np.ndarray | None = None) -> tuple[int, int]:
    from pretrain.shards import index

    ours = index.open_index(folder)
    total = labels = 0
    for i in range(len(ours)) if order is None else order.tolist():
        total += len(ours.read(i))
        labels += len(ours.labels(i))
    return total, labels


def theirs_reads(folder: Path) -> tuple[int, int]:
    import webdataset

    urls = sorted(str(path) for path in folder.glob("*.tar"))
    data = webdataset.WebDataset(urls, shardshuffle=False).to_tuple("jpg", "json")
    total = labels = 0
    for jpeg, text in webdataset.WebLoader(data, batch_size=None, num_workers=0):
        total += len(jpeg)
        labels += len(json.loads(text)["labels"])
    return total, labels


def tar_reads(folder: Path, order: np.ndarray) -> tuple[int, int]:
    """Python's tarfile: every tar's members are listed once, then read by name."""
    tars = [tarfile.open(path) for path in sorted(folder.glob("*.tar"))]  # noqa: SIM115 (closed below)
    found = [(t, m) for t in tars for m in t.getmembers() if m.name.endswith(".jpg")]
    sidecars = {m.name: (t, m) for t in tars for m in t.getmembers() if m.name.endswith(".json")}
    total = labels = 0
    for i in order.tolist():
        tar, member = found[i]
        total += len(tar.extractfile(member).read())  # type: ignore[union-attr]
        tar, member = sidecars[member.name.replace(".jpg", ".json")]
        labels += len(json.loads(tar.extractfile(member).read())["labels"])  # type: ignore[union-attr]
    for tar in tars:
        tar.close()
    return total, labels


def contents(folder: Path) -> dict[str, tuple[str, list[int]]]:
    """{key: (hash of the JPEG, labels)} as webdataset reads a folder of tars."""
    import webdataset

    urls = sorted(str(path) for path in folder.glob("*.tar"))
    data = webdataset.WebDataset(urls, shardshuffle=False).to_tuple("__key__", "jpg", "json")
    return {k: (hashlib.sha256(j).hexdigest(), json.loads(text)["labels"]) for k, j, text in data}


def turns(work: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every round; everyone once before the clock starts."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    order = list(work)
    for number in range(-1, rounds):
        for name in order:
            began = time.process_time()
            work[name]()
            if number >= 0:
                taken[name].append(time.process_time() - began)
        order.append(order.pop(0))
    return taken


def show(what: str, taken: dict[str, list[float]], images: int) -> None:
    base = next(iter(taken.values()))
    for name, seconds in taken.items():
        ratios = [theirs / ours for theirs, ours in zip(seconds, base, strict=True)]
        speed = images / statistics.median(seconds)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {what} | {name} | {speed:,.0f} | {spread} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="a folder of JPEGs, searched recursively")
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    import webdataset

    photos = sorted(args.images.rglob("*.JPEG")) + sorted(args.images.rglob("*.jpg"))
    photos = photos[: args.number]
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        (home / "images").mkdir()
        linked = []
        for number, path in enumerate(photos):
            linked.append(home / "images" / f"{number:06d}.jpg")
            linked[-1].write_bytes(path.read_bytes())
        posts, vocab = write_posts(linked, home)
        first, second = home / "ours", home / "theirs"
        ours_writes(posts, vocab, home / "images", first, check=True)
        theirs_writes(first, second)
        mine, other = contents(first), contents(second)
        if mine != other:
            print("the shards differ in content")
            return 1
        count = len(mine)
        print(
            f"webdataset {webdataset.__version__}, Python {sys.version.split()[0]}, {count} images, "
            f"{len(list(first.glob('*.tar')))} and {len(list(second.glob('*.tar')))} tars, contents equal, "
            f"load {os.getloadavg()[0]:.1f}"
        )
        print("| job | who | images/s of CPU | CPU time over the first, median | \n|---|---|---|---|")
        names = iter(range(10_000))
        new = lambda: home / f"made{next(names)}"  # noqa: E731
        show("writing", turns({
            "ours": lambda: ours_writes(posts, vocab, home / "images", new(), check=True),
            "ours, images unchecked": lambda: ours_writes(posts, vocab, home / "images", new(), check=False),
            "webdataset.ShardWriter": lambda: theirs_writes(first, new()),
        }, args.rounds), count)  # fmt: skip
        show("reading in order", turns({
            "ours": lambda: ours_reads(first),
            "webdataset.WebLoader": lambda: theirs_reads(first),
        }, args.rounds), count)  # fmt: skip
        order = np.random.default_rng(0).permutation(count)
        show("random access", turns({
            "ours": lambda: ours_reads(first, order),
            "tarfile": lambda: tar_reads(first, order),
        }, args.rounds), count)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
