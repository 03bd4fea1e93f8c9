"""What the numbers say, in plain sentences; no sentence claims more than its interval."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from wsl_det.core.words import p_value, plain, signed, span
from wsl_det.evaluation.protocols.choose import PROTOCOLS
from wsl_det.gain import answer

WHAT = {"bbox": "box AP", "segm": "mask AP"}
_PARTS = ("image_variance", "seed_variance", "in_both")


def headline(content: dict[str, Any], iou_type: str) -> str:
    """One sentence on the gain in AP of an IoU type and whether it can be told from chance."""
    row = content[iou_type]["metrics"]["AP"]
    what = WHAT[iou_type]
    baseline, candidate = (_called(content, side) for side in ("baseline", "candidate"))
    if row["gain"] is None:
        return f"The gain in {what} is undefined: the ground truth has no objects to score."
    low, high = row["interval"]
    if low is None:
        return f"{candidate} has {signed(row['gain'])} points of {what} more; no interval can be given."
    span = f"95% interval {signed(low)} to {signed(high)}"
    if row["gain"] == 0 and low == 0 == high:
        return f"Both sides score the same {what}, {row['baseline']:.1f}."
    if low > 0:
        return f"{candidate} gains {row['gain']:.1f} points of {what} over {baseline} ({span})."
    if high < 0:
        return f"{candidate} loses {-row['gain']:.1f} points of {what} against {baseline} ({span})."
    return f"No difference in {what} can be claimed: {signed(row['gain'])} points lie within chance ({span})."


def _called(content: dict[str, Any], side: str) -> str:
    """A side in a sentence: by its name, or as what it is."""
    name = content["meta"]["names"][side]
    return f"{'The ' if side == 'candidate' else 'the '}{side}" if name == side else str(name)


def paper(content: dict[str, Any], iou_type: str) -> str:
    """The paper's own reading of AP@50 against AP, and what is wrong with it."""
    opening = content[iou_type]["asked"]
    return f"{answer.paper(opening)} {answer.weakness(opening)}".strip()


def reading(content: dict[str, Any], iou_type: str) -> str:
    """The answer: recognition against localization at tau = 0.1, its own error, where splits differ."""
    split = content[iou_type]["two_factor"]["0.1"]
    if split["recognition"] is None:
        return "Recognition and localization cannot be told apart: " + split["reason"] + "."
    parts = []
    for name in ("recognition", "localization"):
        low, high = split["interval"][name]
        if low is None:
            parts.append(f"{name} {signed(split[name])}")
            continue
        sure = "" if low > 0 or high < 0 else ", within chance"
        parts.append(f"{name} {signed(split[name])} ({signed(low)} to {signed(high)}{sure})")
    total = sum(split[name] for name in ("recognition", "localization"))
    said = [f"Of the {signed(total)} points, " + " and ".join(parts) + "."]
    said += [answer.error(content[iou_type]["asked"]), answer.levels(content["meta"]["levels"][iou_type])]
    return " ".join(filter(None, said))


def summary(content: dict[str, Any]) -> list[str]:
    """What was asked and the three main numbers of each IoU type, as lines for a terminal."""
    names = content["meta"]["names"]
    lines = [
        PROTOCOLS[content["meta"]["protocol"]].said,
        f"{names['candidate']} against {names['baseline']}",
    ]
    for iou_type in (name for name in WHAT if name in content):
        lines += _opening(content[iou_type]["asked"], iou_type)
        row, split = content[iou_type]["metrics"]["AP"], content[iou_type]["two_factor"]["0.1"]
        lines.append(f"{iou_type}  gain in AP   {_with_interval(row['gain'], row['interval'])}")
        lines += [
            f"{iou_type}  {name:12s} {_with_interval(split[name], split['interval'][name])}  (from IoU 0.1)"
            for name in ("recognition", "localization")
        ]
        lines += [band(iou_type, one) for one in content[iou_type]["by_group"]["frequency"]]
        pays = content[iou_type].get("hashtags", {}).get("sentence", "")
        for said in filter(None, (paper(content, iou_type), reading(content, iou_type), pays)):
            lines += textwrap.wrap(said, 104, initial_indent="  ", subsequent_indent="  ")
    return lines


def band(iou_type: str, row: dict[str, Any]) -> str:
    """The gain of rare, common or frequent classes, and what is known against its interval."""
    said = f"{iou_type}  {row['name']:12s} {_with_interval(row['gain'], row['interval'])}"
    said += f"  ({row['classes']} classes, median {row['images_a_class'][1]:g} test images each)"
    if off := row["uncalibrated"].get("gain"):
        said += f" uncalibrated: such intervals covered {off:.0f}%"
    return said


def _opening(opening: dict[str, Any], iou_type: str) -> list[str]:
    """AP, AP50 and AP75 of both sides with gain and relative gain."""
    return [
        f"{iou_type}  {name:5s} {plain(row['baseline'], 2):>6s} -> {plain(row['candidate'], 2):>6s}  "
        f"{signed(row['gain'], 2)}"
        + ("" if row["relative"] is None else f"  ({signed(100 * row['relative'])}%)")
        for name, row in opening["metrics"].items()
    ]


def table(content: dict[str, Any]) -> str:
    """The comparison as a plain table: verdict, all numbers, two factors, kinds of error."""
    lines = []
    for iou_type in (name for name in WHAT if name in content):
        one = content[iou_type]
        sentences = headline(content, iou_type), paper(content, iou_type), reading(content, iou_type)
        lines += [*filter(None, sentences), ""]
        lines.append(
            f"{iou_type:16s}{'baseline':>9s}{'candidate':>11s}{'gain':>8s}   {'95% interval':18s}{'p':>9s}"
        )
        for name, row in one["metrics"].items():
            numbers = "".join(
                f"{'–' if row[side] is None else format(row[side], '.2f'):>{width}s}"
                for side, width in (("baseline", 9), ("candidate", 11))
            )
            p = p_value(row["p"], one["resamples"]["p_floor"])
            lines.append(
                f"  {name:14s}{numbers}{signed(row['gain'], 2):>8s}   {span(row['interval'], 2):18s}{p:>9s}"
            )
        if said := doubt(one["metrics"]["AP"]["variance"]):
            lines += textwrap.wrap(said, 96, initial_indent="  ", subsequent_indent="  ")
        lines.append("")
        for name in ("recognition", "localization"):
            split = one["two_factor"]["0.1"]
            lines.append(f"  {name:34s}{signed(split[name], 2):>8s}   {span(split['interval'][name], 2)}")
        lines += [
            f"  {kind + ' (by oracle)':34s}{signed(share['gain'], 2):>8s}   {span(share['interval'], 2)}"
            for kind, share in one.get("attribution", {}).items()
        ]
        lines.append("")
    return "\n".join(lines + [f"note: {note}" for note in content["meta"]["notes"]]).rstrip()


def power(record: dict[str, Any] | None) -> str:
    """How large a gain has to be for this comparison to show it, as a sentence; empty where unknown."""
    if record is None:
        return ""
    runs = record["runs"]
    several = max(runs.values()) > 1
    seeds = f"{runs['baseline']} and {runs['candidate']} runs" if several else "one run a side"
    return (
        f"With {record['images']} images and {seeds}, a true gain of {record['smallest_gain']:.1f} points of "
        f"AP is told from chance {100 * record['chance']:.0f} times in a hundred, a smaller one less often."
    )


def doubt(variance: dict[str, Any]) -> str:
    """From what the standard error of the gain in AP comes, as a sentence; empty for single runs."""
    if variance["seed_variance"] is None or variance["standard_error"] is None:
        return ""
    images, runs, both = (math.sqrt(variance[name]) for name in _PARTS)
    return (
        f"The standard error of the gain in AP is {variance['standard_error']:.2f} points: {images:.2f} from "
        f"the choice of images and {runs:.2f} from the differences between runs (their squares add), less "
        f"{both:.2f} for the runs’ luck with these very images, which is in both and counts once."
    ) + "".join(
        f" The {name} has several fine-tunings of a backbone, averaged first: the standard "
        f"deviation of AP is {math.sqrt(of['between']):.2f} between backbones and "
        f"{math.sqrt(of['within']):.2f} between fine-tunings of one."
        for name, of in variance["runs"].items()
        if of["within"] is not None and of["between"] is not None
    )


def _with_interval(value: float | None, interval: list[float | None]) -> str:
    if value is None:
        return "undefined"
    return f"{signed(value, 2)} [{signed(interval[0], 2)}, {signed(interval[1], 2)}]"
