"""Every non-negative integer as a sum of four squares, many at once.

With it an inequality between integers becomes an equation: ``a <= b`` says that ``b - a`` is a sum of four
squares, and whoever knows a can complete it to a public b without showing it [1]_. For many numbers of modest
size no number theory is needed beyond Lagrange's theorem [2]_. Take the largest square first, which leaves
about ``2 sqrt(n)``; take another, which leaves about ``2 sqrt(2) n**(1/4)``. What is left is small enough for
a table of sums of two squares. Where it is no such sum, the second root is lowered by one, and where no
second root will do (the rest is ``4**a (8 b + 7)``), the first.

References
----------
.. [1] F. Boudot, "Efficient proofs that a committed number lies in an interval", EUROCRYPT 2000; H. Lipmaa,
   "On Diophantine complexity and statistical zero-knowledge arguments", ASIACRYPT 2003.
.. [2] J.-L. Lagrange, "Démonstration d'un théorème d'arithmétique", 1770.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError

__all__ = ["LARGEST_SUM_OF_SQUARES", "four_squares"]

LARGEST_SUM_OF_SQUARES = (1 << 62) - 1
"""The largest number that :func:`four_squares` takes."""

_SMALLEST_TABLE = 1 << 12


def four_squares(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Write every value as a sum of four squares.

    Parameters
    ----------
    values : ndarray of shape (n,), int64
        From 0 to ``2**62 - 1``.

    Returns
    -------
    ndarray of shape (n, 4), int64
        Non-negative roots, which of a value's representations is taken
        depends on nothing but the value.

    Raises
    ------
    ParameterError
        If a value is negative or too large.

    Examples
    --------
    >>> four_squares(np.array([0, 7, 10**12 + 3]))
    array([[      0,       0,       0,       0],
           [      2,       1,       1,       1],
           [1000000,       1,       1,       1]])
    """
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype != np.int64:
        raise ParameterError("values", "must be a vector of int64", (values.shape, values.dtype))
    if len(values) and not 0 <= values.min() <= values.max() <= LARGEST_SUM_OF_SQUARES:
        raise ParameterError(
            "values", f"must be from 0 to {LARGEST_SUM_OF_SQUARES}", (values.min(), values.max())
        )
    # Four squares add up to a multiple of 8 only if all are even. Odd first roots would be tried in vain, the
    # more of them the more factors of 4 there are; so these factors are taken out, and roots doubled instead.
    values, scale = values.copy(), np.ones((len(values), 1), dtype=np.int64)
    while (is_even := (values % 8 == 0) & (values > 0)).any():
        values[is_even] //= 4
        scale[is_even] *= 2
    roots = np.zeros((len(values), 4), dtype=np.int64)
    first = integer_square_roots(values)
    open_rows = np.arange(len(values))
    while len(open_rows):
        three, is_found = _three_squares(values[open_rows] - first[open_rows] ** 2)
        done = open_rows[is_found]
        roots[done, 0], roots[done, 1:] = first[done], three[is_found]
        open_rows = open_rows[~is_found]
        first[open_rows] -= 1  # by Lagrange's theorem some first root leaves a sum of three squares
    return roots * scale


def integer_square_roots(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``floor(sqrt(v))`` of non-negative integers below ``2**62``, exactly.

    Examples
    --------
    >>> integer_square_roots(np.array([15, 16, 2**62 - 1]))
    array([         3,          4, 2147483647])
    """
    # A double holds 53 bits of a value of 62: the root it yields is right or off by one, either way.
    roots = np.sqrt(values.astype(np.float64)).astype(np.int64)
    roots -= roots * roots > values
    roots += (roots + 1) ** 2 <= values
    return roots


def _three_squares(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return roots of shape (n, 3), and for which values there are any."""
    smaller = _smaller_roots(_table_size(int(values.max())))
    roots = np.zeros((len(values), 3), dtype=np.int64)
    is_found = np.zeros(len(values), dtype=bool)
    second = integer_square_roots(values)
    open_rows = np.arange(len(values))
    while len(open_rows):
        rest = values[open_rows] - second[open_rows] ** 2
        # Past the table's end, or past root 0, there is no use in going on.
        is_left = (rest < len(smaller)) & (second[open_rows] >= 0)
        open_rows, rest = open_rows[is_left], rest[is_left]
        third = smaller[rest]
        hit = third >= 0
        done = open_rows[hit]
        fourth = integer_square_roots(rest[hit] - third[hit].astype(np.int64) ** 2)
        roots[done] = np.stack([second[done], fourth, third[hit]], axis=1)
        is_found[done] = True
        open_rows = open_rows[~hit]
        second[open_rows] -= 1
    return roots, is_found


def _table_size(largest: int) -> int:
    """Return how far sums of two squares are tabulated for three squares of numbers up to ``largest``."""
    # Lowering the second root s steps leaves less than 2 sqrt(largest) (s + 1). About a fifth of the numbers
    # of this size are sums of two squares, so that 64 steps fail for one value in a million, whose first root
    # is then lowered.
    wanted = 128 * int(largest**0.5 + 1)
    return 1 << max(wanted, _SMALLEST_TABLE).bit_length()


@lru_cache(maxsize=2)
def _smaller_roots(size: int) -> NDArray[np.int16]:
    """Return for every n below ``size`` some b <= a with ``a**2 + b**2 = n``, or -1."""
    table = np.full(size, -1, dtype=np.int16)
    squares = np.arange(int(size**0.5) + 1, dtype=np.int64) ** 2
    for root, square in enumerate(squares.tolist()):
        sums = square + squares[root:]
        table[sums[sums < size]] = root
    return table
