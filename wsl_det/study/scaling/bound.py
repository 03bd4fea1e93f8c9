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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wsl_det.gain.estimates import holm, t_quantile
from wsl_det.study.scaling import fit
from wsl_det.study.scaling.fit import Estimate, Observed, Scatter, Solved

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
        next_to_none = small.interval[1] < self.larger_slope / 2
        return BOUND if next_to_none and large.interval[0] > 0 else OPEN


def compare(groups: Sequence[Group], order: Sequence[str]) -> tuple[list[Comparison], Estimate | None]:
    """Each smaller capacity against the largest of its group, and the mean difference over the groups.

    ``order`` ranks capacities upwards. Two are compared when they have ``fit.LEAST_SIZES`` sizes in common.
    The mean is that of the smallest against the largest, None unless two groups have the same two.
    """
    usable = [_usable(group, order) for group in groups]
    solved = {i: _solve(group) for i, group in enumerate(usable) if len(group) > 1}
    if sum(one.df for one in solved.values()) < 1:
        return [], None
    every = [seen for i in solved for seen in usable[i].values()]
    scatter = fit.scatter(list(solved.values()), every)
    about = fit.about_curves(every)
    found = [
        _comparison((i, name), usable[i], scatter.estimate(*one.at(2 * rank)), scatter.df, about)
        for i, one in solved.items()
        for rank, name in enumerate(list(usable[i])[:-1])
    ]
    family = holm([one.difference.p for one in found])
    found = [replace(one, family_p=p) for one, p in zip(found, family, strict=True)]
    ends = {(next(iter(usable[i])), list(usable[i])[-1]) for i in solved}
    if len(solved) < 2 or len(ends) > 1:
        return found, None
    value, factor = np.mean([one.at(0) for one in solved.values()], axis=0).tolist()
    return found, scatter.estimate(value, factor / len(solved))


def _usable(group: Group, order: Sequence[str]) -> dict[str, Observed]:
    """The capacities of a group that can be compared with its largest, upwards."""
    ranked = sorted((name for name in group if group[name].sizes >= fit.LEAST_SIZES), key=order.index)
    if not ranked:
        return {}
    largest = group[ranked[-1]].x
    return {
        name: group[name] for name in ranked if len(np.intersect1d(group[name].x, largest)) >= fit.LEAST_SIZES
    }


def _solve(group: Group) -> Solved:
    """Weighted least squares: a line for each capacity but the largest, and a level for each size.

    Parameters 0, 2, 4 ... are the largest capacity's slope minus that of each smaller one.
    """
    names = list(group)
    x, y, w = (np.concatenate([getattr(group[name], part) for name in names]) for part in ("x", "y", "w"))
    whose = np.concatenate([np.full(len(group[name].x), i) for i, name in enumerate(names)])
    lines = [column for i in range(len(names) - 1) for column in ((whose == i) * (x.mean() - x), whose == i)]
    return fit.solve([*lines, *(x == size for size in np.unique(x))], y, w)


def _comparison(
    which: tuple[int, str], group: Group, difference: Estimate, df: int, about: Scatter
) -> Comparison:
    (i, name), larger = which, list(group)[-1]
    small, large = (about.estimate(*fit.last_step(group[one])) for one in (name, larger))
    reach = t_quantile(1 - ALPHA / 2, df) + t_quantile(POWER, df)
    return Comparison(
        group=i,
        smaller=name,
        larger=larger,
        sizes=len(np.intersect1d(group[name].x, group[larger].x)),
        difference=difference,
        steps=(small, large),
        df=df,
        detectable=reach * difference.error,
        larger_slope=fit.line(group[larger]).at(1)[0],
    )
