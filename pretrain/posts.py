"""Posts as people export them: one record per photo, with a caption or a list of hashtags."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pretrain import hashtags
from wsl_det.errors import DataError


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


@dataclass
class Ledger:
    """What reading met: posts read, records skipped by reason, and the first record of each reason."""

    read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def skip(self, reason: str, where: str) -> None:
        """Count one record that is not used."""
        self.skipped[reason] += 1
        self.first.setdefault(reason, where)

    def summary(self) -> list[str]:
        """One line per reason, most frequent first."""
        ranked = sorted(self.skipped.items(), key=lambda item: (-item[1], item[0]))
        return [f"{count:,} skipped: {reason} (first: {self.first[reason]})" for reason, count in ranked]


def read(paths: Sequence[str | Path], columns: Columns, ledger: Ledger) -> Iterator[Post]:
    """The posts of all files in order; records that are none are counted in ``ledger``.

    Raises DataError when a file is missing or unreadable, and at the end when no file held a post.
    """
    for path in paths:
        yield from read_file(Path(path), columns, ledger)
    if not ledger.read:
        names = ", ".join(map(str, paths))
        details = "; ".join(ledger.summary()) or "nothing is in there"
        raise DataError(
            f"no posts in {names}: {details}; expected one JSON object per line with "
            f'"{columns.id}", "{columns.image}" and "{columns.caption}" or "{columns.hashtags}"'
        )


def read_file(path: Path, columns: Columns, ledger: Ledger) -> Iterator[Post]:
    """The posts of one file, format by its name; raises DataError when it is missing or unreadable."""
    _must_be_file(path)
    with open(path, "rb") as file:
        yield from _json_lines(file, path, columns, ledger)


def _must_be_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"posts {path} is a folder; name its files")
    if not path.exists():
        raise DataError(f"posts file {path} does not exist")


def _json_lines(file: IO[bytes], path: Path, columns: Columns, ledger: Ledger) -> Iterator[Post]:
    for number, line in enumerate(file, 1):
        if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(f"posts file {path} is UTF-16; convert it to UTF-8")
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            # utf-8-sig: files from Windows open with a byte order mark.
            record = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            ledger.skip("not UTF-8", where)
        except (json.JSONDecodeError, RecursionError):
            ledger.skip("not JSON", where)
        else:
            post = from_record(record, columns, ledger, where)
            if post is not None:
                yield post


def from_record(record: Any, columns: Columns, ledger: Ledger, where: str) -> Post | None:
    """The post in one record, or None after counting why it is none."""
    reason, tags = "", None
    name = record.get(columns.id) if isinstance(record, dict) else None
    if not isinstance(record, dict):
        reason = "not an object with columns"
    elif not _is_name(name):
        reason = f'no "{columns.id}"'
    else:
        tags = _tags(record, columns)
    if tags is None:
        ledger.skip(reason or f'neither "{columns.caption}" nor "{columns.hashtags}"', where)
        return None
    ledger.read += 1
    image = record.get(columns.image)
    return Post(str(name), image if isinstance(image, str) and image else None, tuple(tags))


def _is_name(value: object) -> bool:
    if isinstance(value, str):
        # JSON can spell half a surrogate pair, which no file name and no hash can.
        return value != "" and not any("\ud800" <= c <= "\udfff" for c in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _tags(record: dict[str, Any], columns: Columns) -> list[str] | None:
    listed = record.get(columns.hashtags)
    if isinstance(listed, str):
        return hashtags.in_list(listed, columns.separator)
    if isinstance(listed, Iterable) and not isinstance(listed, (dict, bytes)):
        return [tag.lstrip("#\uff03") for tag in listed if isinstance(tag, str) and tag.strip("#\uff03 ")]
    caption = record.get(columns.caption)
    return hashtags.in_caption(caption) if isinstance(caption, str) else None
