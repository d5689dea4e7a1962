"""Monte-Carlo points of the paper's Figures 2 to 6, vectorized over repetitions.

A point is a code, an attack, a number of liars and a precision noise; :func:`simulate` draws many
repetitions of it at once, and :func:`measure` decodes them all with one localizer, or with keys, and gives
the average relative error in decibel, ``10 log₁₀`` of the mean of ``‖Y - Y'‖ / ‖Y‖``. Precision noise is
added to whatever rounding the arithmetic itself has; its variance and, as in [1]_, the number of errors in
each entry are known to the decoders unless said otherwise.

References
----------
.. [1] R. Borah, J. Harshan, "Robust Analog Lagrange Coded Computing: Theory and Algorithms via Discrete
   Fourier Transforms".
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from flower_coded.attacks.analog_collusion import AnalogAttack
from flower_coded.codes.array_namespace import Array, constant_like, on_device, to_numpy
from flower_coded.codes.real.analog_lagrange import (
    AnalogLagrangeCode,
    draw_complex_gaussian,
    relative_error,
    to_decibel,
)
from flower_coded.codes.real.dft_code import DFTCode
from flower_coded.codes.real.dft_correction import fit_errors, residual_ratio
from flower_coded.codes.real.verification_keys import draw_secret, rejection_factor
from flower_coded.errors import ParameterError
from flower_coded.protocols.analog_computing.form_keys import SHARE_ROWS

__all__ = ["DECODERS", "Measurement", "Repetitions", "measure", "simulate"]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

DECODERS = ("plain", "independent", "joint", "average", "subspace", "subspace-counting", "keys", "oracle")
"""``plain`` corrects nothing; ``subspace-counting`` finds the number of liars too; ``keys`` checks every
worker alone, knowing the noise and nothing else; ``oracle`` is told who."""


@dataclass(frozen=True, eq=False)
class Repetitions:
    """Many independent computations of ``XᵀX`` for every block.

    Parameters
    ----------
    code : AnalogLagrangeCode
        The encoder.
    received : ndarray of shape (R, N, M), complex128
        Results with errors and noise, in order of evaluation index.
    honest : ndarray of shape (R, N, M), complex128
        What honest workers would have sent, without noise.
    truth : ndarray of shape (R, k, M), float64
        What should come out.
    is_liar : ndarray of shape (R, N), bool
        Who lies.
    num_errors : ndarray of shape (R, M), int64
        Errors in each entry.
    noise_std : float
        ``σ_p``.
    candidates : ndarray of shape (N,), bool
        Evaluation indices of workers that may lie.
    """

    code: AnalogLagrangeCode
    received: ComplexArray
    honest: ComplexArray
    truth: FloatArray
    is_liar: BoolArray
    num_errors: IntArray
    noise_std: float
    candidates: BoolArray


@dataclass(frozen=True)
class Measurement:
    """One decoder at one point.

    Parameters
    ----------
    decoder : str
        One of :data:`DECODERS`.
    error : float
        Average relative error, in decibel.
    share_located : float
        Share of repetitions in which exactly the liars were named.
    share_trusted : float
        Share of repetitions that pass the residual test.
    seconds : float
        For all repetitions.
    """

    decoder: str
    error: float
    share_located: float
    share_trusted: float
    seconds: float


def simulate(
    code: AnalogLagrangeCode,
    attack: AnalogAttack,
    *,
    num_liars: int,
    noise_variance: float,
    num_repetitions: int,
    generator: np.random.Generator,
    num_rows: int = 20,
    num_columns: int = 5,
    unreliable_indices: Sequence[int] | None = None,
) -> Repetitions:
    """Draw repetitions of one point: standard normal data, random liars.

    Parameters
    ----------
    code : AnalogLagrangeCode
        The encoder.
    attack : AnalogAttack
        What liars add.
    num_liars : int
        ``A``.
    noise_variance : float
        ``σ_p²``.
    num_repetitions : int
        ``R``.
    generator : numpy.random.Generator
        Source of everything.
    num_rows, num_columns : int
        Shape of a block.
    unreliable_indices : sequence of int, optional
        Evaluation indices the liars are drawn from; all if absent.

    Returns
    -------
    Repetitions
    """
    pool = np.arange(code.num_workers) if unreliable_indices is None else np.array(unreliable_indices)
    if not 0 <= num_liars <= len(pool):
        raise ParameterError("num_liars", f"must be from 0 to {len(pool)}", num_liars)
    blocks = generator.standard_normal((num_repetitions, code.num_blocks, num_rows, num_columns))
    noise_shape = (num_repetitions, code.num_colluders, num_rows, num_columns)
    scale = code.noise_scale / math.sqrt(max(code.num_colluders, 1))
    shares = code.encode(blocks, scale * draw_complex_gaussian(noise_shape, generator))
    honest = (shares.swapaxes(-1, -2) @ shares).reshape(num_repetitions, code.num_workers, -1)
    num_entries = honest.shape[-1]
    liars = pool[generator.random((num_repetitions, len(pool))).argsort(axis=1)[:, :num_liars]]
    errors = np.zeros_like(honest)
    if num_liars:
        crafted = attack.craft((num_repetitions, num_liars, num_entries), generator)
        np.put_along_axis(errors, liars[..., None], crafted, axis=1)
    is_liar = np.zeros(honest.shape[:2], dtype=bool)
    np.put_along_axis(is_liar, liars, values=True, axis=1)
    precision = math.sqrt(noise_variance) * draw_complex_gaussian(honest.shape, generator)
    return Repetitions(
        code=code,
        received=honest + errors + precision,
        honest=honest,
        truth=(blocks.swapaxes(-1, -2) @ blocks).reshape(num_repetitions, code.num_blocks, num_entries),
        is_liar=is_liar,
        num_errors=np.asarray((errors != 0).sum(axis=1), dtype=np.int64),
        noise_std=math.sqrt(noise_variance),
        candidates=np.isin(np.arange(code.num_workers), pool),
    )


def measure(
    repetitions: Repetitions,
    decoder: str,
    *,
    constraint_length: int | None = None,
    choose_by: Literal["chance", "votes"] = "votes",
    device: str = "cpu",
) -> Measurement:
    """Decode all repetitions with one decoder.

    Parameters
    ----------
    repetitions : Repetitions
        From :func:`simulate`.
    decoder : str
        One of :data:`DECODERS`.
    constraint_length, choose_by
        For ``joint``; see :func:`flower_coded.codes.real.dft_localization.locate_jointly`.
    device : str
        ``"cpu"`` runs on NumPy; anything else is a torch device.

    Returns
    -------
    Measurement

    Examples
    --------
    >>> from flower_coded.attacks.analog_collusion import FullNoise
    >>> code = AnalogLagrangeCode(num_workers=31, num_blocks=5, num_colluders=3, noise_scale=1e6)
    >>> drawn = simulate(code, FullNoise(), num_liars=4, noise_variance=0.01, num_repetitions=20,
    ...                  generator=np.random.default_rng(0))
    >>> measure(drawn, "subspace").error < measure(drawn, "plain").error - 15
    True
    """
    if decoder not in DECODERS:
        raise ParameterError("decoder", f"must be one of {', '.join(DECODERS)}", decoder)
    words = on_device(repetitions.received, device)
    started = time.perf_counter()
    located, is_trusted = np.zeros_like(repetitions.is_liar), np.ones(len(repetitions.is_liar), dtype=bool)
    if decoder != "plain":
        words, located, is_trusted = _correct(repetitions, words, decoder, constraint_length, choose_by)
    rebuilt = to_numpy(repetitions.code.reconstruct(words[..., None]))[..., 0]
    seconds = time.perf_counter() - started
    error = relative_error(rebuilt, repetitions.truth, num_axes=2).mean()
    return Measurement(
        decoder=decoder,
        error=to_decibel(float(error)),
        share_located=float((located == repetitions.is_liar).all(axis=1).mean()),
        share_trusted=float(is_trusted.mean()),
        seconds=seconds,
    )


def _correct(
    repetitions: Repetitions,
    words: Array,
    decoder: str,
    constraint_length: int | None,
    choose_by: Literal["chance", "votes"],
) -> tuple[Array, BoolArray, BoolArray]:
    """Give corrected words, located workers, and whether each repetition is trusted."""
    code = DFTCode(repetitions.code.num_workers, repetitions.code.dimension)
    if decoder == "oracle":
        return _correct_knowing(repetitions, code, words, repetitions.is_liar)
    if decoder == "keys":
        return _correct_knowing(repetitions, code, words, _caught_by_keys(repetitions))
    localizer: Any = "subspace" if decoder == "subspace-counting" else decoder
    num_errors: IntArray | int | None = repetitions.num_errors
    if localizer == "subspace":
        num_errors = int(repetitions.is_liar[0].sum()) if decoder == "subspace" else None
    corrected = code.correct(
        words,
        noise_std=repetitions.noise_std,
        localizer=localizer,
        num_errors=num_errors,
        candidates=repetitions.candidates,
        constraint_length=constraint_length,
        choose_by=choose_by,
    )
    return corrected.words, to_numpy(corrected.located), corrected.is_trusted


def _correct_knowing(
    repetitions: Repetitions, code: DFTCode, words: Array, is_located: BoolArray
) -> tuple[Array, BoolArray, BoolArray]:
    """Correct at given places: with the true ones, the limit of every localizer."""
    located = constant_like(is_located, words)
    errors, left = fit_errors(code.check_matrix, code.syndromes(words), located)
    num_fitted = is_located.sum(axis=1, keepdims=True)
    residual = residual_ratio(left / repetitions.noise_std, num_fitted, 1e-3)
    return words - errors, is_located, residual <= 1.0


def _caught_by_keys(repetitions: Repetitions) -> BoolArray:
    """Check every worker's Gram matrix alone, as a master with keys does; shape (R, N).

    Here the noise is not rounding but what the figures prescribe: an honest column of ``u`` entries has norm
    ``σ_p √u`` give or take some ``σ_p``.
    """
    count, workers, entries = repetitions.received.shape
    size = math.isqrt(entries)
    deviations = (repetitions.received - repetitions.honest).reshape(count, workers, size, size)
    rows = draw_secret(count * SHARE_ROWS, size, is_complex=True, generator=np.random.default_rng(0))
    seen = rows.reshape(count, 1, SHARE_ROWS, size) @ deviations
    values = np.sqrt((abs(seen) ** 2).mean(axis=-2)).max(axis=-1)
    noise = repetitions.noise_std * (math.sqrt(size) + 3)
    caught: BoolArray = values > rejection_factor(2 * SHARE_ROWS, 1e-9) * noise
    return caught
