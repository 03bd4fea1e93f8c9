from __future__ import annotations

import pytest
import torch

from wsl_det.backbone import names
from wsl_det.backbone.trunk import ResNet
from wsl_det.errors import CheckpointError


@pytest.fixture(scope="module")
def torchvision_keys() -> list[str]:
    from torchvision.models import resnet

    with torch.device("meta"):
        model = resnet.resnext101_32x8d()
    return [k for k in model.state_dict() if not k.startswith("fc.")]


def test_names_are_a_bijection(torchvision_keys):
    trunk = [k for k in torchvision_keys if "num_batches" not in k]
    assert len(trunk) == 520
    renamed = [names.to_detectron2(k) for k in trunk]
    assert [names.to_torchvision(k) for k in renamed] == trunk
    with torch.device("meta"):
        assert set(renamed) == set(ResNet(groups=32, width_per_group=8).state_dict())


def test_counters_have_names_on_both_sides(torchvision_keys):
    counters = [k for k in torchvision_keys if "num_batches" in k]
    assert len(counters) == 104
    assert [names.to_torchvision(names.to_detectron2(k)) for k in counters] == counters


@pytest.mark.parametrize(
    "key",
    [
        "fc.weight",
        "module.conv1.weight",
        "layer5.0.conv1.weight",
        "layer1.0.conv0.weight",
        "layer1.0.downsample.2.weight",
        "layer1.0.conv1.weight_fp16",
        "res2.0.conv1.weight",
        "",
    ],
)
def test_other_names_are_refused_by_name(key):
    with pytest.raises(CheckpointError, match="is not the name") as caught:
        names.to_detectron2(key)
    assert repr(key) in str(caught.value)


@pytest.mark.parametrize("key", ["layer1.0.conv1.weight", "res6.0.conv1.weight", "res2.0.conv1.bn.weight"])
def test_other_names_are_refused_on_the_way_back(key):
    with pytest.raises(CheckpointError):
        names.to_torchvision(key)


@pytest.mark.parametrize(
    ("caffe2", "detectron2"),
    [
        ("conv1_w", "stem.conv1.weight"),
        ("res_conv1_bn_s", "stem.conv1.norm.weight"),
        ("res_conv1_bn_b", "stem.conv1.norm.bias"),
        ("res2_0_branch1_w", "res2.0.shortcut.weight"),
        ("res2_0_branch1_bn_b", "res2.0.shortcut.norm.bias"),
        ("res4_22_branch2a_w", "res4.22.conv1.weight"),
        ("res5_2_branch2c_bn_riv", "res5.2.conv3.norm.running_var"),
        ("res3_1_branch2b_bn_rm", "res3.1.conv2.norm.running_mean"),
    ],
)
def test_caffe2_names(caffe2, detectron2):
    assert names.from_caffe2(caffe2) == detectron2


@pytest.mark.parametrize("key", ["pred_w", "res2_0_branch2d_w", "res2_0_branch2a_s", "fpn_res2_2_sum_w"])
def test_other_caffe2_names_are_refused(key):
    with pytest.raises(CheckpointError):
        names.from_caffe2(key)
