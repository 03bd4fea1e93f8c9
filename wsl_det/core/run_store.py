"""A run folder at an address: a local scratch folder, put there at checkpoints and at the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from wsl_det.core import addresses, files, log, stores
from wsl_det.errors import DataError, public

_NOTES = ".store.json"
_NUMBERED = re.compile(r"model_\d{7,}\.pth")


class RunStore:
    """The store behind the scratch folder ``path``; only one process of a job puts.

    What was put is noted: a scratch folder that went on from what the store holds stands, any other is
    made equal to the store, older checkpoints than the newest ``keep`` left there.
    """

    def __init__(self, path: Path, address: str, keep: int = 3) -> None:
        self.path, self.address, self.keep = path, address, keep
        self.check: Callable[[], None] = lambda: None

    def pull(self) -> None:
        """Make the scratch folder what the store holds, unless it went on from just that."""
        found = {k: v for k, v in stores.listed(self.address).items() if not Path(k).name.startswith(".")}
        notes = self._noted()
        noted = (self.path / _NOTES).is_file()
        if noted and {name: told for name, (told, _) in notes.items()} == {k: [*v] for k, v in found.items()}:
            return
        for path in self._files():
            if path.relative_to(self.path).as_posix() not in found:
                path.unlink()
        numbered = sorted(name for name in found if _NUMBERED.fullmatch(name))
        left = set(numbered[: -self.keep])
        for name, told in found.items():
            path = self.path / name
            if name not in left and not (path.is_file() and notes.get(name) == [[*told], _state(path)]):
                self._fetch(name, told.size)
        self._note({name: [[*told], _state(self.path / name)] for name, told in found.items()})
        if found:
            log.get().info("%s: %d files of %s", self.path, len(found) - len(left), public(self.address))

    def _fetch(self, name: str, size: int) -> None:
        with files.atomic_path(self.path / name) as scratch, open(scratch, "wb") as file:
            for start in range(0, size, 8 << 20):
                file.write(stores.read(f"{self.address}/{name}", start, min(start + (8 << 20), size)))

    def put(self) -> None:
        """Bring the store up to the scratch folder: what is new or changed, then what is gone from it."""
        self.check()
        notes = self._noted()
        names = {path.relative_to(self.path).as_posix(): path for path in self._files()}
        gone = [name for name, (_, state) in notes.items() if name not in names and state is not None]
        try:
            # Weights before what speaks of them.
            for name in sorted(names, key=lambda name: (not name.endswith(".pth"), name)):
                state = _state(names[name])
                if name not in notes or notes[name][1] != state:
                    notes[name] = [[*stores.put(names[name], f"{self.address}/{name}")], state]
            for name in gone:
                stores.remove(f"{self.address}/{name}")
                del notes[name]
        finally:  # what was put before a failure is ours: the scratch folder goes on from it
            self._note(notes)

    def finish(self) -> None:
        """``put`` at the end of a run, after which nobody tries again."""
        try:
            self.put()
        except DataError as error:
            raise DataError(
                f"{error}\nThe run is whole in the cache of this machine ({addresses.cache()}): mend "
                "this and give the same command with --resume, which puts it"
            ) from None

    def _files(self) -> list[Path]:
        return [path for path in self.path.rglob("*") if path.is_file() and not path.name.startswith(".")]

    def _noted(self) -> dict[str, Any]:
        try:
            return dict(files.read_json(self.path / _NOTES))
        except (DataError, ValueError, TypeError):
            return {}

    def _note(self, notes: dict[str, Any]) -> None:
        with suppress(DataError):  # a listing has tags of its own in some stores
            for name, told in stores.listed(self.address).items():
                if name in notes:
                    notes[name][0] = [*told]
        files.write_json(self.path / _NOTES, notes)


def _state(path: Path) -> list[int] | None:
    """What changes with a file; None where there is none."""
    if not path.is_file():
        return None
    status = path.stat()
    return [status.st_mtime_ns, status.st_size]


def behind(path: Path, keep: int = 3) -> RunStore | None:
    """The store of a scratch folder, None for a folder of the user's."""
    address = addresses.of(path)
    return RunStore(path, address, keep) if address else None
