"""Compiled tables of multiples against the backends' own sums."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.crypto.backends import available_backends, get_backend
from flower_coded.crypto.backends.affine import BASE_PRIME
from flower_coded.crypto.backends.compiled_field import add, invert, multiply, subtract
from flower_coded.crypto.backends.fixed_base import FixedBaseTable
from flower_coded.crypto.commitment_basis import CommitmentBasis
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, from_ints, random_elements, zeros
from flower_coded.errors import ParameterError

BACKEND = get_backend()
RADIX = 1 << 384
# Points 1 and 3 are inverses of each other, and 0, 2 and 4 are the same point.
FACTORS = [5, 9, 5, FIELD_MODULUS - 9, 5, 1, 123456789, 2]
POINTS = tuple(BACKEND.multiply(BACKEND.generator, factor) for factor in FACTORS)
scalars = st.one_of(
    st.sampled_from([0, 1, 2, 7, FIELD_MODULUS >> 1, (FIELD_MODULUS >> 1) + 1]),
    st.integers(0, FIELD_MODULUS - 1),
)
elements = st.one_of(st.sampled_from([0, 1, BASE_PRIME - 1, BASE_PRIME >> 1]), st.integers(0, BASE_PRIME - 1))


@cache
def table(window: int) -> FixedBaseTable:
    return FixedBaseTable.of(BACKEND.to_affine_bytes(POINTS), window=window)


def expected(values: list[int]) -> bytes:
    exponent = sum(x * y for x, y in zip(values, FACTORS, strict=False)) % FIELD_MODULUS
    point = BACKEND.multiply(BACKEND.generator, exponent)
    return BACKEND.to_affine_bytes(BACKEND.from_affine_bytes(BACKEND.to_affine_bytes([point])))


def words(value: int) -> tuple[np.uint64, ...]:
    return tuple(np.uint64((value >> (64 * i)) & (2**64 - 1)) for i in range(6))


def number(element: tuple[np.uint64, ...]) -> int:
    return sum(int(word) << (64 * i) for i, word in enumerate(element))


@settings(max_examples=30)
@given(elements, elements)
def test_compiled_field__agrees_with_integers(x: int, y: int) -> None:
    assert number(multiply(words(x), words(y))) == x * y * pow(RADIX, -1, BASE_PRIME) % BASE_PRIME
    assert number(add(words(x), words(y))) == (x + y) % BASE_PRIME
    assert number(subtract(words(x), words(y))) == (x - y) % BASE_PRIME
    if x:
        assert number(invert(words(x))) == pow(x, -1, BASE_PRIME) * RADIX**2 % BASE_PRIME


@pytest.mark.parametrize("window", [2, 4, 7, 12, 13, 14])
@settings(max_examples=15)
@given(values=st.lists(scalars, min_size=1, max_size=8))
def test_table__gives_the_sum_of_multiples(window: int, values: list[int]) -> None:
    assert table(window).multiply(from_ints(values)) == expected(values)


@pytest.mark.parametrize(
    "values",
    [
        [0] * 8,
        [7, 0, 7],
        [7, 7, 7, 7, 7],
        [0, 8, 0, 8],
        [3, 8, 0, 8],
        [FIELD_MODULUS - 1] * 8,
        [1, 0, FIELD_MODULUS - 1],
    ],
)
def test_table__handles_equal_and_opposite_points_in_a_bucket(values: list[int]) -> None:
    for window in (4, 12):
        assert table(window).multiply(from_ints(values)) == expected(values)


def test_table__chooses_a_window_and_agrees_on_many_points() -> None:
    points = [BACKEND.multiply(BACKEND.generator, factor) for factor in range(1, 100)]
    many = FixedBaseTable.of(BACKEND.to_affine_bytes(points))
    assert many.window == 5  # 2**6 <= 99
    drawn = random_elements(99)
    total = BACKEND.msm(points, drawn)
    (found,) = BACKEND.from_affine_bytes(many.multiply(drawn))
    assert BACKEND.equal(found, total)


def multiply_both(basis: CommitmentBasis, values: FieldArray) -> bool:
    plain = CommitmentBasis(basis.backend, basis.points)
    return basis.backend.equal(basis.multiply(values), plain.multiply(values))


@pytest.mark.parametrize("name", available_backends())
def test_basis__gives_the_same_point_with_and_without_tables(name: str) -> None:
    backend = get_backend(name)
    points = tuple(backend.multiply(backend.generator, factor) for factor in FACTORS)
    basis = CommitmentBasis(backend, points, with_tables=True)
    assert (basis.table is None) == (name == "py_ecc")  # the reference stays as it is
    assert multiply_both(basis, random_elements(8))
    assert multiply_both(basis, zeros(3))


def test_basis__goes_without_tables_where_there_can_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with_identity = CommitmentBasis(BACKEND, (*POINTS, BACKEND.identity), with_tables=True)
    assert with_identity.table is None
    assert multiply_both(with_identity, random_elements(9))
    monkeypatch.setattr("flower_coded.crypto.commitment_basis.find_spec", lambda name: None)
    assert CommitmentBasis(BACKEND, POINTS, with_tables=True).table is None


@pytest.mark.parametrize("window", [0, 1, 15, 16])
def test_table__refuses_windows_whose_digits_do_not_fit(window: int) -> None:
    with pytest.raises(ParameterError, match="window must be from 2 to 14"):
        FixedBaseTable.of(BACKEND.to_affine_bytes(POINTS), window=window)


def test_table__refuses_no_points_and_more_scalars_than_points() -> None:
    with pytest.raises(ParameterError, match="at least one point"):
        FixedBaseTable.of(b"")
    with pytest.raises(ParameterError, match="at most 8"):
        table(4).multiply(zeros(9))
    with pytest.raises(ParameterError, match="canonical"):
        table(4).multiply(np.full((1, 4), 2**64 - 1, dtype=np.uint64))
