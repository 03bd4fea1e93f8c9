"""A data set as folders: ``DIR/train/CLASS/photo`` and ``DIR/val/CLASS/photo``, the same classes in both."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretrain.shards import images as image_files
from pretrain.shards.folders import hidden, names_below
from pretrain.stream import transforms
from pretrain.transfer import prepare
from wsl_det.core import log
from wsl_det.core.photos import BadImage
from wsl_det.errors import DataError

Ints = NDArray[np.int64]
_LOOKED_AT = 200  # photos of val that are sought in train


@dataclass(frozen=True)
class Split:
    """The images of ``folder``: file names relative to it (sorted) and their class ids, (N,)."""

    folder: Path
    names: tuple[str, ...]
    labels: Ints

    def __len__(self) -> int:
        return len(self.names)

    def read(self, i: int) -> bytes:
        """The file of an image; raises BadImage when it cannot be read."""
        try:
            return (self.folder / self.names[i]).read_bytes()
        except OSError:
            raise BadImage("missing or unreadable file") from None

    def listing(self) -> str:
        """SHA-256 over names, sizes and times of change: changes when a photo does, without reading any."""
        digest = hashlib.sha256()
        for name in self.names:
            try:
                status = (self.folder / name).stat()
                line = f"{name}\t{status.st_size}\t{status.st_mtime_ns}\n"
            except OSError:
                line = f"{name}\tunreadable\n"
            digest.update(line.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def take(self, rows: Ints) -> Split:
        """Some of the images, by row."""
        return Split(self.folder, tuple(self.names[int(i)] for i in rows), self.labels[rows])


@dataclass(frozen=True)
class Folders:
    """A checked data set; class i is ``classes[i]``, in sorted order as torchvision's ImageFolder has it."""

    root: Path
    classes: tuple[str, ...]
    train: Split
    val: Split


def open_folders(root: str | Path) -> Folders:
    """The data set in ``root``; DataError for splits or classes that are absent, empty or do not match."""
    root = Path(root)
    found = {split: _classes(root, split) for split in prepare.SPLITS}
    prepare.check_classes(found, str(root))
    for split, by_class in found.items():
        _check_filled(root / split, by_class)
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        raise DataError(f"{root} has one class, {classes[0]!r}; accuracy needs two or more to tell apart")
    train, val = (_split(root / split, found[split]) for split in prepare.SPLITS)
    _check_apart(root, train, val)
    return Folders(root, classes, train, val)


def open_val(root: str | Path) -> tuple[tuple[str, ...], Split]:
    """The classes and images of ``root/val`` alone, for a classifier that needs no training."""
    root = Path(root)
    found = _classes(root, "val")
    _check_filled(root / "val", found)
    return tuple(sorted(found)), _split(root / "val", found)


def _classes(root: Path, split: str) -> dict[str, list[str]]:
    folder = root / split
    if not folder.is_dir():
        what = "does not exist" if not root.exists() else f"has no folder {split}/"
        raise DataError(
            f"--data {root} {what}; expected train/CLASS/photo.jpg and val/CLASS/photo.jpg in it "
            "(wsl-det prepare_transfer makes such folders)"
        )
    subs = sorted(sub for sub in folder.iterdir() if sub.is_dir() and not hidden(sub.name))
    if not subs:
        raise DataError(f"{folder} has no class folders; expected CLASS/photo.jpg in it")
    by_class: dict[str, list[str]] = {sub.name: [] for sub in subs}
    for name in sorted(names_below(folder)):
        label, _, rest = name.partition("/")
        if rest:
            by_class[label].append(name)
    return by_class


def _check_filled(folder: Path, by_class: dict[str, list[str]]) -> None:
    empty = [name for name, photos in by_class.items() if not photos]
    if empty:
        total = sum(map(len, by_class.values()))
        raise DataError(
            f"{folder}: {len(empty)} of {len(by_class)} classes hold no image "
            f"({prepare.shown(empty)}), {total} images in all; "
            "fill those folders, or remove them from train/ and val/"
        )


def _check_apart(root: Path, train: Split, val: Split) -> None:
    """Warn of val photos that are, byte for byte, photos of train; DataError when all looked at are."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for name in train.names:
        by_size[_size(train.folder / name)].append(train.folder / name)
    rows = np.linspace(0, len(val) - 1, min(len(val), _LOOKED_AT)).astype(int)
    looked = [val.folder / val.names[row] for row in rows]
    same = {}
    for path in looked:
        twins = by_size.get(_size(path), ()) if _size(path) > 0 else ()
        data = path.read_bytes() if twins else b""
        if (twin := next((other for other in twins if other.read_bytes() == data), None)) is not None:
            same[path] = twin
    if same:
        first, twin = next(iter(same.items()))
        told = (
            f"{root}: {len(same)} of {len(looked)} val photos looked at are photos of train, byte for byte, "
        )
        told += f"such as {first} and {twin}"
        if len(same) == len(looked):
            raise DataError(f"{told}; accuracy on them says nothing: give other photos as val")
        log.get("transfer").warning("%s; accuracy is too high by them (wsl-det find_duplicates)", told)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1  # a file that cannot be read is counted later


def _split(folder: Path, by_class: dict[str, list[str]]) -> Split:
    rows = [(name, i) for i, label in enumerate(sorted(by_class)) for name in by_class[label]]
    labels = np.array([label for _, label in rows], dtype=np.int64)
    return Split(folder, tuple(name for name, _ in rows), labels)


def pixels(data: bytes, crop: transforms.TestCrop) -> transforms.Pixels:
    """The centre crop of an image file, by the shards' rule; BadImage for what does not decode whole."""
    return crop(image_files.as_jpeg(data), ())


def stratified(labels: Ints, share: float, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Rows to fit on and rows to check on, ascending: ``share`` of every class is for checking.

    A class of one image is fitted only; one of two or more gives at least one image to each side.
    """
    checked: list[Ints] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        number = min(max(1, round(share * len(rows))), len(rows) - 1)
        checked.append(rng.permutation(rows)[:number])
    check = np.sort(np.concatenate(checked))
    return np.setdiff1d(np.arange(len(labels)), check), check
