"""The verdicts of a study: contrasts named beforehand, p values that hold for all of them together (Holm)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from wsl_det.core import files
from wsl_det.core.words import equals, signed, span
from wsl_det.gain.estimates import holm, t_quantile
from wsl_det.gain.power import CHANCE
from wsl_det.study.plan import Study

ALPHA = 0.05
_FILE = "contrasts.json"


def remember(study: Study, finished: int) -> None:
    """Note in OUTPUT which contrasts are named, when, and how many final runs were ``finished`` by then."""
    named = [list(pair) for pair in study.contrasts]
    told = history(study)
    if named != (told[-1]["contrasts"] if told else []):
        told.append({"named": time.strftime("%F %T %Z"), "contrasts": named, "finished": finished})
        files.write_json(study.output / _FILE, told)


def history(study: Study) -> list[dict[str, Any]]:
    """What ``remember`` noted, the latest last."""
    path = study.output / _FILE
    return list(files.read_json(path, "note of contrasts")) if path.is_file() else []


def judge(study: Study, gains: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A record of each pair of ``study.pairs``, contrasts first; ``gains`` are the contents of gain.json.

    Numbers are box AP (masks where there are no boxes) and its two factors, in points. ``family_p`` is Holm's
    over the contrasts, None without a verdict: for other pairs, and where pretraining seeds were not varied.
    ``smallest_gain`` is found four times in five at the first step of Holm's correction.
    """
    rows = [_row(study, pair, gains[pair]) for pair in study.pairs]
    asked = [row["p"] if row["contrast"] and not row["why_not"] else None for row in rows]
    for row, p in zip(rows, holm(asked), strict=True):
        row["family_p"] = p
        row["verdict"] = _sentence(row, len(study.contrasts)) if row["contrast"] else None
    return rows


def _row(study: Study, pair: tuple[str, str], content: Mapping[str, Any]) -> dict[str, Any]:
    iou_type = "bbox" if "bbox" in content else "segm"
    gain, split = content[iou_type]["metrics"]["AP"], content[iou_type]["two_factor"]["0.1"]
    variance, contrast = gain["variance"], pair in study.contrasts
    single = [n for n in pair if (recipe := study.arm(n).recipe) is not None and len(recipe.seeds) < 2]
    why_not = f"pretraining seed of {' and '.join(single)}: one" if single else ""
    if variance["seed_variance"] is None:
        why_not = why_not or "one run a side"
    smallest = None
    if contrast and variance["standard_error"]:
        df = float("inf") if variance["df"] is None else variance["df"]
        level = 1 - ALPHA / len(study.contrasts) / 2
        smallest = (t_quantile(level, df) + t_quantile(CHANCE, df)) * variance["standard_error"]
    parts = {name: {"gain": split[name], "interval": split["interval"][name]} for name in _PARTS}
    return {
        "candidate": pair[1],
        "baseline": pair[0],
        "contrast": contrast,
        "iou_type": iou_type,
        "gain": gain["gain"],
        "interval": gain["interval"],
        "p": gain["p"],
        "why_not": why_not,
        "smallest_gain": smallest,
        "variance": variance,
        **parts,
    }


_PARTS = ("recognition", "localization")


def _sentence(row: Mapping[str, Any], contrasts: int) -> str:
    name = f"{row['candidate']} − {row['baseline']}"
    kind = {"bbox": "box", "segm": "mask"}[row["iou_type"]]
    if row["gain"] is None or row["interval"][0] is None:
        return f"{name}: {kind} AP or its interval is undefined; nothing can be said."
    sure = f"{signed(row['gain'])} (95% interval {span(row['interval'])}"
    if row["family_p"] is None:
        why = f"no verdict, for the seed was not varied ({row['why_not']})"
        return f"{name}: {why}; {kind} AP {sure}, images alone)."
    sure += f", p {equals(row['family_p'])}" + (
        f" corrected for {contrasts} contrasts" if contrasts > 1 else ""
    )
    parts = ", ".join(
        f"{signed(row[part]['gain'])} ({span(row[part]['interval'])}) by {part}"
        for part in _PARTS
        if row[part]["gain"] is not None
    )
    if row["family_p"] < ALPHA:
        way = "higher" if row["gain"] > 0 else "lower"
        text = f"{name}: {kind} AP is {way}, {sure}): {parts or 'its factors are undefined'}."
    else:
        text = f"{name}: no difference in {kind} AP is shown, {sure})."
    if row["smallest_gain"] is None:
        return text
    return f"{text} This study finds a true difference of {row['smallest_gain']:.1f} four times in five."
