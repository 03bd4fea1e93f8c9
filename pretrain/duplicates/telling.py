"""What the tool prints: what was searched and found, and what verdicts say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pretrain.duplicates import review
from wsl_det.core import files, verdicts
from wsl_det.core.verdicts import Verdicts
from wsl_det.errors import ConfigError


def summary(content: Mapping[str, Any], output: str | Path) -> str:
    """What a search found; ``content`` is candidates.json's value."""
    measured = files.read_json(Path(output) / "calibration.json", "calibration")["sets"]
    train = content["train"]
    lines = [
        f"{train['images']:>10,} training images searched ({train['name']}), "
        f"{train['unreadable']:,} unreadable"
    ]
    for one in content["sets"]:
        pairs = [pair for pair in content["pairs"] if pair["set"] == one["name"]]
        images = len({pair["image"] for pair in pairs})
        lines.append(
            f"{one['images']:>10,} images of {one['name']}, {one['unreadable']:,} unreadable: "
            f"{len(pairs):,} pairs of {images:,} images score {one['threshold']:.3f} or more"
        )
        lines += _calibrated(measured[one["name"]])
    if content["left_out"]:
        lines.append(f"{content['left_out']:>10,} more pairs of lower score were left out (--max-pairs)")
    lines.append(f"judge them in {Path(output) / 'review.html'}")
    return "\n".join(lines)


def _calibrated(one: Mapping[str, Any]) -> list[str]:
    if not one["kinds"]:
        return []
    kinds = "  ".join(f"{kind} {100 * row['recall']:.0f}%" for kind, row in one["kinds"].items())
    lines = [f"{'':>10} planted copies found: {kinds}"]
    mates = one["same_class"]
    if mates["pairs"]:
        lines.append(
            f"{'':>10} {100 * mates['share_above']:.1f}% of {mates['pairs']:,} pairs of one class score as "
            f"high; a copy scores above such a pair with probability {one['separation']:.4f}"
        )
    return lines + [f"{'':>10} mind: {note}" for note in one["notes"]]


def taken_back(folder: str | Path, paths: Sequence[str | Path]) -> str:
    """Read one reader's verdicts, or two readers', back into a search's folder and say what they hold."""
    if len(paths) > 2:
        raise ConfigError(f"--verdicts was given {len(paths)} files; compare two readers at a time")
    lines, given = [], []
    for path in paths:
        found, page = review.take_back(folder, path)
        given.append(found)
        lines += [counted(found), f"{'':>10} go on in {page}"]
    if len(given) == 2:
        lines.append(agreed(*given))
    return "\n".join(lines)


def counted(found: Verdicts) -> str:
    """One reader's verdicts in a line, and the images that are duplicates in each set."""
    shown = ", ".join(f"{number:,} {name}" for name, number in found.counts().items())
    lines = [f"{found.reader}: {shown} of {found.pairs:,} pairs"]
    for one in found.sets:
        images = {row.image for row in found.duplicates() if row.set == one.name}
        share = f"{100 * len(images) / one.images:.2f}%" if one.images else "0%"
        lines.append(f"{len(images):>10,} of {one.images:,} images of {one.name} are duplicates ({share})")
    return "\n".join(lines)


def agreed(a: Verdicts, b: Verdicts) -> str:
    """Two readers' agreement as lines."""
    found = verdicts.agreement(a, b)
    if not found["judged_by_both"]:
        return "no pair was judged by both readers"
    kappa = "undefined (one verdict throughout)" if found["kappa"] is None else f"{found['kappa']:.3f}"
    lines = [
        f"{found['judged_by_both']:,} pairs judged by both: {100 * found['raw']:.1f}% agree, "
        f"Cohen's kappa {kappa}",
        f"{a.reader} \\ {b.reader}".rjust(24) + "".join(f"{choice:>9}" for choice in found["choices"]),
    ]
    for choice, row in zip(found["choices"], found["table"], strict=True):
        lines.append(f"{choice:>24}" + "".join(f"{number:>9,}" for number in row))
    if found["disagreements"]:
        shown = ", ".join(str(pair + 1) for pair in found["disagreements"][:20])
        more = len(found["disagreements"]) - 20
        lines.append(f"they differ on pairs {shown}{f' and {more} more' if more > 0 else ''}")
    return "\n".join(lines)
