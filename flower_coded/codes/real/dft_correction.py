"""Steps of a DFT decoder on syndromes in units of the precision noise: count, search, fit, test.

All functions are batched over leading axes (repetitions) and run on NumPy arrays and torch tensors. Syndromes
have been divided by the standard deviation of the noise, so that noise alone has unit variance
(``E|s|² = 1``) in every entry, and each decision is a quantile of a known distribution. The code that puts
them together is :class:`flower_coded.codes.real.dft_code.DFTCode`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from flower_coded.codes.array_namespace import Array, constant_like, namespace_of, to_numpy
from flower_coded.codes.real.analog_lagrange import draw_complex_gaussian
from flower_coded.codes.real.dft_localization import locate_by_subspace
from flower_coded.codes.real.error_location import null_space, numerical_rank, window_syndromes

__all__ = [
    "SubspaceSearch",
    "count_word_errors",
    "erasure_filter",
    "fit_errors",
    "hankel_noise_level",
    "residual_ratio",
]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

_EDGE_MARGIN = 3.0
"""How far above its expected edge the largest singular value of unit noise never gets."""


def count_word_errors(values: Array, significance: float) -> IntArray:
    """Count the errors of every word: the rank of its Hankel matrix of syndromes, above the noise.

    Parameters
    ----------
    values : array of shape (..., L, M), complex128
        Consecutive syndromes in units of the noise.
    significance : float
        Share of words without errors that are said to have one.

    Returns
    -------
    ndarray of shape (..., M), int64
        At most ``⌊L / 2⌋``.

    Examples
    --------
    >>> nodes = np.exp(2j * np.pi * np.array([1, 4]) / 9)
    >>> values = (nodes ** np.arange(6)[:, None]) @ np.array([[90.0, 0.0], [50.0, 80.0]])
    >>> count_word_errors(values, 1e-3)
    array([2, 1])
    """
    num_syndromes = values.shape[-2]
    if num_syndromes < 2:
        return np.zeros((*values.shape[:-2], values.shape[-1]), dtype=np.int64)
    window = num_syndromes // 2
    hankel = window_syndromes(values.swapaxes(-1, -2)[..., None], window)
    sizes = namespace_of(values).linalg.svd(hankel, full_matrices=False)[1]
    return numerical_rank(to_numpy(sizes), hankel_noise_level(num_syndromes, window, significance))


def erasure_filter(nodes: ComplexArray, erased: BoolArray, num_checks: int) -> ComplexArray:
    """Give the matrix that turns syndromes into consecutive syndromes free of the erased workers.

    Row ``j`` holds the coefficients of ``∏ (z - z_e)`` over the erased ``e``, from column ``j`` on, scaled to
    unit length: each filtered syndrome has the noise of an unfiltered one, though neighbors share some.

    Parameters
    ----------
    nodes : ndarray of shape (N,), complex128
        The workers' nodes.
    erased : ndarray of shape (N,), bool
        ``s`` of them.
    num_checks : int
        ``L``.

    Returns
    -------
    ndarray of shape (max(L - s, 0), L), complex128

    Examples
    --------
    >>> nodes = np.exp(2j * np.pi * np.arange(5) / 5)
    >>> matrix = erasure_filter(nodes, np.arange(5) == 2, 3)
    >>> bool(abs(matrix @ nodes[2] ** np.arange(3)).max() < 1e-12)
    True
    """
    coefficients = np.atleast_1d(np.poly(nodes[erased]))[::-1].astype(np.complex128)
    coefficients = coefficients / np.linalg.norm(coefficients)
    num_rows = max(num_checks - int(erased.sum()), 0)
    matrix = np.zeros((num_rows, num_checks), dtype=np.complex128)
    for row in range(num_rows):
        matrix[row, row : row + len(coefficients)] = coefficients
    return matrix


def fit_errors(check: ComplexArray, values: Array, located: Array) -> tuple[Array, Array]:
    """Fit errors at known places to syndromes, by least squares.

    Parameters
    ----------
    check : ndarray of shape (L, N), complex128
        Check matrix.
    values : array of shape (..., L, W), complex128
        Syndromes of ``W`` words.
    located : array of shape (..., N), bool
        Places of the errors of all ``W`` words; their number may differ over the leading axes.

    Returns
    -------
    errors : array of shape (..., N, W), complex128
        Zero elsewhere.
    left : array of shape (..., L, W), complex128
        What the errors do not explain.

    Examples
    --------
    >>> check = np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]) + 0j
    >>> errors, left = fit_errors(check, check[:, [1]] * 5, np.array([False, True, False]))
    >>> errors[:, 0].real.round(9)
    array([0., 5., 0.])
    """
    namespace = namespace_of(values)
    most = int(located.sum(-1).max())
    order = namespace.argsort(~located + 0, stable=True)[..., :most]
    # One row of the identity for each place, and rows of zeros where a repetition has fewer places.
    chosen = (
        constant_like(np.eye(located.shape[-1], dtype=np.complex128), values)[order] * located[..., None, :]
    )
    back = chosen.swapaxes(-1, -2)
    columns = constant_like(check, values) @ back
    if bool((located.sum(-1) == most).all()):
        orthogonal, triangle = namespace.linalg.qr(columns)
        fitted = namespace.linalg.solve(triangle, orthogonal.swapaxes(-1, -2).conj() @ values)
    else:
        fitted = namespace.linalg.pinv(columns) @ values
    return back @ fitted, values - columns @ fitted


def residual_ratio(left: Array, num_fitted: IntArray, significance: float) -> FloatArray:
    """Compare what correction leaves with what noise would leave.

    Parameters
    ----------
    left : array of shape (..., L, M), complex128
        Syndromes less the fitted errors, in units of the noise.
    num_fitted : ndarray of shape (..., M) or (..., 1), int
        Places fitted in each word, erased ones included.
    significance : float
        Share of correctly explained repetitions above 1.

    Returns
    -------
    ndarray of shape (...,), float64
        Energy over its chi-squared quantile; 0 where nothing is left to test.

    Examples
    --------
    >>> float(residual_ratio(np.full((4, 2), 30.0 + 0j), np.array([1, 1]), 1e-3).round())
    438.0
    """
    num_checks, num_words = left.shape[-2:]
    energy = to_numpy((abs(left) ** 2).sum((-2, -1)))
    repeats = num_words // num_fitted.shape[-1]
    freedom = 2 * repeats * np.maximum(num_checks - num_fitted, 0).sum(axis=-1)
    from scipy.special import chdtri  # slow to load, and only masters need it

    threshold = np.asarray(chdtri(np.maximum(freedom, 1), significance)) / 2
    return np.where(freedom > 0, energy / threshold, 0.0)


@dataclass(frozen=True, eq=False)
class SubspaceSearch:
    """Subspace localization for one code, with erasures and a restriction to some workers.

    Parameters
    ----------
    check : ndarray of shape (L, N), complex128
        Check matrix with rows of consecutive powers.
    nodes : ndarray of shape (N,), complex128
        The workers' nodes.
    erased : ndarray of shape (N,), bool
        Workers without a result.
    candidates : ndarray of shape (N,), bool
        Workers that may lie; no erased ones.
    """

    check: ComplexArray
    nodes: ComplexArray
    erased: BoolArray
    candidates: BoolArray

    def locate(self, values: Array, count: int) -> Array:
        """Locate ``count`` linearly independent errors in every repetition; shape (..., N)."""
        return locate_by_subspace(self.check, values, count, erased=self.erased, candidates=self.candidates)

    def locate_colluding(self, values: Array, count: int) -> Array:
        """Locate ``count`` errors that may be proportional, from windows of the syndromes; shape (..., N)."""
        filtered = constant_like(self._filter, values) @ values
        window = max(count + 1, (filtered.shape[-2] + 1) // 2)
        snapshots = window_syndromes(filtered, window)
        return locate_by_subspace(self._filter @ self.check, snapshots, count, candidates=self.candidates)

    def locate_fewest(self, values: Array, significance: float) -> Array:
        """Locate the smallest number of errors that leaves nothing but noise.

        Parameters
        ----------
        values : array of shape (..., L, M), complex128
            Syndromes in units of the noise.
        significance : float
            See :func:`residual_ratio`.

        Returns
        -------
        array of shape (..., N), bool
            Where no number up to the radius does, the last attempt.
        """
        flat = values.reshape(-1, *values.shape[-2:])
        located = constant_like(np.zeros((len(flat), len(self.nodes)), dtype=bool), flat)
        is_pending = np.ones(len(flat), dtype=bool)
        most = max(self.check.shape[0] - int(self.erased.sum()), 0) // 2
        least = np.minimum(self._least_errors(flat), most)
        for count in range(most + 1):
            for locate in (self.locate, self.locate_colluding)[: 1 + (count > 1)]:
                pending = np.flatnonzero(is_pending & (least <= count))
                if pending.size == 0:
                    continue
                rows = constant_like(pending, flat)
                trial = locate(flat[rows], count)
                _, left = fit_errors(self.check, flat[rows], trial | constant_like(self.erased, flat))
                num_fitted = np.full((pending.size, 1), count + int(self.erased.sum()))
                located[rows] = trial
                is_pending[pending] = residual_ratio(left, num_fitted, significance) > 1.0
        return located.reshape(*values.shape[:-2], len(self.nodes))

    def _least_errors(self, values: Array) -> IntArray:
        """Bound the number of errors from below: singular values above those of white noise; shape (R,)."""
        outside = null_space(self.check[:, self.erased].conj().T).conj().T
        num_rows, num_words = outside.shape[0], values.shape[-1]
        sizes = namespace_of(values).linalg.svd(constant_like(outside, values) @ values, full_matrices=False)[
            1
        ]
        return numerical_rank(to_numpy(sizes), np.sqrt(num_rows) + np.sqrt(num_words) + _EDGE_MARGIN)

    @cached_property
    def _filter(self) -> ComplexArray:
        return erasure_filter(self.nodes, self.erased, self.check.shape[0])


@lru_cache(maxsize=64)
def hankel_noise_level(num_syndromes: int, window: int, significance: float) -> float:
    """Give the largest singular value that unit noise reaches in a Hankel matrix, but for few draws.

    The quantile over 20,000 simulated matrices; there is no simple closed form.

    Parameters
    ----------
    num_syndromes, window : int
        The matrix has ``window`` rows and ``num_syndromes - window + 1`` columns.
    significance : float
        Share of matrices above the level.

    Returns
    -------
    float

    Examples
    --------
    >>> 5 < hankel_noise_level(16, 8, 1e-3) < 9
    True
    """
    noise = draw_complex_gaussian((20_000, num_syndromes, 1), np.random.default_rng(0))
    sizes = np.linalg.svd(window_syndromes(noise, window), compute_uv=False)
    return float(np.quantile(sizes[:, 0], 1 - significance))
