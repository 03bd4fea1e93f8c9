"""check_env: sound, absent, broken and mismatched installations."""

from __future__ import annotations

import pytest
import torch

from wsl_det.detector import engine, environment
from wsl_det.errors import EngineError


def _by_name(findings: list[environment.Finding]) -> dict[str, environment.Finding]:
    return {finding.what: finding for finding in findings}


def test_a_sound_machine_without_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "installed", lambda name: False)
    found = _by_name(environment.look())
    assert not any(finding.remedy for finding in found.values())
    assert torch.__version__ in found["torch"].found
    assert "takes embedded" in found["--engine auto"].found


def test_a_broken_detectron2_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise EngineError("Detectron2 is installed but does not import; rebuild it")

    monkeypatch.setattr(engine, "installed", lambda name: True)
    monkeypatch.setattr(engine, "select_engine", broken)
    found = _by_name(environment.look())
    assert "rebuild it" in found["detectron2"].remedy
    assert "stops with an error" in found["--engine auto"].found


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_PACKAGES", ("no-such-package",))
    finding = _by_name(environment.look())["no-such-package"]
    assert finding.remedy == "pip install no-such-package"
    assert finding.line().startswith("!!") and "-> pip" in finding.line()


def test_torchvision_of_another_torch_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def mismatch() -> str:
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr(environment, "_torchvision_version", mismatch)
    findings = environment.look()
    assert findings[-1].what == "torchvision" and "come in pairs" in findings[-1].remedy
    assert "torchvision::nms does not exist" in findings[-1].found


@pytest.mark.parametrize(
    ("compiled_for", "torch_cuda", "gpu", "fits"),
    [
        (None, None, False, True),
        (None, "13.0", False, True),
        (None, "13.0", True, False),
        ("12.4", None, False, False),
        ("12.4", "13.0", True, False),
        ("13.1", "13.0", True, True),
    ],
)
def test_detectron2_against_torch(
    monkeypatch: pytest.MonkeyPatch, compiled_for: str | None, torch_cuda: str | None, gpu: bool, fits: bool
) -> None:
    monkeypatch.setattr(torch.version, "cuda", torch_cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    finding = environment._fits_torch("0.6", compiled_for)
    assert (finding.remedy == "") == fits
