"""What a run must know before it begins: keys this shop honours, its seed, its precision, its fingerprint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from wsl_det.core import addresses, dist, log, yaml_files
from wsl_det.core.config import Config
from wsl_det.detector.coco_records import CocoDataset
from wsl_det.detector.defaults import NOT_DETECTRON2S, TREE
from wsl_det.errors import ConfigError, DataError

# Off in Detectron2 by default, and not done by our loop: asking for them must not pass in silence.
_MUST_BE = {
    "MODEL.LOAD_PROPOSALS": False,
    "MODEL.KEYPOINT_ON": False,
    "DATASETS.PROPOSAL_FILES_TRAIN": [],
    "DATASETS.PROPOSAL_FILES_TEST": [],
    "TEST.AUG.ENABLED": False,
    "TEST.PRECISE_BN.ENABLED": False,
}
# What may change between a run and its continuation: where and how it runs, not what it computes.
_FREE = (
    "OUTPUT_DIR",
    "VIS_PERIOD",
    "DATASETS.TEST",
    "DATALOADER.NUM_WORKERS",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "SOLVER.CHECKPOINT_PERIOD",
    "CUDNN_BENCHMARK",
    "TEST.",
    "WSL_DET.",
)


def check(cfg: Config) -> None:
    """Raise ConfigError for what Detectron2's trainer does and our loop does not."""
    flat = cfg.flat()
    for key, value in _MUST_BE.items():
        if flat[key] != value:
            raise ConfigError(f"{key} is {flat[key]!r}; wsl_det does not do this, set it to {value!r}")
    if cfg.SOLVER.OPTIMIZER == "ADAMW" and cfg.SOLVER.NESTEROV:
        raise ConfigError("SOLVER.NESTEROV is of SGD; SOLVER.OPTIMIZER is ADAMW")
    if cfg.SOLVER.NESTEROV and not cfg.SOLVER.MOMENTUM:
        raise ConfigError("SOLVER.NESTEROV needs SOLVER.MOMENTUM above 0")


def amp(cfg: Config) -> str:
    """The loop's name for SOLVER.AMP: "none", "float16" or "bfloat16"."""
    return cfg.WSL_DET.AMP_DTYPE if cfg.SOLVER.AMP.ENABLED else "none"


def set_backends(cfg: Config) -> None:
    """CUDNN_BENCHMARK and FLOAT32_PRECISION, as Detectron2's default_setup applies them."""
    import torch

    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    if cfg.FLOAT32_PRECISION:
        torch.set_float32_matmul_precision(cfg.FLOAT32_PRECISION)


def with_seed(cfg: Config, *, resume: bool) -> Config:
    """The config with a seed that is a number: SEED < 0 draws one, equal on all ranks, and says it.

    A resumed run takes the one that its folder's config.yaml records.
    """
    if cfg.SEED >= 0:
        return cfg
    seed = dist.broadcast_object(_recorded_seed(cfg) if resume else None)
    if seed is None:
        seed = dist.broadcast_object(int.from_bytes(os.urandom(4), "big") >> 1)
        log.get("train").info("SEED was %d: drew %d, which repeats this run", cfg.SEED, seed)
    return cfg.override(SEED=seed)


def _recorded_seed(cfg: Config) -> int | None:
    try:
        folder = addresses.of(cfg.OUTPUT_DIR) or cfg.OUTPUT_DIR
        tree = yaml_files.read(addresses.local(addresses.join(folder, "config.yaml")))
    except (ConfigError, DataError):
        return None
    recorded = tree.get("SEED") if isinstance(tree, dict) else None
    return recorded if isinstance(recorded, int) and recorded >= 0 else None


def fingerprint(cfg: Config, train_sha256: Sequence[str], weights_sha256: str | None) -> dict[str, Any]:
    """What must be the same for a run to be continued: settings that compute, data, start weights."""
    # Older runs have no record of keys that came later.
    usual = {k: v for k, v in Config(TREE).flat().items() if k.startswith(NOT_DETECTRON2S)}
    flat = {k: v for k, v in cfg.flat().items() if k not in usual or usual[k] != v}
    kept = {k: v for k, v in flat.items() if not k.startswith(_FREE)}
    return {**kept, "train data sha256": list(train_sha256), "weights sha256": weights_sha256}


def categories(dataset: CocoDataset) -> list[dict[str, Any]]:
    """[{"id", "name"}] in class order, as checkpoints record them."""
    pairs = zip(dataset.category_ids, dataset.category_names, strict=True)
    return [{"id": i, "name": name} for i, name in pairs]
