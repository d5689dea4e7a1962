"""Clipping by length: a vector longer than a bound is shortened to it, whatever direction it has.

With a fixed bound this is the oldest answer to model replacement; Sun et al. [1]_ average the clipped updates
and add Gaussian noise ("weak differential privacy": far too little noise for a privacy guarantee, enough to
disturb a backdoor). Adaptive robust clipping (ARC) [2]_ needs no bound: it clips the
``k = floor(2 (f / n) (n - f))`` longest vectors to the length of the next one, so that honest vectors alone
decide, and keeps the robustness of the rule behind it. Where no bound is given, ours is the median length.

A vector too long to be squared (1e200) becomes zero; one that is not finite stays none, so that the rule
behind counts it as a fault.

References
----------
.. [1] Z. Sun, P. Kairouz, A. T. Suresh, H. B. McMahan, "Can you really backdoor federated learning?", 2019,
   arXiv:1911.07963, Section 4.
.. [2] Y. Allouah, R. Guerraoui, N. Gupta, A. Jellouli, G. Rizk, J. Stephan, "Adaptive gradient clipping for
   robust federated learning", ICLR 2025, Algorithm 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import combine_rows, distances_to, stored
from flower_coded.aggregation.lazy_rows import RowMixtures, mixtures
from flower_coded.aggregation.vectors import finite_rows, take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array, constant_like
from flower_coded.errors import ParameterError

__all__ = [
    "adaptively_clipped",
    "add_noise",
    "check_noise",
    "check_norm",
    "clip_adaptively",
    "clip_norms",
    "clipped",
    "norm_clipped_mean",
    "row_norms",
    "shortening",
]


def row_norms(vectors: Array, *, num_threads: int = 1) -> NDArray[np.float64]:
    """Lengths of the rows: NaN for rows that are not finite, infinite for those too long to be squared.

    Examples
    --------
    >>> row_norms(np.array([[3.0, 4.0], [np.nan, 0.0]]))
    array([ 5., nan])
    """
    if vectors.ndim != 2 or not len(vectors):
        finite_rows(vectors)  # refuses
    norms = distances_to(vectors, None, num_threads=num_threads)
    is_odd = ~np.isfinite(norms)
    if is_odd.any():  # a row with infinity, or one too long: only these are looked at again
        norms[~finite_rows(vectors) & is_odd] = np.nan
    return norms


def shortening(norms: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """Factors ``min(1, C / |x_i|)`` that shorten vectors to a bound; a zero vector keeps the factor 1.

    Examples
    --------
    >>> shortening(np.array([0.0, 2.0, 8.0, np.inf]), 4.0)
    array([1. , 1. , 0.5, 0. ])
    """
    is_long = norms > bound
    return np.asarray(np.divide(bound, norms, out=np.ones_like(norms), where=is_long))


def clip_norms(vectors: Array, max_norm: float | None = None, *, num_threads: int = 1) -> Array:
    """Shorten every vector to at most ``max_norm``: ``x_i min(1, C / |x_i|)``.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    max_norm : float or None
        ``C``, positive; the median length if absent.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (n, d), float64
        Rows that are not finite are NaN.

    Raises
    ------
    ParameterError
        If the bound is not positive, or the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> clip_norms(np.array([[3.0, 4.0], [0.0, 0.5]]), 1.0)
    array([[0.6, 0.8],
           [0. , 0.5]])
    """
    return stored(clipped(vectors, max_norm, num_threads=num_threads), num_threads=num_threads)


@takes_vectors
def clipped(vectors: Array, max_norm: float | None = None, *, num_threads: int = 1) -> RowMixtures:
    """Give what :func:`clip_norms` gives, as one factor per vector."""
    check_norm(max_norm)
    norms = row_norms(vectors, num_threads=num_threads)
    bound = float(np.nanmedian(norms)) if max_norm is None else max_norm
    return _scaled(vectors, norms, bound)


def clip_adaptively(vectors: Array, num_byzantine: int, *, num_threads: int = 1) -> Array:
    """Shorten the ``k = floor(2 (f / n) (n - f))`` longest vectors to the length of the next one (ARC).

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_byzantine : int
        ``f``, ``0 <= 2 f < n``. Rows that are not finite are among the longest.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (n, d), float64
        Rows that are not finite are NaN.

    Raises
    ------
    ParameterError
        If ``2 f >= n``, or the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> clip_adaptively(np.array([[1.0, 2.0, 2.0], [0.0, 6.0, 0.0], [0.0, 0.0, 9.0]]), 1)
    array([[1., 2., 2.],
           [0., 6., 0.],
           [0., 0., 6.]])
    """
    prepared = adaptively_clipped(vectors, num_byzantine, num_threads=num_threads)
    return stored(prepared, num_threads=num_threads)


@takes_vectors
def adaptively_clipped(vectors: Array, num_byzantine: int, *, num_threads: int = 1) -> RowMixtures:
    """Give what :func:`clip_adaptively` gives, as one factor per vector."""
    count = len(vectors)
    if not 0 <= 2 * num_byzantine < count:
        raise ParameterError("num_byzantine", f"must satisfy 0 <= 2 f < {count}", num_byzantine)
    norms = row_norms(vectors, num_threads=num_threads)
    num_clipped = 2 * num_byzantine * (count - num_byzantine) // count
    # Sorting puts NaN last: rows that are no vectors are among the longest.
    bound = float(np.nan_to_num(np.sort(norms)[count - num_clipped - 1], nan=np.inf))
    return _scaled(vectors, norms, bound)


def norm_clipped_mean(
    vectors: Array,
    max_norm: float | None = None,
    noise_deviation: float = 0.0,
    generator: np.random.Generator | None = None,
    *,
    num_threads: int = 1,
) -> Array:
    """Average the clipped vectors, and add Gaussian noise to every entry.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch. Rows that are not finite are left out.
    max_norm : float or None
        ``M``, positive; the median length if absent.
    noise_deviation : float
        Standard deviation ``sigma`` of the noise, in the unit of the entries; 0 adds none.
    generator : numpy.random.Generator or None
        Draws the noise.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If a parameter is outside its range, or there is noise and no generator.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> norm_clipped_mean(np.array([[3.0, 4.0], [0.0, 0.5]]), 1.0)
    array([0.3 , 0.65])
    """
    prepared = clipped(vectors, max_norm, num_threads=num_threads)
    present = take_rows(prepared, prepared.finite)
    average = combine_rows(np.full(len(present), 1.0 / len(present)), present, num_threads=num_threads)
    return add_noise(average, noise_deviation, generator)


def add_noise(vector: Array, deviation: float, generator: np.random.Generator | None) -> Array:
    """Add Gaussian noise of a standard deviation; 0 adds none and needs no generator.

    Raises
    ------
    ParameterError
        If the deviation is negative or not finite, or the generator is missing.
    """
    check_noise("noise_deviation", deviation)
    if deviation == 0:
        return vector
    if generator is None:
        raise ParameterError(
            "generator", "must be given where noise is drawn", None, hint="numpy.random.default_rng(0)"
        )
    return vector + constant_like(generator.normal(0.0, deviation, vector.shape[0]), vector)


def check_noise(name: str, deviation: float) -> None:
    """Check a standard deviation.

    Raises
    ------
    ParameterError
        If it is negative or not finite.
    """
    if not 0 <= deviation < np.inf:
        raise ParameterError(name, "must be a number of at least 0", deviation, hint="0 for no noise")


def check_norm(max_norm: float | None) -> None:
    """Check a bound on lengths.

    Raises
    ------
    ParameterError
        If it is not positive and finite.
    """
    if max_norm is not None and not 0 < max_norm < np.inf:
        raise ParameterError("max_norm", "must be a positive number", max_norm)


def _scaled(vectors: Array, norms: NDArray[np.float64], bound: float) -> RowMixtures:
    # One too long to be squared gets the factor C / inf = 0, also where the bound is infinite itself.
    factors = np.where(np.isinf(norms), 0.0, shortening(norms, bound))
    factors[np.isnan(norms)] = np.nan
    return mixtures(factors, vectors)
