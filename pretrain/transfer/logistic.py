"""Multinomial logistic regression with an L2 penalty, by L-BFGS on all samples at once.

    minimise  mean_n( -log softmax(W x_n + b)[y_n] )  +  strength / 2 * sum(W ** 2)

The bias is not penalised. Features are centred and divided by one number, so that a strength means
the same for every trunk; then the axes are turned to those of the features' covariance and stretched,
which changes nothing about the minimum and brings it near (a preconditioner).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsl_det.errors import DataError

_ROWS = 1 << 15  # samples whose scores are in memory at once
_HISTORY = 20
TOLERANCE = 1e-5
ROUGH = 1e-4
"""Good enough to compare strengths by."""


@dataclass(frozen=True)
class Scaling:
    """How features enter: ``(x - mean) / scale``; made of training features alone."""

    mean: NDArray[np.float32]
    scale: float

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Scaling:
        """Centre at the mean; scale to a variance of 1 on average over the features."""
        mean = features.mean(axis=0, dtype=np.float64)
        parts = np.array_split(features, max(1, len(features) // _ROWS))
        variance = float(np.mean([np.mean(np.square(part - mean)) for part in parts]))
        if not variance > 0:
            raise DataError("the features of all training images are equal; the trunk is of no use")
        return cls(mean.astype(np.float32), float(np.sqrt(variance)))

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled features, (N, D)."""
        return (features - self.mean) / np.float32(self.scale)


@dataclass(frozen=True)
class Fit:
    """A fitted classifier: scores are ``x @ weight + bias``; how the search for it ended.

    ``gradient`` is the largest entry of the gradient of the objective at the end, ``converged`` says
    that it is small enough.
    """

    weight: NDArray[np.float64]  # (D, K)
    bias: NDArray[np.float64]  # (K,)
    strength: float
    loss: float
    gradient: float
    evaluations: int
    converged: bool

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, K) scores of scaled features."""
        found = features @ self.weight.astype(np.float32) + self.bias.astype(np.float32)
        return found.astype(np.float32, copy=False)  # type: ignore[no-any-return]


class Problem:
    """Samples to fit at one or several strengths; starting at the last fit makes the next one short."""

    def __init__(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        num_classes: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """``features`` (N, D) scaled, ``labels`` (N,) in 0..num_classes-1."""
        self.x = torch.from_numpy(features).to(device, dtype)
        self.y = torch.from_numpy(labels).to(device)
        self.classes, self.dtype = num_classes, dtype
        covariance = (self.x.T @ self.x).double() / len(features)
        values, axes = torch.linalg.eigh(covariance)
        self.axes = axes.to(dtype)
        self.spread = values.clamp(min=0)
        self.x = self.x @ self.axes
        # Smoothed, so that a class without samples has a finite start.
        counts = torch.bincount(self.y, minlength=num_classes).double() + 0.5
        self.frequency = counts / counts.sum()

    def fit(
        self,
        strength: float,
        start: Fit | None = None,
        *,
        tolerance: float = TOLERANCE,
        iterations: int = 500,
    ) -> Fit:
        """The minimum at ``strength`` (above 0), from 0 or from another fit.

        It is left when no entry of the gradient, in the stretched axes, is above ``tolerance``.
        """
        # The Hessian where all weights are 0: spread p (1 - p) + strength along each axis for each class.
        curved = self.frequency * (1 - self.frequency)
        stretch = (self.spread[:, None] * curved + strength).rsqrt().to(self.dtype)
        stretch_bias = curved.rsqrt().to(self.dtype)
        weight = torch.zeros((self.x.shape[1], self.classes), dtype=self.dtype, device=self.x.device)
        bias = self.frequency.log().to(self.dtype) / stretch_bias
        if start is not None:
            weight.copy_(self.axes.T @ torch.from_numpy(start.weight).to(weight) / stretch)
            bias.copy_(torch.from_numpy(start.bias).to(bias) / stretch_bias)
        weight.requires_grad_()
        bias.requires_grad_()
        count = 0

        def closure() -> Tensor:
            nonlocal count
            count += 1
            loss, by_weight, by_bias = self.objective(
                weight.detach() * stretch, bias.detach() * stretch_bias, strength
            )
            weight.grad, bias.grad = by_weight * stretch, by_bias * stretch_bias
            return loss

        solver = torch.optim.LBFGS(
            [weight, bias],
            max_iter=iterations,
            max_eval=2 * iterations,
            history_size=_HISTORY,
            tolerance_grad=tolerance,
            # In float32 a step can be lost to rounding; then nothing is gained by going on.
            tolerance_change=1e-12 if self.dtype == torch.float32 else 0.0,
            line_search_fn="strong_wolfe",
        )
        with torch.no_grad():
            solver.step(closure)  # type: ignore[no-untyped-call]
            plain, shift = weight.detach() * stretch, bias.detach() * stretch_bias
            loss, by_weight, by_bias = self.objective(plain, shift, strength)
        gradient = max(float(by_weight.abs().max()), float(by_bias.abs().max()))
        return Fit(
            weight=(self.axes @ plain).double().cpu().numpy(),
            bias=shift.double().cpu().numpy(),
            strength=strength,
            loss=float(loss),
            gradient=gradient,
            evaluations=count,
            converged=gradient <= 10 * tolerance,
        )

    def objective(self, weight: Tensor, bias: Tensor, strength: float) -> tuple[Tensor, Tensor, Tensor]:
        """The loss in the turned axes and its gradients by weight and bias."""
        total = 0.5 * strength * weight.square().sum().double()
        by_weight, by_bias = strength * weight, torch.zeros_like(bias)
        for first in range(0, len(self.x), _ROWS):
            x, y = self.x[first : first + _ROWS], self.y[first : first + _ROWS]
            logs = torch.log_softmax(torch.addmm(bias, x, weight), dim=1)
            rows = torch.arange(len(y), device=y.device)
            total -= logs[rows, y].double().sum() / len(self.x)
            errors = logs.exp_()
            errors[rows, y] -= 1
            errors /= len(self.x)
            by_weight += x.T @ errors
            by_bias += errors.sum(dim=0)
        return total, by_weight, by_bias
