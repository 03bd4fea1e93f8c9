"""The switches of WSL_DET.INFERENCE: what each may change, and that off means untouched."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

GOLDEN = Path(__file__).parents[3] / "golden"
sys.path.insert(0, str(GOLDEN.parent / "parity"))

import scenes  # noqa: E402

from wsl_det.core.config import Config, load  # noqa: E402
from wsl_det.detector.defaults import TREE  # noqa: E402
from wsl_det.detector.embedded.engine import Engine  # noqa: E402
from wsl_det.detector.embedded.inference import Switches, prepare  # noqa: E402
from wsl_det.errors import ConfigError  # noqa: E402

FLOAT32 = ("FOLD_BN", True, "CHANNELS_LAST", True, "CLASS_MASKS", True)
BFLOAT16 = ("FOLD_BN", True, "CHANNELS_LAST", True, "CLASS_MASKS", True, "PRECISION", "bfloat16")
# Wide enough that a convolution is added up in more than one order.
WIDE = ("MODEL.FPN.OUT_CHANNELS", 128, "MODEL.ROI_MASK_HEAD.CONV_DIM", 128)


def _config(*switches: Any, model: tuple[Any, ...] = ()) -> Config:
    names = [f"WSL_DET.INFERENCE.{name}" for name in switches[0::2]]
    pairs = itertools.chain.from_iterable(zip(names, switches[1::2], strict=True))
    return load(GOLDEN / "tiny.yaml", TREE, [*pairs, *model])


def _pair(*switches: Any, model: tuple[Any, ...] = ()) -> tuple[Engine, Any, Any]:
    engine = Engine(_config(*switches, model=model))
    plain = scenes.fill(engine.build(), seed=3).eval()
    return engine, plain, engine.for_inference(plain)


def _features(model: Any) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        images, _ = model.normalise([e.image for e in scenes.batch(0)])
        return model.backbone(images)


def _worst(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_all_off_is_the_model_itself() -> None:
    _, plain, fast = _pair()
    assert fast is plain


@pytest.mark.parametrize("switches", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
def test_the_model_is_left_as_it_was(switches: tuple[Any, ...]) -> None:
    engine = Engine(_config(*switches, model=WIDE))
    plain = scenes.fill(engine.build(), seed=3)
    before = {key: (value.clone(), value.stride()) for key, value in plain.state_dict().items()}
    trained = {name for name, p in plain.named_parameters() if p.requires_grad}
    fast = engine.for_inference(plain)
    assert fast is not plain and not fast.training and plain.training
    after = plain.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[k], v) and after[k].stride() == s for k, (v, s) in before.items())
    assert trained == {name for name, p in plain.named_parameters() if p.requires_grad}
    # What is not changed is shared: a big detector is not held twice.
    assert fast.roi_heads.box_predictor.cls_score.weight is plain.roi_heads.box_predictor.cls_score.weight


# A fold rounds every weight once more; the additions run in another order.
# bfloat16 keeps 8 bits through some fifty layers. Group norm
# divides by the deviation of a few positions, which magnifies all of this some ten times.
@pytest.mark.parametrize(
    ("switches", "tolerance"),
    [
        (("FOLD_BN", True), 1e-5),
        (("CHANNELS_LAST", True), 1e-5),
        (FLOAT32, 1e-5),
        (("PRECISION", "bfloat16"), 0.02),
        (BFLOAT16, 0.02),
    ],
    ids=["fold", "channels_last", "float32", "precision", "bfloat16"],
)
@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "GN"])
def test_features_stay_within_the_tolerance(switches: Any, tolerance: float, norm: str) -> None:
    widths = ("MODEL.RESNETS.STEM_OUT_CHANNELS", 32, "MODEL.RESNETS.WIDTH_PER_GROUP", 8)
    _, plain, fast = _pair(*switches, model=(*WIDE, "MODEL.RESNETS.NORM", norm, *widths))
    found, wanted = _features(fast), _features(plain)
    assert list(found) == list(wanted)
    for level, value in wanted.items():
        assert found[level].dtype == torch.float32
        assert _worst(found[level], value) <= tolerance * (10 if norm == "GN" else 1), level
    if switches is FLOAT32:
        assert norm == "GN" or not any("norm" in name for name, _ in fast.backbone.named_modules())


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("convs", [0, 2])
def test_masks_of_the_class_only(agnostic: bool, convs: int) -> None:
    keys = ("MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", agnostic, "MODEL.ROI_MASK_HEAD.NUM_CONV", convs)
    _, plain, fast = _pair("CLASS_MASKS", True, model=keys)
    rng = torch.Generator().manual_seed(0)
    for count in (0, 1, 37):
        pooled = torch.randn((count, 32, 14, 14), generator=rng)
        classes = torch.randint(5, (count,), generator=rng)
        with torch.no_grad():
            wanted = plain.roi_heads.mask_head.probabilities(pooled, classes)
            found = fast.roi_heads.mask_head.probabilities(pooled, classes)
        assert found.shape == wanted.shape == (count, 28, 28)
        # Sums of the same products in another order.
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"WSL_DET\.INFERENCE"):
        Engine(_config("PRECISION", "float16"))


def test_weights_are_those_of_the_moment() -> None:
    """Evaluation in the middle of training prepares anew."""
    engine, plain, _ = _pair(*FLOAT32)
    first = _features(prepare(plain, Switches(fold_bn=True)))
    with torch.no_grad():
        plain.backbone.bottom_up.stem.conv1.weight.mul_(2)
    second = _features(engine.for_inference(plain))
    assert _worst(first["p2"], second["p2"]) > 1e-3
    assert _worst(second["p2"], _features(plain)["p2"]) <= 5e-5
