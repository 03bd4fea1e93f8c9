"""Numbers as a reader meets them: signs, dashes where undefined, intervals, p values."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def signed(value: float | None, digits: int = 1) -> str:
    """A number with its sign, a true minus, and no negative zero; a dash where undefined."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text


def plain(value: float | None, digits: int = 1) -> str:
    """A number without a sign of its own; a dash where undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def span(bounds: Sequence[float | None] | None, digits: int = 1, write: Callable[..., str] = signed) -> str:
    """An interval of a difference, with signs; a dash where there is none."""
    if bounds is None or bounds[0] is None:
        return "–"
    return f"{write(bounds[0], digits)} to {write(bounds[1], digits)}"


def interval(bounds: Sequence[float | None] | None, digits: int = 1) -> str:
    """An interval of a value, without signs; a dash where there is none."""
    return span(bounds, digits, plain)


def p_value(value: float | None, floor: float = 0.0) -> str:
    """A p value in three digits; at or under ``floor``, the least resamples can show, that it is less."""
    if value is None:
        return "–"
    floor = max(floor, 0.001)
    return f"< {floor:.3f}" if value <= floor * (1 + 1e-9) else f"{value:.3f}"


def equals(p: float | None) -> str:
    """A p value inside a sentence: "= 0.012", "< 0.001"."""
    shown = p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"


def short(count: float) -> str:
    """A number of images in three digits: 10,980 as 11k, 940 million as 940M."""
    steps = ((1e9, "B"), (1e6, "M"), (1e3, "k"), (1, ""))
    return next(f"{count / size:.3g}{suffix}" for size, suffix in steps if count >= 0.9995 * size)


def number(value: float) -> str:
    """A count with its thousands apart."""
    return f"{value:,}"


def percent(share: float, digits: int = 1) -> str:
    """A share of one in percent."""
    return f"{share:.{digits}%}"
