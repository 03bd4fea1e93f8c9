"""The content of scaling.json: figures, panels, series and points, with fits and comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wsl_det.core import provenance
from wsl_det.study.scaling import bound, fit, layout, words
from wsl_det.study.scaling.bound import Comparison
from wsl_det.study.scaling.entries import Study
from wsl_det.study.scaling.fit import Estimate, Observed
from wsl_det.study.scaling.layout import Figure, Panel, Series
from wsl_det.study.scaling.points import Point, by_width, short

SCHEMA = 1
_BAND = 33


def collect(study: Study) -> dict[str, Any]:
    """Everything that page and figures show; percent and log10(images).

    Raises what ``points.gather`` and ``layout.figures`` raise.
    """
    found = [_figure(figure) for figure in layout.figures(study)]
    made_from: dict[str, str | Path | None] = {
        str(path): path for entry in study.entries for path in entry.results
    }
    meta = provenance.header("scaling study", SCHEMA, made_from)
    return {"title": study.title, "figures": found, "meta": meta}


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "kind": figure.kind,
        "title": figure.title,
        "colours": list(figure.colours),
        "dashes": list(figure.dashes),
        "sources": list(figure.sources),
        "panels": [_panel(figure.kind, panel) for panel in figure.panels],
    }


def _panel(kind: str, panel: Panel) -> dict[str, Any]:
    series: list[dict[str, Any]] = [
        {
            "name": one.name,
            "colour": one.colour,
            "dash": one.dash,
            "paper": one.paper,
            "points": [_point(point, panel) for point in _sorted(kind, one, panel.order)],
            "fit": None,
            "no_fit": None,
        }
        for one in panel.series
    ]
    record: dict[str, Any] = {
        "title": panel.title,
        "metric": panel.metric,
        "axis": words.metric(panel.metric),
        "protocol": panel.protocol,
        "paper": panel.paper,
        "order": list(panel.order),
        "series": series,
        "scatter": None,
        "comparisons": [],
        "mean_difference": None,
    }
    if kind == "images":
        record |= _fitted(panel, series)
    every = [point for one in series for point in one["points"]]
    record["words"] = [
        *[words.comparison(one) for one in record["comparisons"]],
        *words.mean_difference(record["mean_difference"], record["comparisons"]),
    ]
    record["notes"] = [*words.intervals(every), *words.fits(record)]
    return record


def _sorted(kind: str, one: Series, order: Sequence[str]) -> list[Point]:
    if kind == "capacity":
        return sorted(one.points, key=lambda point: order.index(point.capacity))
    if kind in layout.BARS:
        return list(one.points)
    return sorted(one.points, key=lambda point: getattr(point, kind))


def _point(point: Point, panel: Panel) -> dict[str, Any]:
    record = asdict(point)
    record.pop("errors")
    size = None if point.images is None else short(point.images)
    return {"place": panel.places[point], "size": size} | record


def _fitted(panel: Panel, series: list[dict[str, Any]]) -> dict[str, Any]:
    """Fits into ``series``; scatter, comparisons and their mean for the panel."""
    chosen = [i for i, one in enumerate(panel.series) if not one.paper]
    weighted = all(error for i in chosen for point in panel.series[i].points for error in point.errors)
    seen = {i: _observed(panel.series[i], weighted) for i in chosen}
    for i in chosen:
        if seen[i].sizes < fit.LEAST_SIZES:
            series[i]["no_fit"] = (
                f"{seen[i].sizes} size{'s' * (seen[i].sizes > 1)}, no line is fitted under {fit.LEAST_SIZES}"
            )
    kept = [i for i in chosen if series[i]["no_fit"] is None]
    if not kept:
        return {}
    lines, scatter = fit.together([seen[i] for i in kept])
    curved = fit.curvatures([seen[i] for i in kept])
    family = fit.holm([one.p if one else None for one in curved])
    for i, line, bent, p in zip(kept, lines, curved, family, strict=True):
        series[i]["fit"] = _line(line, scatter, seen[i], curved=(bent, p), weighted=weighted)
    groups, names = _groups(panel, {i: seen[i] for i in kept})
    order = by_width(point.capacity for one in panel.series for point in one.points)
    comparisons, mean = bound.compare(groups, order)
    return {
        "scatter": {
            "points": math.sqrt(scatter.variance) if not weighted else None,
            "ratio": math.sqrt(scatter.variance) if weighted else None,
            "df": scatter.df,
            "weighted": weighted,
        },
        "comparisons": [_comparison(one, names) for one in comparisons],
        "mean_difference": None if mean is None else asdict(mean),
    }


def _observed(one: Series, weighted: bool) -> Observed:
    rows = [
        (math.log10(point.images or 1), value, 1 / error**2 if weighted and error else 1.0)
        for point in one.points
        for value, error in zip(point.runs, point.errors, strict=True)
    ]
    x, y, w = np.array(rows, float).T
    return Observed(x, y, w)


def _line(
    line: fit.Line,
    scatter: fit.Scatter,
    seen: Observed,
    *,
    curved: tuple[Estimate | None, float | None],
    weighted: bool,
) -> dict[str, Any]:
    bent, family_p = curved
    slope = scatter.estimate(line.slope, line.slope_factor)
    x = np.linspace(seen.x.min(), seen.x.max(), _BAND)
    value, low, high = line.band(x, scatter)
    alone = math.sqrt(line.slope_factor) * 1.959963984540054
    return {
        "intercept": line.intercept,
        "slope": asdict(slope),
        "a_doubling": words.DOUBLING * line.slope,
        "covariance": line.covariance(scatter),
        "sizes": seen.sizes,
        "observations": len(seen.x),
        "slope_interval_if_errors_were_independent": [line.slope - alone, line.slope + alone]
        if weighted
        else None,
        "curvature": None if bent is None else asdict(bent) | {"family_p": family_p},
        "band": {
            "log10_images": x.tolist(),
            "value": value.tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
        },
    }


def _groups(panel: Panel, seen: Mapping[int, Observed]) -> tuple[list[dict[str, Observed]], list[str]]:
    """Lines that differ in capacity alone, together; and what the groups are called."""
    groups: dict[Any, dict[str, Observed]] = {}
    names: dict[Any, str] = {}
    for i, observed in seen.items():
        point = panel.series[i].points[0]
        key = (point.vocabulary, point.sampling, point.noise, point.pretraining)
        groups.setdefault(key, {})[point.capacity] = observed
        names[key] = panel.series[i].name.removeprefix(point.capacity).removeprefix(", ")
    return list(groups.values()), [name if len(groups) > 1 else "" for name in names.values()]


def _comparison(one: Comparison, names: Sequence[str]) -> dict[str, Any]:
    small, large = one.steps
    return {
        "group": names[one.group],
        "smaller": one.smaller,
        "larger": one.larger,
        "sizes": one.sizes,
        "difference": asdict(one.difference),
        "family_p": one.family_p,
        "steps": {"smaller": asdict(small), "larger": asdict(large)},
        "df": one.df,
        "detectable": one.detectable,
        "larger_slope": one.larger_slope,
        "verdict": one.verdict,
    }
