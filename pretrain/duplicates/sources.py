"""Where images to search come from: shard folders, image folders, COCO annotation files."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pretrain.shards import index
from wsl_det.coco import reader
from wsl_det.core import files, log
from wsl_det.core.photos import BadImage
from wsl_det.core.verdicts import SearchedSet
from wsl_det.errors import DataError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# Of macOS, Synology, QNAP, Windows and ext4; other hidden ones begin with a dot.
_LEFT_BESIDE = frozenset(
    ("__MACOSX", "@eaDir", "@tmp", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN", "lost+found")
)
_SPLIT = re.compile(r"(?:instances|image_info|captions|person_keypoints)_(.+)")


class Images(Protocol):
    """Images by number, 0..n-1; cheap to send to another process."""

    def __len__(self) -> int: ...
    def key(self, i: int) -> str: ...
    def read(self, i: int) -> bytes:
        """The image file; raises BadImage when it cannot be read."""
        ...


@dataclass(frozen=True)
class TrainImages:
    """The images of a shard folder; what was filtered out of it is not searched, as it is not trained on."""

    folder: Path

    @cached_property
    def posts(self) -> index.ShardIndex:
        """The folder's index."""
        return index.open_index(self.folder)

    def __len__(self) -> int:
        return len(self.posts)

    def key(self, i: int) -> str:
        """The WebDataset key."""
        return self.posts.key(i)

    def read(self, i: int) -> bytes:
        """See ``Images``; a truncated shard is a DataError, not a rejected image."""
        return self.posts.read(i)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}


@dataclass(frozen=True)
class TestImages:
    """One set of test images: a folder, or the images of a COCO annotation file.

    ``names`` are file names relative to ``folder``, ``ids`` the COCO image ids of them (or empty).
    """

    name: str
    kind: str
    folder: Path
    names: tuple[str, ...]
    ids: tuple[int, ...] = ()
    annotations: Path | None = None
    _hashes: dict[int, str] = field(default_factory=dict, compare=False, repr=False)

    __test__ = False  # pytest takes the name for a test's

    def __len__(self) -> int:
        return len(self.names)

    def key(self, i: int) -> str:
        """The file name."""
        return self.names[i]

    def read(self, i: int) -> bytes:
        """See ``Images``."""
        try:
            return (self.folder / self.names[i]).read_bytes()
        except FileNotFoundError:
            raise BadImage("missing file") from None
        except OSError:
            raise BadImage("unreadable file") from None

    def searched(self, hashes: Sequence[str]) -> SearchedSet:
        """The set's identity; ``hashes`` are SHA-256 of the image files in order, "" for unreadable ones."""
        if self.annotations is not None:
            identity = files.sha256(self.annotations)
        else:
            identity = manifest(self.names, hashes)
        return SearchedSet(self.name, self.kind, identity, len(self))


def manifest(names: Sequence[str], hashes: Sequence[str]) -> str:
    """SHA-256 over the lines ``name TAB sha256``, sorted by name."""
    lines = sorted(f"{name}\t{digest}\n" for name, digest in zip(names, hashes, strict=True))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def open_test_sets(asked: Sequence[str]) -> list[TestImages]:
    """The test sets that ``--against`` names: FOLDER, ANNOTATIONS.json or ANNOTATIONS.json=FOLDER.

    Raises DataError for paths that are neither, sets without images, and names given twice.
    """
    sets = [_open(text) for text in asked]
    twice = [name for name, count in Counter(one.name for one in sets).items() if count > 1]
    if twice:
        raise DataError(f"two sets of --against are called {twice[0]!r}; rename a folder, or search apart")
    return sets


def _open(text: str) -> TestImages:
    path, _, images = text.partition("=")
    if (folder := Path(text)).is_dir():
        found = sorted(names_below(folder))
        if not found:
            kinds = ", ".join(sorted(EXTENSIONS))
            raise DataError(f"--against {folder} holds no images ({kinds}); nothing can be searched for")
        return TestImages(folder.resolve().name, "folder", folder, tuple(found))
    if Path(path).suffix == ".json":
        return _coco(Path(path), Path(images) if images else None)
    what = "is no folder and no .json file" if Path(path).exists() else "does not exist"
    raise DataError(
        f"--against {text}: {path} {what}; give a folder of images, or a COCO annotation file and its "
        "images as ANNOTATIONS.json=FOLDER"
    )


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


def _coco(annotations: Path, folder: Path | None) -> TestImages:
    truth = reader.read(annotations)
    folder = folder or _guess(annotations)
    if not folder.is_dir():
        raise DataError(f"--against {annotations}: image folder {folder} does not exist")
    names = tuple(path.relative_to(folder).as_posix() for path in truth.photos(folder))
    return TestImages(annotations.stem, "coco", folder, names, tuple(truth.image_ids.tolist()), annotations)


def _guess(annotations: Path) -> Path:
    """COCO's own layout: annotations/instances_val2017.json beside val2017."""
    split = _SPLIT.fullmatch(annotations.stem)
    beside = annotations.resolve().parent.parent / (split[1] if split else "images")
    if not beside.is_dir():
        raise DataError(f"--against {annotations}: say where its images are, {annotations}=FOLDER")
    return beside
