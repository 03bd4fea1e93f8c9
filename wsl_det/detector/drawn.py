"""The index page of a folder of drawn pictures, those with most wrong detections first."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from wsl_det.core import files, pages

_THUMBNAIL, _QUALITY = 300, 75
_WITH_THUMBNAILS = 500
"""So many pictures are shown small on the page; the others are links."""


@dataclass
class Picture:
    """A drawing: its file, the photo's name, how many detections are drawn, right and wrong if known."""

    file: str
    name: str
    detections: int
    right: int | None = None
    wrong: int | None = None

    @property
    def told(self) -> str:
        """What is on it."""
        if self.wrong is None:
            return f"{self.detections} detections"
        rest = self.detections - (self.right or 0) - self.wrong
        return f"{self.right} right, {self.wrong} wrong" + (f", {rest} not judged" if rest else "")


def _thumbnail(path: Path) -> str:
    """A drawing as a small picture in a data URI."""
    drawing = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert drawing is not None, path
    height, width = drawing.shape[:2]
    size = (_THUMBNAIL, max(1, round(height * _THUMBNAIL / width)))
    small = cv2.resize(drawing, size, interpolation=cv2.INTER_AREA)
    packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(packed.tobytes()).decode()


def page(pictures: list[Picture], score: float, thumbnails: Mapping[str, str], folder: str = "") -> str:
    """The page that links to ``pictures`` in ``folder`` beside it; ``thumbnails`` by file."""
    number = sum(one.detections for one in pictures)
    headline = f"{number} detections that score at least {score:g}, on {len(pictures)} photos"
    if any(one.wrong is not None for one in pictures):
        right, wrong = (sum(getattr(one, key) or 0 for one in pictures) for key in ("right", "wrong"))
        headline += (
            f": {right} right (green) and {wrong} wrong (red, dashed). Right is an IoU of 0.5 with an object "
            "of the class that no better detection found; photos with most wrong ones come first"
        )
    rows = [
        {
            "name": one.name,
            "told": one.told,
            "link": _link(folder + one.file),
            "thumbnail": thumbnails.get(one.file),
        }
        for one in _most_wrong_first(pictures)
    ]
    return pages.load("drawn.html", Path(__file__).parent).render(headline=f"{headline}.", shown=rows)


def _link(file: str) -> str:
    """The address of a file beside the page; empty for a text that is no file's name."""
    try:
        return Path("/", file).as_uri().removeprefix("file:///")
    except ValueError:
        return ""


def _most_wrong_first(pictures: list[Picture]) -> list[Picture]:
    return sorted(pictures, key=lambda one: -(one.wrong or 0))


def write(pictures: list[Picture], output: str | Path, score: float, folder: str = "") -> Path:
    """Write ``index.html`` into ``output``, above the pictures in ``folder``; its path."""
    output = Path(output)
    shown = _most_wrong_first(pictures)[:_WITH_THUMBNAILS]
    thumbnails = {one.file: _thumbnail(output / folder / one.file) for one in shown}
    files.write_text(output / "index.html", page(pictures, score, thumbnails, folder))
    return output / "index.html"
