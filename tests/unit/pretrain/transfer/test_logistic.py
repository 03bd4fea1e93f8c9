"""The fit is at the minimum: zero gradient, a closed case, the same from anywhere, in any axes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pretrain.transfer.logistic import Problem, Scaling
from wsl_det.errors import DataError


def _samples(n: int = 300, d: int = 7, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    labels = rng.choice(k, n, p=[0.55, 0.25, 0.15, 0.05])
    centres = rng.normal(size=(k, d))
    # Axes of very different size, as features have them.
    x = (rng.normal(size=(n, d)) + centres[labels]) * np.logspace(0, -2, d)
    return (x @ rng.normal(size=(d, d))).astype(np.float32), labels.astype(np.int64)


def _gradient(x: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, strength: float) -> float:
    """The largest entry of the gradient of the objective as it is written down, by autograd."""
    w = torch.tensor(weight, requires_grad=True)
    b = torch.tensor(bias, requires_grad=True)
    scores = torch.tensor(x, dtype=torch.float64) @ w + b
    loss = torch.nn.functional.cross_entropy(scores, torch.tensor(y)) + strength / 2 * w.square().sum()
    loss.backward()
    assert w.grad is not None
    assert b.grad is not None
    return max(float(w.grad.abs().max()), float(b.grad.abs().max()))


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_gradient_is_zero_at_the_end(strength: float) -> None:
    x, y = _samples()
    fit = Problem(x, y, 4, dtype=torch.float64).fit(strength, tolerance=1e-9)
    assert fit.converged
    assert _gradient(x, y, fit.weight, fit.bias, strength) < 1e-7


def test_float32_is_near_and_a_start_elsewhere_ends_there_too() -> None:
    x, y = _samples()
    exact = Problem(x, y, 4, dtype=torch.float64).fit(1e-2, tolerance=1e-9)
    problem = Problem(x, y, 4)
    single = problem.fit(1e-2, problem.fit(1.0))
    assert single.converged
    # The objective is strongly convex with 1e-2: errors of weights are below gradient / strength.
    assert np.abs(single.weight - exact.weight).max() < 10 * single.gradient / 1e-2 + 1e-3


def test_two_points_have_a_closed_solution() -> None:
    # x = +1 of class 1 and -1 of class 0: w1 = -w0 = w/2 with sigmoid(-w) = strength w / 2.
    x, y = np.array([[1.0], [-1.0]], dtype=np.float32), np.array([1, 0])
    fit = Problem(x, y, 2, dtype=torch.float64).fit(0.1, tolerance=1e-10)
    w = fit.weight[0, 1] - fit.weight[0, 0]
    assert 1 / (1 + math.exp(w)) == pytest.approx(0.1 * w / 2, abs=1e-8)
    assert fit.weight.sum() == pytest.approx(0, abs=1e-8)


def test_infinite_strength_leaves_the_class_frequencies() -> None:
    x, y = _samples()
    fit = Problem(x, y, 4, dtype=torch.float64).fit(1e6, tolerance=1e-10)
    share = np.exp(fit.bias) / np.exp(fit.bias).sum()
    assert share == pytest.approx(np.bincount(y) / len(y), abs=1e-5)


def test_scaling_is_one_number() -> None:
    x, _ = _samples()
    scaled = Scaling.of(x)(x)
    assert scaled.mean(0) == pytest.approx(np.zeros(7), abs=1e-5)
    assert float(np.square(scaled).mean()) == pytest.approx(1, abs=1e-4)
    with pytest.raises(DataError, match="equal"):
        Scaling.of(np.ones((5, 3), dtype=np.float32))
