"""The table of capacities by pretraining sets: AP and AP@50 of many detectors, grouped by trunk.

As the detection figure of Mahajan et al. (ECCV 2018, figure 6), drawn as the bars of a scaling study. A
small YAML lists the result files:

    title: What hashtags buy at each capacity
    entries:
      - {trunk: X-101-32x8d, pretraining: IN-1k, results: [a/results.json, b/results.json]}
      - {trunk: X-101-32x8d, pretraining: IG-940M, results: c/results.json}

Several files of an entry are runs with different training seeds. Trunks and pretraining sets stand in
the order of their first mention; gains are over the first pretraining set that a trunk has.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from wsl_det.core import files, pages, provenance
from wsl_det.errors import ConfigError, DataError
from wsl_det.study import fields
from wsl_det.study.fields import Files, Text
from wsl_det.study.scaling import content as scaling
from wsl_det.study.scaling import layout, points, results
from wsl_det.study.scaling.points import Point

SCHEMA = 1
METRICS = ("AP", "AP50")
_FORM = "a title and a list of entries {trunk, pretraining, results}"


class Entry(msgspec.Struct, frozen=True):
    """One detector: its trunk, what it was pretrained on, and ``files``, the results.json of its runs."""

    trunk: Text
    pretraining: Text
    results: Files
    files: tuple[Path, ...] = ()


class _File(msgspec.Struct):
    entries: list[Any]
    title: Text = "AP by trunk and pretraining set"


def read(path: str | Path) -> tuple[str, list[Entry]]:
    """Title and entries of a YAML file; relative paths start at that file's folder.

    Raises ConfigError naming the entry for whatever cannot be meant.
    """
    top = fields.section(fields.read(path, "list of entries", _FORM), _File, str(path))
    if not top.entries:
        raise ConfigError(f"{path}: expected {_FORM}")
    return top.title, [
        _entry(row, f"{path}: entry {i}", Path(path).parent) for i, row in enumerate(top.entries)
    ]


def _entry(row: Any, where: str, folder: Path) -> Entry:
    entry = fields.section(row, Entry, where, files=())
    return msgspec.structs.replace(entry, files=fields.files(entry.results, folder))


def write(title: str, entries: Sequence[Entry], folder: Path) -> Path:
    """Write capacities.json, .html, and a figure of each IoU type as SVG and PNG; the page's path.

    Raises what ``collect`` raises, before anything is written.
    """
    content = collect(title, entries)
    page, drawn = render(content)
    files.write_json(folder / "capacities.json", content)
    for name, figure in drawn.items():
        figure.write(folder / f"capacities_{name}")
    files.write_text(folder / "capacities.html", page)
    return folder / "capacities.html"


def collect(title: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """The content of capacities.json.

    For each IoU type that every file has: the mean over the runs of AP and AP50 in percent, the runs
    themselves, and the gain over the trunk's first pretraining set. Raises DataError for files that
    are no results or were made for different ground truths, ConfigError for what stands in two entries.
    """
    points.check_files_once([(f"entry {i}", entry.files) for i, entry in enumerate(entries)])
    named = [(entry.trunk, entry.pretraining) for entry in entries]
    twice = next((one for one in named if named.count(one) > 1), None)
    if twice:
        raise ConfigError(f"two entries both hold {' with '.join(twice)}; put runs into one list")
    read_in = {path: results.read(path) for entry in entries for path in entry.files}
    points.check_one_test_set([(str(p), results.test_set(tree)) for p, tree in read_in.items()], "AP")
    shared = [name for name in results.IOU_TYPES if all(results.at(t, name) for t in read_in.values())]
    if not shared:
        raise DataError("the result files share neither bbox nor segm; there is nothing to compare")
    made_from: dict[str, str | Path | None] = {str(path): path for path in read_in}
    content: dict[str, Any] = {"title": title}
    content |= {name: _rows(entries, read_in, name) for name in shared}
    return content | {"meta": provenance.header("capacities", SCHEMA, made_from)}


def render(content: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The page of capacities.json's content, and its figures."""
    from wsl_det.study.scaling import figures  # matplotlib takes a second to load

    drawn = {}
    for name in (one for one in results.IOU_TYPES if one in content):
        shown = [
            Point("", f"{name} {metric}", row["trunk"], row[metric]["mean"], pretraining=row["pretraining"],
                  runs=tuple(row[metric]["runs"]))
            for metric in METRICS for row in content[name] if row[metric]["mean"] is not None
        ]  # fmt: skip
        bars = scaling.finished(layout.figure("pretraining", shown, [], {}))
        drawn[name] = figures.draw({"figures": [bars]})[0]
    page = pages.load("capacities.html", Path(__file__).parent)
    return page.render(content=content, figures=drawn), drawn


def _rows(entries: Sequence[Entry], read_in: Mapping[Path, Any], iou_type: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for entry in entries:
        row: dict[str, Any] = {"trunk": entry.trunk, "pretraining": entry.pretraining}
        base = next((one for one in rows if one["trunk"] == entry.trunk), row)
        for metric in METRICS:
            runs = [_number(read_in[path], f"{iou_type} {metric}", path) for path in entry.files]
            known = [value for value in runs if value is not None]
            # A mean over some of the runs would be another quantity than the one beside it.
            mean = statistics.mean(known) if len(known) == len(runs) else None
            row[metric] = {"mean": mean, "runs": runs}
            start = base[metric]["mean"]
            known_pair = base is not row and mean is not None and start is not None
            row[metric]["gain"] = mean - start if known_pair else None
        rows.append(row)
    return rows


def _number(tree: Mapping[str, Any], metric: str, path: Path) -> float | None:
    """A number in percent; None where the file says that nothing was there to score."""
    iou_type, name = metric.split()
    if name in tree[iou_type] and tree[iou_type][name] is None:
        return None
    return results.number(tree, metric, path).value
