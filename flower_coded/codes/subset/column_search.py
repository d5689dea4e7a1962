"""Greedy search for separable matrices and tracking codes, column by column.

All ``2^m`` columns are candidates. After each choice the candidates whose sums with the columns chosen so
far would meet a sum already used are struck out, all at once by indexing a table of used sums; what
survives is tried in random order, lightest load on the rows first. Good for small ``m``: memory and time
per restart grow with ``2^m``. Deterministic for a given generator; bounded by the number of sums looked up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.column_sums import count_sums

__all__ = ["MAX_SEARCH_MODELS", "search_columns"]

MAX_SEARCH_MODELS = 16
"""Rows beyond which ``2^m`` candidates are too many for this search."""

_LEAST_LOOKUPS = 1 << 21  # what a run counts at least: below this its fixed cost dominates
_COMPARED = 4  # candidates compared for the load they put on rows


def search_columns(
    num_attackers: int,
    row_weight: int,
    num_users: int,
    num_models: int,
    generator: np.random.Generator,
    *,
    max_lookups: int = 1 << 28,
    only_separable: bool = False,
) -> NDArray[np.bool_] | None:
    """Look for a BTC(k, r, n), or only a k-bar-separable matrix, with exactly ``m`` rows.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``.
    num_models : int
        ``m``, at most :data:`MAX_SEARCH_MODELS`.
    generator : numpy.random.Generator
        Decides ties; the same state gives the same result.
    max_lookups : int
        The effort: greedy runs are repeated until they might have looked up this many sums.
    only_separable : bool
        Ask only for distinct sums and non-zero columns, not for a tracking code.

    Returns
    -------
    ndarray of shape (m, n), bool, or None
        A matrix with the property, or None if no run found one (which proves nothing).

    Examples
    --------
    >>> matrix = search_columns(2, 2, 8, 8, np.random.default_rng(0))
    >>> matrix.shape
    (8, 8)
    """
    lookups_per_run = num_users * 2**num_models * (1 + count_sums(num_users - 1, num_attackers - 1))
    for _ in range(max_lookups // max(lookups_per_run, _LEAST_LOOKUPS)):
        columns = _one_run(num_attackers, row_weight, num_users, num_models, generator, only_separable)
        if columns is not None:
            bits = np.arange(num_models)[:, None]
            return ((columns[None, :] >> bits) & 1).astype(bool)
    return None


def _one_run(
    k: int, r: int, n: int, m: int, generator: np.random.Generator, only_separable: bool
) -> NDArray[np.int64] | None:
    everything = (1 << m) - 1
    used = np.zeros(1 << m, dtype=bool)
    used[[0, everything]] = True, not only_separable
    candidates = generator.permutation(np.arange(1, 1 << m, dtype=np.int64))
    zeros_left = np.full(m, n - r)
    sums = [np.zeros(1, dtype=np.int64)] + [np.zeros(0, dtype=np.int64)] * (k - 1)  # by size, 0 .. k - 1
    chosen: list[int] = []
    while len(chosen) < n:
        candidates = _still_possible(candidates, used, np.concatenate(sums), zeros_left)
        added = _first_injective(candidates, np.concatenate(sums), zeros_left)
        if added is None:
            return None
        chosen.append(added)
        new = [added | size for size in sums]
        for total in new:
            used[total] = True
            used[everything ^ total] |= not only_separable
        for size in range(k - 1, 0, -1):
            sums[size] = np.concatenate([sums[size], new[size - 1]])
        zeros_left -= (added >> np.arange(m)) & 1 == 0
    return np.array(chosen, dtype=np.int64)


def _still_possible(
    candidates: NDArray[np.int64],
    used: NDArray[np.bool_],
    sums: NDArray[np.int64],
    zeros_left: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Keep candidates that have no zero in a row that may have no more, and whose sums are all unused."""
    full_rows = int(((zeros_left <= 0).astype(np.int64) << np.arange(len(zeros_left))).sum())
    candidates = candidates[candidates & full_rows == full_rows]
    for total in sums:
        candidates = candidates[~used[candidates | total]]
    return candidates


def _first_injective(
    candidates: NDArray[np.int64], sums: NDArray[np.int64], zeros_left: NDArray[np.int64]
) -> int | None:
    """Among a few candidates whose own sums differ, the one with its zeros where most are still allowed."""
    rows = np.arange(len(zeros_left))
    best, best_load = None, np.inf
    tried = 0
    for candidate in candidates:
        if len(np.unique(candidate | sums)) < len(sums):
            continue
        is_zero = (candidate >> rows) & 1 == 0
        load = float((1.0 / zeros_left[is_zero]).sum()) / max(1, int(is_zero.sum()))
        if load < best_load:
            best, best_load = int(candidate), load
        tried += 1
        if tried == _COMPARED:
            break
    return best
