"""The YAML dialect is Detectron2's, but stricter about what it does not know."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from wsl_det.core import config
from wsl_det.errors import ConfigError

DEFAULTS = {
    "SOLVER": {"BASE_LR": 0.02, "STEPS": (60, 80), "MAX_ITER": 90},
    "MODEL": {"WEIGHTS": "", "MASK_ON": False},
}


def test_base_chain_and_overrides(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("SOLVER: {BASE_LR: 1, STEPS: '(1, 2)'}\nMODEL: {MASK_ON: true}\n")
    (tmp_path / "leaf.yaml").write_text("_BASE_: base.yaml\nSOLVER: {MAX_ITER: 3}\n")
    cfg = config.load(tmp_path / "leaf.yaml", DEFAULTS, ["SOLVER.BASE_LR", "1e-3", "MODEL.WEIGHTS", "1"])
    assert cfg.SOLVER.BASE_LR == 1e-3
    assert cfg.SOLVER.STEPS == (1, 2)
    assert cfg.SOLVER.MAX_ITER == 3
    assert cfg.MODEL.WEIGHTS == "1"
    assert cfg.MODEL.MASK_ON is True


def test_dump_reads_back(tmp_path: Path) -> None:
    cfg = config.merge(DEFAULTS, {"SOLVER": {"STEPS": [7]}})
    (tmp_path / "c.yaml").write_text(cfg.dump())
    assert config.load(tmp_path / "c.yaml", DEFAULTS).to_dict() == cfg.to_dict()
    assert pickle.loads(pickle.dumps(cfg)).to_dict() == cfg.to_dict()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["SOLVER.BASE_LRR", "1"], "unknown key SOLVER.BASE_LRR; did you mean SOLVER.BASE_LR"),
        (["SOLVER.MAX_ITER", "1.5"], "expected a int"),
        (["SOLVER", "1"], "is a section"),
        (["SOLVER.BASE_LR"], "KEY VALUE pairs"),
    ],
)
def test_what_does_not_fit_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.merge(DEFAULTS, {}, overrides)


@pytest.mark.parametrize(
    "text", ["a: [1", "- 1\n- 2\n", "_BASE_: c.yaml", "!!python/object/apply:os.getcwd []"]
)
def test_bad_files_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        config.load(tmp_path / "c.yaml", DEFAULTS)


def test_frozen() -> None:
    cfg = config.merge(DEFAULTS, {})
    with pytest.raises(ConfigError, match="frozen"):
        cfg.SOLVER = 1
