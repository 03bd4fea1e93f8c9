"""Hashtag counting against plain Python that gives the same counts; one core each, side by side.

    python benchmarks/bench_hashtags.py --text ../shared/data/hashtag_text.tar.gz --posts 1000000

Posts are drawn from the captions and tag lists of the given corpus, so hashtags repeat as they do
there. The peer: per line json.loads, one regular expression, NFKC, casefold, dict.get, Counter.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import sys
import tarfile
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pretrain import counting, post_files, wordnet
from pretrain.hashtags import Resolver, Rules
from pretrain.posts import Columns

_TAG = re.compile(r"#(\w+)")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--text", default="../shared/data/hashtag_text.tar.gz", help="tar.gz of jsonl captions"
    )
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument(
        "--words", action="store_true", help="captions with words and emoji around the hashtags"
    )
    parser.add_argument("--no-peer", action="store_true", help="count only; for runs of many millions")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def captions(path: str) -> list[str]:
    """Every caption of the corpus; tag lists become captions."""
    found = []
    with tarfile.open(path) as tar:
        for member in tar:
            if not member.name.endswith(".jsonl"):
                continue
            for line in tar.extractfile(member):  # type: ignore[union-attr]
                post = json.loads(line)
                tags = (post.get("hashtags") or "").split(";")
                found.append(post.get("caption") or " ".join(f"#{tag}" for tag in tags if tag))
    return found


def write_posts(path: Path, texts: list[str], num_posts: int, chance: random.Random, words: bool) -> None:
    filler = ["so happy today ", "what a view 😍 ", "café time, ", "no filter ", "Grüße aus Dresden! ", ""]
    with open(path, "w", encoding="utf-8") as file:
        for number in range(num_posts):
            text = chance.choice(texts)
            text = chance.choice(filler) + text if words else text
            row = {"id": f"{number:09d}", "image": f"{number:09d}.jpg", "caption": text}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def peer(path: Path, class_of: dict[str, tuple[int, ...]]) -> Counter[tuple[int, ...]]:
    """What a careful person writes in a minute, given a ready table of canonical hashtags."""
    counts: Counter[tuple[int, ...]] = Counter()
    with open(path, encoding="utf-8") as file:
        for line in file:
            found = set()
            for tag in _TAG.findall(json.loads(line)["caption"]):
                found.add(class_of.get(unicodedata.normalize("NFKC", tag).casefold()))
            found.discard(None)
            counts.update(found)
    return counts


def table(texts: list[str]) -> dict[str, tuple[int, ...]]:
    resolver = Resolver(wordnet.load())
    found = {}
    for tag in {tag for text in texts for tag in _TAG.findall(text)}:
        meaning = resolver.resolve(tag)
        if meaning is not None:
            found[unicodedata.normalize("NFKC", tag).casefold()] = meaning.synsets
    return found


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    texts = captions(args.text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "posts.jsonl"
        write_posts(path, texts, args.posts, random.Random(args.seed), args.words)
        small = Path(folder) / "warm.jsonl"
        write_posts(small, texts, 1000, random.Random(args.seed), args.words)
        # The machine code is compiled, or loaded from its cache, once for all corpora.
        start = time.perf_counter()
        counting.count_part(post_files.Part(str(small)), Columns(), Rules(), True)
        print(f"warm-up (compilation or its cache): {time.perf_counter() - start:.2f} s")
        start = time.process_time()
        tally = counting.Tally()
        for part in post_files.parts([str(path)]):
            tally.add(counting.count_part(part, Columns(), Rules(), True)[0])
        ours = time.process_time() - start
        size = path.stat().st_size
        print(f"{args.posts:,} posts, {tally.tags / args.posts:.2f} hashtags a post, {size / 1e6:,.0f} MB")
        print(f"ours: {ours:.2f} s CPU, {args.posts / ours:,.0f} posts/s, {size / ours / 1e6:,.0f} MB/s")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory: {peak:,.0f} MB")
        if args.no_peer:
            return 0
        class_of = table(texts)
        start = time.process_time()
        theirs = peer(path, class_of)
        seconds = time.process_time() - start
        print(f"peer: {seconds:.2f} s CPU, {args.posts / seconds:,.0f} posts/s; ratio {seconds / ours:.1f}")
        same = theirs == tally.classes
        print("counts are equal" if same else "COUNTS DIFFER")
        return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
