"""What lying workers send in place of the product they were asked for.

Each attack is a small frozen object with one method, ``craft(honest, call)``: it gets the honest answer
of this worker and the circumstances of the call, and returns what is sent, or None for nothing. Threat
model: the liars know the protocol, the vector that was multiplied and their own share; colluders share a
seed, so that :class:`Proportional` errors are multiples of one vector across workers although nobody
sends a message to another. They do not know the honest workers' shares or the master's random choices, of
which there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError

__all__ = [
    "WORKER_ERRORS",
    "Call",
    "Constant",
    "Gaussian",
    "HonestFirst",
    "JustAboveNoise",
    "Late",
    "NotFinite",
    "OneBlock",
    "Proportional",
    "Scaled",
    "Silent",
    "WorkerError",
    "WrongShape",
    "get_worker_error",
]

Answer = NDArray[np.float64]


@dataclass(frozen=True)
class Call:
    """Circumstances of one answer.

    Parameters
    ----------
    worker : int
        Number of this worker.
    iteration : int
        Iteration of the descent.
    product : int
        1 for the product with the data, 2 for the product with their transpose.
    seed : int
        Shared by the colluders.
    """

    worker: int
    iteration: int
    product: int
    seed: int = 0

    def own_generator(self) -> np.random.Generator:
        """Randomness of this worker and call."""
        return np.random.default_rng([self.seed, self.iteration, self.product, self.worker + 1])

    def shared_generator(self) -> np.random.Generator:
        """Randomness that all colluders draw alike."""
        return np.random.default_rng([self.seed, self.iteration, self.product, 0])


class WorkerError(Protocol):
    """What an attack offers."""

    def craft(self, honest: Answer, call: Call) -> Answer | None:
        """Return what is sent in place of ``honest``, or None."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """Add Gaussian noise of ``scale`` times the answer's root mean square, each liar its own."""

    scale: float = 1.0

    def craft(self, honest: Answer, call: Call) -> Answer:
        """Add noise."""
        return honest + self.scale * _size(honest) * call.own_generator().standard_normal(honest.shape)


@dataclass(frozen=True)
class Constant:
    """Send the same number everywhere."""

    value: float = 1.0

    def craft(self, honest: Answer, call: Call) -> Answer:
        """Replace the answer."""
        return np.full_like(honest, self.value)


@dataclass(frozen=True)
class Scaled:
    """Multiply the answer; -1 reverses it."""

    factor: float = -1.0

    def craft(self, honest: Answer, call: Call) -> Answer:
        """Multiply the answer."""
        return self.factor * honest


@dataclass(frozen=True)
class JustAboveNoise:
    """Add an error of ``scale`` times the answer's largest entry: near the edge of what float64 can tell."""

    scale: float = 1e-11

    def craft(self, honest: Answer, call: Call) -> Answer:
        """Add a faint error."""
        size = float(np.abs(honest).max(initial=0.0))
        return honest + self.scale * size * call.own_generator().choice([-1.0, 1.0], honest.shape)


@dataclass(frozen=True)
class Proportional:
    """Add a multiple of one vector that all colluders share: errors of rank 1, the hardest to tell apart."""

    scale: float = 1.0

    def craft(self, honest: Answer, call: Call) -> Answer:
        """Add this worker's multiple of the shared vector."""
        shared = call.shared_generator().standard_normal(honest.shape)
        return honest + self.scale * _size(honest) * call.own_generator().standard_normal() * shared


@dataclass(frozen=True)
class OneBlock:
    """Spoil a single entry, the same at all colluders."""

    scale: float = 1.0

    def craft(self, honest: Answer, call: Call) -> Answer:
        """Spoil one entry."""
        spoilt = honest.copy()
        if honest.size:
            place = int(call.shared_generator().integers(honest.size))
            spoilt[place] += self.scale * (1.0 + _size(honest)) * (1.0 + call.own_generator().random())
        return spoilt


@dataclass(frozen=True)
class HonestFirst:
    """Tell the truth in the first product and lie in the second."""

    lie: WorkerError = Scaled()

    def craft(self, honest: Answer, call: Call) -> Answer | None:
        """Lie in the second product only."""
        return honest if call.product == 1 else self.lie.craft(honest, call)


@dataclass(frozen=True)
class NotFinite:
    """Send NaN, or infinity."""

    value: float = float("nan")

    def craft(self, honest: Answer, call: Call) -> Answer:
        """Replace every other entry."""
        spoilt = honest.copy()
        spoilt[::2] = self.value
        return spoilt


@dataclass(frozen=True)
class WrongShape:
    """Send one number too many."""

    def craft(self, honest: Answer, call: Call) -> Answer:
        """Lengthen the answer."""
        return np.append(honest, 0.0)


@dataclass(frozen=True)
class Silent:
    """Send nothing."""

    def craft(self, honest: Answer, call: Call) -> None:
        """Send nothing."""
        return


@dataclass(frozen=True)
class Late:
    """Tell the truth ``delay`` seconds too late; in a simulated round, where no time passes, not at all."""

    delay: float = 10.0

    def craft(self, honest: Answer, call: Call) -> None:
        """Miss the round: whoever runs in real time reads ``delay`` and answers honestly after it."""
        return


WORKER_ERRORS: dict[str, Callable[..., WorkerError]] = {
    "gaussian": Gaussian,
    "constant": Constant,
    "reversed": Scaled,
    "scaled": lambda factor=100.0: Scaled(factor),
    "huge": lambda scale=1e12: Gaussian(scale),
    "tiny": lambda scale=1e-3: Gaussian(scale),
    "just-above-noise": JustAboveNoise,
    "proportional": Proportional,
    "one-block": OneBlock,
    "honest-first": HonestFirst,
    "nan": NotFinite,
    "infinity": lambda: NotFinite(float("inf")),
    "wrong-shape": WrongShape,
    "silence": Silent,
    "late": Late,
}
"""Attacks by the name a run configuration uses."""


def get_worker_error(name: str, **parameters: float) -> WorkerError:
    """Make an attack by name.

    Parameters
    ----------
    name : str
        A key of :data:`WORKER_ERRORS`.
    **parameters : float
        Of the attack.

    Returns
    -------
    WorkerError

    Raises
    ------
    ParameterError
        If there is no such attack or it has no such parameter.

    Examples
    --------
    >>> get_worker_error("scaled", factor=3.0).craft(np.array([1.0, 2.0]), Call(0, 0, 1))
    array([3., 6.])
    """
    if name not in WORKER_ERRORS:
        raise ParameterError("name", f"must be one of {', '.join(sorted(WORKER_ERRORS))}", name)
    try:
        return WORKER_ERRORS[name](**parameters)
    except TypeError as error:
        raise ParameterError(
            "parameters", f"must suit the attack {name!r}", parameters, hint=str(error)
        ) from None


def _size(values: Answer) -> float:
    """Root mean square, 1 for a vector of zeros, so that an error is an error."""
    size = float(np.linalg.norm(values) / np.sqrt(max(values.size, 1)))
    return size or 1.0
