"""A folder of downloaded weights: whole, verified, locked to the hash of the first download."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsl_det.core import files, log
from wsl_det.errors import ConfigError, DownloadError
from wsl_det.zoo import addresses, fetch
from wsl_det.zoo.catalogue import Entry, Licence

LOCK = "zoo.lock.json"
_LOCKED = {"name", "sha256", "bytes", "mtime_ns", "downloaded"}
MIRROR, OFFLINE = "WSL_DET_MIRROR", "WSL_DET_OFFLINE"
Ask = Callable[[Licence], bool]


class Store:
    """The folder ``dest`` with the lock file ``zoo.lock.json``.

    The lock holds, for every file, the full SHA-256 of its first download, and the licences accepted.
    Where the catalogue only knows eight or six digits of a hash, the lock is what later downloads must
    equal; the first one is trusted as far as those digits and https go.
    """

    def __init__(self, dest: str | Path, patience: fetch.Patience | None = None) -> None:
        self.dest = Path(dest)
        self.patience = patience

    def get(self, entry: Entry, *, accept_licence: bool = False, ask: Ask | None = None) -> Path:
        """The entry's file, downloaded unless it is there, verified in either case.

        Processes that want the same file wait for one download. ``ask`` is put the question of a
        non-commercial licence once for a folder; without it, ``accept_licence`` must be given.
        """
        if self.dest.exists() and not self.dest.is_dir():
            raise ConfigError(f"{self.dest} is a file; downloads need a folder")
        self._accept(entry, accept_licence, ask)
        path = self.dest / entry.file_name
        if path.is_dir():
            raise DownloadError(f"{path} is a folder; the file of {entry.name} belongs there: move it away")
        with self.alone(entry.file_name):
            if path.is_file():
                self._check_kept(entry, path)
            else:
                self._download(entry, path)
        return path

    def verify(self, path: str | Path, entry: Entry | None) -> str:
        """A line that says what is proved about a file; DownloadError when it is not what it should be."""
        path = Path(path)
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; name a downloaded file")
        locked = self._lock()["files"].get(path.name)
        if entry is None and locked is None:
            raise ConfigError(
                f"{path.name} is in no catalogue and no lock file; nothing is known to compare it with"
            )
        sha256 = _check_content(entry, path, path.name) if entry else files.sha256(path)
        self._check_locked(path.name, sha256, locked)
        return f"{path}: {_proof(entry, locked)}, sha256 {sha256}"

    def _check_kept(self, entry: Entry, path: Path) -> None:
        locked = self._lock()["files"].get(path.name)
        stat = path.stat()
        if locked and (locked["bytes"], locked["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns):
            return  # unchanged since it was verified
        sha256 = _check_content(entry, path, str(path))
        self._check_locked(path.name, sha256, locked)
        self._record(entry, path, sha256)

    def _download(self, entry: Entry, path: Path) -> None:
        if os.environ.get(OFFLINE, "") not in ("", "0"):
            raise DownloadError(
                f"{entry.name} is not in {self.dest} and {OFFLINE} is set; "
                f"fetch {entry.url} elsewhere and put it at {path}"
            )
        part = path.with_name(f".{path.name}.part")
        mirror = os.environ.get(MIRROR)
        url = addresses.mirrored(entry.url, mirror) if mirror else entry.url
        continued = part.exists()
        fetch.download(url, part, size=entry.bytes, patience=self.patience)
        try:
            sha256 = _check_content(entry, part, url)
            self._check_locked(path.name, sha256, self._lock()["files"].get(path.name))
        except DownloadError:
            fetch.discard(part)
            if not continued:
                raise
            # What an earlier attempt left behind may have been the bad half.
            self._download(entry, path)
            return
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        fetch.discard(part)
        self._record(entry, path, sha256)

    def _check_locked(self, name: str, sha256: str, locked: dict[str, Any] | None) -> None:
        if locked and locked["sha256"] != sha256:
            raise DownloadError(
                f"the file changed: {name} has sha256 {sha256[:16]}..., but {self.dest / LOCK} has "
                f"{locked['sha256'][:16]}... from its first download ({locked['downloaded']}); "
                "delete it and download again, or, if the publisher replaced it, remove it from the lock file"
            )

    def _record(self, entry: Entry, path: Path, sha256: str) -> None:
        stat = path.stat()
        with self.alone("lock"):
            lock = self._lock()
            before = lock["files"].get(path.name, {})
            lock["files"][path.name] = {
                "name": entry.name,
                "url": entry.url,
                "sha256": sha256,
                "bytes": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
                "downloaded": before.get("downloaded") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "licence": entry.licence.name,
            }
            files.write_json(self.dest / LOCK, lock)

    def _accept(self, entry: Entry, accepted: bool, ask: Ask | None) -> None:
        licence = entry.licence
        if not licence.non_commercial or licence.name in self._lock()["licences"]:
            return
        if not accepted and not (ask and ask(licence)):
            raise ConfigError(
                f"{entry.name} is published under {licence.name} ({licence.url}), for non-commercial use "
                "only; read it, then run: "
                f"wsl-det download_model {entry.name} --dest {self.dest} --accept-license"
            )
        with self.alone("lock"):
            lock = self._lock()
            lock["licences"][licence.name] = time.strftime("%Y-%m-%d", time.gmtime())
            files.write_json(self.dest / LOCK, lock)

    def proof(self, entry: Entry, path: Path) -> str:
        """A line that says what is known of a file that ``get`` has given."""
        locked = self._lock()["files"][path.name]
        return f"{path}: sha256 {locked['sha256']}, {_proof(entry, locked)}; kept in {self.dest / LOCK}"

    def sha256(self, path: Path) -> str:
        """The hash of a file; of one in this folder, unchanged since it was verified, the recorded one."""
        locked = self._lock()["files"].get(path.name) if path.parent == self.dest else None
        stat = path.stat()
        if locked and (locked["bytes"], locked["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns):
            return str(locked["sha256"])
        return files.sha256(path)

    def knows(self, path: Path, sha256: str) -> str | None:
        """The catalogue's name of a file that was downloaded into this folder and is unchanged, or None."""
        locked = self._lock()["files"].get(path.name)
        return str(locked["name"]) if locked and locked["sha256"] == sha256 else None

    def _lock(self) -> dict[str, Any]:
        path = self.dest / LOCK
        value = files.read_json(path, "lock file") if path.is_file() else {}
        lock = {
            "schema": 1,
            "files": {},
            "licences": {},
            **(value if isinstance(value, dict) else {"files": 0}),
        }
        tables = isinstance(lock["files"], dict) and isinstance(lock["licences"], dict)
        if not tables or not all(isinstance(v, dict) and v.keys() >= _LOCKED for v in lock["files"].values()):
            raise DownloadError(f"{path} is not a whole lock file of the zoo; mend it or move it away")
        return lock

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """One process at a time; the kernel lets go of the lock when a process dies."""
        self.dest.mkdir(parents=True, exist_ok=True)
        with open(self.dest / f".{what}.lock", "wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.get("zoo").info("another process is busy with %s; waiting for it", what)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _check_content(entry: Entry, path: Path, where: str) -> str:
    """The full SHA-256 of a file whose size and known digits are right; DownloadError otherwise."""
    size = path.stat().st_size
    if entry.bytes is not None and size != entry.bytes:
        raise DownloadError(
            f"{where} has {size} bytes, the catalogue says {entry.bytes}; delete it, download again"
        )
    digests = {"sha256": files.sha256(path)}
    if entry.hash_algorithm and entry.hash_algorithm not in digests:
        with open(path, "rb") as file:
            digests[entry.hash_algorithm] = hashlib.file_digest(file, entry.hash_algorithm).hexdigest()
    expected = [("sha256", entry.sha256)] if entry.sha256 else []
    expected += (
        [(entry.hash_algorithm, entry.hash_prefix)] if entry.hash_algorithm and entry.hash_prefix else []
    )
    for algorithm, digits in expected:
        if not digests[algorithm].startswith(digits or ""):
            raise DownloadError(
                f"{where} has {algorithm} {digests[algorithm][:16]}..., published is {digits}...; "
                "it is damaged or another file: delete it and download again"
            )
    return digests["sha256"]


def _proof(entry: Entry | None, locked: dict[str, Any] | None) -> str:
    proofs = []
    if entry and entry.sha256:
        proofs.append("the catalogue's full hash")
    elif entry and entry.hash_prefix:
        proofs.append(f"the {len(entry.hash_prefix)} published digits of its {entry.hash_algorithm}")
    if locked:
        proofs.append(f"the hash of the first download ({locked['downloaded']})")
    return "equals " + " and ".join(proofs) if proofs else "no hash of it was ever published"
