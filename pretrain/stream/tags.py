"""The tags of a batch as one padded table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Tags(NamedTuple):
    """The tags of a batch as a padded table."""

    ids: Tensor  # (N, K) int64, rows filled up with 0
    counts: Tensor  # (N,) int64: k of each image


def pack_tags(rows: Sequence[NDArray[np.int32]]) -> Tags:
    """Tags of each image without repetitions, padded; an image without tags has count 0.

    Synonyms are one class after canonicalization: counted twice they would outweigh the rest.
    """
    unique = [np.unique(row) for row in rows]
    width = max((len(row) for row in unique), default=0)
    ids = np.zeros((len(unique), max(width, 1)), dtype=np.int64)
    for row, tags in zip(ids, unique, strict=True):
        row[: len(tags)] = tags
    return Tags(torch.from_numpy(ids), torch.tensor([len(row) for row in unique], dtype=torch.int64))
