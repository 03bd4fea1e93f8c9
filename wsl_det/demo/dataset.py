"""The demo data set on disk: posts to pretrain on, scenes to fine-tune and evaluate on, all from one seed."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from wsl_det.core import files, provenance, seed
from wsl_det.core.log import progress
from wsl_det.demo import captions, masks
from wsl_det.demo.catalogue import DETECTED, Kind
from wsl_det.demo.scene import Scene, detection_scene, post_scene
from wsl_det.errors import ConfigError, DataError

SCHEMA = 2  # 1: drawn otherwise
SIZES: dict[str, dict[str, int]] = {
    "small": {"posts": 1200, "train": 160, "val": 80},
    "full": {"posts": 4800, "train": 500, "val": 200},
    "study": {"posts": 100, "train": 400, "val": 1000},  # scenes to tell arms apart by (docs/control)
}
_CHUNK = 20  # pictures a worker draws between two reports of progress


@dataclass(frozen=True)
class _Job:
    """A run of pictures of one part of the data set; picture i depends on (seed, part, i) alone."""

    root: str
    part: str
    seed: int
    first: int
    last: int


def make(output: str | Path, *, size: str = "full", random_seed: int = 0, workers: int | None = None) -> Path:
    """Draw the data set into the folder ``output`` and return it.

    The same seed and size give the same bytes, whatever the number of workers. A folder that
    already holds this data set is left as it is; one that holds anything else is refused.
    """
    output = Path(output)
    if size not in SIZES:
        raise ConfigError(f"the demo has no size {size!r}; expected one of {', '.join(SIZES)}")
    if _holds(output, size, random_seed):
        return output
    with files.atomic_dir(output) as scratch:
        counts = SIZES[size]
        rows = _draw(scratch, counts, random_seed, os.cpu_count() or 1 if workers is None else workers)
        summary = _write_posts(scratch / "posts", rows["posts"])
        for part in ("train", "val"):
            summary[part] = _write_coco(scratch / "detection", part, rows[part])
        header = provenance.header("demo-data", SCHEMA, {})
        files.write_json(scratch / "dataset.json", {**header, "size": size, "seed": random_seed, **summary})
    return output


def _holds(output: Path, size: str, random_seed: int) -> bool:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if (output / "dataset.json").is_file():
        found = files.read_json(output / "dataset.json", "demo data set")
        wanted = {"size": size, "seed": random_seed, "schema": SCHEMA}
        if (there := {key: found.get(key) for key in wanted}) == wanted:
            return True
        shown, asked = (", ".join(f"{k} {v}" for k, v in d.items()) for d in (there, wanted))
        raise DataError(
            f"{output} holds demo data of {shown}; asked for {asked}: name another folder or remove this one"
        )
    raise DataError(f"{output} exists and is not a demo data set; name another folder or remove this one")


def _draw(
    root: Path, counts: dict[str, int], random_seed: int, workers: int
) -> dict[str, list[dict[str, Any]]]:
    """Draw all pictures; the rows that describe them, by part, in order."""
    (root / "posts" / "images").mkdir(parents=True)
    jobs = []
    for part, number in counts.items():
        if part != "posts":
            (root / "detection" / part).mkdir(parents=True)
        starts = range(0, number, _CHUNK)
        jobs += [_Job(str(root), part, random_seed, s, min(s + _CHUNK, number)) for s in starts]
    rows: dict[str, list[dict[str, Any]]] = {part: [] for part in counts}
    # A forked child of a process that runs threads can hang; a spawned one cannot.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(workers, 1), spawned, cv2.setNumThreads, (1,)) as pool:
        done = (pool.map if workers > 1 else map)(_run, jobs)
        for job, drawn in zip(jobs, progress(done, len(jobs), "drawing"), strict=True):
            rows[job.part] += drawn
    return rows


def _run(job: _Job) -> list[dict[str, Any]]:
    draw = _draw_post if job.part == "posts" else _draw_detection
    return [draw(job, index) for index in range(job.first, job.last)]


def _draw_post(job: _Job, index: int) -> dict[str, Any]:
    rng = seed.numpy_generator("demo", job.seed, job.part, index)
    scene = post_scene(rng)
    kinds = [placed.kind for placed in scene.objects]
    caption = captions.write(rng, kinds)
    name = f"{index:06d}"
    _save(scene, Path(job.root) / "posts" / "images" / f"{name}.jpg", int(rng.integers(70, 95)))
    post = {"id": name, "image": f"{name}.jpg", "caption": caption.text}
    truth = {
        "id": name,
        "classes": [kind.name for kind in kinds],
        "synsets": [kind.synset for kind in kinds],
        "scene": scene.backdrop,
        "wrong": caption.wrong,
        "missing": list(caption.missing),
    }
    return {"post": post, "truth": truth}


def _draw_detection(job: _Job, index: int) -> dict[str, Any]:
    rng = seed.numpy_generator("demo", job.seed, job.part, index)
    scene = detection_scene(rng)
    name = f"{index:06d}.jpg"
    _save(scene, Path(job.root) / "detection" / job.part / name, int(rng.integers(78, 96)))
    height, width = scene.image.shape[:2]
    found = [masks.annotation(placed, _category(placed.kind)) for placed in scene.objects]
    image = {"id": index + 1, "file_name": name, "height": height, "width": width}
    return {"image": image, "annotations": [row for row in found if row is not None]}


def _category(kind: Kind) -> int:
    return DETECTED.index(kind) + 1


def _save(scene: Scene, path: Path, quality: int) -> None:
    done, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(scene.image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise DataError(f"OpenCV could not encode {path.name} as JPEG; is opencv-python-headless whole?")
    path.write_bytes(data.tobytes())


def _write_posts(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    for name, key in (("posts.jsonl", "post"), ("truth.jsonl", "truth")):
        files.write_text(folder / name, "".join(json.dumps(r[key], ensure_ascii=False) + "\n" for r in rows))
    seen = Counter(c for r in rows for c in set(r["truth"]["classes"]))
    wrong = sum(r["truth"]["wrong"] is not None for r in rows)
    return {"posts": {"images": len(rows), "wrong_tag": wrong, "images_by_class": dict(seen.most_common())}}


def _write_coco(folder: Path, part: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    numbered: list[dict[str, Any]] = []
    for row in rows:
        for found in row["annotations"]:
            numbered.append({"id": len(numbered) + 1, "image_id": row["image"]["id"], **found})
    categories = [{"id": _category(k), "name": k.name, "supercategory": k.scenes[0]} for k in DETECTED]
    content = {
        "info": {"description": f"wsl_det demo scenes, {part}", "version": str(SCHEMA)},
        "licenses": [],
        "images": [row["image"] for row in rows],
        "annotations": numbered,
        "categories": categories,
    }
    files.write_json(folder / "annotations" / f"instances_{part}.json", content, indent=None)
    names = {c["id"]: c["name"] for c in categories}
    objects = Counter(names[a["category_id"]] for a in numbered if not a["iscrowd"])
    crowds = sum(a["iscrowd"] for a in numbered)
    return {
        "images": len(rows),
        "objects": objects.total(),
        "crowds": crowds,
        "objects_by_class": dict(objects),
    }
