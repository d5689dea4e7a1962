"""Verification keys: honest rounding passes at every scale, lies do not, the quantiles are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.codes.real.summation import PIECE, chunked_product, summation_depth
from flower_coded.codes.real.verification_keys import (
    MARGIN,
    VerificationKey,
    draw_secret,
    key_depth,
    passing_factor,
    rejection_factor,
)
from flower_coded.errors import ParameterError


def make(seed: int, rows: int = 40, columns: int = 7, *, is_complex: bool = False) -> tuple:
    g = np.random.default_rng(seed)
    share, vector = g.standard_normal((rows, columns)), g.standard_normal(columns)
    if is_complex:
        share = share + 1j * g.standard_normal((rows, columns))
    return g, share, vector, VerificationKey.of_share(share, generator=g)


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 60), columns=st.integers(1, 600))
@settings(max_examples=40, deadline=None)
def test_check__honest_answers_pass_whatever_the_column_scales(seed: int, rows: int, columns: int) -> None:
    g = np.random.default_rng(seed)
    scales = 10.0 ** g.uniform(-8, 8, columns)
    share, vector = g.standard_normal((rows, columns)) * scales, g.standard_normal(columns) / scales
    key = VerificationKey.of_share(share, generator=g)
    assert key.check(chunked_product(share, vector), vector).is_passed


@pytest.mark.parametrize("scale", [0.0, 5e-324, 1e-310, 1e-200, 1e200, 1e305])
def test_check__honest_answers_pass_and_reversed_ones_do_not_at_the_ends_of_float64(scale: float) -> None:
    _, share, vector, key = make(0)
    vector = np.clip(vector, -1, 1) * scale
    honest = share @ vector
    assert key.check(honest, vector).is_passed
    if scale > 1e-307:
        assert not key.check(-honest, vector).is_passed


@pytest.mark.parametrize("lie", [np.inf, -np.inf, np.nan, 1e308])
def test_check__answers_that_overflow_are_caught(lie: float) -> None:
    _, share, vector, key = make(1)
    assert not key.check(np.full(len(share), lie), vector).is_passed


def test_check__a_lie_cannot_excuse_itself_by_its_size() -> None:
    # A limit with a term |rho| |h| grows with the lie; this one is the same for every answer.
    _, share, vector, key = make(2)
    limits = [float(key.check(size * np.ones(len(share)), vector).limit) for size in (0.0, 1.0, 1e100, 1e300)]
    assert len(set(limits)) == 1


def test_check__five_reversed_workers_of_the_column_scales_case_are_caught() -> None:
    g = np.random.default_rng(0)
    scales = 10.0 ** np.linspace(-8, 8, 12)
    share, vector = g.standard_normal((80, 12)) * scales, g.standard_normal(12) / scales
    key = VerificationKey.of_share(share)
    assert key.check(share @ vector, vector).is_passed
    assert not key.check(-(share @ vector), vector).is_passed


def test_check__whole_gram_matrices_of_complex_shares_with_their_own_noise() -> None:
    g = np.random.default_rng(3)
    share = g.standard_normal((500, 6)) + 1j * g.standard_normal((500, 6))
    gram = share.T @ share
    secret = draw_secret(2, 6, is_complex=True, generator=g)
    image = (secret @ share.T) @ share  # the Gram matrix is never formed
    norms = np.linalg.norm(share) * np.linalg.norm(share, axis=0)
    key = VerificationKey(secret, image, norms, key_depth(6, 500))
    assert key.num_degrees == 4
    assert key.check(gram).is_passed
    gram[2, 4] += 1e-7
    check = key.check(gram)
    assert (check.value > check.limit).tolist() == [False, False, False, False, True, False]
    assert not key.check(gram, noise=1e-9 * np.ones(6)).is_passed
    assert key.check(gram, noise=1e-6 * np.ones(6)).is_passed


@pytest.mark.parametrize("degrees", [2, 4, 8])
def test_passing_factor__is_the_quantile_of_the_errors_norm(degrees: int) -> None:
    # The value of an error of norm 1 is the root of a mean of squared Gaussians, whatever its direction.
    g = np.random.default_rng(4)
    error = g.standard_normal(5)
    error /= np.linalg.norm(error)
    secrets = g.standard_normal((20_000, degrees, 5))
    values = np.sqrt(np.mean((secrets @ error) ** 2, axis=1))
    assert np.mean(values < 1 / passing_factor(degrees, 0.05)) == pytest.approx(0.05, abs=0.01)
    assert np.mean(values > rejection_factor(degrees, 0.05)) == pytest.approx(0.05, abs=0.01)


def test_check__errors_that_pass_are_within_the_bound_they_come_with() -> None:
    g, share, vector, key = make(5)
    honest = share @ vector
    noise = float(key.noise(vector))
    num_passed = 0
    for size in np.geomspace(1, 1e6, 25):
        for _ in range(40):
            error = g.standard_normal(len(honest))
            error *= size * noise / np.linalg.norm(error)
            check = key.check(honest + error, vector)
            num_passed += check.is_passed
            if check.is_passed:
                assert np.linalg.norm(error) <= passing_factor(4) * float(check.value + noise)
    assert 0 < num_passed < 400  # those near the noise pass, the others do not


def test_is_marginal__tells_a_narrow_catch_from_a_blatant_one() -> None:
    _, share, vector, key = make(6)
    honest, noise = share @ vector, float(key.noise(vector))
    assert not key.check(honest, vector).is_marginal
    assert key.check(honest + 20 * noise, vector).is_marginal
    assert not key.check(honest + 1e3 * MARGIN * noise, vector).is_marginal
    assert not key.check(honest * np.inf, vector).is_passed


def test_draw_secret__comes_from_the_system_unless_seeded() -> None:
    asked: list[int] = []

    def source(count: int) -> bytes:
        asked.append(count)
        return bytes(range(256)) * (count // 256 + 1) if count % 256 else bytes(range(256)) * (count // 256)

    drawn = draw_secret(2, 16, random_bytes=lambda count: source(count)[:count])
    assert asked == [256]
    assert drawn.shape == (2, 16)
    assert not np.array_equal(draw_secret(1, 8), draw_secret(1, 8))
    with pytest.raises(ParameterError, match="num_rows"):
        draw_secret(0, 3)


def test_key__refuses_parts_that_do_not_fit() -> None:
    with pytest.raises(ParameterError, match="image"):
        VerificationKey(np.ones((2, 3)), np.ones((2, 4)), np.ones(3), 1.0)


@pytest.mark.parametrize("columns", [1, PIECE, 2 * PIECE - 1, 2 * PIECE, 5 * PIECE + 17])
def test_chunked_product__equals_the_plain_one(columns: int) -> None:
    g = np.random.default_rng(columns)
    matrix, vector = g.standard_normal((9, columns)), g.standard_normal(columns)
    assert np.allclose(chunked_product(matrix, vector), matrix @ vector, rtol=0, atol=1e-12)


def test_chunked_product__keeps_its_bound_where_plain_summation_drifts() -> None:
    # Every addition of a constant rounds the same way: one after the other, n of them are off by O(n u).
    count, value = 200_000, 1.0 + 2.0**-40 + 2.0**-52
    computed = chunked_product(np.full((1, count), value), np.ones(count))[0]
    exact_error = abs(int(computed * 2**40) * 2**12 - count * int(value * 2**52)) / (count * value * 2.0**52)
    assert exact_error <= summation_depth(count) * 2.0**-53
