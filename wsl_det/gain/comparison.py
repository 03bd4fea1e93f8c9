"""Two sides against each other: levels 1 to 3 of docs/method.md as the records of gain.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsl_det.evaluation.match_table import COCO_THRESHOLDS, MatchTable
from wsl_det.gain import (
    answer,
    attribution,
    bands,
    estimates,
    factors,
    groups,
    measures,
    mends,
    power,
    resamples,
)
from wsl_det.gain.estimates import Estimate, number
from wsl_det.gain.mends import KINDS
from wsl_det.gain.side import Numbers, Side, Statistic, mended, of_runs, scores

SHOWN_KINDS = ("classification", "localization", "duplicate", "background", "missed")
ANCHORS = ("0.1", "0.3", "0.5")
FEWEST_IMAGES = 8
"""Images with objects of a class under which its resamples hardly vary and an interval would mislead."""


@dataclass(frozen=True)
class Options:
    """How much chance to draw: resamples of images for levels 1 and 2, for level 3, and the seed.

    With ``attribution_bootstrap`` 0 level 3 is left out.
    """

    bootstrap: int = 1000
    attribution_bootstrap: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """Numbers of baseline and candidate that statistics are taken of; widen as from ``widening``."""

    a: Numbers
    b: Numbers
    images: int
    widen: float

    def estimate(
        self,
        statistic: Statistic,
        *,
        seen_in: Mapping[int, int] | None = None,
        widen: Sequence[float] | None = None,
    ) -> list[Estimate]:
        """One estimate for each row that ``statistic`` makes of two columns (S, B).

        ``seen_in`` asks for t intervals in its rows, of single classes, each with as many images. ``widen``
        stands row by row for the pair's.
        """
        points = statistic(self.a.mean[:, None], self.b.mean[:, None])[:, 0]
        replicates = statistic(self.a.replicates, self.b.replicates)
        of_a = of_runs(self.a, self.b, statistic)
        of_b = of_runs(self.b, self.a, lambda run, other: statistic(other, run))
        seen_in = seen_in or {}
        return [
            estimates.estimate(
                float(points[i]), replicates[i], of_a[i], of_b[i],
                seen_in.get(i, self.images), normal=i in seen_in,
                widen=1.0 if i in seen_in else widen[i] if widen else self.widen,
            )
            for i in range(len(points))
        ]  # fmt: skip


def compare(baseline: Side, candidate: Side, options: Options, track: measures.Progress) -> dict[str, Any]:
    """The record of one IoU type in gain.json, and under "resamples" what was undefined in them."""
    table = baseline.tables[0]
    layout = measures.Layout(table)
    weights = resamples.multiplicities(table.num_images, options.bootstrap, options.seed)
    seen_in = groups.images_of_classes(table)
    a, b = scores(baseline, weights, track), scores(candidate, weights, track)
    of_classes = b.replicates[layout.classes] - a.replicates[layout.classes]
    widen = estimates.widening(of_classes, seen_in, table.num_images)
    pair = Pair(a, b, table.num_images, widen)
    both = (layout.classes, layout.classes_at_50)
    rows = {one.start + k: int(seen_in[k]) for one in both for k in range(table.num_classes)}
    gains = pair.estimate(lambda a, b: b - a, seen_in=rows)
    by_band = bands.by_frequency(a, b, layout, table, options.seed)
    for metric, letter in table.protocol.bands.items():
        for row, parts in by_band:
            if bands.BANDS[row["name"]] == letter:
                gains[layout.metrics[metric]] = parts[0]
    record: dict[str, Any] = {
        "metrics": {
            name: _row(pair, gains, i)
            | {"p": number(gains[i].p)}
            | {"variance": estimates.summary(gains[i]) | {"runs": _between_and_within(pair, i)}}
            for name, i in layout.metrics.items()
        },
        "curve": _curve(pair, gains, layout),
        "two_factor": {tau: _two_factor(pair, layout, tau) for tau in ANCHORS},
        "by_class": _by_class(pair, gains, layout, table, seen_in),
        "by_group": {
            "size": [one | _row(pair, gains, layout.metrics[one["metric"]]) for one in groups.sizes(table)],
            "frequency": [row for row, _ in by_band],
        },
        "power": power.power(
            gains[layout.metrics["AP"]], table.num_images, (len(baseline.units), len(candidate.units))
        ),
        "resamples": {
            "widened": widen,
            "p_floor": _floor(pair, options.bootstrap),
            "class_absent": _absent(pair, layout, table),
            "two_factor_undefined": {tau: _undefined(pair, layout, tau) for tau in ANCHORS},
        },
    }
    if options.attribution_bootstrap:
        few = resamples.multiplicities(table.num_images, options.attribution_bootstrap, options.seed)
        overlap = mends.foreground([*baseline.pairs, *candidate.pairs])
        sides = mended(baseline, few, overlap), mended(candidate, few, overlap)
        oracles = Pair(*sides, table.num_images, widen)
        record["attribution"] = _attribution(oracles)
        shares = attribution.shares(oracles.a.replicates, oracles.b.replicates)
        record["resamples"]["attribution_undefined"] = int(np.isnan(shares[0]).sum())
    return record


def _floor(pair: Pair, num_resamples: int) -> float:
    """The least p of a metric by percentiles; 0 where it is by Student's t."""
    runs = len(pair.a.of_runs) + len(pair.b.of_runs)
    return 0.0 if runs > 2 else estimates.floor(num_resamples, pair.images, pair.widen)


def _row(pair: Pair, gains: list[Estimate], i: int) -> dict[str, Any]:
    return {
        "baseline": number(pair.a.mean[i]),
        "candidate": number(pair.b.mean[i]),
        "gain": number(gains[i].point),
        "interval": gains[i].record(),
    }


def _between_and_within(pair: Pair, i: int) -> dict[str, dict[str, float | None]]:
    """Of each side the variance between its runs and, where backbones have several, that within them."""
    found = {}
    for name, one in (("baseline", pair.a), ("candidate", pair.b)):
        between = number(np.var(one.of_runs[:, i], ddof=1)) if len(one.of_runs) > 1 else None
        within = None if one.within is None else number(one.within[i])
        found[name] = {"between": between, "within": within}
    return found


def _curve(pair: Pair, gains: list[Estimate], layout: measures.Layout) -> list[dict[str, Any]]:
    rows = []
    for iou, i in zip(COCO_THRESHOLDS, range(layout.curve.start, layout.curve.stop), strict=True):
        row = _row(pair, gains, i)
        relative = answer.relative(row["baseline"], row["gain"])
        rows.append({"iou": round(float(iou), 2)} | row | {"relative": relative})
    return rows


def _two_factor(pair: Pair, layout: measures.Layout, tau: str) -> dict[str, Any]:
    at = [layout.metrics["AP"], layout.anchors[tau]]

    def statistic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.stack(factors.two_factors(a[at[0]], a[at[1]], b[at[0]], b[at[1]]))

    names = ("recognition", "localization")
    parts = dict(zip(names, pair.estimate(statistic), strict=True))
    record: dict[str, Any] = {name: number(part.point) for name, part in parts.items()}
    record["interval"] = {name: part.record() for name, part in parts.items()}
    record["anchor"] = {"baseline": number(pair.a.mean[at[1]]), "candidate": number(pair.b.mean[at[1]])}
    if math.isnan(parts["recognition"].point):
        record["reason"] = "an AP or AP@tau of a side is 0 or undefined, so ratios do not exist"
    return record


def _undefined(pair: Pair, layout: measures.Layout, tau: str) -> int:
    at = [layout.metrics["AP"], layout.anchors[tau]]
    replicates = np.concatenate([pair.a.replicates[at], pair.b.replicates[at]])
    return int((~(replicates > 0).all(axis=0)).sum())


def _attribution(oracles: Pair) -> dict[str, Any]:
    parts = dict(zip(KINDS, oracles.estimate(attribution.shares), strict=True))
    burdens = [attribution.burdens(side.mean[:, None])[:, 0] for side in (oracles.a, oracles.b)]
    record: dict[str, Any] = {}
    for kind in SHOWN_KINDS:
        at = KINDS.index(kind)
        record[kind] = {
            "gain": number(parts[kind].point),
            "interval": parts[kind].record(),
            "burden": {"baseline": number(burdens[0][at]), "candidate": number(burdens[1][at])},
        }
        if record[kind]["gain"] is None:
            record[kind]["reason"] = "an AP of a side is 0 or undefined, so logarithms do not exist"
    return record


def _by_class(
    pair: Pair, gains: list[Estimate], layout: measures.Layout, table: MatchTable, seen_in: np.ndarray
) -> list[dict[str, Any]]:
    enough = seen_in >= FEWEST_IMAGES
    p_values = np.where(enough, [gain.p for gain in gains[layout.classes]], np.nan)
    adjusted = estimates.false_discovery(p_values)
    objects = np.bincount(table.object_class[table.counts[0]], minlength=table.num_classes)
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(table.class_names):
        rows.append(
            {"name": str(name), "category_id": int(table.category_ids[k])}
            | {"objects": int(objects[k]), "images": int(seen_in[k])}
            | _row(pair, gains, layout.classes.start + k)
            | {"p": number(p_values[k]), "p_adjusted": number(adjusted[k])}
            | {"AP50": _row(pair, gains, layout.classes_at_50.start + k)}
        )
        if not enough[k]:
            rows[-1] |= {"interval": [None, None], "AP50": rows[-1]["AP50"] | {"interval": [None, None]}}
    return rows


def _absent(pair: Pair, layout: measures.Layout, table: MatchTable) -> int:
    """Cases of a class that has objects but none in a resample, where it is left out for both sides."""
    objects = np.bincount(table.object_class[table.counts[0]], minlength=table.num_classes)
    return int(np.isnan(pair.a.replicates[layout.classes][objects > 0]).sum())
