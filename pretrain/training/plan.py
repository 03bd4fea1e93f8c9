"""What a configuration would do at N processes, told before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from pretrain.stream import exclusion, resampling_table, sampling
from pretrain.stream.loader import Tags
from pretrain.training import job, losses, model, recompute
from pretrain.training.arch import Arch, count_multiply_adds
from wsl_det.core import addresses, checkpoint
from wsl_det.core.config import Config

_GIB = 2**30
_FLOAT = 4


def describe(
    cfg: Config,
    *,
    world: int,
    images_per_second: float | None = None,
    prices: tuple[float, float] = (0.4, 0.0),
) -> str:
    """The plan of a configuration on ``world`` processes, as lines to read.

    ``images_per_second`` is of the whole job; ``prices`` are dollars for a million requests and for a
    gigabyte, of shards at addresses. Raises what starting the run would raise.
    """
    # Nothing is written: a run folder need not be named yet.
    ready = job.prepare(cfg.override(OUTPUT_DIR=cfg.OUTPUT_DIR or "RUN"), world=world)
    parts = (
        _data(cfg, ready),
        _batches(cfg, ready),
        _learning_rate(ready),
        _costs(cfg, ready),
        _time(ready, images_per_second),
        _reads(ready, images_per_second, prices),
    )
    return "\n".join(line for part in parts for line in part)


def saved_for_backward(net: nn.Module, images: Tensor) -> int:
    """Bytes that one training forward keeps for its backward, each storage counted once.

    Parameters are not counted. Works on the meta device, where nothing is computed.
    """
    tags = Tags(
        torch.zeros((len(images), 1), dtype=torch.int64, device=images.device),
        torch.ones(len(images), dtype=torch.int64, device=images.device),
    )
    return _kept(net, lambda: losses.hashtag_loss(net(images), tags))


def saved_with_recomputing(net: nn.Module, images: Tensor) -> int:
    """The same for ``recompute.recompute_blocks``, at the moment when the largest block runs again."""
    inputs: list[Tensor] = []
    blocks = recompute.residual_blocks(net)
    handles = [b.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for b in blocks]
    net(images)
    for handle in handles:
        handle.remove()
    pairs = zip(blocks, inputs, strict=True)
    largest = max(_kept(block, partial(block, x.detach().requires_grad_())) for block, x in pairs)
    recompute.recompute_blocks(net)
    outside = saved_for_backward(net, images)
    return outside + sum(x.untyped_storage().nbytes() for x in inputs) + largest


def _kept(net: nn.Module, run: Callable[[], object]) -> int:
    own = {p.untyped_storage()._cdata for p in net.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            kept[storage] = tensor  # held, so that no later tensor takes its number
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = run()
    del found
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def memory_estimate(cfg: Config, arch: Arch, num_classes: int, groups: int) -> dict[str, int]:
    """Bytes that one process needs in its device's memory, by purpose.

    Not counted: the convolutions' workspaces, fragmentation, the exchange buckets of
    DistributedDataParallel (as much again as the gradients at most).
    """
    pieces = cfg.SOLVER.ACCUMULATE
    images = groups * cfg.MODEL.BN_GROUP // pieces
    half = cfg.SOLVER.AMP != "none"
    with torch.device("meta"):
        net = model.build(arch, num_classes, bn_group=cfg.MODEL.BN_GROUP, groups_per_step=groups)
        parameters = model.count_parameters(net)["total"]
        size = cfg.INPUT.SIZE
        pixels = torch.empty((images, 3, size, size))
        if half:
            net, pixels = net.to(torch.bfloat16), pixels.to(torch.bfloat16)
        count = saved_with_recomputing if cfg.MODEL.RECOMPUTE else saved_for_backward
        activations = count(net.train(), pixels)
    return {
        "weights": _FLOAT * parameters,
        "gradients": _FLOAT * parameters,
        "momentum": _FLOAT * parameters,
        "averaged weights": _FLOAT * parameters if cfg.SOLVER.EMA_DECAY else 0,
        "half-precision weights": 2 * parameters if half else 0,
        "activations": activations,
    }


def checkpoint_bytes(cfg: Config, net: nn.Module) -> int:
    """Size of one checkpoint of a run, with the averaged weights where SOLVER.EMA_DECAY asks for them."""
    averages = sum(t.numel() * t.element_size() for t in net.state_dict().values() if t.is_floating_point())
    return checkpoint.state_bytes(net) + (averages if cfg.SOLVER.EMA_DECAY else 0)


def _data(cfg: Config, ready: job.Job) -> list[str]:
    posts, stream = ready.posts, ready.stream
    heldout = len(job.all_heldout(cfg, posts))
    draws = stream.epoch(0).draws
    epochs = ready.schedule.updates * ready.share.batch / draws
    lines = [
        f"data        {posts.name}: {stream.num_images:,} images to train on, {heldout:,} held out, "
        f"{len(posts.vocabulary):,} classes",
        f"stream      {cfg.DATA.RESAMPLE} resampling: {draws:,} draws in the first epoch; "
        f"about {epochs:.2f} epochs; {ready.stream_hash[:16]}",
    ]
    if ready.verdicts is not None:
        lines.append(f"duplicates  {exclusion.told(ready.verdicts, posts)}")
    if told := studied(cfg, ready):
        lines.append(f"study       {told}")
    names = [entry.name for entry in posts.vocabulary.classes]
    return lines + [f"            {line}" for line in resampling_table.describe(stream, names)]


def studied(cfg: Config, ready: job.Job) -> str:
    """The labels, the subset and the label noise of a study, in words; empty for a plain run."""
    stream, posts, parts = ready.stream, ready.posts, []
    if len(posts.kinds) > 1 or cfg.DATA.LABELS != "hashtags":
        parts.append(f"labels {cfg.DATA.LABELS}; all images to train on have {' and '.join(posts.kinds)}")
    if (kept := job.kept_by_chance(cfg, ready)) is not None:
        parts.append(f"{100 * kept:.2f}% of them keep their true class by chance")
    if cfg.DATA.SUBSET < 1:
        parts.append(f"subset {cfg.DATA.SUBSET:g} of the posts")
    if cfg.DATA.LABEL_NOISE:
        tags = int(stream.tag_counts.sum())
        parts.append(
            f"label noise {cfg.DATA.LABEL_NOISE:g}: {stream.num_replaced:,} of {tags:,} tags replaced"
        )
    return "; ".join(parts)


def _batches(cfg: Config, ready: job.Job) -> list[str]:
    share = ready.share
    own = share.groups * share.group
    legal = sampling.legal_world_sizes(share.batch // share.group)
    cut = f", in {cfg.SOLVER.ACCUMULATE} pieces" if cfg.SOLVER.ACCUMULATE > 1 else ""
    return [
        f"batch       {share.batch:,} images = {share.batch // share.group:,} BN groups of {share.group}; "
        f"{share.world} processes of {own} images ({share.groups} groups){cut}",
        f"            same batches with {', '.join(map(str, legal))} processes",
        f"updates     {ready.schedule.updates:,} ({ready.schedule.total_images:,} draws)",
    ]


def _learning_rate(ready: job.Job) -> list[str]:
    schedule = ready.schedule
    marks = {0, min(schedule.warmup_updates, schedule.updates - 1), schedule.updates - 1}
    if schedule.kind == "steps":
        parts = schedule.num_drops + 1
        marks |= {-(-schedule.total_images * i // parts // schedule.batch) for i in range(1, parts)}
    else:
        marks |= {schedule.updates * i // 10 for i in range(1, 10)}
    marks = {m for m in marks if m < schedule.updates}
    rates = [f"{m:,}: {schedule.peak * schedule.factor(m):.4g}" for m in sorted(marks)]
    return [f"rate        peak {schedule.peak:.4g}; by update {'  '.join(rates)}"]


def _costs(cfg: Config, ready: job.Job) -> list[str]:
    classes = len(ready.posts.vocabulary)
    with torch.device("meta"):
        net = model.build(ready.arch, classes)
    counts, size = model.count_parameters(net), checkpoint_bytes(cfg, net)
    adds = count_multiply_adds(ready.arch, classes, cfg.INPUT.SIZE)
    kept = cfg.SOLVER.CHECKPOINTS_KEPT
    memory = memory_estimate(cfg, ready.arch, classes, ready.share.groups)
    detail = ", ".join(f"{name} {value / _GIB:.2f}" for name, value in memory.items() if value)
    return [
        f"model       {ready.arch.name}: {counts['total']:,} parameters, "
        f"{adds / 1e9:.2f} billion multiply-adds an image at {cfg.INPUT.SIZE}",
        f"checkpoint  {size / _GIB:.2f} GiB every {cfg.SOLVER.CHECKPOINT_PERIOD:,} updates, {kept} kept: "
        f"{(kept + 1) * size / _GIB:.2f} GiB of disk while writing",
        f"memory      about {sum(memory.values()) / _GIB:.2f} GiB a process without workspaces ({detail})",
    ]


def _time(ready: job.Job, images_per_second: float | None) -> list[str]:
    if not images_per_second:
        return ["time        give --images-per-second to see the hours"]
    hours = ready.schedule.updates * ready.share.batch / images_per_second / 3600
    return [f"time        {hours:,.1f} hours at {images_per_second:,.0f} images/s of the whole job"]


def _reads(ready: job.Job, images_per_second: float | None, prices: tuple[float, float]) -> list[str]:
    """What the processes ask of a store, counted on what the first of them reads together."""
    if not any(map(addresses.is_address, ready.posts.shards)):
        return []  # and nothing is drawn: a plan may be of more draws than memory holds
    share, rows = ready.share, ready.share.rows
    steps = max(1, min(ready.posts.stretch // (rows.stop - rows.start), ready.schedule.updates))
    starts = range(rows.start, rows.start + steps * share.batch, share.batch)
    drawn = np.concatenate([ready.stream.take(start, rows.stop - rows.start) for start in starts])
    found = ready.posts.requests(drawn)
    if found is None:
        return []
    requests, read, wanted = found
    total = ready.schedule.updates * share.batch / len(drawn)
    cost = total * (requests / 1e6 * prices[0] + read / 1e9 * prices[1])
    rate = f"{requests / len(drawn):.3f} requests and {read / len(drawn) / 1e3:,.1f} kB a photo"
    if images_per_second:
        each = images_per_second / len(drawn)
        rate = f"{requests * each:,.1f} requests/s and {read * each / 1e6:,.1f} MB/s of the whole job"
    return [
        f"reads       {share.world} processes read {read / wanted:.2f} times the drawn bytes, "
        f"{len(drawn):,} photos with {requests:,} requests; {rate}",
        f"            in all {total * requests / 1e6:,.2f} million requests, {total * read / 1e9:,.1f} GB; "
        f"{cost:,.2f} dollars at {prices[0]:g} a million and {prices[1]:g} a GB",
    ]
