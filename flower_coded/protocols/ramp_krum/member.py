"""One user over a whole round: the pure steps strung together, with an optional deviation for experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.ramp_krum_deviations import Deviation
from flower_coded.errors import RoundRefusedError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.dealing import Resources, update_to_parts
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
    add_up,
    announce_key,
    answer_dispute,
    deal,
    evaluate,
    receive_shares,
)

__all__ = ["REQUEST_PHASES", "Member", "UserState", "answer_request"]

UserState = KeyState | DealtState | HoldingState | None

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
    deviation: Deviation | None = None,
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
    deviation : Deviation or None
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
    conduct = deviation or Deviation()
    following, message = _step(schemes, user, state, request, integers, resources, conduct)
    return following, conduct.alter_message(REQUEST_PHASES[type(request)], message)


class Member:
    """A user that keeps its state.

    Parameters
    ----------
    schemes : Schemes
    user : int
    integers : ndarray of shape (L,), int64
        The quantized update.
    resources : Resources or None
    deviation : Deviation or None
        For experiments with liars.
    """

    def __init__(
        self,
        schemes: Schemes,
        user: int,
        integers: NDArray[np.int64],
        *,
        resources: Resources | None = None,
        deviation: Deviation | None = None,
    ) -> None:
        self.schemes, self.user, self.integers = schemes, user, integers
        self.resources, self.deviation = resources, deviation
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
            deviation=self.deviation,
        )
        return messages


def _step(
    schemes: Schemes,
    user: int,
    state: UserState,
    request: Request,
    integers: Callable[[], NDArray[np.int64]],
    resources: Resources | None,
    conduct: Deviation,
) -> tuple[UserState, UserMessage]:
    answer: tuple[UserState, UserMessage]
    match request, state:
        case KeyRequest(), _:
            answer = announce_key(user, request)
        case CloseRequest(), _:
            answer = None, Closed(request.round_id, user)
        case DealRequest(), KeyState():
            parts = conduct.alter_parts(update_to_parts(schemes.parameters, integers()))
            filter_shares = conduct.alter_shares
            answer = deal(schemes, state, request, parts, resources=resources, alter_shares=filter_shares)
        case Delivery(), DealtState():
            answer = receive_shares(schemes, state, request, resources=resources)
        case OpeningRequest(), HoldingState():
            answer = answer_dispute(schemes.parameters, state, request)
        case EvaluationRequest(), HoldingState():
            answer = evaluate(schemes.parameters, state, request)
        case SumRequest(), HoldingState():
            answer = add_up(schemes.parameters, state, request)
        case _:
            phase = REQUEST_PHASES.get(type(request), "unknown")
            raise RoundRefusedError(phase, "the request does not fit what was asked before")
    return answer
