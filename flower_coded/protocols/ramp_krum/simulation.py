"""A whole round: the server's steps over any transport, and a transport within this process.

Liars and drop-outs take part as in life, and every message is counted and timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.ramp_krum_deviations import Deviation
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.dealing import Resources
from flower_coded.protocols.ramp_krum.loads import Load, message_load
from flower_coded.protocols.ramp_krum.member import Member
from flower_coded.protocols.ramp_krum.messages import CloseRequest, Request
from flower_coded.protocols.ramp_krum.replies import Reply
from flower_coded.protocols.ramp_krum.server_result import RoundOutcome, receive_evaluations, receive_sums
from flower_coded.protocols.ramp_krum.server_sharing import (
    open_round,
    receive_complaints,
    receive_dealings,
    receive_keys,
    receive_openings,
)

__all__ = ["RoundReport", "Transport", "run_round", "run_server"]

Transport = Callable[[str, Mapping[int, Request]], Iterable[Reply]]
"""``transport(phase, requests)`` delivers requests by user and returns what came back."""


@dataclass
class RoundReport:
    """What a round took and gave.

    Parameters
    ----------
    sent : dict of str to (dict of int to Load)
        By phase and user.
    user_seconds : dict of str to (dict of int to float)
        Time of the users' steps.
    server_seconds : dict of str to float
        Time of the server's steps, by the phase whose replies they took.
    outcome : RoundOutcome or None
        None until the round ended.
    """

    sent: dict[str, dict[int, Load]] = field(default_factory=dict)
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
) -> RoundOutcome:
    """Run the server's side of a round.

    Parameters
    ----------
    schemes : Schemes
    transport : callable
        Called once per phase, for ``openings`` only if there are disputes, for ``sums`` again if more are
        needed.
    known_liars : iterable of int
        As in :func:`open_round`.
    ask_everybody : bool
        As in :func:`receive_evaluations`.

    Returns
    -------
    RoundOutcome

    Raises
    ------
    RoundRefusedError
        If the round cannot end with a result that is known to be right.
    """
    keys, first_requests = open_round(schemes, known_liars=known_liars)
    holding = set(first_requests)  # users that keep something of this round

    def ask(phase: str, requests: Mapping[int, Request]) -> list[Reply]:
        replies = list(transport(phase, requests)) if requests else []
        answered = {user for user, _ in replies}
        holding.difference_update(answered if phase == "sums" else set(requests) - answered)
        return replies

    try:
        dealings, deal_requests = receive_keys(keys, ask("keys", first_requests))
        complaints, deliveries = receive_dealings(dealings, ask("shares", deal_requests))
        openings, disputes = receive_complaints(complaints, ask("complaints", deliveries))
        evaluations, questions = receive_openings(openings, ask("openings", disputes))
        waiting, sum_requests = receive_evaluations(
            evaluations, ask("evaluations", questions), ask_everybody=ask_everybody
        )
        while True:
            result = receive_sums(waiting, ask("sums", sum_requests))
            if isinstance(result, RoundOutcome):
                return result
            waiting, sum_requests = result
    finally:
        ask("close", dict.fromkeys(sorted(holding), CloseRequest(keys.round_id)))


def run_round(
    schemes: Schemes,
    updates: Mapping[int, NDArray[np.int64]],
    *,
    deviations: Mapping[int, Deviation] | None = None,
    resources: Resources | None = None,
    ask_everybody: bool = False,
    report: RoundReport | None = None,
) -> RoundReport:
    """Run a round among users in this process.

    Parameters
    ----------
    schemes : Schemes
    updates : mapping of int to ndarray of shape (L,), int64
        Quantized updates by user.
    deviations : mapping of int to Deviation or None
        Who lies or falls silent, and how.
    resources : Resources or None
        Of every user.
    ask_everybody : bool
        As in :func:`receive_evaluations`.
    report : RoundReport or None
        Where to write; one passed in is there even if the round is refused.

    Returns
    -------
    RoundReport

    Raises
    ------
    RoundRefusedError
        If the round cannot end with a result that is known to be right.

    Examples
    --------
    >>> from flower_coded.crypto.ramp_sharing import RampSharing
    >>> from flower_coded.crypto.srs import generate_reference_string
    >>> from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
    >>> sharing = RampSharing(num_users=7, num_parts=1, num_colluders=1, num_attackers=1)
    >>> parameters = RampKrumParameters(sharing, num_selected=2, length=3, num_range_checks=4)
    >>> schemes = Schemes.create(parameters, generate_reference_string(parameters.largest_chunk))
    >>> updates = {user: np.array([user, 0, 1]) for user in range(6)} | {6: np.array([0, 0, 999])}
    >>> outcome = run_round(schemes, updates).outcome
    >>> outcome.selection.users, outcome.total
    ((2, 3), array([5, 0, 2]))
    """
    deviations, result = deviations or {}, report if report is not None else RoundReport()
    members = {
        user: Member(schemes, user, integers, resources=resources, deviation=deviations.get(user))
        for user, integers in updates.items()
    }
    last_phase, left_at = "", time.perf_counter()

    def transport(phase: str, requests: Mapping[int, Request]) -> list[Reply]:
        nonlocal last_phase, left_at
        if last_phase:
            spent = time.perf_counter() - left_at
            result.server_seconds[last_phase] = result.server_seconds.get(last_phase, 0.0) + spent
        replies: list[Reply] = []
        for user in sorted(set(requests) & set(members)):
            start = time.perf_counter()
            messages = members[user].answer(requests[user])
            result.user_seconds.setdefault(phase, {})[user] = time.perf_counter() - start
            replies += [(user, message) for message in messages]
            load = sum((message_load(message) for message in messages), Load())
            before = result.sent.setdefault(phase, {}).get(user, Load())
            result.sent[phase][user] = before + load
        last_phase, left_at = phase, time.perf_counter()
        return replies

    result.outcome = run_server(schemes, transport, ask_everybody=ask_everybody)
    return result
