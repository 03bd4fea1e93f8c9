"""Whatever happens to a file, training and scoring judge it alike, quickly or slowly, and never crash."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import coco_sets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl_det import predictions
from wsl_det.coco import reader
from wsl_det.core import rows
from wsl_det.detector import coco_records
from wsl_det.errors import DataError
from wsl_det.evaluation import evaluate

TRUTH, RESULTS = coco_sets.make(np.random.default_rng(1), images=4, objects=3)
for _annotation in TRUTH["annotations"][::2]:
    _x, _y, _w, _h = _annotation["bbox"]
    _annotation["segmentation"] = [[_x, _y, _x + _w, _y, _x + _w, _y + _h, _x, _y + _h]]
VALUES: list[Any] = [
    None, True, "", "0", "x", "\ud800", "a\0b", 0, 1, 2, -1, -7.5, 0.5, 1e-300, 1e9, 1e308, -1e308,
    2**31, 2**63, 2**64, 10**400, float("nan"), float("inf"), [], [[]], [1], [1, 2, 3, 4],
    [[1, 2], [3, 4], [5, 6]], {}, {"size": [1, 1], "counts": [1]},
]  # fmt: skip


def mutated(tree: Any, rng: random.Random) -> Any:
    """A copy with one to three values exchanged, dropped or doubled somewhere."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.randint(1, 3)):
        here = tree
        while True:
            keys = list(here) if isinstance(here, dict) else range(len(here))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(here[key], dict | list) and rng.random() < 0.85:
                here = here[key]
                continue
            action = rng.random()
            if action < 0.7:
                here[key] = rng.choice(VALUES)
            elif action < 0.85:
                del here[key]
            elif isinstance(here, list):
                here.append(here[key])
            break
    return tree


def verdict(judge: Any) -> str | None:
    try:
        judge()
    except DataError as error:
        return str(error)
    return None


def judged(path: Path) -> tuple[str | None, str | None]:
    """What the two doors say of an annotation file with masks; the scoring rules asked for at both."""

    def train() -> None:
        truth = reader.read(path)
        reader.check_scored(truth)
        coco_records.from_truth(truth, path, path.parent, "set")

    def score() -> None:
        evaluate(path, [{**r, "bbox": [0, 0, 1, 1]} for r in RESULTS[:1]], ["bbox"])
        coco_records.read(path, path.parent, "set")

    return verdict(train), verdict(score)


@pytest.mark.parametrize("seed", range(40))
def test_both_doors_give_the_same_verdict_on_mutated_files(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "gt.json"
    for _ in range(8):
        path.write_text(json.dumps(mutated(TRUTH, rng)), encoding="utf-8")
        training, scoring = judged(path)
        if scoring is None or "the results" not in scoring:
            assert training == scoring
        # A key that nobody reads sends a file to the slow way: the verdict stays.
        tree = path.read_text()
        path.write_text(tree[:-1] + ', "nobody": NaN}' if tree.endswith("}") else tree)
        assert (judged(path)[0] is None) == (training is None)


@pytest.mark.parametrize("seed", range(10))
def test_mutated_results_end_in_numbers_or_a_message(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "p.json"
    for _ in range(8):
        tree = mutated(RESULTS, rng)
        path.write_text(json.dumps(tree), encoding="utf-8")
        for iou_type in ("bbox", "segm"):
            quick = verdict(lambda iou_type=iou_type: evaluate(TRUTH, path, [iou_type]))
            slow = verdict(lambda tree=tree, iou_type=iou_type: evaluate(TRUTH, tree, [iou_type]))
            assert (quick is None) == (slow is None)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(cut=st.integers(0, 3000), length=st.integers(0, 40), insert=st.binary(max_size=4))
def test_damaged_text_is_judged_as_python_judges_it(cut: int, length: int, insert: bytes) -> None:
    text = json.dumps(TRUTH).encode()
    text = text[:cut] + insert + text[cut + length :]
    try:
        json.loads(text, parse_int=rows.whole)
        whole = True
    except (ValueError, RecursionError):
        whole = False
    assert whole or rows.quick(text, reader._File) is None


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=20))
def test_any_number_is_read_as_python_reads_it(values: list[float]) -> None:
    data = json.dumps([{"image_id": 1, "category_id": 1, "score": v} for v in values]).encode()
    found = rows.quick(data, list[predictions._Detection])
    assert found is not None
    assert [d.score for d in found] == values


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("keys", [("bbox",), ("segmentation",), ("bbox", "segmentation")])
def test_the_quick_way_gives_the_columns_of_the_slow_one(
    tmp_path: Path, indent: int | None, keys: tuple[str, ...]
) -> None:
    found = [
        {k: v for k, v in r.items() if k in ("image_id", "category_id", "score", *keys)} for r in RESULTS
    ]
    found[0]["note"] = {"left": ["out", 1.5e3, None], 'odd "key"': True}
    path = tmp_path / "p.json"
    path.write_text(json.dumps(found, indent=indent))
    fast, slow = predictions.read(path), predictions.columns(found, source=str(path))
    for name in ("image_ids", "category_ids", "scores", "boxes_xywh", "masks"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
    truth = tmp_path / "gt.json"
    truth.write_text(json.dumps(TRUTH, indent=indent))
    quick, tree = reader.read(truth), reader.from_tree(TRUTH, str(truth))
    for name, value in vars(quick).items():
        other = getattr(tree, name)
        assert list(value) == list(other) if name == "segmentations" else np.array_equal(value, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "image_id 99, which .* does not have .1 unknown in all.*different data sets"),
        ({"category_id": 5}, "category_id 5, which"),
        ({"score": -1}, "score -1"),
        ({"image_id": "0"}, r"image_id '0' \(str\)"),
        ({"bbox": [0, 0, -2, 2]}, "width and height 0 or more"),
    ],
)
def test_bad_rows_are_named_in_files_and_trees(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    found = json.loads(json.dumps(RESULTS))
    found[7] |= change
    (tmp_path / "p.json").write_text(json.dumps(found))
    for given_as in (tmp_path / "p.json", found):
        with pytest.raises(DataError, match=message) as error:
            evaluate(TRUTH, given_as)
        assert "row 7" in str(error.value)
