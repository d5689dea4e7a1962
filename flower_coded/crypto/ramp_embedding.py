"""Where parts and masks stand in a shared polynomial: in its coefficients, or in its values.

A ramp sharing hides K parts ``w_1 .. w_K`` and T masks in a polynomial F of degree below K + T of which user
i holds ``F(alpha_i)``. What multi-Krum needs is ``sum_k ||w_k||**2``, read from products of shares. Two ways:

*Coefficients* [1]_. F carries the parts at ``x**0 .. x**(K-1)``, a second polynomial F~, with masks of its
own, carries them in reverse order, and ``<F, F~>`` has ``sum_k ||w_k||**2`` at ``x**(K-1)``. Each user needs
two shares of every update.

*Values* [2]_. F carries the parts as values at K further points ``beta_k``, none of them a user's:

    ``F(x) = sum_k w_k N_k(x) + Z(x) sum_t z_t x**(t-1)``,
    ``N_k(x) = prod_{j != k} (x - beta_j)``,    ``Z(x) = prod_j (x - beta_j)``.

With ``c_k = N_k(beta_k)`` this is ``F(beta_k) = c_k w_k``, so ``G = <F, F>`` has ``G(beta_k) = c_k**2
||w_k||**2``, and

    ``sum_k ||w_k||**2 = sum_k G(beta_k) / c_k**2``.

One share serves as both factors: half of the bytes and half of the masks to commit to. The degree of G is
that of ``<F, F~>``, so as many values decode it, with as many errors. T shares say nothing about the parts in
either form: the masks' coefficients at any T users' points are a Vandermonde matrix, here with its rows times
``Z(alpha_i)``, which is not zero. Integers are kept as they are, not divided by c_k modulo r: small points
give small weights, and products with small constants are several times cheaper.

What G says beside that one number is hidden in both forms by a random polynomial on which the number is zero
(:attr:`RampEmbedding.hiding`). Not hidden, the forms differ: coefficients say inner products of different
parts, values say the norm of each part.

References
----------
.. [1] T. Jahani-Nezhad, M. A. Maddah-Ali, G. Caire, "Byzantine-Resistant Secure Aggregation for Federated
   Learning Based on Coded Computing and Vector Commitment", 2023, equation (1) and step 5.
.. [2] M. Franklin, M. Yung, "Communication complexity of secure computation", STOC 1992: several secrets in
   one polynomial, as values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import TypeAlias

from flower_coded.crypto.field_products import matmul_constant
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray
from flower_coded.crypto.ramp_sharing import RampSharing, evaluation_points

__all__ = [
    "IntegerPolynomial",
    "RampEmbedding",
    "coefficient_embedding",
    "evaluation_matrix",
    "part_points",
    "value_embedding",
]

IntegerPolynomial: TypeAlias = tuple[int, ...]
"""Coefficients, constant first: integers of either sign, not reduced modulo r."""


@dataclass(frozen=True)
class RampEmbedding:
    """What each part and mask is multiplied by, and how parts and sums of squares are read.

    Parameters
    ----------
    parts : tuple of IntegerPolynomial, length K
        What multiplies each part in F.
    second_parts : tuple of IntegerPolynomial, length K, or None
        What multiplies each part in F~; None where F serves as both factors.
    masks : tuple of IntegerPolynomial, length T
        What multiplies each mask, in F and in F~.
    hiding : tuple of IntegerPolynomial, length 2 (K + T) - 2
        A basis of the polynomials of a product's degree on which ``product_reader`` is zero.
    part_readers : tuple of IntegerPolynomial, length K
        Of F's K + T coefficients, the linear functions modulo r that are the parts.
    product_reader : IntegerPolynomial
        Of a product's 2 (K + T) - 1 coefficients, the linear function modulo r that is ``sum_k ||w_k||**2``.

    Examples
    --------
    Values: at the points 0 and 4 stand c_k times the parts (5, 7), and a mask of 100 changes nothing there.

    >>> sharing = RampSharing(num_users=6, num_parts=2, num_colluders=1)
    >>> embedding = value_embedding(sharing)
    >>> at_part_points = evaluation_matrix((*embedding.parts, *embedding.masks), part_points(sharing))
    >>> [5 * n + 7 * m + 100 * z for n, m, z in at_part_points]
    [-20, 28]
    """

    parts: tuple[IntegerPolynomial, ...]
    second_parts: tuple[IntegerPolynomial, ...] | None
    masks: tuple[IntegerPolynomial, ...]
    hiding: tuple[IntegerPolynomial, ...]
    part_readers: tuple[IntegerPolynomial, ...]
    product_reader: IntegerPolynomial

    def read_parts(self, coefficients: FieldArray) -> FieldArray:
        """Read the parts, (K, m, 4), from the coefficients of F, (K + T, m, 4)."""
        return matmul_constant(self.part_readers, coefficients)

    def read_products(self, coefficients: FieldArray) -> FieldArray:
        """Read sums of squares, (m, 4), from the coefficients of products, (2 (K + T) - 1, m, 4)."""
        sums: FieldArray = matmul_constant([self.product_reader], coefficients)[0]
        return sums


def coefficient_embedding(sharing: RampSharing) -> RampEmbedding:
    """Return the paper's embedding; for K = 1 its two forms are one.

    Examples
    --------
    >>> embedding = coefficient_embedding(RampSharing(num_users=6, num_parts=2, num_colluders=1))
    >>> embedding.parts, embedding.second_parts, embedding.masks
    (((1,), (0, 1)), ((0, 1), (1,)), ((0, 0, 1),))
    """
    k, needed = sharing.num_parts, sharing.num_shares_needed
    parts = tuple(_monomial(exponent) for exponent in range(k))
    size = sharing.num_product_coefficients
    return RampEmbedding(
        parts,
        parts[::-1] if k > 1 else None,
        tuple(_monomial(exponent) for exponent in sharing.mask_exponents),
        tuple(_monomial(exponent) for exponent in range(size) if exponent != k - 1),
        tuple(_unit_vector(exponent, needed) for exponent in range(k)),
        _unit_vector(k - 1, size),
    )


def value_embedding(sharing: RampSharing) -> RampEmbedding:
    """Return the embedding in which one share serves as both factors.

    Its basis of hiding polynomials: those that are zero at every ``beta_k``, ``Z(x) x**e``, and K - 1 that
    trade one part's value for another's, ``c_k N_k - c_1 N_1``, which ``product_reader`` maps to 1 - 1.

    Examples
    --------
    >>> embedding = value_embedding(RampSharing(num_users=6, num_parts=2, num_colluders=1))
    >>> embedding.parts, embedding.second_parts, embedding.masks
    (((-4, 1), (0, 1)), None, ((0, -4, 1),))
    """
    betas, size = part_points(sharing), sharing.num_product_coefficients
    others = [[beta for beta in betas if beta != own] for own in betas]
    numerators, vanishing = [_from_roots(roots) for roots in others], _from_roots(betas)
    scales = [prod(own - beta for beta in roots) for own, roots in zip(betas, others, strict=True)]
    inverses = [pow(scale, -1, FIELD_MODULUS) for scale in scales]  # small and not zero: betas are distinct
    trades = [
        tuple(scale * x - scales[0] * y for x, y in zip(numerator, numerators[0], strict=True))
        for scale, numerator in zip(scales[1:], numerators[1:], strict=True)
    ]
    return RampEmbedding(
        tuple(numerators),
        None,
        tuple((0,) * shift + vanishing for shift in range(sharing.num_colluders)),
        (*trades, *((0,) * shift + vanishing for shift in range(size - sharing.num_parts))),
        tuple(
            _value_reader([(i, b)], sharing.num_shares_needed) for i, b in zip(inverses, betas, strict=True)
        ),
        _value_reader([(i * i, b) for i, b in zip(inverses, betas, strict=True)], size),
    )


def part_points(sharing: RampSharing) -> tuple[int, ...]:
    """Return ``beta_1 .. beta_K``: 0, and the points behind the last user's.

    No user has one of these points; a share there would be a part in the clear.

    Examples
    --------
    >>> sharing = RampSharing(num_users=6, num_parts=2, num_colluders=1)
    >>> part_points(sharing), sharing.points
    ((0, 4), (1, -1, 2, -2, 3, -3))
    """
    n = sharing.num_users
    return (0, *evaluation_points(n + sharing.num_parts - 1)[n:])


def evaluation_matrix(polynomials: Sequence[IntegerPolynomial], points: Sequence[int]) -> list[list[int]]:
    """Return every polynomial's value at every point, not reduced: one row per point.

    Examples
    --------
    >>> evaluation_matrix([(1,), (0, 0, 1), (-4, 1)], [1, -2])
    [[1, 1, -3], [1, 4, -6]]
    """
    return [
        # Horner's rule: powers of a point, multiplied out, would be as long as the result in every term.
        [
            reduce(lambda value, entry: value * point + entry, reversed(polynomial))
            for polynomial in polynomials
        ]
        for point in points
    ]


def _value_reader(weighted_points: Sequence[tuple[int, int]], size: int) -> IntegerPolynomial:
    """Return, as a function of ``size`` coefficients, the sum of weighted values at some points, modulo r."""
    return tuple(
        sum(weight * point**exponent for weight, point in weighted_points) % FIELD_MODULUS
        for exponent in range(size)
    )


def _monomial(exponent: int) -> IntegerPolynomial:
    return (0,) * exponent + (1,)


def _unit_vector(position: int, size: int) -> IntegerPolynomial:
    return tuple(int(index == position) for index in range(size))


def _from_roots(roots: Sequence[int]) -> IntegerPolynomial:
    """Multiply out ``prod (x - root)`` over the integers."""
    result = [1]
    for root in roots:
        shifted, scaled = [0, *result], [*result, 0]
        result = [high - root * low for high, low in zip(shifted, scaled, strict=True)]
    return tuple(result)
