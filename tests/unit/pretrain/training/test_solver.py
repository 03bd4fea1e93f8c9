"""Learning rate and weight decay as docs/paper.md and docs/pretraining.md want them."""

from __future__ import annotations

import math
import random

import pytest
import torch

from pretrain.training import model, solver
from wsl_det.errors import ConfigError


def paper(**options: object) -> solver.Schedule:
    settings: dict = {
        "base_lr": 0.1,
        "batch": 8064,
        "total_images": 8064 * 1100,
        "warmup_lr": 0.1,
        "warmup_updates": 10,
    }
    return solver.Schedule(**{**settings, **options})


def test_linear_scaling_and_warmup_in_updates() -> None:
    schedule = paper()
    assert schedule.peak == pytest.approx(3.15)
    rates = [schedule.peak * schedule.factor(i) for i in range(12)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[5] == pytest.approx((0.1 + 3.15) / 2)
    assert rates[10] == rates[11] == pytest.approx(3.15)


def test_ten_halvings_at_equal_distances() -> None:
    schedule = paper()
    assert schedule.updates == 1100
    drops = [i for i in range(11, 1100) if schedule.factor(i) < schedule.factor(i - 1)]
    assert drops == [100 * k for k in range(1, 11)]
    assert schedule.factor(1099) == pytest.approx(0.5**10)


def test_drops_stay_at_the_same_images_when_the_batch_changes() -> None:
    small, large = paper(batch=336, warmup_updates=0), paper(warmup_updates=0)
    for images in (0, 8064 * 99, 8064 * 100, 8064 * 777):
        assert small.factor(images // 336) == large.factor(images // 8064)
    assert small.updates == 24 * large.updates


def test_warmup_never_starts_above_a_small_peak() -> None:
    schedule = paper(batch=24, total_images=2400)
    assert schedule.peak < 0.1
    assert schedule.factor(0) == 1.0


def test_cosine_ends_at_nothing() -> None:
    schedule = paper(kind="cosine", warmup_updates=0)
    assert schedule.factor(550) == pytest.approx(0.5)
    assert schedule.factor(1100) == pytest.approx(0.0)


def plain_factor(s: solver.Schedule, update: int) -> float:
    """The factor by plain arithmetic, as it was computed before fvcore did it."""
    seen = update * s.batch
    if s.kind == "cosine":
        done = min(seen / s.total_images, 1.0)
        decay = s.cosine_end + (1 - s.cosine_end) * 0.5 * (1 + math.cos(math.pi * done))
    else:
        parts = s.num_drops + 1
        decay = s.drop_factor ** sum(s.total_images * part <= seen * parts for part in range(1, parts))
    start = min(s.warmup_lr / s.peak, 1.0)
    alpha = min(update / s.warmup_updates, 1.0) if s.warmup_updates else 1.0
    return decay * (start * (1 - alpha) + alpha)


@pytest.mark.parametrize("kind", ["steps", "cosine"])
def test_factors_by_plain_arithmetic(kind: str) -> None:
    rng, points = random.Random(kind), 0
    for total in (5, 96, 1000, 12_345, 2_000_000_000) * 12:
        s = paper(
            kind=kind,
            total_images=total,
            batch=rng.choice([1, 3, 24, 256, 8064]),
            warmup_lr=rng.choice([0.1, 0.001, 5.0]),
            warmup_updates=rng.choice([0, 1, 50, 5000]),
            num_drops=rng.choice([0, 1, 3, 10]),
            drop_factor=rng.choice([0.5, 0.1]),
            cosine_end=rng.choice([0.0, 0.1]),
        )
        drops = [-(-total * p // (s.num_drops + 1) // s.batch) for p in range(1, s.num_drops + 1)]
        marks = {i + d for i in (0, s.updates - 1, *drops) for d in (-1, 0, 1)}
        marks |= {rng.randrange(s.updates) for _ in range(40)}
        for update in [i for i in marks if 0 <= i < s.updates]:
            assert s.factor(update) == pytest.approx(plain_factor(s, update), abs=1e-12, rel=0), (s, update)
            points += 1
    assert points > 1000


def test_bad_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="'cosine' or 'constant'"):
        paper(kind="poly")
    with pytest.raises(ConfigError, match="TOTAL_IMAGES 0"):
        paper(total_images=0)


def test_weight_decay_groups_hold_every_parameter_once() -> None:
    arch = model.make_arch(depth=14, groups=2, width_per_group=4, res2_channels=16, blocks=(1, 1, 1, 1))
    net = model.make(arch, 7, torch.Generator().manual_seed(0))
    groups = solver.parameter_groups(net, decay=1e-4, decay_norm=0.0, decay_bias=2e-5)
    names = {id(p): n for n, p in net.named_parameters()}
    found = {g["name"]: sorted(names[id(p)] for p in g["params"]) for g in groups}
    assert sorted(n for group in found.values() for n in group) == sorted(names.values())
    assert found["bias"] == ["fc.bias"]
    assert "fc.weight" in found["weight"] and "conv1.weight" in found["weight"]
    assert "bn1.bias" in found["norm"] and "layer2.0.downsample.1.weight" in found["norm"]
    assert [g["weight_decay"] for g in groups] == [1e-4, 0.0, 2e-5]


def test_sgd_is_nesterov_with_the_rate_outside_the_velocity() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    sgd = solver.sgd([{"params": [weight], "weight_decay": 0.1}], lr=0.5, momentum=0.9, nesterov=True)
    velocity, value = 0.0, 1.0
    for gradient, rate in ((2.0, 0.5), (-1.0, 0.25)):
        sgd.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor([gradient])
        sgd.step()
        decayed = gradient + 0.1 * value
        velocity = 0.9 * velocity + decayed
        value -= rate * (decayed + 0.9 * velocity)
        assert weight.item() == pytest.approx(value)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ConfigError, match="MOMENTUM"):
        solver.sgd([{"params": [torch.nn.Parameter(torch.ones(1))]}], lr=1.0, momentum=0.0, nesterov=True)
