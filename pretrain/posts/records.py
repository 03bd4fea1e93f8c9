"""Posts: one record per photo, with a caption or a list of hashtags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pretrain.posts import tags

_SIGNS = "#\uff03"


@dataclass(frozen=True, slots=True)
class Post:
    """One photo post: ``image`` is a path relative to the image folder, None when not given."""

    id: str
    image: str | None
    hashtags: tuple[str, ...]  # as posted, without the sign


@dataclass(frozen=True)
class Columns:
    """Names of the columns, and what divides a list of hashtags in one string (None: ; or , or space)."""

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
    if not _is_name(name):
        return f'no "{columns.id}"'
    found = _tags(record, columns)
    if found is None:
        return f'neither "{columns.caption}" nor "{columns.hashtags}"'
    image = record.get(columns.image)
    return Post(str(name), image if isinstance(image, str) and image else None, tuple(found))


def _is_name(value: object) -> bool:
    if isinstance(value, str):
        # JSON can spell half a surrogate pair, which no file name and no hash can.
        return value != "" and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))
    return isinstance(value, int) and not isinstance(value, bool)


def _tags(record: Mapping[str, Any], columns: Columns) -> list[str] | None:
    listed = record.get(columns.hashtags)
    if isinstance(listed, str):
        return tags.in_list(listed, columns.separator)
    if isinstance(listed, Iterable) and not isinstance(listed, (dict, bytes)):
        return [tag.lstrip(_SIGNS) for tag in listed if isinstance(tag, str) and tag.strip(_SIGNS + " ")]
    caption = record.get(columns.caption)
    return tags.in_caption(caption) if isinstance(caption, str) else None
