"""The attack on the trimmed mean: just outside the honest range, on the wrong side, in every coordinate.

Fang et al. [1]_, with full knowledge: where the honest mean is positive, a coordinate is drawn
uniformly below the smallest known value, where it is negative above the largest. The factor ``b`` bounds how
far: from ``max`` to ``b max``, or to ``max / b`` where ``max`` is negative, and mirrored for the minimum. The
median falls for it too.

Threat model: colluders know the honest updates, or each other's and take them for a sample; they know that
coordinates are judged singly. Colluders with equally seeded generators send the same; the paper draws for
each anew, which spreads them over the same interval.

Left out: the paper's interval of three to four standard deviations for colluders who know none but their own
updates.

References
----------
.. [1] M. Fang, X. Cao, J. Jia, N. Gong, "Local model poisoning attacks to Byzantine-robust federated
   learning", USENIX Security 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flower_coded.attacks.crafting import Vector, as_type, check_updates, mean_of
from flower_coded.errors import ParameterError

__all__ = ["TrimmedMeanAttack"]


@dataclass(frozen=True)
class TrimmedMeanAttack:
    """Send values beyond the known range, against the sign of the mean.

    Attributes
    ----------
    scale : float
        ``b > 1``; 2 in the paper.

    Examples
    --------
    >>> known = np.array([[1.0, -4.0], [3.0, -2.0]])
    >>> crafted = TrimmedMeanAttack().craft(known[0], known, np.random.default_rng(0))
    >>> bool(0.5 <= crafted[0] <= 1), bool(-2 <= crafted[1] <= -1)
    (True, True)
    """

    scale: float = 2.0

    def __post_init__(self) -> None:
        if not 1 < self.scale < np.inf:
            raise ParameterError("scale", "must be greater than 1", self.scale, hint="2, as in the paper")

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """See the class."""
        check_updates(own, known)
        # Widened before they are scaled: b times a float16 extreme may overflow.
        lowest, highest = known.min(axis=0).astype(np.float64), known.max(axis=0).astype(np.float64)
        grow, shrink = self.scale, 1.0 / self.scale
        # A factor b moves away from 0 and 1 / b toward it: which one is outward depends on the sign.
        below = lowest * np.where(lowest > 0, shrink, grow)
        above = highest * np.where(highest > 0, grow, shrink)
        is_up = mean_of(known) > 0
        nearest, farthest = np.where(is_up, lowest, highest), np.where(is_up, below, above)
        share = generator.random(len(own))
        return as_type(nearest + share * (farthest - nearest), own)
