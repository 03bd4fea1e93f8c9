"""Posts, tars and photos: small good files and how tools read them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import mutations
import numpy as np
import reader
import shard_files

_POSTS = (
    {"id": "p1", "image": "a.jpg", "caption": "What a #Brown_Bear! #tbt"},
    {"id": "p2", "image": "b.jpg", "caption": '#UrsusArctos, "said" #brownbear'},
    {"id": "p3", "image": "c.jpg", "caption": "#crane in\nAlaska #pizza"},
)


def _lines(folder: Path) -> Path:
    path = folder / "posts.jsonl"
    rows = [*_POSTS, {"id": 4, "image": "d.jpg", "hashtags": ["crane", "#pizza"]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _gzip(folder: Path) -> Path:
    (folder / "posts.jsonl.gz").write_bytes(gzip.compress(_lines(folder).read_bytes()))
    return folder / "posts.jsonl.gz"


def _table(folder: Path, name: str, delimiter: str) -> Path:
    with open(folder / name, "w", newline="") as file:
        writer = csv.DictWriter(file, list(_POSTS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(_POSTS)
    return folder / name


def _parquet(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist([*_POSTS, {"id": None}]), folder / "posts.parquet")
    return folder / "posts.parquet"


def _read_posts(path: Path) -> None:
    from pretrain.posts import files
    from pretrain.posts.records import Columns, Ledger

    ledger = Ledger()
    found = list(files.read(files.expand([path]), Columns(), ledger))
    assert len(found) == ledger.read and ledger.summary() is not None
    for post in found:
        assert isinstance(post.id, str) and post.id and "\n" not in post.id
        assert all(isinstance(tag, str) and tag for tag in post.hashtags)
        post.id.encode()


def _truth(folder: Path) -> Path:
    path = folder / "truth.jsonl"
    path.write_text("".join(json.dumps({"id": f"p{i}", "wnid": "n02132136"}) + "\n" for i in range(3)))
    return path


def _read_truth(path: Path) -> None:
    from pretrain.vocabulary import truth as truths

    assert all(len(wnid) == 9 for found in truths.read(path).values() for wnid in found)


def _wanted(folder: Path) -> Path:
    (folder / "wanted.txt").write_text("n02132136\nn02012849\n")
    return folder / "wanted.txt"


def _read_wanted(path: Path) -> None:
    from pretrain.transfer import sources

    sources.synset_list(str(path))


def _sample_tar(folder: Path) -> Path:
    import tarfile

    sys.path.insert(0, str(Path(__file__).parents[1]))
    import duplicate_world

    shard_files.shard_folder(folder / "beside")
    path = folder / "samples.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for i, name in enumerate(duplicate_world.NAMES):
            about = json.dumps({"id": f"p{i}", "caption": f"#{name}", "exif": '{"Image Orientation": "x"}'})
            for ending, data in (("jpg", duplicate_world.photo(i, (24, 16))), ("json", about.encode())):
                member = tarfile.TarInfo(f"d/{'long' * 30 if i == 2 else ''}{i}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def _build(path: Path, adopted: bool) -> None:
    from pretrain.posts.records import Columns
    from pretrain.shards import adopt, build, index

    output, vocab = path.parent / "out", path.parent / "beside" / "vocab.json"
    if adopted:
        adopt.build([path], Columns(), vocab_path=vocab, output=output, options=adopt.Options(workers=1))
    else:
        options = build.Options(workers=1)
        build.build_from_samples([path], Columns(), vocab_path=vocab, output=output, options=options)
    found = index.open_index(output)
    assert len(found) <= 4
    shard_files.read_shards(output)


def _photos_of_tar(path: Path) -> None:
    from pretrain.shards import images
    from wsl_det.core.photos import BadImage

    source = images.open_source(path)
    for name in source.members:
        try:
            images.to_jpeg(source.locate(name).read())
        except BadImage:
            continue


def _photo(folder: Path, name: str, **save: Any) -> Path:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).resize((48, 40)).save(folder / name, exif=exif, **save)
    return folder / name


def _read_photo(path: Path) -> None:
    """As prediction, training on shards, and duplicates read it: the same pixels, or the same refusal."""
    from pretrain.shards import images as shard_images
    from pretrain.stream import transforms
    from wsl_det.core.photos import BadImage
    from wsl_det.detector import images
    from wsl_det.errors import DataError

    refused: list[str] = []
    sizes = set()
    data = path.read_bytes()
    for read in (
        lambda: images.read_image(path, "BGR"),
        lambda: transforms.decode_any(shard_images.to_jpeg(data)),
        lambda: transforms.decode(data, max_pixels=1 << 24),
    ):
        try:
            pixels = np.asarray(read())
        except BadImage as error:
            refused.append(f"photo {path.name}: {error}")
        else:
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            sizes.add(pixels.shape)
    if refused:
        raise DataError(refused[0])


READERS = {
    "jsonl": reader.Reader(_lines, _read_posts, (mutations.of_json_lines, mutations.of_bytes)),
    "gzip": reader.Reader(_gzip, _read_posts, reader.BYTES),
    "csv": reader.Reader(partial(_table, name="posts.csv", delimiter=","), _read_posts, reader.BYTES),
    "tsv": reader.Reader(partial(_table, name="posts.tsv", delimiter="\t"), _read_posts, reader.BYTES),
    "parquet": reader.Reader(_parquet, _read_posts, reader.BYTES),
    "truth": reader.Reader(_truth, _read_truth, (mutations.of_json_lines, mutations.of_bytes)),
    "wanted_list": reader.Reader(_wanted, _read_wanted, reader.BYTES),
    "samples": reader.Reader(_sample_tar, partial(_build, adopted=False), reader.TAR),
    "adopted": reader.Reader(_sample_tar, partial(_build, adopted=True), reader.TAR),
    "image_tar": reader.Reader(_sample_tar, _photos_of_tar, reader.TAR),
    "jpeg": reader.Reader(partial(_photo, name="p.jpg", quality=90), _read_photo, reader.BYTES),
    "png": reader.Reader(partial(_photo, name="p.png"), _read_photo, (mutations.of_png, mutations.of_bytes)),
    "tiff": reader.Reader(partial(_photo, name="p.tif", compression="tiff_lzw"), _read_photo, reader.BYTES),
    "webp": reader.Reader(partial(_photo, name="p.webp"), _read_photo, reader.BYTES),
}
