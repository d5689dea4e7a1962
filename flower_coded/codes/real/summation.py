"""Matrix products whose rounding grows with the square root of the number of terms, as a theorem.

A product of ``n`` terms that is summed in one row may lose ``n`` units in the last place, and on a constant
column it does. Cut into pieces of 256 terms, whose partial sums are added pairwise, no order of summation
inside a piece can lose more than :func:`summation_depth` units, about 290 instead of 200,000, at no cost:
the pieces are what a cache holds anyway. Source: Higham, "Accuracy and Stability of Numerical Algorithms",
2nd ed., Sections 3.1 and 4.2 (blocked and pairwise summation).
"""

from __future__ import annotations

from math import log2

import numpy as np

from flower_coded.codes.array_namespace import Array, namespace_of

__all__ = ["PIECE", "chunked_combination", "chunked_product", "summation_depth"]

PIECE = 256
"""Terms of one piece."""


def chunked_product(matrix: Array, vector: Array) -> Array:
    """Multiply a matrix by a vector piece by piece.

    Parameters
    ----------
    matrix : ndarray or torch tensor of shape (p, n)
    vector : ndarray or torch tensor of shape (n,)

    Returns
    -------
    ndarray or torch tensor of shape (p,)
        Off by at most ``summation_depth(n) * u * |matrix| @ |vector|``, ``u`` the unit roundoff.

    Examples
    --------
    >>> chunked_product(np.ones((2, 1000)), np.ones(1000))
    array([1000., 1000.])
    """
    num_rows, num_terms = matrix.shape
    whole = num_terms // PIECE * PIECE
    if whole < 2 * PIECE:
        return matrix @ vector
    namespace = namespace_of(matrix)
    pieces = matrix[:, :whole].reshape(num_rows, -1, PIECE).swapaxes(0, 1)
    partial = namespace.matmul(pieces, vector[:whole].reshape(-1, PIECE, 1))[..., 0]
    # numpy adds pairwise along the fastest axis only: lay each row's partial sums side by side
    rows = namespace.asarray(partial.T).ravel().reshape(num_rows, -1)
    total = rows.sum(axis=1)
    return total if whole == num_terms else total + matrix[:, whole:] @ vector[whole:]


def chunked_combination(coefficients: Array, rows: Array) -> Array:
    """Combine rows, piece by piece: the product for matrices that grow by rows.

    Parameters
    ----------
    coefficients : ndarray or torch tensor of shape (n,)
    rows : ndarray or torch tensor of shape (n, p)

    Returns
    -------
    ndarray or torch tensor of shape (p,)
        As exact as :func:`chunked_product`.

    Examples
    --------
    >>> chunked_combination(np.ones(1000), np.ones((1000, 2)))
    array([1000., 1000.])
    """
    num_terms, width = rows.shape
    whole = num_terms // PIECE * PIECE
    if whole < 2 * PIECE:
        return coefficients @ rows
    namespace = namespace_of(rows)
    pieces = rows[:whole].reshape(-1, PIECE, width)
    partial = namespace.matmul(coefficients[:whole].reshape(-1, 1, PIECE), pieces)[:, 0]
    total = namespace.asarray(partial.T).ravel().reshape(width, -1).sum(axis=1)
    return total if whole == num_terms else total + coefficients[whole:] @ rows[whole:]


def summation_depth(num_terms: int) -> float:
    """Bound the rounding of :func:`chunked_product`, in units of roundoff per sum of absolute terms.

    Parameters
    ----------
    num_terms : int
        ``n``.

    Returns
    -------
    float

    Examples
    --------
    >>> summation_depth(100), summation_depth(200_000)
    (100.0, 292.0)
    """
    if num_terms < 2 * PIECE:
        return float(max(num_terms, 1))
    # numpy's pairwise sum adds runs of 128 with eight accumulators, then halves; one more for the rest
    return float(PIECE + 16 + 10 + np.ceil(log2(num_terms / PIECE)))
