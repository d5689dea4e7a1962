"""A little is enough and inner product manipulation, their factor chosen against the rule.

Both attacks have a free number: ``mu - z sigma`` (Baruch et al. 2019) and ``-e mu`` (Xie et al. 2019). With
the rule ``R`` known, ``m`` attackers send the one that does most harm [1]_:

``max over the factor of |R(x_1, ..., x_{n-m}, c, ..., c) - mu|``, ``c`` the crafted update, ``mu`` the mean
of the honest ``x_i``.

The search is :func:`~flower_coded.attacks.rehearsal.best_factor`. Against the plain mean the harm has no
bound and the factor grows to what the search can reach, near 10⁷.

Threat model: colluders know the rule and what it is told (``f = m``), and each other's honest updates or all
(omniscient, as in the paper). All colluders send the same.

References
----------
.. [1] Y. Allouah, S. Farhadkhani, R. Guerraoui, N. Gupta, R. Pinot, J. Stephan, "Fixing by mixing: a recipe
   for optimal Byzantine ML under heterogeneity", AISTATS 2023; the library ByzFL has both attacks.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.crafting import check_positive
from flower_coded.attacks.rehearsal import Rehearsal, RuleAware, best_factor
from flower_coded.errors import ParameterError

__all__ = ["OptimizedInnerProduct", "OptimizedLittleIsEnough"]


@dataclass(frozen=True)
class _OptimizedFactor(RuleAware):
    """Send ``base + factor * direction`` with the factor of most harm."""

    num_evaluations: int = 20
    first_step: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("first_step", self.first_step)
        if self.num_evaluations < 2:
            raise ParameterError("num_evaluations", "must be at least 2", self.num_evaluations, hint="20")

    def _crafted(self, rehearsal: Rehearsal, honest: NDArray[np.float64]) -> NDArray[np.float64]:
        base, direction = self._line(rehearsal.mean, honest)
        factor = best_factor(
            lambda factor: rehearsal.harm(base + factor * direction),
            num_evaluations=self.num_evaluations,
            first_step=self.first_step,
        )
        return base + factor * direction

    @abstractmethod
    def _line(
        self, mean: NDArray[np.float64], honest: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give base and direction (d,)."""


@dataclass(frozen=True)
class OptimizedLittleIsEnough(_OptimizedFactor):
    """Send ``mu - z sigma`` with the ``z`` of most harm to a known rule.

    Attributes
    ----------
    num_users, num_attackers, rule, attackers
        See :class:`~flower_coded.attacks.rehearsal.RuleAware`.
    num_evaluations : int
        Times the rule is tried, at least 2; 20 in ByzFL.
    first_step : float
        First ``z`` that is tried; 10 in ByzFL.

    Examples
    --------
    >>> known = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    >>> attack = OptimizedLittleIsEnough(7, 2, "median")
    >>> crafted = attack.craft(known[0], known, np.random.default_rng(0))
    >>> np.median([*known[:, 0], *crafted, *crafted])
    np.float64(1.0)
    """

    def _line(
        self, mean: NDArray[np.float64], honest: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return mean, -honest.std(axis=0)


@dataclass(frozen=True)
class OptimizedInnerProduct(_OptimizedFactor):
    """Send ``-e mu`` with the ``e`` of most harm to a known rule.

    Attributes
    ----------
    num_users, num_attackers, rule, attackers
        See :class:`~flower_coded.attacks.rehearsal.RuleAware`.
    num_evaluations : int
        Times the rule is tried, at least 2; 20 in ByzFL.
    first_step : float
        First ``e`` that is tried; 10 in ByzFL.

    Examples
    --------
    >>> known = np.array([[-1.0], [2.0], [5.0]])
    >>> attack = OptimizedInnerProduct(4, 1, "trimmed-mean")
    >>> attack.craft(known[0], known, np.random.default_rng(0))
    array([-20.])
    """

    def _line(
        self, mean: NDArray[np.float64], honest: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.zeros_like(mean), -mean
