"""A copy of a model that detects faster, within stated tolerances; every change is a switch."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsl_det.backbone.norms import FrozenBatchNorm2d
from wsl_det.backbone.trunk import NormedConv2d
from wsl_det.detector.embedded.mask_head import MaskHead
from wsl_det.detector.embedded.mask_rcnn import MaskRCNN

_STATISTICS = (FrozenBatchNorm2d, nn.BatchNorm2d, nn.SyncBatchNorm)
# Detections whose doubled masks are held at a time: 13 MB of them in the usual head.
_MASKS_AT_ONCE = 16


@dataclass(frozen=True)
class Switches:
    """What may be done for speed. With all off a model is left exactly as it is.

    fold_bn: statistics and affine of batch norms go into the weights before them. channels_last:
    memory format of the convolutions. class_masks: the mask branch computes the mask of a
    detection's class only. dtype: of the convolutions and the fully connected layers, except the
    last ones, whose outputs are ranked.
    """

    fold_bn: bool = False
    channels_last: bool = False
    class_masks: bool = False
    dtype: torch.dtype = torch.float32


@torch.no_grad()
def prepare(model: MaskRCNN, switches: Switches) -> MaskRCNN:
    """What detects in place of ``model``: itself with all off, else a copy in evaluation mode.

    The copy shares every tensor that is not changed, and holds the weights of this moment. Its
    state_dict is not a detector's.
    """
    if switches == Switches():
        return model
    fast = _copy(model).eval()
    if switches.fold_bn:
        for module in fast.modules():
            if isinstance(module, NormedConv2d) and isinstance(module.norm, _STATISTICS):
                _fold(module)
    if switches.class_masks and isinstance(fast.roi_heads.mask_head, MaskHead):
        fast.roi_heads.mask_head = ClassMaskHead(fast.roi_heads.mask_head)
    if switches.dtype != torch.float32:
        _lower(fast, switches.dtype)
    if switches.channels_last:
        for module in fast.modules():
            if isinstance(module, nn.Conv2d):
                _replace(module, module.weight.contiguous(memory_format=torch.channels_last))
    return fast


class ClassMaskHead(MaskHead):
    """A mask head that predicts one mask a detection instead of one a class: up to K times less work.

    Each pixel of the input becomes a 2 x 2 square on its own, so the doubling is one matrix
    product, and the last layer's scalar product is taken with the weights of the right class only.
    """

    def __init__(self, head: MaskHead) -> None:
        nn.Module.__init__(self)
        self.num_convs = head.num_convs
        for name, child in head.named_children():
            self.add_module(name, child)

    def probabilities(self, x: Tensor, classes: Tensor) -> Tensor:
        """See ``MaskHead.probabilities``."""
        for number in range(1, self.num_convs + 1):
            x = F.relu_(self.get_submodule(f"mask_fcn{number}")(x))
        chosen = classes if len(self.predictor.weight) > 1 else torch.zeros_like(classes)
        parts = zip(x.split(_MASKS_AT_ONCE), chosen.split(_MASKS_AT_ONCE), strict=True)
        return torch.cat([self._logits(some, of) for some, of in parts]).sigmoid_()

    def _logits(self, x: Tensor, classes: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        weight, bias = self.deconv.weight, self.deconv.bias  # (C, D, 2, 2), (D,)
        assert bias is not None and self.predictor.bias is not None
        square = weight.permute(0, 2, 3, 1).reshape(channels, -1)
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        doubled = F.relu_(torch.addmm(bias.repeat(4), rows, square))
        doubled = doubled.view(count, height * width * 4, weight.shape[1])
        of_class = self.predictor.weight[classes].flatten(1)[:, :, None]
        logits = torch.bmm(doubled, of_class) + self.predictor.bias[classes][:, None, None]
        squares = logits.view(count, height, width, 2, 2).permute(0, 1, 3, 2, 4)
        return squares.reshape(count, 2 * height, 2 * width)


def _copy(model: MaskRCNN) -> MaskRCNN:
    samplers = (model.proposal_generator.sampler, model.roi_heads.sampler)
    kept = itertools.chain(model.parameters(), model.buffers(), samplers)
    return copy.deepcopy(model, {id(thing): thing for thing in kept})


def _fold(conv: NormedConv2d) -> None:
    norm: Any = conv.norm
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.weight is not None:
        scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    _replace(conv, (conv.weight * scale[:, None, None, None]).to(conv.weight.dtype), shift)
    conv.norm = None


def _lower(model: MaskRCNN, dtype: torch.dtype) -> None:
    """Trunk, pyramid and hidden layers in ``dtype``, float32 in and out of each chain.

    Scores, offsets and masks come from float32 layers: eight bits would tie the scores that
    ranking and suppression go by.
    """
    heads = model.roi_heads
    chains: list[tuple[nn.Module, nn.Module]] = [(model.backbone, model.backbone)]
    hidden = model.proposal_generator.rpn_head.conv
    chains += [(conv, conv) for conv in (hidden if isinstance(hidden, nn.Sequential) else [hidden])]
    chains.append((heads.box_head, heads.box_head))
    if heads.mask_head is not None:
        convs = [m for m in heads.mask_head.modules() if isinstance(m, NormedConv2d)][:-1]
        chains += [(convs[0], convs[-1])] if convs else []
        for conv in convs:
            _cast(conv, dtype)
    for first, last in chains:
        for module in first.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                _cast(module, dtype)
        first.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(dtype),))
        last.register_forward_hook(lambda _, __, output: _to_float32(output))


def _to_float32(output: Any) -> Any:
    if isinstance(output, dict):
        return {name: value.float() for name, value in output.items()}
    return output.float()


def _cast(layer: nn.Conv2d | nn.Linear, dtype: torch.dtype) -> None:
    bias = None if layer.bias is None else layer.bias.to(dtype)
    _replace(layer, layer.weight.to(dtype), bias)


def _replace(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor | None = None) -> None:
    """New tensors instead of new values: the old ones belong to the model that is being trained."""
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=False)
