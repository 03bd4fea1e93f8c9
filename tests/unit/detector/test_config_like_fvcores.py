"""Our reader of configs against fvcore's CfgNode, Detectron2's own: the same tree for whatever is good."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from fvcore.common.config import CfgNode

from pretrain.training import defaults as pretraining
from wsl_det.core import config, keys
from wsl_det.detector import defaults

CONFIGS = Path(__file__).parents[3] / "configs"
SHIPPED = sorted(p for p in CONFIGS.rglob("*.yaml") if not p.stem.startswith("study"))


def tree_of(path: Path) -> keys.Tree:
    return pretraining.TREE if "pretrain" in path.as_posix().partition("configs/")[2] else defaults.TREE


def theirs(path: Path, tree: keys.Tree, words: list[str]) -> dict[str, Any]:
    # yacs knows a type by a value only: a default of None takes anything, as does ours with its rule.
    node = CfgNode(copy.deepcopy(dict(tree)))
    node.merge_from_file(str(path))
    node.merge_from_list(words)
    return plain(node)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_configs_read_alike(path: Path) -> None:
    words = ["OUTPUT_DIR", "runs/x", "SEED", "7"]
    tree = tree_of(path)
    assert config.load(path, tree, words).to_dict() == theirs(path, tree, words)


def other(rng: random.Random, value: Any) -> Any:
    """A value of the same type that most keys take."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.randrange(1, 2000)
    if isinstance(value, float):
        return rng.choice([rng.random(), 10.0 ** -rng.randrange(9), 1.0, 1e-05])
    if isinstance(value, str):
        return rng.choice(
            ["a", "path/to x.pth", "Größe", "it's", "# no comment", "a: b", "-", "[x", "zoo://y"]
        )
    if isinstance(value, list):
        return [other(rng, v) for v in value]
    return value


def good(rng: random.Random, tree: keys.Tree) -> dict[str, Any]:
    """Some keys of the tree with values that their rules take."""
    found: dict[str, Any] = {}
    flat = config.Config(tree).flat()
    for key in rng.sample(sorted(flat), 12):
        value = other(rng, flat[key])
        try:
            keys.fit(value, flat[key], keys.rule_of(tree, key))
        except ValueError:
            continue
        found[key] = value
    return found


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, leaf = key.split(".")
        at = tree
        for section in sections:
            at = at.setdefault(section, {})
        at[leaf] = value
    return tree


@pytest.mark.parametrize("tree", [defaults.TREE, pretraining.TREE], ids=["detection", "pretraining"])
def test_a_hundred_generated_configs_read_alike(tree: keys.Tree, tmp_path: Path) -> None:
    rng, settings = random.Random(len(tree)), 0
    for number in range(100):
        below, above, words = good(rng, tree), good(rng, tree), good(rng, tree)
        base, leaf = tmp_path / f"base{number}.yaml", tmp_path / f"{number}.yaml"
        base.write_text(yaml.safe_dump(nested(below), allow_unicode=True), encoding="utf-8")
        text = yaml.safe_dump(nested(above), default_flow_style=rng.choice([None, False]))
        leaf.write_text(f"_BASE_: {base.name}\n{text if above else ''}")
        line = [str(word) for pair in words.items() for word in pair]
        assert config.load(leaf, tree, line).to_dict() == theirs(leaf, tree, line), number
        settings += len(below) + len(above) + len(words)
    assert settings > 1000
