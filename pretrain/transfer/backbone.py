"""Backbones as people name them: as modules that turn photos into features or scores, and their past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretrain.shards import index
from pretrain.stream.loader import normalize
from pretrain.training import defaults, finish, job
from wsl_det.backbone import batch_norm, sources
from wsl_det.backbone.sources import Source
from wsl_det.core import config, log
from wsl_det.errors import CheckpointError, WslError

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Named:
    """A backbone by path, a file or a run's folder, with options of ``sources.read``."""

    text: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def read(self) -> Source:
        """The trunk, checked; CheckpointError for what is none."""
        return sources.read(self.text, **self.options)


class Network(nn.Module):
    """A trunk with its features averaged over the picture, and a linear head when it has classes.

    (N, H, W, 3) RGB pixels, uint8, enter through ``inputs``; the output is (N, channels) or (N, classes).
    """

    def __init__(self, source: Source, *, norm: str = "FrozenBN", num_classes: int = 0) -> None:
        super().__init__()
        self.convention = source.convention
        self.trunk = source.arch.build(
            norm=norm, stride_in_1x1=source.convention.stride_in_1x1, out_features=("res5",)
        )
        own = self.trunk.state_dict()
        counters = {k: torch.zeros_like(v) for k, v in own.items() if k.endswith("num_batches_tracked")}
        self.trunk.load_state_dict({**source.weights, **counters})
        self.channels: int = self.trunk.channels["res5"]
        self.fc: nn.Module = nn.Linear(self.channels, num_classes) if num_classes else nn.Identity()

    def frozen(self, device: torch.device | str = "cpu") -> Network:
        """Itself, ready to answer; channels lie last in memory, which is faster."""
        return self.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def inputs(self, images: Tensor) -> Tensor:
        """Photos as the trunk was trained on them: (N, 3, H, W) float32; in memory the channels stay last."""
        rgb = self.convention.channel_order == "RGB"
        ordered = images if rgb else images.flip(3)
        return normalize(ordered, self.convention.pixel_mean, self.convention.pixel_std)

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features, or scores of the classes."""
        return self.fc(self.trunk(x)["res5"].mean(dim=(2, 3)))  # type: ignore[no-any-return]

    @torch.inference_mode()
    def answer(self, images: NDArray[np.uint8], amp: str = "none") -> NDArray[np.float32]:
        """The output for (N, H, W, 3) RGB pixels, without gradients; ``amp``: none, bfloat16, float16."""
        device = next(self.trunk.parameters()).device
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        with torch.autocast(device.type, dtype=_DTYPES.get(amp), enabled=amp != "none"):
            return self(self.inputs(pixels)).float().cpu().numpy()  # type: ignore[no-any-return]


def trainable(source: Source) -> None:
    """Raise CheckpointError when the trunk's batch norms cannot be trained."""
    if source.bn == batch_norm.FOLDED:
        raise CheckpointError(
            f"the BN statistics of {source.path} are folded into its affine, so that training its batch "
            "norms is wrong; use --mode features, or the file before folding"
        )


def with_head(source: Source, device: torch.device | str = "cpu") -> Network:
    """The frozen network with the classifier that its file holds; CheckpointError when it holds none."""
    head = sources.head(source)
    if head is None:
        raise CheckpointError(
            f"{source.path} holds no classifier of {source.arch.name}'s features (fc.weight, fc.bias); "
            "give the pretraining run or the published file, not the exported backbone"
        )
    weight, bias = head
    network = Network(source, num_classes=len(bias))
    assert isinstance(network.fc, nn.Linear)
    if weight.shape != network.fc.weight.shape:
        raise CheckpointError(
            f"{source.path}: its classifier takes {weight.shape[1]} features of {network.channels}"
        )
    network.fc.load_state_dict({"weight": weight, "bias": bias})
    return network.frozen(device)


def pretraining(source: Source) -> dict[str, Any] | None:
    """The record of the pretraining behind a backbone, or None when nothing tells of one.

    The keys of ``pretrain.training.record``, and beside them ``capacity`` (such as "ResNeXt-101 32x8d") and
    ``trunk_parameters``.
    """
    told = source.origin.get("pretraining")
    found = dict(told) if isinstance(told, Mapping) else _of_run(source)
    if not found:
        return None
    parameters = sum(v.numel() for k, v in source.weights.items() if "running_" not in k)
    return {**found, "capacity": source.arch.name, "trunk_parameters": parameters}


def view(source: Source) -> tuple[int, int] | None:
    """(size, resize) of the test crop that a pretraining run was measured with, when it says so."""
    for key in ("view", "pretraining"):
        told = source.origin.get(key)
        if isinstance(told, Mapping) and all(type(told.get(k)) is int for k in ("size", "resize")):
            return told["size"], told["resize"]
    settings = source.origin.get("config")
    pixels = settings.get("INPUT") if isinstance(settings, Mapping) else None
    if isinstance(pixels, Mapping) and all(type(pixels.get(k)) is int for k in ("SIZE", "TEST_RESIZE")):
        return pixels["SIZE"], pixels["TEST_RESIZE"]
    return None


def _of_run(source: Source) -> dict[str, Any]:
    """The record of a run of before runs wrote one: from its config, and its shards where they still lie."""
    settings = source.origin.get("config")
    if not isinstance(settings, Mapping) or "DATA" not in settings:
        return {}
    try:
        cfg = config.merge(defaults.TREE, settings, where=str(source.path))
        found = finish.record_of_config(cfg)
    except WslError:
        return {}
    found["dataset"], found["vocabulary"] = (source.origin.get(k) for k in ("dataset", "vocabulary"))
    try:
        posts = index.open_index(Path(cfg.DATA.SHARDS))
        if posts.vocabulary.sha256 == found["vocabulary"] and posts.name == found["dataset"]:
            found |= {"images": job.make_stream(cfg, posts).num_images, "classes": len(posts.vocabulary)}
    except (WslError, OSError):
        log.get("transfer").info(
            "the shards of %s are not here: its number of images is unknown", source.path
        )
    return found
