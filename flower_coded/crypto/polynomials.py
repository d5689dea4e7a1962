"""Polynomials in one variable over F_r as lists of Python integers, constant coefficient first.

For the short polynomials of decoders and openings, at most a few thousand coefficients. Results have no
leading zeros; the zero polynomial is the empty list. Long vectors of elements belong in
:mod:`flower_coded.crypto.field_vectors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from flower_coded.crypto.field_vectors import FIELD_MODULUS

__all__ = [
    "Polynomial",
    "divide",
    "evaluate",
    "interpolate",
    "lagrange_basis",
    "subtract",
    "subtract_product",
    "vanishing",
]

Polynomial: TypeAlias = list[int]


def evaluate(polynomial: Sequence[int], point: int) -> int:
    """Return the value at a point.

    Examples
    --------
    >>> evaluate([1, 2, 3], 10)
    321
    """
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * point + coefficient) % FIELD_MODULUS
    return value


def vanishing(points: Sequence[int]) -> Polynomial:
    """Return the monic polynomial whose roots are the points.

    Examples
    --------
    >>> vanishing([1]) == [FIELD_MODULUS - 1, 1]
    True
    """
    product = [1]
    for point in points:
        shifted, kept = [0, *product], [*product, 0]
        product = [(high - point * low) % FIELD_MODULUS for high, low in zip(shifted, kept, strict=True)]
    return product


def lagrange_basis(points: Sequence[int]) -> list[Polynomial]:
    """Return for every point the polynomial that is 1 there and 0 at the others, with all n coefficients.

    Parameters
    ----------
    points : sequence of int, length n
        Distinct modulo r.
    """
    product = vanishing(points)
    basis = []
    for point in points:
        quotient, carry = [0] * len(points), 0
        for power in range(len(points), 0, -1):  # Horner's division by x - point
            carry = (product[power] + carry * point) % FIELD_MODULUS
            quotient[power - 1] = carry
        # At its own point the quotient is the product of differences to the others, not 0.
        inverse = pow(evaluate(quotient, point), -1, FIELD_MODULUS)
        basis.append([coefficient * inverse % FIELD_MODULUS for coefficient in quotient])
    return basis


def interpolate(points: Sequence[int], values: Sequence[int]) -> Polynomial:
    """Return the polynomial of least degree with the given values at distinct points.

    Examples
    --------
    >>> interpolate([0, 1, 2], [1, 3, 5])
    [1, 2]
    """
    columns = zip(*lagrange_basis(points), strict=True)
    return _trim(
        [sum(c * v for c, v in zip(column, values, strict=True)) % FIELD_MODULUS for column in columns]
    )


def divide(dividend: Sequence[int], divisor: Sequence[int]) -> tuple[Polynomial, Polynomial]:
    """Return quotient and remainder; the divisor's leading coefficient is not 0.

    Examples
    --------
    >>> divide([2, 3, 1], [1, 1])
    ([2, 1], [])
    """
    rest, degree = list(dividend), len(divisor) - 1
    inverse = pow(divisor[-1], -1, FIELD_MODULUS)
    quotient = [0] * max(len(rest) - degree, 0)
    # Long division from the top: each step cancels the highest coefficient that is left.
    for power in range(len(quotient) - 1, -1, -1):
        factor = quotient[power] = rest[power + degree] * inverse % FIELD_MODULUS
        for offset, coefficient in enumerate(divisor):
            rest[power + offset] = (rest[power + offset] - factor * coefficient) % FIELD_MODULUS
    return _trim(quotient), _trim(rest[:degree])


def subtract(minuend: Sequence[int], subtrahend: Sequence[int]) -> Polynomial:
    """Return the difference.

    Examples
    --------
    >>> subtract([5, 6, 7], [1, 6, 7])
    [4]
    """
    return subtract_product(minuend, [1], subtrahend)


def subtract_product(minuend: Sequence[int], left: Sequence[int], right: Sequence[int]) -> Polynomial:
    """Return ``minuend - left * right``.

    Examples
    --------
    >>> subtract_product([3, 5, 2], [1, 1], [3, 2])
    []
    """
    result = [*minuend, *[0] * max(len(left) + len(right) - 1 - len(minuend), 0)]
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            result[i + j] = (result[i + j] - x * y) % FIELD_MODULUS
    return _trim(result)


def _trim(polynomial: Polynomial) -> Polynomial:
    # A polynomial has one form only, so that lengths tell degrees.
    while polynomial and polynomial[-1] == 0:
        polynomial.pop()
    return polynomial
