"""How large the rounding noise of a computation is: measured before it starts, and what decoding makes of it.

Shares are mostly hiding noise of known size, so that rounding in ``f(U)`` can be measured with made-up data
(or with rows of the data itself): encode, apply the function to all shares, and look at the syndromes, which
would be zero without rounding. For functions that add up rows two numbers of rows are measured, 64 and 1024.
From there the noise grows with the rows as it did between the two, with an exponent of 1/2 where partial sums
walk at random, as they do under hiding noise, and of 1 where they drift. Other hardware rounds a little
differently; a safety factor covers that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.real.dft_code import DFTCode
from flower_coded.protocols.analog_computing.functions import PolynomialFunction

__all__ = [
    "Precision",
    "bound_by_code",
    "error_amplification",
    "measure_precision",
    "worst_amplification",
]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]

_FEW_ROWS, _MANY_ROWS = 64, 1024
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
    blocks: np.ndarray[Any, Any] | None = None,
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
    blocks : ndarray of shape (k, rows, columns), optional
        The data itself, where it is at hand: random rows of it take the place of made-up ones.
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
    generator = np.random.default_rng(0)

    def measure(rows: int, repetitions: int) -> tuple[FloatArray, FloatArray, float]:
        shape = (repetitions, code.num_blocks, rows, block_shape[1])
        if blocks is None:
            drawn = data_scale * generator.standard_normal(shape)
        else:
            places = generator.integers(block_shape[0], size=(repetitions, rows))
            drawn = np.swapaxes(blocks[:, places], 0, 1)
        return _rounding_of(code, function, drawn, parameters, generator)

    total = block_shape[0]
    if not function.is_sum_over_rows or total <= _FEW_ROWS:
        measured, floor, norm = measure(total, num_repetitions)
        return Precision(_SAFETY * np.maximum(measured, floor), norm)
    few, few_floor, few_norm = measure(_FEW_ROWS, num_repetitions)
    rows = min(total, _MANY_ROWS)
    many, many_floor, _ = measure(rows, max(2, num_repetitions // 4))
    # Entries of a diagonal may drift where the others walk; a tenth more, as a single ratio scatters.
    rise = np.log(np.maximum(many, many_floor) / np.maximum(few, few_floor)) / np.log(rows / _FEW_ROWS)
    exponent = np.clip(rise + 0.1, 0.5, 1.0)
    growth = (total / rows) ** exponent
    noise = np.maximum(many, np.maximum(few * (rows / _FEW_ROWS) ** exponent, many_floor))
    return Precision(_SAFETY * growth * noise, total / _FEW_ROWS * few_norm)


def _rounding_of(
    code: AnalogLagrangeCode,
    function: PolynomialFunction,
    blocks: np.ndarray[Any, Any],
    parameters: FloatArray | None,
    generator: np.random.Generator,
) -> tuple[FloatArray, FloatArray, float]:
    """Give the noise of the noisiest repetition, the least noise there can be, and the results' norm."""
    results = np.asarray(function.apply(code.encode(blocks, generator=generator), parameters))
    words = results.reshape(*results.shape[:2], -1)
    syndromes = DFTCode(code.num_workers, code.dimension).syndromes(words)
    measured = np.sqrt((abs(syndromes) ** 2).mean(axis=1).max(axis=0)).reshape(results.shape[2:])
    # Rounding can happen to vanish in a measurement; nothing is more precise than the last place.
    floor = np.finfo(np.float64).eps * np.sqrt((abs(results) ** 2).mean(axis=(0, 1)))
    return measured, floor, float(np.median(np.sqrt((abs(words) ** 2).sum(axis=-1))))


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


def worst_amplification(code: AnalogLagrangeCode, num_dropped: int, kept: BoolArray | None = None) -> float:
    """Give the largest :func:`error_amplification` when so many neighboring workers are dropped.

    Neighbors on the circle are the worst workers to lose: what is left leaves a gap (checked against all
    sets of workers in the tests, at sizes where they can be listed).

    Parameters
    ----------
    code : AnalogLagrangeCode
        The code.
    num_dropped : int
        Workers dropped of those kept.
    kept : ndarray of shape (N,), bool, optional
        Workers there are before; all if absent.

    Returns
    -------
    float
        Infinite if fewer than ``K`` would be left.
    """
    present = np.arange(code.num_workers) if kept is None else np.flatnonzero(kept)
    num_left = len(present) - num_dropped
    if num_left < code.dimension:
        return float("inf")
    rows = present[(np.arange(len(present))[:, None] + np.arange(num_left)) % len(present)]
    evaluations = code.worker_points[rows][..., None] ** np.arange(code.dimension)
    matrices = code.interpolation_matrix @ np.linalg.pinv(evaluations)
    return float(np.linalg.norm(matrices, axis=-1).max() / np.sqrt(2))


def bound_by_code(
    code: AnalogLagrangeCode,
    words: ComplexArray,
    kept: BoolArray,
    noise_std: FloatArray,
    num_byzantine: int,
) -> float:
    """Bound a decoded block's error, if up to ``A`` of the results that were kept are lies.

    The decoded polynomial and the true one differ, at the honest ones among the kept workers, by what the
    fit leaves there plus rounding. The rest follows from interpolation through those alone.

    Parameters
    ----------
    code : AnalogLagrangeCode
        The code.
    words : ndarray of shape (N, entries), complex128
        Results by evaluation index.
    kept : ndarray of shape (N,), bool
        Those the decoder took for honest.
    noise_std : ndarray of shape (u, h), float64
        Rounding noise of a result.
    num_byzantine : int
        ``A``.

    Returns
    -------
    float
        Of the Frobenius norm; infinite if fewer than ``K`` kept results need be honest.
    """
    evaluation = code.worker_points[kept, None] ** np.arange(code.dimension)
    received = words[kept]
    left = received - evaluation @ np.linalg.lstsq(evaluation, received, rcond=None)[0]
    # A Gaussian vector's norm exceeds its mean by six of its largest standard deviations never.
    rounding = np.linalg.norm(noise_std) * (np.sqrt(kept.sum()) + 6)
    worst = np.sqrt(2.0) * worst_amplification(code, num_byzantine, kept)
    return float(worst * (np.linalg.norm(left) + rounding))
