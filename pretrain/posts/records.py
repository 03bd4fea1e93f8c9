"""Posts: one record per photo, with a caption or a list of hashtags."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pretrain.posts import tags

_KINDS = {
    bool: "true or false",
    int | float: "numbers",
    Mapping: "objects",
    list | tuple: "lists",
    bytes: "bytes",
}


@dataclass(frozen=True, slots=True)
class Post:
    """One photo post: ``image`` is a path relative to the image folder, None when not given.

    ``classes`` are the true classes, synsets or names, of a photo of which somebody knows them.
    """

    id: str
    image: str | None
    hashtags: tuple[str, ...]  # as posted, without the sign
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """Names of the columns, and what divides a list of hashtags in one string (None: ; , | or spaces)."""

    id: str = "id"
    image: str = "image"
    caption: str = "caption"
    hashtags: str = "hashtags"
    separator: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The four columns that are read."""
        return (self.id, self.image, self.caption, self.hashtags)


@dataclass
class Ledger:
    """What reading met: posts read, records skipped by reason, and where each reason was met first.

    Ledgers of parts of a file add up in the order of the parts to the ledger of the whole.
    """

    read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[str, int]] = field(default_factory=dict)  # reason -> file, record from 1
    records: Counter[str] = field(default_factory=Counter)  # file -> records seen

    def skip(self, reason: str, file: str, record: int) -> None:
        """Count one record that is not used."""
        self.skipped[reason] += 1
        self.first.setdefault(reason, (file, record))

    def add(self, later: Ledger) -> None:
        """Add what reading the next part met."""
        for reason, (file, record) in later.first.items():
            self.first.setdefault(reason, (file, record + self.records[file]))
        self.read += later.read
        self.skipped.update(later.skipped)
        self.records.update(later.records)

    def summary(self) -> list[str]:
        """One line per reason, most frequent first."""
        ranked = sorted(self.skipped.items(), key=lambda item: (-item[1], item[0]))
        return [
            f"{count:,} skipped: {reason} (first: {self.first[reason][0]}:{self.first[reason][1]})"
            for reason, count in ranked
        ]


def from_record(record: Any, columns: Columns) -> Post | str:
    """The post in one record, or the reason why it is none."""
    if not isinstance(record, Mapping):
        return "not an object with columns"
    name = record.get(columns.id)
    if not is_name(name):
        return f'no "{columns.id}"'
    found = tags_of(record.get(columns.hashtags), record.get(columns.caption), columns)
    if isinstance(found, str):
        return found
    image = record.get(columns.image)
    return Post(str(name), image if isinstance(image, str) and is_name(image) else None, tuple(found))


def is_name(value: object) -> bool:
    """Whether a value names a post: text that can be written, or a whole number."""
    if isinstance(value, str):
        # JSON can spell half a surrogate pair, which no file name and no hash can.
        return value != "" and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))
    return isinstance(value, int) and not isinstance(value, bool)


def tags_of(listed: Any, caption: Any, columns: Columns) -> list[str] | str:
    """The hashtags in the two columns of a record, or the reason why there are none to read."""
    if isinstance(listed, str):
        return tags.in_list(listed, columns.separator)
    odd = f"is {_kind(listed)}" if listed else ""
    if isinstance(listed, list | tuple):
        entries = [entry for entry in listed if entry is not None]
        # Half a list would be a post with half its labels: it counts whole or not at all.
        odd = next((f"holds {_kind(entry)}" for entry in entries if not isinstance(entry, str)), "")
        if not odd:
            return [tag for entry in entries for tag in tags.in_entry(entry, columns.separator)]
    if isinstance(caption, str):
        return tags.in_caption(caption)
    if odd:
        return f'"{columns.hashtags}" {odd}, not text, and there is no "{columns.caption}"'
    return f'neither "{columns.caption}" nor "{columns.hashtags}"'


def _kind(value: object) -> str:
    for kind, name in _KINDS.items():
        if isinstance(value, kind):
            return name
    return "values of another type"


def add_post_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add --posts and the options that name columns."""
    parser.add_argument(
        "--posts",
        nargs="+",
        required=required,
        metavar="FILE",
        help="posts as .jsonl, .csv, .tsv or .parquet, plain, .gz, .bz2, .xz or .zst; globs are expanded",
    )
    add_column_arguments(parser)


def add_column_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name columns."""
    group = parser.add_argument_group("columns of the posts")
    for name in ("id", "image", "caption", "hashtags"):
        group.add_argument(f"--{name}-column", default=name, metavar="NAME", help="default: %(default)s")
    group.add_argument(
        "--separator", help="what divides a list of hashtags (default: ; , or |, or else spaces)"
    )


def asked_columns(args: argparse.Namespace) -> Columns:
    """The columns that ``add_column_arguments`` let the user name."""
    return Columns(
        args.id_column, args.image_column, args.caption_column, args.hashtags_column, args.separator or None
    )
