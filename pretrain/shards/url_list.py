"""The list of URLs that img2dataset takes, written from posts whose images are URLs."""

from __future__ import annotations

import csv
import importlib
import itertools
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pretrain.posts import files as post_files
from pretrain.posts import records as posts
from pretrain.posts import tags as posted
from pretrain.posts.records import Columns, Ledger, Post
from pretrain.vocabulary import classes as vocabulary
from pretrain.vocabulary.classes import Labeller
from wsl_det import errors
from wsl_det.core import files
from wsl_det.errors import DataError

FORMATS = ("parquet", "csv", "tsv", "jsonl", "txt")
_ROWS = 100_000


class Row(NamedTuple):
    """What is written for a post; ``hashtags`` are divided and ended by ;."""

    url: str
    id: str
    hashtags: str


def write(
    paths: Sequence[str | Path],
    columns: Columns,
    output: str | Path,
    *,
    vocab_path: str | Path | None = None,
) -> str:
    """Write ``output``, whole or not at all, in the format of its ending; returns a summary to print.

    With a vocabulary, posts without a hashtag of it are left out. Raises DataError when no post
    names a URL.
    """
    output = Path(output)
    form = output.suffix.lower().lstrip(".")
    if form not in FORMATS:
        raise DataError(f"--output {output}: expected a name that ends in .{', .'.join(FORMATS)}")
    labeller = Labeller(vocabulary.read(vocab_path)) if vocab_path else None
    ledger, met = Ledger(), Counter[str]()
    stream = post_files.read(post_files.expand(paths), columns, ledger)
    with files.atomic_path(output) as scratch:
        _write(scratch, form, rows(stream, labeller, met))
        if not met["written"]:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in met.most_common()) or "no posts"
            fits = f", and check that --vocab {vocab_path} fits these posts" if vocab_path else ""
            raise DataError(
                f'no URL is left of "{columns.image}": {reasons}; name their column with --image-column{fits}'
            )
    return _summary(output, form, ledger, met)


def rows(stream: Iterable[Post], labeller: Labeller | None, met: Counter[str]) -> Iterator[Row]:
    """The rows of posts whose image is a URL; ``met`` counts them as "written", and others by reason."""
    for post in stream:
        if post.image is None or not post.image.lower().startswith(("http://", "https://")):
            met["without a URL"] += 1
        elif errors.printable(post.image) != post.image or any(map(str.isspace, post.image)):
            met["with spaces or control characters in its URL"] += 1
        elif labeller is not None and not labeller.labels(post.hashtags):
            met["without a hashtag of the vocabulary"] += 1
        else:
            met["written"] += 1
            # Ended by the divider too: so a single tag that holds spaces stays one.
            tags = "".join(f"{posted.encoded(tag)};" for tag in post.hashtags)
            yield Row(post.image, post.id, errors.printable(tags))


def command(output: Path, form: str) -> str:
    """The img2dataset command for a list.

    No white borders, which would tell the shape of a photo; nothing is enlarged; a JPEG that
    fits keeps its bytes. Orientation is noted in the samples' .json, and build_shards applies it.
    """
    words = ["img2dataset", f"--url_list {shlex.quote(str(output))}", f"--input_format {form}"]
    if form != "txt":
        words += ["--url_col url", """--save_additional_columns '["id","hashtags"]'"""]
    words += [
        "--output_format webdataset --output_folder downloads",
        "--resize_mode keep_ratio --image_size 1024 --resize_only_if_bigger True",
        "--encode_format jpg --encode_quality 95 --skip_reencode True",
    ]
    return " \\\n    ".join(words)


def _write(path: Path, form: str, found: Iterator[Row]) -> None:
    if form == "parquet":
        _write_parquet(path, found)
        return
    with open(path, "w", encoding="utf-8", newline="") as file:
        if form == "txt":
            file.writelines(f"{row.url}\n" for row in found)
        elif form == "jsonl":
            file.writelines(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in found)
        else:
            table = csv.writer(file, delimiter="," if form == "csv" else "\t", lineterminator="\n")
            table.writerow(Row._fields)
            table.writerows(found)


def _write_parquet(path: Path, found: Iterator[Row]) -> None:
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise DataError("pyarrow is needed to write parquet: pip install pyarrow, or name a .jsonl") from None
    schema = arrow.schema([(name, arrow.string()) for name in Row._fields])
    with parquet.ParquetWriter(path, schema) as writer:
        while part := list(itertools.islice(found, _ROWS)):
            writer.write_table(arrow.Table.from_pylist([row._asdict() for row in part], schema))


def _summary(output: Path, form: str, ledger: posts.Ledger, met: Counter[str]) -> str:
    lines = ledger.summary()
    lines += [f"{count:>14,} posts {reason}" for reason, count in met.items() if reason != "written"]
    lines += [
        f"{ledger.read:>14,} posts read",
        f"{met['written']:>14,} URLs",
        f"wrote {output}; to download them (pip install img2dataset):",
        "",
        command(output, form),
        "",
        "then: wsl-det build_shards --samples 'downloads/*.tar' --vocab vocab.json --output shards",
    ]
    if form == "txt":
        lines.append("a list of URLs alone loses ids and hashtags: name a .parquet to keep them")
    return "\n".join(lines)
