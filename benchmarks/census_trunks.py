"""Which of timm's published weights can be trunks: every tag built on tensors without storage, with reasons.

    python benchmarks/census_trunks.py census.jsonl

Writes a line for each tag and goes on where an earlier run stopped. Tags of one model and one input size are
one trunk and are built once.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import timm

from wsl_det.backbone import timm_models
from wsl_det.errors import ConfigError


def verdict(tag: str) -> str:
    """``several`` or ``single`` strides, or the reason why it is no trunk."""
    try:
        known = timm_models.declared(tag)
    except ConfigError as error:
        return str(error).replace(tag, "NAME").split("(")[0]
    steps = list(known.strides.values())
    if len(steps) == 1:
        return "single"
    return "several" if steps == [4, 8, 16, 32] else f"strides {steps}"


def main(path: Path) -> None:
    lines = path.read_text().splitlines() if path.exists() else []
    known = {line["tag"]: line["verdict"] for line in map(json.loads, lines)}
    config = {tag: timm_models.check_name(tag) for tag in timm.list_pretrained()}
    by_trunk = {(tag.partition(".")[0], config[tag].input_size): known[tag] for tag in known}
    with path.open("a") as file:
        for tag, found in config.items():
            if tag in known:
                continue
            key = (tag.partition(".")[0], found.input_size)
            known[tag] = by_trunk[key] = by_trunk.get(key) or verdict(tag)
            file.write(json.dumps({"tag": tag, "verdict": known[tag]}) + "\n")
            file.flush()
            timm_models.declared.cache_clear()
    print(f"timm {timm.__version__}: {len(known)} tags")
    for reason, count in Counter(known.values()).most_common():
        print(f"{count:>6}  {reason}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
