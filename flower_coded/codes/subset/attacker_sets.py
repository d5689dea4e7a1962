"""Sets of attackers as a decoder can tell them apart: sets of distinct columns, with their prior.

Users with equal columns reach the same models, so no answers distinguish them: an explanation is a set of
distinct columns, each standing for one or more of its users. Beside
:mod:`~flower_coded.codes.subset.attack_patterns`, which merges whatever reaches the same models (all that a
label depends on), sets stay apart here: an accusation has to hold for every one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.errors import ParameterError

__all__ = ["MAX_SETS", "AttackerSets", "attacker_sets"]

MAX_SETS = 100_000
"""Sets beyond which the enumeration is refused."""


@dataclass(frozen=True)
class AttackerSets:
    """All sets of up to ``k`` distinct columns, nobody first, then by size and in lexicographic order.

    Parameters
    ----------
    reach : ndarray of shape (E, m), bool
        The models each set can poison.
    size : ndarray of shape (E,), int64
        Its distinct columns.
    users : ndarray of shape (E, n), bool
        The first user of each of its columns.
    members : ndarray of shape (E, n), bool
        All users of its columns.
    log_prior : ndarray of shape (E,), float64
        Log of the prior of all sets of users with exactly these columns, where every number 0..k of
        attackers is as likely as any other and all their positions are.
    """

    reach: NDArray[np.bool_]
    size: NDArray[np.int64]
    users: NDArray[np.bool_]
    members: NDArray[np.bool_]
    log_prior: NDArray[np.float64]


def attacker_sets(code: SubsetCode, num_attackers: int) -> AttackerSets:
    """List the sets of up to ``k`` attackers that a code can tell apart.

    Parameters
    ----------
    code : SubsetCode
        ``H``.
    num_attackers : int
        ``k``, from 0 to ``n``.

    Returns
    -------
    AttackerSets

    Raises
    ------
    ParameterError
        If ``k`` is out of its range or there are more than :data:`MAX_SETS` sets.

    Examples
    --------
    >>> from flower_coded.codes.subset.constructions import backdoor_correction_code
    >>> sets = attacker_sets(backdoor_correction_code(4, 4, 12, rows="paper"), 2)
    >>> len(sets.reach), sets.size.tolist()[:8], sets.members[1].nonzero()[0].tolist()
    (22, [0, 1, 1, 1, 1, 1, 1, 2], [0, 6])
    """
    if not 0 <= num_attackers <= code.num_users:
        raise ParameterError("num_attackers", f"must lie in 0 .. {code.num_users}", num_attackers)
    columns: dict[bytes, list[int]] = {}
    for user in range(code.num_users):
        columns.setdefault(code.matrix[:, user].tobytes(), []).append(user)
    twins = list(columns.values())
    largest = min(num_attackers, len(twins))
    number = sum(comb(len(twins), size) for size in range(largest + 1))
    if number > MAX_SETS:
        raise ParameterError(
            "num_attackers",
            f"must lead to at most {MAX_SETS} sets of attackers, not {number}",
            num_attackers,
            hint="a decoder for fewer attackers",
        )
    chosen = np.zeros((number, len(twins)), dtype=bool)
    row = 0
    for size in range(largest + 1):
        for members in combinations(range(len(twins)), size):
            chosen[row, list(members)] = True
            row += 1
    belongs = np.zeros((len(twins), code.num_users), dtype=bool)
    for index, alike in enumerate(twins):
        belongs[index, alike] = True
    first = np.array([alike[0] for alike in twins])
    users = np.zeros((number, code.num_users), dtype=bool)
    users[:, first] = chosen
    counts = [len(alike) for alike in twins]
    return AttackerSets(
        reach=chosen.astype(np.uint8) @ code.matrix[:, first].T.astype(np.uint8) > 0,
        size=chosen.sum(axis=1),
        users=users,
        members=chosen.astype(np.uint8) @ belongs.astype(np.uint8) > 0,
        log_prior=_log_priors(chosen, counts, num_attackers, code.num_users),
    )


def _log_priors(
    chosen: NDArray[np.bool_], counts: list[int], num_attackers: int, num_users: int
) -> NDArray[np.float64]:
    """Sum ``1 / (k + 1) / C(n, a)`` over all sets of ``a`` users with exactly the chosen columns."""
    sizes = np.arange(num_attackers + 1)
    of_one = np.array([1 / (num_attackers + 1) / comb(num_users, int(size)) for size in sizes])
    known: dict[tuple[int, ...], float] = {}
    log_priors = np.empty(len(chosen))
    for row, members in enumerate(chosen):
        # Only how many users each chosen column has matters: a polynomial whose coefficient of z^a counts
        # the sets of a users.
        kind = tuple(sorted(counts[index] for index in np.flatnonzero(members)))
        if kind not in known:
            number_of_sets = np.ones(1)
            for count in kind:
                ways = [0.0] + [float(comb(count, some)) for some in range(1, count + 1)]
                number_of_sets = np.convolve(number_of_sets, ways)
            length = min(len(number_of_sets), len(of_one))
            known[kind] = float(np.log(number_of_sets[:length] @ of_one[:length]))
        log_priors[row] = known[kind]
    return log_priors
