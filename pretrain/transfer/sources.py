"""What the authors of data sets distribute, read into listings of images by split and class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from pretrain.posts import files as post_files
from pretrain.posts.records import Columns, Ledger
from pretrain.shards import images as image_files
from pretrain.shards import write as shards
from pretrain.shards.folders import EXTENSIONS, hidden
from pretrain.stream import selection
from pretrain.transfer import prepare
from pretrain.transfer.prepare import Listing, Placed
from pretrain.vocabulary import truth as truths
from pretrain.vocabulary.truth import WNID
from wsl_det.core import seed
from wsl_det.core.photos import BadImage
from wsl_det.errors import ConfigError, DataError

_TIMM_LIST = re.compile(r"(imagenet\w*)_synsets\.txt")


def posts(
    truth: Path, post_paths: Sequence[str], images: Path, *, heldout: float, columns: Columns | None = None
) -> Listing:
    """Posts whose true class is known; val are those that ``DATA.HELDOUT heldout`` never trains on.

    ``truth`` has a JSON object a line with the post's ``id`` and the class as ``wnid`` or ``label``, or
    a list ``synsets``; posts that show several are left out and counted.
    """
    classes = truths.read(truth, named=True)
    ledger, listing = Ledger(), Listing("posts", [], {"truth": truth})
    paths = post_files.expand(post_paths)
    listing.sources |= {f"posts {i}" if i else "posts": Path(p) for i, p in enumerate(paths)}
    seen: set[str] = set()
    for post in post_files.read(paths, columns or Columns(), ledger):
        found = classes.get(post.id)
        if found is None or len(found) != 1:
            listing.left_out["without a true class" if found is None else "without one true class alone"] += 1
            continue
        if post.image is None or post.id in seen:
            listing.left_out["without an image, or there twice"] += 1
            continue
        seen.add(post.id)
        hashed = np.array([shards.post_hash(post.id)], dtype=np.uint64)
        split = "val" if bool(selection.held_out(hashed, heldout)[0]) else "train"
        try:
            place = Path(image_files.ImageFolder(images).locate(post.image).path)
        except BadImage as rejected:
            listing.left_out[str(rejected)] += 1
            continue
        listing.images.append(Placed(split, found[0], place, f"{_name(post.id)}{place.suffix.lower()}"))
    listing.notes.append(f"val: posts in the lowest {heldout:g} of the hashes of ids, as DATA.HELDOUT")
    return prepare.only_common(listing)


def _name(post_id: str) -> str:
    """A file name for an id that may hold anything: itself when it is plain, else a hash."""
    plain = re.fullmatch(r"[A-Za-z0-9_-]{1,80}", post_id)
    return post_id if plain else f"{shards.post_hash(post_id):016x}"


def cub(folder: Path) -> Listing:
    """CUB-200-2011 as it is unpacked, with its lists of images, classes, labels and the split."""
    names = {n: folder / f"{n}.txt" for n in ("images", "image_class_labels", "train_test_split", "classes")}
    read = {n: _by_number(path) for n, path in names.items()}
    ids = read["images"].keys()
    for name in ("image_class_labels", "train_test_split"):
        if read[name].keys() != ids:
            raise DataError(
                f"{names[name]} lists {len(read[name])} images, {names['images']} {len(ids)}, and they are "
                "not the same ones; unpack CUB_200_2011.tgz again"
            )
    listing = Listing("CUB-200-2011", [], dict(names))
    for number, path in read["images"].items():
        label = read["classes"].get(read["image_class_labels"][number])
        split = {"1": "train", "0": "val"}.get(read["train_test_split"][number])
        if label is None or split is None:
            raise DataError(f"image {number} of {folder} has no known class or split; unpack it again")
        source = folder / "images" / path
        listing.images.append(Placed(split, label, source, source.name))
    listing.notes.append("val is the authors' test split")
    return listing


def _by_number(path: Path) -> dict[str, str]:
    rows = [line.split(None, 1) for line in prepare.by_line(path, "file")]
    if any(len(row) != 2 or not row[0].isdecimal() for row in rows):
        raise DataError(f"{path}: expected lines of a number and a word; unpack CUB_200_2011.tgz again")
    return {row[0]: row[1] for row in rows}


def places(lists: Path, train: Path, val: Path) -> Listing:
    """Places365-Standard: its lists of files (``lists``), and the folders of its train and val images."""
    names = {
        "categories": lists / "categories_places365.txt",
        "train": lists / "places365_train_standard.txt",
        "val": lists / "places365_val.txt",
    }
    categories = {n: c.strip("/").replace("/", "-") for c, n in prepare.pairs(names["categories"], "list")}
    listing = Listing("Places365", [], dict(names))
    for split, folder in (("train", train), ("val", val)):
        for path, number in prepare.pairs(names[split], "list"):
            if number not in categories:
                raise DataError(f"{names[split]}: {path} is of class {number}, not in {names['categories']}")
            source = folder / path.lstrip("/")
            listing.images.append(Placed(split, categories[number], source, source.name))
    return listing


def imagenet(train: Path, val: Path, labels: Path) -> Listing:
    """IN-1k: ``train`` has wnid folders, ``val`` the flat photos, ``labels`` their wnids.

    ``labels`` is either one wnid a line in the order of the photos' names, or Kaggle's
    LOC_val_solution.csv.
    """
    listing = Listing("IN-1k", [], {"val labels": labels})
    for label, paths in class_folders(train).items():
        listing.images += [Placed("train", label, path, path.name) for path in paths]
    photos = {path.stem: path for path in _photos(val)}
    for stem, label in _val_labels(labels, sorted(photos)).items():
        if stem not in photos:
            raise DataError(f"{labels} names {stem}, which is not in {val}; unpack the archive again")
        listing.images.append(Placed("val", label, photos[stem], photos[stem].name))
    return listing


def _val_labels(path: Path, photos: Sequence[str]) -> dict[str, str]:
    lines = prepare.by_line(path, "labels")
    if "," in lines[0]:  # ImageId,PredictionString: the first word of the second column is the wnid
        rows = [line.split(",", 1) for line in lines[1:]]
        found = {row[0]: row[1].split()[0] for row in rows if len(row) == 2 and row[1].split()}
    else:
        found = dict(zip(photos, lines, strict=False))
        if len(lines) != len(photos):
            raise DataError(f"{path} has {len(lines)} labels for {len(photos)} photos; expected one a photo")
    strange = next((label for label in found.values() if not WNID.fullmatch(label)), None)
    if strange is not None:
        raise DataError(
            f"{path}: {strange!r} is no wnid such as n01440764. The development kit's numbers are not "
            "WordNet ids: see docs/transfer.md for lists that hold them"
        )
    return found


def synsets(folder: Path, wanted: str, *, val_per_class: int, draw_seed: int = 0) -> Listing:
    """Wnid folders of a larger ImageNet, cut to a list of synsets, ``val_per_class`` photos drawn for val.

    ``wanted`` is a file with one wnid a line, or ``timm:NAME`` for a list that timm ships. Which
    photos are val is a function of the file names and ``draw_seed``.
    """
    names, source = synset_list(wanted)
    there = class_folders(folder)
    lost = [name for name in names if name not in there]
    if lost:
        raise DataError(
            f"{len(lost)} of the {len(names)} synsets of {wanted} have no folder with images in {folder}: "
            f"{prepare.shown(lost)}"
        )
    if val_per_class < 1:
        raise ConfigError(f"--val-per-class is {val_per_class}; expected 1 or more")
    listing = Listing(f"{len(names)} synsets", [], {"synsets": source})
    for label in names:
        ranked = sorted(there[label], key=lambda path: seed.derive("val", draw_seed, label, path.name))
        for place, path in enumerate(ranked):
            listing.images.append(Placed("val" if place < val_per_class else "train", label, path, path.name))
    listing.notes.append(f"val: {val_per_class} photos of each class, drawn by name and seed {draw_seed}")
    return prepare.only_common(listing)


def synset_list(wanted: str) -> tuple[list[str], Path]:
    """The wnids of a list, each once, in its order, and the file that holds it; DataError otherwise."""
    path = _timm_list(wanted.removeprefix("timm:")) if wanted.startswith("timm:") else Path(wanted)
    names = [line.split()[0] for line in prepare.by_line(path, "list of synsets")]
    for number, name in enumerate(names, 1):
        if not WNID.fullmatch(name):
            raise DataError(f"list of synsets {path}, line {number}: {name!r} is no wnid such as n01440764")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"list of synsets {path} has {twice[0]} twice; expected each synset once")
    return names, path


def _timm_list(name: str) -> Path:
    tables = Path(str(resources.files("timm"))) / "data" / "_info"
    known = {m[1]: tables / m[0] for p in sorted(tables.glob("*.txt")) if (m := _TIMM_LIST.fullmatch(p.name))}
    if name not in known:
        raise ConfigError(f"timm ships no list {name!r}; it ships {', '.join(known)}")
    return known[name]


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """Image files by the name of the folder below ``folder`` they lie in; DataError without any."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected one folder of images for each class in it")
    found = {
        sub.name: _photos(sub) for sub in sorted(folder.iterdir()) if sub.is_dir() and not hidden(sub.name)
    }
    if not any(found.values()):
        raise DataError(f"{folder} has no class folders with images in them")
    return {name: paths for name, paths in found.items() if paths}


def _photos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected images in it")
    found = (path for path in folder.iterdir() if not hidden(path.name))
    return sorted(path for path in found if path.suffix.lower() in EXTENSIONS)
