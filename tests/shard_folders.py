"""Shard folders of the photos in WORK/images, made from posts as users give them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pretrain.posts import records as posts
from pretrain.shards import build as shard_builder
from pretrain.vocabulary.classes import Vocabulary, VocabularyClass


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def vocabulary(path: Path, names: Sequence[str], synsets: Sequence[str] | None = None) -> Path:
    """A vocabulary of a class for each name, which is its hashtag too."""
    synsets = synsets or [f"n{i:08d}" for i in range(len(names))]
    classes = (VocabularyClass(i, n, (synsets[i],), (n,), 9) for i, n in enumerate(names))
    Vocabulary("in1k", tuple(classes)).write(path)
    return path


def build(work: Path, vocab: Path, output: Path | None = None, truth: Path | None = None) -> Path:
    """The shard folder OUTPUT (WORK/shards) of WORK/posts.jsonl and WORK/images."""
    output = output or work / "shards"
    shard_builder.build(
        [work / "posts.jsonl"],
        posts.Columns(),
        image_source=work / "images",
        vocab_path=vocab,
        output=output,
        options=shard_builder.Options(workers=1),
        truth=truth,
    )
    return output
