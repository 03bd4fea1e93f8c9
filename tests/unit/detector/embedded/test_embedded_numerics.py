"""Small cases drawn out by hand: anchors, offsets, matching, sampling, levels, proposals, losses."""

from __future__ import annotations

import math

import pytest
import torch
from fvcore import nn as fvcore
from torch import Tensor

from wsl_det.detector.embedded import boxes as box_ops
from wsl_det.detector.embedded import losses
from wsl_det.detector.embedded.anchors import AnchorGenerator
from wsl_det.detector.embedded.boxes import MAX_LOG_GROWTH, BoxCoder
from wsl_det.detector.embedded.matcher import Matcher, Sampler
from wsl_det.detector.embedded.pooler import Pooler, assign_levels
from wsl_det.detector.embedded.rpn import find_top_proposals


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_iou_of_half_apart_and_empty_boxes() -> None:
    first = _boxes((0, 0, 2, 2), (5, 5, 5, 9))
    second = _boxes((0, 0, 2, 2), (1, 0, 3, 2), (2, 0, 4, 2), (5, 5, 5, 9))
    assert torch.equal(box_ops.pairwise_iou(first, second), torch.tensor([[1, 1 / 3, 0, 0], [0, 0, 0, 0]]))


def test_clip_and_what_is_left() -> None:
    cut = box_ops.clip(_boxes((-3, 2, 50, 4), (30, 1, 40, 2)), (10, 20))
    assert torch.equal(cut, _boxes((0, 2, 20, 4), (20, 1, 20, 2)))
    assert box_ops.nonempty(cut).tolist() == [True, False]
    assert box_ops.nonempty(cut, 2.0).tolist() == [False, False]


def test_inside_counts_the_far_edge_as_outside() -> None:
    found = box_ops.inside(_boxes((0, 0, 19.5, 9), (0, 0, 20, 9), (-1, 0, 5, 5)), (10, 20), 0)
    assert found.tolist() == [True, False, False]
    assert box_ops.inside(_boxes((-1, 0, 20, 9)), (10, 20), 1).all()


def test_anchors_of_one_cell_and_their_order() -> None:
    generator = AnchorGenerator(sizes=[[8.0]], ratios=[[0.5, 2.0]], strides=[4], offset=0.0)
    (anchors,) = generator([torch.zeros(1, 1, 2, 2)])
    wide = 8 * math.sqrt(2)
    first = torch.tensor([-wide / 2, -wide / 4, wide / 2, wide / 4])
    assert anchors.shape == (8, 4)
    torch.testing.assert_close(anchors[0], first)
    # The next cell is to the right, the row below comes after it.
    torch.testing.assert_close(anchors[2], first + torch.tensor([4.0, 0, 4, 0]))
    torch.testing.assert_close(anchors[4], first + torch.tensor([0.0, 4, 0, 4]))
    assert "cell0" not in generator.state_dict()


def test_offsets_there_and_back() -> None:
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    source, target = _boxes((0, 0, 10, 20), (5, 5, 9, 8)), _boxes((1, 2, 6, 30), (0, 0, 9, 9))
    torch.testing.assert_close(coder.decode(coder.encode(source, target), source), target)


def test_growth_is_clamped_and_classes_are_decoded_side_by_side() -> None:
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    offsets = torch.tensor([[0.0, 0, 100, 0, 1, 0, 0, 0]])
    grown, moved = coder.decode(offsets, _boxes((0, 0, 16, 16))).view(2, 4)
    assert (grown[2] - grown[0]).item() == pytest.approx(16 * math.exp(MAX_LOG_GROWTH))
    torch.testing.assert_close(moved, torch.tensor([16.0, 0, 32, 16]))


def test_matcher_ignores_between_thresholds_and_rescues() -> None:
    overlaps = torch.tensor([[0.1, 0.4, 0.8, 0.0], [0.2, 0.2, 0.1, 0.0]])
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], rescue=False)(overlaps)
    assert matches.tolist() == [1, 0, 0, 0]
    assert labels.tolist() == [0, -1, 1, 0]
    # The second object's best boxes are the first two, ties included; the second keeps object 0.
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1], rescue=True)(overlaps)
    assert labels.tolist() == [1, 1, 1, 0]
    assert matches.tolist() == [1, 0, 0, 0]


def test_matcher_without_objects() -> None:
    matches, labels = Matcher([0.5], [0, 1], rescue=True)(torch.zeros(0, 3))
    assert matches.tolist() == [0, 0, 0] and labels.tolist() == [0, 0, 0]


def test_sample_fills_up_with_negatives() -> None:
    labels = torch.tensor([1] * 3 + [0] * 50 + [-1] * 20)
    positive, negative = Sampler(16, 0.5, 0, _rng())(labels)
    assert sorted(positive.tolist()) == [0, 1, 2]
    assert len(negative) == 13 and (labels[negative] == 0).all() and len(negative.unique()) == 13
    positive, negative = Sampler(4, 0.5, 0, _rng())(labels)
    assert (len(positive), len(negative)) == (2, 2)


def test_sample_depends_on_its_generator_only() -> None:
    labels = torch.tensor([1, 0] * 100)
    first = Sampler(20, 0.5, 0, _rng(1))(labels)
    torch.manual_seed(99)
    again = Sampler(20, 0.5, 0, _rng(1))(labels)
    other = Sampler(20, 0.5, 0, _rng(2))(labels)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize(
    ("side", "level"), [(10, 0), (111.9, 0), (112, 1), (224, 2), (447, 2), (448, 3), (3000, 3)]
)
def test_levels_of_the_pyramid(side: float, level: int) -> None:
    assert assign_levels(_boxes((0, 0, side, side)), finest=2, coarsest=5).tolist() == [level]


def test_pooler_takes_each_box_from_its_level_and_image() -> None:
    pooler = Pooler(resolution=2, strides=[4, 8], sampling_ratio=0, kind="ROIAlignV2")
    maps = [
        torch.stack([torch.full((1, 64, 64), 1.0 + i + 10 * level) for i in range(2)]) for level in range(2)
    ]
    maps[1] = maps[1][..., :32, :32]
    pooled = pooler(maps, [_boxes((8, 8, 40, 40)), _boxes((8, 8, 200, 200), (0, 0, 16, 16))])
    assert pooled.mean((1, 2, 3)).tolist() == [1.0, 12.0, 2.0]


def test_proposals_are_suppressed_within_a_level_only() -> None:
    same = _boxes((0, 0, 10, 10), (0, 0, 10, 11))[None]
    logits = torch.tensor([[0.5, 2.0]])
    (found,) = find_top_proposals(
        [same, same], [logits, logits + 1], [(20, 20)],
        pre_nms_topk=5, post_nms_topk=5, nms_threshold=0.7, min_size=0.0,
    )  # fmt: skip
    assert found.logits.tolist() == [3.0, 2.0]
    assert torch.equal(found.boxes, _boxes((0, 0, 10, 11), (0, 0, 10, 11)))


def test_proposals_drop_what_is_not_finite_outside_or_small() -> None:
    rows = _boxes((0, 0, math.nan, 9), (30, 0, 40, 9), (0, 0, 3, 9), (-5, -5, 9, 30))
    (found,) = find_top_proposals(
        [rows[None]], [torch.tensor([[4.0, 3, 2, 1]])], [(20, 20)],
        pre_nms_topk=9, post_nms_topk=9, nms_threshold=0.7, min_size=4.0,
    )  # fmt: skip
    assert torch.equal(found.boxes, _boxes((0, 0, 9, 20)))


def test_smooth_l1_meets_at_beta() -> None:
    predicted, wanted = torch.tensor([0.5, -3.0]), torch.zeros(2)
    assert losses.smooth_l1(predicted, wanted, 0.0).item() == 3.5
    assert losses.smooth_l1(predicted, wanted, 1.0).item() == 0.125 + 2.5


@pytest.mark.parametrize("kind", losses.BOX_LOSSES)
def test_box_losses_vanish_at_the_target_and_only_there(kind: str) -> None:
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    source, target = _boxes((0, 0, 10, 10), (5, 5, 30, 20)), _boxes((1, 1, 12, 9), (4, 6, 30, 25))
    right = coder.encode(source, target)
    for offsets, expected in ((right, 0.0), (right + 0.1, None)):
        loss = losses.BoxLoss(coder, kind)(source, offsets, target, 1)
        assert loss.item() == pytest.approx(0.0, abs=1e-5) if expected == 0.0 else loss.item() > 0.01


@pytest.mark.parametrize("beta", [0.0, 1e-6, 0.1, 1.0])
def test_smooth_l1_is_fvcores(beta: float) -> None:
    predicted, wanted = (torch.randn(50, 4, generator=_rng(i)).requires_grad_(i == 0) for i in range(2))
    ours = losses.smooth_l1(predicted, wanted, beta)
    theirs = fvcore.smooth_l1_loss(predicted, wanted, beta, reduction="sum")
    assert torch.equal(ours, theirs)
    assert torch.equal(*(torch.autograd.grad(loss, predicted)[0] for loss in (ours, theirs)))


def test_giou_is_fvcores() -> None:
    coder, corners = BoxCoder((10, 10, 5, 5)), torch.rand(40, 4, generator=_rng()) * 50
    sources = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:] + 5], 1)
    targets, offsets = sources + torch.randn(40, 4, generator=_rng(1)), torch.randn(40, 4, generator=_rng(2))
    ours = losses.BoxLoss(coder, "giou")(sources, offsets, targets, 1)
    theirs = fvcore.giou_loss(coder.decode(offsets, sources), targets, reduction="sum")
    torch.testing.assert_close(ours, theirs)


def test_classification_losses_without_boxes_stay_on_the_graph() -> None:
    logits = torch.zeros(0, 6, requires_grad=True)
    for loss in (losses.softmax_classification, losses.sigmoid_classification):
        value = loss(logits, torch.zeros(0, dtype=torch.int64))
        value.backward()
        assert value.item() == 0.0


def test_sigmoid_classification_leaves_the_background_logit_out() -> None:
    classes = torch.tensor([1, 2])  # of two classes, so 2 is background
    logits = torch.tensor([[0.0, 0.0, 7.0], [0.0, 0.0, -7.0]])
    assert losses.sigmoid_classification(logits, classes).item() == pytest.approx(2 * math.log(2))
