"""The table of capacities by pretraining sets: AP and AP@50 of many detectors, grouped by trunk.

As the detection figure of Mahajan et al. (ECCV 2018, figure 6). A small YAML lists the result files:

    title: What hashtags buy at each capacity
    entries:
      - {trunk: X-101-32x8d, pretraining: IN-1k, results: [a/results.json, b/results.json]}
      - {trunk: X-101-32x8d, pretraining: IG-940M, results: c/results.json}

Several files of an entry are runs with different training seeds. Trunks and pretraining sets stand in
the order of their first mention; gains are over the first pretraining set that a trunk has.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wsl_det.core import files, provenance
from wsl_det.errors import ConfigError, DataError
from wsl_det.study.fields import Fields

SCHEMA = 1
IOU_TYPES = ("bbox", "segm")
METRICS = ("AP", "AP50")


@dataclass(frozen=True)
class Entry:
    """One detector: its trunk, what it was pretrained on, and the results.json of each of its runs."""

    trunk: str
    pretraining: str
    results: tuple[Path, ...]


def read(path: str | Path) -> tuple[str, list[Entry]]:
    """Title and entries of a YAML file; relative paths start at that file's folder.

    Raises ConfigError naming the entry for whatever cannot be meant.
    """
    path = Path(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("entries"), list) or not tree["entries"]:
        raise ConfigError(f"{path}: expected a title and a list of entries {{trunk, pretraining, results}}")
    top = Fields(tree, str(path))
    title = top.text("title", "AP by trunk and pretraining set")
    rows = [row if isinstance(row, dict) else {"entry": row} for row in top.any("entries")]
    top.done()
    return title, [_entry(Fields(row, f"{path}: entry {i}"), path.parent) for i, row in enumerate(rows)]


def _entry(fields: Fields, folder: Path) -> Entry:
    given = fields.any("results")
    listed = given if isinstance(given, list) else [given]
    if not listed or not all(isinstance(name, str) and name for name in listed):
        raise fields.wrong("results", given, "a results.json, or a list of them")
    entry = Entry(fields.text("trunk"), fields.text("pretraining"), tuple(folder / name for name in listed))
    fields.done()
    return entry


def collect(title: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """The content of capacities.json.

    For each IoU type that every file has: the mean over the runs of AP and AP50 in percent, the runs
    themselves, and the gain over the trunk's first pretraining set. Raises DataError for files that
    are no results, were made for different ground truths, or stand in two entries.
    """
    _check_once(entries)
    read_in = {path: _read(path) for entry in entries for path in entry.results}
    _check_one_ground_truth(read_in)
    shared = [name for name in IOU_TYPES if all(isinstance(r.get(name), dict) for r in read_in.values())]
    if not shared:
        raise DataError("the result files share neither bbox nor segm; there is nothing to compare")
    made_from: dict[str, str | Path | None] = {str(path): path for path in read_in}
    content: dict[str, Any] = {"title": title}
    for name in shared:
        content[name] = _rows(entries, {path: results[name] for path, results in read_in.items()})
    return content | {"meta": provenance.header("capacities", SCHEMA, made_from)}


def in_order(values: Iterable[str]) -> list[str]:
    """Different values, in the order of their first mention."""
    return list(dict.fromkeys(values))


def _rows(entries: Sequence[Entry], results: Mapping[Path, Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for entry in entries:
        row: dict[str, Any] = {"trunk": entry.trunk, "pretraining": entry.pretraining}
        for metric in METRICS:
            runs = [_number(results[path], metric, path) for path in entry.results]
            known = [value for value in runs if value is not None]
            # A mean over some of the runs would be another quantity than the one beside it.
            mean = statistics.mean(known) if len(known) == len(runs) else None
            row[metric] = {"mean": mean, "runs": runs}
        rows.append(row)
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        base = first.setdefault(row["trunk"], row)
        for metric in METRICS:
            pair = (base[metric]["mean"], row[metric]["mean"])
            known_pair = row is not base and None not in pair
            row[metric]["gain"] = pair[1] - pair[0] if known_pair else None
    return rows


def _read(path: Path) -> dict[str, Any]:
    results = files.read_json(path, "results file")
    if not isinstance(results, dict) or not any(name in results for name in IOU_TYPES):
        raise DataError(f"{path} is no results.json: expected an object with bbox or segm")
    return results


def _number(results: Mapping[str, Any], metric: str, path: Path) -> float | None:
    value = results.get(metric)
    if value is None and metric in results:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise DataError(f"{path}: {metric} is {value!r:.60}; expected a percentage or null")
    return float(value)


def _check_once(entries: Sequence[Entry]) -> None:
    seen: dict[str, int] = {}
    for i, entry in enumerate(entries):
        mine = [f"{entry.trunk} with {entry.pretraining}", *(str(path.resolve()) for path in entry.results)]
        if len(set(mine)) < len(mine):
            raise ConfigError(f"entry {i} lists a results file twice")
        for what in mine:
            if what in seen:
                raise ConfigError(f"entries {seen[what]} and {i} both hold {what}; put runs into one list")
        seen |= dict.fromkeys(mine, i)


def _check_one_ground_truth(read_in: Mapping[Path, Mapping[str, Any]]) -> None:
    known: dict[str, Path] = {}
    for path, results in read_in.items():
        source = results
        for key in ("meta", "made_from", "gt", "sha256"):
            source = source.get(key, {}) if isinstance(source, Mapping) else {}
        if isinstance(source, str):
            known.setdefault(source, path)
    if len(known) > 1:
        first, second = list(known.values())[:2]
        raise DataError(
            f"{first} and {second} were evaluated on different annotation files; a table of both would "
            "compare test sets, not detectors"
        )
