"""Thousands of damaged files: whatever a reader is given, it reads it right or refuses it with a message.

``forks.py`` reads each in a child of its own; here its programs are started and their figures judged. To see
one finding again, give the seed that is printed: ``forks.mutation(readers.ALL[NAME], GOOD_BYTES, SEED)``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from readers import GROUPS

ROOT = Path(__file__).parents[2]
QUICK, LONG = 12, 250
PATIENCE_S = {QUICK: 280, LONG: 2400}


def _campaign(group: str, count: int, folder: Path) -> list[dict[str, object]]:
    """The figures of each reader of a group; fails with what went wrong and where its input is kept."""
    words = [
        sys.executable,
        str(Path(__file__).with_name("forks.py")),
        str(folder),
        str(count),
        *GROUPS[group],
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, env=env, capture_output=True, text=True, timeout=PATIENCE_S[count], check=False
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for one in found:
        print({k: v for k, v in one.items() if k != "faults"})
    assert done.returncode == 0, done.stderr[-2000:]
    faults = [f"seed {f['seed']!r}, input {f['input']}:\n{f['what']}" for one in found for f in one["faults"]]
    assert not faults, f"{len(faults)} of {count * len(found)} files\n" + "\n\n".join(faults[:5])
    assert [one["reader"] for one in found] == list(GROUPS[group])
    for one in found:
        assert one["tried"] == one["right"] + one["refused"] == count and one["refused"], one
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_readers_read_right_or_refuse(group: str, tmp_path: Path) -> None:
    _campaign(group, QUICK, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(2500)
@pytest.mark.parametrize("group", GROUPS)
def test_readers_read_right_or_refuse_all_day(group: str, tmp_path: Path) -> None:
    found = _campaign(group, LONG, tmp_path)
    assert sum(one["right"] for one in found)
