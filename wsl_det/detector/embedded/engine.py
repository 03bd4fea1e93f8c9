"""The embedded engine: a Mask R-CNN of our own, with Detectron2's numerics and names, on torchvision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from wsl_det import __version__
from wsl_det.core import dist
from wsl_det.core.config import Config
from wsl_det.detector.embedded import inference, mask_ops
from wsl_det.detector.embedded.build import build_model, inference_switches
from wsl_det.detector.embedded.mask_rcnn import Found, MaskRCNN
from wsl_det.detector.types import Example, Prediction


class Engine:
    """``wsl_det.detector.engine.DetectorEngine`` without Detectron2."""

    name = "embedded"
    version = __version__

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        self._device = dist.device(cfg.MODEL.DEVICE)
        self._switches = inference_switches(cfg)
        self._rng = torch.Generator(device=self._device)

    def build(self) -> nn.Module:
        return build_model(self._cfg, self._rng).to(self._device)

    def for_inference(self, model: nn.Module) -> nn.Module:
        assert isinstance(model, MaskRCNN)
        return inference.prepare(model, self._switches)

    def encode(self, batch: Sequence[Example]) -> list[Example]:
        return list(batch)

    def decode(self, outputs: Sequence[Found]) -> list[Prediction]:
        return [_prediction(found) for found in outputs]

    @contextmanager
    def running(self, seed: int) -> Iterator[None]:
        self._rng.manual_seed(seed)
        yield


def _prediction(found: Found) -> Prediction:
    boxes = found.boxes.detach().cpu().float()
    masks = None
    if found.masks is not None:
        masks = mask_ops.paste_as_runs(found.masks.detach().cpu(), boxes, found.size)
    return Prediction(boxes, found.scores.detach().cpu().float(), found.classes.cpu(), masks)
