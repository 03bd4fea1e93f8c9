"""The loop: exact resume, what is logged, what stops it; alone and in two processes."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wsl_det.core import checkpoint, dist, log, loop, seed
from wsl_det.core.checkpoint import RunFolder, load_weights
from wsl_det.errors import CheckpointError, ConfigError, DataError, WslError


def _batches(start: int, until: int) -> Iterator[Tensor]:
    iteration = start
    while True:
        if iteration == until:
            raise DataError("too many bad images")
        yield torch.randn(8, 4, generator=seed.generator("data", iteration, dist.rank()))
        iteration += 1


def _net() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(torch.randn(p.shape, generator=seed.generator("init", i)))
    return net


def _train(
    folder: Path,
    max_iter: int,
    resume: bool = False,
    stop_at: int = -1,
    bad_at: int = -1,
    lr: float = 0.05,
    hooks: tuple[loop.Hook, ...] = (),
    signals: tuple[int, ...] = (signal.SIGTERM,),
    data_until: int = 99,
    length: str = "x",
) -> dict[str, Tensor]:
    net = _net()
    model = dist.wrap(net)

    def losses(batch: Tensor, iteration: int) -> dict[str, Tensor]:
        if iteration == stop_at:
            for number in signals:
                os.kill(os.getpid(), number)
        out = model(batch).square().mean()
        return {"loss_a": out * (float("nan") if iteration == bad_at else 1.0), "norm": out.sqrt()}

    with RunFolder(folder, keep=2).claim(resume) as run:
        return _trained(run, net, model, losses, max_iter, resume, lr, hooks, data_until, length)


def _trained(run, net, model, losses, max_iter, resume, lr, hooks, data_until, length) -> dict[str, Tensor]:
    folder = run.path
    sink = log.MetricSink(folder / "metrics.jsonl", folder / "board") if dist.is_main() else None
    plan = loop.Plan(
        max_iter=max_iter,
        lr=lambda i: 1 / (1 + i),
        checkpoint_period=2,
        fingerprint={"lr": lr, length: max_iter if length != "x" else 0},
        describe=lambda b: "ids",
        hooks=hooks,
    )
    stepper = loop.Loop(
        model=model,
        losses=losses,
        optimizer=torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9),
        folder=run,
        metrics=sink,
        plan=plan,
    )
    start = stepper.resume() if resume else 0
    stepper.run(_batches(start, data_until), start)
    return {k: v.clone() for k, v in net.state_dict().items()}


def test_resume_after_sigterm_is_bit_identical(tmp_path: Path) -> None:
    whole = _train(tmp_path / "whole", 7)
    with pytest.raises(SystemExit) as stopped:
        _train(tmp_path / "cut", 7, stop_at=3)
    assert stopped.value.code == 143
    again = _train(tmp_path / "cut", 7, resume=True)
    assert all(torch.equal(whole[k], again[k]) for k in whole)
    lines = [json.loads(x) for x in (tmp_path / "cut/metrics.jsonl").read_text().splitlines()]
    assert [x["iteration"] for x in lines] == list(range(7))
    assert set(lines[0]) == {"iteration", "total_loss", "loss_a", "norm", "lr", "time", "data_time"}
    assert lines[2]["lr"] == pytest.approx(0.05 / 3)
    assert sorted(p.name for p in (tmp_path / "cut").glob("model*")) == [
        "model_0000005.pth",
        "model_0000006.pth",
    ]
    # As Detectron2 writes it: the bare name of the newest.
    assert (tmp_path / "cut" / "last_checkpoint").read_text() == "model_0000006.pth"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_bar_lives_on_a_terminal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(sys, "stderr", stream())
    log.setup()
    _train(tmp_path, 7)
    said = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert ("| 7/7 [" in said and "loss " in said.rpartition("7/7")[2]) == (stream is Terminal)
    # Its messages stand above it, on lines of their own.
    assert re.search(r"(^|[\r\n])\[\d\d:\d\d:\d\d\] iteration 7/7  loss .* left\n", said)


def test_the_last_record_is_written_once_however_often(tmp_path: Path) -> None:
    sink = log.MetricSink(tmp_path / "metrics.jsonl")
    sink.write({"iteration": 0, "loss": 1.0, "lr": 0.1})
    for ap in (1.0, 2.0):
        sink.conclude({"iteration": 0, "bbox/AP": ap})
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"iteration": 0, "loss": 1.0, "lr": 0.1}, {"iteration": 0, "bbox/AP": 2.0}]


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """As in a terminal: under nohup or in the background of a shell, they are ignored from the start."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_save_too(
    number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log.get(), "propagate", True)
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as stopped:
        _train(tmp_path, 7, stop_at=2, signals=(number,))
    assert stopped.value.code == 128 + number
    assert "saved at iteration 2; continue with --resume" in caplog.text
    assert (tmp_path / "model_0000002.pth").exists()


@pytest.mark.usefixtures("usual_signals")
def test_a_second_ctrl_c_ends_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log.get(), "propagate", True)
    with caplog.at_level("INFO"), pytest.raises(KeyboardInterrupt):
        _train(tmp_path, 7, stop_at=4, signals=(signal.SIGINT, signal.SIGINT))
    assert "ended at once; saved at iteration 3; continue with --resume" in caplog.text
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_a_signal_during_an_evaluation_is_not_lost(tmp_path: Path) -> None:
    """It is acted upon where the state is whole; what was said to be saved is."""
    end = loop.Hook(3, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        _train(tmp_path / "amid", 9, hooks=(end,))
    assert RunFolder(tmp_path / "amid").latest() == (3, tmp_path / "amid/model_0000003.pth")
    last = loop.Hook(3, lambda _: os.kill(os.getpid(), signal.SIGTERM), at_end=True)
    with pytest.raises(SystemExit) as stopped:
        _train(tmp_path / "end", 2, hooks=(last,))
    assert stopped.value.code == 143


def test_a_failed_evaluation_is_reported_and_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(iteration: int) -> None:
        raise DataError("the photos of v are not there")

    monkeypatch.setattr(log.get(), "propagate", True)
    with caplog.at_level("WARNING"):
        with_it = _train(tmp_path / "failing", 5, hooks=(loop.Hook(2, fails),))
    told = {record.getMessage() for record in caplog.records}
    words = "what was to be done after iteration {} failed; training goes on: the photos of v are not there"
    assert told == {words.format(1), words.format(3)}
    assert "Traceback" not in caplog.text
    without = _train(tmp_path / "none", 5)
    assert all(torch.equal(with_it[k], without[k]) for k in without)


def test_bad_files_and_dead_loaders_cost_no_step(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too many bad images"):
        _train(tmp_path, 7, data_until=3)
    assert (tmp_path / "model_0000002.pth").exists()


def test_records_after_the_checkpoint_are_shown_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(DataError):
        _train(tmp_path, 7, bad_at=5)  # the checkpoint is of iteration 3
    _train(tmp_path, 7, resume=True)
    board = EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    assert [event.step for event in board.Scalars("total_loss")] == list(range(7))


def test_a_run_killed_in_its_evaluation_evaluates_when_resumed(tmp_path: Path) -> None:
    called: list[int] = []

    def evaluate(iteration: int) -> dict[str, float]:
        called.append(iteration)
        if called == [1, 3]:
            raise KeyboardInterrupt
        return {"AP": float(iteration)}

    hooks = (loop.Hook(2, evaluate),)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, 7, hooks=hooks)
    _train(tmp_path, 7, resume=True, hooks=hooks)
    assert called == [1, 3, 3, 5]
    # From here on nothing is missing: the checkpoint of the last iteration has no evaluation of its own.
    _train(tmp_path, 7, resume=True, hooks=hooks)
    assert called == [1, 3, 3, 5]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(x["iteration"], x.get("AP")) for x in lines if "AP" in x] == [(1, 1.0), (3, 3.0), (5, 5.0)]
    (tmp_path / "model_0000006.pth").unlink()
    _train(tmp_path, 7, resume=True, hooks=hooks)
    assert called == [1, 3, 3, 5]


def test_a_folder_with_another_run_is_refused(tmp_path: Path) -> None:
    _train(tmp_path, 2)
    with pytest.raises(ConfigError, match="--resume"):
        _train(tmp_path, 2)
    with pytest.raises(CheckpointError, match=r"lr: 0\.05 then, 0\.1 now"):
        _train(tmp_path, 4, resume=True, lr=0.1)


def test_a_longer_run_is_another_run(tmp_path: Path) -> None:
    _train(tmp_path, 2, length="SOLVER.MAX_ITER")
    with pytest.raises(CheckpointError, match=r"MAX_ITER: 2 then, 4 now\nA run's length is in the learning"):
        _train(tmp_path, 4, resume=True, length="SOLVER.MAX_ITER")


def test_what_cannot_be_continued_is_not_trained_over(tmp_path: Path) -> None:
    _train(tmp_path, 2)
    (tmp_path / "model_0000001.pth").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="1 checkpoints, none of them readable"):
        _train(tmp_path, 2, resume=True)
    (tmp_path / "model_0000001.pth").rename(tmp_path / "model_final.pth")
    with pytest.raises(CheckpointError, match=r"model_final.pth but no checkpoint"):
        _train(tmp_path, 2, resume=True)


def test_equal_states_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        RunFolder(tmp_path / name).save_final(_state(1))
        checkpoint.save(tmp_path / f"{name}.pth", _state(1))
    assert (tmp_path / "a/model_final.pth").read_bytes() == (tmp_path / "b/model_final.pth").read_bytes()
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_resume_without_checkpoint_starts_over(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("x: 1")
    assert _train(tmp_path, 2, resume=True)


def test_a_full_gpu_is_not_told_as_another_runs_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    _train(tmp_path, 4)
    monkeypatch.setattr(torch.optim.SGD, "load_state_dict", full)
    with pytest.raises(torch.OutOfMemoryError):
        _train(tmp_path, 6, resume=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda saved: saved.pop("model"),
        lambda saved: saved["model"].pop("0.weight"),
        lambda saved: saved["optimizer"].update(param_groups=3),
        lambda saved: saved.update(rank_buffers=[{"of another": torch.ones(1)}]),
        lambda saved: saved.update(fingerprint=3),
    ],
)
def test_a_checkpoint_of_other_content_is_refused_with_the_way_on(tmp_path: Path, spoil: Any) -> None:
    _train(tmp_path, 4)
    newest = sorted(tmp_path.glob("model_0*.pth"))[-1]
    saved = load_weights(newest)
    spoil(saved)
    torch.save(saved, newest)
    with pytest.raises(CheckpointError, match=r"(?s)checkpoint 3 is not one of this run .*move it away"):
        _train(tmp_path, 4, resume=True)


def test_damaged_newest_checkpoint_falls_back(tmp_path: Path) -> None:
    whole = _train(tmp_path, 5)
    newest = tmp_path / "model_0000004.pth"
    newest.write_bytes(newest.read_bytes()[:100])
    again = _train(tmp_path, 5, resume=True)
    assert all(torch.equal(whole[k], again[k]) for k in whole)


def _state(value: float) -> dict[str, Tensor]:
    return {"x": torch.full((3,), value)}


def test_a_checkpoint_is_the_state_of_its_moment(tmp_path: Path) -> None:
    """Written in the background: what happens to the weights meanwhile does not reach the file."""
    begun, go = threading.Event(), threading.Event()

    class Slow(RunFolder):
        def save(self, iteration: int, state: Any) -> Path:
            begun.set()
            assert go.wait(60)
            return super().save(iteration, state)

    folder = Slow(tmp_path)
    folder.claim(resume=False)
    saver = checkpoint.Saver(folder)
    state = {"model": _state(1.0), "list": [_state(1.0)["x"]]}
    saver.save(4, state)
    assert begun.wait(60)
    state["model"]["x"].fill_(2)
    state["list"][0].fill_(2)
    assert folder.latest() is None
    go.set()
    saver.wait()
    saved = load_weights(tmp_path / "model_0000004.pth")
    assert saved["model"]["x"].tolist() == saved["list"][0].tolist() == [1, 1, 1]


def test_a_full_disk_is_survived_and_a_bug_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path)
    folder.claim(resume=False)
    saver = checkpoint.Saver(folder)
    saver.save(0, _state(0))
    saver.wait()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    log.get().propagate = True
    with caplog.at_level("WARNING"):
        saver.save(1, _state(1))
        saver.wait()
    assert "No space left on device" in caplog.text
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [".run.lock", "last_checkpoint", "model_0000000.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == names[-1]
    monkeypatch.setattr(torch, "save", lambda *_: 1 / 0)
    saver.save(2, _state(2))
    with pytest.raises(ZeroDivisionError):
        saver.wait()


def test_milestones_stay(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, keep=2, milestone=4)
    for iteration in range(1, 14, 2):
        folder.save(iteration, _state(iteration))
    kept = sorted(int(p.stem.split("_")[1]) + 1 for p in tmp_path.glob("model_*.pth"))
    assert kept == [4, 8, 12, 14]


def test_folders_that_cannot_hold_a_run_are_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="nothing can be written into OUTPUT_DIR"):
        RunFolder(tmp_path / "file" / "run").claim(resume=False)
    with pytest.raises(ConfigError, match=r"run.udcff' is not a name in UTF-8"):
        RunFolder(tmp_path / os.fsdecode(b"run\xff")).claim(resume=False)
    folder = RunFolder(tmp_path / "run", keep=2)
    with pytest.raises(ConfigError, match="GiB free"):
        folder.claim(resume=False, room_for=10**15)
    assert not folder.path.exists()
    again = pytest.raises(ConfigError, match=r"another process is at work on .*run \(process")
    with folder.claim(resume=False), again:
        RunFolder(folder.path).claim(resume=False)
    assert list(folder.path.iterdir()) == []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=300))
    folder.check_room(100)
    with pytest.raises(ConfigError, match="GiB free"):
        folder.check_room(101)
    folder.save(0, _state(0))
    folder.check_room(101)  # what is there already needs no more room


def test_workers_that_torchrun_started_anew_continue(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not dist.resumed(False) and dist.resumed(True)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert dist.resumed(False)


def test_non_finite_loss_stops_and_names_the_batch(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"iteration 3 \(rank 0 of ids\)"):
        _train(tmp_path, 5, bad_at=3)
    assert not (tmp_path / "model_0000003.pth").exists()


def test_hostile_checkpoint_is_not_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="nothing in it was executed"):
        load_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "owned").exists()


def _two(folder: Path, resume: bool, stop_at: int = -1) -> None:
    torch.set_num_threads(1)
    state = _train(folder, 5, resume=resume, stop_at=stop_at)
    torch.save(state, folder / f"end{dist.rank()}.pth")


def _fails() -> None:
    if dist.rank() == 1:
        raise DataError("rank 1 saw a bad file")
    dist.barrier()


def _dies() -> None:
    if dist.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()


def test_two_processes_agree_resume_and_report_errors(tmp_path: Path) -> None:
    dist.launch(_two, (tmp_path / "a", False), num_gpus=2)
    ends = [load_weights(tmp_path / f"a/end{r}.pth") for r in range(2)]
    assert torch.equal(ends[0]["0.weight"], ends[1]["0.weight"])
    assert not torch.equal(ends[0]["1.running_mean"], ends[1]["1.running_mean"])
    with pytest.raises(SystemExit):
        dist.launch(_two, (tmp_path / "b", False, 2), num_gpus=2)
    dist.launch(_two, (tmp_path / "b", True), num_gpus=2)
    again = [load_weights(tmp_path / f"b/end{r}.pth") for r in range(2)]
    assert all(torch.equal(ends[r][k], again[r][k]) for r in range(2) for k in ends[0])
    with pytest.raises(DataError, match="rank 1 saw a bad file"):
        dist.launch(_fails, (), num_gpus=2)
    with pytest.raises(WslError, match="process 1 of the job was killed by SIGKILL"):
        dist.launch(_dies, (), num_gpus=2)
