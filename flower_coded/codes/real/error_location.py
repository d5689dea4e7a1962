"""Where the errors are: syndromes, Hankel windows, locator polynomials and subspace location.

A word ``w = c + e`` of a linear code with check matrix ``F`` (``k x m``) has the syndrome ``F w = F e``.
Over the real or complex numbers, with rows of ``F`` that are consecutive powers, ``F[j, i] = c_i *
z_i**j``, the syndromes of errors at the set ``I`` are sums of ``|I|`` exponentials, and three classical
facts find ``I``:

* *Prony*: the polynomial with roots ``z_i, i in I`` annihilates every window of ``|I| + 1`` consecutive
  syndromes (:func:`locator_polynomials`); it finds up to ``k / 2`` errors in a single word.
* *Subspace* (MUSIC): with several words whose errors share ``I``, the left null space of the syndrome matrix
  annihilates exactly the columns of ``F`` at ``I`` (:func:`subspace_residuals`), as long as the errors are
  linearly independent; it finds up to ``k - 1`` of them and needs no structure of ``F``.
* *Spatial smoothing* joins the two: windows shorter than ``k`` (:func:`window_syndromes`) restore the
  rank that proportional errors lack. Errors of rank ``r`` are found up to ``|I| <= (k - 1 + r) / 2``.

Erasures are columns that are projected out: each costs one unit of ``k`` where an error costs two.

Everything here is batched over leading axes and works for real and complex arrays alike. Sources:
Akçakaya and Tarokh, "A frame construction and a universal distortion bound for sparse representations",
2008 (Reed-Solomon over the reals); Schmidt, "Multiple emitter location and signal parameter estimation",
1986 (MUSIC); Shan, Wax and Kailath, "On spatial smoothing for direction-of-arrival estimation of coherent
signals", 1985. Deciding how many errors there are, and in which order to drop them, is
:mod:`flower_coded.codes.real.staged_location`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.array_namespace import constant_like, namespace_of
from flower_coded.errors import ParameterError

__all__ = [
    "locator_polynomials",
    "locator_values",
    "null_space",
    "numerical_rank",
    "singular_space",
    "smallest",
    "subspace_residuals",
    "syndromes",
    "window_syndromes",
]

Numbers = NDArray[Any]
"""Float64 or complex128 array of NumPy, or a torch tensor where a function says that it is batched."""


def syndromes(check: Numbers, words: Numbers) -> Numbers:
    """Multiply words by a check matrix: zero, up to rounding, for a word without errors.

    Parameters
    ----------
    check : ndarray of shape (k, m), float64 or complex128
        Check matrix ``F``.
    words : ndarray of shape (..., m, p)
        ``p`` received words side by side, one row per worker; finite.

    Returns
    -------
    ndarray of shape (..., k, p)

    Raises
    ------
    ParameterError
        If the numbers of workers differ.

    Examples
    --------
    >>> syndromes(np.array([[1.0, 1.0, 1.0]]), np.array([[1.0], [2.0], [-3.0]]))
    array([[0.]])
    """
    if words.ndim < 2 or words.shape[-2] != check.shape[1]:
        raise ParameterError("words", f"must have shape (..., {check.shape[1]}, p)", words.shape)
    result: Numbers = constant_like(check, words) @ words
    return result


def window_syndromes(values: Numbers, window: int) -> Numbers:
    """Cut syndromes into all windows of consecutive rows: the columns of block-Hankel matrices.

    Parameters
    ----------
    values : ndarray of shape (..., k, p)
        Syndromes with respect to a check matrix of consecutive powers, or a basis of their column space.
    window : int
        Rows per window, ``1 <= window <= k``; ``k`` returns ``values`` itself.

    Returns
    -------
    ndarray of shape (..., window, (k - window + 1) * p)
        Column ``j * p + b`` holds rows ``j .. j + window - 1`` of word ``b``.

    Raises
    ------
    ParameterError
        If ``window`` is out of range.

    Examples
    --------
    >>> window_syndromes(np.array([[1.0], [2.0], [4.0], [8.0]]), 2)
    array([[1., 2., 4.],
           [2., 4., 8.]])
    """
    num_checks = values.shape[-2]
    if not 1 <= window <= num_checks:
        raise ParameterError("window", f"must be between 1 and {num_checks}", window)
    cuts = [values[..., j : j + window, :] for j in range(num_checks - window + 1)]
    joined: Numbers = namespace_of(values).concatenate(cuts, axis=-1)
    return joined


def numerical_rank(
    singular_values: NDArray[np.float64], noise_level: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Count the singular values that stand out from the noise.

    Parameters
    ----------
    singular_values : ndarray of shape (..., r), float64
        In descending order.
    noise_level : float or array broadcastable to the leading shape, optional
        Largest singular value that noise alone can reach, in the units of the data. The default is
        rounding of the largest: ``8 r`` units in the last place.

    Returns
    -------
    ndarray of the leading shape, int64

    Examples
    --------
    >>> numerical_rank(np.array([1e6, 1.0, 1e-11]))
    array(2)
    >>> numerical_rank(np.array([1e6, 1.0, 1e-11]), noise_level=10.0)
    array(1)
    """
    if noise_level is None:
        count = singular_values.shape[-1]
        # Rounding errors of all singular values are relative to the largest one.
        noise_level = 8 * count * np.finfo(np.float64).eps * singular_values.max(axis=-1, initial=0.0)
    return np.asarray(np.sum(singular_values > np.asarray(noise_level)[..., None], axis=-1), dtype=np.int64)


def locator_polynomials(values: Numbers, num_errors: int) -> Numbers:
    """Find the polynomial of degree ``num_errors`` that annihilates the syndromes of each group best.

    The unit-norm ``g`` that minimizes ``sum_j |sum_l g_l S[j + l]|**2`` over all windows of the group
    (Prony's method with total least squares, by one batched singular value decomposition).

    Parameters
    ----------
    values : ndarray of shape (..., k, p)
        Syndromes under a check matrix of consecutive powers. ``p = 1`` locates each word alone; ``p > 1``
        finds one polynomial for the ``p`` words of each group together.
    num_errors : int
        Degree ``v``, ``1 <= v <= k - 1``; beyond ``k / 2`` the polynomial is unique only for groups whose
        errors are linearly independent.

    Returns
    -------
    ndarray of shape (..., num_errors + 1)
        Coefficients, constant term first. Its roots among the nodes are the error locations.

    Examples
    --------
    One error at the node 2 gives the syndromes ``1, 2, 4, 8``:

    >>> g = locator_polynomials(np.array([[1.0], [2.0], [4.0], [8.0]]), 1)
    >>> locator_values(g, np.array([1.0, 2.0, 3.0])).round(3)
    array([0.2, 0. , 0.2])
    """
    windows = window_syndromes(values, num_errors + 1)
    # The last left vector is of unit norm; fixing one coefficient at 1 fails where that one is near zero.
    left, _ = singular_space(windows)
    polynomials: Numbers = left[..., :, num_errors].conj()
    return polynomials


def locator_values(polynomials: Numbers, nodes: Numbers) -> NDArray[np.float64]:
    """Evaluate ``|g(z_i)|**2`` at every node: the smallest values mark the errors.

    Parameters
    ----------
    polynomials : ndarray of shape (..., v + 1)
        Coefficients, constant term first.
    nodes : ndarray of shape (m,)
        ``z_i``.

    Returns
    -------
    ndarray of shape (..., m), float64
    """
    powers = nodes[None, :] ** np.arange(polynomials.shape[-1])[:, None]
    values: NDArray[np.float64] = abs(polynomials @ constant_like(powers, polynomials)) ** 2
    return values


def subspace_residuals(
    check: Numbers, snapshots: Numbers, num_errors: int, erased: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Sine of the angle between each column of the check matrix and the span of the syndromes.

    Zero exactly at the errors, for errors that are linearly independent, or after
    :func:`window_syndromes` has restored their rank. With windows of ``L < k`` rows the first ``L`` rows
    of ``check`` are compared, because a window of consecutive powers is the same column times a scalar.

    Parameters
    ----------
    check : ndarray of shape (k, m)
        Check matrix the syndromes were taken with; rows of consecutive powers if ``L < k``.
    snapshots : ndarray of shape (..., L, p), L <= k
        Syndromes, or windows of them. Their scale does not matter.
    num_errors : int
        Dimension of the signal space: the largest that many left singular vectors span it.
    erased : ndarray of shape (m,), bool, optional
        Columns to project out first. Their own residual is reported as infinity.

    Returns
    -------
    ndarray of shape (..., m), float64
        Between 0 and 1.

    Examples
    --------
    >>> check = np.vander([1.0, 2.0, 3.0, 4.0], 3, increasing=True).T
    >>> error = np.zeros((4, 1)); error[2] = 5.0
    >>> smallest(subspace_residuals(check, check @ error, num_errors=1), 1)
    array([False, False,  True, False])
    """
    columns = check[: snapshots.shape[-2]]
    gone = np.zeros(check.shape[1], dtype=bool) if erased is None else erased
    if gone.any():
        # An orthonormal projection keeps white noise white, so that residuals stay comparable.
        outside = null_space(columns[:, gone].conj().T).conj().T
        columns, snapshots = outside @ columns, constant_like(outside, snapshots) @ snapshots
    left, _ = singular_space(snapshots)
    noise_space = left[..., :, num_errors:].conj().swapaxes(-1, -2)
    # Erased columns are zero or rounding now; whatever they give is overwritten with infinity below.
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = columns / np.linalg.norm(columns, axis=0)
    parts = noise_space @ constant_like(columns, snapshots)
    distances: NDArray[np.float64] = (abs(parts) ** 2).sum(-2) ** 0.5
    distances[..., constant_like(gone, snapshots)] = np.inf
    return distances


def singular_space(matrices: Numbers) -> tuple[Numbers, NDArray[np.float64]]:
    """Complete left singular basis and singular values, by the driver that converges.

    The divide-and-conquer driver that NumPy uses gives up on some matrices whose singular values fall to
    the level of rounding, as syndromes of few errors do; those are done again by QR iteration.

    Parameters
    ----------
    matrices : ndarray of shape (..., r, c)

    Returns
    -------
    left : ndarray of shape (..., r, r)
    sizes : ndarray of shape (..., min(r, c)), float64
        Descending.

    Examples
    --------
    >>> singular_space(np.array([[3.0, 0.0], [0.0, 4.0]]))[1]
    array([4., 3.])
    """
    rows, columns = matrices.shape[-2:]
    namespace = namespace_of(matrices)
    if namespace is not np:
        # With fewer columns than rows, callers read the noise space off the left vectors past the rank.
        left, sizes, _ = namespace.linalg.svd(matrices, full_matrices=columns < rows)
        return left, sizes
    try:
        left, sizes, _ = np.linalg.svd(matrices, full_matrices=columns < rows)
    except np.linalg.LinAlgError:
        flat = matrices.reshape(-1, rows, columns)
        from scipy.linalg import svd as lapack_svd  # slow to load

        parts = [lapack_svd(one, full_matrices=columns < rows, lapack_driver="gesvd") for one in flat]
        left = np.stack([part[0] for part in parts]).reshape(*matrices.shape[:-2], rows, rows)
        sizes = np.stack([part[1] for part in parts]).reshape(*matrices.shape[:-2], -1)
    return left, sizes


def smallest(values: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Mark the ``count`` smallest values along the last axis.

    Parameters
    ----------
    values : ndarray of shape (..., m), float64
    count : int
        ``0 <= count <= m``.

    Returns
    -------
    ndarray of shape (..., m), bool

    Examples
    --------
    >>> smallest(np.array([0.3, 0.1, 0.2]), 2)
    array([False,  True,  True])
    """
    namespace = namespace_of(values)
    # Stable: ties fall to the lower worker on every platform.
    order = namespace.argsort(values, stable=True)
    # The inverse permutation marks exactly ``count`` values, ties or not.
    ranks = namespace.argsort(order)
    marks: NDArray[np.bool_] = ranks < count
    return marks


def null_space(matrix: Numbers) -> Numbers:
    """Orthonormal basis of the right null space of a matrix with full row rank.

    Parameters
    ----------
    matrix : ndarray of shape (r, c), r <= c
        Of rank ``r``.

    Returns
    -------
    ndarray of shape (c, c - r)

    Examples
    --------
    >>> np.abs(null_space(np.array([[0.0, 2.0]])))
    array([[1.],
           [0.]])
    """
    if matrix.shape[0] == 0:
        return np.eye(matrix.shape[1], dtype=matrix.dtype)
    # Rank is full by contract, so that QR does at a fraction of the cost of singular values.
    orthogonal, _ = np.linalg.qr(matrix.conj().T, mode="complete")
    return np.asarray(orthogonal[:, matrix.shape[0] :])
