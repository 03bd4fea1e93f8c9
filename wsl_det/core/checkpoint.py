"""Run folders and their checkpoints: written whole, the last few kept, loaded without executing anything."""

from __future__ import annotations

import copy
import pickle
import re
import shutil
import struct
import zipfile
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsl_det.core import dist, files, foreign, leases, locks, log, run_store
from wsl_det.errors import CheckpointError, ConfigError, DataError, WslError, as_lines, as_words, first_line

_NAME = re.compile(r"model_(\d{7,})\.pth")
FINAL, LOCK = "model_final.pth", ".run.lock"
# Holds the name of the newest file of weights, as Detectron2's does.
LAST = "last_checkpoint"
# So long a run that is to be continued may take to save and end.
_PATIENCE_S = 30.0
# What torch's readers were seen to raise on truncated files and files with flipped bits.
_DAMAGED = (
    *(RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError),
    *(OSError, MemoryError, OverflowError, zipfile.BadZipFile, struct.error),
)


class RunFolder:
    """One training run's folder: ``model_XXXXXXX.pth`` every so often, ``model_final.pth`` at the end.

    XXXXXXX is the last finished iteration, counted from 0 as in Detectron2; ``last_checkpoint`` names
    the newest of them.
    """

    def __init__(
        self, path: str | Path, keep: int = 3, milestone: int = 0, for_good: Collection[int] = ()
    ) -> None:
        """``keep`` of the newest stay, those after a multiple of ``milestone`` iterations if above 0, and
        those after as many iterations as ``for_good`` says."""
        self.path, self.for_good = Path(path), for_good
        self.keep, self.milestone = max(1, keep), milestone
        self._own = ExitStack()
        self.store = run_store.behind(self.path, self.keep)

    def claim(self, resume: bool, *, room_for: int = 0, wait_s: float | None = None) -> RunFolder:
        """Make the folder this run's own until it is released; every process of the job calls this.

        Refuses a folder that another process works in (to continue a run, its end is waited for
        ``wait_s`` seconds: a killed job's processes may still be saving) and, without ``resume``, one
        with another run's weights. A folder that only holds a config, a log or metrics is a run that
        never reached a checkpoint; nothing of value is lost by starting over in it. ``room_for``: see
        ``check_room``. Raises ConfigError in every process.
        """
        patience = _PATIENCE_S if resume and wait_s is None else wait_s or 0.0
        dist.everywhere(lambda: self._claim(resume, room_for, patience) if dist.is_main() else None)
        if self.store is not None:  # machines beside the main process's have a scratch folder of their own
            dist.everywhere(lambda: self.pulled() if not dist.is_main() and not dist.local_rank() else None)
        return self

    def pulled(self) -> RunFolder:
        """Itself, after a run folder at an address has been fetched."""
        if self.store is not None:
            self.store.pull()
        return self

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exc: object) -> None:
        self._own.close()

    def _claim(self, resume: bool, room_for: int, wait_s: float) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"OUTPUT_DIR {self.path} is a file; expected a folder")
        name = str(self.path)
        if name != name.encode(errors="replace").decode():  # TensorBoard fails by names that are not UTF-8
            raise ConfigError(f"OUTPUT_DIR {name!r} is not a name in UTF-8; choose another")
        if self.store is None:  # else it is the store that is asked, below
            self._check_free(resume)
        try:
            advice = "wait for it, end it, or choose another OUTPUT_DIR"
            self._own.enter_context(locks.alone(self.path / LOCK, str(self.path), advice, wait_s=wait_s))
            if self.store is not None:
                address, wait_s = self.store.address, wait_s and max(wait_s, leases.EXPIRY + 10)
                lease = leases.alone(f"{address}/{LOCK}", address, advice, wait_s=wait_s)
                self.store.check = self._own.enter_context(lease)
                self.store.pull()
            for scrap in self.path.glob(".model_*.pth"):
                scrap.unlink()  # half a checkpoint of a killed run
        except WslError:
            self._own.close()
            raise
        except OSError as error:
            raise ConfigError(
                f"nothing can be written into OUTPUT_DIR {self.path} ({error.strerror}); choose another"
            ) from None
        try:
            self._check_free(resume)  # another run may have ended since
            self.check_room(room_for)
            if self.store is not None:
                self._own.callback(self.store.finish)
        except ConfigError:
            self._own.close()
            with suppress(OSError):
                self.path.rmdir()  # made here, and still empty
            raise

    def _check_free(self, resume: bool) -> None:
        found, final = self.latest(), self.path / FINAL
        if not resume and (found or final.exists()):
            at = "a finished run" if final.exists() else f"a run at iteration {found[0] if found else 0}"
            raise ConfigError(
                f"{self.path} already holds {at}; pass --resume to continue it, or change OUTPUT_DIR"
            )

    def check_room(self, checkpoint_bytes: int) -> None:
        """Raise ConfigError when the disk cannot hold the checkpoints of a run, one of them on its way.

        What older checkpoints of this folder take is theirs already; milestones come on top.
        """
        taken = sum(path.stat().st_size for _, path in self._numbered())
        needed = (self.keep + 1) * checkpoint_bytes - taken
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise ConfigError(
                f"{self.path} has {free / 2**30:.2f} GiB free; {self.keep} checkpoints of "
                f"{checkpoint_bytes / 2**30:.2f} GiB and one being written need {needed / 2**30:.2f} GiB: "
                "free some, keep fewer, or choose another OUTPUT_DIR"
            )

    def latest(self) -> tuple[int, Path] | None:
        """The newest checkpoint as (last finished iteration, file), or None."""
        found = self._numbered()
        return found[-1] if found else None

    def save(self, iteration: int, state: Mapping[str, Any]) -> Path:
        """Write ``model_<iteration>.pth`` whole, then drop old ones but milestones; rank 0 only."""
        path = self.path / f"model_{iteration:07d}.pth"
        save(path, {**state, "iteration": iteration})
        files.write_text(self.path / LAST, path.name)
        for number, old in self._numbered()[: -self.keep]:
            milestone = self.milestone and (number + 1) % self.milestone == 0
            if not milestone and number + 1 not in self.for_good:
                old.unlink(missing_ok=True)
        if self.store is not None:
            try:
                self.store.put()
            except DataError as error:
                raise CheckpointError(str(error)) from None
        return path

    def save_final(self, payload: Mapping[str, Any]) -> Path:
        """Write ``model_final.pth`` whole; rank 0 only."""
        save(self.path / FINAL, payload)
        files.write_text(self.path / LAST, FINAL)
        return self.path / FINAL

    def load_latest(self) -> dict[str, Any] | None:
        """The newest checkpoint that is whole, None in a folder without any.

        Older ones stand in for a damaged one, with a warning. Raises CheckpointError where starting
        over would destroy: when all are damaged, or only the final weights of a run are left.
        """
        found = self._numbered()
        for iteration, path in reversed(found):
            try:
                return {**load_weights(path), "iteration": iteration}
            except CheckpointError as error:
                log.get("checkpoint").warning("%s; trying the one before it", error)
        if found or (self.path / FINAL).exists():
            none = f"{len(found)} checkpoints, none of them readable"
            left = none if found else f"{FINAL} but no checkpoint"
            raise CheckpointError(
                f"{self.path} holds {left}: nothing can be continued; to start over, move that away or "
                "choose another OUTPUT_DIR"
            )
        return None

    def _numbered(self) -> list[tuple[int, Path]]:
        if not self.path.is_dir():
            return []
        named = ((_NAME.fullmatch(p.name), p) for p in self.path.iterdir())
        return sorted((int(m[1]), p) for m, p in named if m)


def save(path: Path, payload: Mapping[str, Any]) -> None:
    """``torch.save``, whole or not at all; its failures, a full disk's above all, are CheckpointErrors."""
    try:
        # By its name torch would write that name into the file: equal states would not be equal files.
        with files.atomic_path(path) as scratch, open(scratch, "wb") as file:
            torch.save(dict(payload), file)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path.parent} cannot be written ({first_line(error)}); is there room on the disk?"
        ) from None


def load_weights(path: str | Path) -> dict[str, Any]:
    """What a ``.pth`` holds, on the CPU; only tensors and plain values are ever unpickled.

    Raises CheckpointError for an absent, truncated, foreign or code-carrying file.
    """
    path = Path(path)
    foreign.refuse_others(path)
    try:
        _check_zip(path)
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_beside_tensors(path, error)) from None
    except _DAMAGED as error:
        raise CheckpointError(
            f"{path} cannot be read ({foreign.damage(error, path)}); it may be truncated: copy or download "
            "it again"
        ) from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}; expected a dict like {{'model': …}}")
    return value


def _beside_tensors(path: Path, error: pickle.UnpicklingError) -> str:
    """The message for a file whose pickle is refused: the foreign objects by name, and a safe remedy."""
    try:
        objects = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (*_DAMAGED, pickle.UnpicklingError):
        objects = re.findall(r"GLOBAL ([\w.]+)", str(error))
    named = as_words(objects, 20)
    remedy = (
        ". Ask its maker for the tensors alone, a .safetensors or torch.save(model.state_dict(), ...), or "
        "make such a file with the code that wrote it, on a machine where a hostile file can do no harm"
    )
    return (
        f"{path} is not a checkpoint of tensors and plain values "
        f"({f'it holds {named}' if objects else first_line(error)}); nothing in it was executed"
        f"{remedy if objects else ''}"
    )


def _check_zip(path: Path) -> None:
    """Refuse a zip that is no checkpoint, or would unpack to more than the file holds; follow the pickles.

    PyTorch stores its records uncompressed and side by side, so a compressed or overlapping record
    is the mark of a zip bomb. Files of before PyTorch 1.6 are no zips but five pickles in a row.
    """
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            for _ in range(5):
                foreign.check_tuples(file)
        return
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        _check_records(path, records)
        for record in records:
            if record.filename.rpartition("/")[2] == "data.pkl":
                with archive.open(record) as pickled:
                    foreign.check_tuples(pickled)


def _check_records(path: Path, records: list[zipfile.ZipInfo]) -> None:
    inside = {r.filename.rpartition("/")[2] for r in records}
    if "constants.pkl" in inside:
        raise CheckpointError(
            f"{path} is a TorchScript program, not weights; on a machine where a hostile file can do no "
            "harm, take them out of it: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"
        )
    if "data.pkl" not in inside:
        shown = ", ".join(r.filename for r in records[:3])
        raise CheckpointError(f"{path} is a zip of other files ({shown}), no checkpoint; give one of them")
    packed = [r.filename for r in records if r.compress_type != zipfile.ZIP_STORED]
    if packed or sum(r.file_size for r in records) > path.stat().st_size:
        how = f"are compressed ({', '.join(packed[:3])})" if packed else "overlap"
        raise CheckpointError(
            f"{path} is a zip whose records {how}; "
            "PyTorch never writes such files, and unpacking one can fill the memory: refused"
        )


def state_bytes(model: nn.Module) -> int:
    """Size of one checkpoint: the model's state, and one momentum for each parameter that learns."""
    state = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return state + sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def load_exactly(module: nn.Module, weights: Mapping[str, Tensor], what: str = "weights") -> None:
    """Load ``weights`` into ``module`` if every name and shape fits, else raise with the differences."""
    found, own = ({k: tuple(v.shape) for k, v in t.items()} for t in (weights, module.state_dict()))
    check_shapes(found, own, f"{what} do not fit the model", "model")
    module.load_state_dict(weights)


def check_shapes(found: Mapping[str, Any], expected: Mapping[str, Any], what: str, of: str) -> None:
    """Raise CheckpointError, ``what`` and all differences, unless names and shapes are those ``of`` it."""
    wrong = [f"missing     {k}" for k in expected if k not in found]
    wrong += [f"unexpected  {k}" for k in found if k not in expected]
    wrong += [
        f"shape       {k}: file {found[k]}, {of} {shape}"
        for k, shape in expected.items()
        if found.get(k, shape) != shape
    ]
    if wrong:
        raise CheckpointError(f"{what}, {len(wrong)} differences:{as_lines(wrong)}")


class Saver:
    """Writes the checkpoints of one run folder, one at a time, in a thread; rank 0 only.

    ``save`` returns when the state is copied to the CPU's memory, so it needs room for one more state
    there. A disk that is full or gone is reported and survived: older checkpoints are kept.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

    def save(self, iteration: int, state: Mapping[str, Any]) -> None:
        """Begin to write the state after ``iteration``, once the one before has been written."""
        self.wait()
        # An interpreter that ends waits for a file that has been begun.
        self._pending = self._writer.submit(self._write, iteration, _copied(state))

    def wait(self) -> None:
        """Return when nothing is being written; raises what was no trouble with the disk."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, iteration: int, state: Mapping[str, Any]) -> None:
        try:
            self._folder.save(iteration, state)
        except (OSError, CheckpointError) as error:
            log.get("loop").warning(
                "checkpoint at iteration %d was not written (%s); training goes on, older ones are kept",
                iteration,
                error,
            )


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
