"""One rank-aware logger, one JSON-lines metric file with TensorBoard beside it, one way to show progress."""

from __future__ import annotations

import json
import logging
import operator
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wsl_det.core import files
from wsl_det.errors import printable, public

T = TypeVar("T")
_ROOT = "wsl_det"
_PLAIN_SECONDS = 5.0


def get(name: str = "") -> logging.Logger:
    """The logger of a module, below the one that ``setup`` configures."""
    return logging.getLogger(f"{_ROOT}.{name}" if name else _ROOT)


def setup(output_dir: str | Path | None = None, rank: int = 0) -> logging.Logger:
    """Send messages to stderr (rank 0 only) and, with ``output_dir``, to ``log.txt`` there."""
    logger = get()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)
    form = _Printable("[%(asctime)s] %(message)s", "%H:%M:%S")
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    handlers: list[logging.Handler] = [screen]
    if output_dir is not None:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        name = "log.txt" if rank == 0 else f"log.rank{rank}.txt"
        handlers.append(logging.FileHandler(Path(output_dir) / name, encoding="utf-8", delay=rank != 0))
        if rank != 0:
            handlers[-1].setLevel(logging.WARNING)
    for handler in handlers:
        handler.setFormatter(form)
        logger.addHandler(handler)
    return logger


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(public(super().format(record)))


class MetricSink:
    """``metrics.jsonl``: one object an iteration, raw values; TensorBoard events beside it.

    Undefined numbers (NaN, infinity) are written as null: the file stays JSON for every reader.
    """

    def __init__(self, path: str | Path, tensorboard_dir: str | Path | None = None) -> None:
        self.path = Path(path)
        self._tensorboard_dir = tensorboard_dir
        self._board: Any = None
        self._purge: int | None = None
        self._file: TextIO | None = None

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record; it is flushed, so a killed run keeps every finished iteration."""
        clean = {k: _plain(v) for k, v in record.items()}
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(json.dumps(clean, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in clean.items() if self.board is not None else ():
            if name != "iteration" and isinstance(value, int | float) and not isinstance(value, bool):
                self.board.add_scalar(name, value, int(clean.get("iteration", 0)))

    def rewind(self, iteration: int) -> None:
        """Forget records at or after ``iteration`` (those a resumed run will make again).

        TensorBoard's are told to be over by what is written next.
        """
        self.close()
        self._purge = iteration
        kept = [line for line, record in self._records() if record.get("iteration", -1) < iteration]
        files.write_text(self.path, "".join(f"{line}\n" for line in kept))

    def holds_hooks(self, iteration: int) -> bool:
        """Whether a record of ``iteration`` is there beside its step's, such as an evaluation's."""
        found = (record for _, record in self._records() if record.get("iteration") == iteration)
        return any("lr" not in record for record in found)

    def conclude(self, record: Mapping[str, Any]) -> None:
        """``write``, in place of what a killed run wrote beside the same iteration's step; then close."""
        if self.holds_hooks(same := record["iteration"]):
            kept = [x for x, old in self._records() if old.get("iteration") != same or "lr" in old]
            self.close()
            files.write_text(self.path, "".join(f"{line}\n" for line in kept))
        self.write(record)
        self.close()

    def _records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else ():
            try:
                yield line, json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a killed run can be half a record

    def flush(self) -> None:
        """Bring TensorBoard's events to the disk too; its writer would keep them back for two minutes."""
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """Close the files; what is written later opens them anew."""
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()
        self._file = self._board = None

    @property
    def board(self) -> Any:
        """The TensorBoard writer, for pictures and histograms; None without a folder for it."""
        if self._board is None and self._tensorboard_dir is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._tensorboard_dir), purge_step=self._purge)
        return self._board


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value - value != 0 else value


@contextmanager
def bar(total: int, done: int, what: str, shown: bool = True) -> Iterator[tqdm[NoReturn]]:
    """A live bar of ``total`` steps on a terminal, messages above it; elsewhere one that shows nothing."""
    shown = shown and _live()
    with ExitStack() as stack:
        if shown:
            stack.enter_context(logging_redirect_tqdm([get()]))
        yield stack.enter_context(
            tqdm(total=total, initial=done, desc=what, disable=not shown, dynamic_ncols=True)
        )


def _live() -> bool:
    return sys.stderr.isatty() and "CI" not in os.environ


def progress(items: Iterable[T], total: int | None = None, what: str = "") -> Iterator[T]:
    """``items``, with a bar on a terminal, and otherwise one plain line every few seconds."""
    what = printable(what)
    if _live():
        yield from tqdm(items, total=total, desc=what, dynamic_ncols=True, leave=None)
        return
    total = total or operator.length_hint(items) or None
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= _PLAIN_SECONDS:
            last = now
            left = f", {(now - start) / done * (total - done):.0f} s left" if total else ""
            print(f"{what}: {done}{f'/{total}' if total else ''}{left}", file=sys.stderr, flush=True)
