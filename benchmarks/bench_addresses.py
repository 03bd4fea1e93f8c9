"""Images/s of the pretraining stream from shards by address, beside the same shards on disk and webdataset.

    python benchmarks/bench_addresses.py [--images 3000] [--rounds 3] [--size 224] [--cache-gb 0.06]

nginx serves the shards on this machine; a proxy before it waits before every answer and fails a share of
the requests (503, 429, bodies cut in half). Every contender starts with nothing in its cache and decodes
in --threads threads; webdataset, in one process as we are, reads the same tars by curl, decoded by the
same crop. Rounds turn the order; ratios are to the disk of the same round.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
import shard_folders  # noqa: E402
import stores_world  # noqa: E402

from pretrain.posts.records import Columns  # noqa: E402
from pretrain.shards import build  # noqa: E402
from pretrain.stream import opened, transforms  # noqa: E402
from pretrain.stream.loader import Loader, Share  # noqa: E402
from wsl_det.core import addresses  # noqa: E402

NAMES = ("crane", "daisy", "pizza")
NETWORKS = ((0.0, 0.0), (0.05, 0.05), (0.2, 0.05))  # seconds before an answer, share that fails
PROXY = "import sys, time, stores_world as w\nwith w.Proxy(int(sys.argv[1]), delay=float(sys.argv[2]), \
failing=float(sys.argv[3])) as p:\n    print(p.url, flush=True)\n    time.sleep(3600)"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache-gb", type=float, default=0.06)
    return parser.parse_args()


def shards(work: Path, number: int) -> Path:
    """A shard folder of photos of 500 x 400 pixels, tars of 16 MB."""
    rng = np.random.default_rng(0)
    (work / "images").mkdir()
    for i in range(number):
        coarse = rng.integers(0, 255, (40, 50, 3), np.uint8)
        image = cv2.resize(coarse, (500, 400), interpolation=cv2.INTER_CUBIC)
        image = cv2.add(image, rng.integers(0, 16, image.shape, np.uint8))
        (work / f"images/{i}.jpg").write_bytes(cv2.imencode(".jpg", image, [1, 90])[1].tobytes())
    lines = [{"id": f"p{i}", "image": f"{i}.jpg", "caption": f"#{NAMES[i % 3]}"} for i in range(number)]
    posts = shard_folders.write_lines(work / "posts.jsonl", lines)
    vocab = shard_folders.vocabulary(work / "vocab.json", NAMES)
    options = build.Options(shard_mb=16)
    build.build(
        [posts], Columns(), image_source=work / "images", vocab_path=vocab, output=work / "shards",
        options=options,
    )  # fmt: skip
    return work / "shards"


@contextmanager
def network(port: int, delay: float, failing: float) -> Iterator[str]:
    """The proxy in a process of its own; its URL."""
    words = [sys.executable, "-c", PROXY, str(port), str(delay), str(failing)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT / "tests") as server:
        try:
            assert server.stdout
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def ours(folder: str, args: argparse.Namespace) -> tuple[float, str]:
    """Images/s over one epoch, from the first request for a photo on, and the name of the stream."""
    posts = opened.open_shards(folder)
    stream = posts.stream(policy="natural", heldout=0.0, seed=1)
    steps = args.images // 24
    crop = transforms.TrainCrop(args.size)
    loader = Loader(posts, stream, crop, Share(24, 24), size=args.size, seed=1, num_threads=args.threads)
    began = time.perf_counter()
    for batch in loader.batches(0, steps, "00" * 32):
        last = batch.stream
    return steps * 24 / (time.perf_counter() - began), last


def webdataset(url: str, names: list[str], args: argparse.Namespace) -> float:
    """Images/s of webdataset over the same server, the photos cropped by the same code."""
    import webdataset as wds

    crop, count, began = transforms.TrainCrop(args.size), 0, time.perf_counter()
    chances = np.random.default_rng(0).random((args.images, transforms.NUM_CHANCES)).tolist()
    urls = [f"{url}/shards/{name}" for name in names]
    found = wds.WebDataset(urls, shardshuffle=False, empty_check=False, handler=wds.warn_and_continue)
    for count, sample in enumerate(found, 1):
        crop(sample["jpg"], chances[count - 1])
    return count / (time.perf_counter() - began) if count else 0.0


def fresh(folder: Path, measure: Callable[[], float]) -> tuple[float, float]:
    """A measurement with nothing kept; megabytes kept after it."""
    shutil.rmtree(folder, ignore_errors=True)
    rate = measure()
    taken = sum(p.stat().st_size for p in (folder / "photos").rglob("*") if p.is_file())
    return rate, taken / 1e6


def main() -> None:
    args = parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as home:
        import os

        work = Path(home)
        os.environ |= {addresses.CACHE: str(work / "cache"), "WSL_DET_CACHE_GB": str(args.cache_gb)}
        folder = shards(work, args.images)
        names = sorted(path.name for path in folder.glob("*.tar"))
        size = sum(path.stat().st_size for path in folder.glob("*.tar"))
        print(f"{args.images} photos, {size / 1e6:.0f} MB in {len(names)} tars, cache {args.cache_gb} GB")
        rates: dict[str, list[float]] = {}
        streams = set()

        def run(what: str, measure: Callable[[], float]) -> None:
            rate, taken = fresh(work / "cache", measure)
            rates.setdefault(what, []).append(rate)
            resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
            print(
                f"{what:<34} {rate:7.1f} images/s, cache {taken:5.0f} MB, at most {resident:.0f} MB resident"
            )

        def stream(where: str) -> float:
            rate, name = ours(where, args)
            streams.add(name)
            return rate

        with stores_world.nginx(work, work / "nginx") as port:
            for turn in range(args.rounds):
                jobs: list[Callable[[], None]] = [lambda: run("disk", lambda: stream(str(folder)))]
                for delay, failing in NETWORKS:

                    def far(delay: float = delay, failing: float = failing) -> None:
                        with network(port, delay, failing) as url:
                            what = f"{1000 * delay:.0f} ms, {failing:.0%} failing"
                            run(what, lambda: stream(f"{url}/shards"))
                            if not failing or delay == 0.05:
                                run(f"webdataset, {what}", lambda: webdataset(url, names, args))

                    jobs.append(far)
                for job in jobs[turn % len(jobs) :] + jobs[: turn % len(jobs)]:
                    job()
        assert len(streams) == 1, "another stream"
        print("\nratio to the disk of the same round, median (least, largest)")
        for what, found in rates.items():
            ratio = [rate / disk for rate, disk in zip(found, rates["disk"], strict=True)]
            print(f"{what:<34} {statistics.median(ratio):.2f} ({min(ratio):.2f}, {max(ratio):.2f})")


if __name__ == "__main__":
    main()
