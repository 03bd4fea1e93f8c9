"""Counts, over all posts, of what their hashtags mean; additive, so that parts can be counted apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial

from pretrain.posts import files as post_files
from pretrain.posts.files import Part
from pretrain.posts.records import Columns, Ledger, Post, from_record
from pretrain.vocabulary import scan, wordnet
from pretrain.vocabulary.hashtags import Resolved, Resolver, Rules, Unknown
from pretrain.vocabulary.tally import Tally
from pretrain.workers import mapping
from wsl_det.core import log

# Distinct raw spellings remembered while counting; beyond it the memory is emptied and refills
# with what is frequent, so memory does not grow with the corpus.
_REMEMBERED = 500_000
# Below this many bytes of posts, Python is done before the compiled scanner is loaded.
_WORTH_COMPILING = 64 << 20


def count_files(
    paths: Sequence[str],
    columns: Columns,
    rules: Rules,
    workers: int | None = None,
    scheduler: str | None = None,
) -> tuple[Tally, Ledger]:
    """Tally and ledger of all posts; the same whoever counts (see ``mapping.in_order``).

    Raises DataError when a file cannot be read, and when no file holds a post.
    """
    parts = post_files.parts(paths)
    tally, ledger = Tally(), Ledger()
    compiled = sum(map(post_files.size, paths)) >= _WORTH_COMPILING
    work = partial(count_part, columns=columns, rules=rules, compiled=compiled)
    busy = min(mapping.num_workers(workers), len(parts))
    counted = mapping.in_order(work, parts, busy, scheduler)
    for counts, met in log.progress(counted, len(parts), "parts of posts"):
        tally.add(counts)
        ledger.add(met)
    post_files.must_hold_posts(paths, columns, ledger)
    return tally, ledger


def count_part(part: Part, columns: Columns, rules: Rules, compiled: bool) -> tuple[Tally, Ledger]:
    """Tally and ledger of one part; ``compiled`` decides about speed only."""
    resolver = _resolver(rules)
    if compiled and post_files.is_lines(part.path):
        scanners = _scanners(rules, columns)
        scanner = scanners.pop() if scanners else _new_scanner(rules, columns)
        if scanner.usable:
            counted = _count_blocks(part, columns, resolver, scanner)
            scanners.append(scanner)
            return counted
    ledger = Ledger()
    return count(post_files.read_part(part, columns, ledger), resolver), ledger


def count(posts: Iterable[Post], resolver: Resolver) -> Tally:
    """The tally of ``posts``."""
    tally = Tally()
    remembered: dict[str, Resolved | Unknown] = {}
    unknown: Counter[str] = Counter()
    for post in posts:
        if len(remembered) > _REMEMBERED or len(unknown) > _REMEMBERED:
            remembered.clear()
            tally.unknown.update(unknown)
            unknown.clear()
        known = []
        for tag in post.hashtags:
            meaning = remembered.get(tag) or remembered.setdefault(tag, resolver.read(tag))
            if isinstance(meaning, Resolved):
                known.append(meaning)
            elif meaning.excluded:
                tally.excluded[meaning.hashtag] += 1
            else:
                unknown[meaning.hashtag] += 1
        tally.posts += 1
        tally.tags += len(post.hashtags)
        tally.known_tags += len(known)
        tally.tagged += bool(post.hashtags)
        tally.meant += bool(known)
        tally.hashtags.update(known)
        tally.classes.update({meaning.synsets for meaning in known})
    tally.unknown.update(unknown)
    return tally


def _count_blocks(
    part: Part, columns: Columns, resolver: Resolver, scanner: scan.Scanner
) -> tuple[Tally, Ledger]:
    ledger = Ledger()
    unusual = count(_posts_of_blocks(part, columns, scanner, ledger), resolver)
    tally = scanner.finish()
    ledger.read += tally.posts
    tally.add(unusual)
    return tally, ledger


def _posts_of_blocks(part: Part, columns: Columns, scanner: scan.Scanner, ledger: Ledger) -> Iterator[Post]:
    """Feed the scanner; yields the posts of the lines that it leaves to Python."""
    for block in post_files.blocks(part):
        before = ledger.records[part.path]
        num_lines, left = scanner.feed(block)
        for number, line in left:
            record = post_files.record_of_line(line)
            post = record if isinstance(record, str) else from_record(record, columns)
            if isinstance(post, Post):
                ledger.read += 1
                yield post
            elif post:
                ledger.skip(post, part.path, before + number + 1)
        ledger.records[part.path] = before + num_lines


@cache
def _scanners(rules: Rules, columns: Columns) -> list[scan.Scanner]:
    """Idle scanners, which remember what hashtags mean; a thread takes one for itself alone.

    One that an error interrupted does not come back, and with it go its half counts.
    """
    return []


def _new_scanner(rules: Rules, columns: Columns) -> scan.Scanner:
    from pretrain.vocabulary import scan  # numba takes a second to load

    return scan.Scanner(_resolver(rules), columns)


@cache
def _resolver(rules: Rules) -> Resolver:
    return Resolver(wordnet.load(), rules)
