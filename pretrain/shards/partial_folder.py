"""A folder under way that outlives its maker: what was finished in it is found by the next run."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsl_det.core import locks, log
from wsl_det.errors import DataError

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


def _keep(scratch: Path) -> str:
    """Remove a folder in which nothing is finished; else say what is kept."""
    finished = len(list((scratch / WORK).glob("*.json")))
    if not finished:
        shutil.rmtree(scratch, ignore_errors=True)
        return ""
    return f"{finished} finished shards are kept in {scratch}"
