"""Names of data sets -> annotation file and image folder: Detectron2's COCO names, and ``--register``."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from wsl_det.detector import coco_records
from wsl_det.errors import ConfigError, DataError

Registered = Mapping[str, tuple[str, str]]
"""Name -> (annotation json, image folder), as ``--register`` gives them."""

# Detectron2's data/datasets/builtin.py, the instance sets of COCO: name -> (images, annotations).
_BUILTIN = {
    **{
        f"coco_2014_{part}": (f"coco/{images}2014", f"coco/annotations/instances_{part}2014.json")
        for part, images in (
            ("train", "train"),
            ("val", "val"),
            ("minival", "val"),
            ("valminusminival", "val"),
        )
    },
    "coco_2017_train": ("coco/train2017", "coco/annotations/instances_train2017.json"),
    "coco_2017_val": ("coco/val2017", "coco/annotations/instances_val2017.json"),
    "coco_2017_val_100": ("coco/val2017", "coco/annotations/instances_val2017_100.json"),
    "coco_2017_test": ("coco/test2017", "coco/annotations/image_info_test2017.json"),
    "coco_2017_test-dev": ("coco/test2017", "coco/annotations/image_info_test-dev2017.json"),
}


def registered(triples: Sequence[Sequence[str]]) -> dict[str, tuple[str, str]]:
    """``--register NAME JSON IMAGE_DIR`` triples as a mapping; a name given twice is refused."""
    found: dict[str, tuple[str, str]] = {}
    for name, json_path, image_dir in triples:
        if name in found:
            raise ConfigError(f"--register {name} is given twice; every data set needs its own name")
        found[name] = (json_path, image_dir)
    return found


def locate(name: str, known: Registered) -> tuple[Path, Path]:
    """Annotation file and image folder of a registered or built-in name.

    Built-in names live below ``$DETECTRON2_DATASETS`` (default: ``./datasets``), as in Detectron2.
    """
    if name in known:
        json_path, image_dir = (Path(p) for p in known[name])
    elif name in _BUILTIN:
        root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()
        image_dir, json_path = (root / part for part in _BUILTIN[name])
    else:
        near = difflib.get_close_matches(name, [*known, *_BUILTIN], n=2)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ConfigError(f"data set {name!r} is not known{hint}; add --register {name} JSON IMAGE_DIR")
    if name in _BUILTIN and name not in known and not json_path.is_file():
        raise DataError(
            f"data set {name}: {json_path} does not exist; set DETECTRON2_DATASETS to the folder that holds "
            f"coco/, add --register {name} JSON IMAGE_DIR, or name other "
            "sets in DATASETS.TRAIN and DATASETS.TEST"
        )
    if not image_dir.is_dir():
        raise DataError(f"data set {name}: the image folder {image_dir} does not exist")
    return json_path, image_dir


def read(names: Sequence[str], known: Registered, role: str) -> list[coco_records.CocoDataset]:
    """The data sets of DATASETS.TRAIN or DATASETS.TEST (``role``), read and checked."""
    if not names:
        raise ConfigError(f"DATASETS.{role} is empty; name at least one data set")
    if len(set(names)) < len(names):
        raise ConfigError(f"DATASETS.{role} names a data set twice: {', '.join(names)}")
    return [coco_records.read(*locate(name, known), name) for name in names]


def check_num_classes(num_classes: int, sets: Sequence[coco_records.CocoDataset]) -> None:
    """Refuse a model whose number of classes is not the data's; unused categories count."""
    for dataset in sets:
        found = len(dataset.category_ids)
        if found != num_classes:
            raise ConfigError(
                f"MODEL.ROI_HEADS.NUM_CLASSES is {num_classes}, but {dataset.json_path} has {found} "
                f"categories; put MODEL.ROI_HEADS.NUM_CLASSES {found} on the command line or in the config"
            )
