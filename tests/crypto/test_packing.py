from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.crypto.field_products import inner_products
from flower_coded.crypto.field_vectors import FIELD_MODULUS, add, from_ints, subtract, to_ints, to_signed_ints
from flower_coded.crypto.packing import Packing, largest_packing, progression_free_exponents
from flower_coded.errors import ParameterError

SIZES = [(1, 16), (2, 16), (3, 8), (4, 4)]


def random_integers(generator: np.random.Generator, packing: Packing) -> np.ndarray:
    return generator.integers(-packing.max_integer, packing.max_integer, size=packing.length, endpoint=True)


@pytest.mark.parametrize(("size", "num_bits"), SIZES)
@given(length=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_squared_distance__is_that_of_the_integers(size: int, num_bits: int, length: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    packing = Packing(size, 2 ** (num_bits - 1) - 1, length)
    left, right = random_integers(generator, packing), random_integers(generator, packing)
    difference = subtract(packing.pack(left), packing.pack(right))[np.newaxis]
    (total,) = to_ints(inner_products(difference, difference))
    assert packing.squared_distance(total) == int(((left - right) ** 2).sum())


@pytest.mark.parametrize(("size", "num_bits"), SIZES)
def test_squared_distance__is_right_at_the_extremes(size: int, num_bits: int) -> None:
    packing = Packing(size, 2 ** (num_bits - 1) - 1, length=24)
    for signs in itertools.product([1, -1], repeat=size):
        left = np.tile(np.array(signs), 24)[:24] * packing.max_integer
        difference = subtract(packing.pack(left), packing.pack(-left))[np.newaxis]
        (total,) = to_ints(inner_products(difference, difference))
        assert packing.squared_distance(total) == 24 * (2 * packing.max_integer) ** 2


@pytest.mark.parametrize(("size", "num_bits"), SIZES)
@given(num_summands=st.integers(1, 5), length=st.integers(1, 23), seed=st.integers(0, 2**32))
def test_unpack__returns_the_sum_of_packed_vectors(
    size: int, num_bits: int, num_summands: int, length: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    packing = Packing(size, 2 ** (num_bits - 1) - 1, length, num_summands)
    summands = [random_integers(generator, packing) for _ in range(num_summands)]
    total = packing.pack(summands[0])
    for summand in summands[1:]:
        total = add(total, packing.pack(summand))
    integers, is_valid = packing.unpack(total, length=length)
    assert is_valid.all()
    assert integers.tolist() == sum(summands).tolist()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_unpack__marks_elements_that_no_short_integers_pack_to(size: int) -> None:
    packing = Packing(size, 127, length=4 * size)
    elements = packing.pack(np.arange(4 * size))
    elements[1] = from_ints([[FIELD_MODULUS // 3]])[0]
    elements[3] = from_ints([2**63])[0] if size == 1 else from_ints([2**200])[0]
    assert packing.unpack(elements, length=4 * size)[1].tolist() == [True, False, True, False]


def test_squared_distance__is_none_where_no_honest_pair_can_be() -> None:
    packing = Packing(2, 100, length=10)
    assert packing.squared_distance(FIELD_MODULUS - 1) is None  # a square digit of -1
    assert packing.squared_distance(10 * 200**2 + 1) is None  # farther apart than any two vectors
    assert packing.squared_distance(10 * 200**2) == 10 * 200**2
    assert Packing(1, 100, length=10).squared_distance(FIELD_MODULUS - 1) is None


def test_squared_distance__sees_members_of_a_sum_as_far_as_they_are() -> None:
    # Without room for m summands, an update of four times the allowed size would wrap around to a small
    # digit.
    packing = Packing(2, 127, length=64, num_summands=5)
    far = np.full(64, 4 * 127)
    (total,) = to_ints(inner_products(packing.pack(far)[np.newaxis], packing.pack(far)[np.newaxis]))
    assert packing.squared_distance(total) is None


@pytest.mark.parametrize("size", range(1, 9))
def test_progression_free_exponents__keep_squares_apart_from_cross_terms(size: int) -> None:
    exponents = progression_free_exponents(size)
    squares = {2 * exponent for exponent in exponents}
    assert len(exponents) == len(squares) == size
    assert squares.isdisjoint(low + high for low, high in itertools.combinations(exponents, 2))


def test_pack__with_one_per_element_is_the_integers_themselves() -> None:
    assert to_signed_ints(Packing(1, 9, length=3).pack(np.array([-9, 0, 4]))) == [-9, 0, 4]


def test_packing__refuses_what_does_not_fit_and_offers_what_does() -> None:
    with pytest.raises(ParameterError, match=r"within 254 bits; received '3, which takes .* \(2 fits\)"):
        Packing(3, 2**15 - 1, length=131_072)
    with pytest.raises(ParameterError, match="fewer bits per weight are needed"):
        Packing(1, 2**61, length=2**140)
    assert largest_packing(2**15 - 1, 131_072) == 2


@pytest.mark.parametrize("arguments", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 2**62, 1)])
def test_packing__refuses_bad_parameters(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ParameterError, match="must be"):
        Packing(*arguments)


def test_reversed_packing__would_let_a_dealer_be_near_everybody_with_a_harmful_update() -> None:
    """Why the order is not reversed in the second factor: two honest users, a liar, two weights, base 1000.

    In order (u0 + 1000 u1) times reversed (1000 u0 + u1) has u0**2 + u1**2 as its middle digit. A liar who
    shares the harmful (50, 50) in order but the honest mean (5, 5) in reverse seems nearer to both honest
    users than they are to each other; no linear check ties its two elements together.
    """
    honest = [(4, 6), (6, 4)]

    def middle_digit(in_order: list[int], in_reverse: list[int]) -> int:
        product = (in_order[0] + 1000 * in_order[1]) * (1000 * in_reverse[0] + in_reverse[1])
        low = (product + 500) % 1000 - 500
        return ((product - low) // 1000 + 500) % 1000 - 500

    apart = [a - b for a, b in zip(*honest, strict=True)]
    assert middle_digit(apart, apart) == 8
    seeming = [middle_digit([50 - u for u in user], [5 - u for u in user]) for user in honest]
    assert seeming == [2, 2]
    assert all(sum((50 - u) ** 2 for u in user) > 4000 for user in honest)
