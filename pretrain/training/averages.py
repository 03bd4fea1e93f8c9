"""The exponential moving average of a model's weights over the steps of its training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wsl_det.errors import CheckpointError


class WeightAverage:
    """a <- decay a + (1 - decay) w after every step, from a = the initial w; BN statistics included.

    Both are linear, so the mean over processes of their averages is the average of their mean.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._own = _floats(model)
        self._average = {name: value.detach().clone() for name, value in self._own.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Follow the model's weights by one step."""
        own = [value.detach() for value in self._own.values()]
        torch._foreach_lerp_(list(self._average.values()), own, 1 - self.decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model holds the averages inside the block, and its own weights again behind it."""
        own = {name: value.detach().clone() for name, value in self._own.items()}
        self._put(self._average)
        try:
            yield
        finally:
            self._put(own)

    def statistics(self) -> list[Tensor]:
        """The averages of BN means and variances, to be averaged over processes in place."""
        return [value for name, value in self._average.items() if ".running_" in f".{name}"]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return dict(self._average)

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take over a checkpoint's averages; CheckpointError when they are of another model."""
        if state.keys() != self._average.keys():
            raise CheckpointError("the checkpoint's averaged weights are those of another model")
        with torch.no_grad():
            for name, value in self._average.items():
                value.copy_(state[name])

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, value in self._own.items():
            value.detach().copy_(values[name])


def _floats(model: nn.Module) -> dict[str, Tensor]:
    """The model's floating-point state by name, its own storage."""
    named = model.state_dict(keep_vars=True)
    return {name: value for name, value in named.items() if value.is_floating_point()}
