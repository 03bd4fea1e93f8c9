"""The formats other libraries read: how each names a trunk's tensors and how its file is written."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from wsl_det.backbone import names
from wsl_det.core import checkpoint

METADATA = "wsl_det"
"""The entry of a safetensors file's metadata that holds ``meta`` as JSON."""
Writer = Callable[[Path, Mapping[str, Tensor], Mapping[str, Any]], None]


@dataclass(frozen=True)
class Format:
    """``library`` is whose ResNet takes the file: "torchvision", "timm", or None for Detectron2's.

    The libraries' ResNets want RGB and have the stride in the 3x3; Detectron2's take what a config says.
    """

    name: str
    suffix: str
    library: str | None
    write: Writer

    def key(self, name: str) -> str:
        """The name in the file of a tensor that Detectron2 calls ``name``."""
        return names.to_torchvision(name) if self.library else name


def _write_torch(path: Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    # A plain dict of its own tensors: what load_state_dict and load_checkpoint want, nothing beside it.
    checkpoint.save(path, {k: v.clone() for k, v in weights.items()})


def _write_safetensors(path: Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    about = {"format": "pt", METADATA: json.dumps(meta, allow_nan=False)}
    save_file({k: v.clone() for k, v in weights.items()}, path, metadata=about)


def _write_pickle(path: Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    model = {k: v.numpy() for k, v in weights.items()}
    payload = {"model": model, "__author__": "wsl_det", "matching_heuristics": True, "meta": dict(meta)}
    with open(path, "wb") as file:
        _ArrayPickler(file, 4).dump(payload)


# The Python implementation: the C one cannot be told how to name a function.
class _ArrayPickler(pickle._Pickler):
    """Writes arrays so that every numpy reads them; by itself numpy 2 writes a name that 1.x lacks."""

    write: Callable[[bytes], Any]
    save: Callable[[Any], None]
    memoize: Callable[[Any], None]

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = str(getattr(obj, "__module__", ""))
        if not module.startswith("numpy._core."):
            super().save_global(obj, name)  # type: ignore[misc]
            return
        self.save(module.replace("numpy._core.", "numpy.core.", 1))
        self.save(name or obj.__qualname__)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)


KNOWN = {
    f.name: f
    for f in (
        Format("torchvision", ".pth", "torchvision", _write_torch),
        Format("timm", ".pth", "timm", _write_torch),
        Format("detectron2", ".pkl", None, _write_pickle),
        Format("safetensors", ".safetensors", "timm", _write_safetensors),
    )
}
