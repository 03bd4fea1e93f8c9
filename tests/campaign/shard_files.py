"""Shard folders and what else pretraining keeps: small good files and how tools read them."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import annotation_files
import mutations
import numpy as np
import reader


def shard_folder(folder: Path) -> Path:
    """A shard folder of eight photos, made once; its hashes of arrays stay."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import duplicate_world

    folder.mkdir(exist_ok=True)
    return duplicate_world.shards(folder, 8)


def _in_shards(name: str, folder: Path, hashed: bool = True) -> Path:
    shards = shard_folder(folder)
    if not hashed:
        about = json.loads((shards / "dataset.json").read_text())
        (shards / "dataset.json").write_text(json.dumps({k: v for k, v in about.items() if k != "arrays"}))
    return shards / name


def read_shards(folder: Path) -> None:
    from pretrain.shards import index
    from pretrain.shards.images import check
    from wsl_det.core.photos import BadImage

    found = index.open_index(folder)
    for i in range(len(found)):
        found.key(i)
        assert len(found.labels(i)) and found.labels(i).max() < len(found.vocabulary)
        try:
            check(found.read(i))
        except BadImage:
            continue
    assert found.shard_starts[-1] == len(found)


def _any_array(folder: Path, hashed: bool) -> Path:
    """The arrays of an index one behind the other: a mutation meets any of them."""
    shards = _in_shards("dataset.json", folder, hashed).parent
    arrays = {p.name: p.read_bytes() for p in sorted((shards / "index").glob("*.npy"))}
    (folder / "arrays.bin").write_bytes(b"\x93NUMPY-NEXT".join(arrays.values()))
    return folder / "arrays.bin"


def _read_arrays(path: Path) -> None:
    shards = next(p.parent for p in path.parent.glob("*/dataset.json"))
    names = sorted((shards / "index").glob("*.npy"))
    parts = path.read_bytes().split(b"\x93NUMPY-NEXT")
    kept = [name.read_bytes() for name in names]
    try:
        for name, part in zip(names, parts, strict=False):
            name.write_bytes(part)
        read_shards(shards)
    finally:
        for name, part in zip(names, kept, strict=True):
            name.write_bytes(part)


def _outputs(folder: Path) -> Path:
    from pretrain.workers.outputs import Outputs

    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    Outputs(np.arange(3), vectors, ["a" * 64, "", "b" * 64], {1: "truncated image"}).store(folder / "u.npz")
    return folder / "u.npz"


def _read_outputs(path: Path) -> None:
    """What is damaged is made anew."""
    from pretrain.workers import outputs
    from wsl_det.errors import DataError

    found = outputs.load(path, range(3))
    if found is None:
        raise DataError("stored outputs that are damaged are made anew")
    assert found.vectors.shape == (3, 2) and len(found.hashes) == 3 and found.usable.shape == (3,)


def _vocabulary(folder: Path) -> Path:
    shard_folder(folder)
    return folder / "vocab.json"


def _read_vocabulary(path: Path) -> None:
    from pretrain.vocabulary import classes
    from pretrain.vocabulary.classes import Labeller

    found = classes.read(path)
    assert all(0 <= c.count < 2**63 and isinstance(c.name, str) for c in found.classes)
    assert all(0 <= label < len(found) for label in Labeller(found).labels(["crane", "pizza"]))
    found.write(path.parent / "out.json")


def _candidates(folder: Path) -> Path:
    from pretrain.duplicates import review

    path = annotation_files.verdicts_file(folder)
    content = {"kind": review.KIND, "schema": review.SCHEMA, "sha256": "a" * 64}
    (folder / "candidates.json").write_text(json.dumps(content))
    assert path.is_file()
    return folder / "candidates.json"


def _read_candidates(path: Path) -> None:
    from pretrain.duplicates import review

    review.read_candidates(path.parent)


def _read_beside(path: Path) -> None:
    read_shards(path.parent)


READERS = {
    "shard_folder": reader.Reader(partial(_in_shards, "dataset.json"), _read_beside, reader.JSON),
    "shard_arrays": reader.Reader(partial(_any_array, hashed=False), _read_arrays, reader.BYTES),
    "hashed_arrays": reader.Reader(partial(_any_array, hashed=True), _read_arrays, reader.BYTES),
    "vocabulary": reader.Reader(_vocabulary, _read_vocabulary, reader.JSON),
    "candidates": reader.Reader(_candidates, _read_candidates, reader.JSON),
    "outputs": reader.Reader(_outputs, _read_outputs, (mutations.of_zip, mutations.of_bytes)),
}
