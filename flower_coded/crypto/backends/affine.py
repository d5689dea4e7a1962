"""G1 of BLS12-381 in Python integers: affine additions in batches, Pippenger's sums of multiples.

A point is ``(x, y)``, or None for the neutral element. An affine addition needs one inversion modulo the
prime p; Montgomery's trick turns m inversions into one and 3 (m - 1) products, so additions that do not
depend on each other are done together: all buckets of all windows at once, then the windows' running sums
side by side. In integers this is three times faster than the same algorithm over a library's point objects.

References
----------
N. Pippenger, "On the evaluation of powers and monomials", SIAM J. Comput. 9 (1980).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

__all__ = [
    "BASE_PRIME",
    "AffinePoint",
    "add_many",
    "is_on_curve",
    "multi_scalar_multiply",
    "multiply",
    "negate",
]

AffinePoint: TypeAlias = tuple[int, int] | None

BASE_PRIME = int(
    "1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB",
    16,
)
"""p, over which the curve ``y**2 = x**3 + 4`` is defined (381 bits)."""

_CURVE_CONSTANT = 4


def is_on_curve(point: AffinePoint) -> bool:
    """Tell whether the coordinates are reduced and satisfy the curve's equation."""
    if point is None:
        return True
    x, y = point
    return max(x, y) < BASE_PRIME and (y * y - x * x * x - _CURVE_CONSTANT) % BASE_PRIME == 0


def negate(point: AffinePoint) -> AffinePoint:
    """Return the inverse of a point; y is never 0 in a group of odd order."""
    return None if point is None else (point[0], BASE_PRIME - point[1])


def add_many(left: Sequence[AffinePoint], right: Sequence[AffinePoint]) -> list[AffinePoint]:
    """Add two lists of points of equal length, one by one, with a single inversion."""
    slopes = _slopes(left, right)
    return [_add_with_slope(p, q, slope) for p, q, slope in zip(left, right, slopes, strict=True)]


def multiply(point: AffinePoint, scalar: int) -> AffinePoint:
    """Return ``scalar * point`` for any non-negative scalar, by doubling and adding in Jacobian coordinates.

    The point may have any order: this is what tests whether it lies in the subgroup.
    """
    if point is None:
        return None
    x, y, z = 0, 1, 0
    # Jacobian coordinates need no inversion per step; one at the end brings the point back.
    for bit in bin(scalar)[2:]:
        x, y, z = _double_jacobian(x, y, z)
        if bit == "1":
            x, y, z = _add_mixed(x, y, z, point)
    if z == 0:
        return None
    inverse = pow(z, -1, BASE_PRIME)
    square = inverse * inverse % BASE_PRIME
    return x * square % BASE_PRIME, y * square * inverse % BASE_PRIME


def multi_scalar_multiply(points: Sequence[AffinePoint], scalars: Sequence[int]) -> AffinePoint:
    """Return ``sum_j scalars[j] * points[j]`` with signed windows of about ``log2(n)`` bits.

    Parameters
    ----------
    points : sequence of (int, int) or None, length n
    scalars : sequence of int, length n
        Non-negative; the cost is proportional to the longest one's length.
    """
    # Short scalars use few windows: that is what makes weights of 16 bits cheap.
    bits = max((scalar.bit_length() for scalar in scalars), default=0)
    if bits == 0:
        return None
    window = _window_bits(len(points), bits)
    num_windows = bits // window + 1  # one bit more: a signed digit may carry out of the top
    buckets: list[dict[int, list[AffinePoint]]] = [{} for _ in range(num_windows)]
    for point, scalar in zip(points, scalars, strict=True):
        for filled, digit in zip(buckets, _signed_digits(scalar, window, num_windows), strict=True):
            if digit:
                filled.setdefault(abs(digit), []).append(point if digit > 0 else negate(point))
    _collapse([bucket for filled in buckets for bucket in filled.values()])
    return _join_windows(_weigh_buckets(buckets, 1 << (window - 1)), window)


def _window_bits(num_points: int, bits: int) -> int:
    def additions(window: int) -> int:
        return (bits // window + 1) * (num_points + (2 << (window - 1)))

    return min(range(2, 16), key=additions)


def _signed_digits(scalar: int, window: int, count: int) -> list[int]:
    full, half = 1 << window, 1 << (window - 1)
    digits, carry = [], 0
    for _ in range(count):
        # Digits in (-half, half]: a negative one takes the inverse point, and half as many buckets do.
        digit = (scalar & (full - 1)) + carry
        carry = digit > half
        digits.append(digit - full if carry else digit)
        scalar >>= window
    return digits


def _collapse(buckets: list[list[AffinePoint]]) -> None:
    """Replace the points of every bucket by their sum, in place, halving all buckets in every pass."""
    # All buckets of all windows share one inversion per pass.
    open_buckets = [bucket for bucket in buckets if len(bucket) > 1]
    while open_buckets:
        evens = [point for bucket in open_buckets for point in bucket[: len(bucket) // 2 * 2 : 2]]
        odds = [point for bucket in open_buckets for point in bucket[1::2]]
        sums = iter(add_many(evens, odds))
        for bucket in open_buckets:
            pairs, rest = divmod(len(bucket), 2)
            bucket[:] = [next(sums) for _ in range(pairs)] + bucket[len(bucket) - rest :]
        open_buckets = [bucket for bucket in open_buckets if len(bucket) > 1]


def _weigh_buckets(buckets: list[dict[int, list[AffinePoint]]], largest: int) -> list[AffinePoint]:
    """Return ``sum_d d * bucket[d]`` of every window, by running sums from the largest digit down."""
    running: list[AffinePoint] = [None] * len(buckets)
    total: list[AffinePoint] = [None] * len(buckets)
    # Added up once per digit, the bucket of digit d is counted d times.
    for digit in range(largest, 0, -1):
        running = add_many(running, [filled.get(digit, [None])[0] for filled in buckets])
        total = add_many(total, running)
    return total


def _join_windows(sums: list[AffinePoint], window: int) -> AffinePoint:
    result: AffinePoint = None
    for partial in reversed(sums):
        result = add_many([multiply(result, 1 << window)], [partial])[0]
    return result


def _slopes(left: Sequence[AffinePoint], right: Sequence[AffinePoint]) -> list[int | None]:
    """Return the slope of each pair's chord or tangent; None where the sum needs none."""
    fractions = [_slope_fraction(p, q) for p, q in zip(left, right, strict=True)]
    # Montgomery: the products before each divisor, one inversion of all of them, and back.
    products, product = [], 1
    for fraction in fractions:
        products.append(product)
        if fraction is not None:
            product = product * fraction[1] % BASE_PRIME
    inverse = pow(product, -1, BASE_PRIME)
    slopes: list[int | None] = [None] * len(fractions)
    for index in range(len(fractions) - 1, -1, -1):
        fraction = fractions[index]
        if fraction is not None:
            slopes[index] = fraction[0] * (inverse * products[index] % BASE_PRIME) % BASE_PRIME
            inverse = inverse * fraction[1] % BASE_PRIME
    return slopes


def _slope_fraction(p: AffinePoint, q: AffinePoint) -> tuple[int, int] | None:
    if p is None or q is None:
        return None
    if p[0] != q[0]:
        # Chord; below the tangent, 3 x**2 / (2 y), for a point taken twice.
        return q[1] - p[1], q[0] - p[0]
    return (3 * p[0] * p[0], 2 * p[1]) if p[1] == q[1] else None


def _add_with_slope(p: AffinePoint, q: AffinePoint, slope: int | None) -> AffinePoint:
    if p is None or q is None:
        return q if p is None else p
    if slope is None:
        return None
    x = (slope * slope - p[0] - q[0]) % BASE_PRIME
    return x, (slope * (p[0] - x) - p[1]) % BASE_PRIME


def _double_jacobian(x: int, y: int, z: int) -> tuple[int, int, int]:
    y_squared = y * y % BASE_PRIME
    product = 4 * x * y_squared % BASE_PRIME
    slope = 3 * x * x % BASE_PRIME
    new_x = (slope * slope - 2 * product) % BASE_PRIME
    new_y = (slope * (product - new_x) - 8 * y_squared * y_squared) % BASE_PRIME
    return new_x, new_y, 2 * y * z % BASE_PRIME


def _add_mixed(x: int, y: int, z: int, point: tuple[int, int]) -> tuple[int, int, int]:
    if z == 0:
        return point[0], point[1], 1
    # The affine point in terms of z: x2 z**2 and y2 z**3 are compared with x and y.
    z_squared = z * z % BASE_PRIME
    difference = (point[0] * z_squared - x) % BASE_PRIME
    rise = (point[1] * z * z_squared - y) % BASE_PRIME
    if difference == 0:
        return _double_jacobian(x, y, z) if rise == 0 else (0, 1, 0)
    squared = difference * difference % BASE_PRIME
    cubed, product = squared * difference % BASE_PRIME, x * squared % BASE_PRIME
    new_x = (rise * rise - cubed - 2 * product) % BASE_PRIME
    return new_x, (rise * (product - new_x) - y * cubed) % BASE_PRIME, z * difference % BASE_PRIME
