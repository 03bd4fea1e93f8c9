"""How all figures look, and their forms: SVG elements for wide and narrow pages, files as SVG and PNG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsl_det.core import files, pages

INK, MUTED, RULE = "#1d2530", "#5c6673", "#d5dae1"
GREY, BLUE, OCHRE, RED = "#8b95a3", "#1b4f9c", "#c46a12", "#a5371f"
_LONGEST = 48
# What the style sheet calls these colours: it has others of the name on a dark screen.
_VARIABLES = {
    INK: "ink", MUTED: "muted", RULE: "rule", GREY: "grey", BLUE: "blue", OCHRE: "ochre", RED: "red",
    "#9dbde6": "pale", "#ffffff": "paper",
}  # fmt: skip
# matplotlib writes the attribute in single quotes where it holds double ones.
_HIT = re.compile(r'<g id=(["\'])hit:(.*?)\1>(\s*<path [^>]*?)style="[^"]*"', re.DOTALL)
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    # A dollar sign in somebody's name starts no formula.
    "text.parse_math": False,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class Drawing:
    """One figure: ``svg`` for a file, ``wide`` and ``narrow`` SVG elements for the page, ``png`` bytes."""

    svg: str
    wide: str
    narrow: str
    png: bytes

    def __html__(self) -> str:
        """Both elements, of which the style sheet shows one; matplotlib has escaped the names in them."""
        return f'<div class="wide">{self.wide}</div><div class="narrow">{self.narrow}</div>'

    def write(self, stem: Path) -> None:
        """The files STEM.svg and STEM.png."""
        files.write_text(stem.with_name(f"{stem.name}.svg"), self.svg)
        files.write_bytes(stem.with_name(f"{stem.name}.png"), self.png)


def drawing(name: str, record: Any, make: Callable[[Any, bool], Figure]) -> Drawing:
    """What ``make(record, narrow)`` draws, in all forms; equal names and records give equal bytes."""
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        # A name in a script that the font lacks: the page's own typeface has it.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        # matplotlib refuses lone surrogates, and a name may be longer than the figure is wide.
        record = pages.printable(record, _LONGEST)
        wide, narrow = make(record, False), make(record, True)
        for figure in (wide, narrow):
            # Laid out once; else every form is, twice.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        png = io.BytesIO()
        wide.savefig(png, format="png", dpi=200, facecolor="white")
        svg = _svg(wide)
        return Drawing(svg, _element(svg), _element(_svg(narrow)), png.getvalue())


def bare(axes: Axes, grid: str) -> None:
    """Axes without a frame: the foot, and a grid along ``grid`` ("x" or "y") behind what is drawn."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis=grid, color=RULE, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def hit(
    axes: Axes, text: str, *, x: tuple[float, float] | None = None, y: tuple[float, float] = (0, 0)
) -> None:
    """An unseen field over a span of x, or else of y, that tells ``text`` where the page is pointed at."""
    field = axes.axhspan(*y) if x is None else axes.axvspan(*x)
    field.set(alpha=0, gid=f"hit:{text}")


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(
        _HIT, r'<g class="hit"><title>\2</title>\3fill-opacity="0"', pages.printable(text.getvalue())
    )
    # Ids that nothing refers to would stand twice on a page of several figures.
    referred = set(re.findall(r"#([\w.-]+)", svg))
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in referred else "", svg)


def _element(svg: str) -> str:
    """The bare <svg> element, scaled by the page and set in the page's typeface."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # The page gives the size; names of namespaces are addresses, which a page does not need.
    head, rest = svg.split(">", 1)
    svg = re.sub(r' (width|height|xmlns[:\w]*)="[^"]*"', "", head) + ">" + rest
    for colour, name in _VARIABLES.items():
        svg = re.sub(f"(fill|stroke): {colour}", rf"\1: var(--{name})", svg)
    svg = re.sub(r"font: ((?:[\w.-]+ )*)([\d.]+)px [^;\"]*", r"\1font-size: \2px", svg)
    return svg.replace("bold font-size:", "font-weight: 600; font-size:").strip()
