"""The shape of the code is a test: who may import whom, who may touch what, how large things grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOOR = {"wsl_det.errors", "wsl_det.core", "wsl_det"}
TYPES = "wsl_det.detector.types"
DOOR = "wsl_det.backbone"
COCO = "wsl_det.coco"
# What both engines build with.
BUILDERS = tuple(f"wsl_det.detector.{name}" for name in ("defaults", "initial", "solver", "trunks"))
MAY_IMPORT: dict[str, set[str]] = {
    "wsl_det": set(),  # its __init__: nothing
    "wsl_det.errors": set(),
    "wsl_det.__main__": {"wsl_det.cli"},
    "wsl_det.cli": {"wsl_det.errors", "wsl_det"},
    "wsl_det.core": {"wsl_det.errors", "wsl_det"},
    DOOR: FLOOR,
    "wsl_det.demo": FLOOR,
    COCO: FLOOR,
    "wsl_det.predictions": FLOOR,
    TYPES: set(),
    # Nobody may import an engine: select_engine() finds it by name.
    "wsl_det.detector.d2": FLOOR | {TYPES, DOOR, *BUILDERS},
    "wsl_det.detector.embedded": FLOOR | {TYPES, DOOR, *BUILDERS},
    **{builder: FLOOR | {DOOR, BUILDERS[0]} for builder in BUILDERS},
    # Cross-scoring asks for the inside of a model, which one engine shows: the one named exception.
    "wsl_det.detector.cross_score": FLOOR
    | {TYPES, "wsl_det.predictions", "wsl_det.detector", "wsl_det.detector.embedded", *BUILDERS},
    "wsl_det.detector": FLOOR | {TYPES, DOOR, COCO, "wsl_det.predictions", *BUILDERS},
    "wsl_det.evaluation": FLOOR | {COCO, "wsl_det.predictions"},
    "wsl_det.gain": FLOOR | {COCO, "wsl_det.evaluation", "wsl_det.predictions"},
    "wsl_det.study": FLOOR | {COCO, "wsl_det.evaluation", "wsl_det.gain", "wsl_det.predictions"},
    "wsl_det.zoo": FLOOR | {DOOR, "wsl_det.detector", *BUILDERS},
    "pretrain": {"pretrain.stream"},  # its __init__: the face of a room
}
# The rooms of pretraining in the order in which data flows: each imports only rooms before it.
ROOMS = ("workers", "posts", "vocabulary", "shards", "stream", "training", "duplicates", "transfer")
for _place, _room in enumerate(ROOMS):
    MAY_IMPORT[f"pretrain.{_room}"] = FLOOR | {DOOR, COCO, *(f"pretrain.{r}" for r in ROOMS[:_place])}
ONLY_HERE = {  # an outside name -> the places that may import it
    "detectron2": ("wsl_det/detector/d2/",),
    "torch.distributed": ("wsl_det/core/dist.py",),
    "urllib": ("wsl_det/zoo/fetch.py",),
    "pycocotools.cocoeval": (),
    "timm": ("pretrain/", "wsl_det/backbone/", "wsl_det/zoo/published.py"),
}
WITHOUT_TORCH = (
    "wsl_det",
    "wsl_det.cli",
    "wsl_det.predictions",
    "wsl_det.coco",
    "wsl_det.evaluation",
    "wsl_det.gain",
    "wsl_det.study",
    "wsl_det.demo",
)
NO_HOME = {"utils", "helpers", "common", "misc"}
SOURCES = sorted([*ROOT.glob("wsl_det/**/*.py"), *ROOT.glob("pretrain/**/*.py")])
TOOLS = sorted(ROOT.glob("tools/*.py"))


def _inside(module: str, parent: str) -> bool:
    return module == parent or module.startswith(parent + ".")


def _package(module: str) -> str | None:
    return max((p for p in MAY_IMPORT if _inside(module, p)), key=len, default=None)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports out in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", SOURCES, ids=_module)
def test_arrows_point_down(path: Path) -> None:
    where = path.relative_to(ROOT)
    here = _package(_module(path))
    assert here != "wsl_det" or where.name == "__init__.py", f"{where} has no place in the picture"
    for name in _imports(path):
        there = _package(name)
        allowed = there in (None, here) or (here is not None and there in MAY_IMPORT[here])
        assert allowed, f"{where}: {here} may not import {name}"
        for guest, homes in ONLY_HERE.items():
            at_home = any(where.as_posix().startswith(home) for home in homes)
            assert at_home or not _inside(name, guest), f"{where}: only {homes or 'tests'} may import {guest}"


def test_pretrain_is_its_rooms() -> None:
    here = ROOT / "pretrain"
    assert {p.name for p in here.iterdir() if p.name != "__pycache__"} == {"__init__.py", *ROOMS}


def test_no_two_files_import_each_other_in_a_circle() -> None:
    """Imports for types alone and those inside functions count: a late import is no way to cut a knot."""
    modules = {_module(path): path for path in SOURCES}

    def file_of(name: str) -> str | None:
        return name if name in modules else name.rpartition(".")[0] if "." in name else None

    below = {
        here: {file_of(name) for name in _imports(path)} & set(modules) - {here}
        for here, path in modules.items()
    }
    try:
        list(TopologicalSorter(below).static_order())
    except CycleError as circle:
        raise AssertionError(" -> ".join(circle.args[1])) from None


def test_every_module_has_a_name_of_its_own() -> None:
    for path in SOURCES:
        assert not NO_HOME & set(path.relative_to(ROOT).with_suffix("").parts), (
            f"{path}: call it what it holds"
        )


@pytest.mark.parametrize("path", [*SOURCES, *TOOLS], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_and_functions_fit_one_look(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    limit = 100 if path in TOOLS else 400
    assert len(text.splitlines()) <= limit, f"{path} has more than {limit} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            doc = ast.get_docstring(node, clean=False)
            spoken = len(doc.splitlines()) if doc else 0
            lines = (node.end_lineno or node.lineno) - node.body[0].lineno + 1 - spoken
            assert lines <= 60, f"{path}:{node.lineno} {node.name} has {lines} lines"


@pytest.mark.parametrize("path", TOOLS, ids=lambda p: p.name)
def test_tools_are_doorways(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path}: wsl-det lists tools by their first line"
    calls = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert "open" not in calls, f"{path}: files are the library's"


def _fresh(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)


def test_modules_that_start_without_torch() -> None:
    names = [_module(p) for p in SOURCES if any(_inside(_module(p), n) for n in WITHOUT_TORCH[1:])]
    code = f"import sys\nsys.modules['torch'] = None\nfor n in {names!r}: __import__(n)"
    done = _fresh(code)
    assert done.returncode == 0, done.stderr


def test_wsl_det_stands_without_pretrain_and_detectron2() -> None:
    skipped = ("wsl_det.detector.d2.", "wsl_det.__main__")
    names = [m for m in map(_module, SOURCES) if m.startswith("wsl_det") and not m.startswith(skipped)]
    code = (
        "import sys\nsys.modules['pretrain'] = None\nsys.modules['detectron2'] = None\n"
        f"for n in {names!r}: __import__(n)"
    )
    done = _fresh(code)
    assert done.returncode == 0, done.stderr


def test_pretrain_stands_without_the_detector() -> None:
    names = [m for m in map(_module, SOURCES) if m.startswith("pretrain")]
    blocked = ["wsl_det.detector", "wsl_det.evaluation", "wsl_det.gain", "wsl_det.zoo"]
    code = f"import sys\nfor n in {blocked!r}: sys.modules[n] = None\nfor n in {names!r}: __import__(n)"
    done = _fresh(code)
    assert done.returncode == 0, done.stderr
