"""What is done to an update that was trained on poisoned data, so that its backdoor survives the aggregation.

``craft(own, known, generator)`` gets the attacker's *poisoned* update as ``own``; ``known`` are honest
updates, the attacker's own honest one among them.

* :class:`ModelReplacement` sends ``G + gamma (X - G)``: with ``gamma = n / eta`` the mean of ``n`` clients
  under a server learning rate ``eta`` becomes the poisoned model ``X`` itself, when the others hardly
  move [1]_.
* :class:`Neurotoxin` leaves alone the coordinates that honest clients move most, so that they do not
  overwrite the backdoor once the attacker is gone [2]_.
* :class:`NormProjection` keeps within a ball around the global model, as the edge-case attack does [3]_.

References
----------
.. [1] E. Bagdasaryan, A. Veit, Y. Hua, D. Estrin, V. Shmatikov, "How to backdoor federated learning", AISTATS
   2020, eq. 3.
.. [2] Z. Zhang, A. Panda, L. Song, Y. Yang, M. Mahoney, P. Mittal, K. Ramchandran, J. Gonzalez, "Neurotoxin:
   durable backdoors in federated learning", ICML 2022.
.. [3] H. Wang et al., "Attack of the tails: yes, you really can backdoor federated learning", NeurIPS 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.crafting import (
    Memory,
    Vector,
    as_type,
    check_positive,
    check_updates,
    mean_of,
)
from flower_coded.errors import ParameterError

__all__ = ["ModelReplacement", "Neurotoxin", "NormProjection"]


@dataclass(frozen=True)
class ModelReplacement:
    """Boost the poisoned update, to no more than a norm if one is given.

    Threat model: knows the number of clients in a round and the server's learning rate; to stay below a norm
    bound it must know that bound. Several colluders boost by ``gamma / m`` each.

    Attributes
    ----------
    scale : float
        ``gamma``; ``n / eta``.
    norm_bound : float or None
        Largest norm of what is sent ("train-and-scale" in the paper); None is no bound.

    Examples
    --------
    >>> ModelReplacement(10.0).craft(np.array([0.5, 1.0]), np.zeros((1, 2)), np.random.default_rng(0))
    array([ 5., 10.])
    """

    scale: float
    norm_bound: float | None = None

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)
        if self.norm_bound is not None:
            check_positive("norm_bound", self.norm_bound)

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """See the class."""
        check_updates(own, known)
        # In float64: gamma times a float16 update may leave that type's range before it is shortened.
        boosted = self.scale * own.astype(np.float64)
        return as_type(boosted if self.norm_bound is None else _within(boosted, self.norm_bound), own)


@dataclass(frozen=True)
class Neurotoxin:
    """Send the poisoned update without the coordinates that honest clients move most.

    Threat model: sees the global models that it is sent, whose difference is the last aggregate; before it
    has seen two, the mean of the known honest updates stands in. The paper projects every gradient step of
    the local training; here the finished update is projected, which works around any training code.

    Attributes
    ----------
    scale : float
        Share of coordinates left alone, in (0, 1); the paper finds 0.01 to 0.1 good.

    Examples
    --------
    >>> known = np.array([[9.0, 0.1, 0.2, -8.0]])
    >>> Neurotoxin(0.5).craft(np.ones(4), known, np.random.default_rng(0))
    array([0., 1., 1., 0.])
    """

    scale: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.scale < 1:
            raise ParameterError("scale", "must lie between 0 and 1", self.scale, hint="0.05")

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """Craft as in a first round."""
        return self.craft_with_memory(own, known, np.zeros_like(own), {}, generator)[0]

    def craft_with_memory(
        self, own: Vector, known: Vector, model: Vector, memory: Memory, generator: np.random.Generator
    ) -> tuple[Vector, Memory]:
        """Project on the coordinates that the last aggregate moved least; remember the model."""
        check_updates(own, known)
        now: NDArray[np.float64] = model.astype(np.float64)
        # Where the others moved last they will move again, and overwrite a backdoor.
        last = now - memory["model"] if "model" in memory else mean_of(known)
        # At least one: in a small model the share rounds to 0, and nothing would be projected.
        num_left_alone = max(round(self.scale * len(own)), 1)
        busiest = np.argsort(-np.abs(last), kind="stable")[:num_left_alone]
        projected = own.copy()
        projected[busiest] = 0
        return projected, {"model": now}


@dataclass(frozen=True)
class NormProjection:
    """Pull the poisoned update into a ball around the global model.

    Threat model: knows, or guesses from the honest updates it knows, what norm the server lets pass.

    Attributes
    ----------
    scale : float or None
        The ball's radius; the largest norm of the known honest updates if absent.

    Examples
    --------
    >>> NormProjection(5.0).craft(np.array([6.0, 8.0]), np.zeros((1, 2)), np.random.default_rng(0))
    array([3., 4.])
    """

    scale: float | None = None

    def __post_init__(self) -> None:
        if self.scale is not None:
            check_positive("scale", self.scale)

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """See the class."""
        check_updates(own, known)
        # The largest: a server whose bound drops honest clients harms itself.
        honest = float(np.linalg.norm(known.astype(np.float64), axis=1).max())
        radius = honest if self.scale is None else self.scale
        return as_type(_within(own.astype(np.float64), radius), own)


def _within(update: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    length = float(np.linalg.norm(update))
    return update * (radius / length) if length > radius else update
