"""Locate errors whose number, size and collusion are unknown: hypotheses, largest first, each one tested.

Float64 leaves sixteen digits, so an error of 1e12 times the honest scale hides one of 1e-3.
:func:`locate_errors` therefore works in stages: find the rows that explain what stands out from the
rounding of the *present* words, drop them, and look again at what is left, now with a smaller rounding
error. Within a stage it forms hypotheses from the subspace of the syndromes (linearly independent errors)
and from its windows (proportional errors), from the finest level of detail to the coarsest, and takes the
first that leaves nothing above that level. At the end

* the residual test: what remains is a word of the code within tolerance, or :class:`DecodingError` is raised;
* acquittal: a dropped row that agrees with the decoded word within tolerance was honest and is not named.

With check rows of which any ``k`` columns are independent, ``s`` erasures and ``2 |I| + s <= k`` errors, the
explanation is unique, so a word that passes the test is the right one. Past that radius ``|I|`` colluders
can move a word onto another one's neighborhood, as with any code; errors that were not made for that
purpose are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.real.error_location import (
    Numbers,
    numerical_rank,
    singular_space,
    smallest,
    subspace_residuals,
    syndromes,
    window_syndromes,
)
from flower_coded.codes.real.locator_matrix import LocatorMatrix
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["Location", "LocatorMatrix", "locate_errors", "robust_tolerance"]

_EPSILON = float(np.finfo(np.float64).eps)
_SAFETY = 64.0
"""How far the tolerance lies above the rounding noise itself."""
_LARGEST, _SHRINK = 1e280, 1e-60
"""Words with larger entries are made smaller by this factor, tolerance included."""
_SAMPLE = 8
"""Words looked at first, as a multiple of the number of checks: the worst ones."""
_SPARSE = 8
"""A sample of evenly spread words is looked at first where it saves at least this factor."""
_CLEAR = 10.0
"""A partial explanation counts if each of its rows explains this many times what all of them leave."""


@dataclass(frozen=True, eq=False)
class Location:
    """What :func:`locate_errors` found.

    Parameters
    ----------
    corrupt : ndarray of shape (m,), bool
        Rows that deviate from the decoded word by more than the tolerance.
    dropped : ndarray of shape (m,), bool
        Rows left out in decoding: erased, corrupt, and those acquitted afterwards.
    num_stages : int
        Times the location looked again; 0 if the word was clean, or became so by dropping the suspects.
    residual : float
        Largest remaining syndrome, in units of the tolerance; at most 1.
    """

    corrupt: NDArray[np.bool_]
    dropped: NDArray[np.bool_]
    num_stages: int
    residual: float


def locate_errors(
    locator: LocatorMatrix,
    words: Numbers,
    *,
    tolerance: ArrayLike | None = None,
    noise: ArrayLike | None = None,
    erased: NDArray[np.bool_] | None = None,
    max_errors: int | None = None,
    suspects: NDArray[np.bool_] | None = None,
) -> Location:
    """Find the rows of ``words`` that are wrong.

    Parameters
    ----------
    locator : LocatorMatrix
        The code's check matrix.
    words : ndarray of shape (m, p)
        ``p`` received words that share the set of corrupt rows. Rows marked as erased may hold anything.
    tolerance : float or ndarray of shape (p,), optional
        Largest deviation of an honest entry, in the words' own units. The default is
        :func:`robust_tolerance`, rounding of entries of the honest size; pass a larger one where honest
        entries result from cancellation or carry noise of their own.
    noise : float or ndarray of shape (p,), optional
        Standard deviation of an honest entry; the default is ``tolerance / 64``.
    erased : ndarray of shape (m,), bool, optional
        Rows known to be missing.
    max_errors : int, optional
        The default is ``floor((k - erased) / 2)``, the radius of the code.
    suspects : ndarray of shape (m,), bool, optional
        Rows to try first, for example those located a round ago; a wrong guess costs time, never correctness.

    Returns
    -------
    Location

    Raises
    ------
    DecodingError
        If no set of at most ``max_errors`` rows explains the words, or too many rows are missing.
    ParameterError
        If shapes do not fit or a row that is not erased holds NaN or infinity.

    Examples
    --------
    >>> angles = 2j * np.pi * np.outer(np.arange(4) - 1.5, np.arange(7)) / 7
    >>> locator = LocatorMatrix(np.exp(angles))
    >>> words = np.zeros((7, 3), complex); words[[2, 5]] = [[1, 2, 3], [2, 4, 6]]
    >>> np.flatnonzero(locate_errors(locator, words, tolerance=1e-9).corrupt)
    array([2, 5])
    """
    search = _Search.begin(locator, words, tolerance, noise, erased, max_errors)
    if suspects is not None and search.try_dropping(suspects):
        return search.verdict(0)
    for stage in range(search.budget + 2):
        if search.is_clean():
            return search.verdict(stage)
        search.drop_largest()
    raise DecodingError("the errors did not come to an end")  # pragma: no cover


def robust_tolerance(words: Numbers, erased: NDArray[np.bool_] | None = None) -> float:
    """Estimate the rounding of entries of the honest size, where fewer than half of the rows are wrong.

    Parameters
    ----------
    words : ndarray of shape (m, p)
    erased : ndarray of shape (m,), bool, optional
        Rows to leave out.

    Returns
    -------
    float
        ``64 sqrt(m)`` units in the last place of the median, over the rows, of their largest entry.

    Examples
    --------
    >>> f"{robust_tolerance(np.array([[1.0], [1.0], [1e12]])):.1e}"
    '2.5e-14'
    """
    present = words if erased is None else words[~erased]
    sizes = np.abs(present).max(axis=1, initial=0.0)
    typical = float(np.median(sizes)) if sizes.size else 0.0
    return float(_SAFETY * np.sqrt(words.shape[0]) * _EPSILON * typical)


class _Search:
    """One location under way: which rows are dropped, and what the words look like without them."""

    def __init__(
        self,
        locator: LocatorMatrix,
        words: Numbers,
        tolerance: NDArray[np.float64],
        noise: NDArray[np.float64],
        erased: NDArray[np.bool_],
        max_errors: int,
    ) -> None:
        self.locator, self.words, self.tolerance, self.noise = locator, words, tolerance, noise
        self.erased, self.dropped, self.budget = erased, erased.copy(), max_errors
        self._reduced = locator.without(self.dropped)

    @classmethod
    def begin(
        cls,
        locator: LocatorMatrix,
        words: Numbers,
        tolerance: ArrayLike | None,
        noise: ArrayLike | None,
        erased: NDArray[np.bool_] | None,
        max_errors: int | None,
    ) -> _Search:
        """Check the arguments and fill in the defaults."""
        num_checks, num_workers = locator.check.shape
        gone = np.zeros(num_workers, dtype=bool) if erased is None else np.asarray(erased, dtype=bool)
        if words.ndim != 2 or words.shape[0] != num_workers or gone.shape != (num_workers,):
            raise ParameterError("words", f"must have shape ({num_workers}, p)", words.shape)
        num_erased = int(gone.sum())
        if num_erased > num_checks:
            raise DecodingError(
                "too many workers are missing",
                received=num_workers - num_erased,
                needed=num_workers - num_checks,
            )
        present = np.where(gone[:, None], 0.0, words) if num_erased else words
        if not np.isfinite(present).all():
            raise ParameterError(
                "words", "must be finite where not erased", "NaN or infinity", hint="erase the row"
            )
        limit = robust_tolerance(words, gone) if tolerance is None else tolerance
        limits = np.maximum(np.broadcast_to(np.asarray(limit, float), words.shape[1:]), np.finfo(float).tiny)
        spread = (
            limits / _SAFETY if noise is None else np.broadcast_to(np.asarray(noise, float), limits.shape)
        )
        if float(np.abs(present).max(initial=0.0)) > _LARGEST:  # sums of such entries would overflow
            present, spread = present * _SHRINK, spread * _SHRINK
            limits = np.maximum(limits * _SHRINK, np.finfo(float).tiny)
        radius = (num_checks - num_erased) // 2
        return cls(locator, present, limits, spread, gone, radius if max_errors is None else max_errors)

    def try_dropping(self, suspects: NDArray[np.bool_]) -> bool:
        """Drop the suspects if the word is clean without them; otherwise leave everything as it was."""
        new = suspects & ~self.erased
        if not 0 < new.sum() <= self.budget:
            return False
        self._drop(new)
        if self.is_clean():
            return True
        self.dropped, self.budget = self.erased.copy(), self.budget + int(new.sum())
        return False

    def is_clean(self) -> bool:
        """Take the syndromes of the rows that are left; tell whether they are a word within tolerance.

        Where the tolerance is exceeded, the rounding of the entries themselves is looked at: huge entries of
        liars round off everything else. A sample of the worst words usually settles it.
        """
        self._reduced = self.locator.without(self.dropped)
        if self._glance_offends():
            return False
        values = syndromes(self._reduced.check, self.words)
        with np.errstate(over="ignore"):
            excess = np.abs(values).max(axis=0, initial=0.0) / self.tolerance
        self.residual = float(excess.max(initial=0.0))
        if self.residual <= 1.0:
            self.limits = self.tolerance
            return True
        everywhere, most = np.arange(len(excess)), _SAMPLE * self.locator.num_checks
        worst = np.argpartition(excess, -most)[-most:] if len(excess) > most else everywhere
        return not (self._find_offending(values[:, worst], worst) or self._find_offending(values, everywhere))

    def _glance_offends(self) -> bool:
        """Look at evenly spread words of many: new liars mostly show there, without the syndromes of all."""
        stride = self.words.shape[1] // (_SAMPLE * self.locator.num_checks)
        if stride < _SPARSE:
            return False
        places = np.arange(0, self.words.shape[1], stride)
        return self._find_offending(syndromes(self._reduced.check, self.words[:, places]), places)

    def _find_offending(self, values: Numbers, places: NDArray[np.intp]) -> bool:
        """Compare the syndromes at ``places`` with tolerance and rounding; keep those that exceed both."""
        largest = np.abs(self.words[:, places][~self.dropped]).max(axis=0, initial=0.0)
        self.limits = np.maximum(self.tolerance[places], _SAFETY * _EPSILON * largest)
        ratio = np.abs(values).max(axis=0, initial=0.0) / self.limits
        self.residual = float(ratio.max())
        exceeding = ratio > 1.0
        self.values, self.offending = values[:, exceeding], places[exceeding]
        self.largest, self.offending_limits = largest[exceeding], self.limits[exceeding]
        return bool(exceeding.any())

    def drop_largest(self) -> None:
        """Drop the smallest set of rows that explains all, or else the one that stands out most clearly."""
        compressed, level = self._compress()
        best_clarity, best = _CLEAR, None
        for candidate in self._candidates(compressed, level):
            strengths, leftover = self._explain(candidate, compressed)
            if leftover <= level:
                self._drop(_clear_rows(candidate, strengths, level))
                return
            clarity = float(strengths.min()) / leftover
            if clarity > best_clarity:
                best_clarity, best = clarity, candidate
        if best is None:
            already = int((self.dropped & ~self.erased).sum())
            raise DecodingError(
                f"more workers deviate than the code corrects: no {self.budget + already} of them explain it"
            )
        self._drop(best)

    def verdict(self, num_stages: int) -> Location:
        """Acquit the dropped rows that agree with the decoded word, and report."""
        accused = self.dropped & ~self.erased
        corrupt = accused.copy()
        if accused.any():
            reduced = self._reduced
            deviation = np.abs(self.words[accused] - reduced.prediction[accused] @ self.words)
            corrupt[accused] = (deviation > reduced.growth[accused, None] * self.limits).any(axis=1)
        return Location(corrupt, self.dropped, num_stages, self.residual)

    def _drop(self, rows: NDArray[np.bool_]) -> None:
        self.dropped = self.dropped | rows
        self.budget -= int(rows.sum())

    def _compress(self) -> tuple[Numbers, float]:
        """Weigh the offending words by their tolerance and reduce them to at most ``k`` columns."""
        limits = self.offending_limits
        noise = np.maximum(self.noise[self.offending], _EPSILON * self.largest)
        weighted = self.values / limits
        level = float(2.0 * (noise / limits).max() * np.sqrt(weighted.shape).sum())
        if weighted.shape[1] > weighted.shape[0]:
            weighted = np.asarray(np.linalg.qr(weighted.conj().T, mode="r")).conj().T
        return weighted, level

    def _candidates(self, values: Numbers, level: float) -> Iterator[NDArray[np.bool_]]:
        """Name sets of rows that may explain the syndromes, at most the budget in size, likely ones first."""
        if self.budget < 1:
            return
        left, sizes = singular_space(values)
        finest = max(int(numerical_rank(sizes, level)), 1)
        rankings = []
        for rank in range(finest, 0, -1):
            if rank < finest and sizes[rank - 1] < _CLEAR * sizes[rank]:
                continue
            for size, residuals in self._rankings(left[:, :rank]):
                rankings.append(residuals)
                yield smallest(residuals, size)
        for residuals in rankings:
            yield from self._standing_out(smallest(residuals, values.shape[0]), values, level)

    def _rankings(self, signal: Numbers) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Rank all rows by how well they fit the signal: as independent errors, then as colluding ones."""
        num_checks, rank = signal.shape
        if rank <= self.budget:
            yield rank, subspace_residuals(self._reduced.check, signal, rank, self.dropped)
        most = min(self.budget, (num_checks - 1 + rank) // 2)
        whole = self.locator.to_structured(self._reduced.outside @ signal)
        window = (num_checks - 1 + rank) // 2 + 1 + int(self.dropped.sum())
        windows = window_syndromes(whole, min(window, whole.shape[0]))
        for size in range(rank, most + 1):
            yield size, subspace_residuals(self.locator.structured, windows, size, self.dropped)

    def _standing_out(
        self, rows: NDArray[np.bool_], values: Numbers, level: float
    ) -> Iterator[NDArray[np.bool_]]:
        """Of as many doubtful rows as there are checks, name those with errors above the level or a gap."""
        strengths, _ = self._explain(rows, values)
        order = np.argsort(-strengths)
        falling = strengths[order]
        above = int((falling > level).sum())
        gap = int(np.argmax(falling[:-1] / np.maximum(falling[1:], np.finfo(float).tiny))) + 1
        for size in {above, gap}:
            if 0 < size <= self.budget:
                marks = np.zeros_like(rows)
                marks[np.flatnonzero(rows)[order[:size]]] = True
                yield marks

    def _explain(self, rows: NDArray[np.bool_], values: Numbers) -> tuple[NDArray[np.float64], float]:
        """Part of the syndromes that only each row explains, and the part that none of them does."""
        columns = self._reduced.check[:, rows]
        inverse = np.linalg.pinv(columns)
        errors = inverse @ values
        lengths = np.maximum(np.linalg.norm(inverse, axis=1), np.finfo(float).tiny)
        strengths = np.linalg.norm(errors, axis=1) / lengths
        return strengths, float(np.linalg.norm(values - columns @ errors))


def _clear_rows(rows: NDArray[np.bool_], strengths: NDArray[np.float64], level: float) -> NDArray[np.bool_]:
    """Leave out rows near the level, if others are far above: without those, they will show or vanish."""
    clear = strengths > _CLEAR * level
    if not clear.any():
        return rows
    marks = np.zeros_like(rows)
    marks[np.flatnonzero(rows)[clear]] = True
    return marks
