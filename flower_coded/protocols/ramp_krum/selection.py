"""Multi-Krum on exact integer distances.

A user's score is the sum of its ``n - A - 2`` smallest squared distances to others, n being the users whose
updates take part; the m users of smallest score are selected [1]_. Over the integers nothing cancels and
nothing is rounded, so the selection from shared distances can be compared with the selection in the clear
entry by entry. Equal scores are decided by the lower user number.

References
----------
.. [1] P. Blanchard, E. M. El Mhamdi, R. Guerraoui, J. Stainer, "Machine learning with adversaries: Byzantine
   tolerant gradient descent", NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError, RoundRefusedError

__all__ = ["Selection", "plain_multi_krum", "select_users"]


@dataclass(frozen=True)
class Selection:
    """Who was selected, and why.

    Parameters
    ----------
    users : tuple of int
        The selected users, ascending.
    scores : dict of int to int
        Score of every user that took part.
    """

    users: tuple[int, ...]
    scores: dict[int, int]


def select_users(
    distances: Mapping[tuple[int, int], int], *, num_attackers: int, num_selected: int
) -> Selection:
    """Select by multi-Krum.

    Parameters
    ----------
    distances : mapping of (int, int) to int
        Squared distance of every pair (i, j), i < j, of the users that take part.
    num_attackers : int
        A, the liars that may be among them.
    num_selected : int
        m.

    Returns
    -------
    Selection

    Raises
    ------
    RoundRefusedError
        If ``n < 2A + m + 3``, too few users for the rule to hold against A liars.

    Examples
    --------
    >>> near = {(0, 1): 1, (0, 2): 4, (1, 2): 1, (0, 3): 900, (1, 3): 841, (2, 3): 784, (0, 4): 9, (1, 4): 4,
    ...         (2, 4): 1, (3, 4): 729}
    >>> select_users(near, num_attackers=0, num_selected=2).users
    (1, 2)
    """
    users = sorted({user for pair in distances for user in pair})
    needed = 2 * num_attackers + num_selected + 3
    if len(users) < needed:
        raise RoundRefusedError(
            "selection", "too few updates for multi-Krum", received=len(users), needed=needed
        )
    scores = {}
    for user in users:
        others = sorted(distance for pair, distance in distances.items() if user in pair)
        if len(others) != len(users) - 1:
            raise ParameterError("distances", "must hold every pair", f"{len(others)} of user {user}")
        # The A + 1 largest are left out: A liars far away cannot spoil an honest score.
        scores[user] = sum(others[: len(users) - num_attackers - 2])
    # The user number settles ties, so that whoever repeats the selection finds the same users.
    best = sorted(users, key=lambda user: (scores[user], user))[:num_selected]
    return Selection(tuple(sorted(best)), scores)


def plain_multi_krum(
    updates: Mapping[int, NDArray[np.int64]], *, num_attackers: int, num_selected: int
) -> tuple[Selection, NDArray[np.int64]]:
    """Multi-Krum on updates in the clear, what the shared one must equal integer for integer.

    Parameters
    ----------
    updates : mapping of int to ndarray of shape (L,), int64
        Quantized updates by user; squared distances must fit int64.

    Returns
    -------
    selection : Selection
    total : ndarray of shape (L,), int64
        Sum of the selected updates.

    Examples
    --------
    >>> updates = {user: np.array([user, 0]) for user in range(6)} | {6: np.array([50, 50])}
    >>> selection, total = plain_multi_krum(updates, num_attackers=1, num_selected=2)
    >>> selection.users, total
    ((2, 3), array([5, 0]))
    """
    users = sorted(updates)
    distances = {(i, j): int(((updates[i] - updates[j]) ** 2).sum()) for i in users for j in users if i < j}
    selection = select_users(distances, num_attackers=num_attackers, num_selected=num_selected)
    return selection, np.sum([updates[user] for user in selection.users], axis=0)
