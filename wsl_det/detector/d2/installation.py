"""What an importable Detectron2 says about how it was compiled."""

from __future__ import annotations

import detectron2
from detectron2 import _C


def version() -> str:
    """Its version, with the compiler that made its extension."""
    return f"{detectron2.__version__}, compiled with {_C.get_compiler_version()}"


def cuda() -> str | None:
    """The CUDA version, such as "12.4", that its extension was compiled for; None for a CPU build."""
    return _C.get_cuda_version() if _C.has_cuda() else None
