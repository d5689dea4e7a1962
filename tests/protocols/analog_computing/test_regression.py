"""A table on its way through scaling, packing and regression: exact algebra, and bounds that hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from flower_coded.errors import DecodingError, ParameterError
from flower_coded.protocols.analog_computing import (
    QuadraticForm,
    ScaledTable,
    get_function,
    pack_factors,
    solve_regression,
)


def table_with(scales, means, num_rows=30, seed=0):
    generator = np.random.default_rng(seed)
    return np.asarray(means) + np.asarray(scales) * generator.standard_normal((num_rows, len(scales)))


@given(
    exponents=st.lists(st.floats(-8, 8), min_size=2, max_size=5),
    mean=st.floats(-100, 100),
    seed=st.integers(0, 9),
)
@settings(max_examples=25)
def test_restore__of_every_function_of_the_scaled_table_is_that_of_the_table(exponents, mean, seed) -> None:
    scales = 10.0 ** np.array(exponents)
    table = table_with(scales, mean * scales, seed=seed)
    scaled = ScaledTable.of(table)
    assert abs(scaled.values).max() == pytest.approx(1.0)
    num_columns = table.shape[1]
    weights = np.random.default_rng(seed).standard_normal(num_columns - 1) / scales[:-1]
    for name, parameters, scaled_parameters in (
        ("gram", None, None),
        ("normal-equations", None, None),
        ("product", np.array([1.0]), np.array([1.0])),
        ("gradient", weights, scaled.scaled_weights(weights)),
    ):
        function = get_function(name)
        form = function.quadratic_form(num_columns, scaled_parameters)
        value = function.apply(scaled.values, scaled_parameters)
        restored = scaled.restore(form, value, weights if name == "gradient" else None)
        truth = function.apply(table, parameters)
        left = np.linalg.norm(table, axis=0)[: form.left, None]
        right = np.linalg.norm(form.times_right(table), axis=0)
        if name == "gradient":  # relative to the terms that cancel
            right = np.linalg.norm(table, axis=0)[:-1] @ abs(weights) + np.linalg.norm(table[:, -1])
        assert (abs(restored - truth) <= 1e-12 * left * right).all()


def test_scaled_table__leaves_nothing_of_a_constant_column_but_needs_one_that_varies() -> None:
    table = ScaledTable.of(np.column_stack([np.full(7, 0.1), np.arange(7)]))
    assert not table.values[:, 0].any()
    assert table.is_constant.tolist() == [True, False]
    with pytest.raises(ParameterError, match="varies"):
        ScaledTable.of(np.full((7, 2), 0.1))
    with pytest.raises(ParameterError, match="float64"):
        ScaledTable.of([[1.7e308], [1.7e308], [-1.7e308]])


@pytest.mark.parametrize("num_rows", [6, 7])
def test_pack_factors__gives_the_product_with_half_the_rows(num_rows) -> None:
    table = table_with([1.0, 2.0, 3.0, 4.0], 0.0, num_rows)
    packed = pack_factors(table, 3)
    product = QuadraticForm(3, first=3).apply(packed)
    assert packed.shape == (-(-num_rows // 2), 4)
    assert np.allclose(product.real, table[:, :3].T @ table[:, 3:])
    with pytest.raises(ParameterError, match="left"):
        pack_factors(table, 4)


def noisy_equations(table: ScaledTable, size: float, seed: int) -> tuple[np.ndarray, float]:
    truth = table.values[:, :-1].T @ table.values
    noise = size * np.random.default_rng(seed).standard_normal(truth.shape)
    return truth + noise, float(np.linalg.norm(noise))


@pytest.mark.parametrize("refinements", [0, 2])
@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e-2])
def test_regression__is_scikit_learns_within_its_bound_and_the_bound_is_not_far(size, refinements) -> None:
    scales = np.array([1e-8, 1.0, 1e8, 1e3, 10.0])
    table = table_with(scales, 100 * scales, num_rows=300)
    table[:, -1] += table[:, :-1] @ (1 / scales[:-1])
    scaled = ScaledTable.of(table)
    for seed in range(5):
        equations, error_bound = noisy_equations(scaled, size, seed)
        found = solve_regression(scaled, equations, error_bound, refinements=refinements)
        expected = LinearRegression().fit(scaled.values[:, :-1], scaled.values[:, -1]).coef_
        error = np.linalg.norm(found.scaled - expected) / max(1, np.linalg.norm(expected))
        assert error <= found.error_bound + 1e-15
        assert found.error_bound <= max(20 * error, 1e-12)
        predicted = table[:, :-1] @ found.coefficients + found.intercept
        theirs = (
            LinearRegression()
            .fit(table[:, :-1] / scales[:-1], table[:, -1])
            .predict(table[:, :-1] / scales[:-1])
        )
        assert np.allclose(predicted, theirs, rtol=1e-3 if size > 1e-6 else 1e-6)
    if refinements:
        assert found.error_bound < 1e-6 * max(size, 1e-6) ** 0.5


def test_regression__gives_constant_features_nothing_and_refuses_dependent_ones() -> None:
    table = table_with([1.0, 2.0, 3.0], 0.0)
    with_constant = ScaledTable.of(np.insert(table, 1, 7.0, axis=1))
    truth = with_constant.values[:, :-1].T @ with_constant.values
    found = solve_regression(with_constant, truth, 1e-12)
    assert found.coefficients[1] == 0.0
    dependent = ScaledTable.of(np.insert(table, 1, 2 * table[:, 0], axis=1))
    truth = dependent.values[:, :-1].T @ dependent.values
    with pytest.raises(DecodingError, match="depend on each other"):
        solve_regression(dependent, truth, 1e-12)
    scaled = ScaledTable.of(table)
    with pytest.raises(DecodingError, match="exceeds"):
        solve_regression(scaled, *noisy_equations(scaled, 1e-3, 0), accuracy=1e-9)
