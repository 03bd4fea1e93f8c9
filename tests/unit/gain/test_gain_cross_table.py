"""The 2x2 table: what each exchange changes, shares that add up, intervals, the page."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl_det import evaluation
from wsl_det.errors import ConfigError, DataError
from wsl_det.gain import cross_page, cross_table
from wsl_det.gain.cross_table import Options

NAMES = ("baseline", "candidate")
IMAGES = 24


def _ground_truth() -> dict[str, Any]:
    images = [{"id": i, "file_name": f"{i}.png", "height": 100, "width": 100} for i in range(IMAGES)]
    annotations = [
        {
            "id": 1 + i,
            "image_id": i,
            "category_id": 1 + i % 2,
            "bbox": [10, 10, 40, 40],
            "area": 1600,
            "iscrowd": 0,
        }
        for i in range(IMAGES)
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }


def _detections(shift: int, wrong: int) -> list[dict[str, Any]]:
    """One detection an image, moved by ``shift`` pixels; every ``wrong``-th one has the other class."""
    rows = []
    for i in range(IMAGES):
        label = 1 + i % 2 if i % wrong else 2 - i % 2
        rows.append(
            {"image_id": i, "category_id": label, "bbox": [10 + shift, 10, 40, 40], "score": 0.9 - i / 100}
        )
    return rows


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, dict[tuple[str, str], Path]]:
    """Boxes 6 pixels off against 2; heads wrong on every 3rd image against every 6th."""
    (tmp_path / "gt.json").write_text(json.dumps(_ground_truth()))
    cells = {}
    for boxes, shift in zip(NAMES, (6, 2), strict=True):
        for head, wrong in zip(NAMES, (3, 6), strict=True):
            cells[boxes, head] = tmp_path / f"{boxes}.{head}.json"
            cells[boxes, head].write_text(json.dumps(_detections(shift, wrong)))
    return tmp_path / "gt.json", cells


def test_cells_are_plain_ap_and_the_shares_add_up(files) -> None:
    gt, cells = files
    content = cross_table.make(gt, cells, NAMES, Options(bootstrap=50))
    for metric in ("AP", "AP50"):
        one = content["bbox"][metric]
        for cell in one["cells"]:
            plain = evaluation.evaluate(gt, cells[cell["boxes"], cell["head"]])["bbox"][metric]
            assert cell["value"] == pytest.approx(plain, abs=1e-9)
        shares = one["recognition"]["value"] + one["localization"]["value"]
        assert shares == pytest.approx(one["gain"]["value"], abs=1e-9)
        assert one["recognition"]["value"] > 1
    # Six pixels of 40 are within an IoU of 0.5, so at AP50 the boxes cannot matter.
    assert content["bbox"]["AP50"]["localization"]["value"] == pytest.approx(0, abs=1e-9)
    assert content["bbox"]["AP"]["localization"]["value"] > 1


def test_intervals_off_their_values_are_explained(files, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with few images of a class: the resamples lie to one side of the value."""
    gt, cells = files
    assert len(cross_table.make(gt, cells, NAMES, Options(bootstrap=150))["meta"]["notes"]) == 1
    plain = cross_table._replicates
    monkeypatch.setattr(cross_table, "_replicates", lambda *args: plain(*args) + 40)
    content = cross_table.make(gt, cells, NAMES, Options(bootstrap=150))
    note = content["meta"]["notes"][1]
    # The eight cells moved, and no difference of them.
    assert re.match(r"8 of 16 intervals do not have their value in the middle \(it is up to -4\d\.\d p", note)
    assert note in html.unescape(cross_page.render(content))


@pytest.mark.parametrize("same", ["boxes", "head"])
def test_what_is_not_exchanged_has_no_share(files, same: str) -> None:
    gt, cells = files
    base = NAMES[0]
    kept = {(x, y): cells[(base, y) if same == "boxes" else (x, base)] for x in NAMES for y in NAMES}
    one = cross_table.make(gt, kept, NAMES, Options(bootstrap=30))["bbox"]["AP"]
    empty, full = ("localization", "recognition") if same == "boxes" else ("recognition", "localization")
    assert one[empty] == {"value": 0.0, "interval": [0.0, 0.0]}
    assert one[full]["value"] == pytest.approx(one["gain"]["value"], abs=1e-9)
    assert one["interaction"]["value"] == pytest.approx(0, abs=1e-9)


def test_exchanging_the_sides_changes_every_sign(files) -> None:
    gt, cells = files
    there = cross_table.make(gt, cells, NAMES, Options(bootstrap=20, seed=3))["bbox"]["AP"]
    back = cross_table.make(gt, cells, NAMES[::-1], Options(bootstrap=20, seed=3))["bbox"]["AP"]
    for part in ("gain", "recognition", "localization"):
        assert back[part]["value"] == pytest.approx(-there[part]["value"], abs=1e-9)
        assert back[part]["interval"] == pytest.approx([-x for x in there[part]["interval"][::-1]], abs=1e-9)
    assert back["interaction"]["value"] == pytest.approx(there["interaction"]["value"], abs=1e-9)


@given(st.lists(st.floats(0, 100), min_size=4, max_size=4))
def test_split_is_the_mean_over_both_orders(values: list[float]) -> None:
    cells = np.array(values).reshape(2, 2)
    gain, recognition, localization, interaction = cross_table.split(cells)
    assert recognition + localization == pytest.approx(gain, abs=1e-9)
    # Head first, boxes second gives the head this; boxes first gives it that.
    assert recognition == pytest.approx(np.mean([cells[0, 1] - cells[0, 0], cells[1, 1] - cells[1, 0]]))
    assert interaction == pytest.approx((cells[1, 1] - cells[1, 0]) - (cells[0, 1] - cells[0, 0]), abs=1e-9)


def test_no_resamples_and_no_objects_leave_nulls(files, tmp_path: Path) -> None:
    gt, cells = files
    content = cross_table.make(gt, cells, NAMES, Options(bootstrap=0))
    assert content["bbox"]["AP"]["gain"]["interval"] == [None, None]
    (tmp_path / "empty.json").write_text(json.dumps({**_ground_truth(), "annotations": []}))
    content = cross_table.make(tmp_path / "empty.json", cells, NAMES, Options(bootstrap=10))
    assert content["bbox"]["AP"]["gain"] == {"value": None, "interval": [None, None]}
    assert "undefined" in "\n".join(cross_table.lines(content))
    assert "undefined" in cross_page.render(content)


def test_the_page_stands_alone_and_escapes_what_it_shows(files) -> None:
    gt, cells = files
    names = ("<script>alert(1)</script>", "b & c")
    renamed = {(x, y): cells[NAMES[names.index(x)], NAMES[names.index(y)]] for x in names for y in names}
    content = cross_table.make(gt, renamed, names, Options(bootstrap=20))
    page = cross_page.render(content)
    assert page.count("<script") == 1
    assert "&lt;script&gt;" in page
    assert "b &amp; c" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    gain = content["bbox"]["AP"]["gain"]["value"]
    assert f"+{gain:.1f}" in page


def test_what_is_wrong_is_named(files, tmp_path: Path) -> None:
    gt, cells = files
    with pytest.raises(ConfigError, match="--bootstrap is 1"):
        cross_table.make(gt, cells, NAMES, Options(bootstrap=1))
    (tmp_path / "masks.json").write_text(
        json.dumps([{"image_id": 0, "category_id": 1, "score": 0.5, "segmentation": [[1, 1, 5, 1, 5, 5]]}])
    )
    with pytest.raises(DataError, match="share no IoU type"):
        cross_table.make(gt, {**cells, NAMES: tmp_path / "masks.json"}, NAMES)
