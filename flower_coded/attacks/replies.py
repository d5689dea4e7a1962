"""Replies that are malformed on purpose, to see that a strategy drops them singly and says whose they were.

Threat model of all: a saboteur, or a client with a bug; it knows nothing. What is sent is made from the
honest reply, by an attack on its arrays (:class:`MalformedArrays`), on its metrics
(:class:`MalformedMetrics`) or on its delivery (:class:`NoAnswer`, :class:`LateAnswer`). The Flower side
(:mod:`flower_coded.clients.malformed`) takes a reply apart and puts it together again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.crafting import check_positive
from flower_coded.errors import ParameterError

__all__ = ["LateAnswer", "MalformedArrays", "MalformedMetrics", "NoAnswer", "ReplyAttack"]

ArrayFault = Literal["wrong-shape", "infinite", "huge", "wrong-keys"]
MetricFault = Literal["negative-num-examples", "no-num-examples", "no-metrics"]
DeliveryFault = Literal["silence", "no-reply", "exception"]


@dataclass(frozen=True)
class MalformedArrays:
    """Spoil the arrays of a reply.

    Attributes
    ----------
    fault : {"wrong-shape", "infinite", "huge", "wrong-keys"}
        Every array twice, one after the other; all infinite; all the largest number of their type, which is
        infinite as soon as two are added; other names.

    Examples
    --------
    >>> MalformedArrays("huge").craft({"w": np.zeros(1, np.float16), "count": np.array(3)})["w"]
    array([6.55e+04], dtype=float16)
    """

    fault: ArrayFault

    def __post_init__(self) -> None:
        _check("fault", self.fault, get_args(ArrayFault))

    def craft(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Spoiled copies, in the types of the honest arrays.

        Parameters
        ----------
        arrays : mapping of str to ndarray, any shapes and types
        """
        if self.fault == "wrong-keys":
            return {f"{name}.renamed": array.copy() for name, array in arrays.items()}
        return {name: self._spoiled(array) for name, array in arrays.items()}

    def _spoiled(self, array: NDArray[Any]) -> NDArray[Any]:
        if self.fault == "wrong-shape":
            return np.concatenate([np.atleast_1d(array)] * 2)  # a 0-d array too gets a shape of its own
        if np.issubdtype(array.dtype, np.inexact):  # complex results of analog computing too
            largest = np.finfo(array.dtype).max
            return np.full_like(array, largest if self.fault == "huge" else np.inf)
        if self.fault == "huge" and np.issubdtype(array.dtype, np.integer):
            return np.full_like(array, np.iinfo(array.dtype).max)
        return array.copy()  # integers know no infinity, truth values nothing huge


@dataclass(frozen=True)
class MalformedMetrics:
    """Spoil the metrics of a reply.

    Attributes
    ----------
    fault : {"negative-num-examples", "no-num-examples", "no-metrics"}
        -1 examples; no number of examples; nothing at all.

    Examples
    --------
    >>> MalformedMetrics("negative-num-examples").craft({"num-examples": 20, "loss": 0.5})
    {'num-examples': -1, 'loss': 0.5}
    """

    fault: MetricFault

    def __post_init__(self) -> None:
        _check("fault", self.fault, get_args(MetricFault))

    def craft(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Spoiled copy; ``num_examples``, as older apps write it, is a number of examples too.

        Parameters
        ----------
        metrics : mapping of str to value
        """
        if self.fault == "no-metrics":
            return {}
        counts = {name for name in metrics if name.replace("_", "-") == "num-examples"}
        kept = dict(metrics) | dict.fromkeys(counts, -1)
        if self.fault == "no-num-examples":
            return {name: value for name, value in kept.items() if name not in counts}
        return kept


@dataclass(frozen=True)
class NoAnswer:
    """Send no answer.

    Attributes
    ----------
    fault : {"silence", "no-reply", "exception"}
        ``silence`` is Flower's clean way to be a client that has dropped out: an error reply, at once.
        ``no-reply`` really says nothing, and the server waits for its time limit. With ``exception`` the
        client raises.
    """

    fault: DeliveryFault

    def __post_init__(self) -> None:
        _check("fault", self.fault, get_args(DeliveryFault))


@dataclass(frozen=True)
class LateAnswer:
    """Send the honest reply after a pause, too late for a server that waits less.

    Attributes
    ----------
    seconds : float
        The pause.
    """

    seconds: float = 5.0

    def __post_init__(self) -> None:
        check_positive("seconds", self.seconds)


ReplyAttack = MalformedArrays | MalformedMetrics | NoAnswer | LateAnswer


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ParameterError(name, f"must be one of {', '.join(known)}", value)
