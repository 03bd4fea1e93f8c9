"""The pages' templates: everything that comes from data is escaped, and a name left unset is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jinja2

_HERE = Path(__file__).parent


def load(name: str, *, folder: Path = _HERE, **filters: Callable[..., str]) -> jinja2.Template:
    """The template file ``name`` of ``folder``, with ``filters`` that turn numbers into words.

    Every template can include ``style.css``, the stylesheet that all pages share.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)
