"""Evaluation, report and the list of the zoo on a machine where torch cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import simulation
from pretrain.vocabulary.classes import Vocabulary, VocabularyClass

ROOT = Path(__file__).parents[1]
# As the tool's own process does, but every import of torch (and of what else is named first) fails.
RUN = """
import runpy, sys
for name in ["torch", *sys.argv[1].split()]: sys.modules[name] = None
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sides")
    scene = simulation.world(images=30, classes=3, seed=0)
    paths = {name: folder / f"{name}.json" for name in ("gt", "a", "b")}
    for name, error in (("a", 0.3), ("b", 0.1)):
        detector = simulation.Detector(class_error=error)
        truth, results = simulation.to_coco(scene, simulation.detect(scene, detector))
        paths[name].write_text(json.dumps(results))
    paths["gt"].write_text(json.dumps(truth))
    return paths


def _run(tool: str, *words: object, without: str = "") -> None:
    command = [sys.executable, "-c", RUN, without, str(ROOT / "tools" / f"{tool}.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_evaluation_runs_without_torch(sides: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    _run("evaluate_predictions", "--gt", sides["gt"], "--predictions", sides["a"], "--output", output,
         without="numba scipy matplotlib jinja2 PIL")  # fmt: skip
    assert json.loads(output.read_text())["bbox"]["AP"] > 0


def test_the_report_runs_without_torch(sides: dict[str, Path], tmp_path: Path) -> None:
    few = ("--bootstrap", 20, "--attribution-bootstrap", 5)
    both = ("--baseline", sides["a"], "--candidate", sides["b"])
    zebra = VocabularyClass(0, "zebra", ("n02391049",), ("zebra",), 3)
    Vocabulary("wordnet", (zebra,)).write(tmp_path / "vocab.json")
    both += ("--vocab", tmp_path / "vocab.json")
    _run("report_gain", "--gt", sides["gt"], *both, "--output", tmp_path / "report", *few, without="polars")
    assert "Where hashtags pay" in (tmp_path / "report" / "gain.html").read_text()


def test_the_zoo_is_listed_without_torch() -> None:
    _run("download_model", "--list")
    _run("download_model", "--show", "resnext101_32x8d_wsl")


def test_the_requirements_of_the_report_are_those_of_the_package() -> None:
    whole = (ROOT / "setup.py").read_text()
    lines = (ROOT / "requirements-report.txt").read_text().splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    assert all(f'"{name}"' in whole for name in names)
    assert not any(name.startswith("torch") for name in names)
