"""What only a GPU can say: is it right, does it fit, is it fast; each part with its own time limit.

    benchmarks/on_gpu.sh OUT              # on the machine with the GPU; nothing else is needed there
    benchmarks/on_gpu.sh OUT cpu          # rehearsal: the same parts on tiny inputs
    python benchmarks/on_gpu.py --output OUT --only resume processes

Parts run one after the other, the most telling first, each in a process of its own; a row is written the
moment it is known, so that whatever ends this leaves what was found. benchmarks/gpu_parts.py has the parts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEEDED = {
    "torch": "torch", "torchvision": "torchvision", "timm": "timm", "cv2": "opencv-python-headless",
    "fvcore": "fvcore", "iopath": "iopath", "pycocotools": "pycocotools", "msgspec": "msgspec",
    "nltk": "nltk",
    "safetensors": "safetensors", "filelock": "filelock", "scipy": "scipy", "yaml": "pyyaml", "tqdm": "tqdm",
    "tensorboard": "tensorboard", "numba": "numba", "PIL": "pillow", "jinja2": "jinja2",
}  # fmt: skip
LIMITS = {
    "pretraining_equal": 60,
    "detector_equal": 40,
    "pretraining_speed": 60,
    "detector_speed": 90,
    "fits": 50,
    "syncs": 40,
    "resume": 50,
    "processes": 40,
    "full": 20,
    "photos": 50,
    "profile": 30,
    "compiled": 50,
}
"""Seconds of each part at the most, in their order."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--only", nargs="+", choices=tuple(LIMITS), default=tuple(LIMITS))
    parser.add_argument("--patience", type=float, default=1.0, help="times the limits")
    return parser.parse_args()


def missing() -> list[str]:
    """Distributions whose module is not here."""
    return [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]


def run(part: str, args: argparse.Namespace) -> list[dict[str, object]]:
    """The rows of a part; one that says why where it failed or took too long."""
    rows, began = args.output / "rows.tmp", time.monotonic()
    rows.write_text("")
    command = [sys.executable, "-m", "benchmarks.gpu_parts", part, str(rows), args.device]
    limit = LIMITS[part] * args.patience
    with (args.output / "on_gpu.log").open("a") as log:
        print(f"== {part}", file=log, flush=True)
        child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        try:
            code: int | str = child.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, 9)
            child.wait()
            code = f"stopped after {limit:g} s"
    found = [json.loads(line) for line in rows.read_text().splitlines() if line.endswith("}")]
    rows.unlink()
    if code:
        found.append({"what": "the part itself", "value": f"failed: {code}; see on_gpu.log", "ok": False})
    took = round(time.monotonic() - began, 1)
    return [{"part": part, **row, "part_seconds": took} for row in found]


def show(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    args = parse_args()
    if lacking := missing():
        sys.exit(f"not here: {', '.join(lacking)}; benchmarks/on_gpu.sh tells how they travel as wheels")
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU here; `benchmarks/on_gpu.sh OUT cpu` rehearses")
    args.output.mkdir(parents=True, exist_ok=True)
    card = torch.cuda.get_device_name() if args.device == "cuda" else "CPU, a rehearsal on tiny inputs"
    table = args.output / "on_gpu.md"
    day = time.strftime("%Y-%m-%d")
    table.write_text(f"{day}, {card}, torch {torch.__version__}, {os.cpu_count()} cores.\n\n"
                     "| part | what | found | wanted | |\n|---|---|---|---|---|\n")  # fmt: skip
    wrong = 0
    for part in args.only:
        for row in run(part, args):
            with (args.output / "on_gpu.jsonl").open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            verdict = {True: "yes", False: "NO", None: ""}[row.get("ok")]  # type: ignore[index]
            cells = (part, row["what"], show(row["value"]), row.get("wanted", ""), verdict)
            line = "| " + " | ".join(str(cell) for cell in cells) + " |"
            with table.open("a") as text:
                text.write(line + "\n")
            print(line, flush=True)
            wrong += row.get("ok") is False
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
