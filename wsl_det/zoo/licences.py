"""The question that non-commercial weights put to a person, once."""

from __future__ import annotations

import sys
from collections.abc import Callable

from wsl_det.zoo.catalogue import Licence


def asker() -> Callable[[Licence], bool] | None:
    """``ask`` where a person is at the terminal, None in scripts."""
    return ask if sys.stdin is not None and sys.stdin.isatty() else None


def ask(licence: Licence) -> bool:
    """Whether the person at the terminal accepts ``licence``; anything but "yes" is no."""
    print(f"These weights are published under {licence.name}, for non-commercial use only:", file=sys.stderr)
    print(f"  {licence.url}", file=sys.stderr)
    print('Type "yes" to accept: ', end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"
