"""Every tool: help at once, one clear message for bad input, the same mains behind ``wsl-det``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = sorted(ROOT.glob("tools/*.py"))


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda p: p.stem)
def test_help_needs_nothing_heavy(tool: Path) -> None:
    # Time is the machine's; what is imported is ours. -X importtime lists every module that was.
    done = _run("-X", "importtime", str(tool), "--help")
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert not loaded & {"torch", "cv2", "numba", "timm", "matplotlib", "pycocotools", "nltk", "tqdm"}


def test_wsl_det_lists_and_runs_the_tools() -> None:
    listing = _run("-m", "wsl_det").stdout
    assert all(tool.stem in listing for tool in TOOLS)
    done = _run("-m", "wsl_det", "evaluate-predictions", "--help")
    assert done.returncode == 0
    assert "--predictions" in done.stdout


def test_unknown_tool_names_the_known_ones() -> None:
    done = _run("-m", "wsl_det", "evaluate")
    assert done.returncode == 2
    assert "report_gain" in done.stderr
    assert "Traceback" not in done.stderr
