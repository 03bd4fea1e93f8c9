"""A study's YAML and its result files: what is read, what is agreed on, and what is refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats

from wsl_det.core.words import short
from wsl_det.errors import ConfigError, DataError, WslError
from wsl_det.study.scaling import entries, points, results

HASH = "a" * 64


def transfer(top1: float = 60.0, data: str = HASH, **pretraining: Any) -> dict[str, Any]:
    """What eval_transfer writes."""
    score = {"value": top1, "interval": [top1 - 2, top1 + 2]}
    meta = {"made_from": {"val": {"sha256": data}}}
    return {"top1": score, "top5": score, "mode": "features", "pretraining": pretraining, "meta": meta}


def recall(value: float = 20.0, posts: float = 1924.0, data: str = HASH) -> dict[str, Any]:
    """What a pretraining run writes."""
    meta = {"made_from": {"dataset": {"sha256": data}, "vocabulary": {"sha256": "b" * 64}}}
    found = {"recall_any@5": value, "recall_set@5": value / 2, "heldout_images": posts}
    return {"recall": found, "constant_guess": {"recall_any@5": 9.0}, "meta": meta}


def gather(folder: Path, listed: list[Any], **more: Any) -> list[points.Point]:
    """The points of a study whose entries' ``results`` are values to be written as files, or names."""
    rows = []
    for i, row in enumerate(listed):
        if isinstance(row, dict) and isinstance(row.get("results"), dict | list):
            given = row["results"] if isinstance(row["results"], list) else [row["results"]]
            names = []
            for j, value in enumerate(given):
                name = value if isinstance(value, str) else f"r{i}_{j}.json"
                if not isinstance(value, str):
                    (folder / name).write_text(json.dumps(value))
                names.append(name)
            rows.append({**row, "results": names})
        else:
            rows.append(row)
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({"entries": rows, **more}))
    return points.gather(entries.read(path))


def test_a_result_file_says_what_the_entry_leaves_out(tmp_path: Path) -> None:
    said = {"images": 10988, "vocabulary": "in1k", "sampling": "sqrt", "noise": 0.1, "capacity": "8x4d"}
    (point,) = gather(tmp_path, [{"target": "t", "results": transfer(**said)}])
    shown = {"images": 10988.0, "noise": 0.1, "protocol": "features", "value": 60.0, "interval": (58.0, 62.0)}
    for key, value in {**said, **shown, "interval_of": "test images", "test_set": HASH}.items():
        assert getattr(point, key) == value
    assert point.errors[0] == pytest.approx(2 / stats.norm.ppf(0.975))


CONTRADICTIONS: dict[str, tuple[Any, Any]] = {
    "images": ("2M", 1_000_000),
    "sampling": ("sqrt", "natural"),
    "noise": (0.1, 0),
    "vocabulary": ("17k", "1.5k"),
    "capacity": ("8x4d", "ResNeXt-14 8x16d"),
}


@pytest.mark.parametrize("key", CONTRADICTIONS)
def test_a_contradiction_names_both(key: str, tmp_path: Path) -> None:
    mine, said = CONTRADICTIONS[key]
    entry = {"target": "t", "capacity": "8x4d", key: mine, "results": transfer(**{key: said})}
    with pytest.raises(ConfigError, match=rf"entry 0: {key} is .* but .*r0_0\.json says .*correct the entry"):
        gather(tmp_path, [entry])


def test_what_is_the_same_in_other_words_agrees(tmp_path: Path) -> None:
    said = {"images": 10_988, "capacity": "ResNeXt-14 8x4d", "vocabulary": "c" * 64}
    entry = {"target": "t", "capacity": "8x4d", "images": "11k", "vocabulary": "in1k"}
    (point,) = gather(tmp_path, [{**entry, "results": transfer(**said)}])
    assert (point.images, point.capacity, point.vocabulary) == (10_988, "8x4d", "in1k")


def test_runs_with_different_seeds_have_students_interval(tmp_path: Path) -> None:
    (point,) = gather(
        tmp_path, [{"target": "t", "capacity": "8x4d", "results": [transfer(v) for v in (60, 62, 64)]}]
    )
    half = stats.t.ppf(0.975, 2) * 2 / 3**0.5
    assert point.value == 62
    assert point.interval == pytest.approx((62 - half, 62 + half), abs=1e-10)
    assert (point.interval_of, point.runs) == ("runs", (60, 62, 64))


def test_recall_has_wilsons_interval_and_what_a_guess_scores(tmp_path: Path) -> None:
    targets = {"posts": {"label": "held-out posts", "metric": ["recall_any@5", "recall_set@5"]}}
    rows = [{"capacity": "8x4d", "images": 1442, "results": recall()}]
    both = gather(tmp_path, rows, targets=targets)
    assert [point.metric for point in both] == ["recall_any@5", "recall_set@5"]
    # Wilson's formula by hand for 20% of 1,924.
    assert both[0].interval == pytest.approx((18.2733, 21.8461), abs=1e-3)
    for hits, trials in ((0, 10), (10, 10), (3, 7), (1711, 1924)):
        known = stats.binomtest(hits, trials).proportion_ci(method="wilson")
        assert results.wilson(100 * hits / trials, trials) == pytest.approx(
            (100 * known.low, 100 * known.high), abs=1e-10
        )
    assert both[0].chance == 9.0
    assert results.wilson(0, 10)[0] == 0
    assert results.wilson(100, 10)[1] == 100


def test_detectors_give_ap_of_boxes_or_masks(tmp_path: Path) -> None:
    found = {"bbox": {"AP": 40.0, "AP50": 60.0, "AP_by_iou": {}}, "segm": {"AP": 37.0}}
    targets = {"coco": {"metric": ["AP", "bbox AP50", "segm AP"]}}
    both = gather(tmp_path, [{"capacity": "32x8d", "images": "1B", "results": found}], targets=targets)
    assert [point.value for point in both] == [40, 60, 37]
    assert both[0].interval is None


def _inline(**more: Any) -> dict[str, Any]:
    return {"target": "t", "capacity": "8x4d", "images": 1000, "value": 50, **more}


MALFORMED: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "no entries": ([], {}, "expected a title and a list of entries"),
    "an entry as text": (["x"], {}, "entry 0 is 'x'; expected NAME: VALUE lines"),
    "no images": ([_inline(images=0)], {}, "entry 0: images is 0.0; expected 1 image or more"),
    "images in words": ([_inline(images="many")], {}, "entry 0: images is 'many'"),
    "over 100": ([_inline(value=100.5)], {}, "entry 0: value is 100.5; expected percent, 0 to 100"),
    "noise in percent": ([_inline(noise=25)], {}, "noise is 25; expected a fraction of the tags"),
    "an interval elsewhere": (
        [_inline(interval=[51, 52])],
        {},
        "interval is [51.0, 52.0]; expected [low, high]",
    ),
    "both": ([_inline(results="a.json")], {}, "value and results are both given"),
    "neither": ([{"target": "t", "capacity": "8x4d"}], {}, "results is missing (or a value in percent)"),
    "a typo": ([_inline(sampeling="sqrt")], {}, "unknown key 'sampeling'; did you mean 'sampling'"),
    "an unknown target": (
        [_inline(target="IN-1")],
        {"targets": {"IN-1k": "ImageNet", "CUB": "birds"}},
        "target 'IN-1' is not among the targets; did you mean 'IN-1k'?",
    ),
    "which target": (
        [{"capacity": "8x4d", "value": 50}],
        {"targets": {"a": "A", "b": "B"}},
        "entry 0: target is missing",
    ),
    "a value of many metrics": (
        [_inline()],
        {"targets": {"t": {"metric": ["top1", "top5"]}}},
        "value is one number, but target 't' has several metrics",
    ),
    "twice": ([_inline(), _inline(value=51)], {}, "are the same pretraining on the same target"),
    "no capacity": ([{"target": "t", "value": 50}], {}, "capacity is missing"),
    "a figure unknown": ([_inline()], {"figures": ["size"]}, "kind is 'size'; expected one of pretraining"),
    "a figure of the paper": ([_inline()], {"figures": [{"kind": "images", "paper": 6}]}, "paper is 6"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_studies_are_named_with_their_entry(case: str, tmp_path: Path) -> None:
    listed, more, told = MALFORMED[case]
    with pytest.raises(ConfigError, match=re.escape(told)):
        gather(tmp_path, listed, **more)


def _at(images: int, given: Any, **more: Any) -> dict[str, Any]:
    return {"target": "t", "capacity": "8x4d", "images": images, "results": given, **more}


REFUSED: dict[str, tuple[list[Any], str]] = {
    "another test set": ([_at(1, transfer()), _at(2, transfer(data="f" * 64))], "different test images"),
    "within an entry": ([_at(1, [transfer(), transfer(data="f" * 64)])], "different test images"),
    "other held-out posts": ([_at(1, recall()), _at(2, recall(posts=100.0))], "different test images"),
    "absent": ([_at(1, ["absent.json"])], "result file .*absent.json does not exist"),
    "no result": ([_at(1, {"loss": 1})], "is no result file: expected top1"),
    "another number": ([_at(1, recall())], r"has no top1; it has recall_any@5.*say which"),
    "null": ([_at(1, {"top1": {"value": None}})], "top1 is null: nothing was there to score"),
    "not percent": ([_at(1, {"top1": {"value": 140.0}})], "top1 is 140.0; expected percent"),
    "a wide interval": ([_at(1, {"top1": {"value": 9, "interval": [10, 12]}})], "the interval of top1 is"),
    "two files of one": (
        [_at(1, transfer()), _at(2, ["r0_0.json"])],
        "entry 0 and .*entry 1 both hold .*r0_0.json",
    ),
    "one file twice": ([_at(1, ["a.json", "a.json"])], "both hold .*a.json"),
    "two vocabularies": (
        [_at(i, transfer(vocabulary=str(i) * 64), vocabulary="in1k") for i in (1, 2)],
        "both under vocabulary 'in1k' but were pretrained with different ones",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_cannot_stand_together(case: str, tmp_path: Path) -> None:
    listed, told = REFUSED[case]
    more = {"targets": {"t": {"metric": "recall_any@5"}}} if case == "other held-out posts" else {}
    with pytest.raises(WslError, match=told):
        gather(tmp_path, listed, **more)
    assert issubclass(DataError, WslError)


def test_counts_as_people_write_them() -> None:
    counts = {"940M": 940e6, "3.5B": 3.5e9, "11k": 11_000, "1e6": 1e6, 7: 7, "0": None, "x": None, True: None}
    assert {key: entries.count(key) for key in counts} == counts
    assert [short(n) for n in (1442, 10988, 999_900, 940e6, 3.5e9, 12)] == [
        "1.44k", "11k", "1M", "940M", "3.5B", "12",
    ]  # fmt: skip
    assert points.by_width(["32x16d", "32x4d", "32x8d"]) == ["32x4d", "32x8d", "32x16d"]
    assert points.by_width(["large", "32x4d"]) == ["large", "32x4d"]


def test_yaml_that_executes_or_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    for text in ("!!python/object/apply:os.system ['true']", "[1, 2]", "a: [", "\xff"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ConfigError):
            entries.read(path)
    with pytest.raises(ConfigError, match="does not exist"):
        entries.read(tmp_path / "none.yaml")
