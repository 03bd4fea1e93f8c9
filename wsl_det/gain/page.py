"""gain.html: one self-contained page, readable on a phone and on paper; all data is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from markupsafe import Markup

from wsl_det.core import pages
from wsl_det.core.figures import Drawing
from wsl_det.core.words import plain, signed, span
from wsl_det.evaluation.protocols import choose as protocols
from wsl_det.gain import answer, verdict
from wsl_det.gain.compared import Compared
from wsl_det.gain.comparison import SHOWN_KINDS

TITLES = {"bbox": "Boxes", "segm": "Masks"}
MEANS = {
    "found": "the class is right and the box fits",
    "classification": "about an object of another class",
    "localization": "about an object of its class, but the box does not fit well enough",
    "duplicate": "on an object that a better detection has found",
    "background": "about no object",
    "missed": "an object that no detection is about",
}
"""What a detection is, and what an object is that has none, in the words of the page."""
SHOWN_CLASSES = 8
"""Classes in each of the two lists of largest gains and losses."""


def render(report: Compared, drawn: Mapping[str, Drawing], images: str | Path | None = None) -> str:
    """The page of a report; ``images`` is the folder of the test images, for the gallery."""
    content = report.content
    classes = {name: class_lists(content[name]["by_class"]) for name in report.iou_types()}
    shots: list[dict[str, Any]] = []
    signs: Mapping[str, str] = {}
    if images is not None:
        from wsl_det.gain import gallery

        first = classes[report.iou_types()[0]]
        shots = gallery.choose(report, images, [*first["gained"], *first["lost"]])
        signs = gallery.SIGNS
    page = pages.load("page.html", Path(__file__).parent)
    return page.render(
        content=content,
        meta=content["meta"],
        protocol=protocols.of(report.truth),
        iou_types=report.iou_types(),
        titles=TITLES,
        verdicts=[verdict.headline(content, name) for name in report.iou_types()],
        # What is wrong with the paper's way is said once.
        papers={
            name: answer.paper(content[name]["asked"]) if i else verdict.paper(content, name)
            for i, name in enumerate(report.iou_types())
        },
        readings={name: verdict.reading(content, name) for name in report.iou_types()},
        figures=drawn,
        classes=classes,
        links={i: shot["id"] for key in ("shows", "about") for shot in reversed(shots) for i in shot[key]},
        signs=signs,
        means=MEANS,
        kinds=SHOWN_KINDS,
        doubts={
            name: verdict.doubt(content[name]["metrics"]["AP"]["variance"]) for name in report.iou_types()
        },
        powers={name: verdict.power(content[name]["power"]) for name in report.iou_types()},
        gallery=shots,
        ancestry=_ancestry(content["meta"]["ancestry"]),
    )


def table(content: dict[str, Any]) -> str:
    """What the page opens with as a plain HTML table, for notebooks."""
    names = content["meta"]["names"]
    rows = [["", names["baseline"], names["candidate"], "gain", "95% interval"]]
    for name in (name for name in TITLES if name in content):
        split = content[name]["two_factor"]["0.1"]
        for metric, row in content[name]["asked"]["metrics"].items():
            values = [plain(row["baseline"]), plain(row["candidate"]), signed(row["gain"])]
            rows.append([f"{TITLES[name]}, {metric}", *values, span(row["interval"])])
        for part in ("recognition", "localization"):
            gain = [signed(split[part]), span(split["interval"][part])]
            rows.append([f"{TITLES[name]}, {part}", "", "", *gain])
    line = f"<tr>{'<td>{}</td>' * len(rows[0])}</tr>"
    return Markup(f"<table>{line * len(rows)}</table>").format(*pages.printable(list(chain(*rows))))


def class_lists(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The classes that gained and that lost most, and the largest change for scaling the bars."""
    there = sorted((row for row in rows if row["gain"] is not None), key=lambda row: -row["gain"])
    undefined = len(rows) - len(there)
    # Classes in a handful of images swing widest and mean least; they stand in the full table.
    there = [row for row in there if row["interval"][0] is not None] or there
    gained = [row for row in there if row["gain"] > 0][:SHOWN_CLASSES]
    lost = [row for row in reversed(there) if row["gain"] < 0][:SHOWN_CLASSES]
    widest = max((abs(row["gain"]) for row in there), default=0.0) or 1.0
    return {
        "gained": gained,
        "lost": lost,
        "widest": widest,
        "all": rows,
        "undefined": undefined,
    }


def _ancestry(sides: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What is known of each predictions file, as rows of names and texts."""
    rows = []
    for name, runs in sides.items():
        for run in runs:
            header = run["header"] or {}
            rows.append(
                {"side": name, "path": run["path"], "known": bool(header), "facts": list(_facts(header, ""))}
            )
    return rows


_LISTED = (
    "command",
    "engine",
    "weights",
    "backbone",
    "dataset",
    "sweep",
    "versions",
    "made_from",
    "predictions",
)


def _facts(tree: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    for key, value in tree.items():
        if not prefix and key not in _LISTED:
            continue
        if isinstance(value, Mapping):
            facts += _facts(value, f"{prefix}{key} ")
        elif value is not None:
            facts.append((f"{prefix}{key}".replace("_", " "), str(value)))
    return facts
