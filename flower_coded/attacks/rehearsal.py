"""What attackers who know the aggregation rule do first: they rehearse the round.

Some attacks choose a number (how far to go) by trying: ``m`` copies of what they would send are put beside
the honest updates, the known rule is applied, and the result is compared with the honest mean. This module is
that rehearsal, and the search over the number; the attacks are in
:mod:`~flower_coded.attacks.optimized_factor`, :mod:`~flower_coded.attacks.tailored_perturbation` and
:mod:`~flower_coded.attacks.krum_attack`.

Whom the rehearsal puts beside the copies depends on what is known. Of everybody's updates it takes those of
the honest, ``n - m`` rows. Who knows fewer draws ``n - m`` rows from the normal distribution with the known
rows' mean and standard deviation per coordinate, as *A little is enough* assumes it (Baruch et al. 2019).

A server that trains on data of its own (FLTrust) is expected to find the honest mean. Left out: the server's
state (momentum, clipping radius of the last round, sums of earlier rounds) and weights by sample counts. A
rule before which the server does something else is attacked as if it did not.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation import (
    AGGREGATION_RULES,
    PRE_AGGREGATIONS,
    AggregationRule,
    RoundContext,
    get_aggregation_rule,
)
from flower_coded.attacks.crafting import Vector, as_type, check_updates, mean_of
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["RULE_NAMES", "Rehearsal", "RuleAware", "best_factor"]

# The plain rules last: an error lists the last few names, and these are what people look for.
RULE_NAMES = (
    *(f"{step}+{rule}" for step in PRE_AGGREGATIONS for rule in AGGREGATION_RULES),
    *reversed(AGGREGATION_RULES),
)
"""Rules that can be rehearsed: those of :mod:`flower_coded.aggregation`, behind a step or alone."""


class Rehearsal:
    """A round as the attackers expect it.

    Parameters
    ----------
    honest : ndarray of shape (h, d)
        Updates of the honest.
    num_attackers : int
        ``m``.
    rule : AggregationRule
        What the server does.
    seed : int
        For rules that draw: every try sees the same draws.

    Examples
    --------
    >>> rule = get_aggregation_rule("median")
    >>> round = Rehearsal(np.array([[0.0], [1.0], [2.0]]), 2, rule)
    >>> round.harm(np.array([9.0])), round.harm(np.array([-9.0]))
    (1.0, 1.0)
    """

    def __init__(self, honest: Vector, num_attackers: int, rule: AggregationRule, seed: int = 0) -> None:
        self.num_honest, self.rule, self.seed = len(honest), rule, seed
        self.mean = mean_of(honest)
        # One array for all tries: only the attackers' rows change.
        self._rows = np.empty((len(honest) + num_attackers, honest.shape[1]))
        self._rows[: len(honest)] = honest

    def harm(self, crafted: NDArray[np.float64]) -> float:
        """Distance between the aggregate and the honest mean when all attackers send ``crafted`` (d,)."""
        self._rows[self.num_honest :] = crafted
        try:
            aggregate, _ = self.rule.aggregate_in_round(self._rows, _context(self.seed, self.mean))
        except DecodingError:  # a round that the rule refuses moves nothing
            return float(np.linalg.norm(self.mean))
        return float(np.linalg.norm(np.asarray(aggregate) - self.mean))

    def are_selected(self, crafted: NDArray[np.float64]) -> bool | None:
        """Whether the rule selects as many copies as it can; None for a rule that selects no rows."""
        self._rows[self.num_honest :] = crafted
        selected = self.rule.select(self._rows)
        if selected is None:
            return None
        num_copies = len(self._rows) - self.num_honest
        return int((np.asarray(selected) >= self.num_honest).sum()) == min(num_copies, len(selected))


@dataclass(frozen=True)
class RuleAware(ABC):
    """What attacks that know the rule share: their numbers, and whom they rehearse with.

    Attributes
    ----------
    num_users, num_attackers : int
        ``n`` and ``m``, with ``1 <= m < n``.
    rule : str
        One of :data:`RULE_NAMES`, made with ``f = m`` and else its defaults.
    attackers : tuple of int
        Positions of the attackers' own rows where the updates of all ``n`` are known.

    Raises
    ------
    ParameterError
        If the numbers do not fit, or the rule is unknown or cannot work with so many users.
    """

    num_users: int
    num_attackers: int
    rule: str = "median"
    attackers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.num_attackers < self.num_users:
            raise ParameterError(
                "num_attackers", f"must lie between 1 and {self.num_users - 1}", self.num_attackers
            )
        if self.attackers and len(set(self.attackers)) != self.num_attackers:
            raise ParameterError("attackers", f"must be {self.num_attackers} positions", self.attackers)
        if any(not 0 <= attacker < self.num_users for attacker in self.attackers):
            raise ParameterError("attackers", f"must be positions below {self.num_users}", self.attackers)
        rows = np.random.default_rng(0).standard_normal((self.num_users, 2))
        # A rule tells only when it is used that it has too few rows; what it makes of these does not matter.
        with contextlib.suppress(DecodingError):
            self._made_rule().aggregate_in_round(rows, _context(0, np.ones(2)))

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """See the class."""
        check_updates(own, known)
        honest = self._honest(known, generator)
        seed = int(generator.integers(2**32))
        return as_type(
            self._crafted(Rehearsal(honest, self.num_attackers, self._made_rule(), seed), honest), own
        )

    @abstractmethod
    def _crafted(self, rehearsal: Rehearsal, honest: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the update to send, float64 (d,)."""

    def _made_rule(self) -> AggregationRule:
        return get_aggregation_rule(self.rule, num_byzantine=self.num_attackers)

    def _honest(self, known: Vector, generator: np.random.Generator) -> NDArray[np.float64]:
        """Give the rows (h, d) that stand beside the attackers' copies."""
        wide = known.astype(np.float64)
        if len(known) == self.num_users and self.attackers:
            return np.delete(wide, self.attackers, axis=0)
        num_honest = self.num_users - self.num_attackers
        if len(known) >= num_honest:
            return wide
        drawn = generator.standard_normal((num_honest, wide.shape[1]))
        return np.asarray(mean_of(known) + known.std(axis=0, dtype=np.float64) * drawn)


def best_factor(
    harm: Callable[[float], float],
    *,
    num_evaluations: int = 20,
    first_step: float = 10.0,
    shrink: float = 0.8,
) -> float:
    """Search the factor of most harm on the line from 0 upward.

    First the step doubles as long as the harm grows, then it shrinks, and every try that does more harm
    becomes the place to go on from; it never goes back. The harm of a robust rule has several peaks, and the
    search finds a good place rather than the best. It is that of ByzFL's optimized attacks [1]_, with its
    numbers.

    Parameters
    ----------
    harm : callable
        ``harm(factor)``, to be maximized.
    num_evaluations : int
        Tries in all.
    first_step : float
        From 0.
    shrink : float
        What the step is multiplied by, in (1/2, 1).

    Returns
    -------
    float
        Not negative; 0 if no try did more harm.

    References
    ----------
    .. [1] Y. Allouah, S. Farhadkhani, R. Guerraoui, N. Gupta, R. Pinot, J. Stephan, "Fixing by mixing: a
       recipe for optimal Byzantine ML under heterogeneity", AISTATS 2023.

    Examples
    --------
    >>> round(best_factor(lambda factor: -abs(factor - 3.0)), 2)  # 10, 8, 6.4 do less harm than 0
    5.12
    """
    factor, most, step, is_growing = 0.0, harm(0.0), first_step, True
    for _ in range(num_evaluations - 1):
        proposed = harm(factor + step)
        is_better = proposed > most
        if is_better:
            factor, most = factor + step, proposed
        is_growing = is_growing and is_better
        step *= 2.0 if is_growing else shrink
    return factor


def _context(seed: int, root_update: NDArray[np.float64]) -> RoundContext:
    return RoundContext(np.random.default_rng(seed), root_update=root_update)
