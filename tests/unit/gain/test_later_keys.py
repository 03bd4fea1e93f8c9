"""Keys younger than some files count, where they are absent, as what was done before them."""

from __future__ import annotations

from wsl_det.detector import defaults
from wsl_det.gain import like_for_like


def test_absent_keys_stand_for_the_defaults() -> None:
    ours = defaults.TREE["WSL_DET"]["INFERENCE"]
    younger = {f"WSL_DET.INFERENCE.{key}": value for key, value in ours.items()}
    # A key that is gone again stays known: older files have it.
    younger |= {f"MODEL.TIMM.{key}": value for key, value in defaults.TREE["MODEL"]["TIMM"].items()}
    younger |= {f"SOLVER.{key}": defaults.TREE["SOLVER"][key] for key in ("OPTIMIZER", "LAYER_DECAY")}
    assert younger.items() <= like_for_like.LATER.items()


def test_what_belongs_to_the_trunk_may_differ() -> None:
    for key in ("MODEL.TIMM.NAME", "MODEL.BACKBONE.NAME", "SOLVER.OPTIMIZER", "SOLVER.LAYER_DECAY"):
        assert like_for_like._is_free(key, swept=False, run=False), key
    assert not like_for_like._is_free("SOLVER.WEIGHT_DECAY", swept=True, run=False)
    assert not like_for_like._is_free("SOLVER.BASE_LR", swept=False, run=False)
