"""The choice of the strength: on a stratified part of train, told when at the border."""

from __future__ import annotations

import numpy as np
import pytest

from pretrain.transfer import folders, linear
from wsl_det.errors import ConfigError, DataError


def test_split_takes_of_every_class_and_keeps_single_images() -> None:
    labels = np.repeat([0, 1, 2], [20, 5, 1])
    fit, check = folders.stratified(labels, 0.2, np.random.default_rng(0))
    assert sorted([*fit, *check]) == list(range(26))
    assert np.bincount(labels[check], minlength=3).tolist() == [4, 1, 0]
    again = folders.stratified(labels, 0.2, np.random.default_rng(0))
    assert again[1].tolist() == check.tolist()
    assert folders.stratified(labels, 0.2, np.random.default_rng(1))[1].tolist() != check.tolist()


def _choose(grid: tuple[float, ...]) -> linear.Choice:
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(3), 40)
    x = np.eye(3)[labels] @ rng.normal(size=(3, 12)) + rng.normal(size=(120, 12))
    return linear.choose(
        x.astype(np.float32), labels, 3, grid=grid, share=0.25, seed_rng=np.random.default_rng(0)
    )


def test_the_best_is_chosen_and_neighbours_are_tried() -> None:
    found = _choose((1e-4, 1e-2, 1.0, 100.0))
    best = max(found.tried, key=lambda one: (one.top1, -one.loss))
    assert found.strength == best.strength
    assert (found.fitted_on, found.checked_on) == (90, 30)
    assert len(found.tried) > 2


def test_the_border_is_told() -> None:
    assert _choose((1e3, 1e4)).border == "weakest"
    assert _choose((0.3,)).strength == 0.3


def test_what_cannot_be_chosen_on() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    with pytest.raises(DataError, match="one each"):
        linear.choose(x, np.arange(3), 3, seed_rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="above 0"):
        linear.check_grid([0.0, 1.0])
