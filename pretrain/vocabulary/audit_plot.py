"""The Zipf plot of an audit as inline SVG: how often, against rank, both in powers of ten."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

_POINTS = 240


def zipf(curves: Sequence[tuple[str, str, Sequence[int]]], width: int, height: int = 300) -> Markup:
    """Curves (CSS class, label, numbers in descending order) as an SVG of ``width`` by ``height``."""
    left, bottom, top, right = 46, 40, 14, 12
    most = max((numbers[0] for _, _, numbers in curves if numbers), default=1)
    longest = max((len(numbers) for _, _, numbers in curves), default=1)
    x_decades = max(1, math.ceil(math.log10(max(longest, 2))))
    y_decades = max(1, math.ceil(math.log10(max(most, 2))))

    def x(rank: float) -> float:
        return left + math.log10(rank) / x_decades * (width - left - right)

    def y(number: float) -> float:
        return height - bottom - math.log10(number) / y_decades * (height - bottom - top)

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Zipf plot">']
    for power in range(x_decades + 1):
        at = x(10**power)
        anchor = "end" if power == x_decades else "middle"
        parts.append(f'<path class="grid" d="M{at:.1f} {top}V{height - bottom}"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{height - bottom + 17}" text-anchor="{anchor}">{10**power:,}</text>'
        )
    for power in range(y_decades + 1):
        at = y(10**power)
        parts.append(f'<path class="grid" d="M{left} {at:.1f}H{width - right}"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{_short(10**power)}</text>')
    middle = (left + width - right) / 2
    parts.append(f'<text class="axis" x="{middle:.0f}" y="{height - 5}" text-anchor="middle">rank</text>')
    for style, _, numbers in curves:
        places = [(x(rank), y(numbers[rank - 1])) for rank in _ranks(len(numbers)) if numbers[rank - 1] > 0]
        if len(places) == 1:
            parts.append(
                f'<circle class="{style} dot" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3"/>'
            )
        elif places:
            line = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
            parts.append(f'<path class="{style}" d="M{line}"/>')
    return Markup("".join([*parts, "</svg>"]))


def _ranks(count: int) -> list[int]:
    """Ranks spread evenly in logarithms, 1 and the last among them."""
    if count <= _POINTS:
        return list(range(1, count + 1))
    return sorted({round(count ** (step / (_POINTS - 1))) for step in range(_POINTS)})


def _short(number: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number // size}{letter}"
    return str(number)
