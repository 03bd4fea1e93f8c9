"""What a panel's fits say, in plain sentences; no sentence claims more than its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsl_det.core.words import equals, signed, span
from wsl_det.study.scaling import bound

ALPHA = bound.ALPHA
_METRICS = {"top1": "top-1 accuracy", "top5": "top-5 accuracy", "bbox": "box", "segm": "mask"} | {
    f"AP{iou}": f"AP at IoU {iou / 100:g}" for iou in (50, 75)
}
_PROTOCOLS = {
    "features": "linear classifier on the frozen trunk",
    "finetune": "whole network fine-tuned",
    "direct": "hashtag head as it is",
}
_OVER = {
    "test images": "95% intervals at the points are over test images (Wilson), and do not hold what another "
    "training seed would change.",
    "runs": "95% intervals at the points are Student's t over training seeds.",
    "as given": "95% intervals at some points are as the study file gives them.",
}  # fmt: skip


def metric(name: str) -> str:
    """A metric's name for an axis."""
    if "@" in name:
        kind, rank = name.split("@", 1)
        return f"{'any tag' if kind == 'recall_any' else 'share of tags'} among the {rank} best"
    return " ".join(_METRICS.get(part, part) for part in name.split())


def protocol(name: str | None) -> str:
    """A protocol in words; empty where none is known."""
    return "" if name is None else _PROTOCOLS.get(name, name)


def intervals(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the intervals of own points are over, and what it means that they share the test images."""
    own = [point for point in points if point["paper"] is None]
    if not own:
        return []
    told = [text for how, text in _OVER.items() if any(point["interval_of"] == how for point in own)]
    if not told:
        return ["No interval is known at these points: single runs, without an error over test images."]
    sets = {point["test_set"] for point in own}
    if None in sets:
        told.append("Whether all points were measured on the same test images is not recorded in every file.")
    elif len(own) > 1:
        told.append(
            "All points were measured on the same test images, so part of each error is common to all: "
            "the intervals at the points overstate how uncertain differences between them are. A comparison "
            "image by image would be sharper still; result files hold no single images."
        )
    return told


def fits(panel: Mapping[str, Any]) -> list[str]:
    """What lines were fitted and how well they fit."""
    lines = [one for one in panel["series"] if one["fit"]]
    told = [f"{one['name']}: {one['no_fit']}." for one in panel["series"] if one["no_fit"]]
    if not lines:
        return told
    scatter = panel["scatter"]
    how = "weighted least squares" if scatter["weighted"] else "least squares"
    about = "the line" if len(lines) == 1 else "all lines together"
    text = (
        f"Slopes are points per tenfold images, by {how}; their intervals come from the scatter about "
        f"{about} ({scatter['df']} degrees of freedom)"
    )
    if scatter["ratio"] is not None:
        text += f", which is {scatter['ratio']:.2f} times what independent errors from test images would give"
    told.insert(0, text + ".")
    return [*told, *_straight(lines)]


def _straight(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    bent = [one for one in lines if one["fit"]["curvature"] is not None]
    if not bent:
        return ["With fewer than four sizes a line cannot be told from a curve."]
    sure = [one for one in bent if (p := one["fit"]["curvature"]["family_p"]) is not None and p < ALPHA]
    if not sure:
        few = min(one["fit"]["sizes"] for one in bent)
        rest = f"; with {few} sizes only a strong one would" if few < 6 else ""
        return [
            f"No curvature can be told from chance (a squared term, p corrected for {len(bent)} lines){rest}."
        ]
    highest = max(one["fit"]["curvature"]["family_p"] for one in sure)
    ways = {"flatten" if one["fit"]["curvature"]["value"] < 0 else "steepen" for one in sure}
    whose = "; ".join(one["name"] for one in sure)
    if len(sure) > 2:
        whose = "all lines" if len(sure) == len(lines) else f"{len(sure)} of {len(lines)} lines"
    way = f"{whose} {min(ways)}{'s' * (len(sure) == 1)}"
    if len(ways) > 1:
        way = "some lines flatten, others steepen"
    text = f"{way} (squared term, p {equals(highest)}{' at most' * (len(sure) > 1)})"
    return [f"A straight line is not the whole story: {text}. A slope is then a mean over the sizes."]


def comparison(one: Mapping[str, Any]) -> str:
    """One sentence on a smaller and a larger capacity."""
    small, large, gap = one["smaller"], one["larger"], one["difference"]
    sure = f"({span(gap['interval'])}, p {equals(one['family_p'])})"
    by = f"{abs(gap['value']):.1f} points per tenfold {sure}"
    last = one["steps"]["smaller"]
    step = f"{signed(last['value'])} per tenfold ({span(last['interval'])})"
    why = f"its last step could be none or more than half the slope of {large}"
    if one["steps"]["larger"]["interval"][0] <= 0:
        why = f"the last step of {large} cannot be told from none either"
    detectable = one["detectable"]
    reach = f"; a true difference of {detectable:.1f} would be found four times in five" if detectable else ""
    said = {
        bound.BOUND: f"{small} is capacity-bound at these sizes: the line of {large} is steeper by {by}, and "
        f"the last step of {small}, {step}, cannot be told from none and is under half the slope of {large}.",
        bound.STEEPER: f"{large} is steeper by {by}, but {small} still gains at its last step, {step}: "
        "not bound.",
        bound.OPEN: f"{large} is steeper by {by}; whether {small} has stopped gaining is open: {why} "
        f"({small}: {step}).",
        bound.REVERSED: f"{small} is steeper than {large} by {by}: the opposite of capacity-bound.",
        bound.NOT_SHOWN: f"capacity-boundness of {small} against {large} is not shown: slopes differ "
        f"by {signed(gap['value'])} points per tenfold {sure}{reach}.",
    }
    return (f"{one['group']}: " if one["group"] else "") + said[one["verdict"]]


def mean_difference(one: Mapping[str, Any] | None, compared: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence on the difference of slopes averaged over the pairs of curves of a panel."""
    if one is None:
        return []
    groups = len({pair["group"] for pair in compared})
    small, large = compared[0]["smaller"], compared[0]["larger"]
    sure = "" if one["p"] is not None and one["p"] < ALPHA else ", which chance explains"
    return [
        f"Averaged over {groups} pairs of curves the slope of {large} differs from that of {small} by "
        f"{signed(one['value'])} points per tenfold ({span(one['interval'])}, p {equals(one['p'])}){sure}."
    ]


def answer(panels: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a study shows, a sentence for each panel of curves: do more photos help, and whom more?"""
    return [sentence for panel in panels if (sentence := _answer(panel))]


def _answer(panel: Mapping[str, Any]) -> str:
    ends = [one["fit"]["slope"]["interval"] for one in panel["series"] if one["fit"] and not one["paper"]]
    if not ends:
        return ""
    up, down, every = sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends), len(ends)
    if every in (up, down):
        text = f"more photos {'help' if up else 'hurt'}"
    else:
        text = f"more photos help on {up} of {every} curves" if up else "that more photos help is not shown"
        text += f", and on {down} of {every} curves they hurt" if down else ""
    verdicts = {one["verdict"] for one in panel["comparisons"]}
    if bound.BOUND in verdicts:
        text += "; the smaller trunk cannot use them as the larger one does (it is capacity-bound)"
    elif verdicts & {bound.STEEPER, bound.OPEN}:
        text += "; they help the larger trunk more"
    elif bound.REVERSED in verdicts:
        text += "; they help the smaller trunk more"
    elif verdicts:
        text += "; that they help a larger trunk more is not shown"
    return f"{panel['title'][:1].upper()}{panel['title'][1:]}, {panel['axis']}: {text}."
