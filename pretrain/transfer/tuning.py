"""One fine-tuning run: the whole network with its batch norms, on labelled photos, resumable."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.shards import images as image_files
from pretrain.shards import write as shards
from pretrain.stream import chance, jpeg_regions, sampling, selection, transforms
from pretrain.stream.loader import Batch, Loader, Share, start_hash
from pretrain.training import model as models
from pretrain.training import solver
from pretrain.training.train import StreamName
from pretrain.transfer.backbone import Network
from pretrain.transfer.features import View
from pretrain.transfer.folders import Split
from wsl_det.backbone import names
from wsl_det.backbone.sources import Source
from wsl_det.core import checkpoint, dist, log, loop, provenance, seed
from wsl_det.core.photos import BadImage

_SEEN_AT_1000 = 300_000
_WINDOW = 16  # chunks of photos that are shuffled among each other
_CHUNK = 1024


def images_to_see(photos: int) -> int:
    """Draws of a whole run on ``photos`` training photos: 300,000 at 1,000 photos, growing as their root.

    Few photos are seen often and many seldom: 6,000 photos 122 times, 1.28 million 8.4 times. The rule
    is ours, not the paper's.
    """
    return round(_SEEN_AT_1000 * math.sqrt(photos / 1000))


@dataclass(frozen=True)
class Recipe:
    """How one run trains; ``rate`` is the peak for a batch of 256 (it scales with the batch)."""

    rate: float
    images: int  # draws in all
    batch: int = 256
    bn_group: int = 32
    amp: str = "none"
    seed: int = 0
    threads: int = 2
    skip_budget: float = 0.01
    momentum: float = 0.9
    decay: float = 1e-4
    warmup_share: float = 0.05
    checkpoint_period: int = 200

    @property
    def schedule(self) -> solver.Schedule:
        """Linear warm-up from a tenth, then half a cosine to 0; ours, not the paper's."""
        updates = -(-self.images // self.batch)
        peak = self.rate * self.batch / 256
        return solver.Schedule(
            base_lr=self.rate,
            batch=self.batch,
            total_images=self.images,
            warmup_lr=peak / 10,
            warmup_updates=round(self.warmup_share * updates),
            kind="cosine",
        )

    def identity(self) -> dict[str, Any]:
        """What decides the trained weights; threads and checkpoints do not."""
        free = ("threads", "skip_budget", "checkpoint_period")
        return {k: v for k, v in vars(self).items() if k not in free}


class Photos:
    """A split as what the pretraining loader reads: posts with one tag each."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.label_offsets = np.arange(len(split) + 1, dtype=np.int64)
        self.label_values = split.labels.astype(np.int32)

    def __len__(self) -> int:
        return len(self.split)

    def key(self, image: int) -> str:
        """The file name."""
        return self.split.names[image]

    def read(self, image: int) -> bytes:
        """The file as the training crop decodes it; nothing for a file that cannot be used."""
        try:
            return image_files.as_jpeg(self.split.read(image))
        except BadImage:
            return b""  # the loader counts it as no image and shows another

    def ahead(self, order: Iterable[NDArray[np.int64]]) -> AbstractContextManager[None]:
        """Nothing is read ahead of a disk."""
        return nullcontext()

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """What the stream knows photos by."""
        return np.array([shards.post_hash(name) for name in self.split.names], dtype=np.uint64)

    def stream(self, num_classes: int, draw_seed: int) -> sampling.SampleStream:
        """Every photo once an epoch. The photos lie class by class, so an order of chance comes first."""
        starts = np.append(np.arange(0, len(self), _CHUNK), len(self)).astype(np.int64)
        return sampling.SampleStream(
            label_offsets=self.label_offsets,
            label_values=self.label_values,
            post_hash=self.hashes,
            shard_starts=starts,
            num_tags=num_classes,
            seed=draw_seed,
            selection=selection.Selection(),
            policy="natural",
            window=_WINDOW,
        )


def mixed(split: Split, draw_seed: int) -> Split:
    """The split in an order of chance, so that neighbours are not of one class."""
    return split.take(chance.shuffled(seed.derive("transfer order", draw_seed), len(split)))


class Tuning:
    """One process's part of a run that fits ``source`` to a split; ``finish`` gives the trained network."""

    def __init__(
        self,
        source: Source,
        split: Split,
        num_classes: int,
        *,
        recipe: Recipe,
        view: View,
        device: torch.device,
    ) -> None:
        self.source, self.recipe, self.device = source, recipe, device
        self.photos = Photos(mixed(split, recipe.seed))
        self.share = Share(recipe.batch, recipe.bn_group, dist.rank(), dist.world_size())
        self.bare = network(source, num_classes, recipe, self.share.groups).to(device)
        self.model = dist.wrap(self.bare)
        stream = self.photos.stream(num_classes, recipe.seed)
        self.name = StreamName(
            start_hash(photos=split.listing(), backbone=source.sha256, view=repr(view), **recipe.identity())
        )
        self.loader = Loader(
            self.photos,
            stream,
            transforms.TrainCrop(view.size, max_pixels=image_files.MAX_PIXELS, regions=jpeg_regions.find()),
            self.share,
            size=view.size,
            seed=recipe.seed,
            num_threads=recipe.threads,
            skip_budget=recipe.skip_budget,
            budget_name="--skip-budget",
        )
        self.fingerprint = {"stream": self.name.value}

    def train(self, folder: checkpoint.RunFolder, *, resume: bool) -> None:
        """Train to the end, from the newest checkpoint if ``resume``; every process calls this."""
        recipe, schedule = self.recipe, self.recipe.schedule
        groups = solver.parameter_groups(
            self.bare, decay=recipe.decay, decay_norm=recipe.decay, decay_bias=recipe.decay
        )
        plan = loop.Plan(
            max_iter=schedule.updates,
            lr=schedule.factor,
            checkpoint_period=recipe.checkpoint_period,
            amp=recipe.amp,
            state={"stream": self.name},
            fingerprint=self.fingerprint,
            samples=lambda batch: len(batch.draws),
            before_save=self.average_statistics,
        )
        trainer = loop.Loop(
            model=self.model,
            losses=self._losses,
            optimizer=solver.sgd(groups, lr=schedule.peak, momentum=recipe.momentum, nesterov=True),
            folder=folder,
            metrics=log.MetricSink(folder.path / "metrics.jsonl") if dist.is_main() else None,
            plan=plan,
        )
        start = trainer.resume() if resume else 0
        if start < schedule.updates:
            trainer.run(self.loader.batches(start, schedule.updates, self.name.value), start)
        self.average_statistics()

    def _losses(self, batch: Batch, iteration: int) -> dict[str, Tensor]:
        self.name.value = batch.stream
        inputs = self.bare.inputs(batch.images.to(self.device, non_blocking=True)).contiguous()
        scores = self.model(inputs).float()
        labels = batch.tags.ids[:, 0].to(self.device)
        loss = F.cross_entropy(scores, labels)
        right = (scores.argmax(1) == labels).float().mean()
        return {"loss": loss, "right": right.detach(), "skipped": loss.new_tensor(self.loader.budget.share)}

    def average_statistics(self) -> None:
        """Give every process the mean of all processes' BN statistics."""
        models.average_over_processes(models.running_statistics(self.bare))


def network(source: Source, num_classes: int, recipe: Recipe, groups: int) -> Network:
    """The trunk with trainable batch norms over groups of images, and a fresh head."""
    bare = Network(source, norm="BN", num_classes=num_classes)
    for module in list(bare.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                twin = models.GroupBatchNorm2d(
                    child.num_features, group=recipe.bn_group, groups_per_step=groups, eps=child.eps
                )
                twin.load_state_dict(child.state_dict())
                module.add_module(name, twin)
    assert isinstance(bare.fc, nn.Linear)
    rng = seed.generator("transfer head", recipe.seed)
    nn.init.normal_(bare.fc.weight, std=0.01, generator=rng)
    nn.init.zeros_(bare.fc.bias)
    return bare


def load_final(bare: Network, path: Path) -> None:
    """Put the weights of a finished run into its network."""
    saved = checkpoint.load_weights(path)["model"]
    own = {f"trunk.{names.to_detectron2(k)}": v for k, v in saved.items() if not k.startswith("fc.")}
    head = {k: v for k, v in saved.items() if k.startswith("fc.")}
    checkpoint.load_exactly(bare, {**own, **head}, str(path))


def payload(
    tuning: Tuning, view: View, *, classes: tuple[str, ...], data: str, more: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of ``model_final.pth``, as a pretraining run writes it: torchvision's names, a header."""
    source = tuning.source
    weights = {}
    for name, value in tuning.bare.state_dict().items():
        inside = name.removeprefix("trunk.")
        key = names.to_torchvision(inside) if inside != name else name
        weights[key] = value.detach().cpu().contiguous()
    made_from = {
        "backbone": f"sha256:{source.sha256}",
        "train": f"sha256:{tuning.photos.split.listing()}",
    }
    licence = source.origin.get("licence")
    about = {
        **provenance.header("fine-tuned classifier", 1, made_from),
        "arch": source.arch.to_dict(),
        **source.convention.to_meta(),
        "bn_statistics": "exponential average over steps of the mean over BN groups, averaged over processes",
        "classes": list(classes),
        "recipe": dict(vars(tuning.recipe)),
        "view": {"size": view.size, "resize": view.resize},
        "licence": dict(licence) if isinstance(licence, Mapping) else None,
        "provenance": _provenance(source, data, classes),
        **more,
    }
    return {"model": weights, "wsl_det": about}


def _provenance(source: Source, data: str, classes: tuple[str, ...]) -> dict[str, Any]:
    from pretrain.transfer.sources import synset_list

    told = source.origin.get("provenance")
    known = dict(told) if isinstance(told, Mapping) else {}
    before = known.get("training_data") or source.origin.get("dataset") or "unknown"
    in1k = set(classes) <= set(synset_list("timm:imagenet")[0])
    own_run = "vocabulary" in source.origin or "dataset" in source.origin
    past = known.get("fine_tuned_on_in1k") or ("no" if own_run else "unknown")
    return {
        **known,
        "source": source.path.name,
        "source_sha256": source.sha256,
        "training_data": f"{before}; then {data} ({len(classes)} classes)",
        "fine_tuned_on_in1k": "yes" if in1k else past,
    }
