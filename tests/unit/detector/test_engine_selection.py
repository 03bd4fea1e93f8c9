"""Which engine is taken: installed, absent, broken, or a folder that only has the name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wsl_det.detector import engine
from wsl_det.detector.embedded.engine import Engine as Embedded
from wsl_det.errors import ConfigError, EngineError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder called detectron2 in front of everything else."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    folder = tmp_path / "detectron2"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_embedded_by_name() -> None:
    assert engine.select_engine("embedded") is Embedded


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match=r"'mmdet'.*auto, detectron2, embedded"):
        engine.select_engine("mmdet")


def test_auto_without_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "installed", lambda name: False)
    assert engine.select_engine("auto") is Embedded
    with pytest.raises(EngineError, match=r"not installed.*--engine embedded"):
        engine.select_engine("detectron2")


def test_a_bare_folder_is_no_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_clone" / "a_clone").mkdir(parents=True)
    (tmp_path / "a_clone" / "setup.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not engine.installed("a_clone")
    assert engine.installed("torch") and not engine.installed("no_such_package")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ImportError('libcudart.so.11.0: cannot open shared object file')", "libcudart.*rebuild"),
        ("raise ModuleNotFoundError(\"No module named 'pkg_resources'\")", "setuptools<82"),
        ("", "_C.*rebuild"),
    ],
)
@pytest.mark.parametrize("name", ["auto", "detectron2"])
def test_a_broken_installation_is_an_error_never_a_fall_back(
    package: Path, name: str, source: str, message: str
) -> None:
    (package / "__init__.py").write_text(source)
    with pytest.raises(EngineError, match=f"(?s){message}.*--engine embedded"):
        engine.select_engine(name)


def test_the_embedded_engine_never_imports_detectron2() -> None:
    code = (
        "import sys; from wsl_det.detector.engine import select_engine; select_engine('embedded');"
        "sys.exit('detectron2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
