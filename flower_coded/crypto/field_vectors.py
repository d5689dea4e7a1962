"""Vectors over F_r, the scalar field of BLS12-381, as arrays of four 64-bit words per element.

An element is four ``uint64`` words, least significant first, and always canonical (smaller than r); a vector
of shape ``(...,)`` is an array of shape ``(..., 4)``. In memory that is the 32-byte little-endian form that
the curve libraries and the wire use, so conversion to bytes copies and does nothing else. Everything that
enters from outside is checked and refused, never reduced: a scalar of r or more is a malformed message, not
another name for a small one.

This module holds representation, conversion, sampling and sums; :mod:`flower_coded.crypto.field_products`
holds products. Python integers (:func:`to_ints`) are exact and convenient and about a hundred times slower.
Nothing here runs in constant time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.errors import ParameterError

__all__ = [
    "ELEMENT_BYTES",
    "FIELD_MODULUS",
    "FieldArray",
    "absolute_values",
    "add",
    "check_elements",
    "concatenate_zeros",
    "from_bytes",
    "from_ints",
    "from_signed_int64",
    "is_canonical",
    "negate",
    "random_elements",
    "signed_bit_length",
    "subtract",
    "to_bytes",
    "to_ints",
    "to_signed_ints",
    "zeros",
]

FieldArray: TypeAlias = NDArray[np.uint64]
"""Elements of F_r: ``ndarray of shape (..., 4), uint64``, canonical."""

FIELD_MODULUS = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""r, the prime order of the groups of BLS12-381 (255 bits)."""

ELEMENT_BYTES = 32

_WORDS = 4
_WORD_BITS = 64
_MODULUS_WORDS = np.array(
    [(FIELD_MODULUS >> (_WORD_BITS * i)) & (2**_WORD_BITS - 1) for i in range(_WORDS)], dtype=np.uint64
)
_TOP_WORD_MASK = np.uint64((1 << (FIELD_MODULUS.bit_length() - 3 * _WORD_BITS)) - 1)


def zeros(*shape: int) -> FieldArray:
    """Return the zero vector of the given shape.

    Examples
    --------
    >>> zeros(2, 3).shape
    (2, 3, 4)
    """
    return np.zeros((*shape, _WORDS), dtype=np.uint64)


def from_ints(values: Sequence[int] | NDArray[np.object_]) -> FieldArray:
    r"""Convert Python integers to elements of F_r.

    Parameters
    ----------
    values : sequence of int, or object array of any shape
        Integers in ``[0, r)``.

    Returns
    -------
    ndarray of shape (\*values.shape, 4), uint64

    Raises
    ------
    ParameterError
        If a value is negative, or r or more.

    Examples
    --------
    >>> from_ints([1, 2**64])
    array([[1, 0, 0, 0],
           [0, 1, 0, 0]], dtype=uint64)
    """
    array = np.asarray(values, dtype=object)
    flat = array.ravel().tolist()
    try:
        data = b"".join(value.to_bytes(ELEMENT_BYTES, "little") for value in flat)
    except (OverflowError, AttributeError, TypeError):
        raise ParameterError("values", "must be integers from 0 to r - 1", _first_outside(flat)) from None
    return from_bytes(data).reshape(*array.shape, _WORDS)


def to_ints(vector: FieldArray) -> list[int]:
    """Convert elements of F_r to a flat list of Python integers, in C order.

    Examples
    --------
    >>> to_ints(from_ints([5, FIELD_MODULUS - 1])) == [5, FIELD_MODULUS - 1]
    True
    """
    data = to_bytes(vector)
    return [int.from_bytes(data[i : i + ELEMENT_BYTES], "little") for i in range(0, len(data), ELEMENT_BYTES)]


def to_signed_ints(vector: FieldArray) -> list[int]:
    """Convert elements of F_r to the integers of least absolute value, between ``-(r-1)/2`` and ``(r-1)/2``.

    Examples
    --------
    >>> to_signed_ints(from_ints([5, FIELD_MODULUS - 1]))
    [5, -1]
    """
    half = FIELD_MODULUS // 2
    return [value - FIELD_MODULUS if value > half else value for value in to_ints(vector)]


def from_bytes(data: bytes | bytearray | memoryview, *, num_elements: int | None = None) -> FieldArray:
    """Read a vector from its 32-byte little-endian form; whatever is not exactly that is refused.

    Parameters
    ----------
    data : bytes
        32 bytes per element.
    num_elements : int or None
        The length that the caller expects; None accepts any.

    Returns
    -------
    ndarray of shape (num_elements, 4), uint64

    Raises
    ------
    ParameterError
        If the length is not 32 times the expected one, or an element is r or more.

    Examples
    --------
    >>> from_bytes(bytes([7]) + bytes(31))
    array([[7, 0, 0, 0]], dtype=uint64)
    >>> from_bytes(bytes(31))
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: length of data must be a multiple of 32 bytes; received 31
    """
    size = len(data)
    if size % ELEMENT_BYTES:
        raise ParameterError("length of data", f"must be a multiple of {ELEMENT_BYTES} bytes", size)
    if num_elements is not None and size != num_elements * ELEMENT_BYTES:
        raise ParameterError("length of data", f"must be {num_elements * ELEMENT_BYTES} bytes", size)
    vector = np.frombuffer(data, dtype="<u8").astype(np.uint64).reshape(-1, _WORDS)
    return check_elements(vector, name="data")


def to_bytes(vector: FieldArray) -> bytes:
    r"""Write a vector as 32 little-endian bytes per element, in C order.

    Examples
    --------
    >>> to_bytes(from_ints([258]))[:3]
    b'\x02\x01\x00'
    """
    return np.ascontiguousarray(vector, dtype="<u8").tobytes()


def from_signed_int64(values: ArrayLike) -> FieldArray:
    r"""Embed signed integers: v is itself, a negative v is ``r - |v|``.

    Parameters
    ----------
    values : array_like of any integer dtype, any shape
        Integers that fit int64.

    Returns
    -------
    ndarray of shape (\*values.shape, 4), uint64

    Raises
    ------
    ParameterError
        If the dtype is not an integer one, or is one whose values may not fit int64.

    Examples
    --------
    >>> to_signed_ints(from_signed_int64([-3, 0, 4]))
    [-3, 0, 4]
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or not np.can_cast(array.dtype, np.int64):
        raise ParameterError("values", "must have a dtype that fits int64", array.dtype)
    array = array.astype(np.int64, copy=False)
    negative = array < 0
    result = zeros(*array.shape)
    # The lowest word of r exceeds 2**63, so r - |v| borrows nothing from the words above.
    result[..., 0] = array.view(np.uint64) + np.where(negative, _MODULUS_WORDS[0], np.uint64(0))
    for word in range(1, _WORDS):
        result[..., word] = np.where(negative, _MODULUS_WORDS[word], np.uint64(0))
    return result


def random_elements(*shape: int, random_bytes: Callable[[int], bytes | bytearray] = os.urandom) -> FieldArray:
    r"""Draw elements of F_r uniformly and independently.

    255 random bits are kept where they are below r and drawn again where not (probability 0.095), so that
    every element is exactly as likely as any other.

    Parameters
    ----------
    *shape : int
        Shape of the vector.
    random_bytes : callable
        ``random_bytes(n)`` returns n uniform bytes: the system's cryptographic generator for anything secret,
        ``numpy.random.Generator.bytes`` of a seeded generator for experiments.

    Returns
    -------
    ndarray of shape (\*shape, 4), uint64

    Examples
    --------
    >>> random_elements(5, 2).shape
    (5, 2, 4)
    """
    result = zeros(*shape)
    flat = result.reshape(-1, _WORDS)
    filled = 0
    # Rejection keeps the distribution exactly uniform: reducing 256 bits modulo r would favor small elements.
    while filled < len(flat):
        missing = len(flat) - filled
        # A few more than are rejected on average (9.5 %), so that the second pass is short.
        num_candidates = missing + missing // 8 + 8
        drawn = np.frombuffer(random_bytes(num_candidates * ELEMENT_BYTES), dtype="<u8").astype(np.uint64)
        candidates = drawn.reshape(-1, _WORDS)
        candidates[:, -1] &= _TOP_WORD_MASK
        accepted = candidates[~_at_least_modulus(candidates)][:missing]
        flat[filled : filled + len(accepted)] = accepted
        filled += len(accepted)
    return result


def is_canonical(vector: FieldArray) -> bool:
    """Tell whether every element is smaller than r.

    Examples
    --------
    >>> is_canonical(zeros(3))
    True
    """
    return not bool(_at_least_modulus(vector).any())


def check_elements(vector: FieldArray, *, name: str = "vector") -> FieldArray:
    """Return ``vector`` as it is if it holds canonical elements of F_r; refuse it otherwise.

    Raises
    ------
    ParameterError
        If the dtype is not uint64, the last axis is not 4, or an element is r or more.
    """
    if not isinstance(vector, np.ndarray) or vector.dtype != np.uint64:
        raise ParameterError(name, "must be a uint64 array", getattr(vector, "dtype", type(vector).__name__))
    if vector.ndim == 0 or vector.shape[-1] != _WORDS:
        raise ParameterError(name, "must have shape (..., 4)", vector.shape)
    too_large = _at_least_modulus(vector)
    if too_large.any():
        position = tuple(int(index) for index in np.argwhere(too_large)[0])
        raise ParameterError(
            name, "must hold canonical elements of F_r, each smaller than r", f"one too large at {position}"
        )
    return vector


def add(left: FieldArray, right: FieldArray) -> FieldArray:
    """Add two vectors element by element; shapes broadcast.

    Examples
    --------
    >>> to_ints(add(from_ints([FIELD_MODULUS - 1]), from_ints([3])))
    [2]
    """
    total, _ = _add_words(left, right)  # below 2r < 2**256: no carry out
    # Where subtracting r borrows, the sum was below r already.
    reduced, borrow = _subtract_words(total, _MODULUS_WORDS)
    return np.where(borrow[..., np.newaxis], total, reduced)


def subtract(left: FieldArray, right: FieldArray) -> FieldArray:
    """Subtract element by element; shapes broadcast.

    Examples
    --------
    >>> to_signed_ints(subtract(from_ints([2]), from_ints([5])))
    [-3]
    """
    difference, borrow = _subtract_words(left, right)
    # A difference below zero stands there modulo 2**256; adding r carries it back into [0, r).
    wrapped, _ = _add_words(difference, _MODULUS_WORDS)
    return np.where(borrow[..., np.newaxis], wrapped, difference)


def negate(vector: FieldArray) -> FieldArray:
    """Return the additive inverses.

    Examples
    --------
    >>> to_signed_ints(negate(from_ints([0, 7])))
    [0, -7]
    """
    return subtract(zeros(), vector)


def concatenate_zeros(vector: FieldArray, length: int) -> FieldArray:
    """Append zeros along the axis before the words until it has ``length`` elements.

    Parameters
    ----------
    vector : ndarray of shape (..., n, 4), uint64
        Elements of F_r.
    length : int
        At least n.

    Returns
    -------
    ndarray of shape (..., length, 4), uint64
    """
    missing = length - vector.shape[-2]
    if missing < 0:
        raise ParameterError("length", f"must be at least {vector.shape[-2]}", length)
    return np.concatenate([vector, zeros(*vector.shape[:-2], missing)], axis=-2)


def absolute_values(vector: FieldArray) -> tuple[FieldArray, NDArray[np.bool_]]:
    """Return ``min(v, r - v)`` for every element v, and where ``r - v`` was the smaller.

    Examples
    --------
    >>> magnitudes, is_negative = absolute_values(from_signed_int64([-3, 4]))
    >>> to_ints(magnitudes), is_negative.tolist()
    ([3, 4], [True, False])
    """
    # Elements within 2**192 of r/2 may count as either; both forms are right.
    is_negative = vector[..., 3] > (_MODULUS_WORDS[3] >> np.uint64(1))
    magnitudes = vector.copy()
    magnitudes[is_negative] = _subtract_words(_MODULUS_WORDS, vector[is_negative])[0]
    return magnitudes, is_negative


def signed_bit_length(vector: FieldArray) -> int:
    """Return the least b for which every element is an integer of absolute value below ``2**b``.

    A quantized update is short in this sense although its negatives, ``r - |v|``, have 255 bits; short
    scalars make a multi-scalar multiplication many times cheaper.

    Examples
    --------
    >>> signed_bit_length(from_signed_int64([-256, 255]))
    9
    """
    if vector.size == 0:
        return 0
    magnitude, _ = absolute_values(vector)
    # The highest bit set anywhere is all that is asked for, and an OR of all elements has it.
    words = np.bitwise_or.reduce(magnitude.reshape(-1, _WORDS), axis=0)
    return int.from_bytes(words.astype("<u8").tobytes(), "little").bit_length()


def _at_least_modulus(vector: FieldArray) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = vector[..., 3] > _MODULUS_WORDS[3]
    tied = vector[..., 3] == _MODULUS_WORDS[3]
    if tied.any():  # one element in 2**63 of the canonical ones
        result[tied] = ~_subtract_words(vector[tied], _MODULUS_WORDS)[1]
    return result


def _add_words(left: FieldArray, right: FieldArray) -> tuple[FieldArray, NDArray[np.bool_]]:
    total = left + right
    carry = total[..., 0] < left[..., 0]
    for word in range(1, _WORDS):
        # A word overflows by itself, or by the carry into a word of ones: never by both.
        out_of_sum = total[..., word] < left[..., word]
        total[..., word] += carry
        carry = out_of_sum | (carry & (total[..., word] == 0))
    return total, carry


def _subtract_words(left: FieldArray, right: FieldArray) -> tuple[FieldArray, NDArray[np.bool_]]:
    difference = left - right
    borrow = left[..., 0] < right[..., 0]
    for word in range(1, _WORDS):
        # As with carries: a word borrows by itself, or by a borrow from a word of zeros.
        out_of_difference = left[..., word] < right[..., word]
        borrow_further = out_of_difference | (borrow & (difference[..., word] == 0))
        difference[..., word] -= borrow
        borrow = borrow_further
    return difference, borrow


def _first_outside(values: Sequence[object]) -> object:
    """Return the first value that is no integer in range, for the message."""
    for value in values:
        if not isinstance(value, int) or not 0 <= value < 2 ** (8 * ELEMENT_BYTES):
            return value
    return values
