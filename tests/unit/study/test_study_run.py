"""Running a study: order, resumption, choosing a learning rate, divergence; the trainer only pretends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from study_processes import leave_figures_out, pretended_gain

from wsl_det import predictions
from wsl_det.core import files
from wsl_det.core.config import Config
from wsl_det.detector import datasets, defaults
from wsl_det.errors import ConfigError, DataError, WslError
from wsl_det.study import estimate, jobs, process, report, run, sweep
from wsl_det.study.jobs import Job
from wsl_det.study.plan import Study

ROOT = Path(__file__).parents[3]

# Leaves what train_net leaves; its boxes are right at one rate and four pixels off at the others.
TRAINER = """
import json, sys
from pathlib import Path
from wsl_det import predictions
folder, gt, arm, rate, resumed = Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4]), sys.argv[5]
with open(folder.parents[2] / "calls.txt", "a") as file:
    file.write(f"{folder.parent.parent.name} {arm} {rate:g} {resumed}\\n")
if rate > 1:
    print("error: the loss is not finite at iteration 3 (rank 0): loss_cls nan", file=sys.stderr)
    sys.exit(2)
if (folder / "break").exists():
    print("error: the disk is full", file=sys.stderr)
    sys.exit(2)
times = [{"iteration": i, "time": 0.5 if i > 3 else 9.0} for i in range(20)]
(folder / "metrics.jsonl").write_text("".join(json.dumps(t) + "\\n" for t in times))
(folder / "model_final.pth").write_bytes(b"weights")
tree = json.loads(Path(gt).read_text())
best = {"random": 0.02, "tags": 0.001}[arm]
shift = 0 if rate == best else 4
rows = [
    {"image_id": a["image_id"], "category_id": a["category_id"], "score": 0.9,
     "bbox": [a["bbox"][0] + shift, *a["bbox"][1:]]}
    for a in tree["annotations"]
]
predictions.write(folder / "predictions.json", rows, {"config": {"SOLVER": {"BASE_LR": rate}}})
(folder / "results.json").write_text(json.dumps({"bbox": {"AP": 50.0, "AP50": 60.0, "AP75": 55.0}}))
"""


@pytest.fixture
def study(study_tree: dict[str, Any], world, monkeypatch) -> Path:
    """The study file; trainings are pretended, gain reports left out."""
    path = world.folder / "study.yaml"
    path.write_text(yaml.safe_dump(study_tree))
    script = world.folder / "trainer.py"
    script.write_text(TRAINER)

    def command(study: Study, job: Job, cfg: Config, *, resume: bool) -> list[str]:
        _, (_, test) = jobs.data_of(study, job)
        words = [
            job.folder,
            test.annotations,
            job.arm.name,
            job.learning_rate,
            "resumed" if resume else "new",
        ]
        return [sys.executable, str(script), *map(str, words)]

    monkeypatch.setattr(jobs, "command", command)
    monkeypatch.setattr(report, "_gain", pretended_gain)
    leave_figures_out(monkeypatch)
    return path


def _run(path: Path, job: int | None = None) -> list[str]:
    return run.run(path, defaults.TREE, datasets.locate, job=job)


def _dry(path: Path) -> list[str]:
    return estimate.dry_run(run.begin(path, defaults.TREE, datasets.locate, strict=False))


def _calls(path: Path) -> list[str]:
    found = path.parent / "out" / "calls.txt"
    return found.read_text().splitlines() if found.exists() else []


def _change(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tree = yaml.safe_load(path.read_text())
    change(tree)
    path.write_text(yaml.safe_dump(tree))


def test_each_arm_is_swept_then_trained_with_its_own_best_rate(study: Path) -> None:
    lines = _run(study)
    assert _calls(study) == [
        "sweep random 0.01 new", "sweep random 0.02 new", "sweep tags 0.02 new", "sweep tags 0.001 new",
        "final random 0.02 new", "final random 0.02 new", "final tags 0.001 new", "final tags 0.001 new",
    ]  # fmt: skip
    out = study.parent / "out"
    meta = predictions.read_meta(out / "final" / "tags" / "seed_2" / "predictions.json")
    assert meta is not None
    record = meta["sweep"]
    assert (record["learning_rates"], record["chosen"], record["size"]) == ([0.02, 0.001], 0.001, 2)
    assert record["scores"][1] == pytest.approx(100)
    assert record["scores"][0] < 100
    told = files.read_json(out / "study.json")
    assert [arm["learning_rate"] for arm in told["arms"]] == [0.02, 0.001]
    assert files.read_json(out / "table" / "capacities.json")["bbox"][0]["AP"]["runs"] == [50.0, 50.0]
    assert any("at an end of the list: a lower one may be better" in line for line in lines)


def test_what_is_finished_is_not_done_again(study: Path) -> None:
    _run(study)
    before = len(_calls(study))
    (study.parent / "out" / "final" / "tags" / "seed_1" / "predictions.meta.json").unlink()
    _run(study)
    assert _calls(study)[before:] == ["final tags 0.001 resumed"]


def test_a_longer_sweep_that_chooses_the_same_rates_keeps_the_final_runs(study: Path) -> None:
    _run(study)
    before = len(_calls(study))
    _change(study, lambda t: t.update(learning_rates=[0.01, 0.02, 0.03]))
    _change(study, lambda t: t["arms"]["tags"].update(learning_rates=[0.02, 0.001, 0.0005]))
    _run(study)
    assert _calls(study)[before:] == ["sweep random 0.03 new", "sweep tags 0.0005 new"]
    meta = predictions.read_meta(study.parent / "out" / "final" / "tags" / "seed_2" / "predictions.json")
    assert meta is not None
    assert meta["sweep"]["size"] == 3


def test_array_jobs_one_at_a_time_and_in_any_order_within_a_stage(study: Path) -> None:
    with pytest.raises(ConfigError, match="needs the learning rate that jobs 0, 1 choose"):
        _run(study, job=4)
    for number in (3, 1, 0, 2):
        _run(study, job=number)
    assert "finished" in _run(study, job=4)[0]
    assert _calls(study)[-1] == "final random 0.02 new"
    with pytest.raises(ConfigError, match="the jobs of this study are 0 to 7"):
        _run(study, job=8)


def test_a_rate_that_diverges_loses_and_is_not_tried_again(study: Path) -> None:
    _change(study, lambda t: t.update(learning_rates=[0.02, 5.0]))
    _run(study)
    _run(study)
    assert _calls(study).count("sweep random 5 new") == 1
    meta = predictions.read_meta(study.parent / "out" / "final" / "random" / "seed_1" / "predictions.json")
    assert meta is not None
    assert meta["sweep"]["scores"] == [pytest.approx(100), None]


def test_all_rates_diverge(study: Path) -> None:
    _change(study, lambda t: t.update(learning_rates=[4.0, 5.0]))
    with pytest.raises(DataError, match=r"arm random: no learning rate of 4, 5 gave a bbox.AP"):
        _run(study)


def test_other_failures_stop_the_study_and_can_be_mended(study: Path) -> None:
    folder = study.parent / "out" / "sweep" / "random" / "lr_0.02"
    folder.mkdir(parents=True)
    (folder / "break").touch()
    with pytest.raises(WslError, match=r"(?s)ended with exit code 2.*the disk is full"):
        _run(study)
    (folder / "break").unlink()
    _run(study, job=1)
    assert _calls(study) == ["sweep random 0.01 new", "sweep random 0.02 new", "sweep random 0.02 resumed"]


def test_a_changed_study_does_not_take_old_jobs_for_its_own(study: Path) -> None:
    _run(study, job=0)
    _change(study, lambda t: t.update(overrides={"SOLVER.MAX_ITER": 7}))
    with pytest.raises(ConfigError, match=r"SOLVER.MAX_ITER: 2 then, 7 now"):
        _run(study)
    # A new rate or seed is no change to the jobs that are there.
    _change(study, lambda t: t.update(overrides={}, learning_rates=[0.01, 0.02, 0.03]))
    _change(study, lambda t: t["arms"]["tags"].update(learning_rates=[0.02, 0.001, 0.03]))
    assert "finished" in next(line for line in _dry(study) if "random, learning rate 0.01" in line)


def test_new_data_behind_an_old_name_is_noticed(study: Path, world) -> None:
    _run(study, job=0)
    tree = json.loads(world.train.read_text())
    tree["annotations"][0]["bbox"][2] += 1
    world.train.write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match="training annotations"):
        _run(study, job=0)


def test_a_folder_that_holds_another_run_is_left_alone(study: Path) -> None:
    folder = study.parent / "out" / "sweep" / "random" / "lr_0.01"
    folder.mkdir(parents=True)
    (folder / "model_final.pth").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="this study did not start"):
        _run(study)
    assert (folder / "model_final.pth").read_bytes() == b"precious"


def test_one_rate_needs_no_sweep_and_records_none(study: Path) -> None:
    _change(study, lambda t: t.update(learning_rates=[0.02], seeds=[1]))
    _change(study, lambda t: t["arms"]["tags"].pop("learning_rates"))
    _run(study)
    assert _calls(study) == ["final random 0.02 new", "final tags 0.02 new"]
    meta = predictions.read_meta(study.parent / "out" / "final" / "tags" / "seed_1" / "predictions.json")
    assert meta is not None
    assert "sweep" not in meta


def test_arms_that_the_report_would_refuse_are_refused_before_any_training(study: Path) -> None:
    _change(study, lambda t: t["arms"]["tags"].update(overrides={"SOLVER.MAX_ITER": 9}))
    with pytest.raises(ConfigError, match=r"(?s)arms random and tags.*SOLVER.MAX_ITER: 2 \| 9"):
        _run(study)
    _change(study, lambda t: t["arms"]["tags"].update(overrides={"SOLVER.MAX_ITERR": 9}))
    with pytest.raises(ConfigError, match=r"arm tags: .*did you mean SOLVER.MAX_ITER"):
        _run(study)
    assert not _calls(study)
    _change(study, lambda t: t.update(allow_mismatch=True))
    _change(study, lambda t: t["arms"]["tags"].update(overrides={"SOLVER.MAX_ITER": 9}))
    assert len(_dry(study)) == 10


def test_a_dry_run_lists_jobs_and_hours_and_trains_nothing(study: Path) -> None:
    lines = _dry(study)
    assert len(lines) == 1 + 8 + 1
    assert "unknown" in lines[1]
    assert lines[-1].startswith("the hours of 8 of 8 jobs are unknown: set seconds_per_iteration")
    assert not _calls(study)
    _change(study, lambda t: t.update(overrides={"SOLVER.MAX_ITER": 3600}))
    _run(study, job=0)
    lines = _dry(study)
    # Half a second an iteration was measured, the slow first ones left out.
    assert lines[1].split()[:3] == ["0", "finished", "0.50"]
    assert lines[2].split()[:4] == ["1", "to", "do", "0.50"]
    assert lines[3].split()[3] == "0.50", "an arm of the same config takes as long"
    _change(study, lambda t: t.update(seconds_per_iteration=2))
    assert _dry(study)[-1].startswith("14.00 hours of training left in 7 of 8 jobs")


def test_two_processes_do_not_train_one_job(study: Path) -> None:
    progress = run.begin(study, defaults.TREE, datasets.locate)
    job = progress.jobs[0]
    with (
        run._alone(job),
        pytest.raises(ConfigError, match=r"another process is at work on .* \(process \d+ on "),
    ):
        _run(study, job=0)


def test_missing_weights_are_named_with_their_arm(study: Path) -> None:
    _change(study, lambda t: t["arms"]["tags"].update(weights="no/such.pth"))
    with pytest.raises(ConfigError, match=r"arm tags: its weights no/such.pth do not exist"):
        _run(study)
    # A plan can be looked at before the weights are made.
    assert _dry(study)[-1] == "arm tags: its weights no/such.pth do not exist yet"


def test_the_command_line_of_a_job(study_tree, world, monkeypatch) -> None:
    monkeypatch.undo()
    path = world.folder / "study.yaml"
    path.write_text(yaml.safe_dump({**study_tree, "engine": "embedded", "num_gpus": 2}))
    progress = run.begin(path, defaults.TREE, datasets.locate)
    job = progress.jobs[0]
    words = jobs.command(progress.study, job, progress.config(job), resume=True)
    assert words[1:4] == ["-m", "wsl_det", "train_net"]
    assert words[words.index("--num-gpus") + 1] == "2"
    assert "--resume" in words
    assert words[words.index("SOLVER.BASE_LR") + 1] == "0.01"
    assert words[words.index("DATASETS.TEST") + 1] == "('tiny_heldout',)"
    registered = [words[i + 1] for i, word in enumerate(words) if word == "--register"]
    assert registered == ["tiny_fit", "tiny_heldout"]
    # The test set is nowhere in a job that chooses a learning rate.
    assert not any(str(world.test) in word for word in words)


@pytest.mark.parametrize(
    ("rates", "scores", "chosen", "told"),
    [
        ((0.1, 0.2, 0.4), (1.0, 3.0, 2.0), 0.2, ""),
        ((0.1, 0.2, 0.4), (1.0, 2.0, 3.0), 0.4, "a higher one"),
        ((0.1, 0.2, 0.4), (3.0, 2.0, None), 0.1, "a lower one"),
        ((0.1, 0.2, 0.4), (1.0, 3.0, None), 0.2, ""),
        ((0.4, 0.1), (0.0, 0.0), 0.1, "the sweep says nothing"),
    ],
)
def test_what_is_said_about_a_choice(rates, scores, chosen, told) -> None:
    choice = sweep.Choice(rates, chosen, scores, len(rates), "bbox.AP", 1, 0.2, 10)
    assert told in choice.warning
    assert bool(told) == bool(choice.warning)


def test_a_signal_reaches_the_training_and_then_ends_the_study(tmp_path: Path) -> None:
    child = (
        "import signal, sys\n"
        f"def save(*_):\n    open({str(tmp_path / 'saved')!r}, 'w').close()\n    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('training', file=sys.stderr, flush=True)\n"
        "signal.pause()\n"
    )
    train = f"process.train([sys.executable, '-c', {child!r}], 'x')"
    parent = f"import sys\nfrom wsl_det.study import process\n{train}\n"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == "training\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM
    assert (tmp_path / "saved").exists()


def test_a_training_ends_with_its_study_however_that_ends(tmp_path: Path) -> None:
    child = (
        "import signal, sys\n"
        f"def save(*_):\n    open({str(tmp_path / 'saved')!r}, 'w').close()\n    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('training', file=sys.stderr, flush=True)\n"
        "signal.pause()\n"
    )
    train = f"process.train([sys.executable, '-c', {child!r}], 'x')"
    parent = f"import sys\nfrom wsl_det.study import process\n{train}\n"
    with subprocess.Popen([sys.executable, "-c", parent], stderr=subprocess.PIPE, cwd=ROOT) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == b"training\n"
        running.kill()
        assert running.stderr.read() == b""
    # The training's own pipe led to the study: its end is seen by what it leaves alone.
    deadline = time.monotonic() + 60
    while not (tmp_path / "saved").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "saved").exists()


def test_divergence_is_told_in_the_words_of_the_loop() -> None:
    source = (ROOT / "wsl_det" / "core" / "loop.py").read_text()
    assert any(words in source for words in process._DIVERGED)
