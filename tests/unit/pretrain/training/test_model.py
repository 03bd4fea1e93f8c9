"""The trunks: exact sizes, timm's names, BN by groups, initial weights from a generator."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pretrain.training import model
from wsl_det.errors import ConfigError

# docs/paper.md, sizes: C -> parameters, trunk, head, BN, multiply-adds at 224x224, 1000 classes.
EXACT = {
    4: (44_177_704, 42_128_704, 2_049_000, 137_856, 7_969_996_800),
    8: (88_791_336, 86_742_336, 2_049_000, 202_880, 16_414_015_488),
    16: (194_026_792, 191_977_792, 2_049_000, 332_928, 36_163_289_088),
    32: (468_530_472, 466_481_472, 2_049_000, 593_024, 87_106_781_184),
    48: (828_411_176, 826_362_176, 2_049_000, 853_120, 153_310_199_808),
}
TINY = model.make_arch(depth=14, groups=2, width_per_group=4, res2_channels=16, blocks=(1, 1, 1, 1))


def make(seed: int = 0, **options: object) -> nn.Module:
    return model.make(TINY, 5, torch.Generator().manual_seed(seed), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", EXACT)
def test_resnext101_has_the_exact_size(width: int) -> None:
    arch = model.make_arch(depth=101, groups=32, width_per_group=width, res2_channels=256)
    assert arch.name == f"resnext101_32x{width}d"
    with torch.device("meta"):
        net = model.build(arch, 1000)
    counts = model.count_parameters(net)
    assert tuple(counts[k] for k in ("total", "trunk", "head", "bn")) == EXACT[width][:4]
    assert model.count_multiply_adds(arch, 1000) == EXACT[width][4]


@pytest.mark.filterwarnings("ignore")  # of torch.jit, which fvcore traces with
def test_multiply_adds_are_fvcores() -> None:
    from fvcore.nn import FlopCountAnalysis

    arch = model.make_arch(depth=50, groups=2, width_per_group=4, res2_channels=32, blocks=(1, 2, 1, 1))
    counted = FlopCountAnalysis(model.build(arch, 70).eval(), torch.zeros(1, 3, 64, 64))
    by_kind = counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    assert model.count_multiply_adds(arch, 70, 64) == by_kind["conv"] + by_kind["linear"]


def test_names_are_torchvisions() -> None:
    torchvision = pytest.importorskip("torchvision")
    arch = model.make_arch(depth=50, groups=32, width_per_group=4, res2_channels=256)
    with torch.device("meta"):
        ours = model.build(arch, 1000)
        theirs = torchvision.models.resnext50_32x4d(weights=None)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


def test_small_trunk_is_as_wide_as_asked() -> None:
    net = make()
    for stage in range(1, 5):
        block = getattr(net, f"layer{stage}")[0]
        assert block.conv2.out_channels == 2 * 4 * 2 ** (stage - 1)
        assert block.conv3.out_channels == 16 * 2 ** (stage - 1)
        assert block.conv2.groups == 2
        assert block.conv2.stride == ((1, 1) if stage == 1 else (2, 2))
        assert block.conv1.stride == (1, 1)  # the stride stands in the 3x3, not in the first 1x1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"depth": 60}, "MODEL.DEPTH is 60"),
        ({"blocks": (1, 1, 1)}, "four counts"),
        ({"blocks": (1, 0, 1, 1)}, "at least 1"),
        ({"res2_channels": 30}, "multiple of 4"),
        ({"groups": 0}, "positive"),
    ],
)
def test_shapes_that_cannot_be_are_named(change: dict, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        model.make_arch(**{"depth": 50, "groups": 1, "width_per_group": 64, "res2_channels": 256, **change})


def test_initial_weights_come_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make(7)
    assert torch.equal(before, torch.get_rng_state())
    second, other = make(7), make(8)
    for (name, a), b, c in zip(
        first.state_dict().items(), second.state_dict().values(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
        if name.endswith("conv1.weight") or name == "fc.weight":
            assert not torch.equal(a, c), name


def test_last_gain_of_each_branch_starts_at_zero_by_default() -> None:
    for zero in (True, False):
        net = make(zero_init_last=zero)
        gains = {n: p for n, p in net.named_parameters() if n.endswith("bn3.weight")}
        assert len(gains) == 4
        assert all(bool((g == (0 if zero else 1)).all()) for g in gains.values())
        assert bool((net.bn1.weight == 1).all()) and not net.fc.bias.any()


def test_convolutions_start_with_fan_out_variance() -> None:
    arch = model.make_arch(depth=14, groups=1, width_per_group=64, res2_channels=256, blocks=(1, 1, 1, 1))
    net = model.make(arch, 5, torch.Generator().manual_seed(0))
    weight = net.layer3[0].conv2.weight  # 256 x 256 x 3 x 3
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    assert net.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_forward_of_several_groups_equals_forwards_of_each() -> None:
    net = make(bn_group=3, groups_per_step=2, zero_init_last=False)
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    together = net(images)
    apart = torch.cat([net(images[:3]), net(images[3:])])
    # The same sums in another blocking of the convolutions: a few float32 roundings.
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)


def test_statistics_move_once_a_step_by_the_mean_over_groups() -> None:
    norm = model.GroupBatchNorm2d(4, group=3, groups_per_step=2, momentum=0.1)
    images = torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(2)) * 2 + 1
    mean, var = torch.zeros(4), torch.ones(4)
    for _ in range(3):
        groups = images.view(2, 3, 4, 25).transpose(1, 2).reshape(2, 4, 75)
        mean = 0.9 * mean + 0.1 * groups.mean(2).mean(0)
        var = 0.9 * var + 0.1 * groups.var(2).mean(0)
        norm(images)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)


def test_statistics_do_not_depend_on_how_groups_fall_into_forwards() -> None:
    images = torch.randn(12, 4, 5, 5, generator=torch.Generator().manual_seed(3))
    pieces = {}
    for size in (3, 6, 12):
        norm = model.GroupBatchNorm2d(4, group=3, groups_per_step=4)
        for piece in images.split(size):
            norm(piece)
        pieces[size] = norm.running_var
    assert torch.equal(pieces[3], pieces[6]) and torch.equal(pieces[6], pieces[12])


def test_one_group_is_plain_batch_norm() -> None:
    ours, theirs = model.GroupBatchNorm2d(4, group=6), nn.BatchNorm2d(4)
    images = torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(4))
    assert torch.equal(ours(images), theirs(images))
    assert torch.equal(ours.running_var, theirs.running_var)
    ours.eval(), theirs.eval()
    assert torch.equal(ours(images[:1]), theirs(images[:1]))


def test_incomplete_group_is_our_own_error() -> None:
    with pytest.raises(ValueError, match="whole BN groups"):
        model.GroupBatchNorm2d(4, group=3)(torch.zeros(4, 4, 2, 2))


def test_running_statistics_are_views_on_the_model() -> None:
    net = make()
    for tensor in model.running_statistics(net):
        tensor.fill_(0.25)
    assert bool((net.layer4[0].bn2.running_var == 0.25).all())
    assert len(model.running_statistics(net)) == 2 * sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())


def test_trunk_trains_on_meta_free_tensors() -> None:
    net = make(bn_group=2)
    loss = F.cross_entropy(net(torch.zeros(2, 3, 32, 32)), torch.tensor([0, 1]))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
