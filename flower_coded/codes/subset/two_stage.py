"""Tracking in two stages: which groups first, then which of their users.

A tracking code for very many users and heavy rows needs many models. If training can be asked for twice,
users are put into groups, a tracking code over the groups names at most ``k`` of them, and a second code
tells apart the users of those groups only. All others are cleared and train every model of the second
stage, so its rows are heavy by themselves. Both codes are tracking codes; the promise is that of tracking
codes, against attackers who poison all their models, in both stages. Those who stop after the first stage
are known by group only.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.column_growth import expected_models
from flower_coded.codes.subset.feasibility import check_feasible
from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.codes.subset.tracking import backdoor_tracking_code
from flower_coded.errors import ParameterError

__all__ = ["TwoStageTracking", "two_stage_tracking"]


@dataclass(frozen=True)
class TwoStageTracking:
    """Codes for two rounds of training of which the second looks only at the groups that the first named.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``.
    group_size : int
        Users in a group; the last one may have fewer.

    Raises
    ------
    ParameterError
        If the groups are too large for the row weight.

    Examples
    --------
    >>> plan = TwoStageTracking(2, 30, 60, group_size=6)
    >>> plan.first.num_users, plan.suspects([3]), plan.second([3, 8]).row_weight
    (60, (18, 19, 20, 21, 22, 23), 53)
    """

    num_attackers: int
    row_weight: int
    num_users: int
    group_size: int

    def __post_init__(self) -> None:
        check_feasible(self.num_attackers, self.row_weight, self.num_users)
        most = (self.num_users - self.row_weight) // max(self.num_attackers, 1)
        if not 1 <= self.group_size <= most:
            raise ParameterError(
                "group_size",
                f"must lie in 1 .. {most}: a model leaves out {self.num_attackers} groups",
                self.group_size,
            )

    @property
    def num_groups(self) -> int:
        """Groups of users."""
        return -(-self.num_users // self.group_size)

    @cached_property
    def first(self) -> SubsetCode:
        """The code of the first stage, over all users; those of a group have equal columns."""
        groups = self._code_of_groups()
        return SubsetCode(
            groups[:, np.arange(self.num_users) // self.group_size],
            num_attackers=self.num_attackers,
            name=f"first stage, {self.num_groups} groups of {self.group_size}",
        )

    def suspects(self, groups: Collection[int]) -> tuple[int, ...]:
        """List the users of the groups that the first stage named.

        Parameters
        ----------
        groups : collection of int
            Group numbers; a decoder's suspects of the first code divided by the group size.

        Returns
        -------
        tuple of int
            User numbers, increasing.

        Raises
        ------
        ParameterError
            If there are more groups than attackers, none, or one does not exist.
        """
        named = sorted(set(groups))
        if not 1 <= len(named) <= self.num_attackers:
            raise ParameterError("groups", f"must be 1 to {self.num_attackers}", named)
        if not 0 <= named[0] <= named[-1] < self.num_groups:
            raise ParameterError("groups", f"must lie in 0 .. {self.num_groups - 1}", named)
        size, users = self.group_size, self.num_users
        return tuple(user for group in named for user in range(group * size, min((group + 1) * size, users)))

    def second(self, groups: Collection[int]) -> SubsetCode:
        """Build the code of the second stage.

        Parameters
        ----------
        groups : collection of int
            The groups that the first stage named, at least one and at most ``k``.

        Returns
        -------
        SubsetCode
            Over all users: cleared users train every model, and the columns of the others are a tracking
            code.

        Raises
        ------
        ParameterError
            As :meth:`suspects`.
        """
        suspects = np.array(self.suspects(groups))
        matrix = self._code_of_suspects(len(suspects))
        everyone = np.ones((len(matrix), self.num_users), dtype=bool)
        everyone[:, suspects] = matrix
        return SubsetCode(everyone, name=f"second stage, {len(suspects)} suspects")

    def num_models(self) -> tuple[int, int]:
        """Count the models of both stages, the second where it has most suspects.

        Returns
        -------
        (int, int)
        """
        # The last group may be smaller, so the first k hold the most suspects.
        most = list(range(self.num_attackers))
        return self.first.num_models, self._code_of_suspects(len(self.suspects(most))).shape[0]

    def _code_of_groups(self) -> NDArray[np.bool_]:
        # So many whole groups can be left out before a model has fewer than r users.
        weight = self.num_groups - (self.num_users - self.row_weight) // self.group_size
        return backdoor_tracking_code(self.num_attackers, max(1, weight), self.num_groups).matrix

    def _code_of_suspects(self, num_suspects: int) -> NDArray[np.bool_]:
        """Build a tracking code in which the cleared users make up for what its rows lack."""
        weight = max(1, self.row_weight - (self.num_users - num_suspects))
        attackers = min(self.num_attackers, num_suspects - weight)
        if attackers < 1:
            raise ParameterError("group_size", "must leave room to tell users apart", self.group_size)
        return backdoor_tracking_code(attackers, weight, num_suspects).matrix


def two_stage_tracking(num_attackers: int, row_weight: int, num_users: int) -> TwoStageTracking:
    """Choose the size of the groups by the rows that random codes are expected to need in both stages.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``.

    Returns
    -------
    TwoStageTracking
        With the fewest models expected.

    Raises
    ------
    ParameterError
        If the parameters are infeasible.

    Examples
    --------
    >>> two_stage_tracking(2, 750, 1000).group_size
    16
    """
    check_feasible(num_attackers, row_weight, num_users)
    k, r, n = num_attackers, row_weight, num_users

    def expected(size: int) -> int:
        groups, suspects = -(-n // size), k * size
        weight = max(1, groups - (n - r) // size)
        if weight >= groups or suspects - max(1, r - n + suspects) < k:
            # No such code: a price that feasible sizes undercut.
            return n * n
        return expected_models(k, weight, groups)[0] + expected_models(k, 1, suspects)[0]

    sizes = [2**power for power in range(num_users.bit_length()) if k * 2**power <= n - r]
    return TwoStageTracking(k, r, n, min(sizes, key=expected))
