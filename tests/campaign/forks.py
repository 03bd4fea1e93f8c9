"""Reads mutated files, each in a child of its own: ``python forks.py FOLDER COUNT READER...``.

A program and no test, since pytest holds threads and files that do not survive forks. The parent has imported
a reader and read one good file; children are limited in time and memory, and end right, refused (exit code 2
with a message) or wrong. One JSON line for each reader: tried, right, refused, seconds, and what went wrong,
with the seed that makes the mutation again and the file where it is kept.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import readers
from reader import Reader

from wsl_det import errors

RIGHT, REFUSED, WRONG = 0, 2, 1
CPU_S, WALL_S, MEMORY = 15, 100, 3 << 30
LONGEST_MESSAGE = 2500
_RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def campaign(name: str, folder: Path, count: int) -> dict[str, Any]:
    """Figures of ``count`` mutations of one reader's file; mutation i is made by the seed "NAME i"."""
    began = time.monotonic()
    reader = readers.ALL[name]
    place = folder / name
    place.mkdir(parents=True)
    path = reader.make(place)
    good = path.read_bytes()
    reader.read(path)
    ends: Counter[str] = Counter()
    faults = []
    for i in range(count):
        changed = mutation(reader, good, f"{name} {i}")
        path.write_bytes(changed)
        end, told = _judge(reader, path)
        ends[end] += 1
        if end == "wrong":
            kept = folder / "faults" / f"{name}-{i}{path.suffix}"
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(changed)
            faults.append({"seed": f"{name} {i}", "input": str(kept), "what": told})
        for left in place.glob("out*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    seconds = round(time.monotonic() - began, 1)
    return {"reader": name, "tried": count, "right": ends["right"], "refused": ends["refused"],
            "seconds": seconds, "faults": faults}  # fmt: skip


def mutation(reader: Reader, good: bytes, seed: str) -> bytes:
    """A file that the seed makes of the good one."""
    rng = random.Random(seed)
    return rng.choice(reader.mutations)(good, rng)


def _judge(reader: Reader, path: Path) -> tuple[str, str]:
    """How a child that reads ``path`` ends, and what it said."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.close(out)
        code, told = _read(reader, path)
        with contextlib.suppress(OSError):
            os.write(into, told.encode("utf-8", "backslashreplace")[-4000:])
        os._exit(code)
    os.close(into)
    with open(out, "rb") as pipe:
        told = pipe.read().decode(errors="replace")
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "wrong", f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return {RIGHT: "right", REFUSED: "refused"}.get(os.WEXITSTATUS(status), "wrong"), told


def _read(reader: Reader, path: Path) -> tuple[int, str]:
    """In the child: exit code and message as a tool's, under limits."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    signal.alarm(WALL_S)
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()

    def main(_: Any) -> int:
        reader.read(path)
        return RIGHT

    try:
        code = errors.run(main)
    except BaseException:
        return WRONG, traceback.format_exc()
    told = sys.stderr.getvalue().rstrip("\n")
    if code == REFUSED and not _is_message(told):
        return WRONG, f"no message for a user: {told[:400]!r} ({len(told)} characters)"
    return code if code in (RIGHT, REFUSED) else WRONG, told


def _is_message(told: str) -> bool:
    said = told.rpartition("error: ")[2]
    return "error: " in told and 20 < len(said) < LONGEST_MESSAGE and not _RAW.search(said)


if __name__ == "__main__":
    for asked in sys.argv[3:]:
        print(json.dumps(campaign(asked, Path(sys.argv[1]), int(sys.argv[2]))), flush=True)
