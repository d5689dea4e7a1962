"""Tracking codes for many users: random columns, one after the other, each checked against all sums so far.

A drawn column is kept if its sums with up to ``k - 1`` of the columns before it meet no sum that is in
use, no complement of one, and not each other. So the result is a tracking code by construction. Where
nothing drawn fits, a random row is added to all columns, which keeps apart what was apart. Every row
counts the zeros it may still have, and a bit is zero with their share of the columns to come: the row
weight holds exactly.

This is the greedy bound of random coding. A code drawn as a whole needs about half as many rows again: among
all pairs of sums some collide, while the sums of one column collide only with what is there already.
"""

from __future__ import annotations

from itertools import count
from math import comb

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.column_sums import column_sums, pack_columns

__all__ = ["expected_models", "grow_columns"]

_DRAWS, _BATCHES = 64, 3  # columns drawn at a time; batches without a success before a row is added
_RESERVE = 0.02  # zeros kept back, as a share of n: without them the last columns would have no choice
_STARTS = (1.0, 0.8, 0.65)  # of the rows expected
_LOOKUPS = 10_000_000  # sums looked up by an attempt with fewer rows before it is given up
_COLLISIONS = 3.0  # expected per column: one in twenty fits


def expected_models(num_attackers: int, row_weight: int, num_users: int) -> tuple[int, float]:
    """Estimate how many rows random columns need, and the best density of zeros.

    In a row of independent bits, zero with probability ``z``, two sets of ``a`` and ``b`` users with ``s`` in
    common have equal sums with probability ``1 - z^a - z^b + 2 z^(a + b - s)``. The estimate is the least
    number of rows for which a new column is expected to collide three times.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``.

    Returns
    -------
    num_models : int
        An estimate, no bound.
    density : float
        Of zeros, at most what the row weight allows.

    Examples
    --------
    >>> expected_models(2, 250, 1000)[0]
    39
    """
    k, n = num_attackers, num_users
    most = (n - row_weight) / n / (1 + _RESERVE)
    candidates = [(_rows_for(k, n, z), z) for z in (*np.arange(0.3, 0.9, 0.05).tolist(), most) if z <= most]
    return min(candidates)


def grow_columns(
    num_attackers: int,
    row_weight: int,
    num_users: int,
    generator: np.random.Generator,
    *,
    most_models: int,
) -> NDArray[np.bool_] | None:
    """Build a BTC(k, r, n) column by column, from fewer and fewer rows to start with.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``, feasible.
    generator : numpy.random.Generator
        Draws the columns; the same state gives the same result.
    most_models : int
        Rows beyond which to give up.

    Returns
    -------
    ndarray of shape (m, n), bool, or None
        None if ``most_models`` rows were too few.

    Examples
    --------
    >>> grow_columns(2, 10, 40, np.random.default_rng(0), most_models=40).shape[1]
    40
    """
    expected, density = expected_models(num_attackers, row_weight, num_users)
    best: NDArray[np.bool_] | None = None
    for share in _STARTS:
        most = most_models if best is None else len(best) - 1
        start = max(2, int(share * expected))
        lookups = None if best is None else _LOOKUPS
        found = _grow(num_attackers, row_weight, num_users, start, most, density, generator, lookups)
        if found is None and best is not None:
            break
        best = best if found is None else found
    return best


def _grow(
    k: int,
    r: int,
    n: int,
    start: int,
    most: int,
    density: float,
    generator: np.random.Generator,
    lookups: int | None,
) -> NDArray[np.bool_] | None:
    quota = n - r
    columns = np.zeros((0, start), dtype=bool)
    used, failures = _UsedSums(k, start), 0
    while len(columns) < n and columns.shape[1] <= most and (lookups is None or used.looked_up < lookups):
        spare = quota - (~columns).sum(axis=0)
        share = np.minimum(spare / (n - len(columns) + _RESERVE * n), density)
        drawn = generator.random((_DRAWS, columns.shape[1])) >= np.where(spare > 0, share, 0.0)
        words = pack_columns(drawn.T)
        first = next((index for index in range(_DRAWS) if used.add(words[index])), None)
        if first is not None:
            columns, failures = np.vstack([columns, drawn[first]]), 0
            continue
        failures += 1
        if failures == _BATCHES:
            failures, before = 0, used.looked_up
            num_zeros = int(min(quota / n / (1 + _RESERVE), density) * len(columns))
            row = np.arange(len(columns)) >= num_zeros
            columns = np.hstack([columns, generator.permutation(row)[:, None]])
            used = _UsedSums(k, columns.shape[1], pack_columns(columns.T))
            used.looked_up += before
    return np.ascontiguousarray(columns.T) if len(columns) == n and columns.shape[1] <= most else None


class _UsedSums:
    """Sums of up to ``k`` columns by a 64-bit key, with their complements, zero and all-ones.

    Equal keys of different sums only refuse a column that would have done; different keys are different sums.
    """

    def __init__(self, max_size: int, num_rows: int, columns: NDArray[np.uint64] | None = None) -> None:
        self._ones = pack_columns(np.ones((num_rows, 1), dtype=bool))
        zero = np.zeros_like(self._ones)
        self.looked_up = 0
        self._sums = [zero] + [zero[:0]] * (max_size - 1)  # of 0 .. k - 1 columns
        self._keys = set(_keys(np.vstack([zero, self._ones])).tolist())
        if columns is not None and len(columns):
            ends = np.cumsum([comb(len(columns), size) for size in range(1, max_size)])
            words = column_sums(columns, max_size).words
            self._sums = [zero, *np.split(words[: ends[-1]] if len(ends) else words[:0], ends[:-1])]
            self._keys.update(_keys(words).tolist(), _keys(words ^ self._ones).tolist())
            self.looked_up = len(words)

    def add(self, column: NDArray[np.uint64]) -> bool:
        """Take a column in if all its sums are new; tell whether it was."""
        new = [column | sums for sums in self._sums]
        together = np.vstack(new)
        keys = np.concatenate([_keys(together), _keys(together ^ self._ones)]).tolist()
        self.looked_up += len(together)
        if not self._keys.isdisjoint(keys) or len(own := set(keys)) < len(keys):
            return False
        self._keys |= own
        for size in range(len(new) - 1, 0, -1):
            self._sums[size] = np.vstack([self._sums[size], new[size - 1]])
        return True


def _keys(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One number per packed sum: itself where one word suffices, else mixed word by word (splitmix64)."""
    if words.shape[1] == 1:
        return words[:, 0]
    keys = np.zeros(len(words), dtype=np.uint64)
    for index, column in enumerate(words.T):
        # Sums have few zeros, so the words are alike: without a full mix keys do meet.
        mixed = keys ^ (column + np.uint64(0x9E3779B97F4A7C15 * (index + 1) % 2**64))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys = mixed ^ (mixed >> np.uint64(31))
    return keys


def _rows_for(k: int, n: int, zero: float) -> int:
    """Fewest rows with at most three collisions expected of the last column, at one density of zeros."""
    kinds = [
        (
            # Sets X of a users with the new one, and Y of b users of which s are in X.
            float(comb(n, a - 1)) * comb(a, s) * comb(n, b - s),
            1 - zero**a - zero**b + 2 * zero ** (a + b - s),
        )
        for a in range(1, k + 1)
        for b in range(1, k + 1)
        for s in range(min(a, b) + 1)
        if not a == b == s
    ]
    return next(m for m in count(1) if sum(pairs * equal**m for pairs, equal in kinds) <= _COLLISIONS)
