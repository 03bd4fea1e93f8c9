"""Parameter groups, schedules and clipping as Detectron2's solver makes them."""

from __future__ import annotations

import bisect
import math
import random

import pytest
import torch
from fvcore.common import param_scheduler as fvcore
from torch import nn

from wsl_det.core import config
from wsl_det.detector import defaults, solver
from wsl_det.errors import ConfigError


def cfg(*overrides):
    return config.merge(defaults.TREE, {}, overrides)


def solver_cfg(**settings):
    return config.merge(defaults.TREE, {"SOLVER": settings})


def detectron2_schedule(cfg):
    """Detectron2's build_lr_scheduler, put together from the fvcore parts that it uses."""
    s = cfg.SOLVER
    if s.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        values = [s.GAMMA**k for k in range(len(s.STEPS) + 1)]
        shape = fvcore.MultiStepParamScheduler(values, milestones=list(s.STEPS), num_updates=s.MAX_ITER)
    elif s.LR_SCHEDULER_NAME == "WarmupCosineLR":
        shape = fvcore.CosineParamScheduler(1, s.BASE_LR_END / s.BASE_LR)
    else:
        shape = fvcore.StepWithFixedGammaParamScheduler(
            base_value=1.0, gamma=s.GAMMA, num_decays=s.NUM_DECAYS, num_updates=s.MAX_ITER
        )
    length = s.WARMUP_ITERS / s.MAX_ITER
    start, end = s.WARMUP_FACTOR * shape(0.0), shape(0.0) if s.RESCALE_INTERVAL else shape(length)
    constant = s.WARMUP_METHOD == "constant"
    warmup = fvcore.ConstantParamScheduler(start) if constant else fvcore.LinearParamScheduler(start, end)
    scaling = ["rescaled", "rescaled" if s.RESCALE_INTERVAL else "fixed"]
    whole = fvcore.CompositeParamScheduler(
        [warmup, shape], interval_scaling=scaling, lengths=[length, 1 - length]
    )
    return lambda i: whole(i / s.MAX_ITER)


@pytest.mark.parametrize("name", ["WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"])
@pytest.mark.parametrize("method", ["linear", "constant"])
@pytest.mark.parametrize("rescale", [False, True])
def test_learning_rate_is_detectron2s_at_every_iteration(name, method, rescale):
    # The warm-up reaches beyond the first step: there the two rules of its end differ.
    short = {"MAX_ITER": 90, "STEPS": [30, 60], "WARMUP_ITERS": 35, "BASE_LR_END": 1e-5}
    c = solver_cfg(LR_SCHEDULER_NAME=name, WARMUP_METHOD=method, RESCALE_INTERVAL=rescale, **short)
    ours, theirs = solver.learning_rate(c), detectron2_schedule(c)
    assert [ours(i) for i in range(90)] == pytest.approx([theirs(i) for i in range(90)], abs=1e-12)


def plain_factor(s, iteration):
    """The learning rate by plain arithmetic, as it was computed before fvcore did it."""

    def shape(i):
        if s.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
            return s.GAMMA ** bisect.bisect_right([x for x in s.STEPS if x < s.MAX_ITER], i)
        if s.LR_SCHEDULER_NAME == "WarmupCosineLR":
            end = s.BASE_LR_END / s.BASE_LR
            return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(i / s.MAX_ITER, 1)))
        return s.GAMMA ** min(int(i * (s.NUM_DECAYS + 1) / s.MAX_ITER), s.NUM_DECAYS)

    length = min(s.WARMUP_ITERS, s.MAX_ITER)
    if iteration >= length:
        rescaled = s.RESCALE_INTERVAL and length < s.MAX_ITER
        return shape((iteration - length) / (s.MAX_ITER - length) * s.MAX_ITER if rescaled else iteration)
    start = s.WARMUP_FACTOR * shape(0)
    if s.WARMUP_METHOD == "constant":
        return start
    alpha = iteration / length
    return start * (1 - alpha) + shape(0 if s.RESCALE_INTERVAL else length) * alpha


@pytest.mark.parametrize("name", ["WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"])
def test_learning_rates_by_plain_arithmetic(name):
    rng, points = random.Random(name), 0
    for total in (2, 7, 90, 1000, 12_360, 90_000, 270_000) * 6:
        steps = sorted({rng.randrange(1, total) for _ in range(rng.randrange(4))})
        s = solver_cfg(
            LR_SCHEDULER_NAME=name,
            MAX_ITER=total,
            STEPS=steps,
            GAMMA=rng.choice([0.1, 0.5]),
            WARMUP_ITERS=rng.choice([0, 1, 5, 100, 1000, total, 2 * total]),
            WARMUP_FACTOR=rng.choice([0.001, 0.1, 1.0]),
            WARMUP_METHOD=rng.choice(["linear", "constant"]),
            RESCALE_INTERVAL=name == "WarmupCosineLR" and rng.random() < 0.3,
            NUM_DECAYS=rng.choice([1, 2, 4, 5]),
            BASE_LR=0.02,
            BASE_LR_END=rng.choice([0.0, 0.001]),
        )
        marks = {0, total - 1, total // 2, min(s.SOLVER.WARMUP_ITERS, total - 1)}
        marks |= {i + d for i in (*steps, total // 2, total // 3) for d in (-1, 0, 1) if 0 <= i + d < total}
        marks |= {rng.randrange(total) for _ in range(40)}
        factor = solver.learning_rate(s)
        found, wanted = [factor(i) for i in marks], [plain_factor(s.SOLVER, i) for i in marks]
        assert found == pytest.approx(wanted, abs=1e-12, rel=0), s.SOLVER
        points += len(marks)
    assert points > 1000


def test_bad_schedules_are_config_errors():
    for overrides, match in (
        (["SOLVER.LR_SCHEDULER_NAME", "Poly"], "LR_SCHEDULER_NAME"),
        (["SOLVER.WARMUP_METHOD", "burnin"], "WARMUP_METHOD"),
        (["SOLVER.STEPS", [60, 30]], "increasing"),
        (["SOLVER.STEPS", [30, 30]], "increasing"),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", 9.0], "BASE_LR_END"),
    ):
        with pytest.raises(ConfigError, match=match):
            solver.learning_rate(cfg(*overrides))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.group = nn.GroupNorm(1, 2)
        self.shared = self.conv
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def settings_of(optimizer, net):
    by_id = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    return {name: by_id.get(id(p)) for name, p in net.named_parameters()}


def test_groups_follow_detectron2s_precedence():
    net = Net()
    found = settings_of(solver.optimizer(cfg("SOLVER.BASE_LR", 0.1), net), net)
    assert found == {
        "conv.weight": (0.1, 1e-4),
        "conv.bias": (0.1, 1e-4),
        "norm.weight": (0.1, 0.0),
        "norm.bias": (0.1, 0.0),
        "group.weight": (0.1, 0.0),
        "group.bias": (0.1, 0.0),
        "frozen.weight": None,
        "frozen.bias": None,
    }
    both = cfg("SOLVER.BASE_LR", 0.1, "SOLVER.BIAS_LR_FACTOR", 2.0, "SOLVER.WEIGHT_DECAY_BIAS", 0.5)
    found = settings_of(solver.optimizer(both, net), net)
    assert found["norm.weight"] == (0.1, 0.0)
    assert found["norm.bias"] == found["conv.bias"] == (0.2, 0.5)


def test_nothing_to_train_is_an_error():
    with pytest.raises(ConfigError, match="FREEZE_AT"):
        solver.optimizer(cfg(), nn.Linear(1, 1).requires_grad_(False))


def test_clipping_treats_every_parameter_alone():
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    a.grad, b.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    clip = solver.clipping(
        cfg("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"), [a, b]
    )
    clip()
    assert a.grad.norm().item() == pytest.approx(1, abs=1e-5)
    assert b.grad.tolist() == pytest.approx([0.3, 0.4])
    a.grad = torch.tensor([3.0, -4.0])
    solver.clipping(cfg("SOLVER.CLIP_GRADIENTS.ENABLED", True), [a, b])()
    assert a.grad.tolist() == [1, -1]
    assert solver.clipping(cfg(), [a]) is None
    with pytest.raises(ConfigError, match="CLIP_TYPE"):
        solver.clipping(
            cfg("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "x"), [a]
        )


def test_reference_world_size_scales_the_run():
    # The worked example of Detectron2's auto_scale_workers: 8 processes' settings on 16.
    eight = {"IMS_PER_BATCH": 16, "BASE_LR": 0.1, "REFERENCE_WORLD_SIZE": 8, "MAX_ITER": 5000}
    c = solver_cfg(STEPS=[4000], CHECKPOINT_PERIOD=1000, **eight)
    scaled = solver.scaled_to(c, 16).SOLVER
    assert (scaled.IMS_PER_BATCH, scaled.BASE_LR, scaled.MAX_ITER) == (32, 0.2, 2500)
    assert (tuple(scaled.STEPS), scaled.CHECKPOINT_PERIOD, scaled.REFERENCE_WORLD_SIZE) == ((2000,), 500, 16)
    assert solver.scaled_to(c, 8) is c
    with pytest.raises(ConfigError, match="REFERENCE_WORLD_SIZE"):
        solver.scaled_to(cfg("SOLVER.IMS_PER_BATCH", 10, "SOLVER.REFERENCE_WORLD_SIZE", 8), 4)
