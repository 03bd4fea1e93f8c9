"""review.html: candidate pairs side by side for a person to judge, in one file without any network."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pretrain.duplicates.search import Found
from pretrain.duplicates.sources import Images
from pretrain.stream import transforms
from wsl_det.core import log, pages, verdicts
from wsl_det.core.figures import GREY, INK, OCHRE, RED, Drawing, bare, drawing
from wsl_det.core.photos import BadImage
from wsl_det.core.verdicts import Verdicts
from wsl_det.errors import DataError

THUMBNAIL = 320
"""Pixels of the longer side of an embedded picture."""
_QUALITY = 78
_EMPTY = '<script type="application/json" id="given-verdicts">null</script>'
_NOTHING = "data:,"
_COLOURS = {
    "crop": OCHRE,
    "flip": "#5c7f2b",
    "recompress": "#7a4fa3",
    "resize": "#0f7f86",
    "overlay": "#b0306a",
    "several": INK,
}


def render(
    content: Mapping[str, Any], calibration: Mapping[str, Any], found: Found, figure: Drawing | None = None
) -> str:
    """The page of a search; ``content`` is candidates.json, ``figure`` the calibration's."""
    pictures = _Pictures()
    sources = {one.searched.name: one.images for one in found.sets}
    pairs = []
    for pair in log.progress(content["pairs"], len(content["pairs"]), "pictures of the page"):
        test = pictures.place(sources[pair["set"]], pair["set"], pair["image_row"])
        train = pictures.place(found.train, "", pair["train_row"])
        pairs.append({**pair, "pictures": [test, train]})
    data = {"sha256": content["sha256"], "header": _header(content), "pairs": pairs}
    page = pages.load("review.html", Path(__file__).parent)
    return page.render(
        train=content["train"],
        calibration=calibration["sets"],
        figure=figure,
        facts=_facts(content),
        data=data,
        pictures=pictures.uris,
    )


def with_verdicts(path: str | Path, given: Verdicts) -> str:
    """The text of a page that starts from ``given``; raises DataError when the page is none of ours."""
    path = Path(path)
    try:
        html = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path} is gone; search again to have the page") from None
    if html.count(_EMPTY) != 1:
        raise DataError(f"{path} is no page of this version; search again")
    rows = [{"pair": row.pair, "verdict": row.verdict} for row in given.rows]
    filled = pages.script_json({"sha256": given.sha256, "reader": given.reader, "verdicts": rows})
    return html.replace(_EMPTY, _EMPTY.replace("null", filled))


def file_part(name: str) -> str:
    """A reader's name as part of a file name, as the page itself writes it."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name) or "reader"


class _Pictures:
    """Thumbnails as data URIs, each image once."""

    def __init__(self) -> None:
        self.uris: list[str] = []
        self._places: dict[tuple[str, int], int] = {}

    def place(self, images: Images, name: str, row: int) -> int:
        """Where the thumbnail of an image stands in ``uris``."""
        if (name, row) not in self._places:
            self._places[name, row] = len(self.uris)
            self.uris.append(_thumbnail(images, row))
        return self._places[name, row]


def _thumbnail(images: Images, row: int) -> str:
    try:
        image = transforms.decode_any(images.read(row))
    except BadImage:
        return _NOTHING  # it was read a moment ago; the page shows its name
    height, width = image.shape[:2]
    scale = THUMBNAIL / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(packed.tobytes()).decode()


def _header(content: Mapping[str, Any]) -> dict[str, Any]:
    """What the page writes into a verdicts file besides the verdicts."""
    keys = ("name", "kind", "sha256", "images")
    return {
        "kind": verdicts.KIND,
        "schema": verdicts.SCHEMA,
        "command": "review.html",
        "versions": content["versions"],
        "made_from": {"candidates": {"sha256": content["sha256"]}, "train": content["made_from"]["train"]},
        "sets": [{key: one[key] for key in keys} for one in content["sets"]],
        "pairs": len(content["pairs"]),
    }


def _facts(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    train = content["train"]
    facts = [("command", content["command"]), ("training images", f"{train['name']}: {train['images']:,}")]
    facts += [
        (f"set {one['name']}", f"{one['images']:,} images, {one['unreadable']:,} unreadable; {one['sha256']}")
        for one in content["sets"]
    ]
    facts += [(f"made from: {role}", source["sha256"]) for role, source in content["made_from"].items()]
    facts += [("settings", json.dumps(content["settings"])), ("manifest", content["manifest"])]
    facts += [("candidates", content["sha256"])]
    if content["left_out"]:
        facts.append(("pairs left out", f"{content['left_out']:,} of lower score, beyond --max-pairs"))
    return facts


def draw(sets: Mapping[str, Mapping[str, Any]]) -> Drawing | None:
    """One panel a set of calibration.json; none when nothing was planted."""
    shown = {name: one for name, one in sets.items() if one["kinds"]}
    return drawing("calibration", shown, _sheet) if shown else None


def _sheet(shown: Mapping[str, Mapping[str, Any]], narrow: bool) -> Figure:
    width, height = (3.7, 3.4) if narrow else (6.4, 2.9)
    canvas = Figure(figsize=(width, height * len(shown)), layout="constrained")
    axes = canvas.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axis, (name, one) in zip(axes, shown.items(), strict=True):
        _panel(axis, name, one)
        beside = {"loc": "upper left", "bbox_to_anchor": (0, -0.22), "ncols": 2} if narrow else {
            "loc": "center left", "bbox_to_anchor": (1.01, 0.5)}  # fmt: skip
        axis.legend(frameon=False, fontsize=8, **beside)
    return canvas


def _panel(axis: Axes, name: str, one: Mapping[str, Any]) -> None:
    curve = one["curve"]
    at = [row["threshold"] for row in curve]
    mates = [row["same_class"] for row in curve]
    if mates[0] is not None:
        axis.fill_between(at, mates, color=GREY, alpha=0.45, lw=0, label="pairs of one class")
    for kind in one["kinds"]:
        axis.plot(at, [row["recall"][kind] for row in curve], color=_COLOURS.get(kind), lw=1.5, label=kind)
    axis.axvline(one["threshold"], color=RED, lw=1, ls=(0, (4, 2)))
    axis.set(ylim=(0, 1.03), xlim=(at[0], at[-1]), ylabel="share at or above", xlabel="score")
    axis.set_title(f"{name}: threshold {one['threshold']:.3f}", fontsize=9.5)
    bare(axis, "y")
