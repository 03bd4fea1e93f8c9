"""A configuration checked and translated: what a pretraining run is, before anything is written."""

from __future__ import annotations

from typing import Any, NamedTuple

from pretrain.shards import index
from pretrain.stream import chance, exclusion, sampling, selection
from pretrain.stream.loader import Share, start_hash
from pretrain.training import defaults, model, solver
from wsl_det.core import seed
from wsl_det.core.config import Config
from wsl_det.core.verdicts import Verdicts
from wsl_det.errors import ConfigError, DataError


class Job(NamedTuple):
    """A checked configuration: what a run is, before any folder is made or weight drawn."""

    posts: index.ShardIndex
    stream: sampling.SampleStream
    share: Share
    arch: model.Arch
    schedule: solver.Schedule
    stream_hash: str  # name of the empty stream
    verdicts: Verdicts | None = None  # of a duplicate review, whose copies are not trained on


def check(cfg: Config, *, rank: int = 0, world: int = 1) -> tuple[index.ShardIndex, Share]:
    """What can be told at once about a configuration on ``world`` processes, as ConfigError or DataError."""
    if not cfg.DATA.SHARDS:
        raise ConfigError("DATA.SHARDS is not set; give the folder that tools/build_shards.py made")
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
    keys = ("HELDOUT", "SUBSET", "LABEL_NOISE", "RESAMPLE", "RESAMPLE_THRESHOLD", "SHUFFLE_SHARDS")
    identity = {key: cfg.DATA[key] for key in keys}
    if judged is not None:
        identity["VERDICTS"] = judged.sha256
    name = start_hash(dataset=posts.sha256, seed=cfg.SEED, batch=share.batch, **identity)
    return Job(posts, stream, share, arch, schedule, name, judged)


def make_stream(
    cfg: Config, posts: index.ShardIndex, judged: Verdicts | None = None
) -> sampling.SampleStream:
    """The sample stream of a configuration; images ``judged`` copies of test images are not in it."""
    return sampling.SampleStream(
        label_offsets=posts.label_offsets,
        label_values=posts.label_values,
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


def make_arch(cfg: Config) -> model.Arch:
    """The trunk of a configuration."""
    return model.make_arch(
        depth=cfg.MODEL.DEPTH,
        blocks=cfg.MODEL.BLOCKS,
        groups=cfg.MODEL.GROUPS,
        width_per_group=cfg.MODEL.WIDTH_PER_GROUP,
        res2_channels=cfg.MODEL.RES2_CHANNELS,
    )


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
    )


def heldout_images(cfg: Config, posts: index.ShardIndex) -> sampling.Ints:
    """The posts that recall is measured on, at most TEST.MAX_IMAGES of them, by a fixed draw."""
    images = selection.held_out_images(posts.post_hash, posts.label_offsets, cfg.DATA.HELDOUT)
    if len(images) <= cfg.TEST.MAX_IMAGES:
        return images
    return images[chance.shuffled(seed.derive("heldout"), len(images))[: cfg.TEST.MAX_IMAGES]]


def fingerprint(cfg: Config, job: Job) -> dict[str, Any]:
    """What a resumed run must share with the run it continues; the number of processes is free."""
    settings = {k: v for k, v in cfg.flat().items() if k not in defaults.FREE_ON_RESUME}
    named = {**settings, "dataset": job.posts.sha256}
    return named if job.verdicts is None else {**named, "verdicts": job.verdicts.sha256}
