"""What colluding workers learn from analog Lagrange shares, and the choice of noise for a stated privacy.

For one position of the matrices let ``x`` be the ``k`` private values there. Workers ``T`` hold

    u = A x + B n,    n ~ CN(0, (σ²/t) I),

with ``A`` and ``B`` the rows ``T`` of the encoding matrix. If every private value has magnitude at most
``r``, the covariance of ``x`` is below ``k r² I`` whatever the distribution, and among all real inputs of one
covariance the Gaussian one tells most, so that with ``G = (t/σ²) Aᴴ (B Bᴴ)⁻¹ A``

    I(x; u) ≤ ½ log₂ det(I + 2 k r² Re G)                 bits per position,

the bound of [1]_ (Section IV) sharpened for real data; for complex data it is ``log₂ det(I + k r² G)``. If
the blocks' values are uncorrelated, ``k r²`` becomes ``r²``. The noise of different positions is independent,
so the leakage of a whole block set is at most positions times this.

The bound is about exact real numbers. Shares are rounded to 53 bits, which adds a little noise of its own and
hides nothing that the bound does not.

References
----------
.. [1] M. Soleymani, H. Mahdavifar, A. S. Avestimehr, "Analog Lagrange Coded Computing", 2020.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.errors import ParameterError

__all__ = ["Leakage", "colluder_covariance", "leakage_bits", "noise_scale_for", "worst_leakage"]

ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

_MOST_SETS = 3_000_000
# Sets per batched decomposition; bounds the memory, not the result.
_CHUNK = 50_000


@dataclass(frozen=True)
class Leakage:
    """The worst case over all sets of colluders.

    Parameters
    ----------
    bits : float
        Upper bound on the mutual information, in bits per matrix position.
    workers : tuple of int
        Evaluation indices of the set that reaches it.
    """

    bits: float
    workers: tuple[int, ...]


def colluder_covariance(
    code: AnalogLagrangeCode, workers: IntArray, *, data_power: float = 0.0
) -> ComplexArray:
    """Give the covariance of what a set of workers holds at one matrix position.

    Parameters
    ----------
    code : AnalogLagrangeCode
        The code that made the shares.
    workers : ndarray of shape (..., s), int
        Evaluation indices of the colluders, ``s ≤ t``; leading axes are several sets.
    data_power : float
        Variance of each private value, uncorrelated between blocks; 0 leaves the noise alone.

    Returns
    -------
    ndarray of shape (..., s, s), complex128
        ``(σ²/t) B Bᴴ + data_power · A Aᴴ``.

    Examples
    --------
    >>> code = AnalogLagrangeCode(num_workers=11, num_blocks=3, num_colluders=1, noise_scale=2.0)
    >>> colluder_covariance(code, np.array([4])).real.round(3)
    array([[0.145]])
    """
    signal, noise = _split_encoding(code, workers)
    variance = code.noise_scale**2 / code.num_colluders
    covariance: ComplexArray = variance * (noise @ _hermitian(noise))
    return covariance + data_power * (signal @ _hermitian(signal))


def leakage_bits(
    code: AnalogLagrangeCode,
    workers: IntArray,
    *,
    data_bound: float,
    are_blocks_uncorrelated: bool = False,
    is_data_real: bool = True,
) -> FloatArray:
    """Bound the bits per matrix position that sets of workers learn.

    Parameters
    ----------
    code : AnalogLagrangeCode
        The code that made the shares.
    workers : ndarray of shape (..., s), int
        Evaluation indices of the colluders, ``s ≤ t``; leading axes are several sets.
    data_bound : float
        ``r``: every private value lies in ``[-r, r]`` (or has this root mean square).
    are_blocks_uncorrelated : bool
        Whether values at the same position of different blocks are uncorrelated; else anything may hold.
    is_data_real : bool
        Complex data can leak up to twice as much.

    Returns
    -------
    ndarray of shape (...,), float64
        Bits per position.

    Raises
    ------
    ParameterError
        If the code hides nothing, or there are more colluders than it hides from.

    Examples
    --------
    >>> code = AnalogLagrangeCode(num_workers=31, num_blocks=5, num_colluders=3, noise_scale=1e6)
    >>> print(leakage_bits(code, np.array([7, 8, 9]), data_bound=1.0).round(9))
    1.037e-05
    """
    if code.num_colluders == 0:
        raise ParameterError("num_colluders", "must be at least 1 for a bound on leakage", 0)
    if workers.shape[-1] > code.num_colluders:
        raise ParameterError("workers", f"must number at most {code.num_colluders}", workers.shape[-1])
    power = data_bound**2 * (1 if are_blocks_uncorrelated else code.num_blocks)
    gains = power / code.noise_scale**2 * _unit_gains(code, workers, is_data_real=is_data_real)
    return _bits_of(gains, is_data_real=is_data_real)


def worst_leakage(
    code: AnalogLagrangeCode,
    *,
    data_bound: float,
    are_blocks_uncorrelated: bool = False,
    is_data_real: bool = True,
) -> Leakage:
    """Give the largest :func:`leakage_bits` over all sets of ``t`` workers, by looking at every one.

    Fewer than ``t`` workers learn no more than a set of ``t`` that contains them.

    Raises
    ------
    ParameterError
        If there are more than three million sets.

    Examples
    --------
    >>> code = AnalogLagrangeCode(num_workers=31, num_blocks=5, num_colluders=3, noise_scale=1e6)
    >>> worst_leakage(code, data_bound=1.0).workers
    (7, 8, 9)
    """
    worst = Leakage(-1.0, ())
    for chunk in _all_sets(code):
        bits = leakage_bits(
            code,
            chunk,
            data_bound=data_bound,
            are_blocks_uncorrelated=are_blocks_uncorrelated,
            is_data_real=is_data_real,
        )
        index = int(bits.argmax())
        if bits[index] > worst.bits:
            worst = Leakage(float(bits[index]), tuple(int(worker) for worker in chunk[index]))
    return worst


def noise_scale_for(
    code: AnalogLagrangeCode,
    max_bits: float,
    *,
    data_bound: float,
    are_blocks_uncorrelated: bool = False,
    is_data_real: bool = True,
) -> float:
    """Give the smallest ``σ`` with which no ``t`` workers learn more than ``max_bits`` per position.

    The leakage falls with ``σ``: a bisection over its logarithm, to a relative precision of 1e-6. Which set
    of workers is worst changes with ``σ``, so that every step looks at all of them.

    Raises
    ------
    ParameterError
        If ``max_bits`` is not positive, or no ``σ`` up to 1e15 is enough.

    Examples
    --------
    >>> code = AnalogLagrangeCode(num_workers=11, num_blocks=3, num_colluders=1)
    >>> scale = noise_scale_for(code, 0.01, data_bound=1.0)
    >>> print(round(worst_leakage(replace(code, noise_scale=scale), data_bound=1.0).bits, 6))
    0.01
    """
    if not max_bits > 0:
        raise ParameterError("max_bits", "must be positive", max_bits)

    power = data_bound**2 * (1 if are_blocks_uncorrelated else code.num_blocks)
    # Gains fall as 1/σ²: one decomposition at σ = 1, and every step of the bisection is a division.
    gains = power * _all_unit_gains(replace(code, noise_scale=1.0), is_data_real)

    def bits(log_scale: float) -> float:
        return float(_bits_of(gains / math.exp(2 * log_scale), is_data_real=is_data_real).max())

    # In logarithms: σ spans 24 decades, and the precision wanted is relative.
    low, high = math.log(1e-9), math.log(1e15)
    if bits(high) > max_bits:
        raise ParameterError("max_bits", "must be reachable with a noise scale of 1e15", max_bits)
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if bits(middle) > max_bits else (low, middle)
    # The upper end is the one that was seen to keep the promise.
    return math.exp(high)


def _all_sets(code: AnalogLagrangeCode) -> Iterator[IntArray]:
    """Give all sets of ``t`` evaluation indices, in chunks of shape (chunk, t)."""
    if code.num_colluders == 0:
        raise ParameterError("num_colluders", "must be at least 1 for a bound on leakage", 0)
    num_sets = math.comb(code.num_workers, code.num_colluders)
    if num_sets > _MOST_SETS:
        raise ParameterError("num_colluders", f"must leave at most {_MOST_SETS} sets to look at", num_sets)
    sets = itertools.combinations(range(code.num_workers), code.num_colluders)
    while chunk := list(itertools.islice(sets, _CHUNK)):
        yield np.array(chunk)


@lru_cache(maxsize=16)
def _all_unit_gains(code: AnalogLagrangeCode, is_data_real: bool) -> FloatArray:
    """Give :func:`_unit_gains` of all sets of colluders; kept, since plans for several levels share it."""
    return np.concatenate([_unit_gains(code, chunk, is_data_real=is_data_real) for chunk in _all_sets(code)])


def _unit_gains(code: AnalogLagrangeCode, workers: IntArray, *, is_data_real: bool) -> FloatArray:
    """Give the eigenvalues of ``2 Re G`` (of ``G`` for complex data) at ``σ = 1``; shape (..., rank).

    They are squared singular values of the whitened signal. Whitening by the Cholesky factor of ``B Bᴴ``
    would square its condition; the triangular factor of ``Bᴴ`` does not.
    """
    signal, noise = _split_encoding(code, workers)
    triangle: ComplexArray = np.linalg.qr(_hermitian(noise)).R
    whitened = math.sqrt(code.num_colluders) * np.linalg.solve(_hermitian(triangle), signal)
    # Re G = ReᵀRe + ImᵀIm of the whitened signal; forming G itself would square its condition.
    parts = [whitened.real, whitened.imag] if is_data_real else [whitened]
    gains = np.linalg.svd(np.concatenate(parts, axis=-2), compute_uv=False) ** 2
    return np.asarray((2 if is_data_real else 1) * gains, dtype=np.float64)


def _bits_of(gains: FloatArray, *, is_data_real: bool) -> FloatArray:
    """Give ``log₂ det(I + diag(gains))``, halved for real data; shape (...,)."""
    # With strong noise gains are below one unit in the last place of 1; log(1 + gain) would promise 0 bits.
    bits: FloatArray = np.log1p(gains).sum(axis=-1) / math.log(2)
    return bits / 2 if is_data_real else bits


def _split_encoding(code: AnalogLagrangeCode, workers: IntArray) -> tuple[ComplexArray, ComplexArray]:
    """Give the rows of the encoding matrix at ``workers``: the data's part and the noise's part."""
    rows = code.encoding_matrix[workers]
    return rows[..., : code.num_blocks], rows[..., code.num_blocks :]


def _hermitian(matrix: ComplexArray) -> ComplexArray:
    """Give the conjugate transpose of the last two axes."""
    adjoint: ComplexArray = np.swapaxes(matrix, -1, -2).conj()
    return adjoint
