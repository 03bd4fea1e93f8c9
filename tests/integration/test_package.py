"""What ``pip install .`` brings: both packages, their data, the configs and the tools, and no more."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import duplicate_world as world
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A copy, because setuptools leaves build/ and *.egg-info beside setup.py.
    work = tmp_path_factory.mktemp("package")
    source = work / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("wsl_det", "pretrain", "configs", "tools", "docs/scaling"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "-q", "-w", str(work)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(work.glob("*.whl"))


def test_the_wheel_holds_everything_and_two_top_level_names(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        top = archive.read(next(n for n in inside if n.endswith("top_level.txt"))).decode().split()
    assert sorted(top) == ["pretrain", "wsl_det"]
    expected = {f"wsl_det/configs/{p.relative_to(ROOT / 'configs')}" for p in ROOT.glob("configs/**/*.yaml")}
    expected |= {f"wsl_det/tools/{p.name}" for p in ROOT.glob("tools/*.py")}
    for package in ("wsl_det", "pretrain"):
        files = [p for p in (ROOT / package).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        expected |= {p.relative_to(ROOT).as_posix() for p in files}
    assert expected - inside == set()


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed far from the checkout, whose files it must not need."""
    place = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def _installed(site: Path, work: Path, code: str) -> str:
    """What ``code`` prints when it runs with the installed packages alone."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=work,
        env={"PYTHONPATH": str(site), "PATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_package_finds_tools_and_configs(site: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom wsl_det import cli\nfrom wsl_det.core import config\n"
        "print(config.config_path('configs/mask_rcnn_ig.yaml'))\nsys.exit(cli.main(['train_net', '--help']))"
    )
    printed = _installed(site, tmp_path, code)
    assert str(site) in printed.splitlines()[0]
    assert "--config-file" in printed


def test_the_installed_tools_find_their_tables_and_pages(site: Path, tmp_path: Path) -> None:
    """An editable install would hide a table or a template that no ``package_data`` names."""
    world.shards(tmp_path, 6)
    world.coco(tmp_path, {0: 1}, others=2)
    world.backbone(tmp_path / "trunk.pth")
    posts = [f'{{"id": "{i}", "caption": "#crane #daisies"}}\n' for i in range(3)]
    (tmp_path / "posts.jsonl").write_text("".join(posts))
    code = "import sys\nfrom wsl_det import cli\nsys.exit(cli.main({!r}))"
    words = ["build_vocab", "--posts", "posts.jsonl", "--kind", "in1k", "--output", "own.json"]
    _installed(site, tmp_path, code.format([*words, "--workers", "1"]))
    assert "crane" in (tmp_path / "own.html").read_text(encoding="utf-8")
    words = ["find_duplicates", "--train", "shards", "--against", "annotations/instances_val.json"]
    words += [
        "--backbone",
        "trunk.pth",
        "--output",
        "found",
        "--workers",
        "1",
        "--size",
        "64",
        "--planted",
        "2",
    ]
    _installed(site, tmp_path, code.format(words))
    assert (tmp_path / "found/review.html").stat().st_size > 1000
