"""The loop: exact resume, what is logged, what stops it; alone and in two processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wsl_det.core import dist, log, loop, seed
from wsl_det.core.checkpoint import RunFolder, load_weights
from wsl_det.errors import CheckpointError, ConfigError, DataError


def _batches(start: int) -> Iterator[Tensor]:
    iteration = start
    while True:
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
) -> dict[str, Tensor]:
    net = _net()
    model = dist.wrap(net)

    def losses(batch: Tensor, iteration: int) -> dict[str, Tensor]:
        if iteration == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        out = model(batch).square().mean()
        return {"loss_a": out * (float("nan") if iteration == bad_at else 1.0), "norm": out.sqrt()}

    run = RunFolder(folder, keep=2)
    run.claim(resume)
    sink = log.MetricSink(folder / "metrics.jsonl") if dist.is_main() else None
    plan = loop.Plan(
        max_iter=max_iter,
        lr=lambda i: 1 / (1 + i),
        checkpoint_period=2,
        fingerprint={"lr": lr},
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
    stepper.run(_batches(start), start)
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


def test_resume_without_checkpoint_starts_over(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("x: 1")
    assert _train(tmp_path, 2, resume=True)


def test_damaged_newest_checkpoint_falls_back(tmp_path: Path) -> None:
    whole = _train(tmp_path, 5)
    newest = tmp_path / "model_0000004.pth"
    newest.write_bytes(newest.read_bytes()[:100])
    again = _train(tmp_path, 5, resume=True)
    assert all(torch.equal(whole[k], again[k]) for k in whole)


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
