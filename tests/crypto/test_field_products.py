"""Matrix products over F_r against Python integers, galois, and their torch twin."""

from __future__ import annotations

import galois
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.crypto.field_limbs import SHORT_ROW_SUM, center_entries, plan_product
from flower_coded.crypto.field_products import (
    gram_matrix,
    inner_products,
    matmul_constant,
    scale,
    weighted_sum,
)
from flower_coded.crypto.field_vectors import FIELD_MODULUS, from_ints, random_elements, to_ints
from flower_coded.errors import ParameterError

DEVICES = [
    None,
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is at hand")
    ),
]
EDGES = [
    0,
    1,
    2,
    2**32 - 1,
    2**64,
    2**128 - 1,
    FIELD_MODULUS >> 1,
    (FIELD_MODULUS >> 1) + 1,
    FIELD_MODULUS - 1,
]
elements = st.one_of(st.sampled_from(EDGES), st.integers(0, FIELD_MODULUS - 1))
short_entries = st.integers(-(2**25), 2**25)


def expected_product(matrix: list[list[int]], columns: list[list[int]]) -> list[int]:
    product = np.array(matrix, dtype=object) @ np.array(columns, dtype=object) % FIELD_MODULUS
    return [int(value) for value in product.ravel()]


@st.composite
def products(draw: st.DrawFn, entries: st.SearchStrategy[int]) -> tuple[list[list[int]], list[list[int]]]:
    n, k, m = draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 5))
    matrix = draw(st.lists(st.lists(entries, min_size=k, max_size=k), min_size=n, max_size=n))
    return matrix, draw(st.lists(st.lists(elements, min_size=m, max_size=m), min_size=k, max_size=k))


@pytest.mark.parametrize("entries", [short_entries, elements], ids=["short", "any"])
@settings(max_examples=30)
@given(data=st.data())
def test_matmul_constant__agrees_with_integers(entries: st.SearchStrategy[int], data: st.DataObject) -> None:
    matrix, columns = data.draw(products(entries))
    vectors = from_ints(np.array(columns, dtype=object))
    assert to_ints(matmul_constant(matrix, vectors)) == expected_product(matrix, columns)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("num_columns", [1, 7, 64, 65, 130])
def test_matmul_constant__is_exact_where_sums_are_largest(num_columns: int, device: str | None) -> None:
    largest = SHORT_ROW_SUM // num_columns
    matrix = [
        [entry] * num_columns for entry in (FIELD_MODULUS - 1, FIELD_MODULUS // 2, FIELD_MODULUS // 2 + 1)
    ]
    columns = [[FIELD_MODULUS - 1, FIELD_MODULUS - 2, 2**255 - 1 - FIELD_MODULUS]] * num_columns
    for entries in (matrix, [[largest] * num_columns, [-largest] * num_columns]):
        product = matmul_constant(entries, from_ints(np.array(columns, dtype=object)), device=device)
        assert to_ints(product) == expected_product(entries, columns)


@pytest.mark.parametrize("factor", [3, -7, 2**29 - 1, 2**31, FIELD_MODULUS // 3, 12345678901234567890])
@pytest.mark.parametrize("device", DEVICES)
def test_matmul_constant__reduces_what_falls_near_a_multiple_of_r(factor: int, device: str | None) -> None:
    near = list(range(-300, 300))
    inverse = pow(factor, -1, FIELD_MODULUS)
    vector = from_ints([[value * inverse % FIELD_MODULUS for value in near]])
    assert to_ints(matmul_constant([[factor]], vector, device=device)) == [v % FIELD_MODULUS for v in near]


def test_matmul_constant__agrees_with_galois() -> None:
    field = galois.GF(FIELD_MODULUS, primitive_element=7, verify=False)
    left, right = random_elements(3, 4), random_elements(4, 5)
    matrix = np.array(to_ints(left), dtype=object).reshape(3, 4)
    expected = field(matrix) @ field(np.array(to_ints(right), dtype=object).reshape(4, 5))
    assert to_ints(matmul_constant(matrix.tolist(), right)) == [int(value) for value in expected.ravel()]


@pytest.mark.parametrize("row_sum", [1 << 21, (1 << 21) + 1, SHORT_ROW_SUM, SHORT_ROW_SUM + 1])
def test_matmul_constant__agrees_at_the_borders_between_arrangements(row_sum: int) -> None:
    matrix = [[row_sum - 5, -5], [-(row_sum - 1), 1]]
    assert plan_product(matrix).is_short == (row_sum <= SHORT_ROW_SUM)
    columns = [[FIELD_MODULUS - 1, 0, 2**32 - 1], [FIELD_MODULUS - 2, FIELD_MODULUS - 1, 1]]
    product = matmul_constant(matrix, from_ints(np.array(columns, dtype=object)))
    assert to_ints(product) == expected_product(matrix, columns)


@pytest.mark.parametrize("device", DEVICES[1:])
def test_torch__gives_the_same_integers(device: str) -> None:
    vectors, matrix = random_elements(6, 700), [[x**j for j in range(6)] for x in (1, -1, 2, -2, 3)]
    constants = [to_ints(row) for row in random_elements(3, 6)]
    for entries in (matrix, constants):
        assert (matmul_constant(entries, vectors, device=device) == matmul_constant(entries, vectors)).all()
    assert (
        gram_matrix(vectors[:3], vectors[3:], device=device) == gram_matrix(vectors[:3], vectors[3:])
    ).all()
    assert (gram_matrix(vectors, device=device) == gram_matrix(vectors)).all()


def test_threads__do_not_change_the_result() -> None:
    vectors, matrix = random_elements(3, 1500), [[1, 2, 3], [4, 5, 6]]
    assert (matmul_constant(matrix, vectors, num_threads=2) == matmul_constant(matrix, vectors)).all()
    assert (gram_matrix(vectors, num_threads=2) == gram_matrix(vectors)).all()


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from([1, 2, 511, 512, 513, 1100]))
def test_gram_matrix__agrees_with_integers(n: int, p: int, m: int) -> None:
    left, right = random_elements(n, m), random_elements(p, m)
    left[0, 0], right[0, 0] = from_ints([FIELD_MODULUS - 1, FIELD_MODULUS - 1])
    rows = np.array(to_ints(left), dtype=object).reshape(n, m)
    others = np.array(to_ints(right), dtype=object).reshape(p, m)
    assert to_ints(gram_matrix(left, right)) == [int(x) for x in (rows @ others.T % FIELD_MODULUS).ravel()]
    assert to_ints(gram_matrix(left)) == [int(x) for x in (rows @ rows.T % FIELD_MODULUS).ravel()]


def test_gram_matrix__is_exact_where_sums_are_largest() -> None:
    largest = from_ints(np.full((2, 513), FIELD_MODULUS - 1, dtype=object))
    assert to_ints(gram_matrix(largest)) == [513] * 4  # (-1)**2 * 513


def test_gram_matrix__is_exact_past_half_a_million_columns() -> None:
    # Every limb but the last is full, so that sums of products of limbs pass 2**63.
    element, count = 2**242 - 1, (1 << 19) + 70_000
    full = np.broadcast_to(from_ints([element]), (1, count, 4))
    assert to_ints(gram_matrix(full)) == [count * element**2 % FIELD_MODULUS]
    assert to_ints(gram_matrix(full, full, num_threads=2)) == [count * element**2 % FIELD_MODULUS]


def test_inner_products__pair_rows() -> None:
    left, right = random_elements(3, 5), random_elements(3, 5)
    assert (inner_products(left, right) == gram_matrix(left, right)[np.arange(3), np.arange(3)]).all()
    assert inner_products(left[:0], right[:0]).shape == (0, 4)


def test_weighted_sum_and_scale__agree_with_integers() -> None:
    vectors = random_elements(3, 4)
    rows = np.array(to_ints(vectors), dtype=object).reshape(3, 4)
    weights = [2**128 - 1, -5, 0]
    expected = [int(x) for x in np.array(weights, dtype=object) @ rows % FIELD_MODULUS]
    assert to_ints(weighted_sum(weights, vectors)) == expected
    assert to_ints(scale(vectors, 2**200)) == [x * 2**200 % FIELD_MODULUS for x in to_ints(vectors)]


def test_center_entries__takes_the_nearest_to_zero() -> None:
    half = FIELD_MODULUS // 2
    assert center_entries([[FIELD_MODULUS - 1, half, half + 1]]) == [[-1, half, -half]]


def test_inputs__are_left_alone() -> None:
    vectors = random_elements(2, 3)
    before = vectors.copy()
    matmul_constant([[1, 2]], vectors)
    gram_matrix(vectors)
    assert (vectors == before).all()


@pytest.mark.parametrize("matrix", [[], [[]], [[1, 2], [3]]])
def test_matmul_constant__refuses_ragged_matrices(matrix: list[list[int]]) -> None:
    with pytest.raises(ParameterError, match="rows of one positive length"):
        matmul_constant(matrix, random_elements(2, 3))


def test_products__refuse_shapes_that_do_not_fit() -> None:
    with pytest.raises(ParameterError, match="vectors"):
        matmul_constant([[1, 2]], random_elements(3, 2))
    with pytest.raises(ParameterError, match="left and right"):
        gram_matrix(random_elements(2, 3), random_elements(2, 4))
    with pytest.raises(ParameterError, match="one shape"):
        inner_products(random_elements(2, 3), random_elements(1, 3))
    for call in (matmul_constant, gram_matrix):
        arguments = ([[1]], random_elements(1, 1)) if call is matmul_constant else (random_elements(1, 1),)
        with pytest.raises(ParameterError, match="num_threads"):
            call(*arguments, num_threads=0)
