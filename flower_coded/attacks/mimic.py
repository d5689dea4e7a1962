"""Mimic: all colluders copy one honest client, so that its data count many times and a minority's vanish.

Nothing that is sent is a lie by itself, and no rule that looks for outliers finds it. Worth copying is the
client that stands out most along the direction in which honest updates differ most [1]_: with ``z`` the top
eigenvector of the updates' scatter over a warm-up, ``i* = argmax_i |sum_t <z, x_i^t>|``. The direction is
found by Oja's rule, one step per round: ``z <- t/(t+1) z + 1/(t+1) sum_i (x_i - mu) <x_i - mu, z>``,
normalized, with ``mu`` the running mean of all updates. During the warm-up the client that leads so far is
copied; afterwards direction and client stay.

Threat model: colluders know the honest updates, each round's in the same order of clients (or each other's).
All colluders send the same.

References
----------
.. [1] S. P. Karimireddy, L. He, M. Jaggi, "Byzantine-robust learning on heterogeneous datasets via
   bucketing", ICLR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.crafting import Memory, Vector, check_updates, mean_of
from flower_coded.errors import ParameterError

__all__ = ["Mimic"]


@dataclass(frozen=True)
class Mimic:
    """Copy the client that stands out most.

    Attributes
    ----------
    warm_up : int
        Rounds in which direction and client are still learned, at least 1.

    Examples
    --------
    >>> known = np.array([[1.0, 0.1], [1.0, -0.1], [9.0, 0.0]])
    >>> Mimic().craft(known[0], known, np.random.default_rng(0))
    array([9., 0.])
    """

    warm_up: int = 10

    def __post_init__(self) -> None:
        if self.warm_up < 1:
            raise ParameterError("warm_up", "must be at least 1", self.warm_up, hint="10")

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """Craft as in a first round."""
        return self.craft_with_memory(own, known, np.zeros_like(own), {}, generator)[0]

    def craft_with_memory(
        self, own: Vector, known: Vector, model: Vector, memory: Memory, generator: np.random.Generator
    ) -> tuple[Vector, Memory]:
        """Copy the client that leads; learn further during the warm-up.

        The memory holds ``direction`` (d,), ``mean`` (d,), ``scores`` (k,) and ``rounds`` (1,). It starts
        afresh where the number of known clients has changed.
        """
        check_updates(own, known)
        if "scores" not in memory or memory["scores"].shape != (len(known),):
            # Random: a fixed start may be orthogonal to the top eigenvector, which the rule then never finds.
            start = generator.standard_normal(len(own))
            memory = {
                "direction": start / (np.linalg.norm(start) or 1.0),
                "mean": np.zeros(len(own)),
                "scores": np.zeros(len(known)),
                "rounds": np.zeros(1),
            }
        if memory["rounds"][0] < self.warm_up:
            memory = _learn(memory, known)
        # The magnitude: a client at either end of the direction stands out.
        copied = known[int(np.abs(memory["scores"]).argmax())]
        return copied.astype(own.dtype, copy=True), memory


def _learn(memory: Memory, known: Vector) -> Memory:
    """One step of Oja's rule, and the clients' scores along the new direction."""
    rounds = memory["rounds"][0]
    old, new = rounds / (rounds + 1), 1 / (rounds + 1)
    mean = old * memory["mean"] + new * mean_of(known)
    apart = known - mean
    # Two products with vectors: the scatter matrix of d x d is never formed.
    moved = old * memory["direction"] + new * ((apart @ memory["direction"]) @ apart)
    length = float(np.linalg.norm(moved))
    direction: NDArray[np.float64] = moved / length if length > 0 else memory["direction"]
    if direction @ memory["direction"] < 0:  # an eigenvector has no sign: keep the scores' meaning
        direction = -direction
    scores = memory["scores"] + known @ direction
    return {"direction": direction, "mean": mean, "scores": scores, "rounds": memory["rounds"] + 1}
