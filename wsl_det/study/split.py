"""Cuts a training set in two by image id: one part to fit on, one on which learning rates are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsl_det.coco import reader
from wsl_det.core import files, provenance, rows, seed
from wsl_det.errors import DataError

SCHEMA = 1
_UNIT = 2.0**63


@dataclass(frozen=True)
class Split:
    """The two annotation files, and how many images and objects each has."""

    fit: Path
    heldout: Path
    images: tuple[int, int]
    objects: tuple[int, int]


def is_held_out(image_id: int, share: float) -> bool:
    """Whether an image belongs to the held-out part: a pure function of its id.

    The same images are held out whatever else the file holds, and a larger share holds out the
    same ones and more.
    """
    return seed.derive("study held-out", image_id) / _UNIT < share


def write(annotations: Path, share: float, folder: Path) -> Split:
    """Write ``fit.json`` and ``heldout.json`` of an annotation file; made again only when it changed.

    Raises DataError for a file that is no COCO annotation file, and when a part would be without
    images or without objects.
    """
    tree = rows.slow(annotations, "training annotations")
    reader.from_tree(tree, str(annotations))  # the rules of training, before hours of it
    held = {image["id"]: is_held_out(image["id"], share) for image in tree["images"]}
    parts = (_part(tree, held, False), _part(tree, held, True))
    for part, role in zip(parts, ("to fit on", "to choose learning rates on"), strict=True):
        if not part["annotations"]:
            raise DataError(
                f"{annotations}: a held-out share of {share:g} leaves {len(part['images'])} of "
                f"{len(tree['images'])} images and no object {role}; change data: heldout"
            )
    made_from = files.sha256(annotations)
    split = Split(
        folder / "fit.json",
        folder / "heldout.json",
        (len(parts[0]["images"]), len(parts[1]["images"])),
        (len(parts[0]["annotations"]), len(parts[1]["annotations"])),
    )
    for path, part, role in zip((split.fit, split.heldout), parts, ("fit", "heldout"), strict=True):
        mark = {"role": role, "share": share, "of": made_from}
        if not _is_current(path, mark):
            header = provenance.header("split", SCHEMA, {"annotations": annotations}) | mark
            files.write_json(path, {**part, "wsl_det": header}, indent=None)
    return split


def _part(tree: Mapping[str, Any], held: Mapping[int, bool], wanted: bool) -> dict[str, Any]:
    return {
        **{key: value for key, value in tree.items() if key != "wsl_det"},
        "images": [image for image in tree["images"] if held[image["id"]] is wanted],
        "annotations": [a for a in tree["annotations"] if held[a["image_id"]] is wanted],
    }


def _is_current(path: Path, mark: Mapping[str, Any]) -> bool:
    # Array jobs arrive together: they find the file of the first instead of writing it again.
    if not path.is_file():
        return False
    try:
        found = files.read_json(path)
    except DataError:
        return False
    header = found.get("wsl_det") if isinstance(found, dict) else None
    return isinstance(header, dict) and all(header.get(k) == v for k, v in mark.items())
