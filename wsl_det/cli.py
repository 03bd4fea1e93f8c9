"""``wsl-det TOOL ...``: the mains of ``tools/``, from a checkout or from the installed package."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from wsl_det import __version__, errors


def entry() -> int:
    """The console script: runs the named tool and turns user errors into exit code 2."""
    return errors.run(main)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one tool with the rest of the command line; without a tool, list them."""
    words = list(sys.argv[1:] if argv is None else argv)
    tools = _tools()
    if not words or words[0] in ("-h", "--help"):
        print(_listing(tools))
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    name = words[0].replace("-", "_").removesuffix(".py")
    if name not in tools:
        raise errors.ConfigError(f"there is no tool {words[0]!r}; the tools are {', '.join(sorted(tools))}")
    module = _load(name, tools[name])
    # argparse and the headers of written files take the program's name from here.
    sys.argv = [f"wsl-det {name}", *words[1:]]
    return int(module.main(words[1:]))


def _tools() -> dict[str, Path]:
    """Tool files by name; the checkout's folder when this is one, else the installed copy."""
    package = Path(__file__).parent
    for folder in (package / "tools", package.parent / "tools"):
        found = {p.stem: p for p in folder.glob("*.py") if not p.stem.startswith("_")}
        if found:
            return found
    return {}


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"wsl_det_tool_{name}", path)
    if spec is None or spec.loader is None:
        raise errors.ConfigError(f"{path} cannot be loaded; install wsl_det again")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _listing(tools: dict[str, Path]) -> str:
    width = max((len(name) for name in tools), default=0)
    rows = [f"  {name:<{width}}  {_summary(path)}" for name, path in sorted(tools.items())]
    return "usage: wsl-det TOOL [OPTIONS]   (wsl-det TOOL --help tells the options)\n\n" + "\n".join(rows)


def _summary(path: Path) -> str:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return doc.splitlines()[0] if doc else ""
