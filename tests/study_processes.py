"""What stands in for a study's processes in tests: trainings that leave their files at once."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import simulation
from benchmarks.simulation import Detector
from wsl_det import predictions
from wsl_det.core import files
from wsl_det.core.figures import Drawing
from wsl_det.study import figures
from wsl_det.study.jobs import Job
from wsl_det.study.plan import Study
from wsl_det.study.scaling import figures as scaling_figures

# What an arm's labels do to its detector: the errors of class, and nothing else.
CLASS_ERROR = {"none": 0.5, "shuffled": 0.5, "hashtags": 0.2, "synsets": 0.05}
SCENE = {"images": 80, "classes": 5, "seed": 3}


class Pretended:
    """Stands in for the processes of a study: leaves what they leave, and may be struck before the n-th."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.strike_at: int | None = None
        self.scene = simulation.world(**SCENE)

    def train(self, words: Sequence[str], title: str) -> str:
        if len(self.calls) == self.strike_at:
            raise KeyboardInterrupt
        self.calls.append(" ".join([words[3], title, *(["resumed"] if "--resume" in words else [])]))
        if words[3] == "export_backbone":
            Path(words[5]).write_bytes((Path(words[4]) / "model_final.pth").read_bytes())
            Path(words[5]).with_suffix(".json").write_text("{}")
            return ""
        keys = {key: value for key, value in pairwise(words) if re.fullmatch("[A-Z][A-Z0-9_.]+", key)}
        folder = Path(keys["OUTPUT_DIR"])
        folder.mkdir(parents=True, exist_ok=True)
        times = [{"iteration": i, "time": 0.25 if i > 1 else 9.0} for i in range(20)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in times))
        (folder / "config.yaml").write_text(yaml.safe_dump(keys))
        if "pretrain_net" in words:
            told = {
                "labels": keys["DATA.LABELS"],
                "seed": int(keys["SEED"]),
                "schedule": "steps",
                "draws": 1000,
            }
            if "SOLVER.COOL_FROM" in keys:
                assert Path(keys["SOLVER.COOL_FROM"]).is_file(), "the run leaves the checkpoint first"
                told |= {"schedule": "constant", "cooled": True}
                told["draws"] = 8 * (1 + int(re.findall(r"model_(\d+)", keys["SOLVER.COOL_FROM"])[0]))
            elif "SOLVER.KEEP_AT" in keys:
                for update in (13, 125):  # a tenth and the whole of 1,000 images, 8 a step
                    (folder / f"model_{update - 1:07d}.pth").write_bytes(b"")
            (folder / "model_final.pth").write_text(json.dumps(told))
            return ""
        self._detect(folder, keys, title, words)
        return ""

    def _detect(self, folder: Path, keys: dict[str, str], title: str, words: Sequence[str]) -> None:
        name = re.findall(r"(?:sweep|final) (\w+)", title)[0]
        rate = CLASS_ERROR[name] + (0 if float(keys["SOLVER.BASE_LR"]) == 0.02 else 0.3)
        weights, backbone = Path(keys["MODEL.WEIGHTS"] or "none"), None
        if weights.is_file():
            told = json.loads(weights.read_text())
            backbone = {"sha256": files.sha256(weights), "pretraining": told}
            rate += 0.1 * (told["draws"] < 1000)
        luck = sum(map(ord, f"{name}{weights.parent.name}")) * 7 + int(keys["SEED"])
        found = simulation.detect(self.scene, Detector(class_error=rate), luck=luck, fresh=0.2)
        rows = simulation.to_coco(self.scene, found)[1]
        ids = {int(i) for i in self._images(words)}
        rows = [row for row in rows if row["image_id"] in ids]
        meta: dict[str, Any] = {"backbone": backbone, "config": {"MODEL": {"WEIGHTS": keys["MODEL.WEIGHTS"]}}}
        predictions.write(folder / "predictions.json", rows, meta)
        (folder / "model_final.pth").write_bytes(b"weights")
        shown = {"AP": 40.0 - 10 * rate, "AP50": 60.0, "AP75": 50.0}
        (folder / "results.json").write_text(json.dumps({"bbox": shown}))

    def _images(self, words: Sequence[str]) -> list[int]:
        scored = Path([words[i + 2] for i, word in enumerate(words) if word == "--register"][-1])
        return [image["id"] for image in json.loads(scored.read_text())["images"]]


def pretended_gain(study: Study, pair: tuple[str, str], finals: list[Job]) -> Path:
    """Leaves what the page reads of a gain report."""
    folder = study.output / "_".join(pair)
    variance = {"standard_error": 0.5, "image_variance": 0.2, "seed_variance": 0.05, "in_both": 0, "df": 9.0}
    gain = {"gain": 2.0, "interval": [1.0, 3.0], "p": 0.01, "variance": variance}
    factors = {"recognition": 1.5, "localization": 0.5}
    factors["interval"] = {name: [0.0, 2.0] for name in ("recognition", "localization")}
    files.write_json(
        folder / "gain.json", {"bbox": {"metrics": {"AP": gain}, "two_factor": {"0.1": factors}}}
    )
    return folder


def leave_figures_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures, which take longer than all the rest of a pretended study."""
    blank = Drawing("<svg/>", "<svg/>", "<svg/>", b"")
    for module in (figures, scaling_figures):
        monkeypatch.setattr(module, "drawing", lambda *words: blank)
