"""The parts of on_gpu.py: each writes rows of what, value, wanted and ok; see there.

python -m benchmarks.gpu_parts PART ROWS cuda|cpu
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import warnings
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks import bench_pretraining, gpu_runs
from benchmarks.gpu_runs import ROOT, Bench, relative

CARD_FLOPS = 790e12  # bfloat16 matrix products of an H200, measured with torch
MADDS_X50 = 4.23e9  # ResNeXt-50 32x4d at 224 pixels, forward
OTHER_DEVICE = 1e-3  # float32 sums in another order, through 50 layers; TF32 is off


def _exact() -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def _updates(bench: Bench, device: str, **switches: Any) -> list[float]:
    """Losses of five updates of ResNeXt-50."""
    args = Namespace(size=64 if bench.gpu else 32, batch=24 if bench.gpu else 4, device=device)
    with tempfile.TemporaryDirectory() as folder:
        ours = bench_pretraining.Ours(args, Path(folder), switches)
        return [float(ours.loop._step(None, step)["loss"]) for step in range(5)]


def compiled(bench: Bench) -> None:
    """MODEL.COMPILE against the plain run; compiling takes most of it."""
    if not bench.gpu:
        bench.row("MODEL.COMPILE", "minutes on a CPU: left to the slow tests")
        return
    _exact()
    plain, found = _updates(bench, "cuda"), _updates(bench, "cuda", compile=True)
    bench.within("MODEL.COMPILE: loss of the first step", abs(found[0] / plain[0] - 1), OTHER_DEVICE)
    bench.within("MODEL.COMPILE: loss of the fifth", abs(found[4] / plain[4] - 1), 10 * OTHER_DEVICE)


def pretraining_equal(bench: Bench) -> None:
    """Five updates of ResNeXt-50 on the CPU and on the device, plain and with each switch."""
    _exact()
    wanted = _updates(bench, "cpu")
    plain = _updates(bench, bench.device)
    bench.within("loss of the first step, CPU against device", abs(plain[0] / wanted[0] - 1), OTHER_DEVICE)
    bench.within("loss of the fifth", abs(plain[4] / wanted[4] - 1), 10 * OTHER_DEVICE)
    limits: dict[str, tuple[float, dict[str, Any]]] = {
        "MODEL.RECOMPUTE": (1e-6, {"recompute": True}),
        "MODEL.CHANNELS_LAST": (OTHER_DEVICE, {"channels_last": True}),
        "SOLVER.FUSED": (1e-4, {"fused": True}),
        "SOLVER.AMP bfloat16": (2e-2, {"amp": "bfloat16"}),
    }
    if bench.gpu:  # on a CPU grouped convolutions in float16 take a hundred times as long
        limits["SOLVER.AMP float16, scaled"] = (1e-2, {"amp": "float16"})
    for name, (most, switches) in limits.items():
        found = _updates(bench, bench.device, **switches)
        bench.within(f"{name}: loss of the first step against plain", abs(found[0] / plain[0] - 1), most)
        bench.within(f"{name}: loss of the fifth", abs(found[4] / plain[4] - 1), 10 * most)


def _detectors(bench: Bench, *keys: object, size: tuple[int, int] = (256, 320), images: int = 1) -> Any:
    import bench_engines
    import scenes

    cfg = bench_engines.config(Namespace(device=bench.device, opts=list(keys)))
    examples = scenes.batch(0, bitmaps=True, shapes=[(*size, 6)] * images)
    return cfg, examples, bench_engines.engines(cfg)["embedded"]


def detector_equal(bench: Bench) -> None:
    """Losses, gradients and detections of the tiny Mask R-CNN on the CPU and on the device."""
    import scenes

    from wsl_det.detector.engine import select_engine

    _exact()
    found: dict[str, tuple[Any, Any, Any]] = {}
    for device in ("cpu", bench.device):
        cfg = scenes.config(**scenes.SMOOTH, DEVICE=device)
        engine = select_engine("embedded")(cfg)
        model = scenes.fill(engine.build(), seed=3)
        examples = scenes.batch(0, bitmaps=True)
        losses = scenes.run_losses(engine, model.train(), examples, seed=0)
        sum(losses.values()).backward()
        gradients = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
        with torch.no_grad():
            model.eval()
            detections = engine.decode(model(engine.encode(examples)))
        found[device] = ({k: v.detach() for k, v in losses.items()}, gradients, detections)
    (a, b, c), (x, y, z) = found["cpu"], found[bench.device]
    for name, value in a.items():
        bench.within(f"{name}, CPU against device", relative(x[name], value), OTHER_DEVICE)
    worst = max(b, key=lambda key: relative(y[key], b[key]))
    bench.within(f"gradient that differs most ({worst})", relative(y[worst], b[worst]), 10 * OTHER_DEVICE)
    same = [len(p.scores) == len(q.scores) for p, q in zip(c, z, strict=True)]
    bench.row("images with as many detections", f"{sum(same)} of {len(same)}", "all", all(same))
    pairs = [(p, q) for p, q, ok in zip(c, z, same, strict=True) if ok and len(p.scores)]
    if pairs:
        bench.within("scores", max(relative(q.scores, p.scores) for p, q in pairs), OTHER_DEVICE)
        bench.within("boxes", max(relative(q.boxes_xyxy, p.boxes_xyxy) for p, q in pairs), OTHER_DEVICE)


def _table(bench: Bench, *command: str) -> list[str]:
    """What a benchmark prints, also into the log."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr[-3000:], flush=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}")
    return done.stdout.splitlines()


def pretraining_speed(bench: Bench) -> None:
    """A step beside timm's, same model, batch and precision; the share of the card's speed."""
    shape = ["--size", "224", "--batch", "192"] if bench.gpu else ["--size", "32", "--batch", "2"]
    command = ["benchmarks/bench_pretraining.py", "--device", bench.device, *shape, "--no-compile"]
    lines = _table(bench, *command, "--rounds", "10" if bench.gpu else "2")
    rate = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.match(r"[\d.]+$", cells[1]):
            rate[cells[0]] = float(cells[1])
            bench.row(f"{cells[0]}: images/s (over timm)", f"{cells[1]} ({cells[2]})")
    best = max((name for name in rate if name.startswith("ours")), key=rate.__getitem__)
    same = rate["ours, plain"] / rate["timm"]
    bench.row("like for like over timm", same, "at least 1", same >= 1 if bench.gpu else None)
    lacked = rate[best] / rate["timm, --amp (bfloat16) --channels-last"]
    bench.row(f"{best} over timm's fastest", lacked, "1.2", lacked >= 1.2 if bench.gpu else None)
    if bench.gpu:
        share = rate[best] * 3 * 2 * MADDS_X50 / CARD_FLOPS
        bench.row("share of the card's bfloat16 speed", f"{100 * share:.1f}%")


def detector_speed(bench: Bench) -> None:
    """X-101-32x8d Mask R-CNN at 800 pixels, two images: time and memory beside torchvision's."""
    x101 = [
        "MODEL.RESNETS.DEPTH",
        "101",
        "MODEL.RESNETS.NUM_GROUPS",
        "32",
        "MODEL.RESNETS.WIDTH_PER_GROUP",
        "8",
    ]
    x101 += ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
    shape = (
        ["--size", "800", "1088", "--images", "2"] if bench.gpu else ["--size", "64", "80", "--images", "1"]
    )
    command = ["benchmarks/bench_engines.py", "--device", bench.device, *shape]
    command += ["--rounds", "7" if bench.gpu else "1", "--switches", "float32", "bfloat16", "--", *x101]
    for line in _table(bench, *command):
        if match := re.match(r"(inference|training) +(.+?)  +wall +([\d.]+) s(.*)", line):
            kind, who, seconds, rest = match.groups()
            bench.row(f"{kind}, {who}: seconds", f"{seconds} {' '.join(rest.split())}".strip())
    bench.row("Detectron2's zoo, 8 V100, 16 images a step", ".690 s a step, .103 s an image, 7.2 GB")


def fits(bench: Bench) -> None:
    """ResNeXt-101 32x48d under 17,000 classes, 24 images of 224 in bfloat16, beside what --plan computes."""
    from pretrain.training import model, plan
    from pretrain.training.defaults import TREE
    from wsl_det.core.config import load

    width, classes, size, batch = (48, 17_000, 224, 24) if bench.gpu else (4, 100, 64, 4)
    for remade in (False, True):
        keys = ["MODEL.WIDTH_PER_GROUP", width, "SOLVER.AMP", "bfloat16", "MODEL.RECOMPUTE", remade,
                "INPUT.SIZE", size, "MODEL.BN_GROUP", batch, "SOLVER.IMS_PER_BATCH", batch]  # fmt: skip
        cfg = load(ROOT / "configs/pretrain/base_resnext101.yaml", TREE, keys)
        arch = model.make_arch(depth=101, groups=32, width_per_group=width, res2_channels=256)
        planned = sum(plan.memory_estimate(cfg, arch, classes, groups=1).values()) / 2**30
        args = Namespace(size=size, batch=batch, device=bench.device)
        with tempfile.TemporaryDirectory() as folder, _model_of(arch, classes):
            ours = bench_pretraining.Ours(args, Path(folder), {"amp": "bfloat16", "recompute": remade})
            peak = bench.peak(lambda ours=ours: [ours() for _ in range(3)])
            del ours
        what = f"32x{width}d, {classes:,} classes, {batch} images{', recomputing' if remade else ''}: GiB"
        if peak is None:
            bench.row(what, f"planned {planned:.2f}, not counted on a CPU")
        else:
            bench.row(
                what, f"{peak:.2f}, planned {planned:.2f}", "within 15%", abs(planned / peak - 1) <= 0.15
            )
            torch.cuda.empty_cache()


@contextmanager
def _model_of(arch: Any, classes: int) -> Iterator[None]:
    """bench_pretraining's loop around another model."""
    kept = bench_pretraining.model.make_arch, bench_pretraining.CLASSES
    bench_pretraining.model.make_arch, bench_pretraining.CLASSES = (lambda **_: arch), classes
    try:
        yield
    finally:
        bench_pretraining.model.make_arch, bench_pretraining.CLASSES = kept


def syncs(bench: Bench) -> None:
    """How often a step waits for the device, by torch's own count, and where."""
    if not bench.gpu:
        bench.row("host synchronisations", "torch counts them on a GPU only")
        return
    import bench_engines

    with tempfile.TemporaryDirectory() as folder:
        args = Namespace(size=64, batch=24, device="cuda")
        ours = bench_pretraining.Ours(args, Path(folder), {"channels_last": True})
        _count(bench, "pretraining step", ours, most=1)
    _, examples, (engine, model) = _detectors(bench)
    _count(bench, "detector's training step", lambda: bench_engines.step(engine, model, examples))
    _count(bench, "detector's inference", lambda: bench_engines.detect(engine, model, examples))


def _count(bench: Bench, what: str, work: Callable[[], object], most: int | None = None) -> None:
    work()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    torch.cuda.set_sync_debug_mode("default")
    where = Counter(f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message))
    told = ", ".join(f"{place} {times}" for place, times in where.most_common(12))
    total = sum(where.values())
    wanted = "" if most is None else f"at most {most}"
    bench.row(f"{what}: waits", f"{total} ({told})", wanted, None if most is None else total <= most)


def profile(bench: Bench) -> None:
    """Where a detector's training step spends the device's time."""
    import bench_engines

    keys = ("MODEL.RESNETS.DEPTH", 101, "MODEL.RESNETS.NUM_GROUPS", 32, "MODEL.RESNETS.WIDTH_PER_GROUP", 8)
    size, images = ((800, 1088), 2) if bench.gpu else ((64, 80), 1)
    _, examples, (engine, model) = _detectors(bench, *(keys if bench.gpu else ()), size=size, images=images)
    bench_engines.step(engine, model, examples)
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if bench.gpu else []
    with torch.profiler.profile(activities=activities) as found:
        bench_engines.step(engine, model, examples)
    key = "self_device_time_total" if bench.gpu else "self_cpu_time_total"
    events = sorted(found.key_averages(), key=lambda event: -getattr(event, key))
    total = sum(getattr(event, key) for event in events) or 1
    for event in events[:12]:
        bench.row(event.key[:80], f"{100 * getattr(event, key) / total:.1f}% in {event.count} calls")


PARTS = (pretraining_equal, detector_equal, pretraining_speed, detector_speed, fits, syncs, gpu_runs.resume,
         gpu_runs.processes, gpu_runs.full, gpu_runs.photos, profile, compiled)  # fmt: skip

if __name__ == "__main__":
    part, rows, device = sys.argv[1:]
    {one.__name__: one for one in PARTS}[part](Bench(device, Path(rows)))
