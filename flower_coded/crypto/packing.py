"""Several short integers in one field element, so that squares of differences can still be read off.

``s`` integers ``v_0 .. v_{s-1}`` become ``P(v) = sum_a v_a B**e_a`` with the base ``B = 2**w``. The exponents
contain no three-term arithmetic progression (0, 1, 3, 4, 9, ...), hence in

    ``P(v)**2 = sum_a v_a**2 B**(2 e_a)  +  2 sum_{a<b} v_a v_b B**(e_a + e_b)``

no cross term falls on a digit ``2 e_a``, and the digits ``2 e_a`` of a sum of such squares add up to
``||v||**2``. For s = 2 that takes 3 digits, for s = 3 seven, for s = 4 nine.

Why not the shorter form with the order reversed in the second factor (``sum_a v_a B**a`` times ``sum_a v_a
B**(s-1-a)``, 2s - 1 digits)? Reversal is not linear over the field, so a commitment to the one says nothing
about the other: a dealer who shares a harmful update in order and the honest users' mean in reverse has
"distances" near zero to everybody. With one and the same element in both factors the commitment binds both.
The price is the digits above, and that whoever reads the product sees each ``sum v_a**2`` and ``sum v_a
v_b``, not only their total.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.field_products import weighted_sum
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, add, from_ints, from_signed_int64
from flower_coded.errors import ParameterError

__all__ = ["Packing", "largest_packing", "progression_free_exponents"]

_USABLE_BITS = FIELD_MODULUS.bit_length() - 1  # a sum below 2**253 in absolute value is below r/2


def progression_free_exponents(num_per_element: int) -> tuple[int, ...]:
    """Return the first ``s`` numbers that contain no three-term arithmetic progression, chosen greedily.

    Examples
    --------
    >>> progression_free_exponents(5)
    (0, 1, 3, 4, 9)
    """
    chosen: list[int] = []
    for candidate in count():
        if len(chosen) == num_per_element:
            break
        if not any(
            2 * middle - first == candidate for middle in chosen for first in chosen if first < middle
        ):
            chosen.append(candidate)
    return tuple(chosen)


@dataclass(frozen=True)
class Packing:
    """``num_per_element`` integers in one element of F_r.

    Parameters
    ----------
    num_per_element : int
        s, at least 1; 1 leaves every integer in an element of its own.
    max_integer : int
        Largest absolute value of one integer.
    length : int
        L, number of integers in a vector whose squared distances are wanted.
    num_summands : int
        m, the largest number of vectors that are added up. A member of a sum whose entries are at most ``m *
        max_integer`` may itself reach ``(2m - 1) * max_integer``; its distances must still be exact, so the
        digits have room for differences of ``2m * max_integer``.

    Raises
    ------
    ParameterError
        If the digits of a squared distance do not fit below r/2; the message offers the largest s that fits.

    Examples
    --------
    >>> packing = Packing(num_per_element=2, max_integer=100, length=3)
    >>> elements = packing.pack(np.array([7, -3, 5]))
    >>> elements.shape
    (2, 4)
    >>> packing.unpack(elements, length=3)[0]
    array([ 7, -3,  5])
    """

    num_per_element: int
    max_integer: int
    length: int
    num_summands: int = 1

    def __post_init__(self) -> None:
        if self.num_per_element < 1:
            raise ParameterError("num_per_element", "must be at least 1", self.num_per_element)
        if self.length < 1:
            raise ParameterError("length", "must be at least 1", self.length)
        if not 1 <= self.max_integer < 2**62:
            raise ParameterError("max_integer", "must be from 1 to 2**62 - 1", self.max_integer)
        if self.num_bits_of_square > _USABLE_BITS:
            fits = largest_packing(self.max_integer, self.length, num_summands=self.num_summands)
            raise ParameterError(
                "num_per_element",
                f"must keep a squared distance within {_USABLE_BITS} bits",
                f"{self.num_per_element}, which takes {self.num_bits_of_square}",
                hint=f"{fits} fits" if fits else "fewer bits per weight are needed",
            )

    @property
    def exponents(self) -> tuple[int, ...]:
        """``e_0 .. e_{s-1}``."""
        return progression_free_exponents(self.num_per_element)

    @property
    def num_elements(self) -> int:
        """Elements that a vector of ``length`` integers takes."""
        return -(-self.length // self.num_per_element)

    @property
    def digit_bits(self) -> int:
        """w: a digit of a squared distance, of either sign, has at most w bits."""
        return _digit_bits(self.num_per_element, self.max_integer, self.length, self.num_summands)

    @property
    def num_bits_of_square(self) -> int:
        """Bits of a sum of squares of packed differences."""
        return self.digit_bits * (2 * self.exponents[-1] + 1)

    @property
    def weights(self) -> tuple[int, ...]:
        """``B**e_a``, what the integers are multiplied by."""
        return tuple(1 << (self.digit_bits * exponent) for exponent in self.exponents)

    def pack(self, integers: NDArray[np.int64]) -> FieldArray:
        """Pack a vector; entry ``s*j + a`` goes to digit ``e_a`` of element j, and zeros fill the end.

        Parameters
        ----------
        integers : ndarray of shape (n,), int64

        Returns
        -------
        ndarray of shape (ceil(n / s), 4), uint64
        """
        size = self.num_per_element
        if size == 1:
            return from_signed_int64(integers)
        padded = np.zeros(-(-len(integers) // size) * size, dtype=np.int64)
        padded[: len(integers)] = integers
        return weighted_sum(self.weights, from_signed_int64(padded.reshape(-1, size).T))

    def unpack(self, elements: FieldArray, *, length: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Read packed integers, or a sum of some, and say which elements are not of that form.

        Parameters
        ----------
        elements : ndarray of shape (n, 4), uint64
        length : int
            Integers wanted, at most ``s * n``.

        Returns
        -------
        integers : ndarray of shape (length,), int64
        is_valid : ndarray of shape (n,), bool
            False where no integers below ``2**62`` (and half the base) pack to this element; the integers
            there mean nothing.
        """
        half, places = 1 << (self.digit_bits - 1), range(self.exponents[-1] + 1)
        offset = from_ints([sum(half << (self.digit_bits * place) for place in places)])
        shifted = elements if self.num_per_element == 1 else add(elements, offset)
        digits = np.stack([self._digit(shifted, exponent) for exponent in self.exponents], axis=-1)
        limit = min(2**62, half)
        is_small = ((digits > -limit) & (digits < limit)).all(axis=-1)
        is_valid = is_small & (self.pack(digits.ravel()) == elements).all(axis=-1)
        return digits.ravel()[:length], is_valid

    def squared_distance(self, total: int) -> int | None:
        """Read ``||u - v||**2`` from ``sum (P(u) - P(v))**2`` modulo r.

        Parameters
        ----------
        total : int
            The sum, in ``[0, r)``.

        Returns
        -------
        int or None
            None if no two vectors within the bounds have this sum.
        """
        limit = self.length * (2 * self.max_integer) ** 2
        if self.num_per_element == 1:
            return total if total <= limit else None
        digits = _balanced_digits(total, self.digit_bits, 2 * self.exponents[-1] + 1)
        if digits is None:
            return None
        squares = [digits[2 * exponent] for exponent in self.exponents]
        return sum(squares) if min(squares) >= 0 and sum(squares) <= limit else None

    def _digit(self, shifted: FieldArray, exponent: int) -> NDArray[np.int64]:
        if self.num_per_element == 1:
            # r - |v| has the lowest word of r minus |v|; a small v is its own lowest word.
            is_negative = shifted[..., 3] != 0
            lowest = np.where(
                is_negative, shifted[..., 0] - np.uint64(FIELD_MODULUS % 2**64), shifted[..., 0]
            )
            return lowest.view(np.int64)
        word, shift = divmod(self.digit_bits * exponent, 64)
        window = shifted[..., word] >> np.uint64(shift)
        if shift and word < 3:
            window = window | (shifted[..., word + 1] << np.uint64(64 - shift))
        if self.digit_bits < 64:
            window = window & np.uint64((1 << self.digit_bits) - 1)
        return (window - np.uint64((1 << (self.digit_bits - 1)) % 2**64)).view(np.int64)


def largest_packing(max_integer: int, length: int, *, num_summands: int = 1) -> int:
    """Return the largest s that :class:`Packing` accepts, 0 if not even one integer fits.

    Examples
    --------
    >>> largest_packing(2**15 - 1, 131_072), largest_packing(127, 131_072)
    (2, 3)
    """
    return next(
        size - 1
        for size in count(1)
        if (2 * progression_free_exponents(size)[-1] + 1)
        * _digit_bits(size, max_integer, length, num_summands)
        > _USABLE_BITS
    )


def _digit_bits(num_per_element: int, max_integer: int, length: int, num_summands: int) -> int:
    exponents = progression_free_exponents(num_per_element)
    sums = [low + high for low in exponents for high in exponents]
    most_products = max(sums.count(digit) for digit in sums)
    num_elements = -(-length // num_per_element)
    return (2 * most_products * num_elements * (2 * num_summands * max_integer) ** 2).bit_length()


def _balanced_digits(total: int, digit_bits: int, num_digits: int) -> list[int] | None:
    """Cut the integer of least absolute value that ``total`` stands for into digits of either sign."""
    value = total - FIELD_MODULUS if total > FIELD_MODULUS // 2 else total
    base, half = 1 << digit_bits, 1 << (digit_bits - 1)
    digits = []
    for _ in range(num_digits):
        digit = (value + half) % base - half
        digits.append(digit)
        value = (value - digit) >> digit_bits
    return digits if value == 0 else None
