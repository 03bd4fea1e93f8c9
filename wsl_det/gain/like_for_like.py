"""Like for like: what may differ between two compared sides, and what may not (docs/method.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsl_det.errors import DataError
from wsl_det.predictions import Predictions

WEIGHTS = "MODEL.WEIGHTS"
BACKBONE_KEYS = (
    WEIGHTS,
    "INPUT.FORMAT",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "MODEL.RESNETS.",
    "MODEL.TIMM.",
    "MODEL.BACKBONE.",
    # A transformer does not learn as a convolution does; the rate has to come from a sweep.
    "SOLVER.OPTIMIZER",
    "SOLVER.LAYER_DECAY",
)
RUN_KEYS = (
    "SEED",
    "OUTPUT_DIR",
    "DATALOADER.NUM_WORKERS",
    "MODEL.DEVICE",
    # What is logged and kept; the size of a sweep matters only where the learning rates differ.
    "WSL_DET.LOG_PERIOD",
    "WSL_DET.KEEP_CHECKPOINTS",
    "WSL_DET.LR_SWEEP_SIZE",
)
# Keys that some files do not have, with what is done where there is no choice.
LATER: dict[str, Any] = {
    "WSL_DET.INFERENCE.FOLD_BN": False,
    "WSL_DET.INFERENCE.CHANNELS_LAST": False,
    "WSL_DET.INFERENCE.WINOGRAD": False,
    "WSL_DET.INFERENCE.CLASS_MASKS": False,
    "WSL_DET.INFERENCE.PRECISION": "float32",
    "MODEL.TIMM.NAME": "",
    "MODEL.TIMM.OUT_FEATURES": [],
    "MODEL.TIMM.FREEZE_AT": 0,
    "MODEL.TIMM.FREEZE_NORM": "auto",
    "MODEL.TIMM.DROP_PATH": 0.0,
    "MODEL.TIMM.CHECKPOINTING": False,
    "SOLVER.OPTIMIZER": "SGD",
    "SOLVER.LAYER_DECAY": 1.0,
}
LEARNING_RATE = "SOLVER.BASE_LR"


@dataclass(frozen=True)
class Difference:
    """One thing in which the sides differ: free by the rule of the house, or not."""

    key: str
    baseline: str
    candidate: str
    free: bool

    def line(self) -> str:
        return f"{self.key}: {self.baseline} | {self.candidate}"


def check(
    baseline: Sequence[Predictions], candidate: Sequence[Predictions], gt_sha256: str | None, allow: bool
) -> tuple[list[Difference], list[str]]:
    """All differences between the sides' headers, and sentences about what could not be checked.

    Runs of one side may differ in the keys of the run only, and in backbones of one pretraining but its seed.
    Raises DataError as ``refuse``, unless ``allow``.
    """
    found: list[Difference] = []
    for side in (baseline, candidate):
        for other in side[1:]:
            found += _between(
                side[0], other, f"{side[0].source} | {other.source}, runs of one side, ", run=True
            )
    found += _between(baseline[0], candidate[0], "", run=False)
    for one in (*baseline, *candidate):
        found += _ground_truth(one, gt_sha256)
    if not allow:
        refuse(found)
    return list(dict.fromkeys(found)), _unmarked(baseline, candidate)


def refuse(differences: Sequence[Difference]) -> None:
    """Raises DataError that lists what differs and must not, if anything does."""
    refused = list(dict.fromkeys(d for d in differences if not d.free))
    if refused:
        text = "\n  ".join(d.line() for d in refused)
        raise DataError(
            "the two sides are not alike; a gain between them would be that of what differs, too "
            f"(baseline | candidate):\n  {text}\nmake them alike, or pass --allow-mismatch to print "
            "this list in the report instead"
        )


def _unmarked(baseline: Sequence[Predictions], candidate: Sequence[Predictions]) -> list[str]:
    without = [p.source for p in (*baseline, *candidate) if p.meta is None]
    if not without:
        return []
    names = ", ".join(without)
    return [f"no header beside {names}: these predictions are from elsewhere, likeness was not checked"]


def _ground_truth(one: Predictions, gt_sha256: str | None) -> list[Difference]:
    known = header_value(one.meta, "dataset", "gt_sha256")
    if known is None or gt_sha256 is None or known == gt_sha256:
        return []
    return [
        Difference(
            f"ground truth of {one.source}",
            f"made for sha256 {str(known)[:12]}",
            f"--gt has {gt_sha256[:12]}",
            False,
        )
    ]


def _between(a: Predictions, b: Predictions, prefix: str, *, run: bool) -> list[Difference]:
    if a.meta is None or b.meta is None:
        return []
    found = []
    for path in (("dataset", "gt_sha256"), ("dataset", "images")):
        ours, theirs = header_value(a.meta, *path), header_value(b.meta, *path)
        if ours != theirs and ours is not None and theirs is not None:
            found.append(Difference(prefix + ".".join(path), _text(ours), _text(theirs), False))
    seen = [_duplicates(p.meta) for p in (a, b)]
    if seen[0] != seen[1]:
        found.append(Difference(f"{prefix}duplicates", seen[0], seen[1], False))
    engines = [header_value(p.meta, "engine") for p in (a, b)]
    if engines[0] != engines[1]:
        found.append(Difference(f"{prefix}engine", _text(engines[0]), _text(engines[1]), True))
    configs = [_leaves(header_value(p.meta, "config")) for p in (a, b)]
    swept, reseeded = _same_sweep(a.meta, b.meta), run and _same_recipe(a.meta, b.meta)
    for key in sorted(set(configs[0]) | set(configs[1])):
        ours, theirs = (config.get(key, LATER.get(key, "absent")) for config in configs)
        if ours != theirs:
            free = _is_free(key, swept=swept, run=run) or (reseeded and key == WEIGHTS)
            found.append(Difference(prefix + key, _text(ours), _text(theirs), free))
    return found


def _duplicates(meta: Any) -> str:
    """How duplicate test images were treated when these predictions were made or cut, as a text."""
    sha256, mode = (
        header_value(meta, "duplicates", "verdicts", "sha256"),
        header_value(meta, "duplicates", "mode"),
    )
    return "not treated" if mode is None else f"{mode}, verdicts sha256 {str(sha256)[:12]}"


def _is_free(key: str, *, swept: bool, run: bool) -> bool:
    if key in RUN_KEYS:
        return True
    if run:
        return False
    if key == LEARNING_RATE:
        return swept
    return any(key.startswith(name) if name.endswith(".") else key == name for name in BACKBONE_KEYS)


def _same_sweep(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether both sides record that the learning rate was chosen by a sweep of the same size."""
    sizes = [header_value(meta, "sweep", "size") for meta in (a, b)]
    return sizes[0] is not None and sizes[0] == sizes[1]


def _same_recipe(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two backbones are of one pretraining but for its seed, by what their records tell."""
    told = [header_value(meta, "backbone", "pretraining") for meta in (a, b)]
    if not all(isinstance(one, Mapping) for one in told):
        return False
    # How many images a subset holds and how many shuffled labels stayed true are chance of the seed.
    of_seed = ("seed", "images", "kept_by_chance")
    first, second = ({k: v for k, v in one.items() if k not in of_seed} for one in told)
    return first == second


def header_value(tree: Any, *path: str) -> Any:
    """What stands at a path of keys in a header, or None."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        leaves |= _leaves(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return leaves


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
