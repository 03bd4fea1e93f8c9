"""Stores that fsspec opens, read patiently: ranges asked again from where they broke, one message at last."""

from __future__ import annotations

import asyncio
import errno
import functools
import math
import os
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

from wsl_det.errors import ConfigError, DataError, first_line, public

T = TypeVar("T")
TIMEOUT = "WSL_DET_READ_TIMEOUT"
ATTEMPTS = 6  # in a row without a new byte
FIRST_WAIT = 0.2  # seconds, doubled with every attempt, times a random number up to 1
_HTTP = ("http", "https")
_PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface_hub",
    **dict.fromkeys(_HTTP, "aiohttp"),
}
# These take an object whole or not at all; others are given another name first.
_SINGLE_PUT = ("s3", "s3a", "gs", "gcs", "hf", "memory", "az", "abfs")
_REFUSED, _GONE = (401, 403), (404, 410)
_FINAL = (errno.EINVAL, errno.ENOSYS, errno.ENAMETOOLONG, errno.ENOSPC)
_RIGHTS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws, or FSSPEC_S3_ANON=true for a public bucket",
    "gs": "`gcloud auth application-default login`",
    "hf": "`hf auth login` or HF_TOKEN",
    **dict.fromkeys(_HTTP, "~/.netrc"),
}


class Info(NamedTuple):
    """What a store says of an object; ``tag`` changes with its content, empty where the store has none."""

    size: int
    tag: str


class Broken(DataError):
    """A store that did not give what it has, however often it was asked."""


class Gone(DataError):
    """An object that is not there."""


class Refused(DataError):
    """An object that is not for us; some stores say so of what is not there, too."""


class Folder(DataError):
    """A folder where a file was asked for."""


class _Wrong(OSError):
    """An answer to another question: not the range, not the length."""


def scheme(address: str) -> str:
    """What stands before ``://``."""
    return address.partition("://")[0]


def timeout() -> float:
    """Seconds without a byte after which a read is asked again."""
    text = os.environ.get(TIMEOUT, "10")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{TIMEOUT} is {text!r}; expected seconds above 0")
    return seconds


@functools.cache
def _system(kind: str, process: int, seconds: float) -> Any:  # connections are a process's own
    import fsspec

    try:
        cls = fsspec.get_filesystem_class(kind)
    except ImportError as error:
        package = _PACKAGES.get(kind) or first_line(error)
        raise ConfigError(f"{kind}:// is read by {package}: pip install {package}") from None
    except ValueError:
        known = ", ".join(f"{name}://" for name in ("s3", "gs", "hf", "https", "http"))
        raise ConfigError(f"{kind}:// is no store that fsspec knows; {known} are some that it does") from None
    if kind in _HTTP:
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
        return cls(client_kwargs={"trust_env": True, "timeout": limits})
    if kind in ("s3", "s3a"):
        waits = {"read_timeout": seconds, "connect_timeout": seconds, "retries": {"max_attempts": 1}}
        system = cls(config_kwargs=waits, use_listings_cache=False, skip_instance_cache=True)
        system.retries = 1  # whoever calls is patient enough
        return system
    return cls(use_listings_cache=False)


def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and its path there."""
    system = _system(scheme(address), os.getpid(), timeout())
    return system, system._strip_protocol(address)


def _patiently(address: str, call: Callable[[], T]) -> T:
    failures = 0
    while True:
        try:
            return call()
        except Exception as error:  # each library raises its own
            failures += 1
            time.sleep(_judged(error, address, failures))


def _judged(error: Exception, address: str, failures: int) -> float:
    """Seconds to wait before the next attempt; DataError where there is none."""
    told, status = public(first_line(error))[:300], getattr(error, "status", 0)
    if isinstance(error, DataError | ConfigError | MemoryError):
        raise error
    if isinstance(error, FileNotFoundError) or status in _GONE:
        raise Gone(f"{public(address)} does not exist ({told})") from None
    if isinstance(error, PermissionError) or status in _REFUSED or "Credentials" in type(error).__name__:
        _refused(address, told)
    final = isinstance(error, ValueError | TypeError | NotImplementedError) and not isinstance(error, OSError)
    if final or (isinstance(error, OSError) and error.errno in _FINAL) or 400 <= status < 408:
        raise DataError(
            f"{public(address)} cannot be read or written ({told}); look at the address"
        ) from None
    if failures >= ATTEMPTS:
        kind = "" if str(error) else f", no byte in {timeout():g} s"
        raise Broken(
            f"{public(address)}: gave up after {failures} attempts without progress ({told}{kind}); look at "
            f"the network and the store, or set {TIMEOUT} higher"
        ) from None
    return random.random() * min(10.0, FIRST_WAIT * 2**failures)


def _refused(address: str, told: str) -> NoReturn:
    if re.search(r"time.*(skew|difference|too large)|(skew|difference).*time", told, re.IGNORECASE):
        raise DataError(f"{public(address)}: this machine's clock is wrong ({told}); set it (chrony, ntp)")
    rights = _RIGHTS.get(scheme(address), f"{scheme(address)}'s library")
    raise Refused(f"{public(address)}: no permission ({told}); credentials are taken from {rights}")


def info(address: str) -> Info:
    """Size and tag of an object; DataError when it is not there or not for us."""
    system, path = _opened(address)
    found = _patiently(address, lambda: _head(system, path))
    if found.get("type") == "directory":
        raise Folder(f"{public(address)} is a folder; expected a file")
    if found.get("size") is None:
        raise DataError(f"{public(address)}: the server does not say how long it is; expected Content-Length")
    return _told(found)


def _told(entry: dict[str, Any]) -> Info:
    tags = ("ETag", "etag", "blob_id", "md5Hash", "LastModified", "mtime", "created")
    tag = next((str(entry[key]).strip('"') for key in tags if entry.get(key)), "")
    return Info(int(entry.get("size") or 0), tag)


def _head(system: Any, path: str) -> dict[str, Any]:
    if system.protocol[0] not in _HTTP:
        return dict(system.info(path))
    from fsspec.asyn import sync

    async def ask() -> dict[str, Any]:
        session = await system.set_session()
        asked = {"Accept-Encoding": "identity"}
        async with session.head(system.encode_url(path), allow_redirects=True, headers=asked) as answer:
            answer.raise_for_status()
            found = answer.headers
            tags = {"ETag": found.get("ETag"), "LastModified": found.get("Last-Modified")}
            return {**tags, "size": answer.content_length}

    return dict(sync(system.loop, ask))


def exists(address: str) -> bool:
    """Whether an object or a folder stands there."""
    system, path = _opened(address)
    if system.protocol[0] not in _HTTP:
        return bool(_patiently(address, lambda: system.exists(path)))
    try:
        return info(address).size >= 0
    except Gone:
        return False


def read(address: str, start: int, stop: int) -> bytes:
    """The bytes ``start`` .. ``stop - 1`` of an object, all of them or an error.

    An answer that breaks off, or stands still for ``timeout`` seconds, is asked for again from there on.
    Raises Broken after ``ATTEMPTS`` without a new byte, DataError where asking again is of no use.
    """
    if stop <= start:
        return b""
    system, path = _opened(address)
    if not getattr(system, "async_impl", False):
        return _patiently(address, lambda: _of_length(system.cat_file(path, start, stop), stop - start))
    from fsspec.asyn import sync

    found: bytes = sync(system.loop, _read, system, path, address, start, stop)
    return found


async def _read(system: Any, path: str, address: str, start: int, stop: int) -> bytes:
    got, failures = bytearray(), 0
    while len(got) < stop - start:
        before = len(got)
        try:
            pieces = _arriving(system, path, start + before, stop)
            async for piece in pieces:
                got += piece
                _of_length(got, stop - start, at_most=True)
            _of_length(got, stop - start)
        except Exception as error:  # each library raises its own
            if len(got) > stop - start:
                del got[before:]
            failures = 1 if len(got) > before else failures + 1
            await asyncio.sleep(_judged(error, address, failures))
    return bytes(got)


def _of_length(data: Any, wanted: int, *, at_most: bool = False) -> Any:
    if len(data) > wanted or (len(data) < wanted and not at_most):
        raise _Wrong(f"{len(data):,} bytes arrived where {wanted:,} were asked for")
    return data


async def _arriving(system: Any, path: str, start: int, stop: int) -> AsyncIterator[bytes]:
    """The bytes of a range as they arrive; TimeoutError when nothing does for a while."""
    asked, seconds = f"bytes={start}-{stop - 1}", timeout()
    if system.protocol[0] in _HTTP:
        session = await system.set_session()
        headers = {"Range": asked, "Accept-Encoding": "identity"}
        async with session.get(system.encode_url(path), headers=headers) as answer:
            answer.raise_for_status()
            if not (answer.status == 200 and start == 0 and answer.content_length == stop):
                _must_be_range(answer.headers.get("Content-Range"), start, stop)
            async for piece in answer.content.iter_any():
                yield piece
    elif system.protocol[0] in ("s3", "s3a"):
        bucket, key, _ = system.split_path(path)
        answer = await asyncio.wait_for(
            system._call_s3("get_object", Bucket=bucket, Key=key, Range=asked), 2 * seconds
        )
        _must_be_range(answer.get("ContentRange"), start, stop)
        async with answer["Body"] as body:
            while piece := await asyncio.wait_for(body.read(1 << 18), seconds):
                yield piece
    else:
        yield await asyncio.wait_for(system._cat_file(path, start, stop), 6 * seconds)


def _must_be_range(told: str | None, start: int, stop: int) -> None:
    if not told:
        raise _Wrong("the whole file came where a range was asked for: the server must serve ranges")
    if not told.startswith(f"bytes {start}-{stop - 1}/"):
        raise _Wrong(f"the range {told[:60]!r} came where {start}-{stop - 1} was asked for")


def put(path: Path, address: str) -> Info:
    """Copy a file there, whole or not at all; what the store says of it."""
    system, place = _opened(address)
    kind = scheme(address)
    if kind in _HTTP:
        raise DataError(f"{public(address)}: nothing is written over {kind}; give s3://, gs:// or a folder")

    def copy() -> None:
        if kind in _SINGLE_PUT:
            system.put_file(str(path), place)
            return
        scratch = f"{place}.{os.getpid()}.part"
        system.makedirs(system._parent(place), exist_ok=True)
        try:
            system.put_file(str(path), scratch)
            system.mv(scratch, place)
        except BaseException:
            if system.exists(scratch):
                system.rm(scratch)
            raise

    _patiently(address, copy)
    found = info(address)
    if found.size != (size := path.stat().st_size):
        raise DataError(f"{public(address)} has {found.size:,} bytes after {size:,} were put there")
    return found


def listed(address: str) -> dict[str, Info]:
    """The objects below a folder by their names relative to it."""
    system, path = _opened(address)
    found = _patiently(address, lambda: system.find(path, detail=True))
    root = path.rstrip("/") + "/"
    return {name.removeprefix(root): _told(entry) for name, entry in found.items() if name.startswith(root)}


def matching(address: str) -> list[str]:
    """The addresses that a glob stands for, sorted."""
    system, path = _opened(address)
    kind = scheme(address)
    found = _patiently(address, lambda: system.glob(path))
    return sorted(name if "://" in name else f"{kind}://{name.lstrip('/')}" for name in found)


def create(address: str, data: bytes) -> bool | None:
    """Put an object where there is none: whether it was so; None where the store cannot tell."""
    from fsspec import AbstractFileSystem

    system, path = _opened(address)
    if getattr(system.pipe_file, "__func__", None) is AbstractFileSystem.pipe_file:
        return None  # it looks first and puts then, and others come between

    def once() -> bool | None:
        try:
            system.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except (NotImplementedError, TypeError, ValueError, OSError) as error:
            lacking = isinstance(error, NotImplementedError) or getattr(error, "errno", None) == errno.ENOSYS
            if lacking or (not isinstance(error, OSError) and "mode" in str(error)):
                return None
            raise
        return True

    return _patiently(address, once)


def remove(address: str) -> None:
    """Remove an object, if it is there."""
    system, path = _opened(address)
    if exists(address):
        _patiently(address, lambda: system.rm_file(path))
