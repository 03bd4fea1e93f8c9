"""The end of a run: results.json and model_final.pth, each with what a reader must know of it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from pretrain.stream import exclusion
from pretrain.training import export, probe, record
from pretrain.training.job import Job, heldout_images
from wsl_det.core import files, log, provenance
from wsl_det.core.checkpoint import RunFolder
from wsl_det.core.config import Config

_BN_STATISTICS = "exponential average over steps of the mean over BN groups, averaged over processes"


def write_results(cfg: Config, job: Job, folder: RunFolder, found: Mapping[str, float], stream: str) -> None:
    """``results.json``: recall (percent) beside that of a constant guess, and what was trained on.

    ``found`` is what ``probe.measure`` gives, empty without held-out posts; ``stream`` the hash of
    the whole sample stream.
    """
    posts = job.posts
    images = heldout_images(cfg, posts)
    chance = probe.constant_guess(
        [posts.labels(int(i)) for i in images], job.stream.tag_counts, cfg.TEST.RECALL_AT
    )
    made_from = {"dataset": f"sha256:{posts.sha256}", "vocabulary": f"sha256:{posts.vocabulary.sha256}"}
    made_from |= {"verdicts": f"sha256:{job.verdicts.sha256}"} if job.verdicts else {}
    results = {
        "recall": found,
        "constant_guess": chance if found else {},
        "pretraining": record.of_job(cfg, job),
        "meta": {**provenance.header("pretraining results", 1, made_from), "stream": stream},
    }
    files.write_json(folder.path / "results.json", results)
    if found:
        shown = "  ".join(f"{name} {value:.2f}" for name, value in chance.items())
        log.get("pretrain").info("a constant guess scores: %s", shown)


def write_weights(cfg: Config, job: Job, folder: RunFolder, bare: nn.Module) -> None:
    """``model_final.pth``: the weights that stand in ``bare``, with all that export asks of them."""
    posts = job.posts
    payload = export.final_payload(
        bare,
        job.arch,
        pixel_mean=cfg.INPUT.PIXEL_MEAN,
        pixel_std=cfg.INPUT.PIXEL_STD,
        vocabulary=posts.vocabulary.sha256,
        dataset=posts.name,
        dataset_sha256=posts.sha256,
        config=cfg.to_dict(),
        bn_statistics=_BN_STATISTICS,
        ema_decay=cfg.SOLVER.EMA_DECAY,
        verdicts=exclusion.ancestry(job.verdicts, posts),
        pretraining=record.of_job(cfg, job),
    )
    path = folder.save_final(payload)
    log.get("pretrain").info("wrote %s; tools/export_backbone.py makes a backbone of it", path)
