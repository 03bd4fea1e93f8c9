"""Counts, over all posts, of what their hashtags mean; additive, so that parts can be counted apart."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from typing import Annotated, Any

import msgspec

from pretrain.posts import files as post_files
from pretrain.posts import tags
from pretrain.posts.files import Part
from pretrain.posts.records import Columns, Ledger, tags_of
from pretrain.vocabulary import wordnet
from pretrain.vocabulary.hashtags import Resolved, Resolver, Rules, Unknown
from pretrain.vocabulary.tally import Tally
from pretrain.workers import mapping
from wsl_det.core import log

# Distinct raw spellings remembered while counting; beyond it the memory is emptied and refills
# with what is frequent, so memory does not grow with the corpus.
_REMEMBERED = 500_000
_POSTS = 16_384  # counted at a time

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
        uses = used.group_by("tag").len()
        groups: dict[tuple[int, ...], int] = {}
        known: dict[str, int] = {}
        for tag, count in zip(uses["tag"].to_list(), uses["len"].to_list(), strict=True):
            meaning = self._meaning(tag)
            if isinstance(meaning, Resolved):
                known[tag] = groups.setdefault(meaning.synsets, len(groups))
                self._tally.hashtags[meaning] += count
            elif meaning.excluded:
                self._tally.excluded[meaning.hashtag] += count
            else:
                self._unknown[meaning.hashtag] += count
        schema = {"tag": polars.String, "group": polars.UInt32}
        meant = used.join(polars.DataFrame([list(known), list(known.values())], schema), on="tag")
        carriers = meant.unique(["post", "group"]).group_by("group").len()
        synsets = list(groups)
        for group, count in carriers.iter_rows():
            self._tally.classes[synsets[group]] += count
        self._tally.posts += len(captions) + len(listed)
        self._tally.tags += len(used)
        self._tally.known_tags += len(meant)
        self._tally.tagged += used["post"].n_unique()
        self._tally.meant += meant["post"].n_unique()

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
            found = self._remembered[tag] = self._resolver.read(tag)
        return found


def _used_tags(captions: list[str], listed: list[Sequence[str]]) -> Any:
    """A table of every use of a hashtag: number of the post, and the hashtag as posted."""
    polars = _polars()
    column = polars.col("tag")
    found = polars.Series("tag", captions, polars.String).str.extract_all(tags.pattern(r"(?-u:\b)"))
    # URLs are found too, so that signs inside them are not.
    signed = polars.any_horizontal(column.str.starts_with(sign) for sign in tags.SIGNS)
    bare = column.str.strip_chars_start(tags.SIGNS)
    split = polars.Series("tag", listed, polars.List(polars.String))
    tables = [
        found.to_frame().with_row_index("post").explode("tag").filter(signed).with_columns(bare),
        split.to_frame().with_row_index("post", len(captions)).explode("tag").drop_nulls(),
    ]
    return polars.concat(tables)


def _texts_of_lines(part: Part, columns: Columns, ledger: Ledger) -> Iterator[Texts]:
    """The posts of JSON lines; those that are not plain are read one by one, into the ledger."""
    read = _plain_reader(columns)
    for block in post_files.blocks(part):
        captions: list[str] = []
        listed: list[Sequence[str]] = []
        before, plain = ledger.records[part.path], _is_utf8(block)
        lines = block.removesuffix(b"\n").split(b"\n")
        for number, line in enumerate(lines):
            row = read(line) if plain else None
            if row is None or row.caption is row.hashtags is None:
                ledger.records[part.path] = before + number
                post = post_files.admit(post_files.record_of_line(line), part, columns, ledger)
                if post is not None:
                    listed.append(post.hashtags)
                continue
            ledger.read += 1
            if row.hashtags is None:
                captions.append(row.caption)
            else:
                listed.append(tags_of(row.hashtags, row.caption, columns))
        ledger.records[part.path] = before + len(lines)
        yield captions, listed


def _texts_of_posts(part: Part, columns: Columns, ledger: Ledger) -> Iterator[Texts]:
    posts = post_files.read_part(part, columns, ledger)
    while some := list(islice(posts, _POSTS)):
        yield [], [post.hashtags for post in some]


@cache
def _plain_reader(columns: Columns) -> Callable[[bytes], Any]:
    """A reader of lines whose fields have the usual types; None for all other lines.

    What it reads Python's json reads alike, apart from bytes that are no UTF-8 in other fields.
    """
    name = Annotated[str, msgspec.Meta(min_length=1)]
    fields: list[Any] = [("id", name | int), ("caption", str | None, None)]
    fields.append(("hashtags", str | list[str] | None, None))
    try:
        row = msgspec.defstruct("Row", fields, rename=lambda field: getattr(columns, field))
    except ValueError:  # one column for two
        return lambda line: None
    decode = msgspec.json.Decoder(row).decode

    def read(line: bytes) -> Any:
        try:
            return decode(line)
        except (ValueError, RecursionError):
            return None

    return read


def _is_utf8(block: bytes) -> bool:
    try:
        return block.decode() is not None
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
