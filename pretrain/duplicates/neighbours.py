"""Exact nearest neighbours: the small side in memory, the large side streamed past it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.duplicates.rmac import Vectors
from wsl_det.errors import ConfigError

K = 21
"""Neighbours kept of every test image (docs/paper.md)."""
_BLOCK = 2048  # queries that are multiplied at once


class Neighbours:
    """The ``k`` best of what was streamed past, for each of Q queries, by exact float32 products.

    A query is one image in several views (both flips): ``views`` are (Q, dim) arrays and its score
    with a training image is the best of theirs. Equal scores keep the lower training row, so the
    result depends neither on the order of arrival within a stream nor on the number of workers.
    """

    def __init__(self, views: Sequence[Vectors], k: int = K) -> None:
        if k < 1:
            raise ConfigError(f"--neighbours {k}: give 1 or more")
        self.views = list(views)
        queries = len(self.views[0])
        self.scores = np.full((queries, k), -np.inf, dtype=np.float32)
        self.rows = np.full((queries, k), -1, dtype=np.int64)

    def add(self, vectors: Vectors, rows: NDArray[np.int64], *, later_than: bool = False) -> None:
        """Stream (n, dim) training descriptors of ascending ``rows`` past the queries.

        ``later_than`` keeps only rows above the query's own number: training against itself, where
        every pair shall be found once and no image with itself.
        """
        for first in range(0, len(self.scores), _BLOCK):
            part = slice(first, min(first + _BLOCK, len(self.scores)))
            scores = self.views[0][part] @ vectors.T
            for view in self.views[1:]:
                np.maximum(scores, view[part] @ vectors.T, out=scores)
            if later_than:
                scores[np.arange(part.start, part.stop)[:, None] >= rows[None, :]] = -np.inf
            self._merge(part, scores, rows)

    def _merge(self, part: slice, scores: Vectors, rows: NDArray[np.int64]) -> None:
        best, where = self.scores[part], self.rows[part]
        # After the first units hardly any query has something better to gain.
        gaining = np.flatnonzero(scores.max(axis=1, initial=-np.inf) > best[:, -1])
        if not len(gaining):
            return
        joined = np.concatenate([best[gaining], scores[gaining]], axis=1)
        names = np.concatenate([where[gaining], np.broadcast_to(rows, (len(gaining), len(rows)))], axis=1)
        order = np.argsort(-joined, axis=1, kind="stable")[:, : best.shape[1]]
        best[gaining] = np.take_along_axis(joined, order, axis=1)
        kept = np.take_along_axis(names, order, axis=1)
        where[gaining] = np.where(np.isneginf(best[gaining]), -1, kept)


def among_themselves(views: Sequence[Vectors], rows: NDArray[np.int64], k: int, method: str) -> Neighbours:
    """The neighbours of every training image among the later ones; ``rows`` are their numbers.

    "exact" multiplies everything with everything, "faiss" searches an inverted file of ``faiss-cpu``:
    scores are as exact, some neighbours may be missed. All descriptors are in memory.
    """
    found = Neighbours(views, k)
    if method == "exact":
        places = np.arange(len(rows))
        for first in range(0, len(rows), _BLOCK):
            part = slice(first, first + _BLOCK)
            found.add(views[0][part], places[part], later_than=True)
    elif method == "faiss":
        _search_faiss(found, views, k)
    else:
        raise ConfigError(f"--self-search {method}: expected exact or faiss")
    found.rows = np.where(found.rows >= 0, rows[found.rows], -1)
    return found


def _search_faiss(found: Neighbours, views: Sequence[Vectors], k: int) -> None:
    faiss = _faiss()
    vectors = np.ascontiguousarray(views[0])
    cells = max(1, min(round(4 * len(vectors) ** 0.5), len(vectors) // 40))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT
    )
    index.train(vectors)
    index.add(vectors)
    index.nprobe = max(1, min(cells, 32))
    # Earlier images and the image itself are among what comes back, and are dropped again.
    answers = [index.search(np.ascontiguousarray(view), 2 * k + 1) for view in views]
    scores = np.concatenate([one[0] for one in answers], axis=1)
    places = np.concatenate([one[1] for one in answers], axis=1)
    for query in range(len(vectors)):
        later = places[query] > query
        order = np.lexsort((places[query, later], -scores[query, later]))
        # Two views may both bring the same image: the first of it has its best score.
        _, first = np.unique(places[query, later][order], return_index=True)
        kept = order[np.sort(first)][:k]
        found.scores[query, : len(kept)] = scores[query, later][kept]
        found.rows[query, : len(kept)] = places[query, later][kept]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ConfigError(
            "--self-search faiss needs the package faiss-cpu, which is not installed; "
            "pip install faiss-cpu, or take --self-search exact"
        ) from None
    return faiss
