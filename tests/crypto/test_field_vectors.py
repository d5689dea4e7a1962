"""Vectors over F_r against Python integers and galois."""

from __future__ import annotations

import galois
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    add,
    check_elements,
    concatenate_zeros,
    from_bytes,
    from_ints,
    from_signed_int64,
    is_canonical,
    negate,
    random_elements,
    signed_bit_length,
    subtract,
    to_bytes,
    to_ints,
    to_signed_ints,
    zeros,
)
from flower_coded.errors import ParameterError

# Values where a carry, a borrow or a comparison can go wrong.
EDGES = [0, 1, 2, 2**63, 2**64 - 1, 2**64, 2**128 - 1, 2**192, FIELD_MODULUS >> 1, (FIELD_MODULUS >> 1) + 1]
EDGES += [FIELD_MODULUS - edge for edge in EDGES if edge]
elements = st.one_of(st.sampled_from(EDGES), st.integers(0, FIELD_MODULUS - 1))
pairs = st.lists(st.tuples(elements, elements), min_size=1, max_size=20)


def test_modulus__is_the_order_of_the_standard_generator() -> None:
    from py_ecc.optimized_bls12_381 import curve_order

    assert curve_order == FIELD_MODULUS


@given(pairs)
def test_add_and_subtract__agree_with_integers(values: list[tuple[int, int]]) -> None:
    left, right = (from_ints(side) for side in zip(*values, strict=True))
    assert to_ints(add(left, right)) == [(x + y) % FIELD_MODULUS for x, y in values]
    assert to_ints(subtract(left, right)) == [(x - y) % FIELD_MODULUS for x, y in values]
    assert to_ints(negate(left)) == [-x % FIELD_MODULUS for x, _ in values]


def test_add__agrees_with_galois() -> None:
    field = galois.GF(FIELD_MODULUS, primitive_element=7, verify=False)
    left, right = random_elements(50), random_elements(50)
    expected = field(to_ints(left)) + field(to_ints(right))
    assert to_ints(add(left, right)) == [int(value) for value in expected]


def test_add__broadcasts() -> None:
    assert to_ints(add(from_ints([[1, 2], [3, 4]]), from_ints([FIELD_MODULUS - 1]))) == [0, 1, 2, 3]


@given(st.lists(elements, max_size=20))
def test_bytes_and_integers__round_trip(values: list[int]) -> None:
    data = to_bytes(from_ints(values))
    assert data == b"".join(value.to_bytes(32, "little") for value in values)
    assert to_ints(from_bytes(data, num_elements=len(values))) == values


@pytest.mark.parametrize("value", [FIELD_MODULUS, FIELD_MODULUS + 1, 2**255, 2**256 - 1])
def test_from_bytes__refuses_what_is_not_canonical(value: int) -> None:
    with pytest.raises(ParameterError, match="smaller than r"):
        from_bytes(bytes(32) + value.to_bytes(32, "little"))


@pytest.mark.parametrize(("size", "num_elements"), [(31, None), (33, None), (64, 1), (32, 2), (0, 1)])
def test_from_bytes__refuses_another_length(size: int, num_elements: int | None) -> None:
    with pytest.raises(ParameterError, match="length of data"):
        from_bytes(bytes(size), num_elements=num_elements)


@pytest.mark.parametrize("value", [-1, FIELD_MODULUS, 2**256, 1.5, "1", None])
def test_from_ints__refuses_what_is_no_element(value: object) -> None:
    with pytest.raises(ParameterError):
        from_ints([0, value])  # type: ignore[list-item]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_from_signed_int64__embeds_both_signs(values: list[int]) -> None:
    embedded = from_signed_int64(np.array(values, dtype=np.int64))
    assert to_ints(embedded) == [value % FIELD_MODULUS for value in values]
    assert to_signed_ints(embedded) == values


@pytest.mark.parametrize("values", [np.array([1.0]), np.array([1], dtype=np.uint64), np.array([True])])
def test_from_signed_int64__refuses_other_types(values: np.ndarray) -> None:
    with pytest.raises(ParameterError, match="int64"):
        from_signed_int64(values)


def test_random_elements__skips_what_is_not_below_r() -> None:
    # 255 bits are kept of each draw: r itself and 2**255 - 1 are drawn again, 5 and r - 1 are taken.
    draws = [FIELD_MODULUS, 2**255 - 1, 5 + 2**255, FIELD_MODULUS - 1]
    stream = b"".join(draw.to_bytes(32, "little") for draw in draws)

    def random_bytes(count: int) -> bytes:
        return (stream * count)[:count]

    assert to_ints(random_elements(4, random_bytes=random_bytes)) == [5, FIELD_MODULUS - 1] * 2


def test_random_elements__are_uniform() -> None:
    drawn = random_elements(16_000, random_bytes=np.random.default_rng(5).bytes)
    counts = np.bincount([value * 16 // FIELD_MODULUS for value in to_ints(drawn)], minlength=16)
    # chi-square with 15 degrees of freedom: above 37.7 once in 1000 seeds
    assert ((counts - 1000) ** 2 / 1000).sum() < 37.7
    assert is_canonical(drawn)


def test_random_elements__differ_between_calls() -> None:
    assert (random_elements(2) != random_elements(2)).any(axis=1).all()


def test_signed_bit_length__counts_the_longest() -> None:
    assert signed_bit_length(from_signed_int64([3, -8, 7])) == 4
    assert signed_bit_length(zeros(3)) == 0
    assert signed_bit_length(zeros(0)) == 0
    assert signed_bit_length(from_ints([2**200, FIELD_MODULUS - 2**201])) == 202


def test_concatenate_zeros__pads_to_the_length() -> None:
    assert to_ints(concatenate_zeros(from_ints([[1], [2]]), 3)) == [1, 0, 0, 2, 0, 0]
    with pytest.raises(ParameterError, match="length"):
        concatenate_zeros(from_ints([1, 2]), 1)


@pytest.mark.parametrize(
    "vector", [np.zeros((2, 4)), np.zeros((2, 3), dtype=np.uint64), np.uint64(3), np.full((1, 4), 2**64 - 1)]
)
def test_check_elements__refuses_other_arrays(vector: np.ndarray) -> None:
    with pytest.raises(ParameterError):
        check_elements(vector)
