"""Counts, over all posts, of what their hashtags mean; additive, so that parts can be counted apart."""

from __future__ import annotations

import codecs
import importlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from typing import Annotated, Any

import msgspec
import numpy as np

from pretrain.posts import files as post_files
from pretrain.posts import tags
from pretrain.posts.files import Part
from pretrain.posts.records import Columns, Ledger, tags_of
from pretrain.vocabulary import wordnet
from pretrain.vocabulary.hashtags import Resolved, Resolver, Rules, Unknown
from pretrain.workers import mapping
from wsl_det.core import log

CAPACITY = 1 << 16
# Distinct raw spellings remembered while counting; beyond it the memory is emptied and refills
# with what is frequent, so memory does not grow with the corpus.
_REMEMBERED = 200_000
_POSTS = 16_384  # of tables, counted at a time
_PIECE = 1 << 16


@dataclass
class Frequent:
    """The most frequent of any number of hashtags in bounded memory, with a bound on what is missed.

    Uses of hashtags: each is ``counts[tag]`` at least and ``error`` more at most.

    While there are no more than ``capacity`` distinct hashtags, ``error`` is 0 and the counts are
    exact. Beyond it, the rarest give way: Misra and Gries' summary, merged as by Agarwal and
    others ("Mergeable summaries", 2012), whose error is at most all uses over ``capacity`` + 1.
    """

    capacity: int = CAPACITY
    counts: Counter[str] = field(default_factory=Counter)
    error: int = 0

    def update(self, uses: Mapping[str, int]) -> None:
        """Add uses of hashtags."""
        self.counts.update(uses)
        if len(self.counts) > self.capacity:
            self._make_room()

    def add(self, other: Frequent) -> None:
        """Add what another summary knows of other posts."""
        self.error += other.error
        self.update(other.counts)

    def _make_room(self) -> None:
        least = sorted(self.counts.values(), reverse=True)[self.capacity]
        self.error += least
        kept = {tag: uses - least for tag, uses in self.counts.items() if uses > least}
        self.counts = Counter(kept)


@dataclass
class Tally:
    """What was counted: posts, and per meaning the posts that carry it (once each, however often tagged)."""

    posts: int = 0
    tagged: int = 0  # posts with at least one hashtag
    meant: int = 0  # posts with at least one hashtag that WordNet knows
    tags: int = 0
    known_tags: int = 0
    classes: Counter[tuple[int, ...]] = field(default_factory=Counter)  # set of synsets -> posts
    hashtags: Counter[Resolved] = field(default_factory=Counter)  # canonical hashtag -> uses
    excluded: Counter[str] = field(default_factory=Counter)  # canonical hashtag on the user's list -> uses
    unknown: Frequent = field(default_factory=Frequent)  # canonical hashtags that WordNet does not know

    def add(self, other: Tally) -> None:
        """Add the counts of other posts; the order of additions does not matter."""
        self.posts += other.posts
        self.tagged += other.tagged
        self.meant += other.meant
        self.tags += other.tags
        self.known_tags += other.known_tags
        self.classes.update(other.classes)
        self.hashtags.update(other.hashtags)
        self.excluded.update(other.excluded)
        self.unknown.add(other.unknown)


Texts = tuple[list[str], list[Sequence[str]]]  # captions of some posts, and hashtags of others


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
    work = partial(count_part, columns=columns, rules=rules)
    busy = min(mapping.num_workers(workers), len(parts))
    counted = mapping.in_order(work, parts, busy, scheduler)
    for counts, met in log.progress(counted, len(parts), "parts of posts"):
        tally.add(counts)
        ledger.add(met)
    post_files.must_hold_posts(paths, columns, ledger)
    return tally, ledger


def count_part(part: Part, columns: Columns, rules: Rules) -> tuple[Tally, Ledger]:
    """Tally and ledger of one part."""
    ledger = Ledger()
    lines = post_files.is_lines(part.path)
    texts = _texts_of_lines(part, columns, ledger) if lines else _texts_of_posts(part, columns, ledger)
    counter = Counting(*_resolver(rules))
    for captions, listed in texts:
        counter.add(captions, listed)
    return counter.finish(), ledger


class Counting:
    """A tally that grows by columns of posts; ``remembered`` is what raw hashtags are known to mean."""

    def __init__(self, resolver: Resolver, remembered: dict[str, Resolved | Unknown] | None = None) -> None:
        self._resolver = resolver
        self._remembered = {} if remembered is None else remembered
        self._unknown: Counter[str] = Counter()
        self._tally = Tally()

    def add(self, captions: list[str], listed: list[Sequence[str]]) -> None:
        """Count posts: some by their captions, others by the hashtags that were found already."""
        polars = _polars()
        used = _used_tags(captions, listed)
        groups: dict[tuple[int, ...], int] = {}
        group_of: list[int | None] = []
        for tag, uses in zip(used["tag"].to_list(), used["post"].list.len().to_list(), strict=True):
            meaning = self._meaning(tag)
            if isinstance(meaning, Resolved):
                group_of.append(groups.setdefault(meaning.synsets, len(groups)))
                self._tally.hashtags[meaning] += uses
                continue
            group_of.append(None)
            uses_of = self._tally.excluded if meaning.excluded else self._unknown
            uses_of[meaning.hashtag] += uses
        all_posts = used["post"].explode(empty_as_null=False)
        group = polars.Series("group", group_of, polars.UInt64)
        meant = used.select("post", group).drop_nulls().explode("post")
        # A post carries a class once, however often tagged: pairs as single numbers are quick to compare.
        pairs = (meant["post"].cast(polars.UInt64) * len(groups) + meant["group"]).unique()
        synsets = list(groups)
        for number, carriers in (pairs % max(len(groups), 1)).value_counts().iter_rows():
            self._tally.classes[synsets[number]] += carriers
        num_posts = len(captions) + len(listed)
        self._tally.posts += num_posts
        self._tally.tags += len(all_posts)
        self._tally.known_tags += len(meant)
        self._tally.tagged += _distinct(all_posts, num_posts)
        self._tally.meant += _distinct(meant["post"], num_posts)

    def finish(self) -> Tally:
        """The counts."""
        self._tally.unknown.update(self._unknown)
        self._unknown.clear()
        return self._tally

    def _meaning(self, tag: str) -> Resolved | Unknown:
        if len(self._remembered) > _REMEMBERED or len(self._unknown) > _REMEMBERED:
            self._remembered.clear()
            self.finish()
        found = self._remembered.get(tag)
        if found is None:
            found = self._remembered[tag] = self._resolver.read(tag.lstrip(tags.SIGNS))
        return found


def _distinct(posts: Any, num_posts: int) -> int:
    """How many of ``num_posts`` posts are in a column."""
    there = np.zeros(num_posts, bool)
    there[posts.to_numpy()] = True
    return int(there.sum())


def _used_tags(captions: list[str], listed: list[Sequence[str]]) -> Any:
    """A table of hashtags as posted, each once, and the numbers of the posts of each use."""
    polars = _polars()
    column = polars.col("tag")
    found = polars.LazyFrame({"tag": captions}, {"tag": polars.String}).with_row_index("post")
    # URLs are found too, so that signs inside them are not.
    signed = polars.any_horizontal(column.str.starts_with(sign) for sign in tags.SIGNS)
    found = (
        found.with_columns(column.str.extract_all(tags.pattern(r"(?-u:\b)"))).explode("tag").filter(signed)
    )
    split = polars.LazyFrame({"tag": listed}, {"tag": polars.List(polars.String)})
    split = split.with_row_index("post", len(captions)).explode("tag").drop_nulls()
    return polars.concat([found, split]).group_by("tag").agg("post").collect()


def _texts_of_lines(part: Part, columns: Columns, ledger: Ledger) -> Iterator[Texts]:
    """The posts of JSON lines; those that are not plain are read one by one, into the ledger."""
    for block in post_files.blocks(part):
        rows = _plain_rows(block, columns)
        captions = [row.caption for row in rows if row and row.caption is not None and row.hashtags is None]
        listed: list[Sequence[str]] = []
        before, read = ledger.records[part.path], len(captions)
        lines = block.split(b"\n") if len(captions) < len(rows) else []
        for number, (row, line) in enumerate(zip(rows, lines, strict=False)):
            if row and row.hashtags is not None:
                read += 1
                listed.append(tags_of(row.hashtags, row.caption, columns))
            elif not row or row.caption is None:
                ledger.records[part.path] = before + number
                post = post_files.admit(post_files.record_of_line(line), part, columns, ledger)
                if post is not None:
                    listed.append(post.hashtags)
        ledger.records[part.path] = before + len(rows)
        ledger.read += read
        yield captions, listed


def _texts_of_posts(part: Part, columns: Columns, ledger: Ledger) -> Iterator[Texts]:
    posts = post_files.read_part(part, columns, ledger)
    while some := list(islice(posts, _POSTS)):
        yield [], [post.hashtags for post in some]


def _plain_rows(block: bytes, columns: Columns) -> list[Any]:
    """The fields of each line that has them in their usual types; None for all other lines.

    What is read Python's json reads alike.
    """
    decoder, text = _decoder(columns), np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text[:-1] == ord("\n"))
    lines = len(ends) + 1
    if decoder is None or not _is_utf8(block):
        return [None] * lines
    # Within JSON no object follows another at once: where all lines meet so, none is empty or runs on.
    meet = (text[ends - 1] == ord("}")).all() and (text[ends + 1] == ord("{")).all()
    if meet and block.startswith(b"{"):
        try:
            rows: list[Any] = decoder.decode_lines(block)
        except (ValueError, RecursionError):
            rows = []
        if len(rows) == lines:
            return rows
    return [_row(decoder, line) for line in block.split(b"\n")[:lines]]


def _row(decoder: Any, line: bytes) -> Any:
    try:
        return decoder.decode(line)
    except (ValueError, RecursionError):
        return None


@cache
def _decoder(columns: Columns) -> Any:
    name = Annotated[str, msgspec.Meta(min_length=1)]
    fields: list[Any] = [("id", name | int), ("caption", str | None, None)]
    fields.append(("hashtags", str | list[str] | None, None))
    try:
        row = msgspec.defstruct("Row", fields, rename=lambda field: getattr(columns, field), gc=False)
    except ValueError:  # one column for two
        return None
    return msgspec.json.Decoder(row)


def _is_utf8(block: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(block), _PIECE):
            decoder.decode(block[start : start + _PIECE])
        return decoder.decode(b"", True) == ""
    except UnicodeDecodeError:
        return False


def _polars() -> Any:
    # Posts are shared out among processes, not threads; and it takes a while to load.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    return importlib.import_module("polars")


@cache
def _resolver(rules: Rules) -> tuple[Resolver, dict[str, Resolved | Unknown]]:
    """What the parts of a process share: what hashtags mean, and what is remembered of it."""
    return Resolver(wordnet.load(), rules), {}
