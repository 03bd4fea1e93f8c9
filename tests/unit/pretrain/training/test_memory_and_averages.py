"""What trades memory for time, and what follows the weights: same numbers, exact resume."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pretrain.training import model, recompute
from pretrain.training.averages import WeightAverage
from wsl_det.errors import CheckpointError

ARCH = model.make_arch(depth=14, groups=2, width_per_group=8, res2_channels=64, blocks=(1, 2, 1, 1))


def _net(seed: int = 0, **options: int) -> nn.Module:
    rng = torch.Generator().manual_seed(seed)
    return model.make(ARCH, 5, rng, bn_group=2, zero_init_last=False, **options)


def _images(seed: int = 1, count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_recomputing_changes_no_number() -> None:
    """Outputs, gradients and BN statistics, over forwards that hold one group of a step each."""
    plain, thrifty = _net(groups_per_step=2), _net(groups_per_step=2)
    recompute.recompute_blocks(thrifty)
    for net in (plain, thrifty):
        for piece in _images().split(2):
            net(piece).square().mean().backward()
    for (name, ours), theirs in zip(thrifty.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad), name
    statistics = [model.running_statistics(net) for net in (plain, thrifty)]
    assert all(torch.equal(a, b) for a, b in zip(*statistics, strict=True))
    assert thrifty.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(thrifty.eval()(_images(2)), plain.eval()(_images(2)))


def test_recomputing_keeps_less() -> None:
    kept = []
    for thrifty in (False, True):
        net = _net()
        if thrifty:
            recompute.recompute_blocks(net)
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            net(_images())
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


def test_the_average_is_the_recurrence() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = WeightAverage(net, 0.75)
    want = {k: v.clone() for k, v in net.state_dict().items() if v.is_floating_point()}
    for _ in range(3):
        with torch.no_grad():
            for value in net.state_dict().values():
                value.add_(1)
            want = {k: 0.75 * a + 0.25 * net.state_dict()[k] for k, a in want.items()}
        average.update()
    own = copy.deepcopy(net.state_dict())
    with average.in_place():
        inside = net.state_dict()
        assert all(torch.allclose(inside[k], want[k], atol=1e-6) for k in want)
        assert not torch.equal(inside["0.weight"], own["0.weight"])
    assert all(torch.equal(v, own[k]) for k, v in net.state_dict().items())
    assert len(average.statistics()) == 2


def test_the_average_is_torchs() -> None:
    """BN statistics are the exception: torch takes the last ones, we average them too."""
    net = _net()
    ours = WeightAverage(net, 0.9)
    theirs = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(net)  # the first is a copy
    rng = torch.Generator().manual_seed(0)
    for _ in range(5):
        with torch.no_grad():
            for value in net.parameters():
                value.add_(torch.randn(value.shape, generator=rng))
        ours.update()
        theirs.update_parameters(net)
    found = ours.state_dict()
    for name, value in theirs.module.named_parameters():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)


def test_the_average_comes_back_from_a_checkpoint_and_fits_only_its_model() -> None:
    net = _net()
    average = WeightAverage(net, 0.5)
    with torch.no_grad():
        net.fc.weight.add_(1)
    average.update()
    other = WeightAverage(_net(3), 0.5)
    other.load_state_dict(copy.deepcopy(average.state_dict()))
    assert all(torch.equal(v, average.state_dict()[k]) for k, v in other.state_dict().items())
    with pytest.raises(CheckpointError, match="another model"):
        other.load_state_dict({"fc.weight": net.fc.weight})
