"""SignGuard: leave out vectors of odd length or odd signs, clip the rest to the median length, average.

Xu et al. [1]_ (Algorithm 2) observe that many attacks leave length and direction plausible and change how
many entries are positive. A vector is trusted if (1) its length is between ``L`` and ``R`` times the median
length, and (2) the shares of its positive, zero and negative entries, over coordinates drawn at random, are
in the largest cluster that mean shift finds. The trusted vectors are clipped to the median length and
averaged.

Mean shift is scikit-learn's, with its estimate of the bandwidth (quantile 0.5); where that is zero, half of
the vectors have the same signs, and equal shares are a cluster.

References
----------
.. [1] J. Xu, S.-L. Huang, L. Song, T. Lan, "Byzantine-robust federated learning through collaborative
   malicious gradient filtering", ICDCS 2022.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import combine_rows, run_blocks
from flower_coded.aggregation.columns import draw_columns, take_columns
from flower_coded.aggregation.lazy_rows import block_reader
from flower_coded.aggregation.norm_clipping import row_norms, shortening
from flower_coded.aggregation.vectors import finite_rows, host_view, take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array, namespace_of, to_numpy
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["check_sign_guard", "sign_guard", "sign_shares"]


@takes_vectors
def sign_guard(
    vectors: Array,
    generator: np.random.Generator,
    *,
    shortest: float = 0.1,
    longest: float = 3.0,
    coordinate_share: float = 0.1,
    num_threads: int = 1,
) -> Array:
    """Filter by length and by signs, clip, average.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch. Rows that are not finite are left out.
    generator : numpy.random.Generator
        Draws the coordinates.
    shortest, longest : float
        ``L`` and ``R``, in median lengths.
    coordinate_share : float
        Of the coordinates whose signs are counted, in (0, 1].
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
        If no row is finite, or none passes both filters.

    Examples
    --------
    >>> vectors = np.array([[1.0, 2.0], [2.0, 1.0], [1.5, 1.5], [-1.0, -2.0], [90.0, 90.0]])
    >>> sign_guard(vectors, np.random.default_rng(0), coordinate_share=1.0).round(3)
    array([1.5, 1.5])
    """
    check_sign_guard(shortest, longest, coordinate_share)
    finite = finite_rows(vectors)
    present = take_rows(vectors, finite)
    norms = row_norms(present, num_threads=num_threads)
    median = float(np.median(norms))
    is_trusted = (norms >= shortest * median) & (norms <= longest * median) & np.isfinite(norms)
    number = max(int(coordinate_share * present.shape[1]), 1)
    columns = draw_columns(generator, int(present.shape[1]), number)
    is_trusted &= _largest_cluster(sign_shares(present, columns, num_threads=num_threads))
    if not is_trusted.any():
        raise DecodingError("no vector has both a usual length and usual signs", received=0, needed=1)
    factors = shortening(norms[is_trusted], median)
    return combine_rows(factors / len(factors), take_rows(present, is_trusted), num_threads=num_threads)


def sign_shares(vectors: Array, columns: NDArray[np.int64], *, num_threads: int = 1) -> NDArray[np.float64]:
    """Shares of positive, zero and negative entries of every row, in some columns.

    Returns
    -------
    ndarray of shape (n, 3), float64

    Examples
    --------
    >>> sign_shares(np.array([[1.0, 0.0, -2.0, 5.0]]), np.arange(4))
    array([[0.5 , 0.25, 0.25]])
    """
    chosen = take_columns(vectors, columns)
    values = host_view(chosen)
    if values is None:
        floats = chosen if namespace_of(chosen) is not np else chosen.applied(chosen.rows)
        above, below = to_numpy((floats > 0).sum(1)), to_numpy((floats < 0).sum(1))
    else:

        def start(width: int) -> Any:
            read = block_reader(values, width)

            def count(block: slice) -> NDArray[np.int64]:
                entries = read(block)
                return np.stack(
                    [np.count_nonzero(entries > 0, axis=1), np.count_nonzero(entries < 0, axis=1)]
                )

            return count

        above, below = sum(run_blocks(start, len(columns), 8 * len(values), num_threads))
    zero = len(columns) - above - below
    return np.stack([above, zero, below], axis=1) / len(columns)


def check_sign_guard(shortest: float, longest: float, coordinate_share: float) -> None:
    """Check the rule's parameters.

    Raises
    ------
    ParameterError
        If one is outside its range.
    """
    if not 0 <= shortest <= 1:
        raise ParameterError("shortest", "must lie between 0 and 1 median lengths", shortest, hint="0.1")
    if not 1 <= longest < np.inf:
        raise ParameterError("longest", "must be at least 1 median length", longest, hint="3.0")
    if not 0 < coordinate_share <= 1:
        raise ParameterError(
            "coordinate_share", "must be above 0 and at most 1", coordinate_share, hint="0.1"
        )


def _largest_cluster(features: NDArray[np.float64]) -> NDArray[np.bool_]:
    from sklearn.cluster import MeanShift, estimate_bandwidth  # takes a second to import

    bandwidth = estimate_bandwidth(features, quantile=0.5) if len(features) > 1 else 0.0
    if bandwidth > 0:
        labels = MeanShift(bandwidth=bandwidth, cluster_all=False).fit(features).labels_
    else:
        labels = np.unique(features, axis=0, return_inverse=True)[1].ravel()
    # Label -1 is noise. Equal sizes: the lower label.
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    return np.asarray(labels == sizes.argmax())
