"""Signals that a training acts upon where its state is whole."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

# On these a run saves after its step and ends; SIGUSR1 only saves.
ENDING = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C", signal.SIGHUP: "SIGHUP"}
ALL = (*ENDING, signal.SIGUSR1)
# torchrun passes on a Ctrl-C that the terminal gives its workers too: what follows so soon is the same one.
_ECHO_S = 1.0


class Listening:
    """Collects signals while training, and gives the old handlers back."""

    def __init__(self, heard: set[int], *, speaks: bool = True) -> None:
        self.heard, self.speaks = heard, speaks
        self.old: dict[int, Any] = {}
        self.interrupted: float | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in ALL:
                # Whoever started us ignoring it (nohup, a shell's background) wants it ignored.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.old[number] = signal.signal(number, self._note)

    def __exit__(self, *exc: object) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.heard.add(number)
        if number != signal.SIGINT:
            return
        if self.interrupted is None:
            self.interrupted = time.monotonic()
            if self.speaks:
                os.write(2, b"Ctrl-C: saving after this step; once more ends at once\n")
        elif "TORCHELASTIC_RUN_ID" not in os.environ or time.monotonic() - self.interrupted > _ECHO_S:
            raise KeyboardInterrupt
