"""Outlines of the parts that objects are made of, in object coordinates: about -1..1, y down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]  # float32 throughout; numpy's stubs lose the width in most expressions
Points = Array | Sequence[Sequence[float] | Array]


def smooth(points: Points, rounds: int = 2) -> Array:
    """The closed outline through the corners of ``points``, each corner cut ``rounds`` times (Chaikin)."""
    corners: Array = np.asarray(points, dtype=np.float32)
    for _ in range(rounds):
        quarter = 0.25 * (np.concatenate([corners[1:], corners[:1]]) - corners)
        cut = np.empty((2 * len(corners), 2), dtype=np.float32)
        cut[::2] = corners + quarter
        cut[1::2] = corners + 3 * quarter
        corners = cut
    return corners


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> Array:
    """An ellipse around (x, y), turned by ``angle`` radians."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return rotate(np.stack([rx * np.cos(turn), ry * np.sin(turn)], axis=1), angle) + _at(x, y)


def disk(at: Array, rx: float, ry: float) -> Array:
    """An upright ellipse around the point ``at``."""
    return ellipse(float(at[0]), float(at[1]), rx, ry)


def off(point: Array, dx: float, dy: float) -> Array:
    """The point that lies (dx, dy) from another."""
    return np.asarray(point, dtype=np.float32) + _at(dx, dy)


def rotate(points: npt.ArrayLike, angle: float) -> Array:
    """``points`` turned by ``angle`` radians around the origin."""
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.asarray(points, dtype=np.float64) @ np.array([[cos, sin], [-sin, cos]])
    return turned.astype(np.float32)


def box(left: float, top: float, right: float, bottom: float, corner: float = 0.25) -> Array:
    """A rectangle whose corners are rounded by ``corner`` (0..0.5) of its short side."""
    cut = corner * min(right - left, bottom - top)
    return smooth(
        [
            (left + cut, top),
            (right - cut, top),
            (right, top + cut),
            (right, bottom - cut),
            (right - cut, bottom),
            (left + cut, bottom),
            (left, bottom - cut),
            (left, top + cut),
        ],
        1,
    )


def limb(points: Points, widths: Sequence[float] | Array) -> Array:
    """A tapered, bent strip along ``points``; ``widths`` is its half width at each of them."""
    spine = np.asarray(points, dtype=np.float32)
    steps = spine[1:] - spine[:-1]
    # The direction at a joint is the mean of the segments that meet there.
    along = np.concatenate([steps[:1], steps[1:] + steps[:-1], steps[-1:]])
    along /= np.hypot(along[:, :1], along[:, 1:]) + 1e-6
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * np.asarray(widths, dtype=np.float32)[:, None]
    return smooth(np.concatenate([spine + across, (spine - across)[::-1]]), 1)


def ring(x: float, y: float, radius: float, width: float) -> list[Array]:
    """Two circles: what lies between them is filled (even-odd rule), as in a wheel."""
    return [ellipse(x, y, radius, radius), ellipse(x, y, radius - width, radius - width)]


def star(arms: int, outer: float, inner: float, lengths: Sequence[float]) -> Array:
    """A star around the origin; arm i reaches ``outer * lengths[i]``."""
    turn = np.arange(2 * arms) * np.pi / arms - np.pi / 2
    reach = np.full(2 * arms, inner)
    reach[::2] = outer * np.asarray(lengths)
    return smooth(np.stack([reach * np.cos(turn), reach * np.sin(turn)], axis=1))


def _at(x: float, y: float) -> Array:
    return np.array([x, y], dtype=np.float32)
