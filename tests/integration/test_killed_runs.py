"""A fine-tuning run killed with SIGKILL, however often and whenever, ends as if nobody had touched it."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from train_runs import PATIENCE_S, Runs, assert_same, losses

STEPS = 12
# Momentum, a schedule in motion, clipping and evaluation in between all have to come back.
SOLVER = {
    "MAX_ITER": STEPS,
    "CHECKPOINT_PERIOD": 2,
    "WARMUP_ITERS": 4,
    "STEPS": [9],
    "CLIP_GRADIENTS": {"ENABLED": True},
}
EVALUATE = ("TEST.EVAL_PERIOD", "5")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs.make(tmp_path_factory.mktemp("killed"), SOLVER)


@pytest.fixture(scope="module")
def untouched(runs: Runs) -> Path:
    folder = runs.finish(runs.root / "untouched", *EVALUATE)
    assert len(set(losses(folder))) == STEPS  # no two alike, so equal losses mean the same pictures
    return folder


def _finished_steps(output: Path) -> int:
    try:
        return (output / "metrics.jsonl").read_text().count("total_loss")
    except FileNotFoundError:
        return -1


def _kill_at(process: subprocess.Popen[bytes], output: Path, steps: int, later_s: float) -> bool:
    """SIGKILL once ``steps`` steps were written down, ``later_s`` after; False if it ended before."""
    deadline = time.monotonic() + PATIENCE_S
    while _finished_steps(output) < steps and process.poll() is None:
        assert time.monotonic() < deadline, "the run neither ended nor went on"
        time.sleep(0.002)
    time.sleep(later_s)
    process.send_signal(signal.SIGKILL)
    return process.wait(PATIENCE_S) == -signal.SIGKILL


def _killed_at(runs: Runs, output: Path, moments: list[tuple[int, float]], *extra: str) -> int:
    """How many of ``moments`` (steps, seconds later) met the run alive; it is finished afterwards."""
    kills = 0
    for steps, later_s in moments:
        process = runs.start(output, "--resume", *EVALUATE, *extra)
        kills += _kill_at(process, output, steps, later_s)
    runs.finish(output, "--resume", *EVALUATE, *extra)
    return kills


def test_killed_before_and_after_its_first_checkpoint(runs: Runs, untouched: Path) -> None:
    output = runs.root / "twice"
    assert _killed_at(runs, output, [(0, 0.0), (7, 0.02)]) == 2
    assert_same(output, untouched)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_at_ten_random_moments(runs: Runs, untouched: Path) -> None:
    chance = random.Random(3)
    # A run goes on at a checkpoint at most two steps back, so all of these can be reached.
    moments = [(min(STEPS, 1 + k + chance.randrange(2)), chance.uniform(0, 0.4)) for k in range(10)]
    output = runs.root / "often"
    kills = _killed_at(runs, output, moments, "DATALOADER.NUM_WORKERS", "2")
    assert kills >= 7
    assert_same(output, untouched)


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_an_interrupted_run_is_the_same_files(tmp_path: Path) -> None:
    """Equal in bytes, not only in tensors: what was done to continue it decides nothing."""
    made = []
    for name in ("whole", "ended"):
        (tmp_path / name).mkdir()
        runs = Runs.make(tmp_path / name, SOLVER)
        if name == "ended":
            process = runs.start(Path("out"))
            _wait_for(runs.root / "out/model_0000003.pth", process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 143
        runs.finish(Path("out"), *(["--resume"] if name == "ended" else []))
        made.append(runs.root / "out")
    for name in ("model_final.pth", "predictions.json", "predictions.meta.json", "results.json"):
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes(), name


@pytest.mark.slow
def test_of_two_runs_in_one_folder_the_second_is_refused(runs: Runs, untouched: Path) -> None:
    output = runs.root / "shared"
    first = runs.start(output, "SOLVER.MAX_ITER", "100000", "SOLVER.STEPS", "()")
    _wait_for(output / "config.yaml", first)
    for words in ((), ("--eval-only", "MODEL.WEIGHTS", str(untouched / "model_final.pth"))):
        (runs.root / "output.txt").write_text("")
        assert runs.start(output, *words, "SEED", "7").wait(PATIENCE_S) == 2
        said = (runs.root / "output.txt").read_text()
        assert "already holds" in said or f"{output} (process {first.pid} on " in said
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert "SEED: 7" not in (output / "config.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_saves(number: int, runs: Runs) -> None:
    """timeout, service managers, batch systems and Ctrl-C reach the loader's workers too."""
    output = runs.root / f"group{number}"
    long = ("SOLVER.MAX_ITER", "100000", "SOLVER.CHECKPOINT_PERIOD", "100000", "DATALOADER.NUM_WORKERS", "2")
    (runs.root / "output.txt").write_text("")
    process = runs.start(output, *long, session=True)
    while _finished_steps(output) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, number)
    assert process.wait(PATIENCE_S) == 128 + number
    said = (runs.root / "output.txt").read_text()
    assert "Traceback" not in said
    saved = re.search(r"saved at iteration (\d+); continue with --resume", said)
    assert saved and (output / f"model_{int(saved[1]):07d}.pth").exists()
