"""The content of scaling.json: figures, panels, series, points, with fits and comparisons; its page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wsl_det.core import files, pages, provenance
from wsl_det.core.words import short
from wsl_det.gain.estimates import holm, t_quantile
from wsl_det.study.scaling import bound, fit, layout, words
from wsl_det.study.scaling.entries import Study
from wsl_det.study.scaling.fit import Observed
from wsl_det.study.scaling.points import by_width

SCHEMA = 1
_BAND = 33


def write(study: Study, folder: Path) -> tuple[Path, list[str]]:
    """Write scaling.json, .html, and each figure as SVG and PNG; the page's path and what it says.

    Raises what ``collect`` raises, before anything is written.
    """
    from wsl_det.study.scaling import figures  # matplotlib takes a second to load

    content = collect(study)
    drawn = figures.draw(content)
    page = render(content, drawn)
    files.write_json(folder / "scaling.json", content)
    for i, (figure, one) in enumerate(zip(content["figures"], drawn, strict=True), 1):
        one.write(folder / f"scaling_{i}_{figure['kind']}")
    files.write_text(folder / "scaling.html", page)
    panels = [panel for figure in content["figures"] for panel in figure["panels"]]
    told = [f"{panel['title']}, {panel['axis']}: {text}" for panel in panels for text in panel["words"]]
    return folder / "scaling.html", told


def render(content: Mapping[str, Any], drawn: Sequence[Any]) -> str:
    """The page of scaling.json's content with its figures' drawings."""
    page = pages.load("page.html", Path(__file__).parent, protocol=words.protocol)
    return page.render(content=content, pictures=drawn)


def collect(study: Study) -> dict[str, Any]:
    """Everything that page and figures show; percent and log10(images).

    Raises what ``points.gather`` and ``layout.figures`` raise.
    """
    figures = [finished(figure) for figure in layout.figures(study)]
    used = {str(path): path for entry in study.entries for path in entry.files}
    meta = provenance.header("scaling study", SCHEMA, used)
    curves = [panel for figure in figures if figure["kind"] == "images" for panel in figure["panels"]]
    return {"title": study.title, "answer": words.answer(curves), "figures": figures, "meta": meta}


def finished(figure: dict[str, Any]) -> dict[str, Any]:
    """A figure of ``layout`` with fits, comparisons and words, its points as dicts."""
    return figure | {"panels": [_panel(figure["kind"], panel) for panel in figure["panels"]]}


def _panel(kind: str, panel: dict[str, Any]) -> dict[str, Any]:
    record = panel | {"axis": words.metric(panel["metric"]), "series": []}
    record |= {"scatter": None, "comparisons": [], "mean_difference": None}
    for one in panel["series"]:
        points = one["points"]
        if kind not in layout.BARS:
            order = panel["order"].index if panel["order"] else float
            points = sorted(points, key=lambda point: order(getattr(point, kind)))
        record["series"].append(one | {"points": points, "fit": None, "no_fit": None})
    if kind == "images":
        record |= _fitted(record["series"])
    every = []
    for one in record["series"]:
        one["points"] = [
            {"place": layout.place(kind, point, panel), "size": point.images and short(point.images)}
            | {key: value for key, value in asdict(point).items() if key != "errors"}
            for point in one["points"]
        ]
        every += one["points"]
    record["words"] = [words.comparison(one) for one in record["comparisons"]]
    record["words"] += words.mean_difference(record["mean_difference"], record["comparisons"])
    record["notes"] = [*words.intervals(every), *words.fits(record)]
    return {key: value for key, value in record.items() if key not in ("varying", "labels")}


def _fitted(series: list[dict[str, Any]]) -> dict[str, Any]:
    """Fits into ``series``; scatter, comparisons and their mean for the panel."""
    chosen = [one for one in series if not one["paper"]]
    weighted = all(error for one in chosen for point in one["points"] for error in point.errors)
    kept, seen = [], []
    for one in chosen:
        had = _observed(one, weighted)
        if had.sizes >= fit.LEAST_SIZES:
            kept.append(one)
            seen.append(had)
        else:
            sizes = f"{had.sizes} size{'s' * (had.sizes > 1)}"
            one["no_fit"] = f"{sizes}, no line is fitted under {fit.LEAST_SIZES}"
    if not kept:
        return {}
    lines, scatter = fit.together(seen)
    curved = fit.curvatures(seen)
    family = holm([one.p if one else None for one in curved])
    for one, line, had, bent, p in zip(kept, lines, seen, curved, family, strict=True):
        one["fit"] = _line(line, scatter, had, weighted)
        one["fit"]["curvature"] = bent and asdict(bent) | {"family_p": p}
    groups = _groups(kept, seen)
    order = by_width(point.capacity for one in series for point in one["points"])
    comparisons, mean = bound.compare(list(groups.values()), order)
    names = [name if len(groups) > 1 else "" for name in groups]
    return {
        "scatter": {"points": None, "ratio": None, "df": scatter.df, "weighted": weighted}
        | {"ratio" if weighted else "points": math.sqrt(scatter.variance)},
        "comparisons": [
            asdict(one)
            | {"group": names[one.group], "verdict": one.verdict}
            | {"steps": dict(zip(("smaller", "larger"), map(asdict, one.steps), strict=True))}
            for one in comparisons
        ],
        "mean_difference": mean and asdict(mean),
    }


def _observed(one: Mapping[str, Any], weighted: bool) -> Observed:
    rows = [
        (math.log10(point.images), value, 1 / error**2 if weighted else 1.0)
        for point in one["points"]
        for value, error in zip(point.runs, point.errors, strict=True)
    ]
    return Observed(*np.array(rows, float).T)


def _line(line: fit.Solved, scatter: fit.Scatter, seen: Observed, weighted: bool) -> dict[str, Any]:
    x = np.linspace(seen.x.min(), seen.x.max(), _BAND)
    bounds = zip(("log10_images", "value", "low", "high"), (x, *fit.band(line, x, scatter)), strict=True)
    slope, factor = line.at(1)
    alone = math.sqrt(factor) * t_quantile(0.975, math.inf)
    return {
        "intercept": line.at(0)[0],
        "slope": asdict(scatter.estimate(slope, factor)),
        "a_doubling": math.log10(2) * slope,
        "covariance": (scatter.variance * line.factors).tolist(),
        "sizes": seen.sizes,
        "observations": len(seen.x),
        "slope_interval_if_errors_were_independent": [slope - alone, slope + alone] if weighted else None,
        "band": {name: values.tolist() for name, values in bounds},
    }


def _groups(kept: Sequence[Mapping[str, Any]], seen: Sequence[Observed]) -> dict[str, dict[str, Observed]]:
    """Lines that differ in capacity alone, together, by what the groups are called."""
    groups: dict[str, dict[str, Observed]] = {}
    for one, observed in zip(kept, seen, strict=True):
        capacity = one["points"][0].capacity
        groups.setdefault(one["name"].removeprefix(capacity).removeprefix(", "), {})[capacity] = observed
    return groups
