"""FLAME: cluster by direction, clip to the median length, average, and add noise.

Nguyen et al. [1]_ (Algorithm 1): (1) HDBSCAN on cosine distances, with clusters of more than half of the
vectors, so that there is one cluster and the rest are outliers; (2) the vectors of the cluster are clipped to
``S``, the median length of all; (3) their mean gets Gaussian noise of standard deviation ``lambda S`` per
entry.

The paper takes cosines of the local *models*; a rule sees updates, whose angles say more, since the weights
that all models share make every cosine of models nearly one. HDBSCAN is scikit-learn's.

References
----------
.. [1] T. D. Nguyen, P. Rieger, H. Chen, H. Yalame, H. Möllering, H. Fereidooni, S. Marchal, M. Miettinen, A.
   Mirhoseini, S. Zeitouni, F. Koushanfar, A.-R. Sadeghi, T. Schneider, "FLAME: taming backdoors in federated
   learning", USENIX Security 2022.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import centered_products, combine_rows
from flower_coded.aggregation.lazy_rows import stored_rows
from flower_coded.aggregation.norm_clipping import add_noise, shortening
from flower_coded.aggregation.vectors import finite_rows, take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array, constant_like
from flower_coded.errors import DecodingError

__all__ = ["cosines", "flame", "flame_cluster"]


@takes_vectors
def flame(
    vectors: Array,
    noise_factor: float = 0.001,
    generator: np.random.Generator | None = None,
    *,
    num_threads: int = 1,
) -> Array:
    """Cluster, clip, average, add noise.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch. Rows that are not finite, or too long to be squared, are left out.
    noise_factor : float
        ``lambda``, at least 0; 0 adds no noise.
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
        If the factor is negative, there is noise and no generator, or the array is not two-dimensional.
    DecodingError
        If no row is finite, or no more than half of the vectors are a cluster.

    Examples
    --------
    >>> vectors = np.array([[1.0, 2.0], [2.0, 1.0], [1.5, 1.5], [1.4, 1.6], [-9.0, 9.0]])
    >>> flame(vectors, noise_factor=0.0).round(3)
    array([1.3, 1.7])
    """
    finite = np.flatnonzero(finite_rows(vectors))
    present = take_rows(vectors, finite) if len(finite) < len(vectors) else vectors
    origin = constant_like(np.zeros(int(vectors.shape[1])), stored_rows(vectors))
    products = centered_products(present, origin, num_threads=num_threads)
    usable = np.flatnonzero(np.isfinite(np.diag(products)))
    if not len(usable):
        raise DecodingError("all vectors are too long to be squared", received=0, needed=1)
    norms = np.sqrt(np.diag(products)[usable])
    median = float(np.median(norms))
    cluster = flame_cluster(cosines(products[np.ix_(usable, usable)]), len(vectors))
    factors = shortening(norms[cluster], median)
    chosen = take_rows(vectors, finite[usable[cluster]])
    average = combine_rows(factors / len(factors), chosen, num_threads=num_threads)
    return add_noise(average, noise_factor * median, generator)


def flame_cluster(similarity: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Find the rows that HDBSCAN puts into the one cluster of more than half.

    Parameters
    ----------
    similarity : ndarray of shape (m, m)
        Cosines.
    count : int
        ``n >= m``, the vectors that were sent.

    Returns
    -------
    ndarray, int64
        Ascending.

    Raises
    ------
    DecodingError
        If there is no such cluster.

    Examples
    --------
    >>> flame_cluster(np.array([[1.0, 0.9, 0.8], [0.9, 1.0, 0.9], [0.8, 0.9, 1.0]]), 3)
    array([0, 1, 2])
    """
    from sklearn.cluster import HDBSCAN  # takes a second to import

    least = count // 2 + 1
    if len(similarity) < max(least, 2):
        if len(similarity) == count == 1:
            return np.zeros(1, dtype=np.int64)
        raise DecodingError("too few vectors for a majority", received=len(similarity), needed=least)
    if least < 2:
        return np.arange(len(similarity))
    distances = np.maximum(1.0 - similarity, 0.0)
    np.fill_diagonal(distances, 0.0)
    clustering = HDBSCAN(
        metric="precomputed", min_cluster_size=least, min_samples=1, allow_single_cluster=True, copy=True
    )
    members = np.flatnonzero(clustering.fit(distances).labels_ == 0)
    if not len(members):
        raise DecodingError("no majority of vectors is a cluster", received=0, needed=least)
    return np.asarray(members, dtype=np.int64)


def cosines(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines from inner products; a zero vector has none with anybody but itself.

    Examples
    --------
    >>> cosines(np.array([[4.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]))
    array([[1. , 0.5, 0. ],
           [0.5, 1. , 0. ],
           [0. , 0. , 1. ]])
    """
    norms = np.sqrt(np.diag(products))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    similar = np.clip(inverse[:, None] * products * inverse[None, :], -1.0, 1.0)
    np.fill_diagonal(similar, 1.0)
    return similar
