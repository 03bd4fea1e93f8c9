"""Power: the smallest gain that so many images and training seeds can show, and how many more one needs."""

from __future__ import annotations

import math
from typing import Any

from wsl_det.gain.estimates import Estimate, t_quantile

CHANCE = 0.8
"""Power asked for: how often a true gain of that size would be told from 0."""
ASKED = (0.5, 1.0, 2.0)
"""Gains in points for which the report says what they would take, besides the observed one."""
MOST_RUNS = 50


def power(gain: Estimate, images: int, runs: tuple[int, int]) -> dict[str, Any] | None:
    """What this comparison could have shown, for gain.json; None where the gain has no standard error.

    smallest_gain: points of AP that a two-sided test at 5% finds with a power of 80%, with as many images
    and runs. needed: for the observed gain and for those of ``ASKED``, ``images`` with as many runs, and
    ``runs`` a side with as many images; null where no number suffices (or, for runs, where the variance
    of seeds was not measured). Image variance falls as 1 / images, seed variance as 1 / runs, and what is in
    both (see ``estimates.estimate``) as either.
    """
    if math.isnan(gain.standard_error) or gain.standard_error == 0:
        return None
    asked = sorted({*ASKED, abs(gain.point)} - {0.0})
    return {
        "chance": CHANCE,
        "smallest_gain": _reach(gain.df) * gain.standard_error,
        "images": images,
        "runs": {"baseline": runs[0], "candidate": runs[1]},
        "needed": [
            {
                "gain": points,
                "observed": points == abs(gain.point),
                "images": _images(points, gain, images),
                "runs": _runs(points, gain, runs),
            }
            for points in asked
        ],
    }


def _reach(df: float) -> float:
    """Standard errors between 0 and a gain that is found with the power asked for."""
    return t_quantile(0.975, df) + t_quantile(CHANCE, df)


def _images(points: float, gain: Estimate, images: int) -> int | None:
    # Only what the runs differ in beyond their luck with these images stays when there are more of them.
    stays = max((gain.seed_variance or 0.0) - gain.in_both, 0.0)
    left = (points / _reach(gain.df)) ** 2 - stays
    return math.ceil(images * (gain.standard_error**2 - stays) / left) if left > 0 else None


def _runs(points: float, gain: Estimate, runs: tuple[int, int]) -> int | None:
    if gain.seed_variance is None:
        return None
    of_one = gain.seed_variance / (1 / runs[0] + 1 / runs[1])
    shared = gain.image_variance - gain.in_both
    for k in range(2, MOST_RUNS + 1):
        seed = 2 * of_one / k
        total = shared + seed
        df = total**2 / (seed**2 / 2 / (k - 1)) if seed > 0 else math.inf
        if points >= _reach(df) * math.sqrt(total):
            return k
    return None
