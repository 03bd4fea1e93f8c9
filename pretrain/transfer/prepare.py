"""Folders ``train/CLASS`` and ``val/CLASS`` made of links to images that lie elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsl_det.core import files, log, provenance
from wsl_det.errors import ConfigError, DataError

SIDECAR = "transfer.json"
SPLITS = ("train", "val")
_SHOWN = 8


@dataclass(frozen=True)
class Placed:
    """One image: the split and class it belongs to, and the file it is; ``name`` is its name there."""

    split: str
    label: str
    source: Path
    name: str


@dataclass
class Listing:
    """What a data set's own files say: images by split and class, what they are, and from where.

    ``sources`` maps roles to the files that were read; ``left_out`` counts images by the reason why
    they are in neither split; ``notes`` are sentences about the data for whoever reads the sidecar.
    """

    kind: str
    images: list[Placed]
    sources: dict[str, Path]
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, Counter[str]]:
        """Images of each class, by split."""
        found: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        for image in self.images:
            found[image.split][image.label] += 1
        return found


def only_common(listing: Listing) -> Listing:
    """The listing without the classes that only one of its splits has, which is told in its notes.

    For splits drawn by us; a split that came with the data is checked by ``lay`` instead.
    """
    counts = listing.counts()
    for split, other in (SPLITS, SPLITS[::-1]):
        lost = sorted(counts[split].keys() - counts[other].keys())
        if lost:
            number = sum(counts[split][label] for label in lost)
            listing.left_out[f"of a class without images in {other}"] += number
            listing.notes.append(f"{len(lost)} classes have no image in {other}, left out: {', '.join(lost)}")
    common = counts["train"].keys() & counts["val"].keys()
    listing.images = [image for image in listing.images if image.label in common]
    return listing


def lay(listing: Listing, output: str | Path) -> dict[str, Any]:
    """Make the folder ``output`` of symbolic links, whole or not at all; returns its sidecar.

    Raises ConfigError for an output that is there and DataError for files that are missing, names
    that collide, and classes that only one split has.
    """
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"{output} exists and is not empty; give a new folder, or remove that one")
    _check(listing)
    counts = listing.counts()
    about = {
        **provenance.header("transfer data", 1, dict(listing.sources)),
        "data": listing.kind,
        "classes": len(counts["train"]),
        **{split: counts[split].total() for split in SPLITS},
        "left_out": dict(listing.left_out),
        "notes": listing.notes,
    }
    with files.atomic_dir(output) as scratch:
        for folder in sorted({(image.split, image.label) for image in listing.images}):
            (scratch / folder[0] / folder[1]).mkdir(parents=True)
        for image in log.progress(listing.images, len(listing.images), "links"):
            place = scratch / image.split / image.label / image.name
            place.symlink_to(image.source.absolute())
        files.write_json(scratch / SIDECAR, about)
    return about


def summary(about: Mapping[str, Any], output: str | Path) -> str:
    """What was made, in lines to read."""
    lines = [f"{output}: {about['classes']:,} classes, {about['train']:,} train, {about['val']:,} val images"]
    lines += [f"  {count:,} images left out: {why}" for why, count in about["left_out"].items()]
    return "\n".join([*lines, *(f"  {note}" for note in about["notes"])])


def _check(listing: Listing) -> None:
    if not listing.images:
        raise DataError(f"no image of {listing.kind} was found for train and val; nothing was made")
    check_classes(listing.counts(), f"{listing.kind}'s own files")
    twice = [p for p, n in Counter((i.split, i.label, i.name) for i in listing.images).items() if n > 1]
    if twice:
        raise DataError(
            f"two images would be {'/'.join(twice[0])} ({len(twice)} such names); nothing was made"
        )
    for image in listing.images:
        if "/" in image.label or image.label.startswith("."):
            raise DataError(f"class {image.label!r} cannot be the name of a folder; nothing was made")
    missing = [image.source for image in listing.images if not image.source.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(listing.images)} images are not there, such as {missing[0]}; "
            "unpack all archives of the data set first"
        )


def check_classes(splits: Mapping[str, Iterable[str]], where: str) -> None:
    """Raise DataError, naming the difference, unless train and val have the same classes."""
    train, val = (set(splits[split]) for split in SPLITS)
    parts = [
        f"  only in {mine}: {len(lost)} ({shown(lost)})"
        for mine, lost in (("train", sorted(train - val)), ("val", sorted(val - train)))
        if lost
    ]
    if parts:
        raise DataError(
            f"{where}: the classes of train ({len(train)}) and val ({len(val)}) do not match:\n"
            + "\n".join(parts)
            + "\nuse folders of the same list of classes"
        )


def shown(names: Sequence[str]) -> str:
    """The first few of some names."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def by_line(path: Path, what: str) -> list[str]:
    """The lines of a text file that are not empty; DataError when there are none."""
    if not path.is_file():
        raise DataError(f"{what} {path} does not exist; unpack the data set's archives first")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{what} {path} is no text in UTF-8 ({error}); copy it again") from None
    found = [line for line in lines if line]
    if not found:
        raise DataError(f"{what} {path} is empty; copy it again")
    return found


def pairs(path: Path, what: str) -> list[tuple[str, str]]:
    """Lines of two words each, the second from the right; DataError names the first that is not."""
    found = []
    for number, line in enumerate(by_line(path, what), 1):
        words = line.rsplit(None, 1)
        if len(words) != 2:
            raise DataError(f"{what} {path}, line {number}: {line!r:.60}; expected two words")
        found.append((words[0], words[1]))
    return found
