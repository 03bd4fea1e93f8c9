"""What --plan and describe_model say, against sizes counted by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from timm.models.resnet import Bottleneck
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pretrain.training import arch as arch_sizes
from pretrain.training import defaults, job, model, plan
from pretrain.training.averages import WeightAverage
from wsl_det import cli
from wsl_det.core import checkpoint, config
from wsl_det.errors import ConfigError

ROOT = Path(__file__).parents[4]


class OneBlock(nn.Module):
    """Convolution, BN, ReLU in place, mean, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = model.GroupBatchNorm2d(8, group=2)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.relu(self.norm(self.conv(x))).mean((2, 3)))


def test_what_a_forward_keeps_by_hand() -> None:
    images, pixels = 2, 10 * 10
    tensors = (
        images * 3 * pixels * 4,  # the convolution's input
        images * 8 * pixels * 4,  # BN's input
        images * 8 * pixels * 4,  # ReLU's output, in place of BN's
        images * 8 * 4,  # the head's input
        images * 5 * 4,  # log softmax
    )
    kept = plan.saved_for_backward(OneBlock(), torch.randn(2, 3, 10, 10))
    # BN's saved mean and deviation and the loss's indices are a few bytes each.
    assert sum(tensors) <= kept < sum(tensors) + 400
    with torch.device("meta"):
        told = plan.saved_for_backward(OneBlock(), torch.empty(2, 3, 10, 10))
    assert sum(tensors) <= told < sum(tensors) + 400


def test_memory_grows_with_images_and_halves_in_half_precision() -> None:
    cfg = config.load(ROOT / "configs/pretrain/resnet50_1gpu.yaml", defaults.TREE, ["SOLVER.AMP", "none"])
    arch = job.make_arch(cfg)
    one, two = (plan.memory_estimate(cfg, arch, 1000, groups)["activations"] for groups in (1, 2))
    # Several groups are joined after BN, whose output then lies in a tensor of its own: never more
    # than twice, and a little less for what does not depend on the images.
    assert 1.95 < two / one < 2.01
    half = plan.memory_estimate(cfg.override(SOLVER__AMP="bfloat16"), arch, 1000, 1)["activations"]
    assert 0.5 < half / one < 0.52
    cut = plan.memory_estimate(cfg.override(SOLVER__ACCUMULATE=2), arch, 1000, 2)["activations"]
    assert cut == one
    # 4 bytes for each of 25,557,032 parameters of ResNet-50 (torchvision's count).
    assert plan.memory_estimate(cfg, arch, 1000, 1)["weights"] == 4 * 25_557_032


def test_checkpoint_is_as_large_as_told(tmp_path: Path) -> None:
    arch = model.make_arch(depth=14, groups=2, width_per_group=8, res2_channels=64, blocks=(1, 1, 1, 1))
    net = model.make(arch, 50, torch.Generator().manual_seed(0))
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    sum(p.sum() for p in net.parameters()).backward()
    sgd.step()
    torch.save({"model": net.state_dict(), "optimizer": sgd.state_dict()}, tmp_path / "x.pth")
    # The archive's names and padding to 64 bytes come on top.
    size = (tmp_path / "x.pth").stat().st_size
    assert checkpoint.state_bytes(net) <= size < 1.1 * checkpoint.state_bytes(net)
    cfg = config.merge(defaults.TREE, {}, ["SOLVER.EMA_DECAY", 0.9])
    assert plan.checkpoint_bytes(config.merge(defaults.TREE, {}), net) == checkpoint.state_bytes(net)
    averages = WeightAverage(net, 0.9).state_dict().values()
    assert plan.checkpoint_bytes(cfg, net) == checkpoint.state_bytes(net) + sum(a.nbytes for a in averages)


def test_recomputing_keeps_inputs_of_blocks_and_one_block() -> None:
    arch = arch_sizes.paper_archs()[-1]
    images = torch.empty((4, 3, 64, 64), device="meta")
    with torch.device("meta"):
        nets = [model.build(arch, 10, bn_group=4).train() for _ in range(2)]
    whole = plan.saved_for_backward(nets[0], images)
    assert 0.1 * whole < plan.saved_with_recomputing(nets[1], images) < 0.3 * whole


def test_the_widest_trunk_fits_one_gpu_of_80_gb() -> None:
    """32x48d under a 17k head, 24 images at 224 in bfloat16, beside a margin for workspaces and buckets."""
    opts = ["SOLVER.AMP", "bfloat16"]
    cfg = config.load(ROOT / "configs/pretrain/resnext101_32x48d.yaml", defaults.TREE, opts)
    needed = plan.memory_estimate(cfg, job.make_arch(cfg), 17_000, 1)
    assert 20 * 2**30 < sum(needed.values()) < 60e9
    # The exact count of docs/paper.md, sizes.
    assert needed["weights"] == 4 * 861_195_176
    thrifty = plan.memory_estimate(cfg.override(MODEL__RECOMPUTE=True), job.make_arch(cfg), 17_000, 1)
    assert thrifty["activations"] < 0.3 * needed["activations"]


def test_describe_model_prints_the_exact_table(capsys: pytest.CaptureFixture) -> None:
    spec = importlib.util.spec_from_file_location("describe_model", ROOT / "tools" / "describe_model.py")
    assert spec and spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.main(["--classes", "1500", "17000"]) == 0
    rows = {tuple(line.split()[:3]) for line in capsys.readouterr().out.splitlines()}
    # docs/paper.md, sizes, hashtag heads.
    for width, small, large in (
        (4, "45,202,204", "76,961,704"),
        (8, "89,815,836", "121,575,336"),
        (16, "195,051,292", "226,810,792"),
        (32, "469,554,972", "501,314,472"),
        (48, "829,435,676", "861,195,176"),
    ):
        assert (f"resnext101_32x{width}d", "1,500", small) in rows
        assert (f"resnext101_32x{width}d", "17,000", large) in rows
    assert tool.main(["--config-file", "quick/pretrain_tiny.yaml", "--classes", "7"]) == 0
    assert "resnext14_8x4d" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "row"),
    [
        (["resnet50"], "resnet50 1,000 25,557,032 23,508,032 2,049,000 53,120 4,089,184,256"),
        (["resnext101_32x16d_wsl"], "resnext101_32x16d 1,000 194,026,792"),
        (["quick/pretrain_tiny.yaml", "MODEL.WIDTH_PER_GROUP", "8"], "resnext14_8x8d 1,000"),
        (["MODEL.WIDTH_PER_GROUP", "16"], "resnext101_32x16d 1,000 194,026,792"),
        (["mask_rcnn_ig.yaml"], "resnext101_32x8d 0 86,742,336 86,742,336 0 202,880"),
        # The stride in the 1x1 convolution, as facts.md section 5 has it for MSRA's trunks: timm's 50a.
        (["R-50"], "resnet50 1,000 25,557,032 23,508,032 2,049,000 53,120 3,857,973,248"),
    ],
)
def test_describe_model_obeys_its_words(words: list[str], row: str, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["describe_model", *words, "--classes", "1000"]) == 0
    assert " ".join(capsys.readouterr().out.splitlines()[1].split()).startswith(row)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["resnext101_32x8c"], "did you mean resnext101_32x8d_wsl"),
        (["model.width_per_group", "8"], "did you mean MODEL.WIDTH_PER_GROUP"),
        (["resnet50", "resnet101"], "unknown key resnet50"),
        (["resnet50", "MODEL.DEPTH", "101"], "KEY VALUE pairs change configs"),
        (["resnet18"], "DEPTH is 18"),
        (["nix.yaml"], "nix.yaml does not exist"),
        (["mask_rcnn_ig.yaml", "MODEL.BACKBONE.NAME", "build_swin"], "build_swin is no ResNe"),
    ],
)
def test_describe_model_refuses_other_words(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        cli.main(["describe_model", *words])


@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_counts_by_arithmetic_are_those_of_the_modules(stride_in_1x1: bool) -> None:
    arch = arch_sizes.make_arch(depth=14, groups=2, width_per_group=4, res2_channels=64, blocks=(2, 1, 2, 1))
    net = model.build(arch, 7).eval()
    if stride_in_1x1:
        for block in net.modules():
            if isinstance(block, Bottleneck):
                block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, 75, 75))
    counted = arch_sizes.count_multiply_adds(arch, 7, 75, stride_in_1x1=stride_in_1x1)
    assert counted == counter.get_total_flops() // 2
    assert arch_sizes.count_parameters(arch, 7) == model.count_parameters(net)
