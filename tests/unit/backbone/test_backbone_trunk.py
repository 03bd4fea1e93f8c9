from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from wsl_det.backbone import names, norms, reference
from wsl_det.backbone.arch import Architecture, infer
from wsl_det.backbone.trunk import BASIC, BLOCKS, FrozenBatchNorm2d, ResNet
from wsl_det.errors import CheckpointError, ConfigError

SMALL = {"blocks": (1, 2, 1, 1), "groups": 2, "width_per_group": 4, "res2_channels": 32}
# docs/paper.md, sizes: C -> (backbone without fc, batch norm's share, per stage conv and BN)
COUNTS = {
    4: (42_128_704, 137_856, (205_824, 1_197_056, 26_171_392, 14_544_896)),
    8: (86_742_336, 202_880, (420_864, 2_405_376, 55_160_832, 28_745_728)),
    16: (191_977_792, 332_928, (933_888, 5_264_384, 123_314_176, 62_455_808)),
    32: (466_481_472, 593_024, (2_291_712, 12_751_872, 300_318_720, 151_109_632)),
    48: (826_362_176, 853_120, (4_091_904, 22_598_656, 531_587_072, 268_075_008)),
}


def load_from_torch(trunk: ResNet, model: nn.Module) -> ResNet:
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("fc") and "num_batches" not in k}
    trunk.load_state_dict({names.to_detectron2(k): v for k, v in state.items()})
    return trunk.eval()


def images(height: int = 65, width: int = 97) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_features_equal_torchvisions_exactly(torchvision_resnext):
    trunk = load_from_torch(ResNet(blocks=(1, 2, 1, 1), groups=4, width_per_group=8), torchvision_resnext)
    ours, theirs = trunk(images()), reference.features(torchvision_resnext, images())
    assert list(ours) == list(theirs) == ["res2", "res3", "res4", "res5"]
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


@torch.no_grad()
def test_features_equal_timms_exactly_for_a_narrow_trunk(timm_resnext):
    trunk = load_from_torch(ResNet(**SMALL), timm_resnext)
    ours, theirs = trunk(images()), reference.features(timm_resnext, images())
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


@torch.no_grad()
def test_basic_blocks_equal_torchvisions_exactly(torchvision_basic):
    model = torchvision_basic
    trunk = load_from_torch(ResNet(blocks=(1, 2, 1, 1), block="basic", res2_channels=64), model)
    ours, theirs = trunk(images()), reference.features(model, images())
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


@torch.no_grad()
def test_stride_in_1x1_has_the_same_shapes_and_other_features(timm_resnext):
    other = load_from_torch(ResNet(**SMALL, stride_in_1x1=True), timm_resnext)(images())
    right = load_from_torch(ResNet(**SMALL), timm_resnext)(images())
    assert {k: v.shape for k, v in other.items()} == {k: v.shape for k, v in right.items()}
    assert torch.equal(other["res2"], right["res2"])
    assert not any(torch.allclose(other[k], right[k], atol=1e-3) for k in ("res3", "res4", "res5"))


@pytest.mark.parametrize("width", COUNTS)
def test_parameter_counts_of_resnext101(width):
    backbone, norm_share, stages = COUNTS[width]
    with torch.device("meta"):
        trunk = ResNet(groups=32, width_per_group=width, norm="BN")
    assert sum(p.numel() for p in trunk.parameters()) == backbone
    assert sum(p.numel() for n, p in trunk.named_parameters() if ".norm." in n) == norm_share
    counted = tuple(sum(p.numel() for p in getattr(trunk, f"res{i}").parameters()) for i in (2, 3, 4, 5))
    assert counted == stages
    assert trunk.channels == {"stem": 64, "res2": 256, "res3": 512, "res4": 1024, "res5": 2048}
    assert trunk.strides == {"stem": 4, "res2": 4, "res3": 8, "res4": 16, "res5": 32}


def test_520_tensors_and_none_of_them_a_counter():
    with torch.device("meta"):
        keys = ResNet(groups=32, width_per_group=8).state_dict()
    assert len(keys) == 520
    assert not any("num_batches_tracked" in k for k in keys)


def test_frozen_stages_have_no_parameters_to_train_and_no_batch_norm():
    trunk = ResNet(**SMALL, norm="BN", rng=torch.Generator().manual_seed(0))
    before = set(trunk.state_dict())
    trunk.freeze(2).train()
    assert set(trunk.state_dict()) == before
    frozen = {n.split(".")[0] for n, p in trunk.named_parameters() if not p.requires_grad}
    free = {n.split(".")[0] for n, p in trunk.named_parameters() if p.requires_grad}
    assert (frozen, free) == ({"stem", "res2"}, {"res3", "res4", "res5"})
    kinds = {n.split(".")[0]: type(m) for n, m in trunk.named_modules() if n.endswith(".norm")}
    assert kinds["stem"] is kinds["res2"] is FrozenBatchNorm2d
    assert kinds["res3"] is kinds["res5"] is nn.BatchNorm2d


def test_frozen_statistics_stay_and_others_move():
    trunk = ResNet(**SMALL, norm="BN", rng=torch.Generator().manual_seed(0)).freeze(2).train()
    before = {k: v.clone() for k, v in trunk.state_dict().items()}
    trunk(images())
    moved = {k.split(".")[0] for k, v in trunk.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"res3", "res4", "res5"}


def test_freezing_keeps_statistics_and_affine():
    trunk = ResNet(**SMALL, norm="BN", rng=torch.Generator().manual_seed(0))
    trunk.stem.conv1.norm.running_mean.fill_(3.0)
    trunk.stem.conv1.norm.running_var.fill_(4.0)
    trunk.eval()
    before = trunk(images())["res2"]
    after = trunk.freeze(1)(images())["res2"]
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def test_group_norm_is_frozen_without_changing_its_kind():
    trunk = ResNet(blocks=(1, 1, 1, 1), width_per_group=64, norm="GN", rng=torch.Generator()).freeze(1)
    assert isinstance(trunk.stem.conv1.norm, nn.GroupNorm)
    assert not any(p.requires_grad for p in trunk.stem.parameters())


def test_weights_are_drawn_by_name_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    whole = ResNet(**SMALL, rng=torch.Generator().manual_seed(5)).state_dict()
    cut = ResNet(**SMALL, out_features=["res3"], rng=torch.Generator().manual_seed(5)).state_dict()
    other = ResNet(**SMALL, rng=torch.Generator().manual_seed(6)).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(whole[k], cut[k]) for k in cut)
    assert not any(k.startswith(("res4", "res5")) for k in cut)
    assert not torch.equal(whole["stem.conv1.weight"], other["stem.conv1.weight"])


def test_weights_have_the_deviation_of_the_fan_out():
    trunk = ResNet(blocks=(1, 1, 1, 1), groups=8, width_per_group=8, rng=torch.Generator().manual_seed(0))
    weight = trunk.res5[0].conv2.weight  # (512, 64, 3, 3): fan-out 512 * 9 as torch counts it
    assert math.isclose(float(weight.detach().std()), math.sqrt(2 / (512 * 9)), rel_tol=0.01)


def test_a_trunk_without_weights_is_nan_not_chance():
    assert torch.isnan(ResNet(**SMALL).eval()(images())["res2"]).all()


def test_dilated_res5_keeps_the_resolution_of_res4():
    trunk = ResNet(**SMALL, res5_dilation=2, rng=torch.Generator().manual_seed(0))
    out = trunk(images(64, 64))
    assert out["res5"].shape[-2:] == out["res4"].shape[-2:] == (4, 4)
    assert trunk.strides["res5"] == trunk.strides["res4"] == 16


@pytest.mark.parametrize(
    "kwargs",
    [
        {"block": "other"},
        {"blocks": (1, 2, 1)},
        {"blocks": (1, 0, 1, 1)},
        {"norm": "InstanceNorm"},
        {"norm": "GN", **SMALL},
        {"out_features": ["res6"]},
        {"out_features": []},
        {"block": "basic", "groups": 32},
        {"res5_dilation": 4},
        {"groups": 0},
    ],
)
def test_shapes_that_make_no_sense_are_refused(kwargs):
    with pytest.raises(ConfigError), torch.device("meta"):
        ResNet(**kwargs)


def test_frozen_batch_norm_is_batch_norm_in_evaluation():
    norm = nn.BatchNorm2d(6)
    rng = torch.Generator().manual_seed(0)
    norm.running_mean.normal_(generator=rng)
    norm.running_var.uniform_(0.5, 2, generator=rng)
    nn.init.normal_(norm.weight, generator=rng)
    frozen = FrozenBatchNorm2d.of(norm)
    x = torch.randn(2, 6, 5, 5, generator=rng)
    assert torch.equal(frozen(x), norm.eval()(x))
    with_gradient = frozen(x.clone().requires_grad_())
    # One multiply and one add instead of a fused operation: only rounding may differ.
    torch.testing.assert_close(with_gradient, frozen(x), rtol=1e-5, atol=1e-6)
    assert with_gradient.requires_grad
    assert list(frozen.parameters()) == []


def test_fresh_frozen_batch_norm_is_the_identity():
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(FrozenBatchNorm2d(3)(x), x, rtol=0, atol=1e-6)


def test_frozen_batch_norm_does_not_fill_in_lost_statistics():
    with pytest.raises(RuntimeError, match="running_mean"):
        FrozenBatchNorm2d(3).load_state_dict({"weight": torch.ones(3), "bias": torch.zeros(3)})


def test_frozen_batch_norm_keeps_half_precision_of_its_input():
    x = torch.randn(1, 3, 4, 4, dtype=torch.float16).requires_grad_()
    assert FrozenBatchNorm2d(3)(x).dtype == torch.float16


def test_norm_names():
    assert norms.make("", 4) is None
    assert isinstance(norms.make("SyncBN", 4), nn.SyncBatchNorm)


@pytest.mark.parametrize("depth", BLOCKS)
def test_architecture_is_inferred_from_shapes(depth):
    arch = Architecture(
        blocks=BLOCKS[depth], block="basic" if depth in BASIC else "bottleneck", res2_channels=64
    )
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in arch.build().state_dict().items()}
    assert infer(shapes, "file") == arch
    assert arch.depth == depth


@pytest.mark.parametrize(
    "lost", ["res4.0.conv2.weight", "res3.1.conv1.norm.running_var", "stem.conv1.weight"]
)
def test_a_trunk_that_lacks_a_tensor_is_refused_by_name(lost):
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in ResNet(**SMALL).state_dict().items()}
    del shapes[lost]
    with pytest.raises(CheckpointError, match=r"missing|does not hold") as caught:
        infer(shapes, "file")
    assert lost in str(caught.value) or "stem None" in str(caught.value)
