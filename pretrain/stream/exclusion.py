"""Training images that a duplicate review found in a test set, and that are therefore not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.shards.index import ShardIndex
from wsl_det.core import verdicts
from wsl_det.core.verdicts import Verdicts
from wsl_det.errors import DataError


def read(path: str, posts: ShardIndex) -> Verdicts | None:
    """The verdicts that ``DATA.VERDICTS`` names, None for the empty path.

    Raises DataError for verdicts about other shards: they would exclude nothing, or the wrong images.
    """
    if not path:
        return None
    found = verdicts.read(path)
    if found.train_sha256 != posts.sha256:
        raise DataError(
            f"DATA.VERDICTS {path} judges other shards (sha256 {found.train_sha256[:12]}) than DATA.SHARDS "
            f"{posts.folder} ({posts.sha256[:12]}); search these with wsl-det find_duplicates"
        )
    for row in found.rows:
        if not 0 <= row.train_row < len(posts) or posts.key(row.train_row) != row.train:
            raise DataError(
                f"DATA.VERDICTS {path}: pair {row.pair} judges training image {row.train!r} at number "
                f"{row.train_row}, which is not in {posts.folder}; save the verdicts again from review.html"
            )
    return found


def hashes(found: Verdicts | None, posts: ShardIndex) -> NDArray[np.uint64] | None:
    """Hashes of the posts to leave out, ascending, each once: those of a pair judged yes."""
    return None if found is None else _excluded(found, posts)


def _excluded(found: Verdicts, posts: ShardIndex) -> NDArray[np.uint64]:
    rows = sorted({row.train_row for row in found.duplicates()})
    return np.unique(np.asarray(posts.post_hash[rows])) if rows else np.empty(0, dtype=np.uint64)


def ancestry(found: Verdicts | None, posts: ShardIndex) -> dict[str, Any] | None:
    """What a checkpoint says about the images that were left out; None when nothing was reviewed."""
    if found is None:
        return None
    return {**found.ancestry(), "excluded": len(_excluded(found, posts))}


def told(found: Verdicts, posts: ShardIndex) -> str:
    """What the verdicts leave out, in words."""
    excluded = _excluded(found, posts)
    counts = found.counts()
    left = f"{counts['unsure']} unsure and {counts['unjudged']} unjudged pairs stay"
    images = "training image is" if len(excluded) == 1 else "training images are"
    return f"{len(excluded):,} {images} excluded as duplicates by the verdicts of {found.reader}; {left}"
