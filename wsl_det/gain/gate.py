"""Requirements for continuous integration: ``AP >= -0.5`` holds when the 95% interval begins no lower."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsl_det.errors import ConfigError
from wsl_det.evaluation.protocols.choose import METRICS
from wsl_det.gain import bands, groups
from wsl_det.gain.mends import KINDS

_FORM = re.compile(r"\s*(?:(bbox|segm)\s*:)?\s*([\w.@ ]+?)\s*>=\s*([-+]?\d+(?:\.\d*)?|[-+]?\.\d+)\s*")
_FACTORS = ("recognition", "localization")
_ANCHORS = ("0.1", "0.3", "0.5")
_SIZES = dict(zip(("small", "medium", "large"), groups.SIZES, strict=True))
NAMES = (
    *METRICS,
    *_FACTORS,
    *(f"{factor}@{tau}" for factor in _FACTORS for tau in _ANCHORS),
    *(kind for kind in KINDS if kind != "localization"),
    "localization by kind",
    *_SIZES,
    *bands.BANDS,
)
"""Factors are those at 0.1 unless an anchor is given; the kind of the same name is "localization by kind"."""


@dataclass(frozen=True)
class Requirement:
    """The gain called ``name`` must be at least ``least`` points, in ``iou_type`` or in all there are."""

    text: str
    iou_type: str | None
    name: str
    least: float


def parse(texts: Sequence[str]) -> list[Requirement]:
    """Requirements as they stand on the command line; ConfigError with the names that there are."""
    found = []
    for text in texts:
        match = _FORM.fullmatch(text)
        if not match or match[2] not in NAMES:
            raise ConfigError(
                f'--require {text!r}; expected "NAME >= POINTS", as "AP >= -0.5" or "segm: APs >= 0", '
                f"with one of {', '.join(NAMES)}"
            )
        found.append(Requirement(text.strip(), match[1], match[2], float(match[3])))
    return found


def unmet(content: Mapping[str, Any], required: Sequence[Requirement]) -> list[str]:
    """One line for each requirement that gain.json's content does not meet; an undefined gain meets none."""
    lines = []
    for one in required:
        there = [name for name in ("bbox", "segm") if name in content and one.iou_type in (None, name)]
        if not there:
            lines.append(f"not met: {one.text} (the report has no {one.iou_type})")
        for iou_type in there:
            if one.name in bands.BANDS and not content[iou_type]["by_group"]["frequency"]:
                why = "nothing says which classes are rare in training; --train-gt does"
                lines.append(f"not met: {one.text} ({why})")
                continue
            low = _interval(content[iou_type], one.name)[0]
            if low is None or low < one.least:
                ends = "is undefined" if low is None else f"begins at {low:+.2f}"
                lines.append(f"not met: {one.text} (the 95% interval of {iou_type} {one.name} {ends})")
    return lines


def _interval(record: Mapping[str, Any], name: str) -> Sequence[float | None]:
    nothing: Sequence[float | None] = (None, None)
    factor, _, tau = name.partition("@")
    kind = name.removesuffix(" by kind")
    if name in record["metrics"] or name in _SIZES:
        found = record["metrics"][_SIZES.get(name, name)]["interval"]
    elif factor in _FACTORS and kind == name:
        found = record["two_factor"][tau or "0.1"]["interval"][factor]
    elif kind in KINDS:
        found = record.get("attribution", {}).get(kind, {}).get("interval", nothing)
    else:
        rows = record["by_group"]["frequency"]
        found = next((row["interval"] for row in rows if row["name"] == name), nothing)
    return list(found)
