"""A classifier as it was trained, on wnid folders: hashtag classes answer for the synsets they hold.

Only classes that hold a synset under test may answer, and the best-scored of them is the answer. It is
right when the photo's synset is among its synsets. A class that holds several synsets under test (a
hashtag of several senses) is right about each of them, so accuracies are also given with its answers
counted as wrong ("strict"): the truth about a classifier that had to tell them apart lies between. A
synset that no class holds cannot be answered: its photos count as wrong, and it is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.transfer import backbone, features, folders, prepare, results, scores
from pretrain.transfer.results import Setting
from pretrain.transfer.sources import synset_list
from pretrain.vocabulary import classes as vocabulary
from wsl_det.backbone.sources import Source
from wsl_det.core import dist, log
from wsl_det.errors import DataError

IN1K = "timm:imagenet"


@dataclass(frozen=True)
class HeadClass:
    """One output of a classifier: its name, and the folder names (wnids) that it answers for."""

    name: str
    synsets: tuple[str, ...]


@dataclass(frozen=True)
class Answering:
    """Which outputs answer for which of the tested folders.

    ``columns`` (A,) are the outputs that may answer, ``held`` (A, K) which of the K tested classes each
    answers for; ``missing`` are tested classes that none holds, ``ambiguous`` the outputs that hold several.
    """

    columns: NDArray[np.int64]
    names: tuple[str, ...]
    held: NDArray[np.bool_]
    missing: tuple[str, ...]
    ambiguous: Mapping[str, tuple[str, ...]]


def answering(outputs: Sequence[HeadClass], tested: Sequence[str]) -> Answering:
    """Match a classifier's outputs to the tested classes; DataError when none can be answered."""
    place = {name: i for i, name in enumerate(tested)}
    columns, names, rows = [], [], []
    ambiguous: dict[str, tuple[str, ...]] = {}
    for column, output in enumerate(outputs):
        mine = sorted({place[s] for s in output.synsets if s in place})
        if not mine:
            continue
        columns.append(column)
        names.append(output.name)
        rows.append(mine)
        if len(mine) > 1:
            ambiguous[output.name] = tuple(tested[i] for i in mine)
    held = np.zeros((len(columns), len(tested)), dtype=np.bool_)
    for row, mine in enumerate(rows):
        held[row, mine] = True
    missing = tuple(name for i, name in enumerate(tested) if not held[:, i].any())
    if len(missing) == len(tested):
        raise DataError(
            f"none of the {len(tested)} folders of val ({prepare.shown(tested)}) is a synset of the "
            f"{len(outputs)} classes of the head; --mode head needs folders named by wnids it was trained on"
        )
    return Answering(np.array(columns, dtype=np.int64), tuple(names), held, missing, ambiguous)


def measure(setting: Setting) -> dict[str, Any] | None:
    """The result of a classifier as it is; None on the processes that only make scores."""
    request = setting.request
    tested, val = folders.open_val(request.data)
    network = backbone.with_head(setting.source, setting.device)
    outputs, made_from = classes(setting.source, network.fc.out_features, request.vocabulary)  # type: ignore[arg-type]
    match = answering(outputs, tested)
    with features.cache_folder(request.cache) as folder:
        place = results.outputs(setting, network, val, "scores", folder)
        if not dist.is_main():
            return None
        rows = features.load(val, place)
    results.check_readable(rows, val, "val", request.skip_budget)
    _tell(match, tested)
    top = scores.best(rows.vectors[:, match.columns], rows.usable)
    answered: NDArray[np.bool_] = np.not_equal(top, scores.UNREADABLE)
    right: NDArray[np.bool_] = np.logical_and(answered, match.held[top, val.labels[:, None]])
    single = np.equal(match.held.sum(axis=1), 1)
    strict: NDArray[np.bool_] = np.logical_and(right, single[top])
    more = {
        "head": {
            "outputs": len(outputs),
            "answering": len(match.columns),
            "missing": list(match.missing),
            "missing_images": int(np.isin(val.labels, np.flatnonzero(match.held.sum(axis=0) == 0)).sum()),
            "ambiguous": {name: list(held) for name, held in match.ambiguous.items()},
        }
    }
    return results.result(
        setting,
        answers=scores.Answers(val.labels, top, right, strict),
        classes=tested,
        val=val,
        rows=rows,
        more=more,
        answerable=match.names,
        made_from=made_from,
    )


def _tell(match: Answering, tested: Sequence[str]) -> None:
    logger = log.get("transfer")
    logger.info("%d classes of the head answer for %d folders", len(match.columns), len(tested))
    if match.missing:
        logger.warning(
            "%d of %d folders are synsets that no class of the head holds; their photos count as wrong: %s",
            len(match.missing),
            len(tested),
            prepare.shown(match.missing),
        )
    if match.ambiguous:
        logger.warning(
            "%d classes hold several of the folders and are right about each; see top1_strict: %s",
            len(match.ambiguous),
            prepare.shown(list(match.ambiguous)),
        )


def classes(
    source: Source, number: int, vocabulary_path: Path | None
) -> tuple[list[HeadClass], dict[str, str]]:
    """What each of a head's ``number`` outputs stands for, and what that was read from.

    A run's vocabulary (``--vocab``, else beside the shards it was trained on), a fine-tuned run's own
    list of classes, or IN-1k in timm's order for 1,000 outputs of a published file.
    """
    own, made_from = source.origin.get("classes"), dict[str, str]()
    if isinstance(own, list):
        found = [HeadClass(str(name), (str(name),)) for name in own]
    elif isinstance(source.origin.get("vocabulary"), str) or vocabulary_path is not None:
        tags = _vocabulary(source, vocabulary_path)
        found = [HeadClass(entry.name, entry.synsets) for entry in tags.classes]
        made_from = {"vocabulary": f"sha256:{tags.sha256}"}
    elif number == 1000:
        wnids, _ = synset_list(IN1K)
        found = [HeadClass(wnid, (wnid,)) for wnid in wnids]
        log.get("transfer").info("%s: 1,000 outputs, taken for IN-1k in the order of wnids", source.path)
    else:
        raise DataError(
            f"{source.path} does not say what its {number} outputs are; give its --vocab vocab.json"
        )
    if len(found) != number:
        raise DataError(f"{source.path} has {number} outputs, its list of classes {len(found)}")
    return found, made_from


def _vocabulary(source: Source, path: Path | None) -> vocabulary.Vocabulary:
    name = source.origin.get("vocabulary")
    if path is None:
        settings = source.origin.get("config")
        data = settings.get("DATA") if isinstance(settings, Mapping) else None
        shards = str(data.get("SHARDS", "")) if isinstance(data, Mapping) else ""
        path = Path(shards) / "vocab.json"
        if not path.is_file():
            raise DataError(
                f"{source.path} was trained on the vocabulary {str(name)[:12]}, which is not at {path}; "
                "give it as --vocab vocab.json"
            )
    found = vocabulary.read(path)
    if isinstance(name, str) and found.sha256 != name:
        raise DataError(
            f"{path} is the vocabulary {found.sha256[:12]}, {source.path} was trained on {name[:12]}"
        )
    return found
