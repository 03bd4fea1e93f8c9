"""Folders of photos: which files in them are photos, and class folders as ImageFolder reads them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pretrain.posts.records import Ledger, Post, is_name
from wsl_det.core import log
from wsl_det.errors import DataError, as_words

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# Of macOS, Synology, QNAP, Windows and ext4; other hidden ones begin with a dot.
_LEFT_BESIDE = frozenset(
    ("__MACOSX", "@eaDir", "@tmp", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN", "lost+found")
)


def class_names(folder: Path) -> list[str]:
    """The names of the class folders in ``folder``, sorted; DataError where there is none."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected one that holds CLASS/photo.jpg")
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not hidden(path.name))
    if not found:
        raise DataError(f"{folder} has no class folders; expected CLASS/photo.jpg in it (wnids or names)")
    return found


def by_class(folder: Path, ledger: Ledger) -> Iterator[Post]:
    """The photos of class folders as posts whose id is CLASS/photo; DataError, first, for an empty class."""
    photos: dict[str, list[str]] = {name: [] for name in class_names(folder)}
    for name in names_below(folder):
        label, _, rest = name.partition("/")
        ledger.records[str(folder)] += 1
        if rest and is_name(name):
            photos[label].append(name)
        else:
            why = "a name that is not UTF-8" if rest else "not in a class folder"
            ledger.skip(why, str(folder), ledger.records[str(folder)])
    if empty := [name for name, found in photos.items() if not found]:
        raise DataError(
            f"{folder}: {len(empty)} of {len(photos)} classes hold no photo ({as_words(empty, 5)}); "
            "fill or remove those folders"
        )
    for label, found in photos.items():
        for name in found:
            ledger.read += 1
            yield Post(name, name, (), (label,))


def names_below(folder: Path) -> Iterator[str]:
    """Names, relative to ``folder``, of the image files in it and its folders, those behind links too.

    What is hidden is passed over (``.ipynb_checkpoints``, ``@eaDir``, ``._x.jpg``), as are links that lead in
    a circle, with a warning, and files of other kinds, which are counted in the log.
    """
    others = Counter[str]()
    yield from _below(
        folder, folder, {_identity(where) for where in (folder, *folder.resolve().parents)}, others
    )
    if others:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common(8))
        log.get("images").warning("%s: files that are no images by their names: %s", folder, kinds)


def hidden(name: str) -> bool:
    """Whether a file or folder is one that systems and programs leave beside photos."""
    return name.startswith(".") or name in _LEFT_BESIDE


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _below(folder: Path, top: Path, above: set[tuple[int, int]], others: Counter[str]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if not hidden(entry.name)]
    for entry in sorted(found, key=lambda entry: entry.name):
        path = Path(entry.path)
        if not entry.is_dir():
            if path.suffix.lower() in EXTENSIONS:
                yield path.relative_to(top).as_posix()
            else:
                others[path.suffix.lower() or path.name] += 1
        elif (mine := _identity(path)) in above:
            log.get("images").warning("%s leads in a circle; it is passed over", path)
        else:
            yield from _below(path, top, above | {mine}, others)
