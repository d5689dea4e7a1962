"""Aggregation rules: inputs that tell them apart, malformed vectors, invariances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flower_coded.aggregation import (
    coordinate_median,
    krum,
    krum_selection,
    mean,
    multi_krum,
    squared_distances,
    trimmed_mean,
)
from flower_coded.errors import DecodingError, ParameterError

APART = np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]])
RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": mean,
    "median": coordinate_median,
    "trimmed mean": lambda vectors: trimmed_mean(vectors, 1),
    "krum": lambda vectors: krum(vectors, 1),
    "multi-krum": lambda vectors: multi_krum(vectors, 1, 3),
}
ROBUST = [name for name in RULES if name != "mean"]
rules = pytest.mark.parametrize("name", RULES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", (22.4, 4.2)),
        ("median", (2, 3)),
        ("trimmed mean", (4, 11 / 3)),
        ("krum", (2, 6)),
        # The three smallest of the scores 125, 118, 57, 150, 17895 belong to (2,6), (1,10) and (0,0).
        ("multi-krum", (1, 16 / 3)),
    ],
)
def test_rules__differ_on_inputs_that_tell_them_apart(name: str, expected: tuple[float, float]) -> None:
    np.testing.assert_allclose(RULES[name](APART), expected, rtol=1e-14)


@rules
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_rules__leave_out_a_row_that_is_not_finite(name: str, poison: float) -> None:
    honest = np.random.default_rng(0).standard_normal((7, 3))
    spoilt = np.vstack([honest, [[0.0, poison, 0.0]]])
    result = RULES[name](spoilt)
    assert np.isfinite(result).all()
    assert (result >= honest.min(axis=0)).all()
    assert (result <= honest.max(axis=0)).all()


@pytest.mark.parametrize("name", ROBUST)
def test_robust_rules__stay_with_the_honest_when_one_row_is_huge(name: str) -> None:
    honest = np.random.default_rng(0).standard_normal((7, 3))
    for size in (1e12, 1e200):
        result = RULES[name](np.vstack([honest, np.full((1, 3), size)]))
        assert (np.abs(result) <= np.abs(honest).max()).all()


@rules
@given(data=arrays(np.float64, (6, 3), elements=st.floats(-1e6, 1e6)), order=st.permutations(range(6)))
def test_rules__ignore_the_order_where_scores_do_not_tie(
    name: str, data: np.ndarray, order: list[int]
) -> None:
    if "krum" in name:
        data = data + np.random.default_rng(1).standard_normal(data.shape) * 1e6
    before = data.copy()
    np.testing.assert_allclose(RULES[name](data[order]), RULES[name](data), rtol=1e-9, atol=1e-6)
    np.testing.assert_array_equal(data, before)


@rules
def test_rules__refuse_an_array_of_another_dimension(name: str) -> None:
    with pytest.raises(ParameterError, match=r"\(n, d\)"):
        RULES[name](np.zeros((5, 2, 2)))


@rules
def test_rules__refuse_when_nothing_is_finite(name: str) -> None:
    with pytest.raises(DecodingError, match="no vector is finite"):
        RULES[name](np.full((5, 2), np.nan))


def test_bounds__are_refused_with_the_requirement() -> None:
    with pytest.raises(ParameterError, match=r"n >= 2 f \+ 3"):
        krum(APART, 2)
    with pytest.raises(ParameterError, match="n - f = 4"):
        multi_krum(APART, 1, 5)
    with pytest.raises(ParameterError, match="2 f < 5"):
        trimmed_mean(APART, 3)


def test_squared_distances__keep_small_differences_of_large_float32_weights() -> None:
    # Weights of size 10 that differ by 1e-3: the expanded square in float32 loses the whole distance.
    generator = np.random.default_rng(2)
    common = 10 * generator.standard_normal(1000)
    spread = 1e-3 * generator.standard_normal((6, 1000))
    vectors = (common + spread).astype(np.float32)
    exact = ((vectors.astype(float)[:, None] - vectors.astype(float)[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(squared_distances(vectors), exact, rtol=1e-9)


def test_krum_selection__needs_distances_only() -> None:
    assert krum_selection(squared_distances(APART), 1, 4).tolist() == [2, 1, 0, 3]
