"""Two processes under torchrun: both engines take the same steps, and torchrun equals --num-gpus."""

from __future__ import annotations

from pathlib import Path

import pytest
from train_runs import Runs, assert_same, losses

pytestmark = pytest.mark.timeout(900)


def test_engines_and_launchers_are_equal(tmp_path: Path) -> None:
    theirs = Runs.make(tmp_path, {"MAX_ITER": 3, "IMS_PER_BATCH": 4}, "detectron2")
    wanted = theirs.finish(tmp_path / "torchrun", processes=2)
    assert len(losses(wanted)) == 3
    assert_same(theirs.finish(tmp_path / "num_gpus", "--num-gpus", "2"), wanted)
    ours = Runs(tmp_path, "embedded")
    assert_same(ours.finish(tmp_path / "embedded", processes=2), wanted)
