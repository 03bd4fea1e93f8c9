"""Any of timm's models as a detector's trunk: maps by stride, stages and norms frozen, one state dict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wsl_det.backbone import timm_models
from wsl_det.backbone.norms import FrozenBatchNorm2d
from wsl_det.backbone.timm_models import Declared
from wsl_det.errors import ConfigError, first_line


class TimmTrunk(nn.Module):
    """timm's model ``name`` cut behind its last map: (N, 3, H, W) to {"res4": (N, C, H/16, W/16), ...}.

    ``out_features`` are names of strides (res2: 4 pixels to res5: 32), all that the model has when empty.
    H and W must be multiples of ``size_divisor``. ``freeze_at`` counts timm's layer groups, the stem first;
    ``frozen_norm`` freezes every batch norm, which layer norms, without statistics, never are. Weights are
    timm's initial ones, of seed 0. Raises ConfigError for what the model does not offer.
    """

    model: Any  # timm's own methods are no tensors

    def __init__(
        self,
        name: str,
        *,
        out_features: Sequence[str] = (),
        freeze_at: int = 0,
        frozen_norm: bool = False,
        drop_path: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        known = timm_models.declared(name)
        self.declared = _chosen(known, out_features)
        self._more = {"drop_path_rate": drop_path} if drop_path else {}
        self.model = self._drawn(0)
        self.out_features = tuple(self.declared.features)
        self.channels, self.strides = self.declared.channels, self.declared.strides
        self.size_divisor = known.divisor
        if checkpointing:
            try:
                self.model.set_grad_checkpointing(True)
            except (AssertionError, AttributeError) as error:
                raise ConfigError(
                    f"MODEL.TIMM.CHECKPOINTING: timm's {name} cannot ({first_line(error)})"
                ) from None
        self._held: list[nn.Module] = []
        self._freeze(freeze_at, frozen_norm)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return timm_models.intermediates(self.model, x, self.declared.features)

    def train(self, mode: bool = True) -> TimmTrunk:
        super().train(mode)
        for norm in self._held:
            norm.eval()
        return self

    def behind(self) -> set[str]:
        """Names of what an artifact holds behind the last of ``out_features``; this trunk is without it."""
        with torch.device("meta"):
            known = timm_models.declared(self.declared.name)
            full = timm_models.pruned(timm_models.create(known.name, known.options), known.features)
        return full.state_dict().keys() - self.model.state_dict().keys()

    @torch.no_grad()
    def draw(self, seed: int) -> None:
        """timm's own initial weights, as ``seed`` draws them."""
        drawn = self._drawn(seed).state_dict()
        for key, value in self.model.state_dict().items():
            value.copy_(drawn[key])

    def layer_groups(
        self, decay: float, weight_decay: float
    ) -> list[tuple[float, float, list[nn.Parameter]]]:
        """timm's groups of what learns: (factor of the rate, weight decay, parameters), 1 for the last."""
        from timm.optim import param_groups_layer_decay

        keep: set[str] = getattr(self.model, "no_weight_decay", set)()
        groups = param_groups_layer_decay(self.model, weight_decay, keep, layer_decay=decay)
        return [(group["lr_scale"], group["weight_decay"], group["params"]) for group in groups]

    def _drawn(self, seed: int) -> nn.Module:
        known = self.declared
        with torch.random.fork_rng([]), torch.device("cpu"):
            torch.manual_seed(seed)
            try:
                model = timm_models.create(known.name, known.options, **self._more)
            except TypeError as error:
                raise ConfigError(
                    f"MODEL.TIMM.DROP_PATH: timm's {known.name} has none ({first_line(error)}); set it to 0"
                ) from None
        return timm_models.pruned(model, known.features)

    def _freeze(self, at: int, frozen_norm: bool) -> None:
        """Parameters of the first ``at`` groups stop learning; their batch norms, or all, are frozen."""
        own = dict(self.model.named_parameters())
        still = set(self._first_groups(at))
        for key in still:
            own[key].requires_grad = False
        for name, module in list(self.model.named_modules()):
            inside = {f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)}
            if isinstance(module, _BatchNorm) and (frozen_norm or (inside and inside <= still)):
                self._freeze_norm(name, module)

    def _freeze_norm(self, name: str, norm: _BatchNorm) -> None:
        if type(norm) is nn.BatchNorm2d and norm.affine and norm.track_running_stats:
            parent, _, child = name.rpartition(".")
            setattr(self.model.get_submodule(parent), child, FrozenBatchNorm2d.of(norm))
            return
        # timm's with an activation inside, or of tokens: in evaluation mode they are frozen ones.
        for parameter in norm.parameters(recurse=False):
            parameter.requires_grad = False
        self._held.append(norm.eval())

    def _first_groups(self, at: int) -> list[str]:
        if at <= 0:
            return []
        from timm.models import group_parameters

        if not hasattr(self.model, "group_matcher"):
            raise ConfigError(
                f"MODEL.TIMM.FREEZE_AT: timm names no stages of {self.declared.name}; set it to 0"
            )
        groups = group_parameters(self.model, self.model.group_matcher(coarse=True))
        return [key for group in range(at) for key in groups.get(group, ())]


def _chosen(known: Declared, wanted: Sequence[str]) -> Declared:
    unknown = [key for key in wanted if key not in known.features]
    if unknown:
        raise ConfigError(
            f"MODEL.TIMM.OUT_FEATURES names {', '.join(unknown)}; timm's {known.name} offers "
            f"{', '.join(known.features)}"
        )
    kept = {key: index for key, index in known.features.items() if key in (wanted or known.features)}
    return replace(
        known,
        features=kept,
        channels={key: known.channels[key] for key in kept},
        strides={key: known.strides[key] for key in kept},
    )
