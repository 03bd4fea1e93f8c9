"""Hashtag counting against plain Python that gives the same counts; one core each, side by side.

    python benchmarks/bench_hashtags.py --text ../shared/data/hashtag_text.tar.gz --posts 1000000

Posts are drawn from the captions and tag lists of the given corpus, so hashtags repeat as they do
there. The peer: per line json.loads, one regular expression, NFKC, casefold, dict.get, Counter. It
reads the first part of about 32 MB, in turns with ours on the same part (CPU seconds of the second of two
calls in a row, the median ratio); ours alone reads the whole.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import statistics
import sys
import tarfile
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pretrain.posts import files as post_files
from pretrain.posts.records import Columns
from pretrain.vocabulary import counting, wordnet
from pretrain.vocabulary.counting import Tally
from pretrain.vocabulary.hashtags import Resolver, Rules

T = TypeVar("T")
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
    parser.add_argument("--rounds", type=int, default=5, help="turns of ours and the peer")
    parser.add_argument("--folder", help="where to write the posts for the time being (default: temporary)")
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
    spelled = [json.dumps(text, ensure_ascii=False)[1:] for text in texts]
    with open(path, "w", encoding="utf-8") as file:
        for number in range(num_posts):
            text = (chance.choice(filler) if words else "") + chance.choice(spelled)
            file.write(f'{{"id": "{number:09d}", "image": "{number:09d}.jpg", "caption": "{text}}}\n')


def peer(lines: list[str], class_of: dict[str, tuple[int, ...]]) -> Counter[tuple[int, ...]]:
    """What a careful person writes in a minute, given a ready table of canonical hashtags."""
    counts: Counter[tuple[int, ...]] = Counter()
    for line in lines:
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


def ours(parts: list[post_files.Part]) -> Tally:
    tally = Tally()
    for part in parts:
        tally.add(counting.count_part(part, Columns(), Rules())[0])
    return tally


def cpu(function: Callable[..., T], *arguments: object) -> tuple[float, T]:
    """Seconds of the second of two calls in a row, so that neither side pays for the other's memory."""
    function(*arguments)
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


def against_peer(part: post_files.Part, texts: list[str], rounds: int) -> bool:
    class_of = table(texts)
    ratios, same = [], True
    for _ in range(rounds):
        seconds, tally = cpu(ours, [part])
        # Reading the lines is no part of the peer's time: that flatters it a little.
        lines = [line.decode() for line in post_files.lines(part)]
        theirs, counts = cpu(peer, lines, class_of)
        ratios.append(theirs / seconds)
        same = same and counts == tally.classes
    print(
        f"ratio to the peer, {tally.posts:,} posts, {rounds} rounds: median {statistics.median(ratios):.2f}, "
        f"{min(ratios):.2f} to {max(ratios):.2f}; " + ("counts are equal" if same else "COUNTS DIFFER")
    )
    return same


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    texts = captions(args.text)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "posts.jsonl"
        write_posts(path, texts, args.posts, random.Random(args.seed), args.words)
        small = Path(folder) / "warm.jsonl"
        write_posts(small, texts, 1000, random.Random(args.seed), args.words)
        # WordNet and polars are loaded once for all corpora.
        ours([post_files.Part(str(small))])
        parts = post_files.parts([str(path)])
        start = time.process_time()
        tally = ours(parts)
        seconds = time.process_time() - start
        size = path.stat().st_size
        print(f"{tally.posts:,} posts, {tally.tags / tally.posts:.2f} hashtags a post, {size / 1e6:,.0f} MB")
        speed = f"{tally.posts / seconds:,.0f} posts/s, {size / seconds / 1e6:,.0f} MB/s"
        print(f"ours: {seconds:.2f} s CPU, {speed}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory: {peak:,.0f} MB")
        return 0 if against_peer(parts[0], texts, args.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
