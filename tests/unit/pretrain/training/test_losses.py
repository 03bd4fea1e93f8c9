"""The 1/k softmax loss against arithmetic done by hand and against torch's own."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from pretrain.stream.loader import pack_tags
from pretrain.training.losses import hashtag_loss


def tags_of(*rows: list[int]):
    return pack_tags([np.array(row, np.int32) for row in rows])


def test_a_small_case_by_hand() -> None:
    # Softmax of (0, ln 2, ln 5) is (1/8, 2/8, 5/8).
    logits = torch.tensor([[0.0, math.log(2), math.log(5)]])
    loss, least = hashtag_loss(logits, tags_of([0, 2]))
    assert math.isclose(loss.item(), -(math.log(1 / 8) + math.log(5 / 8)) / 2, rel_tol=1e-6)
    assert math.isclose(least.item(), math.log(2), rel_tol=1e-6)


def test_one_tag_is_ordinary_cross_entropy() -> None:
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    labels = [3, 0, 8, 8, 1, 2]
    loss, least = hashtag_loss(logits, tags_of(*([x] for x in labels)))
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor(labels)))
    assert least.item() == 0


def test_several_tags_and_smoothing_equal_soft_targets() -> None:
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(1), requires_grad=True)
    rows = [[1, 4], [0], [2, 3, 6]]
    target = torch.zeros(3, 7)
    for i, row in enumerate(rows):
        target[i, row] = 1 / len(row)
    for smoothing in (0.0, 0.1):
        loss, _ = hashtag_loss(logits, tags_of(*rows), smoothing=smoothing)
        want = F.cross_entropy(logits, target, label_smoothing=smoothing)
        torch.testing.assert_close(loss, want)
        ours, theirs = (torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (loss, want))
        torch.testing.assert_close(ours, theirs)


def test_repeated_tags_count_once() -> None:
    logits = torch.randn(2, 5, generator=torch.Generator().manual_seed(2))
    once, twice = tags_of([1, 3], [4]), tags_of([3, 1, 3, 3], [4, 4])
    assert torch.equal(once.ids, twice.ids) and torch.equal(once.counts, twice.counts)
    assert hashtag_loss(logits, once)[0] == hashtag_loss(logits, twice)[0]


def test_images_without_tags_are_left_out_of_the_mean_and_get_no_gradient() -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(3), requires_grad=True)
    loss, _ = hashtag_loss(logits, tags_of([2], [], [0, 1]))
    kept, _ = hashtag_loss(logits[[0, 2]], tags_of([2], [0, 1]))
    torch.testing.assert_close(loss, kept)
    loss.backward()
    assert logits.grad is not None and not logits.grad[1].any() and logits.grad[0].any()


def test_a_batch_without_any_tag_has_loss_zero_and_not_nan() -> None:
    loss, least = hashtag_loss(torch.randn(2, 5), tags_of([], []))
    assert loss.item() == 0 and least.item() == 0


def test_least_value_is_reached_by_the_target_itself() -> None:
    rows = tags_of([1, 4], [0, 1, 2, 3])
    logits = torch.full((2, 6), -1e4)
    logits[0, [1, 4]] = 0
    logits[1, :4] = 0
    loss, least = hashtag_loss(logits, rows)
    torch.testing.assert_close(loss, least)
    assert math.isclose(least.item(), (math.log(2) + math.log(4)) / 2, rel_tol=1e-6)


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.zeros(1, 17_000, dtype=torch.bfloat16)
    loss, _ = hashtag_loss(logits, tags_of([5]))
    assert loss.dtype == torch.float32
    assert math.isclose(loss.item(), math.log(17_000), rel_tol=1e-6)
