"""What is finished stays finished: a folder under way that outlives its maker, a record for each shard.

A record is written after its shard and names the plan it was made by (every post, label and place of an
image, and how images are treated). A run that plans the same shard takes it over; else it is made anew.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pretrain.shards.write import Planned, Rejection, Written, write_shard
from wsl_det.core import addresses, files, leases, locks, log, stores
from wsl_det.errors import DataError

# Part of every plan: raise it when the same plan gives other bytes.
_FORMAT = 1
WORK = "work"


@contextmanager
def partial_folder(final: Path) -> Iterator[Path]:
    """A scratch folder beside ``final`` that takes its place when the block succeeds.

    It holds a folder ``work`` for what is finished (one ``.json`` each) and for scratch files,
    which is gone in the end. When the block fails, or the process is killed, the scratch folder
    stays if anything is finished in it, and the next call with the same ``final`` gets it. Raises
    DataError while another process has it, and for a full disk.
    """
    scratch = final.with_name(f".{final.name}.partial")
    lock = final.with_name(f".{final.name}.lock")
    with locks.alone(lock, str(final), "wait for it, or end it", error=DataError):
        try:
            (scratch / WORK).mkdir(parents=True, exist_ok=True)
            yield scratch
            if final.is_dir():
                final.rmdir()
            # Named first: whoever dies in between leaves the whole folder and some records.
            scratch.replace(final)
            shutil.rmtree(final / WORK, ignore_errors=True)
        except BaseException as error:
            kept = _keep(scratch)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DataError(
                    f"the disk of {final} is full ({error.strerror}); {kept or 'nothing was kept'}. "
                    "Make room and give the same command again"
                ) from None
            if kept:
                log.get("pretrain").warning("%s; the same command goes on from there", kept)
            raise


@contextmanager
def output_folder(output: str | Path) -> Iterator[Path]:
    """``partial_folder``; for an address, what it holds is put there in the end, dataset.json last."""
    if not addresses.is_address(output):
        with partial_folder(Path(output)) as folder:
            yield folder
        return
    address, home = addresses.text(output), addresses.folder(output)
    lock = leases.alone(f"{address}/.lock", address, "wait for it, or end it", error=DataError)
    with lock as check, partial_folder(home) as folder:
        yield folder
        check()
        addresses.put(folder, address, last=("dataset.json",), without=folder / WORK)
    shutil.rmtree(home)


def must_be_new(output: str | Path) -> None:
    """Raise DataError when ``output`` holds something that no killed run of ours has left."""
    if addresses.is_address(output):
        home = addresses.folder(output)
        begun = home.with_name(f".{home.name}.partial").is_dir()
        filled = addresses.exists(addresses.join(output, "dataset.json") if begun else output)
    else:
        output = Path(output)
        filled = (output.exists() or output.is_symlink()) and not (
            output.is_dir() and not any(output.iterdir())
        )
    if filled:
        raise DataError(f"{output} already holds something; choose another --output, or remove it first")


def put_shard(shard: Written, address: str) -> None:
    """Move the tar of a finished shard to its address, unless an earlier run did; then it must be there."""
    moved = shard.file.with_suffix(".put")
    if shard.file.is_file():
        stores.put(shard.file, address)
        moved.write_text(address, encoding="utf-8")
        shard.file.unlink()
    elif moved.read_text(encoding="utf-8") != address or stores.info(address).size != shard.bytes:
        raise DataError(f"{address} is not what an earlier run put there; choose another --output")


def _keep(scratch: Path) -> str:
    """Remove a folder in which nothing is finished; else say what is kept."""
    finished = len(list((scratch / WORK).glob("*.json")))
    if not finished:
        shutil.rmtree(scratch, ignore_errors=True)
        return ""
    return f"{finished} finished shards are kept in {scratch}"


def finished_shard(folder: Path, numbered: tuple[int, Planned], *, max_short_side: int) -> Written:
    """A shard of a plan, by its number, in ``folder``, made now unless a record says that it is finished."""
    number, planned = numbered
    path = folder / f"{number:06d}.tar"
    plan = plan_hash([max_short_side, planned.items, planned.rejected, planned.two_kinds])

    def make() -> Written:
        # Two machines may be given the same shard when one is thought lost: each writes its own.
        scratch = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.part")
        try:
            shard = write_shard(scratch, planned, max_short_side)
            if shard.keys:
                scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
        return dataclasses.replace(shard, file=path)

    def whole(shard: Written) -> bool:
        if path.with_suffix(".put").is_file():
            return not path.is_file()
        return not shard.keys or (path.is_file() and path.stat().st_size == shard.bytes)

    return remembered(path, plan, make, whole)


def remembered(
    path: Path, plan: str, make: Callable[[], Written], whole: Callable[[Written], bool]
) -> Written:
    """What the record beside ``path`` says, if it follows ``plan`` and is ``whole``, or ``make`` makes."""
    record = path.with_suffix(".json")
    if (shard := _read(record, plan)) is not None and whole(shard):
        return shard
    shard = make()
    value = {"plan": plan, **vars(shard), "file": addresses.text(shard.file)}
    files.write_json(record, value, indent=None)
    return shard


def plan_hash(value: Any) -> str:
    """The name of a plan, as hex digits: what a shard is made from."""
    text = json.dumps([_FORMAT, value], default=dataclasses.asdict)
    return hashlib.sha256(text.encode()).hexdigest()


def restore(folder: Path, work: Path) -> int:
    """Undo the naming of a run that was killed while it named its shards; the number of finished ones.

    Shards get their names in the order of their records, those without images none.
    """
    records = sorted(work.glob("[0-9]*.json"))
    named = iter(sorted(folder.glob("*-[0-9]*.tar")))
    for record in records:
        shard = _read(record, None)
        if shard is None:
            break  # whose tar is the next one can no longer be told
        if shard.keys and (tar := next(named, None)) is not None:
            tar.replace(record.with_suffix(".tar"))
    for tar in named:
        tar.unlink()
    if records:
        log.get("pretrain").info(
            "%d finished shards of an earlier run are taken over where they fit", len(records)
        )
    return len(records)


def _read(record: Path, plan: str | None) -> Written | None:
    try:
        value = json.loads(record.read_bytes())
        if value.pop("plan") != plan and plan is not None:
            return None
        return Written(
            **{
                **value,
                "file": Path(value["file"]),
                "spans": [(int(offset), int(size)) for offset, size in value["spans"]],
                **{k: [tuple(labels) for labels in value[k]] for k in ("labels", "synset_labels")},
                "rejected": [Rejection(*rejection) for rejection in value["rejected"]],
                **{k: Counter(value[k]) for k in ("dropped", "apart")},
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent or not whole: the shard is made again
