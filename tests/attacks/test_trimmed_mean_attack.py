"""The attack on the trimmed mean: where its values lie, and that it works."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.aggregation import trimmed_mean
from flower_coded.attacks import TrimmedMeanAttack
from flower_coded.errors import ParameterError

# Columns: up, all positive; up, its minimum negative; down, its maximum positive; down, all negative.
KNOWN = np.array([[2.0, -1.0, 1.0, -4.0], [6.0, 9.0, -9.0, -8.0]])
INTERVALS = [(1.0, 2.0), (-2.0, -1.0), (1.0, 2.0), (-4.0, -2.0)]


def test_values_are_uniform_beyond_the_range_against_the_sign() -> None:
    drawn = np.stack(
        [TrimmedMeanAttack().craft(KNOWN[0], KNOWN, np.random.default_rng(seed)) for seed in range(400)]
    )
    for column, (low, high) in zip(drawn.T, INTERVALS, strict=True):
        assert low <= column.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < column.max() <= high
        assert column.mean() == pytest.approx((low + high) / 2, abs=0.1 * (high - low))


def test_the_factor_sets_how_far_the_interval_reaches() -> None:
    drawn = TrimmedMeanAttack(10.0).craft(
        np.ones(1000), np.stack([np.ones(1000), np.full(1000, 5.0)]), np.random.default_rng(0)
    )
    assert drawn.min() < 0.15
    assert 0.1 <= drawn.min() <= drawn.max() <= 1.0


def test_the_trimmed_mean_is_moved_against_its_sign() -> None:
    generator = np.random.default_rng(0)
    honest = generator.normal(0.3, 1, size=(8, 200))
    sent = np.stack([TrimmedMeanAttack().craft(honest[0], honest, generator) for _ in range(2)])
    moved = trimmed_mean(np.vstack([honest, sent]), 2) - honest.mean(axis=0)
    assert (np.sign(moved) == -np.sign(honest.mean(axis=0))).mean() > 0.9


@pytest.mark.parametrize("scale", [1.0, 0.5, float("inf"), float("nan")])
def test_a_factor_of_at_most_one_is_refused(scale: float) -> None:
    with pytest.raises(ParameterError, match="scale"):
        TrimmedMeanAttack(scale)
