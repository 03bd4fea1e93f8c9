"""Names of data sets -> annotation file and image folder: Detectron2's names, and ``--register``."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from wsl_det.coco import reader
from wsl_det.core import dist
from wsl_det.detector import coco_records, images, loader
from wsl_det.detector.coco_records import CocoDataset, Record
from wsl_det.errors import ConfigError, DataError, WslError

Registered = Mapping[str, tuple[str, str]]
"""Name -> (annotation json, image folder), as ``--register`` gives them."""

# Detectron2's data/datasets/builtin.py, the instance sets of COCO and LVIS v1: name -> (images, annotations).
_BUILTIN = {
    **{
        f"coco_2014_{part}": (f"coco/{images}2014", f"coco/annotations/instances_{part}2014.json")
        for part, images in (
            ("train", "train"),
            *((part, "val") for part in ("val", "minival", "valminusminival")),
        )
    },
    "coco_2017_train": ("coco/train2017", "coco/annotations/instances_train2017.json"),
    "coco_2017_val": ("coco/val2017", "coco/annotations/instances_val2017.json"),
    "coco_2017_val_100": ("coco/val2017", "coco/annotations/instances_val2017_100.json"),
    "coco_2017_test": ("coco/test2017", "coco/annotations/image_info_test2017.json"),
    "coco_2017_test-dev": ("coco/test2017", "coco/annotations/image_info_test-dev2017.json"),
    "lvis_v1_train": ("coco", "lvis/lvis_v1_train.json"),
    "lvis_v1_val": ("coco", "lvis/lvis_v1_val.json"),
    "lvis_v1_test_dev": ("coco", "lvis/lvis_v1_image_info_test_dev.json"),
    "lvis_v1_test_challenge": ("coco", "lvis/lvis_v1_image_info_test_challenge.json"),
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
            f"{_BUILTIN[name][1].partition('/')[0]}/, add --register {name} JSON IMAGE_DIR, or name other "
            "sets in DATASETS.TRAIN and DATASETS.TEST"
        )
    if not image_dir.is_dir():
        raise DataError(f"data set {name}: the image folder {image_dir} does not exist")
    return json_path, image_dir


def read(names: Sequence[str], known: Registered, role: str) -> list[CocoDataset]:
    """The data sets of DATASETS.TRAIN or DATASETS.TEST (``role``), read and checked."""
    _check_names(names, role)
    return [coco_records.read(*locate(name, known), name) for name in names]


def read_to_score(names: Sequence[str], known: Registered, *, masks: bool) -> list[CocoDataset]:
    """The sets of DATASETS.TEST, and a refusal of what evaluation would refuse once it is all detected.

    ``masks``: whether there will be masks to score. Raises as ``read`` and ``reader.check_scored``.
    """
    _check_names(names, "TEST")
    sets = []
    for name in names:
        json_path, image_dir = locate(name, known)
        truth = reader.read(json_path, f"annotations of {name}")
        reader.check_scored(truth, with_masks=masks)
        sets.append(coco_records.from_truth(truth, json_path, image_dir, name))
    return sets


def _check_names(names: Sequence[str], role: str) -> None:
    if not names:
        raise ConfigError(f"DATASETS.{role} is empty; name at least one data set")
    if len(set(names)) < len(names):
        raise ConfigError(f"DATASETS.{role} names a data set twice: {', '.join(names)}")


def check_photos(dataset: CocoDataset, budget: float) -> None:
    """Refuse a test set when more of its photos than ``budget`` allows are absent or of another size.

    Only headers are read, each rank its share. Raises DataError, on every rank alike.
    """
    share = range(dist.rank(), len(dataset.records), dist.world_size())
    mine = {str(dataset.records[i].path): _header_fault(dataset.records[i]) for i in share}
    bad = {path: why for part in dist.all_gather_object(mine) for path, why in part.items() if why}
    allowed = loader.Budget(len(dataset.records), budget).allowed
    if len(bad) > allowed:
        first, why = next(iter(sorted(bad.items())))
        windows = "; file names with back slashes are of another system" if "\\" in first else ""
        raise DataError(
            f"data set {dataset.name}: {len(bad)} of {len(dataset.records)} photos cannot be used, more than "
            f"WSL_DET.BAD_IMAGE_BUDGET {budget:g} allows ({allowed}), such as {first}: {why}{windows}. Check "
            f"the image folder and the sizes in {dataset.json_path}, where height and width are those upright"
        )


def _header_fault(record: Record) -> str | None:
    try:
        images.header_size(record.path, (record.height, record.width))
    except images.BadImage as error:
        return str(error)
    return None


def check_categories(
    names: Sequence[str], source: str, sets: Sequence[CocoDataset], kind: type[WslError] = DataError
) -> None:
    """Refuse test sets whose categories in id order have other names than those of ``source``.

    Classes are numbered by category id: equal numbers of classes in another order would be scored
    under wrong names without a word. The ids themselves may differ. Raises ``kind``.
    """
    for dataset in sets:
        theirs = dataset.category_names
        if tuple(names) == theirs:
            continue
        pairs = list(zip_longest(names, theirs))
        at = next(k for k, (a, b) in enumerate(pairs) if a != b)
        same = "the same names in another order of ids" if sorted(names) == sorted(theirs) else "other names"
        raise kind(
            f"{dataset.json_path} has other categories than {source}: in id order, number {at + 1} is "
            f"{pairs[at][1]!r} here and {pairs[at][0]!r} there ({same}). Classes are numbered by category "
            "id, so scores would stand under wrong names; give both files the same names in id order"
        )


def check_num_classes(num_classes: int, sets: Sequence[CocoDataset]) -> None:
    """Refuse a model whose number of classes is not the data's; unused categories count."""
    for dataset in sets:
        found = len(dataset.category_ids)
        if found != num_classes:
            raise ConfigError(
                f"MODEL.ROI_HEADS.NUM_CLASSES is {num_classes}, but {dataset.json_path} has {found} "
                f"categories; put MODEL.ROI_HEADS.NUM_CLASSES {found} on the command line or in the config"
            )
