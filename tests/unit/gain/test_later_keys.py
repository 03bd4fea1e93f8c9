"""Keys younger than some files count, where they are absent, as what was done before them."""

from __future__ import annotations

from wsl_det.detector import defaults
from wsl_det.gain import like_for_like


def test_absent_keys_stand_for_the_defaults() -> None:
    ours = defaults.TREE["WSL_DET"]["INFERENCE"]
    younger = {f"WSL_DET.INFERENCE.{key}": value for key, value in ours.items()}
    # A key that is gone again stays known: older files have it.
    assert younger.items() <= like_for_like.LATER.items()
