"""Record golden files from a real Detectron2 through its public API.

    <python of an environment with Detectron2> -m tests.golden.record [case ...]

Run from the root of the repository. Every file says which Detectron2 (version and commit, the latter
from $DETECTRON2_COMMIT because an installed copy does not know it), torch and torchvision made it, with
which seed and command.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

from wsl_det.core import files

HERE = Path(__file__).parent


def origin(command: str, seed: int | None = None) -> dict[str, Any]:
    """What made a golden file."""
    import detectron2
    import torch
    import torchvision

    return {
        "detectron2": detectron2.__version__,
        "commit": os.environ.get("DETECTRON2_COMMIT", "unknown"),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "device": "cpu",
        "seed": seed,
        "command": command,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def record_defaults() -> None:
    """Every key and default of ``get_cfg()``."""
    from detectron2.config import get_cfg

    golden = {"origin": origin("python -m tests.golden.record defaults"), "defaults": _plain(get_cfg())}
    files.write_json(HERE / "d2_defaults.json", golden)


CASES = {"defaults": record_defaults}


def main(names: list[str]) -> int:
    """Record the named cases, or all."""
    for name in names or CASES:
        CASES[name]()
        print(f"recorded {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
