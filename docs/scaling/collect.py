"""Copy the result files of a study's runs beside its YAML, without the paths of the machine they ran on.

    python docs/scaling/collect.py runs docs/scaling/results

RUNS/NAME/results.json becomes OUT/NAME.json, and RUNS/NAME/transfer.json OUT/NAME.transfer.json, without
its accuracies by class and confusions.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from wsl_det import errors
from wsl_det.core import files

# Long, and no curve needs them.
LEFT_OUT = ("confusion", "by_class")
SUFFIXES = {"results.json": ".json", "transfer.json": ".transfer.json"}


def without_paths(value: Any, key: str = "") -> Any:
    """A JSON value in which absolute paths are cut to their last part; commands word by word."""
    if isinstance(value, dict):
        return {name: without_paths(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [without_paths(one) for one in value]
    if isinstance(value, str) and key == "command":
        return shlex.join(without_paths(word) for word in shlex.split(value))
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, metavar="RUNS")
    parser.add_argument("output", type=Path, metavar="OUT")
    args = parser.parse_args()
    found = [path for name in SUFFIXES for path in sorted(args.runs.glob(f"*/{name}"))]
    if not found:
        raise errors.DataError(f"{args.runs} has no folders with {' or '.join(SUFFIXES)}")
    for path in found:
        copy = args.output / (path.parent.name + SUFFIXES[path.name])
        whole = files.read_json(path, "result file")
        files.write_json(copy, without_paths({k: v for k, v in whole.items() if k not in LEFT_OUT}))
    print(f"{len(found)} result files in {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(lambda _: main()))
