"""3DFed: a backdoored update that is disguised, and that learns over rounds whether it was let through.

After training on poisoned data a colluder changes three things in its update [1]_:

* *Norm*: an update shorter than the honest ones is lengthened to their mean norm, at most by
  ``longest_stretch``. (The paper's loss keeps it from being longer; ``attack-constrain`` does so here.)
* *Noise mask*: coordinates that honest updates hardly move get noise, so that where the backdoor sits is not
  to be read from what moved. The colluders' masks add up to zero, so that the mean does not feel them. The
  paper optimizes them by dual ascent for energy (weight ``a``), small norm (``1 - a``) and sum zero; here the
  sum is zero by construction, and of ``a / s + (1 - a) s`` the best size is ``s = sqrt(a / (1 - a))``, times
  :data:`MASK_SHARE` of the honest norm.
* *Indicator*: a coordinate of its own, which honest users do not move, gets a value that all colluders know.
  How far the next global model has moved there, divided by the value, is the weight the update was given:
  near zero it was rejected, below 0.8 of the colluders' largest it was clipped. When fewer than 4 of 5 were
  accepted a new ``a`` is drawn; when the answer makes no sense (noise was added) the first one stays.

The indicator is the coordinate of least honest movement; the paper takes among those the one of least
curvature, which needs second derivatives that no update holds.

Left out: decoy models, colluders who send no backdoor and only draw a detector's first principal component to
themselves. They cost an attacker each, and what they are made against (RFLBAT) is no rule here.

Threat model: knows the honest updates it is shown, the global models it is sent, and the number of colluders.
Colluders agree on everything but the mask and the indicator, which go by their rank; they must be shown the
same updates for it.

References
----------
.. [1] H. Li, Q. Ye, H. Hu, J. Li, L. Wang, C. Fang, J. Shi, "3DFed: adaptive and extensible framework for
   covert backdoor attack in federated learning", IEEE S&P 2023, Sec. IV and V.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.crafting import Memory, Vector, as_type, check_updates, mean_of
from flower_coded.errors import ParameterError

__all__ = ["MASK_SHARE", "ThreeDFed"]

MASK_SHARE = 0.1
"""Norm of a mask, as a share of the honest updates', where energy and norm weigh the same."""

_MASKED_SHARE, _REJECTED_BELOW, _CLIPPED_BELOW, _ACCEPTED_SHARE = 0.1, 1e-3, 0.8, 0.8


@dataclass(frozen=True)
class ThreeDFed:
    """Disguise the poisoned update; adapt the disguise to what became of the last one.

    Attributes
    ----------
    num_attackers, rank : int
        ``m >= 1`` colluders, and which of them this one is, from 0.
    strength : float
        Least weight ``a`` of a mask's energy against its norm, in (0, 1), and the first one.
    longest_stretch : float
        Most that an update is lengthened by, at least 1.

    Examples
    --------
    >>> known = np.array([[3.0, 0.0, 0.0, 4.0]])
    >>> own = np.array([0.0, 1.0, 0.0, 0.0])
    >>> ThreeDFed().craft(own, known, np.random.default_rng(0))
    array([0., 4., 0., 0.])
    """

    num_attackers: int = 1
    rank: int = 0
    strength: float = 0.5
    longest_stretch: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.num_attackers:
            raise ParameterError("rank", f"must lie below {self.num_attackers}", self.rank)
        if not 0 < self.strength < 1:
            raise ParameterError("strength", "must lie between 0 and 1", self.strength, hint="0.5")
        if not (np.isfinite(self.longest_stretch) and self.longest_stretch >= 1):
            raise ParameterError("longest_stretch", "must be at least 1", self.longest_stretch, hint="5")

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """Craft as in a first round."""
        return self.craft_with_memory(own, known, np.zeros_like(own), {}, generator)[0]

    def craft_with_memory(
        self, own: Vector, known: Vector, model: Vector, memory: Memory, generator: np.random.Generator
    ) -> tuple[Vector, Memory]:
        """Read the last round's indicators, then disguise.

        The memory holds ``model`` (d,), ``places`` (m,) and ``value`` (1,) of the indicators, and the current
        ``strength`` (1,).
        """
        check_updates(own, known)
        now: NDArray[np.float64] = model.astype(np.float64)
        redrawn = float(generator.uniform(self.strength, 1.0))  # always: colluders' draws stay in step
        strength = self._tuned(now, memory, redrawn)
        wide: NDArray[np.float64] = known.astype(np.float64)
        length = float(np.linalg.norm(own.astype(np.float64)))
        honest = float(np.linalg.norm(wide, axis=1).mean())
        stretch = float(np.clip(honest / length, 1.0, self.longest_stretch)) if length > 0 else 1.0
        sent = stretch * own.astype(np.float64) + self._mask(wide, honest, strength, generator)
        # As many as there are coordinates: of a tiny model the last colluders have no indicator.
        places = np.argsort(np.abs(mean_of(known)), kind="stable")[: self.num_attackers]
        value = float(np.abs(wide).max(initial=0.0))
        if self.rank < len(places):
            sent[places[self.rank]] = value
        remembered = {
            "model": now,
            "places": places.astype(np.float64),
            "value": np.array([value]),
            "strength": np.array([strength]),
        }
        return as_type(sent, own), remembered

    def _tuned(self, now: NDArray[np.float64], memory: Memory, redrawn: float) -> float:
        """Give the strength of this round's masks from how the global model moved at the indicators."""
        if not memory or not memory["value"][0] > 0:
            return self.strength
        places = memory["places"].astype(np.int64)
        weights = (now - memory["model"])[places] / memory["value"][0]
        if weights.max() > 1 or weights.min() < -_REJECTED_BELOW:  # no average does that: noise was added
            return self.strength
        accepted = (weights > _REJECTED_BELOW) & (weights > _CLIPPED_BELOW * weights.max())
        return float(memory["strength"][0]) if accepted.mean() >= _ACCEPTED_SHARE else redrawn

    def _mask(
        self, known: NDArray[np.float64], honest: float, strength: float, generator: np.random.Generator
    ) -> NDArray[np.float64]:
        """Give this colluder's mask (d,); all colluders' masks of one size add up to zero."""
        dimension = known.shape[1]
        # Chosen by what all colluders know, so that their masks lie on the same coordinates.
        quiet = np.argsort(np.abs(known.mean(axis=0)), kind="stable")[: round(_MASKED_SHARE * dimension)]
        drawn = generator.standard_normal((self.num_attackers, len(quiet)))
        drawn -= drawn.mean(axis=0)
        mask = np.zeros(dimension)
        norm = float(np.linalg.norm(drawn)) / np.sqrt(self.num_attackers)
        if norm > 0:  # a single colluder has no mask: only nothing adds up to zero
            size = MASK_SHARE * honest * np.sqrt(strength / (1 - strength))
            mask[quiet] = size / norm * drawn[self.rank]
        return mask
