"""The job behind tools/build_shards.py: posts, images and a vocabulary to a folder of shards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pretrain.posts import files as post_files
from pretrain.posts import records as posts
from pretrain.shards import dataset_json, folders, images, index
from pretrain.shards import webdataset_tars as samples
from pretrain.shards import write as shards
from pretrain.shards.dataset_json import Naming
from pretrain.shards.records import WORK, finished_shard, must_be_new, output_folder, put_shard, restore
from pretrain.shards.write import Written
from pretrain.vocabulary import classes as vocabulary
from pretrain.vocabulary import truth as truths
from pretrain.vocabulary.classes import Labeller
from pretrain.workers import mapping
from wsl_det.core import addresses, log
from wsl_det.errors import ConfigError, DataError, as_words, public


@dataclass(frozen=True)
class Options:
    """How shards are made; who makes them (``workers``, ``scheduler``) changes nothing in them.

    ``shard_mb`` is megabytes (2**20 bytes) of image files a shard; ``workers`` None takes every
    core; ``scheduler`` is the address of a Dask scheduler whose workers are taken instead;
    ``role`` and ``source`` open the data set's name (train-IG-940M-1.5k).
    """

    shard_mb: int = 128
    workers: int | None = None
    scheduler: str | None = None
    role: str = "train"
    source: str = "posts"
    max_short_side: int = images.MAX_SHORT_SIDE

    def __post_init__(self) -> None:
        for name in ("shard_mb", "max_short_side"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: give 1 or more")
        mapping.num_workers(self.workers)
        Naming(self.role, self.source)


def build(
    paths: Sequence[str | Path],
    columns: posts.Columns,
    *,
    image_source: str | Path | Sequence[str | Path],
    vocab_path: str | Path,
    output: str | Path,
    options: Options,
    truth: str | Path | None = None,
) -> tuple[dict[str, Any], posts.Ledger]:
    """Make the shard folder ``output``, whole or not at all; returns dataset.json's value.

    ``truth`` (``vocabulary.truth``) gives the photos labels of a second kind, their true classes.
    A run that was killed is gone on with: shards that it finished are not made again. Raises
    DataError when ``output`` is a filled folder, when posts, images or vocabulary cannot be read,
    when the disk is full, and when no image is left.
    """
    must_be_new(output)
    source = images.open_source(image_source)
    paths = post_files.expand(paths)
    made_from = {f"posts {public(path)}": path for path in paths}
    where = image_source if isinstance(image_source, str | Path) else " ".join(map(str, image_source))
    remedy = f"check that --images {where} is what the posts' image paths are relative to"
    job = _Job(partial(post_files.read, paths, columns), source, ", ".join(paths), remedy, made_from)
    return _build(_with_truth(job, truth), vocab_path, output, options)


def build_from_folders(
    root: str | Path, *, vocab_path: str | Path, output: str | Path, options: Options
) -> tuple[dict[str, Any], posts.Ledger]:
    """As ``build``, from folders ``root/CLASS/photo``, CLASS a synset or a name: labels are true classes."""
    must_be_new(output)
    remedy = "check that the folders' names are synsets or names"
    read = partial(folders.by_class, Path(root))
    job = _Job(read, images.ImageFolder(Path(root)), str(root), remedy, {}, ("synsets",))
    return _build(job, vocab_path, output, options)


def build_from_samples(
    tars: Sequence[str | Path],
    columns: posts.Columns,
    *,
    vocab_path: str | Path,
    output: str | Path,
    options: Options,
    truth: str | Path | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[dict[str, Any], posts.Ledger]:
    """As ``build``, from WebDataset tars whose samples hold image and post (img2dataset's output).

    ``classes`` not None: labels are true classes, from ``.cls`` members, whose numbers count in it.
    """
    must_be_new(output)
    source = samples.SampleTars(samples.expand(tars), classes)
    names = ", ".join(map(str, tars))
    holder = ".json or .txt that holds their hashtags" if classes is None else ".cls that holds their class"
    remedy, kinds = (
        f"check that the samples have a {holder}",
        ("hashtags",) if classes is None else ("synsets",),
    )
    job = _Job(partial(source.read, columns), source, names, remedy, {}, kinds)
    return _build(_with_truth(job, truth), vocab_path, output, options)


@dataclass(frozen=True)
class _Job:
    """Posts and where their images are, what to say of them, and the kinds of labels they have."""

    read: Callable[[posts.Ledger], Iterable[posts.Post]]
    source: images.Source
    names: str
    remedy: str
    made_from: Mapping[str, str | Path]
    kinds: Sequence[str] = ("hashtags",)


def _with_truth(job: _Job, path: str | Path | None) -> _Job:
    """The job with the true classes of its posts; DataError, before any work, for a truth of other posts."""
    if path is None:
        return job
    truth, ledger = truths.read(path), posts.Ledger()
    known = {post.id for post in job.read(ledger)}
    unknown = [name for name in truth if name not in known]
    # Ids of posts that cannot be read are not known either.
    if len(unknown) > ledger.skipped.total() or len(unknown) == len(truth):
        raise DataError(
            f"--truth {path}: {len(unknown):,} of {len(truth):,} ids are of no post "
            f"({as_words(unknown, 5)}); give the truth of {job.names} alone"
        )

    def read(ledger: posts.Ledger) -> Iterator[posts.Post]:
        for post in job.read(ledger):
            yield replace(post, classes=truth.get(post.id, ()))

    return replace(job, read=read, kinds=("hashtags", "synsets"), made_from={**job.made_from, "truth": path})


def _build(
    job: _Job, vocab_path: str | Path, output: str | Path, options: Options
) -> tuple[dict[str, Any], posts.Ledger]:
    vocab, ledger = vocabulary.read(vocab_path), posts.Ledger()
    planner = shards.Planner(Labeller(vocab), job.source, options.shard_mb << 20, job.kinds)
    with output_folder(output) as folder:
        begin_again(folder)
        # Whoever does the work may run in another folder.
        work = (folder / WORK).absolute()
        write = partial(finished_shard, work, max_short_side=options.max_short_side)
        workers = mapping.num_workers(options.workers)
        plan = enumerate(planner.plan(job.read(ledger)))
        written = mapping.in_order(write, plan, workers, options.scheduler)
        progress = log.progress(written, None, "shards")
        totals = dataset_json.collect(
            folder, progress, job.source.refused, partial(_move, folder, output, options.role), job.kinds
        )
        totals.dropped.update(planner.dropped)
        remedy = f"{job.remedy}, and that --vocab {vocab_path} fits these posts"
        dataset_json.must_hold_images(folder, totals, ledger, made_from=job.names, remedy=remedy)
        dataset = dataset_json.describe(Naming(options.role, options.source), vocab, totals, ledger)
        dataset_json.finish(folder, dataset, vocab_path, kind="shards", made_from=job.made_from)
    return dataset, ledger


def begin_again(folder: Path) -> None:
    """Bring a folder that a killed run left to where its finished shards are all under their work names."""
    restore(folder, folder / WORK)
    shutil.rmtree(folder / index.FOLDER, ignore_errors=True)


def _move(folder: Path, output: str | Path, role: str, shard: Written, number: int) -> str:
    # Shards whose images were all rejected leave no gap in the numbers: braces must expand.
    name = f"{role}-{number:06d}.tar"
    if addresses.is_address(output):
        put_shard(shard, f"{addresses.text(output)}/{name}")
    else:
        os.replace(shard.file, folder / name)
    return name
