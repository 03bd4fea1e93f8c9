"""Is the smaller model capacity-bound? Slopes of capacities over the same sizes, compared size by size. Pure.

Models trained on the same images and measured on the same test images differ from the line together: by the
curve that both follow, by the images that a size happens to hold, by the test images. So slopes are compared
in a model where every size has a level of its own and capacities differ from each other by a line in
log10(images); what is common to all capacities at a size drops out.

The definition, which docs/scaling.md explains: *capacity-bound* is said of the smaller model when (1) the
larger one is steeper, with p under 0.05 after Holm's correction over the comparisons of the panel, (2) the
95% interval of the smaller one's step between the two largest sizes holds 0 and lies below half the larger
one's slope, and (3) that of the larger one's step lies above 0. Without the half, a step measured badly
enough would pass for none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wsl_det.study.scaling import fit
from wsl_det.study.scaling.fit import Estimate, Observed, Scatter

ALPHA = 0.05
POWER = 0.8
BOUND = "capacity-bound"
STEEPER = "steeper, not bound"
OPEN = "steeper, bound or not is open"
REVERSED = "the smaller is steeper"
NOT_SHOWN = "not shown"
Group = Mapping[str, Observed]
"""Lines by capacity that share vocabulary, sampling and noise."""


@dataclass(frozen=True)
class Comparison:
    """A smaller and a larger capacity. ``difference``: larger slope minus smaller one, points a tenfold.

    ``family_p`` is Holm's over the panel's comparisons; ``detectable`` is the true difference that would be
    found with 80% power. ``steps`` are the two models' slopes between the two largest sizes.
    """

    group: int
    smaller: str
    larger: str
    sizes: int
    difference: Estimate
    steps: tuple[Estimate, Estimate]
    df: int
    detectable: float
    larger_slope: float
    family_p: float | None = None

    @property
    def verdict(self) -> str:
        """One of the five words above."""
        if self.family_p is None or self.family_p >= ALPHA:
            return NOT_SHOWN
        if self.difference.value < 0:
            return REVERSED
        small, large = self.steps
        if small.interval[0] > 0:
            return STEEPER
        return BOUND if small.interval[1] < self.half and large.interval[0] > 0 else OPEN

    @property
    def half(self) -> float:
        """Half the slope of the larger model, under which a step counts as next to none."""
        return self.larger_slope / 2


@dataclass(frozen=True)
class _Differences:
    """Slopes of the largest capacity minus each smaller one's, with variance factors; what is left over."""

    value: dict[str, float]
    factor: dict[str, float]
    rss: float
    df: int


def compare(groups: Sequence[Group], order: Sequence[str]) -> tuple[list[Comparison], Estimate | None]:
    """Each smaller capacity against the largest of its group, and the mean difference over the groups.

    ``order`` ranks capacities upwards. Two are compared when they have ``fit.LEAST_SIZES`` sizes in common.
    The mean is that of the smallest against the largest, None unless two groups have the same two.
    """
    usable = [_usable(group, order) for group in groups]
    solved = {i: _differences(group) for i, group in enumerate(usable) if len(group) > 1}
    df = sum(one.df for one in solved.values())
    if df < 1:
        return [], None
    every = [seen for i in solved for seen in usable[i].values()]
    scatter = fit.scatter(sum(one.rss for one in solved.values()), df, every)
    about = fit.about_curves(every)
    found = [
        _comparison((i, name), usable[i], solved[i], scatter, about)
        for i in solved
        for name in solved[i].value
    ]
    family = fit.holm([one.difference.p for one in found])
    found = [replace(one, family_p=p) for one, p in zip(found, family, strict=True)]
    return found, _mean(solved, usable, scatter)


def _usable(group: Group, order: Sequence[str]) -> dict[str, Observed]:
    """The capacities of a group that can be compared with its largest, upwards."""
    ranked = sorted((name for name in group if group[name].sizes >= fit.LEAST_SIZES), key=order.index)
    if not ranked:
        return {}
    largest = group[ranked[-1]].x
    return {
        name: group[name] for name in ranked if len(np.intersect1d(group[name].x, largest)) >= fit.LEAST_SIZES
    }


def _differences(group: Group) -> _Differences:
    """Weighted least squares: a level for each size, and a line for each capacity but the largest."""
    names = list(group)
    x, y, w = (np.concatenate([getattr(group[name], part) for name in names]) for part in ("x", "y", "w"))
    whose = np.concatenate([np.full(len(group[name].x), i) for i, name in enumerate(names)])
    across = x - float(w @ x) / float(w.sum())
    levels = [x == size for size in np.unique(x)]
    lines = [column for i in range(len(names) - 1) for column in (whose == i, (whose == i) * across)]
    root = np.sqrt(w)
    design = np.stack([*levels, *lines], axis=1).astype(float) * root[:, None]
    inverse = np.linalg.pinv(design.T @ design)
    found = inverse @ design.T @ (root * y)
    rest = root * y - design @ found
    slopes = {name: len(levels) + 2 * i + 1 for i, name in enumerate(names[:-1])}
    return _Differences(
        value={name: -float(found[at]) for name, at in slopes.items()},
        factor={name: float(inverse[at, at]) for name, at in slopes.items()},
        rss=float(rest @ rest),
        df=len(y) - int(np.linalg.matrix_rank(design)),
    )


def _comparison(
    which: tuple[int, str], group: Group, solved: _Differences, scatter: Scatter, about: Scatter
) -> Comparison:
    (i, name), larger = which, list(group)[-1]
    difference = scatter.estimate(solved.value[name], solved.factor[name])
    steps = [about.estimate(*fit.last_step(group[one])) for one in (name, larger)]
    reach = fit.quantile(1 - ALPHA / 2, scatter.df) + fit.quantile(POWER, scatter.df)
    return Comparison(
        group=i,
        smaller=name,
        larger=larger,
        sizes=len(np.intersect1d(group[name].x, group[larger].x)),
        difference=difference,
        steps=(steps[0], steps[1]),
        df=scatter.df,
        detectable=reach * difference.error,
        larger_slope=fit.line(group[larger]).slope,
    )


def _mean(solved: Mapping[int, _Differences], groups: Sequence[Group], scatter: Scatter) -> Estimate | None:
    """The difference of the smallest and the largest capacity, averaged over the groups."""
    ends = {(min(groups[i], key=list(groups[i]).index), list(groups[i])[-1]) for i in solved}
    if len(solved) < 2 or len(ends) > 1:
        return None
    smallest = next(iter(ends))[0]
    value = math.fsum(one.value[smallest] for one in solved.values()) / len(solved)
    return scatter.estimate(
        value, math.fsum(one.factor[smallest] for one in solved.values()) / len(solved) ** 2
    )
