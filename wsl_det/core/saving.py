"""Checkpoints written while training goes on: a copy is taken at once, the disk is waited for by a thread."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from wsl_det.core import log
from wsl_det.core.checkpoint import RunFolder
from wsl_det.errors import CheckpointError


class Saver:
    """Writes the checkpoints of one run folder, one at a time, in a thread; rank 0 only.

    ``save`` returns when the state is copied to the CPU's memory, so it needs room for one more state
    there. A disk that is full or gone is reported and survived: older checkpoints are kept.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def save(self, iteration: int, state: Mapping[str, Any]) -> None:
        """Begin to write the state after ``iteration``, once the one before has been written."""
        self.wait()
        copied = _copied(state)
        # Not a daemon: an interpreter that ends waits for a file that has been begun.
        self._thread = threading.Thread(target=self._write, args=(iteration, copied), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing is being written; raises what was no trouble with the disk."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _write(self, iteration: int, state: Mapping[str, Any]) -> None:
        try:
            self._folder.save(iteration, state)
        except (OSError, CheckpointError) as error:
            log.get("loop").warning(
                "checkpoint at iteration %d was not written (%s); training goes on, older ones are kept",
                iteration,
                error,
            )
        except BaseException as error:  # a thread's own would only be printed
            self._failure = error


def _copied(value: Any) -> Any:
    """``value`` with every tensor copied to the CPU, so that the next step cannot change it."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        # A shallow copy first: state dicts carry their modules' versions as an attribute.
        twin = copy.copy(value)
        for key, part in value.items():
            twin[key] = _copied(part)
        return twin
    if isinstance(value, list | tuple):
        return type(value)(_copied(part) for part in value)
    return value
