"""The end of a run: results.json and model_final.pth, each with what a reader must know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pretrain.stream import exclusion
from pretrain.stream.sampling import rows_of
from pretrain.training import probe
from pretrain.training.arch import Arch
from pretrain.training.job import Job, heldout_images, kept_by_chance, make_schedule
from wsl_det.core import files, log, provenance
from wsl_det.core.checkpoint import RunFolder
from wsl_det.core.config import Config

SCHEMA = 1


def write_results(cfg: Config, job: Job, folder: RunFolder, found: Mapping[str, float], stream: str) -> None:
    """``results.json``: recall (percent) beside that of a constant guess, and what was trained on.

    ``found`` is what ``probe.measure`` gives, empty without held-out posts; ``stream`` the hash of
    the whole sample stream.
    """
    posts = job.posts
    images = heldout_images(cfg, posts)
    recall, right = ({k: v for k, v in found.items() if k.startswith("top") == top} for top in (False, True))
    chance = _guesses(cfg, job, images)
    made_from = {"dataset": f"sha256:{posts.sha256}", "vocabulary": f"sha256:{posts.vocabulary.sha256}"}
    made_from |= {"verdicts": f"sha256:{job.verdicts.sha256}"} if job.verdicts else {}
    results = {
        "recall": recall,
        **({"accuracy": right} if right else {}),
        "constant_guess": chance if found else {},
        "pretraining": _record(cfg, job),
        "meta": {**provenance.header("pretraining results", 1, made_from), "stream": stream},
    }
    files.write_json(folder.path / "results.json", results)
    if found:
        shown = "  ".join(f"{name} {value:.2f}" for name, value in chance.items())
        log.get("pretrain").info("a constant guess scores: %s", shown)


def _guesses(cfg: Config, job: Job, images: NDArray[np.int64]) -> dict[str, float]:
    """What always naming the most frequent labels of the training photos scores."""
    chance: dict[str, float] = {}
    for kind, labels in job.posts.kinds.items():
        ranks = cfg.TEST.RECALL_AT if kind == "hashtags" else probe.ACCURACY
        counts = job.stream.counts(labels, len(job.posts.vocabulary))
        if kind == cfg.DATA.SAMPLE_BY:
            counts = job.stream.tag_counts  # with label noise, if any
        found = probe.constant_guess(rows_of(labels, images), counts, ranks)
        chance |= found if kind == "hashtags" else probe.accuracy(found)
    return chance


def write_weights(cfg: Config, job: Job, folder: RunFolder, bare: nn.Module) -> None:
    """``model_final.pth``: the weights that stand in ``bare``, with all that export asks of them."""
    posts = job.posts
    payload = final_payload(
        bare,
        job.arch,
        posts.sha256,
        pixel_mean=[float(x) for x in cfg.INPUT.PIXEL_MEAN],
        pixel_std=[float(x) for x in cfg.INPUT.PIXEL_STD],
        vocabulary=posts.vocabulary.sha256,
        dataset=posts.name,
        bn_statistics="exponential average over steps of the mean over BN groups, averaged over processes",
        ema_decay=float(cfg.SOLVER.EMA_DECAY),
        config=cfg.to_dict(),
        verdicts=exclusion.ancestry(job.verdicts, posts),
        pretraining=_record(cfg, job),
    )
    path = folder.save_final(payload)
    log.get("pretrain").info("wrote %s; wsl-det export_backbone makes a backbone of it", path)


def final_payload(
    model: nn.Module, arch: Arch, dataset_sha256: str, *, vocabulary: str, **told: Any
) -> dict[str, Any]:
    """The content of ``model_final.pth``: tensors and plain values only; what is None is left out.

    ``vocabulary`` is the sha256 that names it; ``pixel_mean`` and ``pixel_std`` are RGB on the
    0-255 scale; ``bn_statistics`` says in words how the running statistics came about; above 0,
    ``ema_decay`` says that the weights are an average over steps. ``verdicts`` is the ancestry of
    the duplicate review whose images were left out, ``pretraining`` what ``record_of_config`` tells of.
    """
    made_from = {"dataset": f"sha256:{dataset_sha256}", "vocabulary": f"sha256:{vocabulary}"}
    about = {
        **provenance.header("pretraining", SCHEMA, made_from),
        "arch": arch.header(),
        "channel_order": "RGB",
        "stride_in_1x1": False,
        "vocabulary": vocabulary,
        **{name: value for name, value in told.items() if value is not None},
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    return {"model": weights, "wsl_det": about}


def record_of_config(cfg: Config) -> dict[str, Any]:
    """What a pretraining config alone tells; what only the data tell is None.

    ``images`` trained on, ``classes`` of the vocabulary (``vocabulary`` is its sha256), ``dataset``,
    ``sampling`` (natural, sqrt, uniform), ``noise`` and ``subset`` (fractions), ``draws`` in the whole
    run, ``seed``, ``labels`` trained on and ``sample_by`` (hashtags, synsets, shuffled), ``schedule``,
    whether it is a ``cooled`` branch and after how many draws it left its run, and the test crop: ``size``
    from a shorter side of ``resize`` pixels.
    """
    schedule = make_schedule(cfg)
    return {
        "images": None,
        "classes": None,
        "vocabulary": None,
        "dataset": None,
        "sampling": str(cfg.DATA.RESAMPLE),
        "noise": float(cfg.DATA.LABEL_NOISE),
        "subset": float(cfg.DATA.SUBSET),
        "draws": int(schedule.updates * schedule.batch),
        "seed": int(cfg.SEED),
        "labels": str(cfg.DATA.LABELS),
        "sample_by": str(cfg.DATA.SAMPLE_BY),
        "schedule": str(cfg.SOLVER.SCHEDULE),
        "cooled": bool(schedule.cool_from),
        "cooled_from": schedule.cool_from * schedule.batch or None,
        "size": int(cfg.INPUT.SIZE),
        "resize": int(cfg.INPUT.TEST_RESIZE),
    }


def _record(cfg: Config, ready: Job) -> dict[str, Any]:
    """The whole record of a run."""
    posts = ready.posts
    return {
        **record_of_config(cfg),
        "images": int(ready.stream.num_images),
        **({"kept_by_chance": kept} if (kept := kept_by_chance(cfg, ready)) is not None else {}),
        "classes": len(posts.vocabulary),
        "vocabulary": posts.vocabulary.sha256,
        "dataset": posts.name,
    }
