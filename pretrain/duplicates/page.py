"""review.html: candidate pairs side by side for a person to judge, in one file without any network."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from pretrain.duplicates.search import Found
from pretrain.duplicates.sources import Images
from pretrain.stream import transforms
from wsl_det.core import log, pages, verdicts
from wsl_det.core.photos import BadImage
from wsl_det.core.verdicts import Verdicts
from wsl_det.errors import DataError

if TYPE_CHECKING:  # matplotlib takes a second to load
    from wsl_det.core.figures import Drawing

THUMBNAIL = 320
"""Pixels of the longer side of an embedded picture."""
_QUALITY = 78
_EMPTY = '<script type="application/json" id="given-verdicts">null</script>'
_NOTHING = "data:,"


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
