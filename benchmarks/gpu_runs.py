"""The parts of on_gpu.py that are whole runs of the product; and what all parts share."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.distributed as td
import torch.multiprocessing as mp

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "parity"), str(ROOT / "benchmarks")]
DETERMINISTIC = "torch.use_deterministic_algorithms(True, warn_only=True)"
TINY = (
    "SOLVER.TOTAL_IMAGES",
    1920,
    "SOLVER.WARMUP_UPDATES",
    5,
    "SOLVER.CHECKPOINT_PERIOD",
    10,
    "LOG_PERIOD",
    10,
)


@dataclass
class Bench:
    """Where a part runs and where its rows go."""

    device: str
    rows: Path

    @property
    def gpu(self) -> bool:
        return self.device == "cuda"

    def row(self, what: str, value: object, wanted: str = "", ok: bool | None = None) -> None:
        with self.rows.open("a") as lines:
            lines.write(json.dumps({"what": what, "value": value, "wanted": wanted, "ok": ok}) + "\n")

    def within(self, what: str, value: float, most: float) -> None:
        self.row(what, value, f"at most {most:g}", bool(value <= most))

    def peak(self, work: Callable[[], object]) -> float | None:
        """GiB that ``work`` holds at most; None where nothing counts it."""
        if not self.gpu:
            work()
            return None
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 2**30


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    found, wanted = found.detach().double().cpu(), wanted.detach().double().cpu()
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-12))


def _shards(folder: Path, number: int, side: int) -> Path:
    """A shard folder of smooth noise in 8 classes, without anything from elsewhere."""
    import shard_folders

    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(number):
        coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "images" / f"{i}.jpg"), cv2.resize(coarse, (side, side)))
        rows.append({"id": str(i), "image": f"{i}.jpg", "hashtags": [f"kind{'abcdefgh'[i % 8]}"]})
    shard_folders.write_lines(folder / "posts.jsonl", rows)
    vocab = shard_folders.vocabulary(folder / "vocab.json", [f"kind{letter}" for letter in "abcdefgh"])
    return shard_folders.build(folder, vocab)


def _pretrain(
    device: str,
    shards: Path,
    output: Path,
    *keys: object,
    config: str = "quick/pretrain_tiny",
    first: str = "",
) -> list[str]:
    """The command of a run; ``first`` is done before the tool begins."""
    start = f"import torch; {first or 'pass'}\nimport runpy, sys\nsys.argv = sys.argv[1:]\n"
    start += "runpy.run_path(sys.argv[0], run_name='__main__')"
    words = ["tools/pretrain_net.py", "--config-file", f"configs/{config}.yaml", "MODEL.DEVICE", device]
    words += ["DATA.SHARDS", shards, "OUTPUT_DIR", output, *keys]
    return [sys.executable, "-c", start, *map(str, words)]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout[-2000:], done.stderr[-4000:], flush=True)
    return done


def resume(bench: Bench) -> None:
    """A run that was killed with SIGKILL ends with the weights of one that was not, bit for bit."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    with tempfile.TemporaryDirectory() as scratch:
        shards = _shards(Path(scratch) / "data", 240, 64)
        whole, cut = Path(scratch) / "whole", Path(scratch) / "cut"
        done = _run(_pretrain(bench.device, shards, whole, *TINY, first=DETERMINISTIC))
        command = _pretrain(bench.device, shards, cut, *TINY, first=DETERMINISTIC)
        child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while child.poll() is None and not list(cut.glob("model_*.pth")):
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        killed = not (cut / "model_final.pth").exists()
        _run([*command, "--resume"])
        one, other = (
            torch.load(folder / "model_final.pth", weights_only=True)["model"] for folder in (whole, cut)
        )
        apart = [key for key in one if not torch.equal(one[key], other[key])]
        bench.row("killed on its way", killed, "true", killed)
        bench.row("tensors that differ after --resume", f"{len(apart)} of {len(one)}", "0", not apart)
        named = sorted(set(re.findall(r"(\w+) does not have a deterministic", done.stderr)))
        bench.row("operators without a deterministic form", ", ".join(named) or "none")


def _in_group(rank: int, world: int, backend: str, meeting: str, words: list[str]) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK="0")
    td.init_process_group(backend, init_method=f"file://{meeting}", rank=rank, world_size=world)
    from pretrain.training import train
    from pretrain.training.defaults import TREE
    from wsl_det.core.config import load

    cfg = load(ROOT / "configs/quick/pretrain_tiny.yaml", TREE, words)
    train.pretrain(cfg, False)
    td.destroy_process_group()


def processes(bench: Bench) -> None:
    """Two gloo processes, and one of NCCL, on the one device train what one process does."""
    with tempfile.TemporaryDirectory() as scratch:
        shards = _shards(Path(scratch) / "data", 240, 64)
        losses: dict[str, list[float]] = {}
        for name, world, backend in [("one", 1, "gloo"), ("two gloo", 2, "gloo"), ("one NCCL", 1, "nccl")]:
            if backend == "nccl" and not bench.gpu:
                continue
            output = Path(scratch) / name.replace(" ", "_")
            words = ["MODEL.DEVICE", bench.device, "DATA.SHARDS", shards, "OUTPUT_DIR", output, *TINY]
            arguments = (world, backend, str(output) + ".meeting", [str(word) for word in words])
            mp.spawn(_in_group, arguments, nprocs=world)
            lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
            losses[name] = [line["loss"] for line in lines if "loss" in line]
        for name, found in losses.items():
            if name != "one":
                apart = [abs(mine / its - 1) for mine, its in zip(found, losses["one"], strict=True)]
                bench.within(f"{name}: loss of the first update, against one process", apart[0], 1e-4)
                bench.within(f"{name}: loss of the last", apart[-1], 0.1)


def full(bench: Bench) -> None:
    """A device that is full ends in one message that says what to lower."""
    if not bench.gpu:
        bench.row("memory used up", "nothing to fill on a CPU")
        return
    with tempfile.TemporaryDirectory() as scratch:
        shards = _shards(Path(scratch) / "data", 48, 64)
        little = "torch.cuda.set_per_process_memory_fraction(0.0005)"
        done = _run(_pretrain("cuda", shards, Path(scratch) / "run", *TINY, first=little))
        told = "no memory left" in done.stderr and "Traceback" not in done.stderr
        last = done.stderr.strip().splitlines()[-1][:300]
        bench.row("message", last, "one, exit code 2", told and done.returncode == 2)


def photos(bench: Bench) -> None:
    """Photos decoded by all cores for a ResNet-50 in bfloat16: images a second, and the wait for them."""
    with tempfile.TemporaryDirectory() as scratch:
        shards = _shards(Path(scratch) / "data", 800 if bench.gpu else 96, 320 if bench.gpu else 64)
        size, batch, updates = (224, 192, 60) if bench.gpu else (32, 24, 4)
        keys = ["INPUT.SIZE", size, "INPUT.TEST_RESIZE", size, "SOLVER.IMS_PER_BATCH", batch]
        keys += ["SOLVER.AMP", "bfloat16", "SOLVER.TOTAL_IMAGES", batch * updates, "SOLVER.WARMUP_UPDATES", 1]
        keys += ["LOG_PERIOD", 1, "DATA.NUM_THREADS", os.cpu_count() or 1]
        output = Path(scratch) / "run"
        _run(_pretrain(bench.device, shards, output, *keys, config="pretrain/resnet50_1gpu"))
        lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if "time" in line][updates // 3 :]
        took, waited = (sum(line[key] for line in steps) for key in ("time", "data_time"))
        bench.row(f"images/s, {os.cpu_count()} cores", batch * len(steps) / took)
        bench.row("share of a step spent waiting for photos", f"{100 * waited / took:.1f}%")
