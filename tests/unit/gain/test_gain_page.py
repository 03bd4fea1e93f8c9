"""The page in a browser: tables sort and are searched, figures tell values, photos show kinds of error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import chromium
import pytest
from PIL import Image

from wsl_det import gain
from wsl_det.gain import gallery
from wsl_det.gain import page as gain_page
from wsl_det.gain.report import GainReport

OBJECTS = [
    (1, 1, [10, 10, 40, 40]),
    (2, 1, [10, 10, 40, 40]),
    (2, 2, [60, 60, 30, 30]),
    (3, 2, [10, 10, 40, 40]),
    (4, 3, [0, 0, 50, 50]),
    (4, 3, [50, 50, 50, 50]),
    *((image, 3, [10, 10, 20, 20]) for image in range(5, 11)),
]
"""Image, category, box."""
# Tight boxes, so that what overlaps an object a little is background.
OLD = [(image, 3, [10, 10, 20, 20], 0.95) for image in range(5, 11)]
NEW = {
    (1, 1, (10, 10, 40, 40), 0.9): "found",
    (1, 1, (12, 10, 40, 40), 0.8): "duplicate",
    (1, 1, (10, 10, 40, 18), 0.7): "localization",
    (2, 2, (10, 10, 40, 40), 0.6): "classification",
    (2, 1, (80, 0, 10, 10), 0.5): "background",
    (3, 2, (10, 10, 40, 40), 0.4): "found",
}
"""Image, category, box and score, and what it is at an IoU of 0.5."""


def card(folder: Path, classes: int = 3) -> GainReport:
    truth: dict[str, Any] = {
        "images": [{"id": i, "width": 100, "height": 100, "file_name": f"{i}.jpg"} for i in range(1, 11)],
        "categories": [{"id": k, "name": f"class {k}"} for k in range(1, classes + 1)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": k, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for n, (i, k, box) in enumerate(OBJECTS, 1)
        ],
    }
    for image in truth["images"]:
        Image.new("RGB", (100, 100), (90, 120, 140)).save(folder / image["file_name"])
    keys = ("image_id", "category_id", "bbox", "score")
    old, new = ([dict(zip(keys, one, strict=True)) for one in found] for found in (OLD, [*OLD, *NEW]))
    return gain.compare(
        truth,
        old,
        new,
        bootstrap=4,
        attribution_bootstrap=2,
        names=("old", "new"),
        allow_mismatch=True,
        images=folder,
    )


def test_detections_are_what_the_kinds_say(tmp_path: Path) -> None:
    made = card(tmp_path)
    shots = gallery.choose(made, tmp_path, made.content["bbox"]["by_class"][1:2])
    kinds = {}
    for shot in shots:
        old, new = shot["panes"]
        assert {shape["kind"] for shape in old["shapes"]} == {"missed"} and old["count"].startswith("0 of")
        kinds |= {(shot["name"], one["letters"]): one["kind"] for one in new["shapes"]}
    signs = gallery.SIGNS
    wanted = {
        (f"{i}.jpg", f"{signs[kind]} class {k} {score:.2f}"): kind for (i, k, _, score), kind in NEW.items()
    }
    truths = {("1.jpg", ""): "truth", ("2.jpg", ""): "truth", ("3.jpg", ""): "truth"}
    assert kinds == wanted | truths | {("2.jpg", "M class 2"): "missed"}
    assert {shot["name"]: (shot["title"], shot["about"], shot["shows"]) for shot in shots} == {
        "3.jpg": ("new wins", [2], [2]),
        "2.jpg": ("new loses", [], [1, 2]),
        "1.jpg": ("new loses", [], [1]),
    }


def test_classes_lead_to_photos_and_back(tmp_path: Path) -> None:
    text = card(tmp_path).html()
    assert '<a href="#photo2">class 2</a>' in text and '<a href="#photo1">class 1</a>' in text
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r' id="([^"]+)"', text))
    ids = re.findall(r' id="([^"]+)"', re.sub(r"<defs>.*?</defs>", "", text, flags=re.DOTALL))
    assert len(ids) == len(set(ids))
    for kind, sign in gallery.SIGNS.items():
        assert f">{sign}</text></svg>{kind}<" in text


CELLS = "[...document.querySelectorAll('details table tbody tr')].filter(row => !row.hidden)"


@pytest.mark.parametrize("width", [1280, 390])
def test_tables_sort_and_figures_tell_by_mouse_and_keyboard(tmp_path: Path, width: int) -> None:
    (tmp_path / "gain.html").write_text(card(tmp_path, classes=40).html())
    with chromium.browser(tmp_path) as page:
        page.open((tmp_path / "gain.html").as_uri(), (width, 900))
        assert page.value("document.documentElement.scrollWidth") <= width
        page.value("document.querySelector('details').open = true")
        first = f"{CELLS}.slice(0, 3).map(row => row.cells[0].textContent)"
        head = "document.querySelectorAll('details th')"
        assert page.value(first) == ["class 1", "class 2", "class 3"]
        page.value(f"{head}[4].querySelector('button').focus()")
        page.press("Enter")
        assert page.value(f"{head}[4].ariaSort") == "descending"
        gains = f"{CELLS}.map(row => row.cells[4].textContent)"
        shown = page.value(gains)
        assert shown[0].startswith("+") and set(shown[3:]) == {"–"}  # what is undefined stays at the end
        page.press("Enter")
        assert page.value(f"{head}[4].ariaSort") == "ascending"
        assert page.value(gains)[3:] == shown[3:] and page.value(gains)[:3] == shown[2::-1]
        page.value(f"{head}[0].querySelector('button').click()")  # numbers in names by their value
        assert (
            page.value(first) == ["class 1", "class 2", "class 3"]
            and page.value(f"{head}[4].ariaSort") is None
        )
        page.value("document.querySelector('input[type=search]').focus()")
        page.write("CLASS 3")
        assert page.value(f"{CELLS}.length") == 11
        assert page.value("document.querySelector('.search [role=status]').textContent").strip() == "11 of 40"
        figure = "[...document.querySelectorAll('figure')].find(one => one.querySelector('.hit'))"
        svg = f"[...{figure}.querySelectorAll('svg')].find(one => one.clientWidth)"
        told = f"{figure}.querySelector('.told').textContent"
        hint = page.value(told)
        page.value(f"{svg}.focus()")
        page.press("ArrowRight")
        assert page.value(told).startswith("IoU 0.50: old ")
        page.press("ArrowRight")
        page.press("End")
        assert page.value(told).startswith("IoU 0.95: relative gain")
        page.press("ArrowLeft")
        assert page.value(told).startswith("IoU 0.90: relative gain")
        page.value(f"{svg}.blur()")
        assert page.value(told) == hint
        page.value(f"{svg}.scrollIntoView()")
        x, y = page.value(
            f"(b => [b.x + b.width / 2, b.y + 9])({svg}.querySelector('.hit').getBoundingClientRect())"
        )
        page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        page.until(f"{told}.startsWith('IoU 0.50')")
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []


def test_names_with_markup_stay_text_in_notebooks(tmp_path: Path) -> None:
    made = card(tmp_path)
    made.content["meta"]["names"]["baseline"] = "<b>old"
    shown = gain_page.table(made.content)
    assert "&lt;b&gt;old" in shown and "<b>" not in shown and shown.startswith("<table>")
