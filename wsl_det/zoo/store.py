"""A folder of downloaded weights: whole, verified, locked to the hash of the first download."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from wsl_det.core import files, foreign, locks, log
from wsl_det.errors import CheckpointError, ConfigError, DownloadError
from wsl_det.zoo import fetch, listing
from wsl_det.zoo.catalogue import Entry, Licence

LOCK = "zoo.lock.json"
MIRROR = "WSL_DET_MIRROR"
_NEAR = (0.8, 2.5)
"""Sizes told by the architecture alone: a file may lack a head, or hold the optimiser's state beside it."""
Ask = Callable[[Licence], bool]


class _Locked(msgspec.Struct):
    name: str
    sha256: str
    bytes: int
    mtime_ns: int
    downloaded: str


class Store:
    """The folder ``dest`` with the lock file ``zoo.lock.json``.

    The lock holds, for every file, the full SHA-256 of its first download, and the licences accepted.
    Where the catalogue only knows eight or six digits of a hash, the lock is what later downloads must
    equal; the first one is trusted as far as those digits and https go. Where it knows none, the first
    one must be near the size that its architecture has, and read as weights of it. A folder that cannot
    be written serves what it holds.
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
        if self._unchanged(path):
            return path
        self.dest.mkdir(parents=True, exist_ok=True)
        if not path.is_file() and foreign.offline():
            raise DownloadError(
                f"{entry.name} is not in {self.dest} and {foreign.OFFLINE} is set; "
                f"fetch {entry.url} elsewhere and put it at {path}"
            )
        if not self._writable():
            if not path.is_file():
                raise ConfigError(
                    f"{self.dest} cannot be written and holds no {path.name}; choose another --dest"
                )
            self._checked(entry, path, str(path))  # nothing to wait for, and no room for a lock
            return path
        with self.alone(entry.file_name):
            if not path.is_file():
                self._download(entry, path)
            elif not self._unchanged(path):
                self._record(path.name, path, self._checked(entry, path, str(path)), _facts(entry))
        return path

    def verify(self, path: str | Path, entry: Entry | None) -> str:
        """A line that says what is proved about a file; DownloadError when it is not what it should be."""
        path = Path(path)
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; name a downloaded file")
        locked = self._locked(path.name)
        if entry is None and locked is None:
            raise ConfigError(f"{path.name} is in no catalogue and no lock file: nothing is known about it")
        sha256 = _check_content(entry, path, path.name) if entry else files.sha256(path)
        self._check_locked(path.name, sha256)
        return f"{path}: {_proof(entry, locked)}, sha256 {sha256}"

    def _unchanged(self, path: Path) -> bool:
        """Whether a file is as it was when it was verified."""
        locked = self._locked(path.name)
        if locked is None or not path.is_file():
            return False
        stat = path.stat()
        return (locked["bytes"], locked["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)

    def _writable(self) -> bool:
        """Whether a lock can be kept in the folder; rights alone do not tell (root, read-only mounts)."""
        trial = self.dest / f".trial.{os.getpid()}"
        try:
            trial.touch()
            trial.unlink()
        except OSError:
            return False
        return True

    def _checked(self, entry: Entry, path: Path, where: str) -> str:
        """The hash of a file that is what it should be; DownloadError, which names ``where``, otherwise."""
        sha256 = _check_content(entry, path, where)
        if self._check_locked(entry.file_name, sha256) is None:
            _check_first(entry, path, where)
        return sha256

    def _download(self, entry: Entry, path: Path) -> None:
        part = path.with_name(f".{path.name}.part")
        mirror = os.environ.get(MIRROR)
        url = fetch.mirrored(entry.url, mirror) if mirror else entry.url
        continued = part.exists()
        fetch.download(url, part, size=entry.bytes, patience=self.patience)
        try:
            sha256 = self._checked(entry, part, url)
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
        self._record(path.name, path, sha256, _facts(entry))

    def _check_locked(self, name: str, sha256: str) -> dict[str, Any] | None:
        locked = self._locked(name)
        if locked and locked["sha256"] != sha256:
            raise DownloadError(
                f"the file changed: {name} has sha256 {sha256[:16]}..., but {self.dest / LOCK} has "
                f"{locked['sha256'][:16]}... from its first download ({locked['downloaded']}); "
                "delete it and download again, or, if the publisher replaced it, remove it from the lock file"
            )
        return locked

    def pinned(self, name: str) -> dict[str, Any]:
        """What the lock file holds of something that came under ``name`` from elsewhere."""
        return self._locked(name) or {}

    def pin(self, name: str, path: Path, facts: dict[str, Any]) -> None:
        """Hold ``name`` to the file that came under it first; DownloadError when this is another."""
        sha256 = files.sha256(path)
        if self._check_locked(name, sha256) is None:
            self.dest.mkdir(parents=True, exist_ok=True)
            if self._writable():
                self._record(name, path, sha256, {"name": name, **facts})
            else:
                log.get("zoo").warning("%s cannot be written: %s is not held to its hash", self.dest, name)

    def _record(self, key: str, path: Path, sha256: str, facts: dict[str, Any]) -> None:
        stat = path.stat()
        with self.alone("lock"):
            lock = self._lock()
            before = lock["files"].get(key, {})
            lock["files"][key] = {
                **facts,
                "sha256": sha256,
                "bytes": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
                "downloaded": before.get("downloaded") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
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
        if self.dest.exists() and not self._writable():
            return
        with self.alone("lock"):
            lock = self._lock()
            lock["licences"][licence.name] = time.strftime("%Y-%m-%d", time.gmtime())
            files.write_json(self.dest / LOCK, lock)

    def proof(self, entry: Entry, path: Path) -> str:
        """A line that says what is known of a file that ``get`` has given."""
        locked = self._locked(path.name)
        kept = f"; kept in {self.dest / LOCK}" if locked else ""
        return f"{path}: sha256 {self.sha256(path)}, {_proof(entry, locked)}{kept}"

    def sha256(self, path: Path) -> str:
        """The hash of a file; of one in this folder, unchanged since it was verified, the recorded one."""
        if path.parent == self.dest and self._unchanged(path):
            return str((self._locked(path.name) or {})["sha256"])
        return files.sha256(path)

    def knows(self, path: Path, sha256: str) -> str | None:
        """The catalogue's name of a file that was downloaded into this folder and is unchanged, or None."""
        locked = self._locked(path.name)
        return str(locked["name"]) if locked and locked["sha256"] == sha256 else None

    def _locked(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._lock()["files"].get(name)
        return found

    def _lock(self) -> dict[str, Any]:
        path = self.dest / LOCK
        value = files.read_json(path, "lock file") if path.is_file() else {}
        told = value if isinstance(value, dict) else {"files": 0}
        lock = {"schema": 1, "files": {}, "licences": {}, **told}
        try:
            msgspec.convert((lock["files"], lock["licences"]), tuple[dict[str, _Locked], dict[str, Any]])
        except msgspec.ValidationError:
            raise DownloadError(f"{path} is not a whole lock file; mend it or move it away") from None
        return lock

    def alone(self, what: str) -> AbstractContextManager[None]:
        """One process at a time, others wait; the kernel lets go of the lock when a process dies."""
        return locks.alone(self.dest / f".{what}.lock", what, "wait for it", wait_s=-1)


def asker() -> Ask | None:
    """``ask`` where a person is at the terminal, None in scripts."""
    return ask if sys.stdin is not None and sys.stdin.isatty() else None


def ask(licence: Licence) -> bool:
    """Whether the person at the terminal accepts ``licence``; anything but "yes" is no."""
    print(f"These weights are published under {licence.name}, for non-commercial use only:", file=sys.stderr)
    print(f"  {licence.url}", file=sys.stderr)
    print('Type "yes" to accept: ', end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"


def _facts(entry: Entry) -> dict[str, Any]:
    return {"name": entry.name, "url": entry.url, "licence": entry.licence.name}


def _check_first(entry: Entry, path: Path, where: str) -> None:
    """Raise DownloadError unless a file without published digits is near its size and reads as weights."""
    if entry.sha256 or entry.hash_prefix:
        return
    size, listed = path.stat().st_size, listing.expected_bytes(entry)
    if listed and not _NEAR[0] * listed <= size <= _NEAR[1] * listed:
        raise DownloadError(
            f"{where} has {size} bytes, {entry.name} should have about {listed}; it is cut short or another "
            "file: nothing was kept, download again"
        )
    from wsl_det.backbone import sources

    # Readers are chosen by the suffix, which a file that is not yet trusted does not have.
    with tempfile.TemporaryDirectory() as folder:
        named, folded = Path(folder) / entry.file_name, entry.bn == "folded"
        named.symlink_to(path.absolute())
        try:
            sources.read(named, expect=entry.arch_name, convention=entry.convention, bn_folded=folded)
        except CheckpointError as error:
            raise DownloadError(f"{where} is not the weights of {entry.name}: {error}") from None


def _check_content(entry: Entry, path: Path, where: str) -> str:
    """The full SHA-256 of a file whose size and known digits are right; DownloadError otherwise."""
    size = path.stat().st_size
    if instead := foreign.instead_of_weights(path):
        raise DownloadError(f"{where}: what came {instead}")
    if entry.bytes is not None and size != entry.bytes:
        raise DownloadError(
            f"{where} has {size} bytes, the catalogue says {entry.bytes}; delete it, download it"
        )
    sha256 = files.sha256(path)
    for algorithm, digits in (("sha256", entry.sha256), (entry.hash_algorithm, entry.hash_prefix)):
        if not algorithm or not digits:
            continue
        found = sha256
        if algorithm != "sha256":
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, algorithm).hexdigest()
        if not found.startswith(digits):
            raise DownloadError(
                f"{where} has {algorithm} {found[:16]}..., published is {digits}...; "
                "it is damaged or another file: delete it and download again"
            )
    return sha256


def _proof(entry: Entry | None, locked: dict[str, Any] | None) -> str:
    proofs = []
    if entry and entry.sha256:
        proofs.append("the catalogue's full hash")
    elif entry and entry.hash_prefix:
        proofs.append(f"the {len(entry.hash_prefix)} published digits of its {entry.hash_algorithm}")
    if locked:
        proofs.append(f"the hash of the first download ({locked['downloaded']})")
    return "equals " + " and ".join(proofs) if proofs else "no hash of it was ever published"
