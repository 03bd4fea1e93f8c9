"""tools/train_net.py as a program of its own, on little pictures, and what such runs are compared by."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from wsl_det.core import checkpoint

ROOT = Path(__file__).parents[1]
# Long enough for a busy machine to start Python with torch; a hang is still found.
PATIENCE_S = 180.0


def settings() -> Any:
    """The little pictures and the tiny detector of the unit tests, which live in their conftest."""
    path = ROOT / "tests" / "unit" / "detector" / "conftest.py"
    spec = importlib.util.spec_from_file_location("detector_settings", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Runs:
    """Starts the tool in ``root``, where a config and two data sets, "train" and "val", were written."""

    root: Path
    engine: str = "embedded"

    @classmethod
    def make(cls, root: Path, solver: Mapping[str, Any], engine: str = "embedded") -> Runs:
        little = settings()
        for name, count in (("train", 8), ("val", 2)):
            little.write_scenes(root / name, count, seed=count)
        tree = {**little.TINY, "SOLVER": {**little.TINY["SOLVER"], **solver}}
        (root / "tiny.yaml").write_text(yaml.safe_dump(tree))
        return cls(root, engine)

    def start(
        self, output: Path, *extra: str, processes: int = 1, session: bool = False
    ) -> subprocess.Popen[bytes]:
        """The tool on the way, in its own ``session`` or ours; ``processes`` above 1 are torchrun's."""
        run = "torch.distributed.run"
        launcher = ["-m", run, "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
        words = [
            sys.executable,
            *launcher,
            str(ROOT / "tools" / "train_net.py"),
            "--config-file",
            "tiny.yaml",
        ]
        for name in ("train", "val"):
            words += ["--register", name, f"{name}/gt.json", f"{name}/images"]
        words += ["--engine", self.engine, *extra, "OUTPUT_DIR", str(output)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with open(self.root / "output.txt", "ab") as out:
            return subprocess.Popen(
                words, cwd=self.root, env=env, stdout=out, stderr=out, start_new_session=session
            )

    def finish(self, output: Path, *extra: str, processes: int = 1) -> Path:
        """The tool to its end, which must be a good one; returns ``output``."""
        code = self.start(output, *extra, processes=processes).wait(PATIENCE_S)
        assert code == 0, (self.root / "output.txt").read_text()[-3000:]
        return output


def assert_same(found: Path, wanted: Path) -> None:
    """Bit for bit: final weights, metrics of every iteration, predictions, results."""
    ours, theirs = (checkpoint.load_weights(f / "model_final.pth")["model"] for f in (found, wanted))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items())
    assert metrics(found) == metrics(wanted)
    for name in ("predictions.json", "results.json"):
        ours, theirs = (json.loads((f / name).read_text()) for f in (found, wanted))
        if name == "results.json":
            ours, theirs = ({k: r[k] for k in ("bbox", "segm")} for r in (ours, theirs))
        assert ours == theirs, name


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the clock's values."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in ("time", "data_time")} for line in lines]


def losses(folder: Path) -> list[float]:
    """The total loss of every iteration."""
    return [line["total_loss"] for line in metrics(folder) if "total_loss" in line]
