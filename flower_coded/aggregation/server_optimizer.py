"""Steps that a server takes along the round's change: momentum, Adagrad, Adam, Yogi.

Reddi et al. [1]_ (Algorithm 2) read the aggregated change ``Delta`` of a round as a gradient with the sign
turned and let an optimizer of the server make the step: with ``m <- b1 m + (1 - b1) Delta`` and a second
moment ``v``, the model moves by ``eta m / (sqrt(v) + tau)``. Hsu et al. [2]_ use momentum, ``m <- b m +
Delta`` and a step of ``eta m`` (FedAvgM). Whatever aggregated the change, a mean, a robust rule, or a mean of
shares that nobody saw, is no concern of the optimizer: it stands behind it, by one argument of a strategy.

The formulas, defaults and starting values are those of Flower's strategies of these names, whose results are
the same where the rule is the mean. That includes Adam's correction of the bias, which is not in [1]_, and
its count of rounds from 2.

References
----------
.. [1] S. J. Reddi, Z. Charles, M. Zaheer, Z. Garrett, K. Rush, J. Konecny, S. Kumar, H. B. McMahan, "Adaptive
   federated optimization", ICLR 2021.
.. [2] T.-M. H. Hsu, H. Qi, M. Brown, "Measuring the effects of non-identical data distribution for federated
   visual classification", 2019, arXiv:1909.06335.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError

__all__ = [
    "SERVER_OPTIMIZERS",
    "FedAdagrad",
    "FedAdam",
    "FedAvgM",
    "FedYogi",
    "ServerOptimizer",
    "get_server_optimizer",
]

Vector = NDArray[np.float64]
Moments = Mapping[str, Vector]


@dataclass(frozen=True)
class ServerOptimizer(ABC):
    """What turns the change of a round into the step that is taken.

    Attributes
    ----------
    learning_rate : float
        ``eta``, positive.
    """

    learning_rate: float

    def __post_init__(self) -> None:
        """Check the numbers."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name in ("learning_rate", "adaptivity"):
                if not 0 < value < np.inf:
                    raise ParameterError(entry.name, "must be a positive number", value)
            elif not 0 <= value < 1:
                raise ParameterError(entry.name, "must be at least 0 and below 1", value)

    @abstractmethod
    def step(self, change: Vector, moments: Moments, server_round: int) -> tuple[Vector, Moments]:
        """Take one step.

        Parameters
        ----------
        change : ndarray of shape (d,), float64
            ``Delta``, what the rule made of the updates.
        moments : mapping of str to ndarray of shape (d,)
            What the step before gave back; empty at the first. It is not modified.
        server_round : int
            From 1.

        Returns
        -------
        (ndarray of shape (d,), mapping)
            What to add to the model, and the moments for the next step.
        """


@dataclass(frozen=True)
class FedAvgM(ServerOptimizer):
    """Momentum: ``m <- b m + Delta``, step ``eta m``.

    Attributes
    ----------
    momentum : float
        ``b``.

    Examples
    --------
    >>> optimizer = FedAvgM(momentum=0.5)
    >>> step, moments = optimizer.step(np.array([4.0]), {}, 1)
    >>> optimizer.step(np.array([1.0]), moments, 2)[0]
    array([3.])
    """

    learning_rate: float = 1.0
    momentum: float = 0.9

    def step(self, change: Vector, moments: Moments, server_round: int) -> tuple[Vector, Moments]:
        """Add to the momentum and follow it."""
        first = self.momentum * moments["first"] + change if moments else change
        return self.learning_rate * first, {"first": first}


@dataclass(frozen=True)
class _Adaptive(ServerOptimizer):
    """Steps divided by the root of a second moment.

    Attributes
    ----------
    adaptivity : float
        ``tau``, positive: the smaller, the more equal are the steps of all entries.
    """

    learning_rate: float = 0.1
    adaptivity: float = 1e-3

    def step(self, change: Vector, moments: Moments, server_round: int) -> tuple[Vector, Moments]:
        """Update both moments and divide."""
        zero = np.zeros_like(change)
        decay = self._first_decay
        first = decay * moments.get("first", zero) + (1.0 - decay) * change
        second = self._second(moments.get("second", zero), change**2)
        step = self._rate(server_round) * first / (np.sqrt(second) + self.adaptivity)
        return step, {"first": first, "second": second}

    @property
    def _first_decay(self) -> float:
        return 0.0

    @abstractmethod
    def _second(self, second: Vector, square: Vector) -> Vector:
        """Update the second moment by the square of the change."""

    def _rate(self, server_round: int) -> float:
        return self.learning_rate


@dataclass(frozen=True)
class FedAdagrad(_Adaptive):
    """Adagrad: ``v <- v + Delta^2``, no first moment.

    Examples
    --------
    >>> FedAdagrad(learning_rate=1.0, adaptivity=1.0).step(np.array([3.0]), {}, 1)[0]
    array([0.75])
    """

    def _second(self, second: Vector, square: Vector) -> Vector:
        return second + square


@dataclass(frozen=True)
class FedAdam(_Adaptive):
    """Adam: ``v <- b2 v + (1 - b2) Delta^2``, with the rate corrected for the moments' start at zero.

    Attributes
    ----------
    first_decay, second_decay : float
        ``b1`` and ``b2``.

    Examples
    --------
    >>> step, moments = FedAdam().step(np.array([1.0, -1.0]), {}, 1)
    >>> moments["second"].round(3)
    array([0.01, 0.01])
    """

    first_decay: float = 0.9
    second_decay: float = 0.99

    @property
    def _first_decay(self) -> float:
        return self.first_decay

    def _second(self, second: Vector, square: Vector) -> Vector:
        return self.second_decay * second + (1.0 - self.second_decay) * square

    def _rate(self, server_round: int) -> float:
        count = server_round + 1.0
        correction = np.sqrt(1.0 - self.second_decay**count) / (1.0 - self.first_decay**count)
        return float(self.learning_rate * correction)


@dataclass(frozen=True)
class FedYogi(_Adaptive):
    """Yogi: ``v <- v - (1 - b2) Delta^2 sign(v - Delta^2)``: the second moment changes slowly when it falls.

    Attributes
    ----------
    first_decay, second_decay : float
        ``b1`` and ``b2``.

    Examples
    --------
    >>> step, moments = FedYogi().step(np.array([1.0]), {}, 1)
    >>> moments["second"].round(3)
    array([0.01])
    """

    learning_rate: float = 0.01
    first_decay: float = 0.9
    second_decay: float = 0.99

    @property
    def _first_decay(self) -> float:
        return self.first_decay

    def _second(self, second: Vector, square: Vector) -> Vector:
        return second - (1.0 - self.second_decay) * square * np.sign(second - square)


SERVER_OPTIMIZERS: dict[str, type[ServerOptimizer]] = {
    "fedavgm": FedAvgM,
    "fedadagrad": FedAdagrad,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
}
"""The optimizers by name."""


def get_server_optimizer(name: str, **parameters: Any) -> ServerOptimizer | None:
    """Make an optimizer by name.

    Parameters
    ----------
    name : str
        One of :data:`SERVER_OPTIMIZERS`, or ``"none"`` for the change as it is.
    **parameters
        Attributes of the optimizer.

    Returns
    -------
    ServerOptimizer or None

    Raises
    ------
    ParameterError
        If the name or a parameter is unknown, or a number outside its range.

    Examples
    --------
    >>> get_server_optimizer("fedavgm", momentum=0.5)
    FedAvgM(learning_rate=1.0, momentum=0.5)
    """
    if name == "none" and not parameters:
        return None
    if name not in SERVER_OPTIMIZERS:
        known = f"must be none or one of {', '.join(SERVER_OPTIMIZERS)}"
        close = difflib.get_close_matches(name.lower(), SERVER_OPTIMIZERS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else ""
        if name == "none":
            hint = f"without one there is nothing to be told {', '.join(parameters)}"
        raise ParameterError("server_optimizer", known, name, hint=hint)
    kind = SERVER_OPTIMIZERS[name]
    names = [entry.name for entry in fields(kind)]
    unknown = sorted(set(parameters) - set(names))
    if unknown:
        raise ParameterError(f"parameters of {name}", f"must be among {', '.join(names)}", ", ".join(unknown))
    return kind(**parameters)
