"""Compiled loops: not before they are needed, kept where that is possible, and told when one has to wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOOPS = """
from wsl_det.core.compiled import compiled

@compiled
def outer(x):
    return inner(x) + 1

@compiled
def inner(x):
    return innermost(x) * 2

@compiled
def innermost(x):
    return x + 0.5
"""
CALL = "import loops; print(loops.outer(1.0))"
HEAVY = ("numba", "scipy", "matplotlib", "jinja2", "PIL", "torch", "polars", "pandas", "cv2")
SAME_AFTER = """
import sys
from benchmarks import simulation
from wsl_det.coco import masks
from wsl_det.core.compiled import Compiled
from wsl_det.evaluation import average_precision
from wsl_det.gain import ahead, compare, mends

def signatures():
    loops = [loop for m in (masks, average_precision, mends) for loop in vars(m).values()]
    return [len(loop.dispatcher.signatures) for loop in loops if isinstance(loop, Compiled)]

ahead.compile_loops()
before = signatures()
scene = simulation.world(images=12, classes=3, seed=0)
truth, rows = simulation.to_coco(scene, simulation.detect(scene, simulation.Detector()))
for row in [*truth["annotations"], *rows]:
    x, y, w, h = row["bbox"]
    row["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
compare(truth, rows, rows[::2], bootstrap=70, attribution_bootstrap=3, allow_mismatch=True)
assert sum(before) and signatures() == before, (before, signatures())
"""


def _python(
    code: str, *, folder: Path = ROOT, limit: int | None = None, **environment: str
) -> tuple[str, str]:
    words = [sys.executable, "-B", "-c", code]
    if limit is not None:
        words = ["sh", "-c", f'ulimit -f {limit}; exec "$@"', "sh", *words]
    places = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=folder, check=False,
        env=os.environ | {"PYTHONPATH": places} | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.fixture
def loops(tmp_path: Path) -> Path:
    (tmp_path / "loops.py").write_text(LOOPS)
    return tmp_path


def test_compiling_is_told_once_and_the_second_process_does_not_compile(loops: Path) -> None:
    first, second = (_python(CALL, folder=loops, NUMBA_CACHE_DIR=str(loops / "kept")) for _ in range(2))
    assert first[0] == second[0] == "4.0"
    assert first[1].count("compiling the loops") == 1 and "once for an installation" in first[1]
    assert second[1] == ""


@pytest.mark.parametrize("module", ["wsl_det.gain", "wsl_det.gain.report", "wsl_det.evaluation.coco_ap"])
def test_an_import_does_not_wait_for_what_a_reader_need_not(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{n.partition('.')[0] for n in sys.modules}} & {set(HEAVY)}))"
    assert _python(code)[0] == "[]"


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_no_result(loops: Path) -> None:
    full = _python(CALL, folder=loops, limit=1, NUMBA_CACHE_DIR=str(loops / "kept"))
    (loops / "__pycache__").touch()  # no folder beside the source, and none of the user's
    nowhere = _python(CALL, folder=loops, XDG_CACHE_HOME="/proc/nowhere", HOME="/proc/nowhere")
    assert full[0] == nowhere[0] == "4.0"
    assert "in every process" in nowhere[1] and "NUMBA_CACHE_DIR" in nowhere[1]


def test_what_was_compiled_ahead_is_all_that_a_report_calls() -> None:
    _python(SAME_AFTER)
