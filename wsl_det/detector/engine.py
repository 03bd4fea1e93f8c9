"""The seam between the detector and what it is built with: one protocol, two engines, one choice."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import nn

from wsl_det.core.config import Config
from wsl_det.detector.types import Example, Prediction
from wsl_det.errors import ConfigError, EngineError

_ENGINES = {
    "detectron2": "wsl_det.detector.d2.engine",
    "embedded": "wsl_det.detector.embedded.engine",
}
CHOICES = ("auto", *_ENGINES)


class DetectorEngine(Protocol):
    """Builds and feeds one Faster or Mask R-CNN whose state_dict has Detectron2's keys.

    In training mode ``model(encode(batch))`` returns a dict of scalar losses (loss_cls,
    loss_box_reg, loss_mask when masks are on, loss_rpn_cls, loss_rpn_loc); in evaluation mode it
    returns what ``decode`` understands.
    """

    name: str
    version: str

    def __init__(self, cfg: Config) -> None: ...

    def build(self) -> nn.Module:
        """The model on the device MODEL.DEVICE, stages frozen as FREEZE_AT says, in training mode.

        Its weights are to be loaded, or drawn with ``wsl_det.detector.initial.draw``. Raises
        ConfigError or EngineError for a key that this engine cannot honour.
        """
        ...

    def for_inference(self, model: nn.Module) -> nn.Module:
        """What detects in place of ``model``, in evaluation mode, until its weights change.

        ``model`` itself unless WSL_DET.INFERENCE asks for speed, and never changed.
        """
        ...

    def encode(self, batch: Sequence[Example]) -> Any:
        """A batch as the model takes it; images without a target are fine in evaluation mode."""
        ...

    def decode(self, outputs: Any) -> list[Prediction]:
        """What the model returned in evaluation mode, one prediction per image in batch order, on the CPU."""
        ...

    def running(self, seed: int) -> AbstractContextManager[None]:
        """Around a training step: whatever the model draws in it (anchors, boxes) comes from ``seed``.

        Equal seeds draw equal samples in both engines. Evaluation draws nothing and needs no such block.
        An engine that checks its own numbers raises FloatingPointError for those that are not finite.
        """
        ...


def select_engine(name: str = "auto") -> type[DetectorEngine]:
    """The engine called ``name``; "auto" takes Detectron2 if it is installed, else the embedded one.

    A broken Detectron2 raises EngineError and is never a reason to fall back: two runs of one command
    must not differ because an import failed quietly.
    """
    if name not in CHOICES:
        raise ConfigError(f"unknown engine {name!r}; expected one of {', '.join(CHOICES)}")
    if name == "auto":
        name = "detectron2" if installed("detectron2") else "embedded"
    if name == "detectron2":
        _require_detectron2()
    return importlib.import_module(_ENGINES[name]).Engine


def installed(package: str) -> bool:
    """Whether ``package`` is an installed (not necessarily sound) package.

    A bare folder of that name, such as a clone in the working directory, is not an installation.
    """
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def _require_detectron2() -> None:
    if not installed("detectron2"):
        raise EngineError(
            "--engine detectron2 was asked for, but Detectron2 is not installed here; install it from "
            "https://github.com/facebookresearch/detectron2, or pass --engine embedded, "
            "which gives the same results"
        )
    try:
        # model_zoo and _C are what breaks most: pkg_resources is gone from setuptools 82 on, and the
        # extension fails to load when torch was changed after it was compiled.
        for part in ("detectron2", "detectron2._C", "detectron2.modeling", "detectron2.model_zoo"):
            importlib.import_module(part)
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise EngineError(
            f"Detectron2 is installed but does not import ({type(error).__name__}: {error}); "
            f"{_remedy(error)}, or pass --engine embedded, which gives the same results"
        ) from error


def _remedy(error: Exception) -> str:
    if "pkg_resources" in str(error):
        return "install 'setuptools<82', which still has pkg_resources"
    return "rebuild it against the installed torch"
