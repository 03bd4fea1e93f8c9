"""The table of capacities: means, gains within a trunk, what cannot be compared, figures and page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from wsl_det.errors import ConfigError, DataError
from wsl_det.study import capacities

BOX = {"AP": 40.0, "AP50": 60.0}


def _results(folder: Path, name: str, gt: str = "a" * 64, **iou_types: dict[str, Any]) -> str:
    meta = {"made_from": {"gt": {"path": "gt.json", "sha256": gt}}}
    (folder / name).write_text(json.dumps({**iou_types, "meta": meta}))
    return name


@pytest.fixture
def entries(tmp_path: Path) -> list[dict[str, Any]]:
    """Two trunks; tags gain 2 AP on the small one and 5 on the large one, where one run has no AP50."""
    small = [_results(tmp_path, f"s{i}.json", bbox={"AP": ap, "AP50": 60.0}) for i, ap in enumerate((39, 41))]
    tags = _results(tmp_path, "t.json", bbox={"AP": 42.0, "AP50": 63.5})
    large = _results(tmp_path, "l.json", bbox=BOX)
    undefined = _results(tmp_path, "u.json", bbox={"AP": 45.0, "AP50": None})
    return [
        {"trunk": "32x4d", "pretraining": "IN-1k", "results": small},
        {"trunk": "32x4d", "pretraining": "tags & co", "results": tags},
        {"trunk": "32x8d", "pretraining": "IN-1k", "results": large},
        {"trunk": "32x8d", "pretraining": "tags & co", "results": undefined},
    ]


def _yaml(folder: Path, entries: Any, **more: Any) -> Path:
    path = folder / "entries.yaml"
    path.write_text(yaml.safe_dump({"entries": entries, **more}))
    return path


def test_means_and_gains_within_a_trunk(entries, tmp_path: Path) -> None:
    rows = capacities.collect(*capacities.read(_yaml(tmp_path, entries)))["bbox"]
    assert [row["AP"]["mean"] for row in rows] == [40, 42, 40, 45]
    assert rows[0]["AP"]["runs"] == [39, 41]
    assert [row["AP"]["gain"] for row in rows] == [None, 2, None, 5]
    assert [row["AP50"]["gain"] for row in rows] == [None, 3.5, None, None]


def test_page_and_figures_stand_alone_and_escape_what_they_show(entries, tmp_path: Path) -> None:
    entries[1]["pretraining"] = "<script>alert(1)</script> $x$"
    title, found = capacities.read(_yaml(tmp_path, entries, title="<i>bars</i>"))
    page = capacities.write(title, found, tmp_path / "out").read_text()
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".html", ".json", ".svg", ".png"}
    assert page.count("<script") == 1
    assert "<i>" not in page
    assert page.count("&lt;script&gt;") >= 2
    assert "+2.0" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert not re.search(r"<\?xml|<!DOCTYPE svg", page)


MALFORMED = {
    "no entries": ([], "expected a title and a list of entries"),
    "an entry as text": (["x"], "entry 0 is 'x'; expected NAME: VALUE lines"),
    "no trunk": ([{"pretraining": "p", "results": "t.json"}], "entry 0: trunk is missing"),
    "results as a number": (
        [{"trunk": "t", "pretraining": "p", "results": True}],
        "results is True; expected a result file",
    ),
    "a typo": ([{"trunk": "t", "pretraining": "p", "results": "t.json", "sead": 1}], "unknown key 'sead'"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_lists_are_named_with_their_entry(case: str, tmp_path: Path) -> None:
    listed, told = MALFORMED[case]
    with pytest.raises(ConfigError, match=re.escape(told)):
        capacities.read(_yaml(tmp_path, listed))


def test_what_cannot_stand_in_one_table(entries, tmp_path: Path) -> None:
    def collect(*more: dict[str, Any]) -> None:
        capacities.write(*capacities.read(_yaml(tmp_path, [*entries, *more])), tmp_path / "out")

    def entry(results: str) -> dict[str, Any]:
        return {"trunk": "32x16d", "pretraining": "IN-1k", "results": results}

    with pytest.raises(ConfigError, match="both hold"):
        collect(entry("l.json"))
    with pytest.raises(DataError, match="different test images"):
        collect(entry(_results(tmp_path, "other.json", gt="b" * 64, bbox=BOX)))
    with pytest.raises(DataError, match="share neither bbox nor segm"):
        collect(entry(_results(tmp_path, "masks.json", segm=BOX)))
    with pytest.raises(DataError, match="AP is 'high'; expected percent"):
        collect(entry(_results(tmp_path, "words.json", bbox={"AP": "high", "AP50": 1.0})))
    with pytest.raises(DataError, match="does not exist"):
        collect(entry("absent.json"))
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="no result file"):
        collect(entry("list.json"))
    assert not (tmp_path / "out").exists()
