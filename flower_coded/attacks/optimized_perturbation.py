"""Min-max and min-sum: the largest perturbation of the mean that still looks like one of the honest.

Both send ``mu + gamma p`` with a malicious direction ``p`` and the largest ``gamma`` that keeps within the
known updates' own spread [1]_: in distance to the farthest (min-max), or in the sum of squared
distances (min-sum). The paper searches for ``gamma``; both have closed forms. With ``d_i = mu - x_i``,
min-max needs ``|d_i + gamma p| <= D`` for every ``i``, a quadratic each, and the smallest of their larger
roots is ``gamma``. In min-sum the ``d_i`` cancel in the sum, and ``gamma = max_i |d_i| / |p|``.

Threat model: colluders know each other's honest updates and take them for a sample of all, or know all
(omniscient, "AGR-agnostic" in the paper: they do not know the aggregation rule). All colluders send the same.

References
----------
.. [1] V. Shejwalkar, A. Houmansadr, "Manipulating the Byzantine: optimizing model poisoning attacks and
   defenses for federated learning", NDSS 2021.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.crafting import IneffectiveAttackWarning, Vector, as_type, check_updates, mean_of
from flower_coded.errors import ParameterError

__all__ = ["PERTURBATIONS", "MinMax", "MinSum", "malicious_direction", "warn_ineffective"]

PERTURBATIONS = ("deviation", "sign", "unit")


@dataclass(frozen=True)
class _LargestPerturbation(ABC):
    """Send ``mu + gamma p`` with the largest ``gamma`` that the attack's constraint allows."""

    perturbation: str = "deviation"

    def __post_init__(self) -> None:
        if self.perturbation not in PERTURBATIONS:
            known = ", ".join(PERTURBATIONS)
            raise ParameterError("perturbation", f"must be one of {known}", self.perturbation)

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """See the class."""
        check_updates(own, known)
        mean = mean_of(known)
        direction = malicious_direction(self.perturbation, mean, known)
        if direction @ direction == 0:  # a square that vanishes too
            warn_ineffective()
            return as_type(mean, own)
        return as_type(mean + self._largest(mean, direction, known) * direction, own)

    @abstractmethod
    def _largest(self, mean: NDArray[np.float64], direction: NDArray[np.float64], known: Vector) -> float:
        """Give ``gamma``."""


@dataclass(frozen=True)
class MinMax(_LargestPerturbation):
    """Keep within the largest distance between two known updates: ``max_i |x - x_i| <= max_ij |x_i - x_j|``.

    Attributes
    ----------
    perturbation : {"deviation", "sign", "unit"}
        ``p``: the negative standard deviation, sign, or direction of the mean.

    Warns
    -----
    IneffectiveAttackWarning
        If all known updates are equal, one being the usual case: then only their mean can be sent.

    Examples
    --------
    >>> known = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> MinMax("unit").craft(known[0], known, np.random.default_rng(0))
    array([1., 0.])
    """

    def _largest(self, mean: NDArray[np.float64], direction: NDArray[np.float64], known: Vector) -> float:
        apart, length = mean - known, direction @ direction
        # One row against all at a time: all differences at once would be an array (k, k, d).
        most = max(float(((known.astype(np.float64) - row) ** 2).sum(axis=1).max()) for row in known)
        along, inside = apart @ direction, most - (apart**2).sum(axis=1)
        # By convexity the mean lies within every bound, so `inside` is negative by rounding alone.
        roots = (np.sqrt(along**2 + length * np.maximum(inside, 0.0)) - along) / length
        # Each root is where one update's ball is left; the ball that is left first binds.
        return max(float(roots.min()), 0.0)


@dataclass(frozen=True)
class MinSum(_LargestPerturbation):
    """Keep within the largest sum of squared distances from one known update to all.

    ``sum_i |x - x_i|^2 <= max_i sum_j |x_i - x_j|^2``.

    Attributes
    ----------
    perturbation : {"deviation", "sign", "unit"}
        ``p``: the negative standard deviation, sign, or direction of the mean.

    Warns
    -----
    IneffectiveAttackWarning
        If all known updates are equal, one being the usual case: then only their mean can be sent.

    Examples
    --------
    >>> known = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> MinSum("unit").craft(known[0], known, np.random.default_rng(0))
    array([1., 0.])
    """

    def _largest(self, mean: NDArray[np.float64], direction: NDArray[np.float64], known: Vector) -> float:
        # Both sides hold sum_j |d_j|^2, which cancels; what is left has the factor k on either side.
        return float(np.linalg.norm(mean - known, axis=1).max() / np.linalg.norm(direction))


def malicious_direction(perturbation: str, mean: NDArray[np.float64], known: Vector) -> NDArray[np.float64]:
    """Give ``p`` (d,); zero where the known updates do not differ, so that nothing can hide among them."""
    deviation: NDArray[np.float64] = known.std(axis=0, dtype=np.float64)
    if not deviation.any():
        return np.zeros_like(mean)
    if perturbation == "deviation":
        return -deviation
    # A zero mean gives a zero direction, which the caller reports, instead of a division by zero.
    length = float(np.linalg.norm(mean))
    return -np.sign(mean) if perturbation == "sign" else -mean / (length or 1.0)


def warn_ineffective() -> None:
    """Say that there is nothing to hide behind."""
    warnings.warn(
        "the known updates are all equal or their mean is zero: nothing but the mean can be sent",
        IneffectiveAttackWarning,
        stacklevel=4,
    )
