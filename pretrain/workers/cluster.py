"""A Dask cluster as a ``concurrent.futures`` executor; the only place that knows Dask."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from typing import Any

from wsl_det import __version__
from wsl_det.errors import ConfigError, DataError

_SECONDS = 30  # for the scheduler to answer, and for a first worker to come


@contextmanager
def connect(address: str) -> Iterator[tuple[Executor, int]]:
    """An executor on the cluster whose scheduler is at ``address``, and how many tasks it runs at once.

    Workers may come, go and die meanwhile: what a lost one did is done again by the others. Raises
    ConfigError when distributed is missing, nobody answers, no worker comes, or a worker runs another
    version of this program; DataError when the cluster is lost or kills the same task again and again.
    """
    try:
        import distributed
    except ModuleNotFoundError:
        raise ConfigError("--scheduler needs Dask: pip install dask distributed") from None
    client = _client(distributed, address)
    try:
        _must_be_like_us(client, address)
        yield _Tasks(client), sum(client.nthreads().values())
    except distributed.KilledWorker as error:
        raise DataError(
            f"the cluster at {address} lost worker after worker to one task (out of memory?): {error}"
        ) from None
    except (CancelledError, distributed.comm.CommClosedError) as error:
        # Not to be taken for the Ctrl-C of the user.
        raise DataError(f"the cluster at {address} was lost ({type(error).__name__})") from None
    finally:
        client.close()


class _Tasks(Executor):
    # Dask's own executor copies results into futures of concurrent.futures, and when the scheduler is
    # lost it never does: whoever waits, waits for ever. Dask's futures can be waited for themselves.
    def __init__(self, client: Any) -> None:
        self._client = client

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        return self._client.submit(function, *arguments, **named, pure=False)


def _client(distributed: Any, address: str) -> Any:
    try:
        client = distributed.Client(address, timeout=_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"--scheduler {address}: no Dask scheduler answers there ({_first_line(error)}); start one with "
            "`dask scheduler` and give the address it prints, tcp://HOST:8786"
        ) from None
    try:
        client.wait_for_workers(1, timeout=_SECONDS)
    except TimeoutError:
        client.close()
        raise ConfigError(
            f"--scheduler {address} has no workers; start some with `dask worker {address}`"
        ) from None
    return client


def identity() -> tuple[str, str]:
    """What must be the same everywhere for the same output: our version, and that of Unicode."""
    return __version__, unicodedata.unidata_version


def _must_be_like_us(client: Any, address: str) -> None:
    try:
        found = client.run(identity)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"a worker of {address} has no {error.name}; install wsl_det {__version__} where they run"
        ) from None
    for worker, its in sorted(found.items()):
        if its != identity():
            raise ConfigError(
                f"worker {worker} runs wsl_det {its[0]} with Unicode {its[1]}, here are {__version__} and "
                f"{unicodedata.unidata_version}; the output would depend on who does what: make them the same"
            )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
