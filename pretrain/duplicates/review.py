"""What a search writes and what is printed of it: candidates, calibration, unreadable images, verdicts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pretrain.duplicates import calibration, page, rmac, search
from pretrain.duplicates.describing import Work
from pretrain.duplicates.search import Found, Options
from pretrain.duplicates.sources import TrainImages, open_test_sets
from wsl_det.core import files, provenance, verdicts
from wsl_det.core.verdicts import Verdicts
from wsl_det.errors import ConfigError, DataError

SCHEMA = 1
KIND = "duplicate candidates"
# What these options say decides nothing about the output, so its header leaves them out.
_FREE = ("--workers", "--cache", "--device")


@dataclass(frozen=True)
class Request:
    """What to search: a shard folder, the sets of ``--against`` (none: the shards themselves), a backbone."""

    train: Path
    against: tuple[str, ...]
    backbone: str
    output: Path
    max_pairs: int = 1000


def find(request: Request, options: Options) -> dict[str, Any]:
    """Search and write the folder ``output``, whole or not at all; returns candidates.json's value.

    Raises DataError when ``output`` is a filled folder, and for shards, sets and backbones that are
    not what they should be, before anything is computed.
    """
    if request.max_pairs < 1:
        raise ConfigError(f"--max-pairs {request.max_pairs}: give 1 or more")
    output = request.output
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise DataError(f"{output} already holds something; choose another --output, or remove it first")
    train = TrainImages(request.train)
    posts, sets = train.posts, open_test_sets(request.against)
    if not len(posts):
        raise DataError(f"{request.train} holds no images; nothing can be searched")
    backbone = rmac.backbone_sha256(request.backbone)
    workers = options.workers
    work = Work(request.backbone, options.settings, options.device, options.cache, int(workers != 1))
    with files.atomic_dir(output) as folder:
        run = search.search(train, sets, work, options)
        content = candidates(run, request, options, backbone)
        _write(folder, run, content, request)
    return content


def candidates(found: Found, request: Request, options: Options, backbone: str) -> dict[str, Any]:
    """The content of candidates.json: pairs at or above the thresholds, the best first."""
    pairs = sorted(_pairs(found), key=lambda p: (-p["score"], p["set"], p["image"], p["train_row"]))
    shown = [{"pair": number, **pair} for number, pair in enumerate(pairs[: request.max_pairs])]
    train = {"path": str(request.train), "sha256": found.train.posts.sha256}
    sets = msgspec.to_builtins([one.searched for one in found.sets])
    settings = rmac.identity(backbone, options.settings)
    made_from = {"backbone": f"sha256:{backbone}", "train": f"sha256:{train['sha256']}"}
    made_from |= {f"against {one['name']}": f"sha256:{one['sha256']}" for one in sets}
    keys = ("pair", "set", "image", "image_id", "train", "train_row")
    judged = [[pair[key] for key in keys] for pair in shown]
    head = provenance.header(KIND, SCHEMA, dict(made_from), _FREE)
    head["made_from"]["train"] = train
    return {
        **head,
        "sha256": _digest({"train": train["sha256"], "sets": sets, "pairs": judged}),
        # What was searched with what: two searches with one manifest have one result.
        "manifest": _digest({"train": train["sha256"], "sets": sets, "settings": settings}),
        "settings": settings | {"neighbours": options.neighbours, "flips": 2},
        "train": {
            "name": found.train.posts.name,
            "images": len(found.train),
            "unreadable": len(found.train_rejected),
        },
        "sets": [
            one | {"unreadable": len(s.rejected), "threshold": found.thresholds[one["name"]]}
            for one, s in zip(sets, found.sets, strict=True)
        ],
        "left_out": len(pairs) - len(shown),
        "pairs": shown,
    }


def _pairs(found: Found) -> list[dict[str, Any]]:
    rows = []
    for one in found.sets:
        threshold = found.thresholds[one.searched.name]
        for place, rank in np.argwhere((one.scores >= threshold) & (one.rows >= 0)).tolist():
            image, train_row = int(one.usable[place]), int(one.rows[place, rank])
            rows.append(
                {
                    "set": one.searched.name,
                    "image": one.images.key(image),
                    "image_row": image,
                    "image_id": one.ids[image] if one.ids else None,
                    "train": found.train.key(train_row),
                    "train_row": train_row,
                    "score": float(one.scores[place, rank]),
                    "rank": rank + 1,
                }
            )
    return rows


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _write(folder: Path, found: Found, content: dict[str, Any], request: Request) -> None:
    head = provenance.header(calibration.KIND, calibration.SCHEMA, {}, _FREE)
    measured = {**head, "made_from": content["made_from"], "sets": found.calibration}
    files.write_json(folder / "candidates.json", content)
    files.write_json(folder / "calibration.json", measured)
    lines = [json.dumps(row) + "\n" for row in _unreadable(found)]
    files.write_text(folder / "rejected.jsonl", "".join(lines))
    for one in found.sets:
        # Every neighbour kept, whatever the threshold: image (Q,), train_row and score (Q, k).
        with files.atomic_path(folder / f"neighbours.{one.searched.name}.npz") as scratch:
            np.savez(scratch, image=one.usable, train_row=one.rows, score=one.scores)
    drawing = page.draw(found.calibration)
    if drawing is not None:
        files.write_text(folder / "calibration.svg", drawing.svg)
    files.write_text(folder / "review.html", page.render(content, measured, found, drawing))


def _unreadable(found: Found) -> list[dict[str, Any]]:
    rows = [
        {"set": one.searched.name, "image": one.images.key(row), "reason": reason}
        for one in found.sets
        for row, reason in sorted(one.rejected.items())
    ]
    return rows + [
        {"set": "training images", "image": found.train.key(row), "reason": reason}
        for row, reason in sorted(found.train_rejected.items())
    ]


def read_candidates(folder: str | Path) -> dict[str, Any]:
    """candidates.json of a search's folder; raises DataError when it is none."""
    path = Path(folder) / "candidates.json"
    value = files.read_json(path, "candidates file")
    if not isinstance(value, dict) or value.get("kind") != KIND or value.get("schema") != SCHEMA:
        raise DataError(f"{path} is no candidates file of schema {SCHEMA}; search again")
    return value


def take_back(folder: str | Path, path: str | Path) -> tuple[Verdicts, Path]:
    """Read verdicts back and write a page ``review.READER.html`` that continues them.

    Raises DataError for verdicts of another search.
    """
    content, given = read_candidates(folder), verdicts.read(path)
    if given.candidates != content["sha256"]:
        raise DataError(
            f"{path} judges another search's pairs (sha256 {given.candidates[:12]}) than {folder} holds "
            f"({content['sha256'][:12]}); give the --output folder whose review.html was used"
        )
    known = {pair["pair"]: pair for pair in content["pairs"]}
    for row in given.rows:
        pair = known.get(row.pair)
        if pair is None or (pair["image"], pair["train"]) != (row.image, row.train):
            raise DataError(f"{path}: pair {row.pair} ({row.image}, {row.train}) is not in {folder}")
    html = page.with_verdicts(Path(folder) / "review.html", given)
    output = Path(folder) / f"review.{page.file_part(given.reader)}.html"
    files.write_text(output, html)
    return given, output


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
        found, page = take_back(folder, path)
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
