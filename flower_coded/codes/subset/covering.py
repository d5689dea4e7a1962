"""Fewer rows for detection and correction codes: a greedy covering design.

The zero sets of a detection code are blocks of at most ``n - r`` users that cover every set of ``k`` users.
Where ``n`` is no multiple of a minimal code's length, repeating columns is wasteful; here, while the number
of blocks is small enough to list, the block that covers most sets not yet covered is taken until all are,
and blocks that turned out superfluous are dropped. Bounded and deterministic; within a factor ``1 + ln C(n
- r, k)`` of the fewest rows, as any greedy cover is, and usually far closer.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_INCIDENCES", "greedy_detection_matrix"]

MAX_INCIDENCES = 30_000_000
"""Pairs of a block and a set of users beyond which the search is left out."""


def greedy_detection_matrix(num_attackers: int, row_weight: int, num_users: int) -> NDArray[np.bool_] | None:
    """Cover all sets of ``k`` users greedily by zero sets of ``n - r`` users.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``, feasible.

    Returns
    -------
    ndarray of shape (m, n), bool, or None
        A BDC(k, r, n); None if there are more than :data:`MAX_INCIDENCES` pairs of a block and a set to
        list, or a user is left out by every row and cannot be let in.

    Examples
    --------
    >>> greedy_detection_matrix(2, 5, 8).shape
    (11, 8)
    """
    k, r, n = num_attackers, row_weight, num_users
    if comb(n, r) * comb(n, k) > MAX_INCIDENCES:
        return None
    blocks = _indicators(n, n - r)
    sets = _indicators(n, k)
    covers = sets.astype(np.float32) @ blocks.astype(np.float32).T == k  # (sets, blocks)
    chosen: list[int] = []
    is_open = np.ones(len(sets), dtype=bool)
    gain = covers.sum(axis=0)
    while is_open.any():
        block = int(gain.argmax())
        newly = is_open & covers[:, block]
        gain = gain - covers[newly].sum(axis=0)
        is_open &= ~newly
        chosen.append(block)
    zero_sets = blocks[_without_superfluous(chosen, covers)]
    for user in np.flatnonzero(zero_sets.all(axis=0)):
        if not _release(zero_sets, int(user), sets):
            return None
    return ~zero_sets


def _indicators(num_users: int, size: int) -> NDArray[np.bool_]:
    members = np.array(list(combinations(range(num_users), size)))
    marked = np.zeros((len(members), num_users), dtype=bool)
    np.put_along_axis(marked, members, True, axis=1)
    return marked


def _without_superfluous(chosen: list[int], covers: NDArray[np.bool_]) -> list[int]:
    """Drop blocks, oldest first, whose sets are all covered by others."""
    times = covers[:, chosen].sum(axis=1)
    kept = []
    for block in chosen:
        if (times[covers[:, block]] > 1).all():
            times = times - covers[:, block]
        else:
            kept.append(block)
    return kept


def _release(zero_sets: NDArray[np.bool_], user: int, sets: NDArray[np.bool_]) -> bool:
    """Let a user whom every row leaves out into one row, in place, if all sets stay covered."""
    num_attackers = int(sets[0].sum())
    with_user = sets[sets[:, user]].astype(np.int64)
    times = (with_user @ zero_sets.T.astype(np.int64) == num_attackers).astype(np.int64)  # (sets, rows)
    spare = ((times.sum(axis=1, keepdims=True) - times) > 0).all(axis=0)
    if not spare.any():
        return False
    zero_sets[int(spare.argmax()), user] = False
    return True
