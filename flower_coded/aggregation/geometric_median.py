"""Geometric median: the point with the smallest sum of distances to the vectors.

A liar pulls with a force of one, however far out it stands, so that fewer than half of the vectors cannot
move the point without bound. It is found by Weiszfeld's iteration, a mean with weights ``1 / |z - x_i|``
again and again, which [1]_ brought to federated learning in a smoothed form. Where ``z`` comes within ``nu``
of a vector, its weight would pin the iteration down there, right or wrong: the step of Vardi and Zhang [2]_
then either proves the place optimal or leaves it. Two things are ours: the iteration starts at the coordinate
median instead of zero, and ``nu`` and the tolerance are shares of the median distance to that start, so that
scaling the vectors scales the answer.

References
----------
.. [1] K. Pillutla, S. M. Kakade, Z. Harchaoui, "Robust aggregation for federated learning", IEEE Transactions
   on Signal Processing 70, 2022.
.. [2] Y. Vardi, C.-H. Zhang, "The multivariate L1-median and associated data depth", PNAS 97, 2000.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import centered_products, combine_rows
from flower_coded.aggregation.coordinates import coordinate_median
from flower_coded.aggregation.vectors import finite_part, take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import ParameterError

__all__ = ["GeometricMedianResult", "check_weiszfeld", "geometric_median", "locate_geometric_median"]


class GeometricMedianResult(NamedTuple):
    """Where the iteration ended, and whether by itself.

    Attributes
    ----------
    point : array of shape (d,), float64
    num_iterations : int
        Weighted means taken.
    has_converged : bool
        Whether the last step was shorter than the tolerance.
    last_step : float
        Its length, as a share of the median distance to the start.
    """

    point: Array
    num_iterations: int
    has_converged: bool
    last_step: float


def geometric_median(
    vectors: Array,
    *,
    smoothing: float = 1e-6,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
    num_threads: int = 1,
) -> Array:
    """Give the point of :func:`locate_geometric_median`, converged or not.

    Examples
    --------
    >>> geometric_median(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]])).round(3)
    array([3.36 , 5.269])
    """
    return locate_geometric_median(
        vectors,
        smoothing=smoothing,
        tolerance=tolerance,
        max_iterations=max_iterations,
        num_threads=num_threads,
    ).point


@takes_vectors
def locate_geometric_median(
    vectors: Array,
    *,
    smoothing: float = 1e-6,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
    num_threads: int = 1,
) -> GeometricMedianResult:
    """Minimize the sum of distances, smoothed near the vectors themselves.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch. Rows that are not finite are left out; one whose distance overflows gets no weight.
    smoothing : float
        ``nu`` as a share of the median distance between the vectors and the start, in (0, 1). A vector
        within ``nu`` counts as the place where the iteration stands.
    tolerance : float
        Length of a step that ends the iteration, as a share of the same distance; positive.
    max_iterations : int
        Weighted means taken at most; at least 1.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    GeometricMedianResult

    Raises
    ------
    ParameterError
        If a parameter is outside its range, or the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> triangle = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75 ** 0.5]])
    >>> result = locate_geometric_median(triangle)
    >>> result.point.round(4), result.has_converged
    (array([0.5   , 0.2887]), True)
    """
    check_weiszfeld(smoothing, tolerance, max_iterations)
    present, _ = finite_part(vectors)
    start = coordinate_median(present, num_threads=num_threads)
    # Every point of the iteration is start + sum_i b_i (x_i - start): inner products of these differences,
    # one pass over the vectors, tell all distances, and the iteration runs on n numbers.
    products = centered_products(present, start, num_threads=num_threads)
    is_near = np.isfinite(np.diag(products))  # others are too far away to be squared, and get no weight
    near = take_rows(present, is_near)
    coefficients, num_iterations, step = _iterate(
        products[np.ix_(is_near, is_near)], len(present), smoothing, tolerance, max_iterations
    )
    moved = start * (1.0 - float(coefficients.sum())) + combine_rows(
        coefficients, near, num_threads=num_threads
    )
    return GeometricMedianResult(moved, num_iterations, step <= tolerance, step)


def check_weiszfeld(smoothing: float, tolerance: float, max_iterations: int) -> None:
    """Check the iteration's parameters.

    Raises
    ------
    ParameterError
        If one is outside its range.
    """
    if not 0 < smoothing < 1:
        raise ParameterError("smoothing", "must lie between 0 and 1", smoothing, hint="1e-6")
    if not 0 < tolerance < np.inf:
        raise ParameterError("tolerance", "must be a positive number", tolerance, hint="1e-6")
    if max_iterations < 1:
        raise ParameterError("max_iterations", "must be at least 1", max_iterations, hint="100")


def _iterate(
    products: NDArray[np.float64], count: int, smoothing: float, tolerance: float, max_iterations: int
) -> tuple[NDArray[np.float64], int, float]:
    """Give the coefficients of the last point, the number of steps, and the last one's length."""
    coefficients = np.zeros(len(products))
    distances = _lengths(products, coefficients)
    far = np.full(count - len(products), np.inf)
    scale = float(np.median(np.concatenate([distances, far])))
    if scale == 0 or np.isinf(scale):  # half of the vectors coincide: no point is better than theirs
        return coefficients, 0, 0.0
    step = np.inf
    for iteration in range(1, max_iterations + 1):
        moved = _step(products, coefficients, distances, smoothing * scale)
        change = moved - coefficients
        step = float(np.sqrt(max(float(change @ products @ change), 0.0))) / scale
        coefficients = moved
        if step <= tolerance:
            return coefficients, iteration, step
        distances = _lengths(products, coefficients)
    return coefficients, max_iterations, step


def _lengths(products: NDArray[np.float64], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances of all vectors from the point with these coefficients."""
    # Differences of coefficients first: |b|^2 + |x|^2 - 2 <b, x> would cancel where the point is at a vector.
    apart = coefficients[None, :] - np.eye(len(products))
    return np.asarray(np.sqrt(np.maximum(np.einsum("ij,ij->i", apart @ products, apart), 0.0)))


def _step(
    products: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    distances: NDArray[np.float64],
    nearest: float,
) -> NDArray[np.float64]:
    """Weighted mean of the vectors away from the point, held back by those that are at it."""
    is_here = distances <= nearest
    # A vector at the point itself would get an infinite weight; its pull is judged by `hold` below instead.
    weights = np.where(is_here, 0.0, 1.0 / np.maximum(distances, nearest))
    total = weights.sum()
    if total == 0:
        return coefficients
    target = np.asarray(weights / total)
    if not is_here.any():
        return target
    change = target - coefficients
    pull = total * float(np.sqrt(max(float(change @ products @ change), 0.0)))
    # Vardi and Zhang: the vectors here resist with a force of one each; where that is more than the others'
    # pull, the point is optimal and stays.
    hold = min(1.0, is_here.sum() / pull) if pull > 0 else 1.0
    return np.asarray(coefficients * hold + target * (1.0 - hold))
