"""The pretraining step: our switches beside timm's trunk and optimiser, driven as timm's train script does.

    python benchmarks/bench_pretraining.py [--rounds 7] [--size 112] [--batch 24] [--device cpu]
    python benchmarks/bench_pretraining.py --script timm/train.py     # timm's own script too, as processes

A step is: pixels to floats, forward, loss, backward, optimiser; ours runs through the same loop, losses and
checks for finiteness as tools/pretrain_net.py. The peer follows timm's train.py for `--opt sgd`: Nesterov
SGD, cross-entropy against one class (ours: against 1/k of several). Contenders take turns within a round;
each ratio is taken within its round. The model is ResNeXt-50 32x4d under 1,500 classes, one thread.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from timm.optim import create_optimizer_v2

from pretrain.stream.loader import Tags, normalize
from pretrain.training import losses, model, recompute, solver
from wsl_det.core import checkpoint, loop

CLASSES = 1500
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SWITCHES: dict[str, dict[str, bool | str]] = {
    "plain": {},
    "MODEL.CHANNELS_LAST": {"channels_last": True},
    "SOLVER.FUSED": {"fused": True},
    "SOLVER.AMP bfloat16": {"amp": "bfloat16"},
    "bfloat16, CHANNELS_LAST, FUSED": {"amp": "bfloat16", "channels_last": True, "fused": True},
    "MODEL.RECOMPUTE": {"recompute": True},
    "MODEL.COMPILE": {"compile": True},
    "COMPILE, bfloat16, CHANNELS_LAST, FUSED": {
        "compile": True, "amp": "bfloat16", "channels_last": True, "fused": True,
    },
}  # fmt: skip
Step = Callable[[], None]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--script", type=Path, help="timm's train.py, run beside tools/pretrain_net.py")
    return parser.parse_args()


class Ours:
    """Our loop, a step at a time."""

    def __init__(self, args: argparse.Namespace, folder: Path, switches: dict[str, bool | str]) -> None:
        arch = model.make_arch(depth=50, groups=32, width_per_group=4, res2_channels=256)
        generator = torch.Generator().manual_seed(0)
        bare = model.make(arch, CLASSES, generator, bn_group=args.batch)
        self.channels_last = bool(switches.get("channels_last"))
        if self.channels_last:
            bare = bare.to(memory_format=torch.channels_last)
        self.model = bare.to(args.device).train()
        if switches.get("recompute"):
            recompute.recompute_blocks(self.model)
        if switches.get("compile"):
            self.model.compile()
        groups = solver.parameter_groups(self.model, decay=1e-4, decay_norm=1e-4, decay_bias=1e-4)
        optimizer = solver.sgd(
            groups, lr=0.01, momentum=0.9, nesterov=True, fused=bool(switches.get("fused"))
        )
        self.images, self.tags = inputs(args)
        course = loop.Plan(
            max_iter=1 << 30, lr=lambda _: 1.0, checkpoint_period=1 << 30, log_period=1 << 30,
            amp=str(switches.get("amp", "none")), samples=lambda batch: args.batch,
        )  # fmt: skip
        self.loop = loop.Loop(
            model=self.model, losses=self.losses, optimizer=optimizer,
            folder=checkpoint.RunFolder(str(folder)), metrics=None, plan=course,
        )  # fmt: skip
        self.done = 0

    def losses(self, batch: object, iteration: int) -> dict[str, torch.Tensor]:
        pixels = normalize(self.images, MEAN, STD)
        logits = self.model(pixels if self.channels_last else pixels.contiguous())
        loss, least = losses.hashtag_loss(logits, self.tags)
        return {"loss": loss, "kl": loss.detach() - least}

    def __call__(self) -> None:
        self.loop._step(None, self.done)
        self.done += 1


def timms(args: argparse.Namespace, *, channels_last: bool = False, amp: bool = False) -> Step:
    """A step as timm's train script takes it with its prefetching loader, `--opt sgd` and those switches."""
    trunk = timm.create_model("resnext50_32x4d", num_classes=CLASSES).to(args.device).train()
    if channels_last:
        trunk = trunk.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(trunk, opt="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)
    images, tags = inputs(args)
    planes = images.permute(0, 3, 1, 2).contiguous()
    mean, std = (torch.tensor(values, device=args.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    criterion = torch.nn.CrossEntropyLoss()

    def step() -> None:
        pixels = planes.float().sub(mean).div(std)
        if channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=amp):
            loss = criterion(trunk(pixels), tags.ids[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def inputs(args: argparse.Namespace) -> tuple[torch.Tensor, Tags]:
    """Random pixels (N, size, size, 3) uint8 and two tags an image."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (args.batch, args.size, args.size, 3), generator=generator).byte()
    ids = torch.randperm(CLASSES, generator=generator)[: 2 * args.batch].view(-1, 2)
    tags = Tags(ids.to(args.device), torch.full((args.batch,), 2, device=args.device))
    return images.to(args.device), tags


def seconds(step: Step, device: str) -> float:
    """CPU time of a step; wall time on a device that computes beside the processor."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    began = clock()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - began


def contenders(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Step]]:
    yield "timm", timms(args)
    yield "timm, --channels-last", timms(args, channels_last=True)
    yield "timm, --amp (bfloat16) --channels-last", timms(args, channels_last=True, amp=True)
    for i, (name, switches) in enumerate(SWITCHES.items()):
        if not (args.no_compile and switches.get("compile")):
            yield f"ours, {name}", Ours(args, folder / str(i), switches)


def table(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        steps = dict(contenders(args, Path(scratch)))
        for step in steps.values():
            step()  # buffers, momentum and compilation come into being
        took: dict[str, list[float]] = {name: [] for name in steps}
        names = list(steps)
        for number in range(args.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                took[name].append(seconds(steps[name], args.device))
    print("| who | images/s | speed over timm, median (least to most) | over ours, plain |")
    print("|---|---|---|---|")
    for name in names:
        rate = args.batch / statistics.median(took[name])
        over = sorted(t / s for t, s in zip(took["timm"], took[name], strict=True))
        plain = statistics.median(p / s for p, s in zip(took["ours, plain"], took[name], strict=True))
        print(f"| {name} | {rate:.1f} | {statistics.median(over):.2f} ({over[0]:.2f} to {over[-1]:.2f}) "
              f"| {plain:.2f} |")  # fmt: skip


def script(args: argparse.Namespace) -> None:
    """timm's train.py as a process, on JPEGs it decodes itself: seconds a step, loading included."""
    with tempfile.TemporaryDirectory() as scratch:
        rng = np.random.default_rng(0)
        for i in range(args.batch * 12):
            path = Path(scratch) / "data" / "train" / f"c{i % 4}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            cv2.imwrite(str(path), cv2.resize(coarse, (256, 256)))
        words = (
            f"--data-dir {scratch}/data --output {scratch} --model resnext50_32x4d --num-classes 4 --opt sgd "
        )
        words += (
            f"-b {args.batch} --img-size {args.size} --device {args.device} --epochs 1 -j 1 --log-interval 4"
        )
        command = [sys.executable, str(args.script), *words.split(), "--val-split", "train"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        rates = re.findall(r"Time: [\d.]+s, +([\d.]+)/s", done.stdout + done.stderr)
        if not rates:
            sys.exit(f"no rate in what timm's script printed:\n{(done.stdout + done.stderr)[-2000:]}")
        print(f"timm's train.py: {rates[-1]} images/s of wall time, loading included")


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    print(f"{date.today()}  {platform.processor() or platform.machine()}  torch {torch.__version__}, "
          f"timm {timm.__version__}; {args.batch} images of {args.size} pixels on {args.device}")  # fmt: skip
    table(args)
    if args.script:
        script(args)


if __name__ == "__main__":
    main()
