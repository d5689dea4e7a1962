"""Sums of four squares: exact for all small numbers, random ones of every size, and the awkward families."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.crypto.four_squares import (
    LARGEST_SUM_OF_SQUARES,
    four_squares,
    integer_square_roots,
)
from flower_coded.errors import ParameterError


def check(values: list[int]) -> None:
    roots = four_squares(np.array(values, dtype=np.int64))
    assert roots.min(initial=0) >= 0
    assert [sum(int(root) ** 2 for root in row) for row in roots] == values


def test_four_squares__writes_all_numbers_below_30_000() -> None:
    check(list(range(30_000)))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 62).flatmap(lambda bits: st.integers(0, max(2**bits - 1, 0))), max_size=20))
def test_four_squares__writes_numbers_of_every_size(values: list[int]) -> None:
    check(values)


def test_four_squares__writes_the_numbers_that_are_no_three_squares_and_have_few_representations() -> None:
    no_three = [4**a * (8 * b + 7) for a in range(14) for b in (0, 1, 12345) if 4**a * (8 * b + 7) < 2**62]
    # 2 * 4**a, 6 * 4**a and 14 * 4**a have one representation each, up to order (Lagrange, Legendre)
    single = [factor * 4**a for a in range(28) for factor in (2, 6, 14) if factor * 4**a < 2**62]
    squares = [root * root + shift for root in (1, 2**15 - 1, 2**31 - 1) for shift in (-1, 0, 1)]
    check([*no_three, *single, *squares, LARGEST_SUM_OF_SQUARES])


def test_integer_square_roots__are_those_of_the_standard_library() -> None:
    values = [root * root + shift for root in (1, 3, 2**26 + 1, 2**31 - 1) for shift in (-1, 0, 1)]
    values += [*np.random.default_rng(0).integers(0, 2**62, 200).tolist(), LARGEST_SUM_OF_SQUARES, 0]
    assert integer_square_roots(np.array(values)).tolist() == [math.isqrt(value) for value in values]


@pytest.mark.parametrize(
    "values",
    [[-1], [2**62], [[1, 2]], np.array([1.0]), np.array([1], dtype=np.int32), np.array([1], np.uint64)],
)
def test_four_squares__refuses_other_numbers(values: object) -> None:
    with pytest.raises(ParameterError, match="values must"):
        four_squares(np.asarray(values))
