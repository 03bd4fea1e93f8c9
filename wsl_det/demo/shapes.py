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
        quarter = 0.25 * (np.roll(corners, -1, axis=0) - corners)
        corners = np.stack([corners + quarter, corners + 3 * quarter], axis=1).reshape(-1, 2)
    return corners


def ellipse(x: float, y: float, rx: float, ry: float) -> Array:
    """An upright ellipse around (x, y)."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1).astype(np.float32)


def off(point: Array, dx: float, dy: float) -> Array:
    """The point that lies (dx, dy) from another."""
    return np.asarray(point, dtype=np.float32) + np.array([dx, dy], dtype=np.float32)


def rotate(points: npt.ArrayLike, angle: float) -> Array:
    """``points`` turned by ``angle`` radians around the origin."""
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.asarray(points, dtype=np.float64) @ np.array([[cos, sin], [-sin, cos]])
    return turned.astype(np.float32)


def limb(points: Points, widths: float | Sequence[float] | Array) -> Array:
    """A tapered, bent strip along ``points``; ``widths`` is its half width, one or one for each of them."""
    spine = np.asarray(points, dtype=np.float32)
    steps = spine[1:] - spine[:-1]
    # The direction at a joint is the mean of the segments that meet there.
    along = np.concatenate([steps[:1], steps[1:] + steps[:-1], steps[-1:]])
    along /= np.hypot(along[:, :1], along[:, 1:]) + 1e-6
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    across = across * np.broadcast_to(np.asarray(widths, dtype=np.float32), len(spine))[:, None]
    return smooth(np.concatenate([spine + across, (spine - across)[::-1]]), 1)
