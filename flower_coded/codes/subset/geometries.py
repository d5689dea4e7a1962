"""Hyperplanes of finite geometries: detection codes for many users with few models.

Any ``k`` points of a ``k``-dimensional geometry lie in a hyperplane, so hyperplanes as zero sets give a
detection code for ``k`` attackers. In other words, the rows are the supports of the words of a linear code of
dimension ``k + 1`` over GF(q), one of each line: among the words that vanish on ``k`` given places there is
one that is not zero. The row weight is the code's minimum distance.

* ``PG(k, q)``: ``(q^(k+1) - 1) / (q - 1)`` points and as many hyperplanes; a share of about ``1 - 1/q``
  of the
  users trains each model. ``k = 2`` gives the projective planes, ``q = 2`` the Fano plane for two attackers.
* ``AG(k, q)``: the points off one hyperplane, and the other hyperplanes. ``AG(3, 2)`` is the Steiner system
  S(3, 4, 8): 14 models, each on half of the users, against three attackers.

For other numbers of users points are repeated or left out, see :mod:`flower_coded.codes.subset.stretching`.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.finite_fields import field_tables

__all__ = ["affine_matrix", "num_hyperplanes", "projective_matrix"]


def num_hyperplanes(dimension: int, order: int) -> int:
    """Count the hyperplanes, and the points, of ``PG(k, q)``.

    Parameters
    ----------
    dimension, order : int
        ``k`` and ``q``.

    Returns
    -------
    int
        ``(q^(k+1) - 1) / (q - 1)``.

    Examples
    --------
    >>> num_hyperplanes(2, 2), num_hyperplanes(2, 4)
    (7, 21)
    """
    return int((order ** (dimension + 1) - 1) // (order - 1))


def projective_matrix(dimension: int, order: int) -> NDArray[np.bool_]:
    """Build the code whose rows leave out the hyperplanes of ``PG(k, q)``.

    Parameters
    ----------
    dimension : int
        ``k >= 1``, the attackers it detects.
    order : int
        ``q``, a prime power.

    Returns
    -------
    ndarray of shape (m, m), bool
        ``m`` as :func:`num_hyperplanes` counts; entry 1 where the point is off the hyperplane.

    Examples
    --------
    >>> projective_matrix(2, 2).sum(axis=1).tolist()
    [4, 4, 4, 4, 4, 4, 4]
    """
    points = _points(dimension, order)
    plus, times = field_tables(order)
    total = np.zeros((len(points), len(points)), dtype=np.int64)
    for coordinate in points.T:  # the incidence is a scalar product over GF(q), which NumPy does not know
        total = plus[total, times[np.ix_(coordinate, coordinate)]]
    return np.asarray(total != 0)


def affine_matrix(dimension: int, order: int) -> NDArray[np.bool_]:
    """Build the code whose rows leave out the hyperplanes of ``AG(k, q)``.

    Parameters
    ----------
    dimension, order : int
        ``k >= 1`` and ``q``, a prime power.

    Returns
    -------
    ndarray of shape (m, q^k), bool
        ``m`` is one less than :func:`num_hyperplanes` counts.

    Examples
    --------
    >>> affine_matrix(3, 2).shape
    (14, 8)
    """
    matrix = projective_matrix(dimension, order)
    # Leave out the hyperplane of row 0 and its points: what remains are the points at a finite place.
    return np.ascontiguousarray(matrix[1:, matrix[0]])


def _points(dimension: int, order: int) -> NDArray[np.int64]:
    """List the points of ``PG(k, q)``: vectors whose first non-zero coordinate is 1."""
    vectors = np.array(list(product(range(order), repeat=dimension + 1)), dtype=np.int64)[1:]
    first = vectors[np.arange(len(vectors)), (vectors != 0).argmax(axis=1)]
    return np.asarray(vectors[first == 1])
