"""DFT codes: finding and removing wrong values among evaluations of a polynomial on the unit circle.

The values of a polynomial of degree below ``K`` at the ``N``-th roots of unity are a word of an ``(N, K)``
DFT code, the Reed-Solomon code of the complex numbers. With orthonormal check rows, white noise on the
values is white noise of the same variance on the ``N - K`` syndromes, so that every decision here is a
comparison with a known noise level: how many errors a word has, and whether what is left after correction
is noise or a sign that more than ``v = ⌊(N - K)/2⌋`` workers lied ([1]_ Section III; the residual test is
not in it).

Localizers are in :mod:`flower_coded.codes.real.dft_localization`, the steps of the decoder in
:mod:`flower_coded.codes.real.dft_correction`; locating errors of very different size, one stage after the
other, is :func:`flower_coded.codes.real.staged_location.locate_errors`. Left out: fast transforms. ``N`` is
a number of workers, and one matrix product is faster.

References
----------
.. [1] R. Borah, J. Harshan, "Robust Analog Lagrange Coded Computing: Theory and Algorithms via Discrete
   Fourier Transforms".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from flower_coded.codes.array_namespace import Array, constant_like, namespace_of, to_numpy
from flower_coded.codes.real.dft_correction import (
    SubspaceSearch,
    count_word_errors,
    erasure_filter,
    fit_errors,
    residual_ratio,
)
from flower_coded.codes.real.dft_localization import (
    error_locators,
    locate_by_average,
    locate_independently,
    locate_jointly,
)
from flower_coded.codes.real.error_location import syndromes
from flower_coded.codes.real.staged_location import LocatorMatrix, locate_errors
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["Corrected", "DFTCode", "Localizer"]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

Localizer = Literal["independent", "joint", "average", "subspace"]

_DEVIATIONS = 8.0
"""An honest syndrome stays within this many standard deviations: one in 10^27 does not."""


@dataclass(frozen=True, eq=False)
class Corrected:
    """Words after correction.

    Parameters
    ----------
    words : array of shape (..., N, M), complex128
        Received words less the errors found; erased values are filled in.
    located : array of shape (..., N), bool
        Workers found wrong in at least one word.
    located_per_word : array of shape (..., M, N), bool
        Workers found wrong in each word.
    residual : ndarray of shape (...,), float64
        What is left of the syndromes, in units of the test's threshold; at most 1 if it looks like noise.
    is_trusted : ndarray of shape (...,), bool
        Whether it does. If not, more workers lied than the code corrects, or they were not found.
    """

    words: Array
    located: Array
    located_per_word: Array
    residual: FloatArray
    is_trusted: BoolArray


@dataclass(frozen=True)
class DFTCode:
    """The ``(N, K)`` DFT code.

    Parameters
    ----------
    num_workers : int
        ``N``, the length.
    dimension : int
        ``K``, the number of coefficients, ``1 ≤ K ≤ N``.

    Raises
    ------
    ParameterError
        If ``K`` is out of range.

    Examples
    --------
    >>> code = DFTCode(num_workers=31, dimension=15)
    >>> generator = np.random.default_rng(3)
    >>> sent = code.encode(generator.standard_normal((15, 25)))
    >>> received = sent + 1e-6 * generator.standard_normal((31, 25))
    >>> received[[4, 5, 20]] += 7 + generator.standard_normal((3, 25))
    >>> decoded = code.decode(received, noise_std=1e-6)
    >>> np.flatnonzero(decoded.located)
    array([ 4,  5, 20])
    >>> bool(abs(decoded.words - sent).max() < 1e-4)
    True
    """

    num_workers: int
    dimension: int

    def __post_init__(self) -> None:
        """Check ``1 ≤ K ≤ N``."""
        if not 1 <= self.dimension <= self.num_workers:
            raise ParameterError(
                "dimension", f"must be from 1 to num_workers = {self.num_workers}", self.dimension
            )

    @property
    def num_checks(self) -> int:
        """``N - K``."""
        return self.num_workers - self.dimension

    @property
    def num_correctable(self) -> int:
        """``v = ⌊(N - K) / 2⌋``."""
        return self.num_checks // 2

    @cached_property
    def nodes(self) -> ComplexArray:
        """``z_i = γ^-i``, with ``γ = exp(-2πi/N)``; shape (N,)."""
        nodes: ComplexArray = np.exp(2j * np.pi * np.arange(self.num_workers) / self.num_workers)
        return nodes

    @cached_property
    def check_matrix(self) -> ComplexArray:
        """``z_i^(K+j) / √N``: orthonormal rows of consecutive powers; shape (N-K, N)."""
        # Exponents K..N-1 here and 0..K-1 conjugated in encode never meet modulo N: orthogonal.
        powers: ComplexArray = self.nodes ** np.arange(self.dimension, self.num_workers)[:, None]
        rows: ComplexArray = powers / np.sqrt(self.num_workers)
        return rows

    def encode(self, coefficients: Array) -> Array:
        """Evaluate polynomials at ``γ^i``.

        Parameters
        ----------
        coefficients : array of shape (..., K, M)
            Constant term first.

        Returns
        -------
        array of shape (..., N, M), complex128
        """
        if coefficients.ndim < 2 or coefficients.shape[-2] != self.dimension:
            raise ParameterError(
                "coefficients", f"must have shape (..., {self.dimension}, M)", tuple(coefficients.shape)
            )
        evaluation = self.nodes.conj()[:, None] ** np.arange(self.dimension)
        words: Array = constant_like(evaluation, coefficients) @ (coefficients + 0j)
        return words

    def syndromes(self, words: Array) -> Array:
        """Multiply by the check matrix; shape (..., N-K, M)."""
        return syndromes(self.check_matrix, words)

    def count_errors(self, received: Array, *, noise_std: float, significance: float = 1e-3) -> IntArray:
        """Count the errors in every word: the rank of its syndrome matrix, above the noise.

        Parameters
        ----------
        received : array of shape (..., N, M), complex128
            Received words.
        noise_std : float
            ``σ_p``, the standard deviation of the precision noise.
        significance : float
            Share of words without errors that are said to have one.

        Returns
        -------
        ndarray of shape (..., M), int64
            At most ``v``. Too few where errors at neighboring workers nearly cancel in the syndromes.
        """
        return count_word_errors(self.syndromes(received) / noise_std, significance)

    def correct(
        self,
        received: Array,
        *,
        noise_std: float | FloatArray,
        localizer: Localizer = "subspace",
        num_errors: int | IntArray | None = None,
        erased: BoolArray | None = None,
        candidates: BoolArray | None = None,
        constraint_length: int | None = None,
        choose_by: Literal["chance", "votes"] = "votes",
        significance: float = 1e-3,
        generator: np.random.Generator | None = None,
    ) -> Corrected:
        """Locate and subtract errors in a batch, and test what is left; never raises for hopeless words.

        Parameters
        ----------
        received : array of shape (..., N, M), complex128
            ``M`` words per repetition whose errors sit at the same workers. Erased values are not read.
        noise_std : float or ndarray of shape (M,)
            ``σ_p``, the standard deviation of the precision noise (``E|p|² = σ_p²``), maybe for each word.
        localizer : "independent", "joint", "average" or "subspace"
            How liars are found; see :mod:`flower_coded.codes.real.dft_localization`.
        num_errors : int or ndarray of shape (..., M), optional
            Errors in each word where they are known, as the paper's figures assume; a single number for
            ``"subspace"``. Otherwise they are counted word by word, and for ``"subspace"`` as the smallest
            number that passes the residual test.
        erased : ndarray of shape (N,), bool, optional
            Workers without a result.
        candidates : ndarray of shape (N,), bool, optional
            Workers that may lie; all if absent.
        constraint_length, choose_by, generator
            See :func:`~flower_coded.codes.real.dft_localization.locate_jointly`.
        significance : float
            Share of correctable repetitions that fail the residual test.

        Returns
        -------
        Corrected
        """
        if localizer not in get_args(Localizer):
            raise ParameterError("localizer", f"must be one of {get_args(Localizer)}", localizer)
        erased = np.zeros(self.num_workers, dtype=bool) if erased is None else np.asarray(erased, dtype=bool)
        received = self._checked(received, erased)
        candidates = ~erased if candidates is None else np.asarray(candidates, dtype=bool) & ~erased
        scale = constant_like(np.asarray(noise_std, dtype=np.float64), received)
        # In units of the noise every syndrome has variance one, so that one threshold serves all words.
        values = self.syndromes(received) / scale
        gone = constant_like(erased, values)
        if localizer == "subspace":
            located = self._locate_subspace(values, num_errors, erased, candidates, significance)
            errors, left = fit_errors(self.check_matrix, values, located | gone)
            shape = (*values.shape[:-2], values.shape[-1], self.num_workers)
            per_word = namespace_of(values).broadcast_to(located[..., None, :], shape)
        else:
            # Without the filter, polynomials would spend roots on erased workers, whose places are known.
            filtered = constant_like(erasure_filter(self.nodes, erased, self.num_checks), values) @ values
            counts = count_word_errors(filtered, significance) if num_errors is None else num_errors
            counts = np.broadcast_to(counts, (*values.shape[:-2], values.shape[-1]))
            locators = error_locators(filtered, counts, self.nodes, candidates)
            if localizer == "joint":
                per_word = locate_jointly(
                    locators,
                    filtered.shape[-2] // 2,
                    constraint_length=constraint_length,
                    choose_by=choose_by,
                    generator=generator,
                )
            else:
                per_word = _WORD_LOCALIZERS[localizer](locators)
            errors, left = fit_errors(self.check_matrix, values.swapaxes(-1, -2)[..., None], per_word | gone)
            errors, left = errors[..., 0].swapaxes(-1, -2), left[..., 0].swapaxes(-1, -2)
        # Every fitted place, erased or located, absorbs noise too; the test must not count it as freedom.
        residual = residual_ratio(left, to_numpy(per_word.sum(-1)) + int(erased.sum()), significance)
        return Corrected(
            words=received - errors * scale,
            located=per_word.any(-2),
            located_per_word=per_word,
            residual=residual,
            is_trusted=residual <= 1.0,
        )

    def decode(
        self,
        received: ComplexArray,
        *,
        noise_std: float | FloatArray,
        erased: BoolArray | None = None,
        candidates: BoolArray | None = None,
        significance: float = 1e-6,
    ) -> Corrected:
        """Correct one result matrix, or say that it cannot be done.

        The subspace localizer comes first. If what it leaves is not noise, errors of very different size may
        hide each other: the largest are then located, dropped, and the rest looked at again.

        Parameters
        ----------
        received : ndarray of shape (N, M), complex128
            ``M`` words whose errors sit at the same workers.
        noise_std : float or ndarray of shape (M,)
            Standard deviation of the precision noise.
        erased, candidates : ndarray of shape (N,), bool, optional
            Workers without a result, and workers that may lie.
        significance : float
            Share of correctable words that are refused.

        Returns
        -------
        Corrected
            With ``is_trusted`` true.

        Raises
        ------
        DecodingError
            If fewer than ``K`` results came, or no ``A`` liars with ``2A + s ≤ N - K`` explain them, where
            ``s`` results are erased.
        """
        erased = np.zeros(self.num_workers, dtype=bool) if erased is None else np.asarray(erased, dtype=bool)
        num_present = self.num_workers - int(erased.sum())
        if num_present < self.dimension:
            raise DecodingError("too few results to decode", received=num_present, needed=self.dimension)
        corrected = self.correct(
            received, noise_std=noise_std, erased=erased, candidates=candidates, significance=significance
        )
        if bool(corrected.is_trusted):
            return corrected
        spread = np.broadcast_to(np.asarray(noise_std, dtype=np.float64), received.shape[1:])
        words = self._checked(received, erased)
        location = locate_errors(
            LocatorMatrix(self.check_matrix, self.check_matrix),
            words,
            tolerance=_DEVIATIONS * spread,
            noise=spread,
            erased=erased,
        )
        liars = location.corrupt if candidates is None else location.corrupt & candidates
        # Blame of a reliable worker means more liars than the code can tell; ignoring it would hide that.
        if not (location.corrupt <= liars).all():
            raise DecodingError("the errors point at workers that are said to be reliable")
        # Dropped rows are fitted again as erasures: the result does not inherit rounding from the stages.
        clean = self.correct(
            received, noise_std=noise_std, num_errors=0, erased=location.dropped, significance=significance
        )
        if not bool(clean.is_trusted):
            raise DecodingError("what is left after correction is not precision noise")
        per_word = np.broadcast_to(liars, clean.located_per_word.shape)
        return Corrected(clean.words, liars, per_word, clean.residual, clean.is_trusted)

    def _checked(self, received: Array, erased: BoolArray) -> Array:
        """Check the shape, blank what is erased, and refuse NaN and infinity elsewhere."""
        namespace = namespace_of(received)
        if received.ndim < 2 or received.shape[-2] != self.num_workers or erased.shape != (self.num_workers,):
            raise ParameterError(
                "received", f"must have shape (..., {self.num_workers}, M)", tuple(received.shape)
            )
        blank = constant_like(erased[:, None], received)
        # No product with a mask: an erased value may be NaN, and 0 * NaN is NaN.
        words = namespace.where(blank, 0.0, received + 0j)
        if not bool(namespace.isfinite(words).all()):
            raise ParameterError(
                "received", "must be finite", "NaN or infinity", hint="mark the worker as erased"
            )
        return words

    def _locate_subspace(
        self,
        values: Array,
        num_errors: int | IntArray | None,
        erased: BoolArray,
        candidates: BoolArray,
        significance: float,
    ) -> Array:
        """Locate with a known number of errors, or with the smallest that passes the residual test."""
        search = SubspaceSearch(self.check_matrix, self.nodes, erased, candidates)
        if num_errors is None:
            return search.locate_fewest(values, significance)
        counts = np.unique(num_errors)
        if len(counts) != 1:
            raise ParameterError("num_errors", "must be one number for the subspace localizer", num_errors)
        return search.locate(values, int(counts[0]))


_WORD_LOCALIZERS = {"independent": locate_independently, "average": locate_by_average}
