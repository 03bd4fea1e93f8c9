"""Every file a stage writes says what made it: command, versions, hashes of what it was made from."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from wsl_det import __version__
from wsl_det.core import addresses
from wsl_det.errors import public

# Flags, and options with a value, of any tool that decide nothing about what is written.
_FREE_FLAGS = ("--resume",)
_FREE = ("--dist-url", "--machine-rank")
_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pycocotools", "opencv-python-headless")


def versions() -> dict[str, str]:
    """Versions of what can move numbers, read from package metadata so that nothing is imported."""
    from importlib import metadata

    found = {"wsl_det": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def header(
    kind: str, schema: int, made_from: Mapping[str, str | Path | None], free: Collection[str] = ()
) -> dict[str, Any]:
    """The header of a written file.

    ``free`` are options with a value, such as "--workers", that decide nothing about what is
    written: they are left out of the command, so that the same output is the same file, and so is
    --resume: a run that was interrupted is the run that was not.
    ``made_from`` maps a role ("vocabulary", "predictions") to a file on disk, or to a hash
    that is already known as ``"sha256:<64 hex>"``; None values are left out.
    """
    return {
        "kind": kind,
        "schema": schema,
        "command": shlex.join(_command(free)),
        "versions": versions(),
        "made_from": {role: _source(path) for role, path in made_from.items() if path is not None},
    }


def _command(free: Collection[str]) -> list[str]:
    options, value = {*free, *_FREE}, False
    kept = [Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"]
    for word in sys.argv[1:]:
        if not value and word not in _FREE_FLAGS and word.partition("=")[0] not in options:
            kept.append(public(word))
        value = not value and word in options
    return kept


def _source(path: str | Path) -> dict[str, str]:
    if isinstance(path, str) and path.startswith("sha256:"):
        return {"sha256": path.removeprefix("sha256:")}
    return {"path": public(str(path)), "sha256": addresses.sha256(path)}
