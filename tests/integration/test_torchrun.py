"""train_net in two processes: torchrun and --num-gpus are one thing, and a run can be repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from train_runs import Runs, assert_same, losses

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SOLVER = {"MAX_ITER": 4, "IMS_PER_BATCH": 4, "CHECKPOINT_PERIOD": 2}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs.make(tmp_path_factory.mktemp("torchrun"), SOLVER)


@pytest.fixture(scope="module")
def under_torchrun(runs: Runs) -> Path:
    return runs.finish(runs.root / "torchrun", processes=2)


def test_torchrun_equals_num_gpus_and_repeats(runs: Runs, under_torchrun: Path) -> None:
    again = runs.finish(runs.root / "again", processes=2)
    assert_same(again, under_torchrun)
    assert_same(runs.finish(runs.root / "num_gpus", "--num-gpus", "2"), under_torchrun)


def test_two_processes_resume_exactly(runs: Runs, under_torchrun: Path) -> None:
    """Each rank has its own statistics of batch norm; all of them come back."""
    output = runs.root / "resumed"
    process = runs.start(output, processes=2)
    while not (output / "model_0000001.pth").exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    runs.finish(output, "--resume", processes=2)
    assert_same(output, under_torchrun)


def test_one_process_draws_other_samples_of_the_same_pictures(runs: Runs, under_torchrun: Path) -> None:
    alone = losses(runs.finish(runs.root / "alone"))
    # The same four pictures a step and the same start; anchors and boxes are drawn per rank.
    assert alone[0] == pytest.approx(losses(under_torchrun)[0], rel=0.2)
    assert alone != losses(under_torchrun)
