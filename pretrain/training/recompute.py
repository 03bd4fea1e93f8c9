"""Gradient checkpointing by residual blocks: memory for time, and the same numbers (Chen et al., 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pretrain.training.model import GroupBatchNorm2d


def recompute_blocks(model: nn.Module) -> None:
    """Let every residual block keep its input alone and run again in the backward: memory for time.

    The second run computes the same numbers and leaves BN statistics alone, so the run is the same.
    """
    for block in residual_blocks(model):
        norms = [m for m in block.modules() if isinstance(m, GroupBatchNorm2d)]
        block.forward = partial(_twice, block.forward, norms)  # type: ignore[method-assign]


def residual_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of layer1 .. layer4, in order."""
    stages = [stage for name, stage in model.named_children() if name.startswith("layer")]
    return [block for stage in stages for block in stage.children()]


def _twice(forward: Callable[[Tensor], Tensor], norms: list[GroupBatchNorm2d], input: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(input)
    contexts = partial(_contexts, norms)
    found: Tensor = checkpoint(
        forward, input, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
    )
    return found


def _contexts(
    norms: list[GroupBatchNorm2d],
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _recomputing(norms)


@contextmanager
def _recomputing(norms: list[GroupBatchNorm2d]) -> Iterator[None]:
    for norm in norms:
        norm.recomputing = True
    try:
        yield
    finally:
        for norm in norms:
            norm.recomputing = False
