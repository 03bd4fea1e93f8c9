"""What is installed here, whether it fits together, and which engine ``auto`` takes."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from wsl_det import __version__
from wsl_det.detector import engine as engines
from wsl_det.errors import EngineError

# What users most often lack or mix up; the rest of the requirements come with them.
_PACKAGES = ("timm", "fvcore", "pycocotools", "nltk", "opencv-python-headless", "numpy", "pillow")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``remedy`` is empty when there is nothing to mend."""

    what: str
    found: str
    remedy: str = ""

    def line(self) -> str:
        """For a terminal."""
        problem = f"\n{'':<28}-> {self.remedy}" if self.remedy else ""
        return f"{'!!' if self.remedy else 'ok'}  {self.what:<24}{self.found}{problem}"


def look() -> list[Finding]:
    """Everything in the order in which to mend it."""
    found = [Finding("wsl_det", f"{__version__}, Python {platform.python_version()}")]
    found += [_package(name) for name in _PACKAGES]
    # Each of these stands on the one before; a broken one is named once and not again by its dependants.
    found.append(_attempt("torch", _torch_version, "pip install --force-reinstall torch torchvision"))
    if not found[-1].remedy:
        remedy = (
            "torch and torchvision come in pairs: pip install --upgrade torch torchvision, from one index"
        )
        found.append(_attempt("torchvision", _torchvision_version, remedy))
    return found if found[-1].remedy else [*found, _devices(), _detectron2(), _auto()]


def _package(name: str) -> Finding:
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", f"pip install {name}")


def _attempt(what: str, action: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(what, action())
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return Finding(what, f"does not work ({type(error).__name__}: {first})", remedy)


def _torch_version() -> str:
    import torch

    return f"{torch.__version__}, " + (f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only")


def _torchvision_version() -> str:
    import torch
    import torchvision

    # A torchvision for another torch imports well and fails at its first compiled operator.
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    return f"{torchvision.__version__}, its operators run"


def _devices() -> Finding:
    import torch

    if not torch.version.cuda:
        return Finding("devices", "CPU (this torch knows no other); configs need MODEL.DEVICE cpu")
    if not torch.cuda.is_available():
        return Finding("devices", "CPU; torch could use CUDA but sees no GPU; configs need MODEL.DEVICE cpu")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding("devices", f"{len(names)} GPU: {', '.join(sorted(set(names)))}")


def _detectron2() -> Finding:
    if not engines.installed("detectron2"):
        return Finding("detectron2", "not installed; the embedded engine gives the same results")
    try:
        engines.select_engine("detectron2")
    except EngineError as error:
        return Finding("detectron2", "installed but broken", str(error))
    installed = importlib.import_module("wsl_det.detector.d2.engine")
    return _fits_torch(installed.compiled_version(), installed.compiled_cuda())


def _fits_torch(version: str, compiled_for: str | None) -> Finding:
    """Whether an extension compiled for that CUDA (None: CPU) fits this torch and machine."""
    import torch

    ours, wrong = torch.version.cuda, ""
    if compiled_for is None:
        wrong = " only, while there is a GPU" if torch.cuda.is_available() else ""
    elif ours is None:
        wrong = ", while torch is CPU only"
    elif compiled_for.partition(".")[0] != ours.partition(".")[0]:
        wrong = f", while torch has {ours}"
    found = f"{version}, for {f'CUDA {compiled_for}' if compiled_for else 'the CPU'}{wrong}"
    remedy = "rebuild Detectron2 against this torch with the matching CUDA toolkit, or pass --engine embedded"
    return Finding("detectron2", found, remedy if wrong else "")


def _auto() -> Finding:
    try:
        taken = engines.select_engine("auto")
    except EngineError:
        # Its cause and remedy stand in the line about Detectron2.
        return Finding("--engine auto", "stops with an error, because Detectron2 is installed but broken")
    why = "is" if engines.installed("detectron2") else "is not"
    return Finding("--engine auto", f"takes {taken.name}, because Detectron2 {why} installed")
