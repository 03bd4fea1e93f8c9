"""Hashtag pretraining: posts to vocabulary, shards, distributed training and export."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pretrain.stream.opened import Shards

__all__ = ["open_shards"]


def open_shards(path: str | Path) -> Shards:
    """The photos and labels of a folder that ``build_shards`` or ``index_shards`` made.

    ``.stream(policy=..., seed=...)`` is the order in which they are drawn, ``.stream(...).dataset()`` a
    ``torch.utils.data`` data set on it (``pretrain.stream.opened`` has both). Raises DataError when the
    folder is none, was changed, or is damaged.
    """
    from pretrain.stream import opened

    return opened.open_shards(path)
