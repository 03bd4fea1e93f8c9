"""The reference engine: Detectron2's own model under our loop. The only file that imports it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import detectron2
import numpy as np
import torch
from detectron2 import _C
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from wsl_det.core import dist
from wsl_det.core.config import Config
from wsl_det.detector.d2 import register
from wsl_det.detector.types import Example, Prediction, Target
from wsl_det.errors import EngineError


class Engine:
    """``wsl_det.detector.engine.DetectorEngine`` on an installed Detectron2."""

    name = "detectron2"
    version = detectron2.__version__

    def __init__(self, cfg: Config) -> None:
        self._device = dist.device(cfg.MODEL.DEVICE)
        self._cfg = translate(cfg)
        self._cfg.MODEL.DEVICE = str(self._device)
        # Its own pictures of the training would end in a storage that nobody reads.
        self._cfg.VIS_PERIOD = 0
        self._cfg.freeze()
        _check_inference(cfg)

    def build(self) -> nn.Module:
        """See the protocol; freezing is Detectron2's own, part of building its trunk."""
        # Its layers draw from the global generators, which are not ours to move.
        with torch.random.fork_rng(_cuda(self._device)):
            try:
                return build_model(self._cfg).train()
            except (AssertionError, KeyError, ValueError, NotImplementedError) as error:
                raise EngineError(
                    f"Detectron2 cannot build this model ({type(error).__name__}: {error}); "
                    "correct the keys below MODEL"
                ) from error

    def for_inference(self, model: nn.Module) -> nn.Module:
        """See the protocol: the model as Detectron2 has it."""
        return model

    def encode(self, batch: Sequence[Example]) -> list[dict[str, Any]]:
        """See the protocol: Detectron2's list of dicts, as its DatasetMapper makes them."""
        return [_encode(example) for example in batch]

    def decode(self, outputs: Sequence[Mapping[str, Instances]]) -> list[Prediction]:
        """See the protocol; its masks come as bitmaps of the whole image and leave as COCO RLE."""
        return [_decode(output["instances"].to("cpu")) for output in outputs]

    @contextmanager
    def running(self, seed: int) -> Iterator[None]:
        """See the protocol: seeds the global generators, which Detectron2 draws from, and puts them back."""
        if self._device.type == "cpu" and any(self._cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE):
            raise EngineError(
                "Detectron2 trains deformable convolutions on GPUs only (on a CPU it just detects); "
                "set MODEL.DEVICE cuda, or all of MODEL.RESNETS.DEFORM_ON_PER_STAGE to False"
            )
        with torch.random.fork_rng(_cuda(self._device)), EventStorage(0):
            torch.manual_seed(seed)
            yield


def _check_inference(cfg: Config) -> None:
    wanted = {k: v for k, v in cfg.WSL_DET.INFERENCE.to_dict().items() if v not in (False, "float32")}
    if wanted:
        keys = ", ".join(f"WSL_DET.INFERENCE.{key} {value}" for key, value in wanted.items())
        raise EngineError(f"Detectron2 has no {keys}; leave it out, or pass --engine embedded")


def translate(cfg: Config) -> CfgNode:
    """Detectron2's own configuration with our values; our ``WSL_DET`` keys stay behind."""
    theirs = get_cfg()
    register.add_config(theirs)
    tree = {key: value for key, value in cfg.to_dict().items() if key != "WSL_DET"}
    try:
        theirs.merge_from_other_cfg(CfgNode(tree))
    except (KeyError, ValueError) as error:
        raise EngineError(
            f"this Detectron2 ({detectron2.__version__}) does not take the configuration: {error}; "
            "leave the key at its default, or pass --engine embedded"
        ) from error
    return theirs


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def _encode(example: Example) -> dict[str, Any]:
    encoded = {
        "image": example.image,
        "image_id": example.image_id,
        "height": example.height,
        "width": example.width,
    }
    if example.target is not None:
        height, width = example.image.shape[-2:]
        encoded["instances"] = _instances(example.target, (height, width))
    return encoded


def _instances(target: Target, size: tuple[int, int]) -> Instances:
    instances = Instances(size)
    instances.gt_boxes = Boxes(target.boxes_xyxy)
    instances.gt_classes = target.classes
    if isinstance(target.masks, Tensor):
        instances.gt_masks = BitMasks(target.masks)
    elif target.masks is not None:
        instances.gt_masks = PolygonMasks(target.masks)
    return instances


def _decode(instances: Instances) -> Prediction:
    masks = None
    if instances.has("pred_masks"):
        masks = [_run_lengths(mask) for mask in instances.pred_masks]
    return Prediction(
        instances.pred_boxes.tensor.detach().float(),
        instances.scores.detach().float(),
        instances.pred_classes,
        masks,
    )


def _run_lengths(mask: Tensor) -> dict[str, Any]:
    runs = coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")}


def compiled_version() -> str:
    """Its version, with the compiler that made its extension."""
    return f"{detectron2.__version__}, compiled with {_C.get_compiler_version()}"


def compiled_cuda() -> str | None:
    """The CUDA version, such as "12.4", that its extension was compiled for; None for a CPU build."""
    return _C.get_cuda_version() if _C.has_cuda() else None
