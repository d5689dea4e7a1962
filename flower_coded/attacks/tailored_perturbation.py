"""The perturbation of the mean that a known rule lets through: min-max with the rule in place of a guess.

The attackers send ``mu + gamma p`` with a malicious direction ``p`` and choose ``gamma`` against the server's
rule ``R`` [1]_, eq. 2 to 6 ("AGR-tailored"). Against a rule that selects rows (Krum, multi-Krum) it is the
largest ``gamma`` with which the rule selects their copies; against one that mixes all rows it is the one of
most harm, ``max |R(x_1, ..., x_{n-m}, c, ..., c) - mu|``. The paper halves its step, Algorithm 1; here
``gamma`` first doubles (or halves) until the answer changes and is then bisected, which needs no starting
value.

Threat model: colluders know the rule and what it is told (``f = m``), and each other's honest updates or all.
All colluders send the same.

References
----------
.. [1] V. Shejwalkar, A. Houmansadr, "Manipulating the Byzantine: optimizing model poisoning attacks and
   defenses for federated learning", NDSS 2021, Sec. IV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.optimized_perturbation import PERTURBATIONS, malicious_direction, warn_ineffective
from flower_coded.attacks.rehearsal import Rehearsal, RuleAware, best_factor
from flower_coded.errors import ParameterError

__all__ = ["TailoredPerturbation"]

_NUM_DOUBLINGS, _NUM_BISECTIONS = 20, 14


@dataclass(frozen=True)
class TailoredPerturbation(RuleAware):
    """Send ``mu + gamma p`` with the ``gamma`` that a known rule falls for.

    Attributes
    ----------
    num_users, num_attackers, rule, attackers
        See :class:`~flower_coded.attacks.rehearsal.RuleAware`.
    perturbation : {"deviation", "sign", "unit"}
        ``p``: the negative standard deviation, sign, or direction of the mean.

    Warns
    -----
    IneffectiveAttackWarning
        If all known updates are equal or their mean is zero: then only their mean can be sent.

    Examples
    --------
    >>> known = np.random.default_rng(1).normal(size=(10, 50))
    >>> attack = TailoredPerturbation(12, 2, "krum")
    >>> crafted = attack.craft(known[0], known, np.random.default_rng(0))
    >>> from flower_coded.aggregation import krum
    >>> bool(np.all(krum(np.vstack([known, crafted, crafted]), 2) == crafted))
    True
    """

    perturbation: str = "deviation"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.perturbation not in PERTURBATIONS:
            known = ", ".join(PERTURBATIONS)
            raise ParameterError("perturbation", f"must be one of {known}", self.perturbation)

    def _crafted(self, rehearsal: Rehearsal, honest: NDArray[np.float64]) -> NDArray[np.float64]:
        mean = rehearsal.mean
        direction = malicious_direction(self.perturbation, mean, honest)
        if direction @ direction == 0:
            warn_ineffective()
            return mean
        # The honest spread in units of p: a sign vector is sqrt(d) long, a mean's direction 1.
        unit = float(np.linalg.norm(honest - mean, axis=1).max() / np.linalg.norm(direction))

        def crafted(factor: float) -> NDArray[np.float64]:
            return mean + factor * unit * direction

        if rehearsal.are_selected(mean) is None:
            factor = best_factor(lambda factor: rehearsal.harm(crafted(factor)), first_step=1.0)
        else:
            factor = largest_factor(lambda factor: bool(rehearsal.are_selected(crafted(factor))))
        return crafted(factor)


def largest_factor(is_accepted: Callable[[float], bool]) -> float:
    """Find a factor that is accepted while one slightly larger is not; 0 if none is found.

    Parameters
    ----------
    is_accepted : callable
        ``is_accepted(factor)``; the search takes it for true below some factor and false above.

    Returns
    -------
    float
        To a relative 10⁻⁴; at most 2²⁰.

    Examples
    --------
    >>> round(largest_factor(lambda factor: factor < 0.3), 3)
    0.3
    """
    accepted, refused = 0.0, 1.0
    if is_accepted(1.0):
        accepted, refused = 1.0, 2.0
        while refused <= 2**_NUM_DOUBLINGS and is_accepted(refused):
            accepted, refused = refused, 2 * refused
        if refused > 2**_NUM_DOUBLINGS:
            return accepted
    else:
        for halvings in range(1, _NUM_DOUBLINGS + 1):
            if is_accepted(0.5**halvings):
                accepted, refused = 0.5**halvings, 0.5 ** (halvings - 1)
                break
        else:
            return 0.0
    for _ in range(_NUM_BISECTIONS):
        middle = (accepted + refused) / 2
        if is_accepted(middle):
            accepted = middle
        else:
            refused = middle
    return accepted
