"""Aggregation rules: inputs that tell them apart, malformed vectors, invariances."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flower_coded.aggregation import (
    AGGREGATION_RULES,
    bucketing,
    centered_clipping,
    coordinate_median,
    get_aggregation_rule,
    krum,
    krum_selection,
    mean,
    multi_krum,
    nearest_neighbor_mixing,
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


def test_mean__keeps_the_digits_that_a_float32_sum_loses() -> None:
    # In float32, 1e8 + 1 is 1e8: the sum would be 0.
    np.testing.assert_allclose(mean(np.array([[1e8], [1.0], [-1e8]], np.float32)), [1 / 3], rtol=1e-15)


def test_mean__of_finite_rows_whose_sum_is_beyond_float64_is_finite() -> None:
    np.testing.assert_allclose(mean(np.array([[1.5e308, 1.0], [1.7e308, 2.0]])), [1.6e308, 1.5], rtol=1e-15)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mean__is_that_of_exact_sums_in_any_number_of_blocks(
    dtype: type, num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flower_coded.aggregation.blocks.BLOCK_BYTES", 1)  # 256 columns, the least there are
    generator = np.random.default_rng(5)
    scales = np.exp(generator.uniform(-60, 60, 700))
    vectors = (scales * generator.standard_normal((7, 700))).astype(dtype)
    exact = [math.fsum(column) / 7 for column in vectors.T.astype(float)]
    errors = np.abs(mean(vectors, num_threads=num_threads) - exact)
    assert (errors <= 1e-15 * np.abs(vectors).max(axis=0)).all()


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_squared_distances__tell_near_twins_far_out_apart(dtype: type) -> None:
    # Colluders send almost the same vector at 1e6: around the honest their distance cancels.
    generator = np.random.default_rng(3)
    vectors = generator.standard_normal((9, 50)).astype(dtype)
    vectors[:4] += dtype(1e6)
    exact = ((vectors.astype(float)[:, None] - vectors.astype(float)[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(squared_distances(vectors), exact, rtol=1e-9)


def test_squared_distances__hold_when_the_first_rows_are_liars() -> None:
    generator = np.random.default_rng(4)
    vectors = generator.standard_normal((12, 30))
    vectors[:3] += 1e12
    exact = ((vectors[3:, None] - vectors[None, 3:]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(squared_distances(vectors)[3:, 3:], exact, rtol=1e-9)


def test_squared_distances__of_equal_rows_are_zero() -> None:
    assert not squared_distances(np.full((4, 3), 7.5)).any()


def test_centered_clipping__follows_its_definition() -> None:
    # From 0 with radius 5: (3,4) has length 5 and stays, (0,10) becomes (0,5), (6,8) becomes (3,4): mean.
    vectors = np.array([[3.0, 4.0], [0.0, 10.0], [6.0, 8.0]])
    once = centered_clipping(vectors, start=np.zeros(2), radius=5.0)
    np.testing.assert_allclose(once, [2.0, 13 / 3])
    np.testing.assert_allclose(
        centered_clipping(vectors, start=np.zeros(2), radius=5.0, num_iterations=2),
        centered_clipping(vectors, start=once, radius=5.0),
    )


def test_centered_clipping__moves_no_further_than_the_radius_per_step() -> None:
    vectors = np.vstack([np.zeros((1, 2)), np.full((4, 2), 1e9)])
    moved = centered_clipping(vectors, start=np.zeros(2), radius=0.1, num_iterations=3)
    assert np.linalg.norm(moved) <= 0.3


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"radius": 0.0}, "radius"),
        ({"radius": float("nan")}, "radius"),
        ({"num_iterations": 0}, "num_iterations"),
        ({"start": np.zeros(3)}, "start"),
    ],
)
def test_centered_clipping__refuses_values_out_of_range(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        centered_clipping(APART, **options)


def test_nearest_neighbor_mixing__averages_each_neighborhood() -> None:
    # Nearest 4 of 5: all leave out (100,3), which leaves out (0,0), at 10009 and not 9850, 9613, 8282.
    mixed = nearest_neighbor_mixing(APART, 1)
    np.testing.assert_allclose(mixed[:4], np.tile(APART[:4].mean(axis=0), (4, 1)))
    np.testing.assert_allclose(mixed[4], APART[1:].mean(axis=0))


def test_nearest_neighbor_mixing__keeps_a_row_that_is_no_vector_as_none() -> None:
    mixed = nearest_neighbor_mixing(np.vstack([APART[:4], [[np.nan, 0.0]]]), 1)
    assert np.isnan(mixed[4]).all()
    np.testing.assert_allclose(mixed[0], APART[:4].mean(axis=0))


def test_nearest_neighbor_mixing__brings_honest_vectors_together() -> None:
    generator = np.random.default_rng(0)
    honest = generator.normal(size=(12, 5))
    mixed = nearest_neighbor_mixing(np.vstack([honest, generator.normal(50, 1, (3, 5))]), 3)[:12]
    assert ((mixed - honest.mean(axis=0)) ** 2).sum() < 0.05 * ((honest - honest.mean(axis=0)) ** 2).sum()


def test_bucketing__averages_every_row_once() -> None:
    vectors = np.eye(7)
    buckets = bucketing(vectors, 3, np.random.default_rng(0))
    assert buckets.shape == (3, 7)
    np.testing.assert_array_equal((buckets > 0).sum(axis=0), np.ones(7))
    assert sorted((buckets > 0).sum(axis=1).tolist()) == [1, 3, 3]
    np.testing.assert_allclose(buckets.sum(axis=1), 1.0)
    assert not np.array_equal(buckets, bucketing(vectors, 3, np.random.default_rng(1)))


def test_bucketing__leaves_a_bucket_to_its_finite_rows() -> None:
    vectors = np.arange(6.0).reshape(6, 1)
    vectors[2] = np.nan
    whole = bucketing(vectors, 6, np.random.default_rng(0))
    np.testing.assert_allclose(whole, [[(0 + 1 + 3 + 4 + 5) / 5]])
    assert np.isnan(bucketing(vectors, 1, np.random.default_rng(0))).sum() == 1


def test_bucketing__refuses_empty_buckets_and_a_missing_generator() -> None:
    with pytest.raises(ParameterError, match="bucket_size"):
        bucketing(APART, 0, np.random.default_rng(0))
    with pytest.raises(ParameterError, match="generator"):
        get_aggregation_rule("bucketing+mean").aggregate(APART)


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("mean", {}, (22.4, 4.2)),
        ("median", {}, (2, 3)),
        ("trimmed-mean", {"num_byzantine": 1}, (4, 11 / 3)),
        ("krum", {"num_byzantine": 1}, (2, 6)),
        ("multi-krum", {"num_byzantine": 1}, (1.5, 8)),  # n - f - 2 = 2 selected: (2,6) and (1,10)
        ("nearest-neighbor-mixing+median", {"num_byzantine": 1}, (3, 4.5)),
        ("nearest-neighbor-mixing+mean", {"num_byzantine": 1}, ((4 * 3 + 28) / 5, (4 * 4.5 + 5.25) / 5)),
    ],
)
def test_get_aggregation_rule__makes_rules_that_inputs_tell_apart(
    name: str, parameters: dict[str, int], expected: tuple[float, float]
) -> None:
    rule = get_aggregation_rule(name, **parameters)
    np.testing.assert_allclose(rule.aggregate(APART), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("name", "parameters", "named"),
    [
        ("krumm", {}, "one of mean, median"),
        ("krum+bucketing", {}, "bucketing[+]krum, say"),
        ("krum", {}, "num_byzantine"),
        ("krum", {"num_byzantine": 1.5}, "num_byzantine"),
        ("median", {"radius": 1.0}, "must be among num_threads"),
        ("multi-krum", {"num_byzantine": 1, "num_selected": 0}, "num_selected"),
        ("geometric-median", {"tolerance": 0.0}, "tolerance"),
        ("centered-clipping", {"radius": -1.0}, "radius"),
    ],
)
def test_get_aggregation_rule__says_what_would_work(
    name: str, parameters: dict[str, Any], named: str
) -> None:
    with pytest.raises(ParameterError, match=named):
        get_aggregation_rule(name, **parameters)


def test_krum_selection__needs_distances_only() -> None:
    assert krum_selection(squared_distances(APART), 1, 4).tolist() == [2, 1, 0, 3]


@pytest.mark.parametrize("name", AGGREGATION_RULES)
@pytest.mark.parametrize("num_lost", [0, 1])
def test_rules__that_select_rows_return_their_mean(name: str, num_lost: int) -> None:
    updates = np.random.default_rng(4).normal(size=(9, 6))
    updates[:num_lost] = np.nan
    rule = get_aggregation_rule(name, num_byzantine=2)
    rows = rule.select(updates)
    assert (rows is not None) == ("krum" in name)
    if rows is not None:
        np.testing.assert_allclose(rule.aggregate(updates), updates[rows].mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("name", ["krum", "multi-krum"])
def test_rules__that_select_refuse_more_lost_rows_than_faults(name: str) -> None:
    updates = np.random.default_rng(4).normal(size=(9, 6))
    rule = get_aggregation_rule(name, num_byzantine=2)
    updates[:2] = np.nan
    assert np.isfinite(rule.aggregate(updates)).all()
    updates[2, 0] = 1e200  # its square is infinite, and so is its distance from every other row
    for method in (rule.select, rule.aggregate):
        with pytest.raises(DecodingError, match=r"more vectors .*received 6, needed 7"):
            method(updates)
