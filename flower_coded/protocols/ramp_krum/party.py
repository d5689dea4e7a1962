"""One user over a whole round: the pure steps strung together, with another conduct for experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import RoundRefusedError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.conduct import HONEST, Conduct
from flower_coded.protocols.ramp_krum.dealing import Resources
from flower_coded.protocols.ramp_krum.messages import (
    Closed,
    CloseRequest,
    DealRequest,
    Delivery,
    EvaluationRequest,
    KeyRequest,
    OpeningRequest,
    Request,
    SumRequest,
    UserMessage,
)
from flower_coded.protocols.ramp_krum.user import (
    DealtState,
    HoldingState,
    KeyState,
    SummingState,
    add_up,
    announce_key,
    answer_dispute,
    deal,
    evaluate,
    receive_shares,
)

__all__ = ["REQUEST_PHASES", "Party", "UserState", "answer_request"]

UserState = KeyState | DealtState | HoldingState | SummingState | None

REQUEST_PHASES: dict[type[Request], str] = {
    KeyRequest: "keys",
    DealRequest: "shares",
    Delivery: "complaints",
    OpeningRequest: "openings",
    EvaluationRequest: "evaluations",
    SumRequest: "sums",
    CloseRequest: "close",
}
"""The phase that each request belongs to."""


def answer_request(
    schemes: Schemes,
    user: int,
    state: UserState,
    request: Request,
    integers: Callable[[], NDArray[np.int64]],
    *,
    resources: Resources | None = None,
    conduct: Conduct = HONEST,
) -> tuple[UserState, Sequence[UserMessage]]:
    """Answer any request of the server.

    Parameters
    ----------
    schemes : Schemes
    user : int
    state : UserState
    request : Request
    integers : callable
        Returns the quantized update of shape (L,), int64; called when shares are asked for.
    resources : Resources or None
    conduct : Conduct
        For experiments with liars.

    Returns
    -------
    state : UserState
    messages : sequence of UserMessage
        One, unless the user deviates.

    Raises
    ------
    RoundRefusedError
        If the request does not fit the state.
    """
    following, message = _step(schemes, user, state, request, integers, resources, conduct)
    return following, conduct.alter_message(REQUEST_PHASES[type(request)], message)


class Party:
    """A user that keeps its state.

    Parameters
    ----------
    schemes : Schemes
    user : int
    integers : ndarray of shape (L,), int64
        The quantized update.
    resources : Resources or None
    conduct : Conduct
        For experiments with liars.
    """

    def __init__(
        self,
        schemes: Schemes,
        user: int,
        integers: NDArray[np.int64],
        *,
        resources: Resources | None = None,
        conduct: Conduct = HONEST,
    ) -> None:
        self.schemes, self.user, self.integers = schemes, user, integers
        self.resources, self.conduct = resources, conduct
        self.state: UserState = None

    def answer(self, request: Request) -> Sequence[UserMessage]:
        """Answer a request; see :func:`answer_request`."""
        self.state, messages = answer_request(
            self.schemes,
            self.user,
            self.state,
            request,
            lambda: self.integers,
            resources=self.resources,
            conduct=self.conduct,
        )
        return messages


def _step(
    schemes: Schemes,
    user: int,
    state: UserState,
    request: Request,
    integers: Callable[[], NDArray[np.int64]],
    resources: Resources | None,
    conduct: Conduct,
) -> tuple[UserState, UserMessage]:
    answer: tuple[UserState, UserMessage]
    match request, state:
        case KeyRequest(), _:
            answer = announce_key(user, request)
        case CloseRequest(), _:
            # Closing fits every state and forgets it, secrets included.
            answer = None, Closed(request.round_id, user)
        case DealRequest(), KeyState():
            answer = deal(schemes, state, request, integers(), resources=resources, conduct=conduct)
        case Delivery(), DealtState():
            answer = receive_shares(schemes, state, request, resources=resources)
        case OpeningRequest(), HoldingState():
            answer = answer_dispute(schemes.parameters, state, request)
        case EvaluationRequest(), HoldingState():
            answer = evaluate(schemes.parameters, state, request)
        case SumRequest(), SummingState():
            answer = add_up(schemes.parameters, state, request)
        # A second answer from one state could show the same secrets under other conditions.
        case _:
            phase = REQUEST_PHASES.get(type(request), "unknown")
            raise RoundRefusedError(phase, "the request does not fit what was asked before")
    return answer
