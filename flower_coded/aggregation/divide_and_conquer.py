"""Divide and conquer (DnC): leave out the vectors that stick out along the principal component.

Shejwalkar and Houmansadr [1]_ (Algorithm 2) repeat: draw ``b`` coordinates, center the vectors there, and
score each by its squared component along the top right singular vector; the ``n - c f`` of lowest score are
good. The answer is the mean of the vectors that are good every time. Coordinates are drawn because a singular
value decomposition of all of them is costly; here it is one of an ``n x n`` matrix
(:mod:`~flower_coded.aggregation.gram`).

References
----------
.. [1] V. Shejwalkar, A. Houmansadr, "Manipulating the Byzantine: optimizing model poisoning attacks and
   defenses for federated learning", NDSS 2021.
"""

from __future__ import annotations

import numpy as np

from flower_coded.aggregation.blocks import combine_rows
from flower_coded.aggregation.columns import draw_columns, take_columns
from flower_coded.aggregation.gram import central_products, check_minority, principal_component
from flower_coded.aggregation.vectors import finite_rows, take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["check_divide_and_conquer", "divide_and_conquer"]


@takes_vectors
def divide_and_conquer(
    vectors: Array,
    num_byzantine: int,
    generator: np.random.Generator,
    *,
    num_iterations: int = 1,
    num_coordinates: int = 10_000,
    filter_factor: float = 1.0,
    num_threads: int = 1,
) -> Array:
    """Average the vectors that are never among the ``c f`` of highest score.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_byzantine : int
        ``f``, ``0 <= 2 f < n``. Rows that are not finite, or too long to be squared, count as faults already
        left out.
    generator : numpy.random.Generator
        Draws the coordinates.
    num_iterations : int
        At least 1.
    num_coordinates : int
        ``b``; all if there are fewer.
    filter_factor : float
        ``c``, positive; ``ceil(c f)`` vectors are left out each time.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If a parameter is outside its range, or the array is not two-dimensional.
    DecodingError
        If no row is finite, or none is good every time.

    Examples
    --------
    >>> draw = np.random.default_rng(0)
    >>> divide_and_conquer(np.array([[0.0], [1.0], [2.0], [3.0], [100.0]]), 1, draw)
    array([1.5])
    """
    check_divide_and_conquer(num_iterations, num_coordinates, filter_factor)
    check_minority(num_byzantine, len(vectors))
    finite = finite_rows(vectors)
    num_left_out = int(np.ceil(filter_factor * num_byzantine))
    if num_left_out >= len(finite):
        raise ParameterError("filter_factor", f"must satisfy c f < n = {len(finite)}", filter_factor)
    is_good = finite.copy()
    for _ in range(num_iterations):
        columns = draw_columns(generator, int(vectors.shape[1]), num_coordinates)
        rows, products = central_products(take_columns(vectors, columns), num_threads=num_threads)
        _, scores = principal_component(products, np.ones(len(rows)))
        kept = max(min(len(finite) - num_left_out, len(rows)), 1)
        good = np.zeros_like(finite)
        # Stable, so that ties go to the lower row.
        good[rows[np.argsort(scores, kind="stable")[:kept]]] = True
        is_good &= good
    if not is_good.any():
        raise DecodingError("no vector is good in every iteration", received=0, needed=1)
    weights = np.full(int(is_good.sum()), 1.0 / is_good.sum())
    return combine_rows(weights, take_rows(vectors, is_good), num_threads=num_threads)


def check_divide_and_conquer(num_iterations: int, num_coordinates: int, filter_factor: float) -> None:
    """Check the rule's parameters.

    Raises
    ------
    ParameterError
        If one is outside its range.
    """
    if num_iterations < 1:
        raise ParameterError("num_iterations", "must be at least 1", num_iterations)
    if num_coordinates < 1:
        raise ParameterError("num_coordinates", "must be at least 1", num_coordinates, hint="10000")
    if not 0 < filter_factor < np.inf:
        raise ParameterError("filter_factor", "must be a positive number", filter_factor, hint="1.0")
