"""What a network says of a unit of photos, kept in one file: what is lost when a job is killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsl_det.core import files, foreign, log


@dataclass
class Outputs:
    """Outputs (n, dim) of the photos of some rows; ``hashes`` are SHA-256 of the files, or "".

    Photos that could not be read have zeros, and their row in ``unreadable`` with the reason.
    """

    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    hashes: list[str]
    unreadable: dict[int, str] = field(default_factory=dict)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(n,) whether a photo could be read."""
        return ~np.isin(self.rows, list(self.unreadable))

    def store(self, path: Path) -> None:
        """Write them, whole or not at all."""
        bad = sorted(self.unreadable)
        with files.atomic_path(path) as scratch:
            np.savez(
                scratch,
                rows=self.rows,
                vectors=self.vectors,
                hashes=np.array(self.hashes, dtype="U64"),
                unreadable=np.array(bad, dtype=np.int64),
                reasons=np.array([self.unreadable[row] for row in bad], dtype=np.str_),
            )


def load(path: Path, rows: Sequence[int]) -> Outputs | None:
    """The stored outputs of ``rows``; None when there are none or the file is damaged: they are made anew."""
    names = ("rows", "vectors", "hashes", "unreadable", "reasons")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            there, vectors, hashes, bad, reasons = (stored[name] for name in names)
            unreadable = dict(zip(bad.tolist(), reasons.tolist(), strict=True))
            sound = vectors.ndim == 2 and vectors.dtype == np.float32 and there.tolist() == list(rows)
            sound = sound and len(vectors) == len(hashes) == len(rows)
    except FileNotFoundError:
        return None
    except foreign.NO_ARRAYS as error:
        log.get().warning("%s is damaged (%s): it is made anew", path, foreign.damage(error, path))
        return None
    if not sound:
        return None
    return Outputs(there, vectors, hashes.tolist(), unreadable)


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The outputs of several units as one."""
    return Outputs(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.vectors for part in parts]),
        [digest for part in parts for digest in part.hashes],
        {row: why for part in parts for row, why in part.unreadable.items()},
    )
