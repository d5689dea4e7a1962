"""Whom a defense named: precision, recall and F1 over users, counted once per user and observation.

An observation is a round from the attack's first on, in which a defense rejected replies, or left out
updates and said whose (selection rules); for a coded ensemble it is the end of the run, when its decoder
accuses by its standard of proof (the likeliest set, which is a guess, does not count). A rule that uses
every update in part names nobody but the senders of malformed replies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from flower_coded.codes import SubsetCode
from flower_coded.strategies import (
    CodedSubsetAggregation,
    RampSharedMultiKrum,
    RuleAggregation,
    ValidatedReplies,
)
from flower_coded.sweep.metered import MeteredGrid

__all__ = ["Detection", "accused_users", "named_users"]


@dataclass(frozen=True)
class Detection:
    """Counts of users over observations.

    Parameters
    ----------
    true_positives, false_positives, false_negatives : int
        Attackers named, honest users named, attackers not named.

    Examples
    --------
    >>> found = Detection.of([{0, 1}, {0}], attackers=(0, 3))
    >>> found.precision, found.recall, round(found.f1, 3)
    (0.6666666666666666, 0.5, 0.571)
    """

    true_positives: int
    false_positives: int
    false_negatives: int

    @classmethod
    def of(cls, named: Iterable[set[int]], attackers: Sequence[int]) -> Detection:
        """Compare the users named in each observation with the attackers."""
        guilty, true, false, missed = set(attackers), 0, 0, 0
        for users in named:
            true += len(users & guilty)
            false += len(users - guilty)
            missed += len(guilty - users)
        return cls(true, false, missed)

    @property
    def precision(self) -> float | None:
        """Share of attackers among those named; None where nobody was named."""
        named = self.true_positives + self.false_positives
        return self.true_positives / named if named else None

    @property
    def recall(self) -> float | None:
        """Share of attackers that were named; None where there was no attacker."""
        guilty = self.true_positives + self.false_negatives
        return self.true_positives / guilty if guilty else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two; None where there was no attacker, 0 where none of them was named."""
        if self.recall is None:
            return None
        doubled = 2 * self.true_positives
        return doubled / (doubled + self.false_positives + self.false_negatives)


def accused_users(code: SubsetCode, named: Iterable[int], attackers: Sequence[int]) -> set[int]:
    """Whom a decoder's names accuse: of users with equal columns, one of whom is meant, only one side.

    Parameters
    ----------
    code : SubsetCode
        ``n`` users.
    named : iterable of int
        Users; those with equal columns are named together.
    attackers : sequence of int
        The true ones. Where there are some among users with equal columns, all of these are meant; else the
        first. A right name costs nothing for the honest users whose columns are the same: the code says "one
        of these".

    Examples
    --------
    >>> code = SubsetCode(["1100", "0011"])  # two groups of two
    >>> accused_users(code, [0, 1, 2, 3], attackers=[1])
    {1, 2}
    """
    accused: set[int] = set()
    for user in named:
        alike = np.flatnonzero(code.alike[user]).tolist()
        accused.update(set(alike) & set(attackers) or alike[:1])
    return accused


def named_users(
    strategy: ValidatedReplies | RuleAggregation | RampSharedMultiKrum | CodedSubsetAggregation,
    grid: MeteredGrid,
    from_round: int = 1,
    accused: Iterable[int] = (),
    until_round: int = 0,
) -> list[set[int]]:
    """Users that a strategy named, one set per observation.

    Parameters
    ----------
    strategy : a strategy with a history
        After its run.
    grid : MeteredGrid
        Whose partition ids are the users.
    from_round : int
        First round of the attack.
    accused : iterable of int
        Users whom the decoder of a coded ensemble accuses.
    until_round : int
        Last round of the attack; 0 is to the end.
    """
    last_round = until_round or math.inf
    if isinstance(strategy, CodedSubsetAggregation):
        last = strategy.history[-1]
        rejected = {each.participant for each in last.rejected if each.participant is not None}
        return [rejected | set(accused)]
    if isinstance(strategy, RampSharedMultiKrum):
        rounds = [each for each in strategy.history if from_round <= each.server_round <= last_round]
        everybody = set(range(len(grid.node_ids)))
        liars = [{report.user for report in each.misbehavior} for each in rounds]
        return [
            lied | (everybody - set(each.selected) if each.selected else set())
            for each, lied in zip(rounds, liars, strict=True)
        ]
    return [
        {*getattr(each, "unselected", ()), *(lost.participant for lost in each.rejected)} - {None}
        for each in strategy.history
        if each.stage == "train" and from_round <= each.server_round <= last_round
    ]
