"""What was asked: AP, AP@50 and AP@75, the paper's reading, the answer at τ = 0.1, where levels disagree."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from wsl_det.core import files
from wsl_det.core.words import signed

FIRST = ("AP", "AP50", "AP75")
RELATIVE_FLOOR = 1.0
"""AP of the baseline, in percent, under which a relative gain is noise and not shown."""
HOLDS = ((100, 92.0), (0, 90.0))
"""Images, and the percent that a 95% interval has to cover from so many on to count as calibrated."""
APART = 0.5
"""Points of AP between the localization of levels 2 and 3 from which the report says which to believe."""


def relative(baseline: float | None, gain: float | None) -> float | None:
    """The gain as a share of the baseline; None where that is noise or undefined."""
    return None if baseline is None or gain is None or baseline < RELATIVE_FLOOR else gain / baseline


def asked(record: dict[str, Any]) -> dict[str, Any]:
    """What one IoU type's record of gain.json opens with; sentences are made of it in ``verdict``.

    metrics: of ``FIRST`` with the relative gain. paper: how the paper reads it and how that fares in planted
    mixtures. method_error: of both splits at this base AP, 5% and 95% quantiles of found minus planted.
    """
    rows = {name: record["metrics"][name] for name in FIRST}
    gains = rows["AP"]["gain"], rows["AP50"]["gain"]
    known = _known("method_error")
    found: dict[str, Any] = {
        "metrics": {
            name: {key: row[key] for key in ("baseline", "candidate", "gain", "interval")}
            | {"relative": relative(row["baseline"], row["gain"])}
            for name, row in rows.items()
        },
        "paper": None,
        "method_error": None,
    }
    if None in gains:
        return found
    found["paper"] = {"larger_at_50": gains[1] > gains[0], "mixtures": known["paper_reading"]}
    base = rows["AP"]["baseline"]
    error = next(row for row in known["by_base_ap"] if row["to"] is None or base < row["to"])
    found["method_error"] = error | {key: known[key] for key in ("seed", "date", "command")}
    return found


def localization(record: dict[str, Any]) -> dict[str, Any] | None:
    """The localization of levels 2 and 3, whether they are apart, which is believed; None without both."""
    error = record["asked"]["method_error"]
    two, three = (
        record["two_factor"]["0.1"]["localization"],
        record.get("attribution", {}).get("localization"),
    )
    if error is None or two is None or three is None or three["gain"] is None:
        return None
    rmse = error["two_factor"]["0.1"]["rmse"], error["attribution"]["localization"]["rmse"]
    return {
        "two_factor": two,
        "attribution": three["gain"],
        "apart": abs(two - three["gain"]) > APART,
        "believed": "two_factor" if rmse[0] < rmse[1] else "attribution",
        "rmse": {"two_factor": rmse[0], "attribution": rmse[1]},
    }


def paper(opening: dict[str, Any]) -> str:
    """The paper's own reading, in one sentence; empty where undefined."""
    if opening["paper"] is None:
        return ""
    gain, at_50 = (opening["metrics"][name]["gain"] for name in ("AP", "AP50"))
    numbers = f"AP@50 changes by {signed(at_50)} points and AP by {signed(gain)}"
    if opening["paper"]["larger_at_50"]:
        return f"{numbers}: the larger gain in AP@50 reads, in the paper’s way, as better classification."
    reading = "without a larger gain in AP@50 that reads, in the paper’s way, as no better classification"
    return f"{numbers}: {reading}."


def weakness(opening: dict[str, Any]) -> str:
    """What is wrong with the paper's reading, in one sentence; empty where there is none."""
    if opening["paper"] is None:
        return ""
    seen = opening["paper"]["mixtures"]
    return (
        f"That reading is weak: nearly any gain is larger in AP@50 ({seen['holds']} of {seen['mixtures']} "
        f"simulated gains of known cause, {seen['wrong']} of these mostly localization)."
    )


def error(opening: dict[str, Any]) -> str:
    """The method's own error of the split at tau = 0.1, as a sentence; empty where unknown."""
    if opening["method_error"] is None:
        return ""
    off = opening["method_error"]["two_factor"]["0.1"]
    return (
        f"The intervals hold the chance of the images; the split itself was {signed(off['low'])} to "
        f"{signed(off['high'])} points off in nine of ten simulated gains from such an AP."
    )


def levels(found: dict[str, Any] | None) -> str:
    """Which ``localization`` to believe where the two splits are apart; empty where they tell one story."""
    if found is None or not found["apart"]:
        return ""
    names = {"two_factor": "the split at an IoU of 0.1", "attribution": "the split by kind of error"}
    better, worse = sorted(found["rmse"].values())
    return (
        f"Localization is {signed(found['two_factor'])} by {names['two_factor']} and "
        f"{signed(found['attribution'])} by {names['attribution']}; believe {names[found['believed']]}: in "
        f"simulated gains from such an AP it was {better:.1f} points off, the other {worse:.1f}."
    )


def calibration(images: int) -> dict[str, Any]:
    """How often the 95% intervals of one run a side hold, for a test set of ``images`` images.

    images, sets: of the simulated test sets, the largest measured that are no larger than this one. covered:
    percent by name. uncalibrated: the kinds of error that cover less than ``HOLDS`` asks for; too_narrow: the
    metrics and factors that do.
    """
    rows: list[dict[str, Any]] = _known("calibration")["by_images"]
    row = [one for one in rows if one["images"] <= images or one is rows[0]][-1]
    least = next(share for size, share in HOLDS if row["images"] >= size)
    short = [name for name, share in row["covered"].items() if share < least]
    kinds = [name.removesuffix(" (kind)") for name in short if name.endswith(" (kind)")]
    return row | {"uncalibrated": kinds, "too_narrow": [n for n in short if not n.endswith(" (kind)")]}


@functools.cache
def _known(name: str) -> dict[str, Any]:
    """A table that ``benchmarks/bench_gain.py`` or ``bench_calibration.py`` writes with ``--write``."""
    found: dict[str, Any] = files.read_json(Path(__file__).with_name(f"{name}.json"), "measured table")
    return found


def names(baseline: str, candidate: str) -> tuple[str, str]:
    """Names of two sides by the innermost folder in which their files differ, or by the files' own names."""
    paths = [Path(path).parts for path in (baseline, candidate)]
    folders = [list(reversed(parts[:-1])) for parts in paths]
    for a, b in zip(*folders, strict=False):
        if a != b and a.strip("./") and b.strip("./"):
            return a, b
    stems = Path(baseline).stem, Path(candidate).stem
    return stems if stems[0] != stems[1] else ("baseline", "candidate")
