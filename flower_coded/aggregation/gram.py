"""Covariances of a few long vectors by their inner products: what the spectral rules are made of.

The covariance of ``n`` vectors of ``d`` entries is a ``d x d`` matrix of rank below ``n``. All that spectral
rules ask of it, its largest eigenvalue and the vectors' components along that eigenvector, is known from the
``n x n`` matrix of inner products of the centered vectors: one pass over the vectors, then small
matrices. The products are taken around a point near most vectors, for around the origin the common part would
take the digits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import centered_products
from flower_coded.aggregation.coordinates import coordinate_median
from flower_coded.aggregation.vectors import finite_rows, take_rows
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["central_products", "check_minority", "principal_component"]

FAR = 1e6  # times the usual distance: a center that far away has cost twelve of sixteen digits


def central_products(
    vectors: Array, *, num_threads: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Inner products of the rows around a point near most of them.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    (ndarray of shape (m,), ndarray of shape (m, m))
        Numbers of the rows that are finite and can be squared, and their inner products, float64.

    Raises
    ------
    ParameterError
        If the array is not two-dimensional.
    DecodingError
        If no row is finite, or all are too long to be squared.

    Examples
    --------
    >>> rows, products = central_products(np.array([[1.0, 2.0], [np.nan, 0.0], [1.0, 4.0]]))
    >>> rows, products
    (array([0, 2]), array([[ 1., -1.],
           [-1.,  1.]]))
    """
    finite = np.flatnonzero(finite_rows(vectors))
    present = take_rows(vectors, finite) if len(finite) < len(vectors) else vectors
    # The median of three is nearly free, and near all honest rows unless two of the three lie.
    products = centered_products(
        present, coordinate_median(present[:3], num_threads=num_threads), num_threads=num_threads
    )
    if not _is_near(products):
        center = coordinate_median(present, num_threads=num_threads)
        products = centered_products(present, center, num_threads=num_threads)
    usable = np.isfinite(np.diag(products))
    if not usable.any():
        raise DecodingError("all vectors are too long to be squared", received=0, needed=1)
    return finite[usable], products[np.ix_(usable, usable)]


def check_minority(num_byzantine: int, count: int) -> None:
    """Check ``0 <= 2 f < n``.

    Raises
    ------
    ParameterError
        If it does not hold.
    """
    if not 0 <= 2 * num_byzantine < count:
        raise ParameterError("num_byzantine", f"must satisfy 0 <= 2 f < {count}", num_byzantine)


def principal_component(
    products: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Largest eigenvalue of the weighted covariance, and squared components along its eigenvector.

    Parameters
    ----------
    products : ndarray of shape (n, n)
        Inner products around any point.
    weights : ndarray of shape (n,)
        Not negative, not all zero.

    Returns
    -------
    (float, ndarray of shape (n,))
        Of ``sum_i c_i (x_i - mu)(x_i - mu)^T / sum_i c_i``, with ``mu`` the weighted mean.

    Examples
    --------
    >>> value, components = principal_component(np.diag([1.0, 0.0]) * 4.0, np.ones(2))
    >>> round(value, 12), components.round(12)
    (1.0, array([1., 1.]))
    """
    shares = weights / weights.sum()
    toward = products @ shares
    centered = products - toward[:, None] - toward[None, :] + shares @ toward
    roots = np.sqrt(shares)
    values, vectors = np.linalg.eigh(roots[:, None] * centered * roots[None, :])
    largest = max(float(values[-1]), 0.0)
    if largest == 0:
        return 0.0, np.zeros(len(weights))
    # With A = diag(roots) X and A A^T u = lambda u, the eigenvector is v = A^T u / sqrt(lambda), and
    # <x_i, v> = (X A^T u)_i / sqrt(lambda).
    components = centered @ (roots * vectors[:, -1])
    return largest, np.asarray(components**2 / largest)


def _is_near(products: NDArray[np.float64]) -> bool:
    lengths = np.diag(products)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = lengths[:, None] + lengths[None, :] - 2 * products
    squares = squares[np.isfinite(squares) & ~np.eye(len(squares), dtype=bool)]
    usual = float(np.median(squares)) if squares.size else 0.0
    return bool(np.nanmedian(lengths) <= FAR * max(usual, np.finfo(np.float64).tiny))
