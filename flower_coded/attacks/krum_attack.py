"""The attack on Krum: the farthest step against the mean's sign that Krum still takes.

The colluders send ``-lambda s`` with ``s`` the sign of the honest mean, so that in every coordinate the
global model moves away from where it would go [1]_, Sec. 4.2. ``lambda`` starts at the bound below and is
halved until Krum selects the colluders' vector, or it is below 10⁻⁵. With ``R`` the largest norm of a known
update, in the paper's eq. 5:

``lambda <= sqrt(min_i sum of the n - m - 2 least |x_i - x_j|^2 / ((n - 2 m - 1) d)) + R / sqrt(d)``.

Threat model: colluders know that the rule is Krum (Bulyan and multi-Krum fall for it in part), and each
other's honest updates (the paper's partial knowledge) or all. All send the same vector; the paper scatters
the others' within a distance of 0.01, to look less alike.

References
----------
.. [1] M. Fang, X. Cao, J. Jia, N. Gong, "Local model poisoning attacks to Byzantine-robust federated
   learning", USENIX Security 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation import krum_scores, squared_distances
from flower_coded.attacks.rehearsal import Rehearsal, RuleAware

__all__ = ["KrumAttack"]

_LEAST = 1e-5


@dataclass(frozen=True)
class KrumAttack(RuleAware):
    """Send ``-lambda sign(mu)`` with the largest halving of ``lambda`` that Krum selects.

    Attributes
    ----------
    num_users, num_attackers, attackers
        See :class:`~flower_coded.attacks.rehearsal.RuleAware`; ``n >= 2 m + 3``.
    rule : str
        ``"krum"``, or another rule that selects rows.

    Examples
    --------
    >>> known = np.array([[2.0, -1.0], [2.2, -1.1], [1.9, -0.8], [2.1, -1.2], [1.8, -0.9]])
    >>> crafted = KrumAttack(7, 2).craft(known[0], known, np.random.default_rng(0))
    >>> np.sign(crafted)
    array([-1.,  1.])
    """

    rule: str = "krum"

    def _crafted(self, rehearsal: Rehearsal, honest: NDArray[np.float64]) -> NDArray[np.float64]:
        away, step = -np.sign(rehearsal.mean), self._bound(honest)
        while step > _LEAST and not rehearsal.are_selected(step * away):
            step /= 2
        return step * away

    def _bound(self, honest: NDArray[np.float64]) -> float:
        dimension = max(honest.shape[1], 1)
        slack = max(self.num_users - 2 * self.num_attackers - 1, 1)
        # Krum's own score with no fault expected sums k - 2 neighbors, the paper's n - m - 2.
        nearest = float(krum_scores(squared_distances(honest), 0).min()) if len(honest) > 2 else 0.0
        reach = float(np.linalg.norm(honest, axis=1).max())
        return float(np.sqrt(nearest / (slack * dimension)) + reach / np.sqrt(dimension))
