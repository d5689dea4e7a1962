"""FLTrust: vectors count as far as they point where the server's own update points.

Cao et al. [1]_ (Algorithm 2) let the server train on a small clean data set of its own, the root data. With
its update ``g_0``, a client's update ``g_i`` has the trust score ``TS_i = max(cos(g_i, g_0), 0)``, is scaled
to the length of ``g_0``, and the answer is ``sum_i TS_i (|g_0| / |g_i|) g_i / sum_i TS_i``. It stands any
number of liars, at the price of root data.

Where nobody is trusted the formula divides by zero, and the round is refused here; FLPoison averages all
vectors then.

References
----------
.. [1] X. Cao, M. Fang, J. Liu, N. Z. Gong, "FLTrust: Byzantine-robust federated learning via trust
   bootstrapping", NDSS 2021.
"""

from __future__ import annotations

import numpy as np

from flower_coded.aggregation.blocks import combine_rows, distances_to, products_with
from flower_coded.aggregation.lazy_rows import stored_rows
from flower_coded.aggregation.vectors import finite_rows, take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array, constant_like, to_numpy
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["trusted_mean"]


@takes_vectors
def trusted_mean(vectors: Array, root_update: Array, *, num_threads: int = 1) -> Array:
    """Average the vectors, scaled to the root update's length, by trust.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch. Rows that are not finite, or too long to be squared, get no trust.
    root_update : array of shape (d,)
        ``g_0``, the server's own.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If the shapes do not fit.
    DecodingError
        If no row is finite, the root update is zero or not finite, or nobody points where it does.

    Examples
    --------
    >>> vectors = np.array([[3.0, 4.0], [0.0, 0.5], [-7.0, 0.0]])
    >>> trusted_mean(vectors, np.array([0.0, 1.0])).round(4)
    array([0.2667, 0.9111])
    """
    finite = finite_rows(vectors)
    if tuple(root_update.shape) != tuple(vectors.shape[1:]):
        raise ParameterError(
            "root_update", f"must have shape {tuple(vectors.shape[1:])}", tuple(root_update.shape)
        )
    own = to_numpy(root_update).astype(np.float64)
    own_norm = float(np.linalg.norm(own))
    if not 0 < own_norm < np.inf:
        raise DecodingError("the root update has no direction", received=0, needed=1)
    present = take_rows(vectors, finite)
    point = constant_like(own, stored_rows(vectors))
    norms = distances_to(present, point * 0.0, num_threads=num_threads)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        similar = products_with(present, point, num_threads=num_threads) / (norms * own_norm)
    trust = np.where(np.isfinite(norms) & (norms > 0) & np.isfinite(similar), np.maximum(similar, 0.0), 0.0)
    if not trust.any():
        raise DecodingError("no vector points where the root update does", received=0, needed=1)
    is_trusted = trust > 0
    weights = trust[is_trusted] / trust.sum() * (own_norm / norms[is_trusted])
    return combine_rows(weights, take_rows(present, is_trusted), num_threads=num_threads)
