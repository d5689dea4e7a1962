"""Centered clipping: no vector pulls the aggregate by more than a radius.

Karimireddy, He and Jaggi [1]_: from a start ``v``, usually the previous round's aggregate, take
``v <- v + (1/n) sum_i (x_i - v) min(1, tau / |x_i - v|)`` one or a few times. Their guarantee over many
rounds needs momentum at the clients, which is no part of an aggregation rule. Where no start or radius is
given, the coordinate median and the median distance to it are taken: ours, so that the rule needs no scale of
the task.

References
----------
.. [1] S. P. Karimireddy, L. He, M. Jaggi, "Learning from history for Byzantine robust optimization", ICML
   2021.
"""

from __future__ import annotations

import numpy as np

from flower_coded.aggregation.blocks import combine_rows, distances_to
from flower_coded.aggregation.coordinates import coordinate_median
from flower_coded.aggregation.norm_clipping import shortening
from flower_coded.aggregation.vectors import finite_part, takes_vectors
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import ParameterError

__all__ = ["centered_clipping", "check_clipping"]


@takes_vectors
def centered_clipping(
    vectors: Array,
    *,
    start: Array | None = None,
    radius: float | None = None,
    num_iterations: int = 1,
    num_threads: int = 1,
) -> Array:
    """Move from the start by the mean of the clipped differences.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch. Rows that are not finite are left out.
    start : array of shape (d,), float64, or None
        ``v``; the coordinate median if absent.
    radius : float or None
        ``tau > 0``; the median distance of the vectors to the start if absent.
    num_iterations : int
        At least 1.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If a parameter is outside its range, or the arrays do not fit.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> centered_clipping(np.array([[3.0, 4.0], [0.0, 1.0]]), start=np.zeros(2), radius=1.0)
    array([0.3, 0.9])
    """
    check_clipping(radius, num_iterations)
    present, _ = finite_part(vectors)
    point = coordinate_median(present, num_threads=num_threads) if start is None else start
    if tuple(point.shape) != tuple(present.shape[1:]):
        raise ParameterError("start", f"must have shape {tuple(present.shape[1:])}", tuple(point.shape))
    for _ in range(num_iterations):
        distances = distances_to(present, point, num_threads=num_threads)
        radius = float(np.median(distances)) if radius is None else radius
        # An infinite distance gets no weight; a zero one is not clipped.
        shares = shortening(distances, radius) / len(distances)
        clipped = combine_rows(shares, present, num_threads=num_threads)
        point = point * (1.0 - float(shares.sum())) + clipped
    return point


def check_clipping(radius: float | None, num_iterations: int) -> None:
    """Check the rule's parameters.

    Raises
    ------
    ParameterError
        If one is outside its range.
    """
    if radius is not None and not 0 < radius < np.inf:
        raise ParameterError("radius", "must be a positive number", radius)
    if num_iterations < 1:
        raise ParameterError("num_iterations", "must be at least 1", num_iterations, hint="1, or 3")
