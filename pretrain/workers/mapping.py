"""A map over many items on an executor: results in order, so the executor never shows in them."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from wsl_det.errors import ConfigError, DataError

# What these options say decides nothing about the output, so its header leaves them out.
FREE = ("--workers", "--scheduler")
T = TypeVar("T")
R = TypeVar("R")


def add_worker_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --workers and --scheduler; ``what`` the processes do, for the help."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--workers", type=int, help=f"processes that {what} (default: every core)")
    group.add_argument(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="a Dask scheduler whose workers do it instead; they must see the same files",
    )


def num_workers(asked: int | None) -> int:
    """``asked`` processes, or one for every core this process may use."""
    if asked is not None and asked < 1:
        raise ConfigError(f"--workers {asked}: give 1 or more")
    return asked or len(os.sched_getaffinity(0))


def in_order(
    function: Callable[[T], R], items: Iterable[T], workers: int, scheduler: str | None = None
) -> Iterator[R]:
    """``function`` of every item, in order, in ``workers`` processes (1: in this one).

    With ``scheduler``, the address of a Dask scheduler, its workers do it instead and ``workers``
    does not count; a worker that dies there is made up for by the others. ``function`` and items
    must pickle, and files they name must be where the workers see them. Raises DataError when a
    process dies, ConfigError when there is no such cluster.
    """
    if scheduler is not None:
        from pretrain.workers import cluster

        with cluster.connect(scheduler) as (executor, slots):
            yield from ahead(executor, function, items, 2 * slots)
    elif workers == 1:
        yield from map(function, items)
    else:
        yield from _in_processes(function, items, workers)


def _in_processes(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    try:
        with processes(workers) as pool:
            yield from ahead(pool, function, items, 2 * workers)
    except BrokenProcessPool:
        raise DataError("a worker process died (out of memory?); use fewer --workers") from None


def processes(workers: int) -> ProcessPoolExecutor:
    """A pool of ``workers`` processes that end with this one, also when it is killed."""
    # Spawned, not forked: whoever calls this may have threads (torch, a test runner).
    context = multiprocessing.get_context("spawn")
    return _Pool(workers, mp_context=context, initializer=_end_with_parent)


class _Pool(ProcessPoolExecutor):
    """Holds SIGINT back from processes that start, until they can take it without a traceback."""

    def submit(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(function, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Let this process end when the one that started it does: a killed job must leave nobody behind."""
    # A terminal gives its Ctrl-C to all; what there is to say, the parent says.
    signal.signal(signal.SIGINT, lambda *_: os._exit(1))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_outlive, args=(parent,), daemon=True).start()


def _outlive(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def ahead(pool: Executor, function: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[R]:
    """``function`` of every item on any executor, in order, at most ``depth`` of them under way."""
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
