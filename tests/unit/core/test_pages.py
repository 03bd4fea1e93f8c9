"""Every page and every figure with the same list of hostile names: nothing foreign becomes markup."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from markupsafe import Markup
from PIL import Image

from benchmarks import simulation
from benchmarks.simulation import Detector
from pretrain.duplicates import page as calibration_figure
from pretrain.duplicates import page as review_page
from pretrain.posts.records import Columns
from pretrain.vocabulary import audit_page, wordnet
from pretrain.vocabulary import build as vocabulary_builder
from pretrain.vocabulary.build import Selection
from pretrain.vocabulary.hashtags import Resolver, Rules
from wsl_det.core import figures, pages
from wsl_det.core.figures import Drawing
from wsl_det.detector import drawn as drawings
from wsl_det.gain import cross_page, cross_table, report
from wsl_det.gain import figures as gain_figures
from wsl_det.gain import page as gain_page
from wsl_det.gain.comparison import Options
from wsl_det.study import capacities
from wsl_det.study import levels as study_levels
from wsl_det.study import report as study_report
from wsl_det.study.scaling import content as scaling_content
from wsl_det.study.scaling import entries as scaling_entries
from wsl_det.study.scaling import figures as scaling_figures

ROOT = Path(__file__).parents[3]
HOSTILE = [
    "<x-evil>plain",
    "\"><x-evil onload='x'>double",
    "'><x-evil onload=x>single",
    "</script><x-evil>script",
    "</style></title></svg></textarea><x-evil>closed",
    "]]><x-evil>--><!--<x-evil>comment",
    "&lt;x-evil&gt;entity &amp; ampersand",
    "{{ 7 * 191 }}{% if 1 %}<x-evil>template",
    "$\\frac{x-evil}{$ \\(x-evil\\) formula",
    "\x00\x07\x1b[31mred<x-evil>\x7f\x9bcontrol",
    "\ud800<x-evil>\udfffsurrogate",
    "\u202e<x-evil>turned\u2066",
    "line\nbreak\r<x-evil>\u2028\u2029separated",
    "x-evil " + "W" * 300,
    "日本語<x-evil>🐻",
]
UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# What is told apart by its words and never comes from data.
STRUCTURE = {"kind", "metric", "protocol", "interval_of", "verdict", "place", "order"}


def poisoned(tree: Any, names: Iterator[str], kept: set[str] = STRUCTURE) -> Any:
    """``tree`` with every text in it replaced by the next hostile name."""
    if isinstance(tree, dict):
        return {k: v if k in kept else poisoned(v, names, kept) for k, v in tree.items()}
    if isinstance(tree, list):
        return [poisoned(value, names, kept) for value in tree]
    return next(names) if isinstance(tree, str) else tree


class Reader(HTMLParser):
    """The tags, attributes and texts that a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def gain(folder: Path) -> tuple[str, list[Drawing]]:
    scene = simulation.world(images=12, classes=len(HOSTILE), seed=2)
    for name, detector in (("a", Detector(missed=0.35)), ("b", Detector(missed=0.15))):
        truth, results = simulation.to_coco(scene, simulation.detect(scene, detector))
        (folder / f"{name}.json").write_text(json.dumps(results))
    (folder / "gt.json").write_text(json.dumps(truth))
    for image in truth["images"]:
        Image.new("RGB", (640, 480)).save(folder / image["file_name"])
    made = report.make(
        folder / "gt.json",
        [folder / "a.json"],
        [folder / "b.json"],
        Options(bootstrap=20, attribution_bootstrap=5),
        hashtags={
            "vocabulary": "f" * 64,
            "counted": "posts",
            "said_in": {"path": "said.json", "sha256": "f" * 64},
            "classes": [
                {**category, "category_id": i, "synsets": ["n00000000"], "hashtags": 7 * i, "covered": i > 0}
                for i, category in enumerate(truth["categories"])
            ],
        },
    )
    names = cycle(HOSTILE)
    content = copy.deepcopy(made.content)
    content["meta"] = poisoned(content["meta"], names, {"p", "options", "iou_types", "uncalibrated"})
    for row in [*content["bbox"]["by_class"], *content["bbox"]["hashtags"]["by_class"]]:
        row["name"] = next(names)
    content["bbox"]["hashtags"]["expected"]["said_in"] = {"path": next(names), "sha256": "f" * 64}
    bad = SimpleNamespace(
        content=content,
        iou_types=made.iou_types,
        truth=made.truth,
        baseline=made.baseline,
        candidate=made.candidate,
    )
    drawn = gain_figures.draw(content)
    return gain_page.render(bad, drawn, folder), list(drawn.values())


def cross(folder: Path) -> tuple[str, list[Drawing]]:
    scene = simulation.world(images=12, classes=3, seed=2)
    sides = ("first", "second")
    cells = {}
    for boxes in sides:
        for head in sides:
            truth, results = simulation.to_coco(scene, simulation.detect(scene, Detector(missed=0.2)))
            cells[boxes, head] = folder / f"{boxes}.{head}.json"
            cells[boxes, head].write_text(json.dumps(results))
    (folder / "gt.json").write_text(json.dumps(truth))
    content = cross_table.make(folder / "gt.json", cells, sides, cross_table.Options(bootstrap=10))
    names = cycle(HOSTILE)
    content["meta"] = poisoned(content["meta"], names, set())
    content["meta"]["sides"] |= {name: {name: name} for name in HOSTILE}
    return cross_page.render(content), []


def table(folder: Path) -> tuple[str, list[Drawing]]:
    rows = []
    for i, name in enumerate(HOSTILE):
        path = folder / f"{i}.json"
        path.write_text(json.dumps({"bbox": {"AP": 40 + i, "AP50": 60 + i}}))
        rows.append(capacities.Entry(name, HOSTILE[i - 1], "", (path,)))
    content = capacities.collect(HOSTILE[0], rows)
    content["meta"] = poisoned(content["meta"], cycle(HOSTILE))
    html, drawn = capacities.render(content)
    return html, list(drawn.values())


def scaling(folder: Path) -> tuple[str, list[Drawing]]:
    rows = [
        scaling_entries.Entry(
            where="", target=target, capacity=name, images=images, vocabulary="v", value=images**0.25 + i
        )
        for target in HOSTILE[:2]
        for i, name in enumerate(HOSTILE)
        for images in (1e3, 1e4, 1e5)
    ]
    targets = tuple(scaling_entries.Target(name, name) for name in HOSTILE[:2])
    study = scaling_entries.Study("x", targets, tuple(rows), None, False)
    content = poisoned(scaling_content.collect(study), cycle(HOSTILE))
    drawn = scaling_figures.draw(content)
    return scaling_content.render(content, drawn), drawn


def study(folder: Path) -> tuple[str, list[Drawing]]:
    level = {"value": 30.0, "interval": [28.0, 33.0], "runs": [29.0, 31.0], "between": 2.0, "within": None}
    scores = {f"{kind}.AP": 30.0 for kind in ("bbox", "segm")}
    arms = [
        {"name": name, "root": HOSTILE[i // 2], "pretraining": name, "images": 1e3 * (1 + i),
         "cooled": i % 3 > 0, "units": [[0], [1]], "runs": [scores] * 2, "learning_rate": 0.1,
         "warning": name, "tuned_as": name,
         "levels": {kind: dict.fromkeys(study_levels.LEVELS, level) for kind in ("bbox", "segm")},
         "sweep": {"size": 2, "learning_rates": [1, 2], "scores": [1, None], "metric": name,
                   "heldout_images": 3}}
        for i, name in enumerate(HOSTILE)
    ]  # fmt: skip
    part = {"gain": 1.0, "interval": [0.0, 2.0]}
    pairs = [
        {"candidate": name, "baseline": name, "contrast": i % 2 > 0, "verdict": name, "family_p": 0.1,
         "gain": 1.0, "interval": [0.0, 2.0], "recognition": part, "localization": part}
        for i, name in enumerate(HOSTILE)
    ]  # fmt: skip
    record = {
        "title": HOSTILE[0], "arms": arms, "pairs": pairs, "table": HOSTILE[1], "command": HOSTILE[2],
        "named": [{"named": HOSTILE[3], "finished": 2}], "versions": {"wsl_det": HOSTILE[4]},
        "reports": [{"baseline": name, "candidate": name, "folder": name} for name in HOSTILE],
    }  # fmt: skip
    path = folder / "r.json"
    path.write_text(json.dumps({kind: {"AP": 40, "AP50": 60} for kind in ("bbox", "segm")}))
    content = capacities.collect(HOSTILE[0], [capacities.Entry(HOSTILE[5], HOSTILE[6], "", (path,))])
    html, drawn = study_report.render(record, content)
    return html, list(drawn.values())


def vocabulary(folder: Path) -> tuple[str, list[Drawing]]:
    post = {"id": "1", "image": "a.jpg", "caption": "#dog #poodle #crane #brownbear #qqqq #axes"}
    (folder / "posts.jsonl").write_text(json.dumps(post) + "\n")
    rules, chosen = Rules(), Selection("wordnet")
    built, tally, ledger = vocabulary_builder.build(
        [folder / "posts.jsonl"], Columns(), rules, chosen, workers=1
    )
    tally.unknown.update(dict.fromkeys(HOSTILE, 7))
    for name in HOSTILE:
        ledger.skip(name, name, 1)
    for entry in built.classes:
        object.__setattr__(entry, "name", HOSTILE[entry.id % len(HOSTILE)])
    built.meta.update({"command": HOSTILE[0], "made_from": {name: {"sha256": name} for name in HOSTILE}})
    made = audit_page.Made(built, tally, ledger, chosen, Resolver(wordnet.load(), rules))
    return audit_page.render(made), [audit_page.facts(made)["plot"]]


def review(folder: Path) -> tuple[str, list[Drawing]]:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    images = SimpleNamespace(read=lambda row: picture.getvalue())
    one = {"name": "x", "kind": "y", "sha256": "z", "images": 3, "unreadable": 0}
    pair = {"set": "x", "image": "a", "image_id": "i", "train": "t", "score": 0.5, "rank": 1}
    content = {
        "sha256": "s", "versions": {}, "command": "c", "manifest": "m", "settings": {"a": "b"}, "left_out": 0,
        "train": {"name": "n", "images": 5}, "made_from": {"train": {"sha256": "h"}},
        "sets": [one] * len(HOSTILE), "pairs": [pair] * len(HOSTILE),
    }  # fmt: skip
    content = poisoned(content, cycle(HOSTILE), set())
    for row in content["pairs"]:
        row |= {"image_row": 0, "train_row": 0}
    kind = {"copies": 3, "recall": 1.0, "quantiles": {"0.5": 0.9, "0.05": 0.8}}
    curve = [{"threshold": t, "recall": {"crop": 1.0}, "same_class": None} for t in (0.1, 0.9)]
    sets = {
        name: {
            "threshold": 0.5, "threshold_from": name, "mean_recall": 0.9, "notes": [name],
            "kinds": {"crop": kind}, "curve": curve, "same_class": {"pairs": 0},
        }
        for name in HOSTILE[8:12]
    }  # fmt: skip
    found = SimpleNamespace(
        sets=[SimpleNamespace(searched=SimpleNamespace(name=name), images=images) for name in HOSTILE],
        train=images,
    )
    drawn = calibration_figure.draw(sets)
    html = review_page.render(content, {"sets": sets}, found, drawn)
    return html, [drawn]


DRAWINGS = [drawings.Picture(f"{name}.jpg", name, 3, 1, 2) for name in HOSTILE]
PAGES: dict[str, Callable[[Path], tuple[str, list[Drawing]]]] = {
    "wsl_det/gain/page.html": gain,
    "wsl_det/gain/cross.html": cross,
    "wsl_det/detector/drawn.html": lambda _: (drawings.page(DRAWINGS, 0.5, {}), []),
    "wsl_det/study/capacities.html": table,
    "wsl_det/study/scaling/page.html": scaling,
    "wsl_det/study/study.html": study,
    "pretrain/vocabulary/vocab.html": vocabulary,
    "pretrain/duplicates/review.html": review,
}


def test_no_page_is_left_out() -> None:
    every = [*ROOT.glob("wsl_det/**/*.html"), *ROOT.glob("pretrain/**/*.html")]
    assert {path.relative_to(ROOT).as_posix() for path in every} - {"wsl_det/core/layout.html"} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_nothing_foreign_becomes_markup(name: str, tmp_path: Path) -> None:
    page, drawn = PAGES[name](tmp_path)
    page.encode("utf-8")
    assert not UNSHOWN.search(page)
    read = Reader(page)
    assert not {"x-evil"} & set(read.tags)
    assert not [key for key, _ in read.attributes if key.startswith("on")]
    # The one that all pages share, named by its hash in the policy; the review's are its own.
    assert read.tags.count("script") == (4 if name.endswith("review.html") else 1)
    assert [
        value for key, value in read.attributes if key == "src" and not (value or "").startswith("data:")
    ] == []
    assert set(re.findall(r"var\((--\w+)", page)) <= set(re.findall(r"(--\w+):", page))
    text = re.sub(r"\s+", " ", "".join(read.texts))
    assert "1337" not in text
    if name.endswith("review.html"):
        assert page.index('class="mind"') < page.index('id="pair"')  # a warning is met before the first pair
        pairs = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])["pairs"]  # type: ignore[index]
        assert {pair["image"] for pair in pairs} == set(HOSTILE)
    else:
        shown = {name: re.sub(r"\s+", " ", pages.printable(name)).strip() for name in HOSTILE}
        assert [name for name, words in shown.items() if words not in text] == []
    for one in drawn:
        for svg in (one.svg, one.wide, one.narrow):
            svg.encode("utf-8")
            assert "mathdefault" not in svg  # a formula of matplotlib's own, shown as it is written
            tree = ElementTree.fromstring(svg if svg.startswith("<?xml") else svg.replace(" xlink:", " "))
            assert not [node for node in tree.iter() if "evil" in node.tag]


def test_what_cannot_be_shown_is_replaced_and_everything_else_kept() -> None:
    assert pages.printable("a\x00b\x1bc\ud800d\u202ee") == "a\ufffdb\ufffdc\ufffdd\ufffde"
    assert pages.printable("日本語 é ñ ❤️ a\tb\n") == "日本語 é ñ ❤️ a\tb\n"


def test_json_for_a_script_closes_nothing_and_comes_back() -> None:
    text = str(pages.script_json(HOSTILE))
    assert not re.search("[<>&']", text)
    assert json.loads(text) == HOSTILE
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        pages.script_json([float("nan")])


def test_a_page_allows_the_shared_script_and_no_other(tmp_path: Path) -> None:
    page, _ = cross(tmp_path)
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\">" in page


def test_a_field_of_a_figure_tells_its_text_and_unused_ids_are_gone() -> None:
    def make(record: str, narrow: bool) -> figures.Figure:
        figure = figures.Figure(figsize=(2, 1))
        figures.hit(figure.subplots(), record, x=(0.2, 0.4))
        return figure

    drawn = figures.drawing("x", 'a <b> "c" & d', make)
    tree = ElementTree.fromstring(drawn.wide.replace(" xlink:", " "))
    assert [title.text for title in tree.iter("title")] == ['a <b> "c" & d']
    assert "hit:" not in drawn.svg and 'id="figure_1"' not in drawn.svg


def test_equal_figures_are_equal_bytes() -> None:
    def make(record: str, narrow: bool) -> figures.Figure:
        figure = figures.Figure(figsize=(2, 1))
        figure.text(0.5, 0.5, record)
        return figure

    first, second = (figures.drawing("x", "$5 & <b>", make) for _ in range(2))
    assert first == second
    assert "&lt;b&gt;" in first.svg and "$5" in first.svg


def test_a_long_page_begins_with_its_sections_and_hostile_headings_stay_text() -> None:
    headings = ["a &lt;script&gt;", 'b" onclick="x', "<em>c</em>", "d"]
    body = Markup("<h1>t</h1>" + "".join(f"<h2>{one}</h2><p>p</p>" for one in headings))
    found = str(pages.contents(body))
    assert "<script>" not in found and found.count("<h2 id=") == 4
    assert '<a href="#section-1">a &lt;script&gt;</a>' in found and "onclick=&#34;x</a>" in found
    assert '<a href="#section-3">c</a>' in found
    assert (
        found.index("<nav") < found.index("<h2") and str(pages.contents(Markup("<h2>a</h2>"))) == "<h2>a</h2>"
    )
