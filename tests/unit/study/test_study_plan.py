"""Study files: what a good one means, and one clear sentence for each way to get it wrong."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from wsl_det.core.config import config_path
from wsl_det.detector import datasets
from wsl_det.errors import ConfigError, DataError
from wsl_det.study import plan


@pytest.fixture
def tree(study_tree: dict[str, Any]) -> dict[str, Any]:
    return deepcopy(study_tree)


def _read(tree: Any, folder: Path) -> plan.Study:
    path = folder / "study.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return plan.read(path, datasets.locate)


def test_a_study_and_its_defaults(tree, tmp_path: Path) -> None:
    study = _read(tree, tmp_path)
    assert [arm.name for arm in study.arms] == ["random", "tags"]
    assert study.arm("random").weights == ""
    assert study.arm("tags").learning_rates == (0.02, 0.001)
    assert study.sweep.seed == 1
    assert study.pairs == (("random", "tags"),)
    assert (study.report.bootstrap, study.engine, study.num_gpus) == (1000, "auto", 1)


def test_pairs_stay_within_a_trunk(tree, tmp_path: Path) -> None:
    one = tree["arms"]["random"]
    tree["arms"] = {
        name: {**one, "trunk": name[0], "pretraining": name[1]} for name in ("a1", "b1", "a2", "b2")
    }
    assert _read(tree, tmp_path).pairs == (("a1", "a2"), ("b1", "b2"))
    tree["pairs"] = [["b1", "a1"]]
    assert _read(tree, tmp_path).pairs == (("b1", "a1"),)


def test_exponents_that_yaml_takes_for_text_are_numbers(tree, tmp_path: Path) -> None:
    tree["learning_rates"] = ["1e-3", 0.01]
    assert _read(tree, tmp_path).arm("random").learning_rates == (0.001, 0.01)


def test_the_shipped_study_reads(monkeypatch, world) -> None:
    path = config_path("quick/study_demo.yaml")
    tree = yaml.safe_load(path.read_text())
    for part in ("train", "test"):
        tree["data"][part] = {"annotations": str(world.train), "images": str(world.images)}
    study = _read(tree, world.folder)
    assert len(study.pairs) == 1
    assert all(config_path(arm.config) for arm in study.arms)


def _set(*path: str, to: Any):
    def change(tree: dict[str, Any]) -> None:
        for key in path[:-1]:
            tree = tree[key]
        if to is KeyError:
            del tree[path[-1]]
        else:
            tree[path[-1]] = to

    return change


MALFORMED = {
    "no name": (_set("name", to=KeyError), "name is missing"),
    "a name with a slash": (_set("name", to="a/b"), "name is 'a/b'; expected letters"),
    "a typo": (_set("seads", to=[1]), "unknown key 'seads'; did you mean 'seeds'"),
    "a typo in an arm": (_set("arms", "tags", "wieghts", to="x"), "arms: tags: unknown key 'wieghts'"),
    "no arms": (_set("arms", to={}), "arms is empty"),
    "arms as a list": (_set("arms", to=["a"]), "arms is ['a']; expected NAME: VALUE lines"),
    "an arm without config": (_set("arms", "tags", "config", to=KeyError), "tags: config is missing"),
    "rates as text": (_set("learning_rates", to="high"), "learning_rates is 'high'"),
    "a rate of zero": (_set("learning_rates", to=[0.1, 0]), "a list of numbers above 0"),
    "a rate of nan": (_set("learning_rates", to=[0.1, float("nan")]), "a list of numbers above 0"),
    "a rate twice": (_set("learning_rates", to=[0.1, 0.1]), "every value once"),
    "no rates": (_set("learning_rates", to=KeyError), "learning_rates is None; expected a list"),
    "sweeps of two sizes": (_set("arms", "tags", "learning_rates", to=[0.1]), "as many learning rates"),
    "seeds as a number": (_set("seeds", to=3), "seeds is 3; expected a list"),
    "a negative seed": (_set("seeds", to=[-1]), "whole numbers, 0 or more"),
    "a seed twice": (_set("seeds", to=[1, 1]), "every value once"),
    "a share of one": (_set("data", "heldout", to=1), "heldout is 1; expected a share"),
    "no test set": (_set("data", "test", to=KeyError), "data: test is missing"),
    "an absent file": (_set("data", "test", "annotations", to="no.json"), "annotation file that exists"),
    "an absent folder": (_set("data", "test", "images", to="no"), "image folder that exists"),
    "an engine nobody has": (_set("engine", to="mmdet"), "one of auto, detectron2, embedded"),
    "an owned override": (_set("overrides", to={"SOLVER.BASE_LR": 1}), "left to the study (learning_rates)"),
    "a pair of strangers": (_set("pairs", to=[["random", "x"]]), "pairs of the arms random, tags"),
    "a pair with itself": (_set("pairs", to=[["tags", "tags"]]), "pairs of the arms"),
    "a metric nobody has": (_set("sweep", to={"metric": "AP"}), "one of bbox.AP"),
    "no GPUs": (_set("num_gpus", to=0), "a whole number, 1 or more"),
    "yes as text": (_set("allow_mismatch", to="yes"), "true or false"),
    "one place for two arms": (
        _set("arms", "tags", "pretraining", to="none"),
        "every (trunk, pretraining) once",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_named_with_their_place(case: str, tree, tmp_path: Path) -> None:
    change, told = MALFORMED[case]
    change(tree)
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        _read(tree, tmp_path)
    assert "study.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"), [("", "nothing"), ("- a", "a list"), ("a: [", "not readable YAML")]
)
def test_what_is_no_study_at_all(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        _read(text, tmp_path)


def test_files_and_names_that_are_not_there(tree, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        plan.read(tmp_path / "no.yaml", datasets.locate)
    tree["data"]["test"] = "coco_2017_vall"
    with pytest.raises(ConfigError, match="did you mean coco_2017_val"):
        _read(tree, tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    tree["data"]["test"] = "coco_2017_val"
    with pytest.raises(DataError, match="set DETECTRON2_DATASETS"):
        _read(tree, tmp_path)
