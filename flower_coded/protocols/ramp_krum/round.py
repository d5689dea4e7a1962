"""The server's side of a whole round over any transport, and what a round took and gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.loads import Load
from flower_coded.protocols.ramp_krum.messages import CloseRequest, Request
from flower_coded.protocols.ramp_krum.server_disputes import (
    AwaitingEvaluations,
    AwaitingOpenings,
    receive_complaints,
    receive_openings,
)
from flower_coded.protocols.ramp_krum.server_result import RoundOutcome, receive_evaluations, receive_sums
from flower_coded.protocols.ramp_krum.server_sharing import open_round, receive_dealings, receive_keys
from flower_coded.protocols.ramp_krum.status import Reply

__all__ = ["RoundReport", "Transport", "run_server"]

Transport = Callable[[str, Mapping[int, Request]], Iterable[Reply]]
"""``transport(phase, requests)`` delivers requests by user and returns what came back."""


@dataclass
class RoundReport:
    """What a round took and gave.

    Parameters
    ----------
    sent : dict of str to (dict of int to Load)
        By phase and user.
    received_bytes : dict of int to int
        What each user received in all.
    user_seconds : dict of str to (dict of int to float)
        Time of the users' steps.
    server_seconds : dict of str to float
        Time of the server's steps, by the phase whose replies they took.
    outcome : RoundOutcome or None
        None until the round ended.
    """

    sent: dict[str, dict[int, Load]] = field(default_factory=dict)
    received_bytes: dict[int, int] = field(default_factory=dict)
    user_seconds: dict[str, dict[int, float]] = field(default_factory=dict)
    server_seconds: dict[str, float] = field(default_factory=dict)
    outcome: RoundOutcome | None = None

    def load_of_user(self, user: int) -> Load:
        """Return everything that a user sent."""
        return sum((loads[user] for loads in self.sent.values() if user in loads), Load())

    def load_of_server(self) -> Load:
        """Return what the server received for itself: products, range sums and sums, not what it relays."""
        phases = [self.sent.get(phase, {}) for phase in ("evaluations", "sums")]
        return sum((load for loads in phases for load in loads.values()), Load())


def run_server(
    schemes: Schemes,
    transport: Transport,
    *,
    known_liars: Iterable[int] = (),
    ask_everybody: bool = False,
    is_measurement: bool = False,
) -> RoundOutcome:
    """Run the server's side of a round.

    Parameters
    ----------
    schemes : Schemes
    transport : callable
        Called once per phase, for ``openings`` once per turn of disputes, for ``sums`` again if more are
        needed.
    known_liars : iterable of int
        As in :func:`open_round`.
    ask_everybody : bool
        As in :func:`receive_evaluations`.
    is_measurement : bool
        As in :func:`open_round`.

    Returns
    -------
    RoundOutcome

    Raises
    ------
    RoundRefusedError
        If the round cannot end with a result that is known to be right.
    """
    keys, first_requests = open_round(schemes, known_liars=known_liars, is_measurement=is_measurement)
    holding = set(first_requests)  # users that keep something of this round

    def ask(phase: str, requests: Mapping[int, Request]) -> list[Reply]:
        replies = list(transport(phase, requests)) if requests else []
        answered = {user for user, _ in replies}
        holding.difference_update(answered if phase == "sums" else set(requests) - answered)
        return replies

    try:
        dealings, deal_requests = receive_keys(keys, ask("keys", first_requests))
        complaints, deliveries = receive_dealings(dealings, ask("shares", deal_requests))
        stage: AwaitingOpenings | AwaitingEvaluations
        requests: Mapping[int, Request]
        stage, requests = receive_complaints(complaints, ask("complaints", deliveries))
        while isinstance(stage, AwaitingOpenings):  # every turn settles at least one dispute
            stage, requests = receive_openings(stage, ask("openings", requests))
        waiting, sum_requests = receive_evaluations(
            stage, ask("evaluations", requests), ask_everybody=ask_everybody
        )
        while True:
            result = receive_sums(waiting, ask("sums", sum_requests))
            if isinstance(result, RoundOutcome):
                return result
            waiting, sum_requests = result
    finally:
        ask("close", dict.fromkeys(sorted(holding), CloseRequest(keys.round_id)))
