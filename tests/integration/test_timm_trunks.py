"""Trunks of timm whole: the smallest of each family, real ResNets by two routes, pyramids of any stride."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from wsl_det.backbone import export, sources, timm_models, timm_source
from wsl_det.backbone.pyramids import SimplePyramid
from wsl_det.backbone.timm_trunk import TimmTrunk
from wsl_det.errors import ConfigError

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "data" / "weights.tar"
SMALLEST = re.compile(r"test_|atto|femto|pico|nano|tiny|small|xs|xxs|_s\d|_0\d\d|18|26|_b0|m0|v0")


def smallest() -> dict[str, str]:
    """For each file of timm's models that has published weights, one whose name says that it is small."""
    found: dict[str, str] = {}
    for name in sorted(timm.list_models(pretrained=True), key=lambda n: (not SMALLEST.search(n), len(n), n)):
        model = name.partition(".")[0]
        found.setdefault(timm.models.model_entrypoint(model).__module__.rpartition(".")[2], model)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(smallest()))
def test_the_smallest_of_a_family_is_exported_built_and_learns(family: str, tmp_path: Path) -> None:
    name = smallest()[family]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            known = timm_models.declared(name)
        except ConfigError as reason:
            pytest.skip(str(reason))
        made, certified = export.export(timm_source.untrained(name, 0), tmp_path / "trunk.pth")
        trunk = TimmTrunk(name)
        trunk.model.load_state_dict(made.weights, strict=False)
        for times in ((1, 2), (3, 1)):
            height, width = (known.divisor * n for n in times)
            maps = trunk.train()(torch.rand(2, 3, height, width))
            for key, found in maps.items():
                stride = known.strides[key]
                assert tuple(found.shape) == (2, known.channels[key], height // stride, width // stride)
        sum(found.square().mean() for found in maps.values()).backward()
    assert certified["bn"] == "initial"
    gradients = [p.grad for p in trunk.parameters() if p.grad is not None]
    assert len(gradients) > 4 and all(g.isfinite().all() for g in gradients)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="../shared/data/weights.tar is absent")
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_real_resnets_compute_the_same_by_both_routes(name: str, tmp_path: Path) -> None:
    import tarfile

    from tools import decode_quantised
    from wsl_det import errors
    from wsl_det.detector.trunks import TIMM

    with tarfile.open(WEIGHTS) as tar:
        member = next(m for m in tar.getmembers() if m.name.endswith(f"{name}_large_blocks.pth"))
        tar.extract(member, tmp_path, filter="data")
    whole = tmp_path / f"{name}.pth"
    assert errors.run(decode_quantised.main, [str(tmp_path / member.name), str(whole)]) == 0
    ours, _ = export.export(sources.read(whole), tmp_path / "ours.pth")
    theirs, _ = export.export(timm_source.read(name, whole, sources.load(whole)), tmp_path / "theirs.pth")
    assert TIMM and theirs.meta["bn"] == ours.meta["bn"]
    plain = ours.resnet.build(stride_in_1x1=False, norm="FrozenBN").eval()
    plain.load_state_dict(ours.weights)
    frozen, learning = TimmTrunk(name, frozen_norm=True).eval(), TimmTrunk(name).eval()
    for trunk in (frozen, learning):
        trunk.model.load_state_dict(theirs.weights, strict=False)
    image = torch.rand(1, 3, 96, 160)
    with torch.no_grad():
        wanted, same, near = plain(image), frozen(image), learning(image)
    for key, value in wanted.items():
        assert torch.equal(same[key], value), key
        assert (near[key] - value).abs().max() <= 1e-5 * value.abs().max(), key


def test_a_pyramid_of_any_single_stride_reaches_from_4_to_64() -> None:
    class Flat(torch.nn.Module):
        channels: dict[str, int]
        strides: dict[str, int]
        size_divisor = 1

        def __init__(self, stride: int) -> None:
            super().__init__()
            self.channels, self.strides, self.stride = {"m": 16}, {"m": stride}, stride

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"m": x.new_zeros(len(x), 16, x.shape[2] // self.stride, x.shape[3] // self.stride)}

    for stride in (4, 8, 16, 32):
        pyramid: Any = SimplePyramid(Flat(stride), channels=4)
        found = pyramid(torch.zeros(1, 3, 128, 64))
        assert [tuple(v.shape[2:]) for v in found.values()] == [
            (128 // s, 64 // s) for s in (4, 8, 16, 32, 64)
        ]
