"""The YAML dialect is Detectron2's, but stricter about what it does not know."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from wsl_det.core import config, keys
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
        (["solver.base_lr", "1"], r"unknown key solver\.base_lr; did you mean SOLVER.BASE_LR"),
        (["Base_LR", "1"], "unknown key Base_LR; did you mean SOLVER.BASE_LR"),
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


KEYS = keys.Tree(
    {
        "LR": 0.02, "STEPS": [60], "NAMES": [], "DIR": "out", "WEIGHTS": "", "ON": False, "DECAY": None,
        "KIND": "a", "RESULTS": [], "NUMBER": 5,
    },
    {
        "LR": keys.Rule(above=True), "NAMES": keys.Rule(like=[""]), "DECAY": keys.Rule(like=0.0, none=True),
        "KIND": keys.Rule(choices=("a", "b")), "RESULTS": keys.Rule(like=[["bbox", "AP", 1.0]]),
        "NUMBER": keys.Rule(1, 9), "STEPS": keys.Rule(length=(1, 3)),
    },
    {"OLD": "nothing needs it"},
)  # fmt: skip


WRITTEN = ["2026_11_29", "1e3", "no", "null", "0x1F", "1:30", "2026-11-29", "007", "True", "'x y'"]


@pytest.mark.parametrize("text", WRITTEN)
def test_a_text_is_taken_as_it_is_written(tmp_path: Path, text: str) -> None:
    value = text.strip("'")
    (tmp_path / "c.yaml").write_text(f"DIR: {text}\nNAMES: [{text}, b]\n")
    found = config.load(tmp_path / "c.yaml", KEYS)
    assert found.to_dict() == {**KEYS, "DIR": value, "NAMES": [value, "b"]}
    again = config.merge(KEYS, {}, ["DIR", text])
    assert again == config.merge(KEYS, {}).override(DIR=text)
    assert again.to_dict() == {**KEYS, "DIR": value}
    (tmp_path / "again.yaml").write_text(found.dump())
    assert config.load(tmp_path / "again.yaml", KEYS) == found


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("LR:", "LR is empty; expected a float such as 0.02, above 0"),
        ("LR: ~", "LR is empty"),
        ("LR: 0", "LR is 0; expected a float such as 0.02, above 0"),
        ("LR: .nan", "LR is nan"),
        ("LR: .inf", "LR is inf"),
        ("LR: 1e400", "LR is inf"),
        ("LR: yes", "LR is True"),
        ("STEPS:", "STEPS is empty"),
        ("STEPS: []", "list of 1 to 3"),
        ("STEPS: [60, 1.5]", "STEPS is"),
        ("STEPS: [-1]", "at least 0"),
        ("NAMES: (1, 2)", "NAMES is"),
        ("DIR:", "DIR is empty; expected text such as 'out'"),
        ("ON: 1", "ON is 1; expected a bool"),
        ("DECAY: words", "DECAY is 'words'"),
        ("KIND: c", "KIND is 'c'; expected a or b"),
        ("NUMBER: 10", "at least 1 and at most 9"),
        ("NUMBER: True", "NUMBER is True"),
        ("RESULTS: [[bbox, AP]]", "RESULTS is"),
        ("RESULTS: [bbox]", "RESULTS is"),
        ("LR: 1\nLR: 2", "LR stands twice, on lines 1 and 2"),
        ("_BASE_: /dev/zero", "no regular file"),
        ("_BASE_: .", "is a folder"),
        ("_BASE_:", "one file name"),
        ("_BASE_: [c.yaml]", "one file name"),
        ("_BASE_: c.yaml", "refers back to itself"),
    ],
)
def test_a_value_is_refused_by_its_key(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(line)
    with pytest.raises(ConfigError, match=re.escape(message)):
        config.load(tmp_path / "c.yaml", KEYS)


def test_values_that_mean_something_are_taken(tmp_path: Path) -> None:
    text = "DECAY:\nWEIGHTS:\nRESULTS: [[bbox, AP, 1, ]]\nSTEPS: '(1, 2)'\nLR: 1\nOLD: true\nON: on\n"
    (tmp_path / "c.yaml").write_text(text)
    found = config.load(tmp_path / "c.yaml", KEYS)
    assert (found.DECAY, found.WEIGHTS, found.STEPS, found.LR, found.ON) == (None, "", (1, 2), 1.0, True)
    assert "OLD" not in found
    copy = pickle.loads(pickle.dumps(found))
    assert copy == found
    with pytest.raises(ConfigError, match="NUMBER is 0"):
        copy.override(NUMBER=0)


def test_a_long_chain_of_bases_is_refused(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"{i}.yaml").write_text(f"_BASE_: {i + 1}.yaml")
    with pytest.raises(ConfigError, match="refers back"):
        config.load(tmp_path / "0.yaml", KEYS)


def test_frozen() -> None:
    cfg = config.merge(DEFAULTS, {})
    with pytest.raises(ConfigError, match="frozen"):
        cfg.SOLVER = 1
