"""What curves over many pretraining runs need to know of each: it travels in the weights."""

from __future__ import annotations

from typing import Any

from pretrain.training import job
from wsl_det.core.config import Config


def of_config(cfg: Config) -> dict[str, Any]:
    """What a pretraining config alone tells; what only the data tell is None.

    ``images`` trained on, ``classes`` of the vocabulary (``vocabulary`` is its sha256), ``dataset``,
    ``sampling`` (natural, sqrt, uniform), ``noise`` and ``subset`` (fractions), ``draws`` in the whole
    run, ``seed``, and the test crop: ``size`` from a shorter side of ``resize`` pixels.
    """
    schedule = job.make_schedule(cfg)
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
        "size": int(cfg.INPUT.SIZE),
        "resize": int(cfg.INPUT.TEST_RESIZE),
    }


def of_job(cfg: Config, ready: job.Job) -> dict[str, Any]:
    """The whole record of a run."""
    posts = ready.posts
    return {
        **of_config(cfg),
        "images": int(ready.stream.num_images),
        "classes": len(posts.vocabulary),
        "vocabulary": posts.vocabulary.sha256,
        "dataset": posts.name,
    }
