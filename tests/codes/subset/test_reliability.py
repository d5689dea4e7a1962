"""Calibration: against the sums written out, on probabilities that are right, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from flower_coded.codes import reliability
from flower_coded.errors import ParameterError

PREDICTIONS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


@given(PREDICTIONS, st.integers(1, 12))
def test_the_error_is_the_sum_written_out(predictions: list[tuple[float, bool]], num_bins: int) -> None:
    expected, total = 0.0, 0
    for number in range(num_bins):
        own = [(p, y) for p, y in predictions if min(int(p * num_bins), num_bins - 1) == number]
        expected += abs(sum(p for p, _ in own) - sum(y for _, y in own)) / len(predictions)
        total += len(own)
    found = reliability(*zip(*predictions, strict=True), num_bins)
    assert found.calibration_error == pytest.approx(expected, abs=1e-12)
    assert found.counts.sum() == total == len(predictions)
    assert (found.counts > 0).all()


def test_the_curve_is_scikit_learn_s() -> None:
    generator = np.random.default_rng(0)
    told, is_true = generator.random(500), generator.random(500) < 0.4
    found = reliability(told, is_true)
    frequency, confidence = calibration_curve(is_true, told, n_bins=10)
    np.testing.assert_allclose(found.frequency, frequency)
    np.testing.assert_allclose(found.confidence, confidence)


def test_probabilities_that_are_right_have_no_error_and_others_their_distance() -> None:
    generator = np.random.default_rng(1)
    told = generator.random(200_000)
    assert reliability(told, generator.random(200_000) < told).calibration_error < 0.01
    assert reliability(np.ones(10), np.zeros(10, bool)).calibration_error == 1.0


@pytest.mark.parametrize(
    ("told", "is_true", "num_bins", "name"),
    [
        ([], [], 10, "probabilities"),
        ([0.5, 0.5], [True], 10, "outcomes"),
        ([[0.5]], [[True]], 10, "probabilities"),
        ([1.1], [True], 10, "probabilities"),
        ([np.nan], [True], 10, "probabilities"),
        ([0.5], [True], 0, "num_bins"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    told: list[float], is_true: list[bool], num_bins: int, name: str
) -> None:
    with pytest.raises(ParameterError, match=name):
        reliability(told, is_true, num_bins)
