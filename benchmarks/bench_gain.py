"""Does the gain report find what was planted? Mixtures of five causes, whose truth is known.

python benchmarks/bench_gain.py --choose       rules of targets on the 60 mixtures for choosing
python benchmarks/bench_gain.py --write        the chosen rule on the 60 for reporting, looked at once; and
                                               the table that the report reads, wsl_det/gain/method_error.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import mixtures
from benchmarks.mixtures import CAUSES, Mixture
from benchmarks.simulation import Detector
from wsl_det.core import files, log
from wsl_det.evaluation import matching, metrics
from wsl_det.evaluation.match_table import FIRST_COCO
from wsl_det.gain import attribution, factors, mends, side
from wsl_det.gain.pairs import ImagePairs

SETS = {"choosing": 0, "reporting": 100_000}
"""First seeds of the two sets."""
NUMBER, WITHOUT_LOCALIZATION = 60, 20
RULES: dict[str, tuple[float | None, float]] = {
    "0.1 for all": (0.1, 0.1),
    "0.3 for all": (0.3, 0.3),
    "0.2, other classes 0.3": (0.2, 0.3),
    "as tight as the boxes are": (None, mends.OTHER_CLASS),
}
"""Least overlaps of targets, of the own class and of others: first what was there, last the report's own."""
LEVELS = ("two factors 0.1", "two factors 0.3", "two factors 0.5", "attribution")
LOCALIZATION = CAUSES.index("localization")
BOUNDS = (10.0, 25.0)
TABLE = Path(__file__).parents[1] / "wsl_det" / "gain" / "method_error.json"


@dataclass(frozen=True)
class Found:
    """A mixture's truth (5,) and what the levels make of it, in points of AP by ``CAUSES``.

    localization: of ``LEVELS``. kinds: (5,) of level 3, alone: cause -> (5,) with that cause planted alone.
    """

    base: float
    gain: float
    gain_at_50: float
    truth: np.ndarray
    localization: np.ndarray
    kinds: np.ndarray
    alone: dict[str, np.ndarray]


def mixture(name: str, i: int) -> Mixture:
    """The ``i``-th of 60: base AP in turns, a third of the seeds with scores that follow IoU."""
    return mixtures.draw(SETS[name] + i, i % 3, localization=i >= WITHOUT_LOCALIZATION)


def examine(one: Mixture, rules: Sequence[str], *, alone: bool = False) -> dict[str, Found]:
    """What the levels find of a mixture, by rule."""
    truth = one.truth()
    sides = [_side(one, one.base), _side(one, one.detector())]
    measured = [metrics.measure(each.tables[0]) for each in sides]
    ap = [float(each.metrics["AP"][0]) for each in measured]
    split = [
        float(factors.two_factors(ap[0], measured[0].by_iou[k, 0], ap[1], measured[1].by_iou[k, 0])[1])
        for k in range(FIRST_COCO + 1)
    ]
    single = {cause: _side(one, one.detector(frozenset([cause]))) for cause in (one.planted if alone else ())}
    found = {}
    for rule in rules:
        kinds = _shares(sides[0].pairs[0], sides[1].pairs[0], rule)
        found[rule] = Found(
            base=ap[0],
            gain=ap[1] - ap[0],
            gain_at_50=float(measured[1].metrics["AP50"][0] - measured[0].metrics["AP50"][0]),
            truth=np.array([truth[cause] for cause in CAUSES]),
            localization=np.array([*split, kinds[LOCALIZATION]]),
            kinds=kinds,
            alone={c: _shares(sides[0].pairs[0], s.pairs[0], rule) for c, s in single.items()},
        )
    return found


def _side(one: Mixture, rates: Detector) -> side.Side:
    shapes = matching.object_shapes(one.scene.truth, "bbox")
    return side.build([mixtures.detect(one.scene, rates)], one.scene.truth, shapes, "bbox")


def _shares(a: ImagePairs, b: ImagePairs, rule: str) -> np.ndarray:
    own, mends.OTHER_CLASS = RULES[rule]
    overlap = mends.foreground([a, b]) if own is None else own
    ones = np.ones((len(a.image_starts) - 1, 1), dtype=np.uint8)
    return attribution.shares(*(mends.values(one, ones, overlap) for one in (a, b)))[:, 0]


def errors(found: Sequence[Found]) -> np.ndarray:
    """(N, 5) points of AP that level 3 is off, by cause."""
    return np.stack([one.kinds - one.truth for one in found])


def spread(off: np.ndarray) -> str:
    """Bias and RMSE of errors, each with its standard error."""
    root = float(np.sqrt((off**2).mean()))
    doubt = float((off**2).std() / np.sqrt(off.size) / (2 * root)) if root else 0.0
    return f"{off.mean():+.2f} ± {off.std() / np.sqrt(off.size):.2f} | {root:.2f} ± {doubt:.2f}"


def show(found: Sequence[Found]) -> None:
    """Tables of bias and RMSE by level, kind and base AP; answers; leaks."""
    strata = {"all": found} | {
        f"base AP {low:.0f} to {high:.0f}": [one for one in found if low <= one.base < high]
        for low, high in mixtures.STRATA
    }
    print("| | mixtures | localization: level | bias | RMSE |\n|--|--|--|--|--|")
    for name, some in strata.items():
        for level, title in enumerate(LEVELS):
            off = np.array([one.localization[level] - one.truth[LOCALIZATION] for one in some])
            print(f"| {name} | {len(some)} | {title} | {spread(off)} |")
    print("\n| | kind | bias | RMSE |\n|--|--|--|--|")
    for name, some in strata.items():
        off = errors(some)
        for k, kind in enumerate(CAUSES):
            print(f"| {name} | {kind} | {spread(off[:, k])} |")
        print(f"| {name} | **all kinds** | {spread(off)} |")
    largest = sum(int(one.kinds.argmax() == one.truth.argmax()) for one in found)
    print(f"\nlargest cause named right: {largest} of {len(found)}")
    truly = np.array([one.truth[LOCALIZATION] > one.gain / 2 for one in found])
    for level, title in enumerate(LEVELS):
        said = np.array([one.localization[level] > one.gain / 2 for one in found])
        print(f"mostly localization? answered wrongly, {title}: {(said != truly).sum()} of {len(found)}")
    none = [one for one in found if one.truth[LOCALIZATION] == 0]
    for level, title in enumerate(LEVELS):
        given = np.array([one.localization[level] / one.gain for one in none])
        print(
            f"no localization planted, {title}: over a fifth of the gain given to it in "
            f"{(given > 0.2).sum()}, taken from it in {(given < -0.2).sum()} of {len(none)}"
        )
    print("\nread per point planted alone\n| planted | " + " | ".join(CAUSES) + " |")
    print("|--" * 6 + "|")
    for cause in CAUSES:
        reads = [one.alone[cause] for one in found if cause in one.alone]
        if reads:
            read = np.sum(reads, axis=0) / np.sum(reads)
            print(f"| {cause} ({len(reads)}) | " + " | ".join(f"{x:+.2f}" for x in read) + " |")


def paper(found: Sequence[Found]) -> dict[str, int]:
    """How often the gain is larger in AP@50, so read as recognition, and how often that is wrong."""
    holds = [one for one in found if one.gain_at_50 > one.gain]
    wrong = [one for one in holds if one.truth[LOCALIZATION] > one.gain / 2]
    return {"mixtures": len(found), "holds": len(holds), "wrong": len(wrong)}


def table(found: Sequence[Found], command: str) -> dict[str, Any]:
    """The method's own error by base AP, for the report: quantiles of found minus planted, in AP."""
    rows = []
    for low, high in zip((0.0, *BOUNDS), (*BOUNDS, None), strict=True):
        some = [one for one in found if low <= one.base < (high or np.inf)]
        off = errors(some)
        levels = np.stack([one.localization - one.truth[LOCALIZATION] for one in some])
        rows.append(
            {"from": low, "to": high, "mixtures": len(some)}
            | {"two_factor": {LEVELS[k].split()[-1]: _quantiles(levels[:, k]) for k in range(3)}}
            | {"attribution": {kind: _quantiles(off[:, k]) for k, kind in enumerate(CAUSES)}}
        )
    return {
        "what": "found minus planted, points of AP: 5% and 95% quantiles and RMSE over planted mixtures",
        "seed": SETS["reporting"],
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "paper_reading": paper(found),
        "by_base_ap": rows,
    }


def _quantiles(off: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(off, [5, 95])
    rounded = {"low": low, "high": high, "rmse": np.sqrt((off**2).mean())}
    return {name: round(float(value), 3) for name, value in rounded.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--choose", action="store_true", help="compare the rules on the set for choosing")
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    args = parser.parse_args()
    name = "choosing" if args.choose else "reporting"
    rules = list(RULES) if args.choose else list(RULES)[-1:]
    found: dict[str, list[Found]] = {rule: [] for rule in rules}
    for i in log.progress(range(NUMBER), NUMBER, "mixtures"):
        for rule, one in examine(mixture(name, i), rules, alone=not args.choose).items():
            found[rule].append(one)
    if args.choose:
        print("| targets from an overlap of | localization: bias | RMSE | all kinds: bias | RMSE |")
        print("|--|--|--|--|--|")
        for rule, some in found.items():
            off = errors(some)
            print(f"| {rule} | {spread(off[:, LOCALIZATION])} | {spread(off)} |")
        return
    show(found[rules[0]])
    print(f"\nthe paper's reading: {paper(found[rules[0]])}")
    if args.write:
        files.write_json(TABLE, table(found[rules[0]], "python benchmarks/bench_gain.py --write"))


if __name__ == "__main__":
    main()
