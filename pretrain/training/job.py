"""A configuration checked and translated: what a pretraining run is, before anything is written."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from pretrain.shards import index
from pretrain.stream import chance, exclusion, sampling, selection
from pretrain.stream.loader import Share, start_hash
from pretrain.training import defaults, solver
from pretrain.training.arch import Arch
from pretrain.training.arch import of_config as make_arch
from wsl_det.core import seed
from wsl_det.core.config import Config
from wsl_det.core.verdicts import Verdicts
from wsl_det.errors import ConfigError, DataError


class Job(NamedTuple):
    """A checked configuration: what a run is, before any folder is made or weight drawn."""

    posts: index.ShardIndex
    stream: sampling.SampleStream
    share: Share
    arch: Arch
    schedule: solver.Schedule
    stream_hash: str  # name of the empty stream
    verdicts: Verdicts | None = None  # of a duplicate review, whose copies are not trained on


def check(cfg: Config, *, rank: int = 0, world: int = 1) -> tuple[index.ShardIndex, Share]:
    """What can be told at once about a configuration on ``world`` processes, as ConfigError or DataError."""
    if not cfg.DATA.SHARDS:
        raise ConfigError("DATA.SHARDS is not set; give the folder that wsl-det build_shards made")
    if not cfg.OUTPUT_DIR:
        raise ConfigError("OUTPUT_DIR is not set; give the folder of this run")
    share = Share(cfg.SOLVER.IMS_PER_BATCH, cfg.MODEL.BN_GROUP, rank, world)
    if share.groups % cfg.SOLVER.ACCUMULATE:
        raise ConfigError(
            f"SOLVER.ACCUMULATE {cfg.SOLVER.ACCUMULATE} does not divide the {share.groups} BN groups "
            "of a process"
        )
    if cfg.SOLVER.EMA_DECAY == 1:
        raise ConfigError(f"SOLVER.EMA_DECAY is {cfg.SOLVER.EMA_DECAY}; expected 0 (off) or a number below 1")
    milestone = cfg.SOLVER.MILESTONE_PERIOD
    if milestone % cfg.SOLVER.CHECKPOINT_PERIOD:
        raise ConfigError(
            f"SOLVER.MILESTONE_PERIOD {milestone} is no multiple of CHECKPOINT_PERIOD "
            f"{cfg.SOLVER.CHECKPOINT_PERIOD}: there would be no checkpoint to keep"
        )
    if cfg.SOLVER.COOL_FROM and cfg.SOLVER.SCHEDULE != "constant":
        raise ConfigError(
            "SOLVER.COOL_FROM is a branch of a run at a constant rate, and SOLVER.SCHEDULE is "
            f"{cfg.SOLVER.SCHEDULE}; give the keys of the run that the checkpoint is of"
        )
    make_schedule(cfg)
    if cfg.SOLVER.NESTEROV and not cfg.SOLVER.MOMENTUM:
        raise ConfigError("SOLVER.NESTEROV needs SOLVER.MOMENTUM above 0")
    _check_input(cfg)
    return index.open_index(cfg.DATA.SHARDS), share


def _check_input(cfg: Config) -> None:
    for key in ("CROP_AREA", "CROP_RATIO"):
        low, high = cfg.INPUT[key]
        if low > high:
            raise ConfigError(f"INPUT.{key} is {[low, high]}; expected the smaller number first")
    if cfg.MODEL.BN_GROUP == 1 and cfg.INPUT.SIZE <= 32:
        raise ConfigError(
            f"MODEL.BN_GROUP 1 at INPUT.SIZE {cfg.INPUT.SIZE} leaves one value a channel in the last stage, "
            "of which there are no statistics; take larger groups or images"
        )


def prepare(cfg: Config, *, rank: int = 0, world: int = 1) -> Job:
    """Check a configuration against its shards and ``world`` processes; nothing is written."""
    posts, share = check(cfg, rank=rank, world=world)
    if len(posts.vocabulary) < 2:
        raise DataError(
            f"the vocabulary of {cfg.DATA.SHARDS} has one class, {posts.vocabulary.classes[0].name!r}: its "
            "loss is 0 and nothing is learned; build it with more posts, a smaller --min-count, a larger "
            "--size or another --kind"
        )
    schedule, arch = make_schedule(cfg), make_arch(cfg)
    judged = exclusion.read(cfg.DATA.VERDICTS, posts)
    stream = make_stream(cfg, posts, judged)
    # Not LABELS: whatever is trained on, the photos are the same ones in the same order.
    keys = ("HELDOUT", "SUBSET", "LABEL_NOISE", "RESAMPLE", "RESAMPLE_THRESHOLD", "SHUFFLE_SHARDS")
    identity = {key: cfg.DATA[key] for key in keys}
    if cfg.DATA.SAMPLE_BY != "hashtags":
        identity["SAMPLE_BY"] = cfg.DATA.SAMPLE_BY
    if judged is not None:
        identity["VERDICTS"] = judged.sha256
    name = start_hash(dataset=posts.sha256, seed=cfg.SEED, batch=share.batch, **identity)
    return Job(posts, stream, share, arch, schedule, name, judged)


def make_stream(
    cfg: Config, posts: index.ShardIndex, judged: Verdicts | None = None
) -> sampling.SampleStream:
    """The sample stream of a configuration; images ``judged`` copies of test images are not in it.

    Where labels of both kinds are known, only images that have both are in it, whatever is trained on.
    """
    offsets, values = _labels(posts, "SAMPLE_BY", cfg.DATA.SAMPLE_BY)
    shuffle = cfg.DATA.LABELS == "shuffled"
    shown = _labels(posts, "LABELS", next(iter(posts.kinds)) if shuffle else cfg.DATA.LABELS)
    return sampling.SampleStream(
        label_offsets=offsets,
        label_values=values,
        others=_others(posts),
        shown=None if shown[0] is offsets else shown,
        shuffle=shuffle,
        post_hash=posts.post_hash,
        shard_starts=posts.shard_starts,
        num_tags=len(posts.vocabulary),
        seed=cfg.SEED,
        selection=selection.Selection(
            cfg.DATA.HELDOUT, cfg.DATA.SUBSET, cfg.SEED, exclusion.hashes(judged, posts)
        ),
        label_noise=cfg.DATA.LABEL_NOISE,
        policy=cfg.DATA.RESAMPLE,
        threshold=cfg.DATA.RESAMPLE_THRESHOLD,
        window=cfg.DATA.SHUFFLE_SHARDS,
    )


def _labels(posts: index.ShardIndex, key: str, kind: str) -> sampling.Labels:
    if kind in posts.kinds:
        return posts.kinds[kind]
    remedy = "DATA.LABELS synsets DATA.SAMPLE_BY synsets" if kind == "hashtags" else "build_shards --truth"
    raise ConfigError(
        f"DATA.{key} is {kind}, and {posts.folder} holds {next(iter(posts.kinds))} alone: {remedy}"
    )


def _others(posts: index.ShardIndex) -> sampling.Ints | None:
    """Offsets of the labels that not every image has."""
    return posts.kinds["synsets"][0] if len(posts.kinds) > 1 else None


def make_schedule(cfg: Config) -> solver.Schedule:
    """The learning-rate schedule of a configuration."""
    s = cfg.SOLVER
    return solver.Schedule(
        base_lr=s.BASE_LR,
        batch=s.IMS_PER_BATCH,
        total_images=s.TOTAL_IMAGES,
        reference_batch=s.REFERENCE_BATCH,
        warmup_lr=s.WARMUP_LR,
        warmup_updates=s.WARMUP_UPDATES,
        kind=s.SCHEDULE,
        num_drops=s.NUM_DROPS,
        drop_factor=s.DROP_FACTOR,
        cosine_end=s.COSINE_END,
        cool_from=(branch := _updates_before(s.COOL_FROM) if s.COOL_FROM else 0),
        cool_updates=max(1, math.ceil(branch * s.COOL_SHARE - 1e-9)) if branch else 0,
    )


def _updates_before(path: str) -> int:
    """Updates that lie behind the checkpoint of a run folder, by its name."""
    named = re.fullmatch(r"model_(\d{7,18})\.pth", Path(path).name)
    if named is None:
        raise ConfigError(f"SOLVER.COOL_FROM is {path}; expected a checkpoint RUN/model_XXXXXXX.pth")
    return int(named[1]) + 1


def kept_updates(cfg: Config, schedule: solver.Schedule) -> frozenset[int]:
    """Updates after which a checkpoint stays for good, by SOLVER.KEEP_AT."""
    return frozenset(
        math.ceil(share * schedule.total_images / schedule.batch - 1e-9) for share in cfg.SOLVER.KEEP_AT
    )


def kept_by_chance(cfg: Config, ready: Job) -> float | None:
    """The share of training photos whose shuffled labels hold their true class; None without shuffling.

    Where true classes are not known, their hashtags stand for them.
    """
    if cfg.DATA.LABELS != "shuffled":
        return None
    return ready.stream.holding(list(ready.posts.kinds.values())[-1])


def heldout_images(cfg: Config, posts: index.ShardIndex) -> sampling.Ints:
    """The posts that recall is measured on, at most TEST.MAX_IMAGES of them, by a fixed draw."""
    images = all_heldout(cfg, posts)
    if len(images) <= cfg.TEST.MAX_IMAGES:
        return images
    return images[chance.shuffled(seed.derive("heldout"), len(images))[: cfg.TEST.MAX_IMAGES]]


def all_heldout(cfg: Config, posts: index.ShardIndex) -> sampling.Ints:
    """The held-out posts that have labels of every kind that is known, ascending."""
    offsets = posts.label_offsets if (others := _others(posts)) is None else others
    return selection.held_out_images(posts.post_hash, offsets, cfg.DATA.HELDOUT)


def fingerprint(cfg: Config, job: Job) -> dict[str, Any]:
    """What a resumed run must share with the run it continues; the number of processes is free."""
    usual = Config(defaults.TREE).flat()
    free = defaults.FREE_ON_RESUME | {k for k in defaults.LATER if cfg.flat()[k] == usual[k]}
    settings = {k: v for k, v in cfg.flat().items() if k not in free}
    named = {**settings, "dataset": job.posts.sha256}
    if job.schedule.cool_from:
        named["SOLVER.COOL_FROM"] = job.schedule.cool_from
    return named if job.verdicts is None else {**named, "verdicts": job.verdicts.sha256}
