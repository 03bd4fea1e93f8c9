"""The pages' templates: everything that comes from data is escaped, and a name left unset is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jinja2


def load(name: str, **filters: Callable[..., str]) -> jinja2.Template:
    """The template file ``name`` of this folder, with ``filters`` that turn numbers into words."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)
