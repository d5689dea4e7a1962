"""How large the rounding noise of a computation is: measured before it starts, on data of one's own.

Shares are mostly hiding noise of known size, so that rounding in ``f(U)`` can be measured with made-up data:
encode, apply the function to all shares, and look at the syndromes, which would be zero without rounding. For
functions that add up rows a few rows are enough. The noise then grows with the rows, at most in proportion,
which is what is assumed. Real hardware rounds a little differently; a safety factor covers that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flower_coded.codes.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.dft_code import DFTCode
from flower_coded.protocols.analog_computing.functions import PolynomialFunction

__all__ = ["Precision", "error_amplification", "measure_precision", "worst_amplification"]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]

_MOST_ROWS = 64
_SAFETY = 2.0


@dataclass(frozen=True, eq=False)
class Precision:
    """Rounding noise of a computation.

    Parameters
    ----------
    noise_std : ndarray of shape (u, h), float64
        ``σ_p``, its standard deviation in each entry of a worker's result.
    magnitude : float
        Typical Frobenius norm of a result with that noise.
    """

    noise_std: FloatArray
    magnitude: float

    def for_results(self, results: ComplexArray) -> FloatArray:
        """Give the noise of results that may be larger than those measured; shape (u, h).

        All shares contain the same few hiding matrices, so that all results of one computation can be large
        together, and rounding with them. The median over the workers is safe from fewer than half of them.

        Parameters
        ----------
        results : ndarray of shape (workers, u, h), complex128
            What came.
        """
        if len(results) == 0:
            return self.noise_std
        size = float(np.median(np.sqrt((abs(results) ** 2).sum(axis=(1, 2)))))
        return self.noise_std * max(1.0, size / self.magnitude)


def measure_precision(
    code: AnalogLagrangeCode,
    function: PolynomialFunction,
    block_shape: tuple[int, int],
    *,
    data_scale: float = 1.0,
    parameters: FloatArray | None = None,
    num_repetitions: int = 8,
) -> Precision:
    """Measure the rounding noise in each entry of a worker's result.

    Parameters
    ----------
    code : AnalogLagrangeCode
        Encoder, with at least one check: ``K < N``.
    function : PolynomialFunction
        What workers compute.
    block_shape : tuple of (int, int)
        Rows and columns of a block.
    data_scale : float
        Standard deviation of the made-up data.
    parameters : ndarray, optional
        The function's public parameters.
    num_repetitions : int
        Independent draws of data and hiding noise.

    Returns
    -------
    Precision
        That of the noisiest repetition, with a safety factor of 2.

    Examples
    --------
    >>> from flower_coded.protocols.analog_computing.functions import get_function
    >>> code = AnalogLagrangeCode(num_workers=31, num_blocks=5, num_colluders=3, noise_scale=1e6)
    >>> noise = measure_precision(code, get_function("gram"), (20, 5)).noise_std
    >>> noise.shape, bool(1e-5 < noise.mean() < 1e-2)
    ((5, 5), True)
    """
    rows = min(block_shape[0], _MOST_ROWS) if function.is_sum_over_rows else block_shape[0]
    generator = np.random.default_rng(0)
    blocks = data_scale * generator.standard_normal((num_repetitions, code.num_blocks, rows, block_shape[1]))
    results = np.asarray(function.apply(code.encode(blocks, generator=generator), parameters))
    words = results.reshape(*results.shape[:2], -1)
    syndromes = DFTCode(code.num_workers, code.dimension).syndromes(words)
    measured = np.sqrt((abs(syndromes) ** 2).mean(axis=1).max(axis=0)).reshape(results.shape[2:])
    # Rounding can happen to vanish in a measurement; nothing is more precise than the last place.
    floor = np.finfo(np.float64).eps * np.sqrt((abs(results) ** 2).mean(axis=(0, 1)))
    growth = block_shape[0] / rows
    norms = np.sqrt((abs(words) ** 2).sum(axis=-1))
    return Precision(_SAFETY * growth * np.maximum(measured, floor), growth * float(np.median(norms)))


def error_amplification(code: AnalogLagrangeCode, kept: BoolArray) -> FloatArray:
    """Give the factor from ``σ_p`` to the noise of each block's real values, from the results kept.

    Parameters
    ----------
    code : AnalogLagrangeCode
        The code.
    kept : ndarray of shape (N,), bool
        Workers whose results count, at least ``K``.

    Returns
    -------
    ndarray of shape (k,), float64

    Examples
    --------
    >>> code = AnalogLagrangeCode(num_workers=31, num_blocks=5, num_colluders=3)
    >>> error_amplification(code, np.ones(31, bool)).round(1)
    array([49.7, 49.7, 49.7, 49.7, 49.7])
    """
    matrix = code.reconstruction_matrix(kept)
    return np.asarray(np.linalg.norm(matrix, axis=1) / np.sqrt(2), dtype=np.float64)


def worst_amplification(code: AnalogLagrangeCode, num_dropped: int) -> float:
    """Give the largest :func:`error_amplification` when so many neighboring workers are dropped.

    Neighbors on the circle are the worst workers to lose: what is left leaves a gap.

    Parameters
    ----------
    code : AnalogLagrangeCode
        The code.
    num_dropped : int
        Liars and missing workers together, at most ``N - K``.

    Returns
    -------
    float
    """
    num_kept = code.num_workers - num_dropped
    rows = (np.arange(code.num_workers)[:, None] + np.arange(num_kept)) % code.num_workers
    evaluations = code.worker_points[rows][..., None] ** np.arange(code.dimension)
    matrices = code.interpolation_matrix @ np.linalg.pinv(evaluations)
    return float(np.linalg.norm(matrices, axis=-1).max() / np.sqrt(2))
