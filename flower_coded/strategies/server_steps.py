"""The server's own step behind an aggregate: an optimizer, and what it keeps from round to round."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.server_optimizer import ServerOptimizer
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.wire.model_state import State, add_to_state

__all__ = ["ServerSteps"]


class ServerSteps:
    """Adds changes to a model, by an optimizer or as they are.

    Parameters
    ----------
    optimizer : ServerOptimizer or None
        None adds the change itself.

    Raises
    ------
    ParameterError
        If it is no optimizer.

    Examples
    --------
    >>> steps = ServerSteps(None)
    >>> steps.applied({"weight": np.array([1.0, 2.0])}, np.array([0.5, -1.0]), 1)
    {'weight': array([1.5, 1. ])}
    """

    def __init__(self, optimizer: ServerOptimizer | None) -> None:
        if optimizer is not None and not isinstance(optimizer, ServerOptimizer):
            raise ParameterError(
                "server_optimizer",
                "must be a ServerOptimizer",
                optimizer,
                hint='get_server_optimizer("fedadam")',
            )
        self.optimizer = optimizer
        self._moments: Any = {}

    def restart(self) -> None:
        """Forget the moments: a new run begins."""
        self._moments = {}

    def applied(self, state: State, change: NDArray[np.float64], server_round: int) -> State:
        """Return the state after the step; the moments advance only if it is finite.

        Raises
        ------
        DecodingError
            If an entry of the new state is not finite in the state's own type.
        """
        moments = self._moments
        if self.optimizer is not None:
            change, moments = self.optimizer.step(np.asarray(change, np.float64), moments, server_round)
        following = add_to_state(state, change)
        # Finite in float64 is not yet finite in the model's own type.
        if not all(np.isfinite(array).all() for array in following.values()):
            raise DecodingError("the aggregate is not finite")
        self._moments = moments
        return following
