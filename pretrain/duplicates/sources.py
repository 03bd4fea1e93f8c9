"""Where images to search come from: shard folders, image folders, COCO annotation files."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pretrain.shards import index
from pretrain.shards.folders import EXTENSIONS, names_below
from wsl_det.coco import reader
from wsl_det.core import files
from wsl_det.core.photos import BadImage
from wsl_det.core.verdicts import SearchedSet
from wsl_det.errors import DataError

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
