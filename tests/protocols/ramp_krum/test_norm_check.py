"""The norm check: sums of squares that fill blocks, and what is opened, against plain integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.crypto.field_products import matmul_constant
from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    FieldArray,
    from_ints,
    from_signed_int64,
    random_elements,
    to_ints,
)
from flower_coded.crypto.four_squares import LARGEST_SUM_OF_SQUARES
from flower_coded.crypto.ramp_embedding import evaluation_matrix, value_embedding
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.crypto.reed_solomon import ReedSolomonCode
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.norm_check import NormCheck


def energies(check: NormCheck, parts: np.ndarray) -> list[int]:
    totals = [0] * check.num_blocks
    for column, entries in enumerate(parts.T.tolist()):
        totals[column % check.num_blocks] += sum(entry * entry for entry in entries)
    return totals


def opened_value(check: NormCheck, parts: FieldArray, slack: FieldArray, weights: list[int]) -> int:
    """Share parts and slack, let every user evaluate, and decode what the server reads."""
    k, t = check.num_parts, 2
    sharing = RampSharing(num_users=2 * (k + t) + 1, num_parts=k, num_colluders=t)
    embedding = value_embedding(sharing)

    def share(rows: FieldArray) -> FieldArray:
        # Rows that carry no slack are left out, together with what would multiply them.
        basis = (*embedding.parts[: len(rows)], *embedding.masks)
        masks = random_elements(t, rows.shape[1])
        return matmul_constant(evaluation_matrix(basis, sharing.points), np.concatenate([rows, masks]))

    values = check.evaluate(share(parts), share(slack), weights)
    code = ReedSolomonCode(sharing.points, sharing.num_product_coefficients)
    return to_ints(embedding.read_products(code.decode(values[:, np.newaxis]).coefficients))[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 10), st.data())
def test_norm_check__opens_the_public_constant_for_every_honest_update(
    k: int, m: int, g: int, data: st.DataObject
) -> None:
    bound = data.draw(st.sampled_from([0, 7, 2**20 - 1, 2**34]))
    check = NormCheck(k, m, g, bound)
    drawn = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-300, 301, k * m)
    integers = check.bound_integers(drawn)
    parts = integers.reshape(k, m)
    slack = check.slack(parts)
    assert slack.shape == (check.num_slack_parts, check.slack_length)
    assert slack.max(initial=0) <= check.largest_slack
    weights = check.weights(bytes(32))
    opened = opened_value(check, from_signed_int64(parts), from_signed_int64(slack), weights)
    assert opened == check.expected(weights)


def test_norm_check__opens_something_else_for_an_update_one_step_beyond_the_bound() -> None:
    check = NormCheck(num_parts=2, part_length=4, block_columns=2, bound=50)
    within, beyond = np.zeros((2, 4), dtype=np.int64), np.zeros((2, 4), dtype=np.int64)
    within[:, 1], beyond[:, 1] = (5, 5), (5, 6)
    weights = check.weights(b"challenge")
    zero = np.zeros((2, check.slack_length), dtype=np.int64)
    filled = from_signed_int64(check.slack(within))
    assert opened_value(check, from_signed_int64(within), filled, weights) == check.expected(weights)
    for slack in (filled, from_signed_int64(zero), random_elements(2, check.slack_length)):
        assert opened_value(check, from_signed_int64(beyond), slack, weights) != check.expected(weights)
    with pytest.raises(ParameterError, match="at most 50; received 61"):
        check.slack(beyond)


def test_norm_check__does_not_let_one_block_pay_for_another() -> None:
    # The sum over both blocks is within twice the bound, and an unweighted test would pass.
    check = NormCheck(num_parts=1, part_length=2, block_columns=1, bound=50)
    parts = np.array([[9, 1]])
    slack = from_ints([[0] * 8])
    slack[0, :2] = from_ints([0, 0])
    missing = 2 * 50 - 81 - 1
    assert missing == 18 == 4**2 + 1 + 1  # so these are the numbers that fill the total
    slack[0, [1, 3, 5]] = from_ints([4, 1, 1])
    weights = check.weights(b"any")
    assert opened_value(check, from_signed_int64(parts), slack, weights) != check.expected(weights)


def test_norm_check__rests_on_the_range_check_for_slack() -> None:
    # -36 has a square root in F_r (where -1 is a square): field elements fill a block beyond the bound.
    root_of_minus_one = pow(7, (FIELD_MODULUS - 1) // 4, FIELD_MODULUS)
    check = NormCheck(num_parts=1, part_length=1, block_columns=1, bound=64)
    slack = from_ints([[6 * root_of_minus_one % FIELD_MODULUS, 0, 0, 0]])
    weights = check.weights(b"any")
    assert opened_value(check, from_ints([[10]]), slack, weights) == check.expected(weights)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(1, 12),
    st.one_of(st.sampled_from([0, 1, 2**31 - 1, 2**62 - 1]), st.integers(0, 2**40)),
    st.sampled_from([3, 2**15, 2**31]),
    st.integers(0, 10**6),
)
def test_bound_integers__leaves_blocks_within_the_bound_alone_and_shortens_the_others(
    k: int, m: int, g: int, bound: int, largest: int, seed: int
) -> None:
    check = NormCheck(k, m, g, bound)
    parts = np.random.default_rng(seed).integers(-largest, largest + 1, (k, m))
    before = energies(check, parts)
    shortened = check.bound_integers(parts.ravel()).reshape(k, m)
    assert max(energies(check, shortened)) <= bound
    blocks = np.arange(m) % check.num_blocks
    kept = np.array([energy <= bound for energy in before])[blocks]
    assert (shortened[:, kept] == parts[:, kept]).all()
    assert (np.abs(shortened) <= np.abs(parts)).all()
    # What is left of a shortened block is its direction, but for rounding.
    factors = np.array([min((bound / max(energy, 1)) ** 0.5, 1.0) for energy in before])[blocks]
    assert (np.abs(shortened - parts * factors) <= 1 + 1e-9 * largest).all()
    np.testing.assert_allclose(check.block_norms(parts.ravel()), np.sqrt(np.array(before, dtype=float)))


def test_bound_integers__takes_updates_that_do_not_fill_the_parts() -> None:
    check = NormCheck(num_parts=2, part_length=3, block_columns=3, bound=9)
    assert check.bound_integers(np.array([0, 0, 3, 0, 0])).tolist() == [0, 0, 3, 0, 0]
    assert check.bound_integers(np.array([0, 0, 30, 40, 0])).tolist() == [0, 0, 1, 2, 0]
    with pytest.raises(ParameterError, match="at most 6"):
        check.bound_integers(np.zeros(7, dtype=np.int64))


def test_weights__are_known_from_the_challenge_and_differ() -> None:
    check = NormCheck(num_parts=1, part_length=1000, block_columns=1, bound=1)
    weights = check.weights(b"one")
    assert weights == check.weights(b"one") != check.weights(b"two")
    assert len(set(weights)) == 1000
    assert 2**120 < max(weights) < 2**128


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((0, 1, 1, 1), "num_parts"),
        ((1, 0, 1, 1), "part_length"),
        ((1, 1, 0, 1), "block_columns"),
        ((1, 1, 1, -1), "bound"),
        ((1, 1, 1, LARGEST_SUM_OF_SQUARES + 1), "bound"),
    ],
)
def test_norm_check__refuses_sizes_that_cannot_be(arguments: tuple[int, ...], name: str) -> None:
    with pytest.raises(ParameterError, match=f"^{name} must"):
        NormCheck(*arguments)


def test_evaluate__refuses_shares_of_another_shape() -> None:
    check = NormCheck(num_parts=1, part_length=3, block_columns=1, bound=1)
    weights = [1] * check.num_blocks
    with pytest.raises(ParameterError, match=r"slack must have shape \(2, 12, 4\)"):
        check.evaluate(random_elements(2, 3), random_elements(2, 3), weights)
    with pytest.raises(ParameterError, match=r"shares must have shape \(2, 3, 4\)"):
        check.evaluate(random_elements(2, 4), random_elements(2, 12), weights)
