"""Reed–Solomon codes over F_r at any distinct points, with errors and erasures, for many words at once.

A word is the list of values of a polynomial of degree below k at n points; whole columns of words share the
points. One word is decoded by Gao's algorithm: interpolate, run Euclid's algorithm halfway, divide. Many
words whose errors lie in the same rows (a liar lies in its own row, whatever the column) need that only once:
a random linear combination of all columns, its weights drawn after the values were fixed, is a word of the
code whose wrong rows are all rows that are wrong anywhere, but for a probability of about ``1 / r`` per row;
the rest is one matrix product with an inverted Vandermonde matrix, over k rows that are right.

What lies past the radius: with more than ``(n - k) // 2`` wrong rows the code raises unless the liars agreed
on values that are, up to that many rows, another word of the code; that takes at least ``n - k + 1 - (n - k)
// 2`` of them acting together, and then no decoder could tell.

References
----------
S. Gao, "A new algorithm for decoding Reed–Solomon codes", in Communications, Information and Network Security
(Springer, 2003).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from flower_coded.crypto.field_products import gram_matrix, matmul_constant
from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    FieldArray,
    check_elements,
    random_elements,
    to_ints,
)
from flower_coded.crypto.polynomials import (
    Polynomial,
    divide,
    evaluate,
    interpolate,
    lagrange_basis,
    subtract_product,
    vanishing,
)
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["DecodedColumns", "DecodedWord", "ReedSolomonCode"]


@dataclass(frozen=True)
class DecodedWord:
    """One decoded word.

    Parameters
    ----------
    coefficients : tuple of int, length k
        The polynomial, constant first.
    wrong_rows : tuple of int
        Indices of points whose value arrived and was wrong, ascending.
    missing_rows : tuple of int
        Indices of points whose value did not arrive, ascending.
    """

    coefficients: tuple[int, ...]
    wrong_rows: tuple[int, ...]
    missing_rows: tuple[int, ...]


@dataclass(frozen=True)
class DecodedColumns:
    """Decoded words, one in each column.

    Parameters
    ----------
    coefficients : ndarray of shape (k, m, 4), uint64
        Row j holds the coefficients of ``x**j``.
    wrong_rows, missing_rows : tuple of int
        As in :class:`DecodedWord`, over all columns.
    """

    coefficients: FieldArray
    wrong_rows: tuple[int, ...]
    missing_rows: tuple[int, ...]


@dataclass(frozen=True)
class ReedSolomonCode:
    """Values of the polynomials of degree below k at n distinct points of F_r.

    Parameters
    ----------
    points : tuple of int, length n
        Distinct modulo r. Small ones of either sign make :meth:`encode` several times faster.
    dimension : int
        k, with ``1 <= k <= n``.

    Raises
    ------
    ParameterError
        If points coincide or the dimension is out of range.

    Examples
    --------
    >>> code = ReedSolomonCode(points=(1, 2, 3, 4, -1), dimension=3)
    >>> code.radius()
    1
    >>> word = code.decode_word([6, 17, 34, 58, 2])  # 1 + 2 x + 3 x**2, wrong at the fourth point
    >>> word.coefficients, word.wrong_rows
    ((1, 2, 3), (3,))
    """

    points: tuple[int, ...]
    dimension: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple(int(point) for point in self.points))
        if len({point % FIELD_MODULUS for point in self.points}) != len(self.points):
            raise ParameterError("points", "must be distinct modulo r", self.points)
        if not 1 <= self.dimension <= len(self.points):
            raise ParameterError("dimension", f"must be from 1 to {len(self.points)}", self.dimension)

    @property
    def length(self) -> int:
        """The number n of points."""
        return len(self.points)

    @cached_property
    def vandermonde(self) -> tuple[tuple[int, ...], ...]:
        """The (n, k) matrix of the points' powers, modulo r."""
        return tuple(
            tuple(pow(point, power, FIELD_MODULUS) for power in range(self.dimension))
            for point in self.points
        )

    def radius(self, num_received: int | None = None) -> int:
        """Return how many wrong rows among those received can be corrected, ``(received - k) // 2``."""
        received = self.length if num_received is None else num_received
        return max((received - self.dimension) // 2, 0)

    def encode(
        self, coefficients: FieldArray, *, num_threads: int = 1, device: str | None = None
    ) -> FieldArray:
        """Evaluate polynomials at all points.

        Parameters
        ----------
        coefficients : ndarray of shape (k, m, 4), uint64
            Row j holds the coefficients of ``x**j``.
        num_threads, device
            As in :func:`flower_coded.crypto.field_products.matmul_constant`.

        Returns
        -------
        ndarray of shape (n, m, 4), uint64
        """
        return matmul_constant(self.vandermonde, coefficients, num_threads=num_threads, device=device)

    def decode_word(self, values: Sequence[int], *, rows: Sequence[int] | None = None) -> DecodedWord:
        """Decode one word of Python integers.

        Parameters
        ----------
        values : sequence of int
            The values received, in ``[0, r)``.
        rows : sequence of int or None
            Index of the point of each value, ascending; None says that all arrived.

        Returns
        -------
        DecodedWord

        Raises
        ------
        DecodingError
            If fewer than k values arrived or more are wrong than :meth:`radius` allows.
        """
        received = self._check_rows(rows, len(values))
        points = [self.points[row] for row in received]
        reduced = [value % FIELD_MODULUS for value in values]
        polynomial = _gao(points, reduced, self.dimension)
        pairs = zip(points, reduced, strict=True)
        differs = [polynomial is None or evaluate(polynomial, x) != y for x, y in pairs]
        if polynomial is None or sum(differs) > self.radius(len(received)):
            raise DecodingError(
                f"more than {self.radius(len(received))} of {len(received)} values are wrong, and no more "
                f"can be corrected when a polynomial has {self.dimension} coefficients"
            )
        padded = polynomial + [0] * (self.dimension - len(polynomial))
        wrong = tuple(row for row, is_wrong in zip(received, differs, strict=True) if is_wrong)
        return DecodedWord(tuple(padded), wrong, self._missing(received))

    def decode(
        self,
        values: FieldArray,
        *,
        rows: Sequence[int] | None = None,
        num_threads: int = 1,
        random_bytes: Callable[[int], bytes | bytearray] = os.urandom,
    ) -> DecodedColumns:
        """Decode many words whose errors lie in a common set of rows.

        Parameters
        ----------
        values : ndarray of shape (received, m, 4), uint64
            Elements of F_r; column c is one word.
        rows : sequence of int or None
            Index of the point of each row of ``values``, ascending; None says that all arrived.
        num_threads : int
            Threads over blocks of columns.
        random_bytes : callable
            Source of the combination's weights. They must be unknown to whoever chose the values.

        Returns
        -------
        DecodedColumns

        Raises
        ------
        DecodingError
            If fewer than k rows arrived or more of them are wrong, in any column, than :meth:`radius` allows.

        Examples
        --------
        >>> from flower_coded.crypto.field_vectors import from_ints
        >>> code = ReedSolomonCode(points=(1, 2, 3, 4), dimension=2)
        >>> received = from_ints([[3, 1], [5, 1], [99, 1], [9, 1]])  # 1 + 2 x and 1
        >>> decoded = code.decode(received)
        >>> decoded.wrong_rows, decoded.coefficients[..., 0].tolist()
        ((2,), [[1, 1], [2, 0]])
        """
        if check_elements(values, name="values").ndim != 3:
            raise ParameterError("values", "must have shape (received, m, 4)", values.shape)
        received = self._check_rows(rows, len(values))
        # Drawn now, when the values are fixed: a row that is wrong in some column stays wrong but for 1/r.
        weights = random_elements(1, values.shape[1], random_bytes=random_bytes)
        combined = to_ints(gram_matrix(values, weights, num_threads=num_threads))
        located = self.decode_word(combined, rows=received)
        right = [index for index, row in enumerate(received) if row not in located.wrong_rows]
        # k right rows determine the polynomials; solving for all columns is then one product.
        chosen = right[: self.dimension]
        matrix = self.interpolation_matrix([received[index] for index in chosen])
        coefficients = matmul_constant(matrix, values[chosen], num_threads=num_threads)
        return DecodedColumns(coefficients, located.wrong_rows, located.missing_rows)

    def interpolation_matrix(self, rows: Sequence[int]) -> list[list[int]]:
        """Return the (k, k) inverse of k rows of :attr:`vandermonde`: values in, coefficients out.

        Parameters
        ----------
        rows : sequence of int, length k
            Distinct indices of points.
        """
        if len(set(rows)) != self.dimension:
            raise ParameterError("rows", f"must be {self.dimension} distinct indices", list(rows))
        basis = lagrange_basis([self.points[row] for row in rows])
        return [list(coefficients) for coefficients in zip(*basis, strict=True)]

    def _check_rows(self, rows: Sequence[int] | None, num_values: int) -> list[int]:
        received = list(range(self.length)) if rows is None else [int(row) for row in rows]
        if sorted(set(received)) != received or (
            received and not 0 <= received[0] <= received[-1] < self.length
        ):
            raise ParameterError("rows", f"must be ascending indices below {self.length}", received)
        if len(received) != num_values:
            raise ParameterError(
                "values", f"must hold one row for each of {len(received)} points", num_values
            )
        if num_values < self.dimension:
            raise DecodingError(
                "too few values of a polynomial arrived", received=num_values, needed=self.dimension
            )
        return received

    def _missing(self, received: list[int]) -> tuple[int, ...]:
        return tuple(sorted(set(range(self.length)) - set(received)))


def _gao(points: list[int], values: list[int], dimension: int) -> Polynomial | None:
    """Return the polynomial of degree below ``dimension`` near the values, or None if there is none."""
    interpolated = interpolate(points, values)
    if len(interpolated) <= dimension:
        return interpolated
    previous, current = vanishing(points), interpolated
    multiplier_before: Polynomial = []
    multiplier: Polynomial = [1]
    # Euclid, stopped where the remainder is short enough to be the message times the error locator.
    while 2 * (len(current) - 1) >= len(points) + dimension:
        quotient, remainder = divide(previous, current)
        previous, current = current, remainder
        multiplier_before, multiplier = multiplier, subtract_product(multiplier_before, quotient, multiplier)
    # Within the radius the locator divides; a remainder says that there were more errors than that.
    result, remainder = divide(current, multiplier)
    return None if remainder or len(result) > dimension else result
