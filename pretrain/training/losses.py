"""Softmax cross-entropy against 1/k on each of an image's k tags (Mahajan et al. 2018). Pure."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.stream.loader import Tags


def hashtag_loss(logits: Tensor, tags: Tags, *, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """(loss, its least possible value), both means over the images that have tags.

    The loss is -sum over classes of target * log softmax, target 1/k on each tag; at best it is
    log k, so loss - log k is the divergence that compares across vocabularies.
    ``smoothing`` moves that share of the target to the uniform distribution; the least value
    stays that of the unsmoothed target. ``logits`` are (N, classes); computed in float32.
    """
    kept = tags.counts > 0
    counts = tags.counts.clamp(min=1)
    # Half precision has 3 digits: not enough for a logarithm over 17,000 classes.
    log_p = torch.log_softmax(logits.float(), dim=1)
    place = torch.arange(tags.ids.shape[1], device=logits.device)
    real = place < tags.counts[:, None]
    # Gathered from a padded table, the backward adds one number to each logit: the same bits
    # on every device, which a scatter over a flat list does not promise.
    chosen = log_p.gather(1, tags.ids).where(real, 0.0)
    rows = -chosen.sum(1) / counts
    if smoothing:
        rows = (1 - smoothing) * rows - smoothing * log_p.mean(1)
    number = kept.sum().clamp(min=1)
    loss = rows.where(kept, 0.0).sum() / number
    floor = counts.log().where(kept, 0.0).sum() / number
    return loss, floor
