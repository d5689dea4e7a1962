"""Weighted inner products against Python integers, at block counts from one to one per column."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.crypto.field_vectors import FIELD_MODULUS, from_ints, random_elements, to_ints
from flower_coded.crypto.weighted_products import weighted_inner_products
from flower_coded.errors import ParameterError


def expected(left: np.ndarray, right: np.ndarray, weights: list[int]) -> list[int]:
    rows = zip(left, right, strict=True)
    totals = []
    for row, other in rows:
        products = [x * y for x, y in zip(to_ints(row), to_ints(other), strict=True)]
        totals.append(
            sum(weights[j % len(weights)] * product for j, product in enumerate(products)) % FIELD_MODULUS
        )
    return totals


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 40), st.data())
def test_weighted_inner_products__agrees_with_integers(n: int, m: int, data: st.DataObject) -> None:
    num_blocks = data.draw(st.integers(1, m))
    numbers = st.one_of(st.sampled_from([0, 1, -1, 2**128 - 1, FIELD_MODULUS - 1]), st.integers(0, 2**255))
    weights = data.draw(st.lists(numbers, min_size=num_blocks, max_size=num_blocks))
    left, right = random_elements(n, m), random_elements(n, m)
    left[0, 0] = right[-1, -1] = from_ints([FIELD_MODULUS - 1])[0]
    assert to_ints(weighted_inner_products(left, right, weights)) == expected(left, right, weights)


@pytest.mark.parametrize(("m", "num_blocks"), [(513, 1), (1100, 2), (1537, 3), (700, 600)])
def test_weighted_inner_products__agrees_past_one_slab(m: int, num_blocks: int) -> None:
    left, right = random_elements(2, m), random_elements(2, m)
    weights = [int(weight) for weight in np.random.default_rng(m).integers(1, 2**62, num_blocks)]
    assert to_ints(weighted_inner_products(left, right, weights)) == expected(left, right, weights)


def test_weighted_inner_products__is_exact_where_sums_are_largest() -> None:
    # All limbs but the last are full; 33 slabs of 512 columns, one more than are added up between carries.
    element, count = 2**242 - 1, 33 * 512
    full = np.broadcast_to(from_ints([element]), (1, count, 4))
    (total,) = to_ints(weighted_inner_products(full, full, [FIELD_MODULUS - 1]))
    assert total == -count * element**2 % FIELD_MODULUS


def test_weighted_inner_products__does_not_depend_on_threads_or_on_being_a_square() -> None:
    vectors, weights = random_elements(3, 1000), list(range(1, 101))
    once = weighted_inner_products(vectors, vectors, weights)
    assert (weighted_inner_products(vectors, vectors.copy(), weights, num_threads=2) == once).all()
    assert weighted_inner_products(vectors[:0], vectors[:0], weights).shape == (0, 4)


def test_weighted_inner_products__refuses_what_does_not_fit() -> None:
    vectors = random_elements(2, 5)
    for right, weights, threads in (
        (vectors[:1], [1], 1),
        (vectors, [], 1),
        (vectors, [1] * 6, 1),
        (vectors, [1], 0),
    ):
        with pytest.raises(ParameterError):
            weighted_inner_products(vectors, right, weights, num_threads=threads)
