"""Multi-scalar multiplication over fixed points, with tables of their multiples, compiled by numba.

For every point G_j the multiples ``2**(c w) G_j`` of all windows w are computed once [1]_. A scalar's signed
digits ``d_w`` then choose from the table, ``sum_j s_j G_j = sum_(j, w) d_(j,w) (2**(c w) G_j)``, and all
windows share one set of buckets [2]_: no doublings, and one weighted sum of buckets instead of one per
window. Buckets are summed by affine additions, six multiplications each, whose inversions are shared by all
pairs of a pass. Digits are taken of the absolute value modulo r, so that short scalars of either sign fill
few windows.

This is several times faster than the general algorithm of the arkworks backend and needs about 100 bytes for
each point and window, 9 MB for 4096 points. The compiler takes some 20 s the first time on a machine; numba
keeps the result.

References
----------
.. [1] E. F. Brickell, D. M. Gordon, K. S. McCurley, D. B. Wilson, "Fast exponentiation with precomputation",
   EUROCRYPT 1992.
.. [2] N. Pippenger, "On the evaluation of powers and monomials", SIAM J. Comput. 9 (1980).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from flower_coded.crypto.backends.affine import BASE_PRIME
from flower_coded.crypto.backends.compiled_field import (
    ONE,
    RADIX_SQUARED,
    ZERO,
    add,
    invert,
    is_zero,
    load,
    multiply,
    store,
    subtract,
)
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, absolute_values, check_elements
from flower_coded.errors import ParameterError

__all__ = ["FixedBaseTable", "fixed_base_table"]

_COORDINATE_BYTES, _WORDS = 48, 6
_SCALAR_BITS = FIELD_MODULUS.bit_length()
_RADIX_INVERSE = pow(1 << 384, -1, BASE_PRIME)
_FEWEST_BITS, _FEWEST_DEFAULT_BITS = 2, 4
_MOST_BITS = 14  # a digit of 15 bits with its carry is 2**15, one more than an int16 holds

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FixedBaseTable:
    """Multiples of points, and sums over them.

    Parameters
    ----------
    x, y : ndarray of shape (num_windows, n, 6), uint64
        Affine coordinates of ``2**(window * w) * G_j`` in Montgomery form.
    window : int
        Bits of a digit, from 2 to 14.
    """

    x: NDArray[np.uint64]
    y: NDArray[np.uint64]
    window: int

    @classmethod
    def of(cls, affine_bytes: bytes, *, window: int | None = None) -> FixedBaseTable:
        """Compute the table of points of 96 bytes each, x then y, big-endian; none is the neutral one.

        Raises
        ------
        ParameterError
            If there are no points, or the window is below 2 or above 14: digits are kept in 16 bits with a
            carry.
        """
        coordinates = np.frombuffer(affine_bytes, dtype=np.uint8).reshape(-1, 2, _COORDINATE_BYTES)
        words = np.ascontiguousarray(coordinates[:, :, ::-1]).view("<u8").astype(np.uint64)
        count = len(words)
        if not count:
            raise ParameterError("affine_bytes", "must hold at least one point", 0)
        if window is None:
            # A bit more saves one window of n additions in about 20, and doubles the buckets, each of which
            # costs as much as 5 additions and a place in the cache: measured, 11 for 2**12 points, 14 from
            # 2**15 on.
            window = min(max(count.bit_length() - 2, _FEWEST_DEFAULT_BITS), _MOST_BITS)
        if not _FEWEST_BITS <= window <= _MOST_BITS:
            raise ParameterError("window", f"must be from {_FEWEST_BITS} to {_MOST_BITS} bits", window)
        num_windows = _SCALAR_BITS // window + 1
        x = np.empty((num_windows, count, _WORDS), dtype=np.uint64)
        y = np.empty_like(x)
        x[0], y[0] = words[:, 0], words[:, 1]
        _tell_of_compilation()
        _enter_montgomery(x[0], y[0])
        # Row w is row w - 1 doubled so many times as a digit has bits.
        for row in range(1, num_windows):
            x[row], y[row] = x[row - 1], y[row - 1]
            _double_repeatedly(x[row], y[row], window)
        return cls(x, y, window)

    def multiply(self, scalars: FieldArray) -> bytes:
        """Return the sum of the first n points, each times its scalar, in 96 bytes.

        Parameters
        ----------
        scalars : ndarray of shape (n, 4), uint64
            Canonical elements of F_r, at most as many as points.

        Raises
        ------
        ParameterError
            If there are more scalars than points, or one is not canonical.
        """
        check_elements(scalars, name="scalars")
        if scalars.ndim != 2 or len(scalars) > self.x.shape[1]:
            # The compiled loops read without looking at bounds.
            raise ParameterError("scalars", f"must have shape (at most {self.x.shape[1]}, 4)", scalars.shape)
        magnitudes, is_negative = absolute_values(scalars)
        digits = _signed_digits(magnitudes, self.window, len(self.x))
        digits[:, is_negative] *= -1
        x, y, z = _sum_multiples(self.x, self.y, digits, 1 << (self.window - 1))
        return _affine_bytes(_to_int(x), _to_int(y), _to_int(z))


@lru_cache(maxsize=4)
def fixed_base_table(affine_bytes: bytes) -> FixedBaseTable:
    """Return :meth:`FixedBaseTable.of`, kept for the next one who asks for the same points."""
    return FixedBaseTable.of(affine_bytes)


def _signed_digits(magnitudes: FieldArray, window: int, num_windows: int) -> NDArray[np.int16]:
    """Cut integers below ``2**255`` into digits of absolute value at most ``2**(window-1)``: (windows, n)."""
    digits = np.empty((num_windows, len(magnitudes)), dtype=np.int16)
    carry = np.zeros(len(magnitudes), dtype=np.int16)
    for row in range(num_windows):
        word, shift = divmod(row * window, 64)
        value = (
            magnitudes[:, word] >> np.uint64(shift)
            if word < 4
            else np.zeros(len(magnitudes), dtype=np.uint64)
        )
        if shift + window > 64 and word < 3:  # the digit straddles two words
            value |= magnitudes[:, word + 1] << np.uint64(64 - shift)
        digit = (value & np.uint64((1 << window) - 1)).astype(np.int16) + carry
        # A digit above half the base becomes negative and lends one to the next: half as many buckets.
        carry = (digit > 1 << (window - 1)).astype(np.int16)
        digits[row] = digit - (carry << window)
    return digits


def _affine_bytes(x: int, y: int, z: int) -> bytes:
    """Convert Jacobian coordinates in Montgomery form."""
    if z == 0:
        return bytes(2 * _COORDINATE_BYTES)
    x, y, z = (value * _RADIX_INVERSE % BASE_PRIME for value in (x, y, z))
    inverse = pow(z, -1, BASE_PRIME)
    square = inverse * inverse % BASE_PRIME
    affine = (x * square % BASE_PRIME, y * square * inverse % BASE_PRIME)
    return b"".join(value.to_bytes(_COORDINATE_BYTES, "big") for value in affine)


def _to_int(words: Any) -> int:
    return sum(int(word) << (64 * index) for index, word in enumerate(words))


def _tell_of_compilation() -> None:
    """Say why the first use on a machine takes long; numba keeps what it has made for the next."""
    kept = Path(_double_repeatedly.stats.cache_path or "")
    if not _double_repeatedly.signatures and not any(kept.glob("fixed_base._double_repeatedly-*.nbi")):
        _LOG.warning("compiling the arithmetic of the curve, some 20 s, the first time on this machine")


@njit(nogil=True, cache=True)
def _enter_montgomery(x: Any, y: Any) -> None:
    for row in range(len(x)):
        store(x, row, multiply(load(x, row), RADIX_SQUARED))
        store(y, row, multiply(load(y, row), RADIX_SQUARED))


@njit(nogil=True, cache=True)
def _double_repeatedly(x: Any, y: Any, times: Any) -> None:
    """Double all points in place; no point has order 2, so that no y is 0."""
    products = np.empty_like(x)
    for _ in range(times):
        # Montgomery's trick: the products of all divisors before each, one inversion of them all, and back.
        product = ONE
        for row in range(len(x)):
            store(products, row, product)
            slope_divisor = load(y, row)
            product = multiply(product, add(slope_divisor, slope_divisor))
        inverse = invert(product)
        for row in range(len(x) - 1, -1, -1):
            old_x, old_y = load(x, row), load(y, row)
            reciprocal = multiply(inverse, load(products, row))
            inverse = multiply(inverse, add(old_y, old_y))
            square = multiply(old_x, old_x)
            # slope = 3 x**2 / (2 y), for the curve's equation has no term in x
            slope = multiply(add(add(square, square), square), reciprocal)
            new_x = subtract(subtract(multiply(slope, slope), old_x), old_x)
            store(x, row, new_x)
            store(y, row, subtract(multiply(slope, subtract(old_x, new_x)), old_y))


@njit(nogil=True, cache=True)
def _sum_multiples(table_x: Any, table_y: Any, digits: Any, num_buckets: Any) -> Any:
    """Return ``sum_(w, j) digits[w, j] * table[w, j]`` in Jacobian coordinates."""
    counts = np.zeros(num_buckets, dtype=np.int64)  # of the buckets 1, 2, ..
    for row in range(len(digits)):
        for digit in digits[row]:
            if digit:
                counts[abs(digit) - 1] += 1
    # Counting sort: every bucket gets a stretch of one array as long as the points that fall into it.
    starts = np.cumsum(counts) - counts
    x = np.empty((counts.sum(), 6), dtype=np.uint64)
    y = np.empty((counts.sum(), 6), dtype=np.uint64)
    free = starts.copy()
    for row in range(len(digits)):
        for column in range(len(digits[row])):
            digit = digits[row, column]
            if digit:
                place = free[abs(digit) - 1]
                free[abs(digit) - 1] += 1
                store(x, place, load(table_x[row], column))
                chosen = load(table_y[row], column)
                store(y, place, subtract(ZERO, chosen) if digit < 0 else chosen)
    while _halve_buckets(x, y, starts, counts):
        pass
    return _weigh_buckets(x, y, starts, counts)


@njit(nogil=True, cache=True)
def _weigh_buckets(x: Any, y: Any, starts: Any, counts: Any) -> Any:
    """Return ``sum_d d * bucket[d]``, d from 1, of buckets that hold one point or none."""
    # From the top down, "running" holds the sum of the buckets so far; added up once per bucket it counts
    # bucket d exactly d times.
    running = (ONE, ONE, ZERO)
    total = (ONE, ONE, ZERO)
    for bucket in range(len(counts) - 1, -1, -1):
        if counts[bucket]:
            running = _add_mixed(running, load(x, starts[bucket]), load(y, starts[bucket]))
        total = _add_jacobian(total, running)
    return total


@njit(nogil=True, cache=True)
def _halve_buckets(x: Any, y: Any, starts: Any, counts: Any) -> Any:
    """Add neighbors within every bucket, in place, with one inversion; tell whether there were any.

    Pairs are taken from a bucket's end, and their sums written from its end on, where everything was read
    already.
    """
    num_pairs = 0
    for count in counts:
        num_pairs += count // 2
    if num_pairs == 0:
        return False
    divisors = np.empty((num_pairs, 6), dtype=np.uint64)
    products = np.empty((num_pairs, 6), dtype=np.uint64)
    # First pass: the divisors of all slopes, x2 - x1, and their running products.
    product, pair = ONE, 0
    for bucket in range(len(counts)):
        for second in range(starts[bucket] + counts[bucket] - 1, starts[bucket], -2):
            divisor = subtract(load(x, second), load(x, second - 1))
            if is_zero(divisor):  # a point twice, or a point and its inverse
                total = add(load(y, second), load(y, second - 1))
                divisor = ONE if is_zero(total) else total
            store(divisors, pair, divisor)
            store(products, pair, product)
            product = multiply(product, divisor)
            pair += 1
    # Second pass: the additions. A pair that cancels leaves nothing, so a bucket can shrink by two.
    inverses = _invert_all(divisors, products, product)
    pair = 0
    for bucket in range(len(counts)):
        end = free = starts[bucket] + counts[bucket]
        for second in range(end - 1, starts[bucket], -2):
            if _add_affine(x, y, second, load(inverses, pair), free - 1):
                free -= 1
            pair += 1
        if counts[bucket] % 2:
            free -= 1
            store(x, free, load(x, starts[bucket]))
            store(y, free, load(y, starts[bucket]))
        starts[bucket], counts[bucket] = free, end - free
    return True


@njit(nogil=True, cache=True)
def _invert_all(elements: Any, products: Any, product: Any) -> Any:
    """Return the inverses of elements, given the product of those before each and of all; in place."""
    inverse = invert(product)
    for row in range(len(elements) - 1, -1, -1):
        store(products, row, multiply(inverse, load(products, row)))
        inverse = multiply(inverse, load(elements, row))
    return products


@njit(nogil=True, cache=True)
def _add_affine(x: Any, y: Any, second: Any, reciprocal: Any, target: Any) -> Any:
    """Write the sum of a point and the one before to ``target``; False if that is the neutral element."""
    x1, x2, y1, y2 = load(x, second - 1), load(x, second), load(y, second - 1), load(y, second)
    rise = subtract(y2, y1)
    if is_zero(subtract(x2, x1)):
        if not is_zero(rise):
            return False  # a point and its inverse
        square = multiply(x1, x1)
        rise = add(add(square, square), square)
    slope = multiply(rise, reciprocal)
    x3 = subtract(subtract(multiply(slope, slope), x1), x2)
    store(x, target, x3)
    store(y, target, subtract(multiply(slope, subtract(x1, x3)), y1))
    return True


@njit(nogil=True, cache=True)
def _double_jacobian(point: Any) -> Any:
    x, y, z = point
    y_squared = multiply(y, y)
    product = multiply(x, y_squared)
    product = add(add(product, product), add(product, product))
    square = multiply(x, x)
    slope = add(add(square, square), square)
    new_x = subtract(multiply(slope, slope), add(product, product))
    fourth = multiply(y_squared, y_squared)
    fourth = add(add(fourth, fourth), add(fourth, fourth))
    new_z = multiply(y, z)
    return new_x, subtract(multiply(slope, subtract(product, new_x)), add(fourth, fourth)), add(new_z, new_z)


@njit(nogil=True, cache=True)
def _add_mixed(point: Any, x2: Any, y2: Any) -> Any:
    x1, y1, z1 = point
    if is_zero(z1):
        return x2, y2, ONE
    z_squared = multiply(z1, z1)
    difference = subtract(multiply(x2, z_squared), x1)
    rise = subtract(multiply(multiply(y2, z1), z_squared), y1)
    if is_zero(difference):
        return _double_jacobian(point) if is_zero(rise) else (ONE, ONE, ZERO)
    return _finish_addition(x1, y1, difference, rise, multiply(z1, difference))


@njit(nogil=True, cache=True)
def _add_jacobian(left: Any, right: Any) -> Any:
    x1, y1, z1 = left
    x2, y2, z2 = right
    if is_zero(z1):
        return right
    if is_zero(z2):
        return left
    z1_squared, z2_squared = multiply(z1, z1), multiply(z2, z2)
    u1, s1 = multiply(x1, z2_squared), multiply(multiply(y1, z2), z2_squared)
    difference = subtract(multiply(x2, z1_squared), u1)
    rise = subtract(multiply(multiply(y2, z1), z1_squared), s1)
    if is_zero(difference):
        return _double_jacobian(left) if is_zero(rise) else (ONE, ONE, ZERO)
    return _finish_addition(u1, s1, difference, rise, multiply(multiply(z1, z2), difference))


@njit(nogil=True, cache=True)
def _finish_addition(u: Any, s: Any, difference: Any, rise: Any, z: Any) -> Any:
    square = multiply(difference, difference)
    cube, product = multiply(square, difference), multiply(u, square)
    x = subtract(subtract(multiply(rise, rise), cube), add(product, product))
    return x, subtract(multiply(rise, subtract(product, x)), multiply(s, cube)), z
