"""Both engines side by side; everything here needs Detectron2 and skips without it.

With REQUIRE_DETECTRON2=1, which the job that has Detectron2 sets, such a skip is a failure.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scenes
import torch

from wsl_det.detector.engine import installed, select_engine

# What starts whole runs stands beside this folder.
sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="session", autouse=True)
def _detectron2() -> None:
    if not installed("detectron2"):
        pytest.skip("Detectron2 is not installed; tests/golden holds the same contracts from recordings")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Every skip below this folder is a failure when Detectron2 is required, whatever its reason."""
    report = yield
    if report.skipped and os.environ.get("REQUIRE_DETECTRON2") == "1":
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_DETECTRON2=1 allows no skip: {call.excinfo.value if call.excinfo else ''}"
    return report


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """One thread, so that sums have one order and exact means exact."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def pair() -> Callable[..., tuple[tuple[Any, Any], tuple[Any, Any]]]:
    """``pair(**overrides)``: (engine, model) of ours and of Detectron2, with equal lively weights."""

    def make(**overrides: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        cfg = scenes.config(**overrides)
        made = []
        for name in ("embedded", "detectron2"):
            engine = select_engine(name)(cfg)
            made.append((engine, scenes.fill(engine.build(), seed=3)))
        return made[0], made[1]

    return make
