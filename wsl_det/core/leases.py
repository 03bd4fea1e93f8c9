"""A lock where no kernel frees one: an object put only where there is none, which expires unless renewed."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsl_det.core import log, stores
from wsl_det.core.stores import scheme
from wsl_det.errors import ConfigError, DataError, WslError, public

EXPIRY = 120.0  # seconds after which a holder that does not renew it has lost it
_UNREADABLE = 5.0  # for which a lock may say nothing of its holder
_SETTLED = 1.0  # between taking over what was abandoned and looking whether somebody else did


@contextmanager
def alone(
    address: str, what: str, advice: str, *, wait_s: float = 0.0, error: type[WslError] = ConfigError
) -> Iterator[Callable[[], None]]:
    """Hold the lock object ``address``, renewed by a thread, gone afterwards.

    Waits ``wait_s`` seconds for whoever has it, then raises ``error``. Of a process of this machine that died
    it is taken over at once, of others when it has expired. A store that cannot put conditionally has no
    lock: a warning says so. What is yielded raises ``error`` once the lock was lost to somebody else.
    """
    if scheme(address) in ("http", "https"):
        raise error(
            f"{public(address)}: nothing is written over {scheme(address)}; give s3://, gs:// or a path"
        )
    mine = {"token": uuid.uuid4().hex, "process": os.getpid(), "host": socket.gethostname(), "pids": _pids()}
    until = time.monotonic() + wait_s
    while not (locked := _taken(address, mine)):
        if locked is None:
            log.get().warning(
                "%s: this store has no conditional put, so nothing keeps another run out of %s", address, what
            )
            yield lambda: None
            return
        if told := _busy(address, time.monotonic() - until):
            raise error(f"another process is at work on {what} ({told}); {advice}")
        time.sleep(min(0.5, max(0.05, wait_s / 10)))
    stop = threading.Event()

    def lost() -> bool:
        return (found := _read(address)) is not None and found.get("token") != mine["token"]

    def renew() -> None:
        while not stop.wait(EXPIRY / 4) and not lost():
            try:
                _put(address, mine)
            except WslError as trouble:
                log.get().warning("the lock of %s could not be renewed: %s", what, trouble)

    def check() -> None:
        if lost():  # looked at anew: the network may have been away for longer than the lock holds
            raise error(f"{what} was taken over by another process; this one writes nothing more there")

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield check
    finally:
        stop.set()
        thread.join()
        if (_read(address) or {}).get("token") == mine["token"]:
            stores.remove(address)


def _busy(address: str, waited_s: float) -> str:
    """Who has the lock, for a message, when it has been waited for long enough; empty before."""
    holder = _read(address)
    if holder is None:  # it is going, being written, or damaged
        told = f"{public(address)} does not say which: remove it if there is none"
        return told if waited_s >= _UNREADABLE else ""
    if waited_s < 0 or _abandoned(holder):
        return ""
    return f"process {holder.get('process')} on {holder.get('host')}"


def _taken(address: str, mine: dict[str, Any]) -> bool | None:
    """Whether the lock is ours now; None where the store cannot tell."""
    # Looked at first: some stores pass over the condition of a put.
    made = False if stores.exists(address) else stores.create(address, _content(mine))
    if made is not False:
        return made
    holder = _read(address)
    if holder is not None and holder.get("token") == mine["token"]:
        return True  # an answer that was lost on its way
    if holder is None or not _abandoned(holder):
        return False
    log.get().info("the lock of %s was left by process %s", public(address), holder.get("process"))
    stores.remove(address)
    if not stores.create(address, _content(mine)):
        return False
    time.sleep(_SETTLED)
    return (_read(address) or {}).get("token") == mine["token"]


def _content(mine: dict[str, Any]) -> bytes:
    return json.dumps({**mine, "until": time.time() + EXPIRY}).encode()


def _put(address: str, mine: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "lock"
        path.write_bytes(_content(mine))
        stores.put(path, address)


def _read(address: str) -> dict[str, Any] | None:
    try:
        value = json.loads(stores.read(address, 0, stores.info(address).size))
    except (DataError, ValueError):
        return None  # gone, or being written
    return value if isinstance(value, dict) else None


def _abandoned(holder: dict[str, Any]) -> bool:
    process, until = holder.get("process"), holder.get("until")
    if holder.get("pids") == _pids() != "" and isinstance(process, int) and process != os.getpid():
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
    return not isinstance(until, int | float) or time.time() > until


def _pids() -> str:
    """What numbers of processes are of: containers may share a name, not these; empty where it is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
