"""HTML pages: one layout, one style sheet, one set of filters; whatever comes from data is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from wsl_det.core import words

T = TypeVar("T")
_HERE = Path(__file__).parent
_FILTERS: dict[str, Callable[..., str]] = {
    name: getattr(words, name) for name in ("signed", "plain", "number", "percent")
} | {
    # An interval breaks before its upper end only, and "< 0.001" nowhere.
    "span": lambda *given: words.span(*given).replace(" to", "\xa0to"),
    "interval": lambda *given: words.interval(*given).replace(" to", "\xa0to"),
    "p_value": lambda *given: words.p_value(*given).replace(" ", "\xa0"),
}
_HEADING = re.compile(r"<h2(?: id=\"([^\"]*)\")?>(.*?)</h2>", re.DOTALL)
_SECTIONS = 4
"""From so many sections on, a page begins with the list of them."""
# Control characters, lone surrogates (not UTF-8), marks that turn the direction of what follows.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def load(name: str, folder: str | Path, **filters: Callable[..., str]) -> jinja2.Template:
    """The template file ``name`` of ``folder``, which extends ``layout.html``; a name left unset is an error.

    Templates have the functions of ``words`` and ``filters`` as filters, and ``tojson`` for what a script
    reads. A file that needs nothing from elsewhere comes out: the layout's policy forbids the network, and
    every script but ``page.js``.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if isinstance(value, str) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals.update(script=Markup(script), script_hash=f"sha256-{digest}")
    environment.filters.update(_FILTERS | {"contents": contents} | filters)
    return environment.get_template(name)


def contents(body: Markup) -> Markup:
    """A page's body with a list of its sections before the first one, where there are ``_SECTIONS``."""
    found = list(_HEADING.finditer(body))
    if len(found) < _SECTIONS:
        return body
    names = [heading[1] or f"section-{i}" for i, heading in enumerate(found, 1)]
    links = " ".join(
        f'<a href="#{name}">{escape(Markup(heading[2]).striptags())}</a>'
        for name, heading in zip(names, found, strict=True)
    )
    named = iter(names)
    text = _HEADING.sub(lambda heading: f'<h2 id="{next(named)}">{heading[2]}</h2>', str(body))
    first = text.index("<h2 ")
    return Markup(f'{text[:first]}<nav class="contents">{links}</nav>\n{text[first:]}')


def printable(value: T, most: int | None = None) -> T:
    """A text, or the texts of JSON-like data, with what no page or SVG can hold or show replaced.

    Texts of more than ``most`` characters lose their middle.
    """
    found: Any = value
    if isinstance(value, str) and not isinstance(value, Markup):
        found = _UNSHOWN.sub("\ufffd", value)
        if most is not None and len(found) > most:
            found = f"{found[: most // 2]}…{found[-(most // 2) + 1 :]}"
    elif isinstance(value, dict):
        found = {printable(key, most): printable(one, most) for key, one in value.items()}
    elif isinstance(value, list | tuple) and not all(isinstance(one, int | float) for one in value):
        found = type(value)(printable(one, most) for one in value)
    typed: T = found
    return typed


def script_json(value: Any) -> Markup:
    """JSON as ``tojson`` writes it: nothing in it can close or open a tag of the page around it."""
    return htmlsafe_json_dumps(value, allow_nan=False)
