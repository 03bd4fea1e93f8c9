"""WebDataset tars as sources of posts: img2dataset's output and other people's shards.

A sample is a run of members that share what stands before the first dot of their names. Its
image is the member with an image's ending; its post is what ``.json`` (an object with the posts'
columns) and ``.txt`` (a caption) say, or its true class what ``.cls`` says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from pretrain.posts.files import record_of_line
from pretrain.posts.records import Columns, Ledger, Post, from_record
from pretrain.shards import images, tars
from pretrain.shards.images import Located
from pretrain.shards.tars import Member
from wsl_det import errors
from wsl_det.core import addresses
from wsl_det.core.photos import BadImage
from wsl_det.errors import DataError

_IMAGES = frozenset(("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"))
_LONGEST_TEXT = 16 << 20
_LONGEST_NUMBER = 18
# img2dataset notes EXIF in the words of the exifread library, in the order of the tag's values.
_ORIENTATIONS = (
    "Horizontal (normal)",
    "Mirrored horizontal",
    "Rotated 180",
    "Mirrored vertical",
    "Mirrored horizontal then rotated 90 CCW",
    "Rotated 90 CW",
    "Mirrored horizontal then rotated 90 CW",
    "Rotated 90 CCW",
)


class Sample(NamedTuple):
    """A post and where its image lies; ``post.image`` is TAR/MEMBER."""

    post: Post
    where: Located


def expand(patterns: Sequence[str | Path]) -> list[str | Path]:
    """The tars that names and globs stand for; raises DataError for folders and for none."""
    found = [path for pattern in patterns for path in images.expand(pattern)]
    for path in found:
        if isinstance(path, Path) and path.is_dir():
            raise DataError(f"samples {path} is a folder; name its tars: {path}/*.tar")
        if isinstance(path, Path) and not path.exists():
            raise DataError(f"tar {path} does not exist")
    if len({path if isinstance(path, str) else path.resolve() for path in found}) < len(found):
        raise DataError("a tar is named twice; its samples would count double")
    return found


def namesakes(paths: Sequence[str | Path]) -> frozenset[str]:
    """Names that several of the tars bear: they are no part of an id."""
    counts = Counter(Path(path).stem for path in paths)
    return frozenset(name for name, count in counts.items() if count > 1)


def read_tar(
    path: str | Path,
    columns: Columns,
    ledger: Ledger,
    refused: dict[str, str],
    shared: frozenset[str] = frozenset(),
    *,
    classes: Sequence[str] | None = None,
    buffer: int = 1 << 14,
) -> Iterator[Sample]:
    """The samples of a tar in its order; with ``classes``, those of ``.cls`` members, without hashtags.

    A ``.cls`` holds a synset, a name, or a number: a place, from 0, in the list ``classes``.

    What is no post is counted in ``ledger``, members that are refused are added to ``refused``
    as TAR/MEMBER with the reason. A sample without an id of its own is called TAR/KEY; where
    several tars share that name (``shared``) it is a DataError, as is a tar that is damaged. Of an address,
    ``buffer`` bytes are read at a time.
    """
    whole = str(path) if addresses.is_address(path) else str(Path(path).absolute())
    found = tars.contents(path, buffer)
    file_, path = (
        addresses.opened(path, buffer),
        Path(path.partition("?")[0] if isinstance(path, str) else path),
    )
    refused.update({f"{path.name}/{name}": why for name, why in found.refused.items()})
    with file_ as file:
        for key, members in _grouped(found.files):
            ledger.records[str(path)] += 1
            record = (
                _record(file, members, columns) if classes is None else _class_record(file, members, columns)
            )
            post = record if isinstance(record, str) else _post(path, key, record, columns, shared)
            if classes is not None and isinstance(post, Post):
                post = replace(
                    post, hashtags=(), classes=_class(f"{path.name}/{key}", record["cls"], classes)
                )
            image = next((ending for ending in members if ending in _IMAGES), None)
            if isinstance(post, str) or image is None:
                reason = post if isinstance(post, str) else "no image in the sample"
                ledger.skip(reason, str(path), ledger.records[str(path)])
                continue
            ledger.read += 1
            member = members[image]
            post = replace(post, image=f"{path.name}/{member.name}")
            turn = orientation_noted(record)
            yield Sample(post, Located(whole, member.offset, member.size, turn))


class SampleTars:
    """Samples of many tars as a stream of posts and a source of their images.

    Images can be looked up while their post is the last one read: nothing else is kept.
    """

    def __init__(self, paths: Sequence[str | Path], classes: Sequence[str] | None = None) -> None:
        self.paths, self.classes = paths, classes
        self.refused: dict[str, str] = {}
        self._last: Sample | None = None

    def read(self, columns: Columns, ledger: Ledger) -> Iterator[Post]:
        """The posts of all tars in order."""
        shared = namesakes(self.paths)
        for path in self.paths:
            for sample in read_tar(path, columns, ledger, self.refused, shared, classes=self.classes):
                self._last = sample
                yield sample.post

    def locate(self, name: str) -> Located:
        """See ``images.Source``."""
        if self._last is None or self._last.post.image != name:
            raise BadImage("missing file")
        return self._last.where


def orientation_noted(record: Any) -> int:
    """EXIF orientation, 1..8, that img2dataset noted in a sample's ``exif``; 1 when there is none."""
    noted = record.get("exif") if isinstance(record, dict) else None
    try:
        exif = json.loads(noted) if isinstance(noted, str) else noted
    except (ValueError, RecursionError):
        return 1
    words = exif.get("Image Orientation") if isinstance(exif, dict) else None
    return _ORIENTATIONS.index(words) + 1 if words in _ORIENTATIONS else 1


def _grouped(files: Iterable[Member]) -> Iterator[tuple[str, dict[str, Member]]]:
    """Runs of members with one key: ending in lower case -> member.

    A name without an ending belongs to no sample and ends none; an ending that comes again begins the next
    sample of that key.
    """
    key, members = "", dict[str, Member]()
    for member in files:
        path = PurePosixPath(member.name)
        stem, _, ending = path.name.lower().partition(".")
        if not ending:
            continue
        own = str(path.with_name(path.name[: len(stem)]))
        if own != key or ending in members:
            if members:
                yield key, members
            key, members = own, {}
        members[ending] = member
    if members:
        yield key, members


def _record(file: IO[bytes], members: dict[str, Member], columns: Columns) -> Any:
    """The posts' columns of a sample, or why there are none."""
    record: Any = {}
    if "json" in members:
        try:
            record = record_of_line(_read(file, members["json"]))
        except ValueError:
            return "a .json that is too long"
        if not isinstance(record, dict):
            why = record if isinstance(record, str) and record else "no object with columns"
            return f"a .json that is {why}"
    if "txt" in members and record.get(columns.hashtags) is None and record.get(columns.caption) is None:
        try:
            record = {**record, columns.caption: _read(file, members["txt"]).decode()}
        except ValueError:
            return "a .txt that is not UTF-8 or too long"
    return record


def _class_record(file: IO[bytes], members: dict[str, Member], columns: Columns) -> Any:
    """The id, ``exif`` and ``cls`` of a sample with a class, or why there are none."""
    if "cls" not in members:
        return "no .cls in the sample"
    told = _record(file, {k: v for k, v in members.items() if k == "json"}, columns)
    try:
        found = _read(file, members["cls"]).decode().strip()
    except ValueError:
        found = ""
    if isinstance(told, str) or not found:
        return told if isinstance(told, str) else "a .cls that is empty or no text"
    return {**told, columns.caption: "", columns.hashtags: None, "cls": found}


def _class(sample: str, found: str, classes: Sequence[str]) -> tuple[str, ...]:
    if not (found.isascii() and found.isdigit()):
        return (found,)
    if len(found) > _LONGEST_NUMBER or int(found) >= len(classes):
        known = (
            f"--classes lists {len(classes)}, from 0" if classes else "give --classes, the list they count in"
        )
        raise DataError(f"the .cls of {sample} is the number {found:.20}; {known}")
    return (classes[int(found)],)


def class_list(path: str | Path | None) -> tuple[str, ...]:
    """The classes that numbers in ``.cls`` stand for, one a line (wnids or names); empty for no file."""
    if path is None:
        return ()
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(
            f"--classes {path} cannot be read ({error}); expected one wnid or name a line"
        ) from None
    found = tuple(line.strip() for line in lines if line.strip())
    if repeated := [name for name, number in Counter(found).items() if number > 1]:
        raise DataError(f"--classes {path}: {repeated[0]} stands twice; numbers would mean two things")
    if not found:
        raise DataError(f"--classes {path} is empty; expected one wnid or name a line")
    return found


def _read(file: IO[bytes], member: Member) -> bytes:
    if member.size > _LONGEST_TEXT:
        raise ValueError(member)
    file.seek(member.offset)
    return file.read(member.size)


def _post(
    path: Path, key: str, record: dict[str, Any], columns: Columns, shared: frozenset[str]
) -> Post | str:
    own = record.get(columns.id)
    if own is None or own == "":
        if path.stem in shared:
            raise DataError(
                f'{path} is not the only tar of that name, and its sample {key} has no "{columns.id}" in '
                "its .json, so ids would repeat; rename the tar, or name the column with --id-column"
            )
        # Names of tars and members need not be UTF-8, ids are.
        record = {**record, columns.id: errors.printable(f"{path.stem}/{key}")}
    return from_record(record, columns)
