"""Error-locator matrices: check matrices of which any ``k`` columns are independent, with rows of powers.

:class:`LocatorMatrix` holds one in two bases of the same row space: rows of consecutive powers, which the
methods of Prony and of spatial smoothing need, and orthonormal rows, in which errors keep their size. Two
families:

* :func:`dft_locator`: the nodes are the ``m``-th roots of unity and the ``k`` frequencies lie
  symmetrically about zero, ``-(k-1)/2 .. (k-1)/2``, half-integers if ``k`` is even. Conjugate frequencies
  pair up, so the row space has a real basis of cosines and sines for every ``m`` and ``k``, and the rows
  are orthogonal: condition 1.
* :func:`vandermonde_locator`: real powers of any distinct nodes (Data, Song and Diggavi, "Data encoding for
  Byzantine-resilient distributed gradient descent", Allerton 2018, equation 10). The condition grows
  exponentially with ``k``: for comparison, and for a handful of workers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.real.error_location import Numbers, null_space
from flower_coded.errors import ParameterError

__all__ = ["LocatorMatrix", "ReducedChecks", "chebyshev_nodes", "dft_locator", "vandermonde_locator"]


@dataclass(frozen=True, eq=False)
class LocatorMatrix:
    """Check matrix of a real or complex code, in two bases of the same row space.

    Parameters
    ----------
    structured : ndarray of shape (k, m), k < m, float64 or complex128
        Rows of consecutive powers, ``c_i * z_i**j``, any ``k`` columns independent.
    check : ndarray of shape (k, m), optional
        Orthonormal rows spanning the same space, real if the code is; computed if absent.

    Examples
    --------
    >>> LocatorMatrix(np.vander([1.0, 2.0, 3.0], 2, increasing=True).T).num_checks
    2
    """

    structured: Numbers
    check: Numbers = field(default_factory=lambda: np.empty((0, 0)))

    def __post_init__(self) -> None:
        rows, columns = self.structured.shape
        if not 0 < rows < columns:
            raise ParameterError(
                "structured", "must have fewer rows than columns, at least 1", (rows, columns)
            )
        if self.check.size == 0:
            # QR works on the rows; a Cholesky factor of their Gram matrix would square the condition.
            orthogonal, _ = np.linalg.qr(self.structured.conj().T)
            object.__setattr__(self, "check", orthogonal.conj().T)
        if self.check.shape != self.structured.shape:
            raise ParameterError("check", f"must have shape {self.structured.shape}", self.check.shape)

    @property
    def num_checks(self) -> int:
        """``k``."""
        return int(self.check.shape[0])

    @property
    def num_workers(self) -> int:
        """``m``."""
        return int(self.check.shape[1])

    def to_structured(self, values: Numbers) -> Numbers:
        """Turn syndromes taken with ``check`` into those taken with ``structured``."""
        # Check rows are orthonormal, so their adjoint undoes them on the row space.
        result: Numbers = (self.structured @ self.check.conj().T) @ values
        return result

    def without(self, dropped: NDArray[np.bool_]) -> ReducedChecks:
        """Return what is left of the code when rows of its words are dropped; kept for the next call.

        Parameters
        ----------
        dropped : ndarray of shape (m,), bool
            At most ``k`` workers.

        Returns
        -------
        ReducedChecks
        """
        return _reduce(self, np.asarray(dropped, dtype=bool).tobytes())


@dataclass(frozen=True, eq=False)
class ReducedChecks:
    """Checks of a code whose words have lost some rows.

    Parameters
    ----------
    outside : ndarray of shape (k, k - r)
        Orthonormal; turns syndromes into those that ignore the ``r`` dropped rows.
    check : ndarray of shape (k - r, m)
        Orthonormal checks of the rows that are left, zero at the dropped ones.
    prediction : ndarray of shape (m, m)
        Turns a word into the word of the code nearest to the rows that are left; zero at the dropped columns.
    growth : ndarray of shape (m,), float64
        Most by which deviations of size one change the difference between a row and its prediction.
    """

    outside: Numbers
    check: Numbers
    prediction: Numbers
    growth: NDArray[np.float64]


def dft_locator(num_workers: int, num_checks: int) -> LocatorMatrix:
    """Build the real DFT code's locator matrix.

    Parameters
    ----------
    num_workers : int
        ``m``.
    num_checks : int
        ``k``, ``1 <= k < m``.

    Returns
    -------
    LocatorMatrix
        ``structured`` complex, ``check`` real; both with orthonormal rows.

    Examples
    --------
    >>> locator = dft_locator(5, 2)
    >>> np.isrealobj(locator.check), np.allclose(locator.check @ locator.check.T, np.eye(2))
    (True, True)
    """
    frequencies = np.arange(num_checks) - (num_checks - 1) / 2
    angles = 2 * np.pi * np.outer(frequencies, np.arange(num_workers)) / num_workers
    # Frequencies come in pairs ±f, and one cosine with one sine spans each pair.
    positive = angles[frequencies > 0]
    # Frequency zero is there for odd k only; for even k all are half-integers.
    constant = np.full((num_checks % 2, num_workers), 1 / np.sqrt(num_workers))
    # A cosine has half the energy of an exponential, hence the 2.
    waves = np.sqrt(2 / num_workers) * np.concatenate([np.cos(positive), np.sin(positive)])
    return LocatorMatrix(np.exp(1j * angles) / np.sqrt(num_workers), np.concatenate([constant, waves]))


def vandermonde_locator(nodes: ArrayLike, num_checks: int) -> LocatorMatrix:
    """Build the real Vandermonde locator matrix of the paper.

    Parameters
    ----------
    nodes : array_like of shape (m,), float64
        Distinct ``z_i``.
    num_checks : int
        ``k``, ``1 <= k < m``.

    Returns
    -------
    LocatorMatrix
        ``structured[j, i] = z_i**j``.

    Raises
    ------
    ParameterError
        If nodes coincide or are not finite.

    Examples
    --------
    >>> vandermonde_locator([1, 2, 3], 2).structured
    array([[1., 1., 1.],
           [1., 2., 3.]])
    """
    values: NDArray[np.float64] = np.asarray(nodes, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or len(np.unique(values)) != len(values):
        raise ParameterError("nodes", "must be distinct finite numbers", values.tolist())
    return LocatorMatrix(np.vander(values, num_checks, increasing=True).T)


def chebyshev_nodes(count: int) -> NDArray[np.float64]:
    """Return the ``count`` roots of the Chebyshev polynomial: the mildest real nodes.

    Parameters
    ----------
    count : int

    Returns
    -------
    ndarray of shape (count,), float64
        In ``(-1, 1)``, falling.

    Examples
    --------
    >>> chebyshev_nodes(2).round(3)
    array([ 0.707, -0.707])
    """
    return np.asarray(np.cos(np.pi * (np.arange(count) + 0.5) / count))


@lru_cache(maxsize=256)
def _reduce(locator: LocatorMatrix, dropped_bytes: bytes) -> ReducedChecks:
    dropped = np.frombuffer(dropped_bytes, dtype=bool)
    outside = null_space(locator.check[:, dropped].conj().T)
    check = outside.conj().T @ locator.check
    # Zero up to rounding already; exact zeros keep huge values of a dropped liar out of the syndromes.
    check[:, dropped] = 0.0
    basis = null_space(locator.check)
    prediction = np.zeros((locator.num_workers, locator.num_workers), dtype=basis.dtype)
    # The basis is orthonormal, so that only the choice of dropped rows decides the condition.
    prediction[:, ~dropped] = basis @ np.linalg.pinv(basis[~dropped])
    return ReducedChecks(outside, check, prediction, 1.0 + np.linalg.norm(prediction, axis=1))
