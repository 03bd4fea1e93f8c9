"""Test photos that were seen in training, from the verdicts of a duplicate review of ``DIR/val``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pretrain.duplicates.sources import manifest
from pretrain.transfer.folders import Split
from wsl_det.core.verdicts import YES, Verdicts
from wsl_det.errors import DataError


def duplicates(verdicts: Verdicts, split: Split, hashes: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) True for photos judged duplicates; ``hashes`` are the SHA-256 of the files.

    DataError when these photos, by names and contents, are none of the sets that were searched, so that
    verdicts about one test set are never applied to another.
    """
    identity = manifest(split.names, hashes)
    mine = {one.name for one in verdicts.sets if one.kind == "folder" and one.sha256 == identity}
    if not mine:
        searched = ", ".join(f"{one.name} ({one.kind}, {one.images:,} images)" for one in verdicts.sets)
        raise DataError(
            f"{verdicts.path} is about other images than {split.folder}: it judges {searched}; search this "
            f"folder with tools/find_duplicates.py --against {split.folder}"
        )
    place = {name: row for row, name in enumerate(split.names)}
    marks = np.zeros(len(split), dtype=np.bool_)
    for row in verdicts.rows:
        if row.set not in mine or row.verdict != YES:
            continue
        if row.image not in place:
            raise DataError(f"{verdicts.path}: pair {row.pair} judges {row.image}, not in {split.folder}")
        marks[place[row.image]] = True
    return marks
