"""Attack patterns: the sets of models that some set of users can poison, with the users who explain each.

The posterior of the coded subset aggregation paper sums over every set ``x`` of attackers, but depends on
``x`` only through its size and through the pattern ``Hx`` of models it reaches. Users with equal columns
are interchangeable, so the patterns are built one distinct column at a time, counting sets instead of
listing them: for BCC(4, 4, 12) and up to three attackers 299 sets have 42 patterns, and repeating columns
further adds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.errors import ParameterError

__all__ = ["AttackPatterns", "attack_patterns"]

MAX_PATTERNS = 2_000_000
"""Patterns beyond which the enumeration is refused."""


@dataclass(frozen=True)
class AttackPatterns:
    """Distinct patterns ``Hx`` over all attacker sets of positive prior, fewest attackers first.

    Parameters
    ----------
    models : ndarray of shape (num_patterns, m), bool
        The models reached.
    log_prior : ndarray of shape (num_patterns,), float64
        Log of the total prior of all sets with this pattern; the priors sum to one.
    log_best_prior : ndarray of shape (num_patterns,), float64
        Log prior of the likeliest single set with this pattern.
    users : ndarray of shape (num_patterns, n), bool
        The likeliest set: of several equally likely ones the smallest, then the first in lexicographic order.
    num_users : ndarray of shape (num_patterns,), int64
        The size of that set.
    num_alternatives : ndarray of shape (num_patterns,), float64
        Sets of that size with this pattern, that one included: 1 where the users are determined.
    common : ndarray of shape (num_patterns, n), bool
        The users whom every set with this pattern contains, or another user with the same column.
    """

    models: NDArray[np.bool_]
    log_prior: NDArray[np.float64]
    log_best_prior: NDArray[np.float64]
    users: NDArray[np.bool_]
    num_users: NDArray[np.int64]
    num_alternatives: NDArray[np.float64]
    common: NDArray[np.bool_]


def attack_patterns(code: SubsetCode, attacker_prior: Sequence[float]) -> AttackPatterns:
    """Group all sets of attackers by the models they reach.

    Parameters
    ----------
    code : SubsetCode
        ``H``.
    attacker_prior : sequence of float
        ``Q(0), Q(1), ...``: the prior of each number of attackers, uniform over their positions. Already
        normalized.

    Returns
    -------
    AttackPatterns
        Every pattern with positive prior.

    Raises
    ------
    ParameterError
        If there are more than 2,000,000 patterns.

    Examples
    --------
    >>> from flower_coded.codes.subset.constructions import backdoor_correction_code
    >>> patterns = attack_patterns(backdoor_correction_code(4, 4, 12, rows="paper"), [0.25] * 4)
    >>> len(patterns.models), patterns.num_users.tolist()[:8]
    (42, [0, 1, 1, 1, 1, 1, 1, 2])
    """
    twins = _columns(code)
    sets = _sets_by_pattern(twins, len(attacker_prior) - 1)
    prior_of_one = [float(share) / comb(code.num_users, size) for size, share in enumerate(attacker_prior)]
    entries = []
    for pattern, by_size in sets.items():
        possible = {size: found for size, found in by_size.items() if prior_of_one[size] > 0}
        if possible:
            best = max(possible, key=lambda size: (prior_of_one[size], -size))
            total = sum(prior_of_one[size] * found[0] for size, found in possible.items())
            count, users, _ = possible[best]
            common = frozenset.intersection(*(found[2] for found in possible.values()))
            all_twins = tuple(user for column in common for user in twins[column])
            entries.append((best, users, pattern, total, prior_of_one[best], count, all_twins))
    entries.sort(key=lambda entry: entry[:2])
    return AttackPatterns(
        models=_unpack([entry[2] for entry in entries], code.num_models),
        log_prior=np.log([entry[3] for entry in entries]),
        log_best_prior=np.log([entry[4] for entry in entries]),
        users=_indicator([entry[1] for entry in entries], code.num_users),
        num_users=np.array([entry[0] for entry in entries], dtype=np.int64),
        num_alternatives=np.array([float(entry[5]) for entry in entries]),
        common=_indicator([entry[6] for entry in entries], code.num_users),
    )


# By size: how many sets, the first of them, and the columns that all of them hold.
_BySize = dict[int, tuple[int, tuple[int, ...], frozenset[int]]]


def _columns(code: SubsetCode) -> dict[int, list[int]]:
    """Give the users of every distinct column, a column being an integer with a bit per model."""
    twins: dict[int, list[int]] = {}
    for user in range(code.num_users):
        column = int.from_bytes(np.packbits(code.matrix[:, user], bitorder="little").tobytes(), "little")
        twins.setdefault(column, []).append(user)
    return twins


def _sets_by_pattern(twins: dict[int, list[int]], max_size: int) -> dict[int, _BySize]:
    """For each pattern (an integer): what is known of the sets that have it, by size."""
    sets: dict[int, _BySize] = {0: {0: (1, (), frozenset())}}
    for column, users in twins.items():
        for pattern, size, (count, members, columns) in _extensions(sets, column, users, max_size):
            by_size = sets.setdefault(pattern, {})
            others, first, common = by_size.get(size, (0, members, columns))
            by_size[size] = (others + count, min(first, members), common & columns)
        if len(sets) > MAX_PATTERNS:
            raise ParameterError(
                "attacker_prior",
                f"must lead to at most {MAX_PATTERNS} attack patterns",
                max_size,
                hint="give a prior over fewer attackers",
            )
    return sets


def _extensions(
    sets: dict[int, _BySize], column: int, users: list[int], max_size: int
) -> list[tuple[int, int, tuple[int, tuple[int, ...], frozenset[int]]]]:
    """Every set so far with one or more of the users added whose column is ``column``."""
    return [
        (
            pattern | column,
            size + added,
            (
                count * comb(len(users), added),
                tuple(sorted(members + tuple(users[:added]))),
                columns | {column},
            ),
        )
        for pattern, by_size in sets.items()
        for size, (count, members, columns) in by_size.items()
        for added in range(1, min(len(users), max_size - size) + 1)
    ]


def _unpack(patterns: list[int], num_models: int) -> NDArray[np.bool_]:
    num_bytes = -(-num_models // 8)
    packed = np.frombuffer(b"".join(p.to_bytes(num_bytes, "little") for p in patterns), dtype=np.uint8)
    bits = np.unpackbits(packed.reshape(len(patterns), num_bytes), axis=1, bitorder="little")
    return bits[:, :num_models].astype(bool)


def _indicator(sets: list[tuple[int, ...]], num_users: int) -> NDArray[np.bool_]:
    marked = np.zeros((len(sets), num_users), dtype=bool)
    for row, members in zip(marked, sets, strict=True):
        row[list(members)] = True
    return marked
