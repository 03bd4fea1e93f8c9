"""Initial weights drawn by parameter name, so that one seed starts both engines equal."""

from __future__ import annotations

import math
import re
from functools import partial

import torch
from torch import Tensor, nn

from wsl_det.core import seed as seeds
from wsl_det.errors import EngineError


def _caffe_xavier(weight: Tensor, generator: torch.Generator) -> None:
    bound = math.sqrt(3 / weight[0].numel())
    nn.init.uniform_(weight, -bound, bound, generator=generator)


def _torch_default(weight: Tensor, generator: torch.Generator) -> None:
    bound = 1 / math.sqrt(weight[0].numel())
    nn.init.uniform_(weight, -bound, bound, generator=generator)


_he_fan_out = partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")
# The distributions of Detectron2's layers, by where a weight stands in the model; a cascade numbers
# its heads.
_WEIGHTS = (
    # Deformable convolutions begin as ordinary ones.
    (r"backbone\.bottom_up\..*\.conv2_offset\.weight", lambda weight, generator: nn.init.zeros_(weight)),
    (r"backbone\.bottom_up\..*", _he_fan_out),
    (r"backbone\.fpn_(lateral|output)\d+\.weight", _caffe_xavier),
    (r"backbone\.simfp_\d\.\d\.weight", _torch_default),
    (r"proposal_generator\.rpn_head\..*", partial(nn.init.normal_, std=0.01)),
    (r"roi_heads\.box_head\.(\d+\.)?conv\d+\.weight", _he_fan_out),
    (r"roi_heads\.box_head\.(\d+\.)?fc\d+\.weight", _caffe_xavier),
    (r"roi_heads\.box_predictor\.(\d+\.)?cls_score\.weight", partial(nn.init.normal_, std=0.01)),
    (r"roi_heads\.box_predictor\.(\d+\.)?bbox_pred\.weight", partial(nn.init.normal_, std=0.001)),
    (r"roi_heads\.mask_head\.(mask_fcn\d+|deconv)\.weight", _he_fan_out),
    (r"roi_heads\.mask_head\.predictor\.weight", partial(nn.init.normal_, std=0.001)),
)


@torch.no_grad()
def draw(model: nn.Module, seed: int, prefix: str = "") -> None:
    """Fill every parameter of a detector with Detectron2's Faster/Mask R-CNN names, in place.

    ``prefix`` is the model's own name in the detector, such as ``backbone.``. A trunk of timm's draws itself.

    Each weight has a generator of its own, made of ``seed`` and its name, so neither the engine nor
    the order of construction nor the width of another layer moves it. Weights of norms become 1, all
    biases 0; buffers (statistics of batch norms) are left alone. Drawn in float32 on the CPU. Raises
    EngineError for a parameter of another kind of model.
    """
    own: set[nn.Parameter] = set()
    for module in model.modules():
        if callable(draw_itself := getattr(module, "draw", None)):
            draw_itself(seed)
            own.update(module.parameters())
    for key, parameter in model.named_parameters():
        name = prefix + key
        if parameter in own:
            continue
        if name.endswith(".bias"):
            parameter.zero_()
        elif ".norm." in name or parameter.ndim == 1:
            parameter.fill_(1)
        else:
            fill = next((fill for pattern, fill in _WEIGHTS if re.fullmatch(pattern, name)), None)
            if fill is None:
                raise EngineError(
                    f"no initial distribution is known for parameter {name}: wsl_det trains Faster, Mask and "
                    "Cascade R-CNN over a ResNet with FPN; choose such a model, or train this one with "
                    "Detectron2's own tools"
                )
            drawn = torch.empty(parameter.shape, dtype=torch.float32)
            fill(drawn, generator=seeds.generator("initial", seed, name))
            parameter.copy_(drawn)
