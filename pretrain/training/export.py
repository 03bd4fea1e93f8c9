"""The end of a pretraining run: weights with everything a reader must know to use them rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from pretrain.training.model import Arch
from wsl_det.core import provenance

SCHEMA = 1


def final_payload(
    model: nn.Module,
    arch: Arch,
    *,
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
    vocabulary: str,
    dataset: str,
    dataset_sha256: str,
    config: Mapping[str, Any],
    bn_statistics: str,
    ema_decay: float = 0.0,
    verdicts: Mapping[str, Any] | None = None,
    pretraining: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``model_final.pth``: tensors and plain values only.

    ``vocabulary`` is the sha256 that names it; ``pixel_mean`` and ``pixel_std`` are RGB on the
    0-255 scale; ``bn_statistics`` says in words how the running statistics came about; above 0,
    ``ema_decay`` says that the weights are an average over steps. ``verdicts`` is the ancestry of
    the duplicate review whose images were left out, ``pretraining`` the record of ``training.record``.
    """
    made_from = {"dataset": f"sha256:{dataset_sha256}", "vocabulary": f"sha256:{vocabulary}"}
    about = {
        **provenance.header("pretraining", SCHEMA, made_from),
        "arch": arch.header(),
        "pixel_mean": [float(x) for x in pixel_mean],
        "pixel_std": [float(x) for x in pixel_std],
        "channel_order": "RGB",
        "stride_in_1x1": False,
        "vocabulary": vocabulary,
        "dataset": dataset,
        "bn_statistics": bn_statistics,
        "ema_decay": float(ema_decay),
        "config": dict(config),
        **({"verdicts": dict(verdicts)} if verdicts else {}),
        **({"pretraining": dict(pretraining)} if pretraining else {}),
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    return {"model": weights, "wsl_det": about}
