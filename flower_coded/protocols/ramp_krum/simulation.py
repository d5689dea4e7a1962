"""A whole round among users in this process.

Liars and drop-outs take part as in life, and every message is counted and timed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.conduct import HONEST, Conduct
from flower_coded.protocols.ramp_krum.dealing import Resources
from flower_coded.protocols.ramp_krum.loads import Load, message_load, request_bytes
from flower_coded.protocols.ramp_krum.messages import Openings, Request, UserMessage
from flower_coded.protocols.ramp_krum.party import Party
from flower_coded.protocols.ramp_krum.round import RoundReport, run_server
from flower_coded.protocols.ramp_krum.status import Reply

__all__ = ["run_round"]


def run_round(
    schemes: Schemes,
    updates: Mapping[int, NDArray[np.int64]],
    *,
    deviations: Mapping[int, Conduct] | None = None,
    resources: Resources | None = None,
    ask_everybody: bool = False,
    is_measurement: bool = False,
    report: RoundReport | None = None,
) -> RoundReport:
    """Run a round among users in this process.

    Parameters
    ----------
    schemes : Schemes
    updates : mapping of int to ndarray of shape (L,), int64
        Quantized updates by user; blocks beyond the bound are scaled down, as a client does.
    deviations : mapping of int to Conduct or None
        Who lies or falls silent, and how.
    resources : Resources or None
        Of every user.
    ask_everybody, is_measurement : bool
        As in :func:`flower_coded.protocols.ramp_krum.round.run_server`.
    report : RoundReport or None
        Where to write; one passed in is there even if the round is refused.

    Returns
    -------
    RoundReport

    Raises
    ------
    RoundRefusedError
        If the round cannot end with a result that is known to be right.
    AssertionError
        If more than T shares of a dealer were opened to the server; nothing anybody does may bring that
        about.

    Examples
    --------
    >>> from flower_coded.crypto.ramp_sharing import RampSharing
    >>> from flower_coded.crypto.srs import generate_reference_string
    >>> from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
    >>> sharing = RampSharing(num_users=7, num_parts=1, num_colluders=1, num_attackers=1)
    >>> parameters = RampKrumParameters(sharing, num_selected=2, length=3)
    >>> schemes = Schemes.create(parameters, generate_reference_string(parameters.largest_chunk))
    >>> updates = {user: np.array([user, 0, 1]) for user in range(6)} | {6: np.array([0, 0, 999])}
    >>> outcome = run_round(schemes, updates).outcome
    >>> outcome.selection.users, outcome.total
    ((2, 3), array([5, 0, 2]))
    """
    conducts, result = deviations or {}, report if report is not None else RoundReport()
    parties = {
        user: Party(schemes, user, integers, resources=resources, conduct=conducts.get(user, HONEST))
        for user, integers in updates.items()
    }
    transport = _LocalTransport(parties, result, schemes.parameters.sharing.num_colluders)
    result.outcome = run_server(
        schemes, transport, ask_everybody=ask_everybody, is_measurement=is_measurement
    )
    return result


class _LocalTransport:
    """Delivers requests within the process; counts, times, and watches over what is opened."""

    def __init__(self, parties: Mapping[int, Party], report: RoundReport, most_opened: int) -> None:
        self.parties, self.report, self.most_opened = parties, report, most_opened
        self.opened: dict[int, set[int]] = {}
        self.last_phase, self.left_at = "", time.perf_counter()

    def __call__(self, phase: str, requests: Mapping[int, Request]) -> list[Reply]:
        if self.last_phase:
            seconds = self.report.server_seconds
            spent = time.perf_counter() - self.left_at
            seconds[self.last_phase] = seconds.get(self.last_phase, 0.0) + spent
        replies: list[Reply] = []
        for user in sorted(set(requests) & set(self.parties)):
            replies += [(user, message) for message in self._ask(phase, user, requests[user])]
        self.last_phase, self.left_at = phase, time.perf_counter()
        return replies

    def _ask(self, phase: str, user: int, request: Request) -> list[UserMessage]:
        received = self.report.received_bytes
        received[user] = received.get(user, 0) + request_bytes(request)
        start = time.perf_counter()
        messages = list(self.parties[user].answer(request))
        times = self.report.user_seconds.setdefault(phase, {})
        times[user] = times.get(user, 0.0) + time.perf_counter() - start
        load = sum((message_load(message) for message in messages), Load())
        sent = self.report.sent.setdefault(phase, {})
        sent[user] = sent.get(user, Load()) + load
        for message in messages:
            if isinstance(message, Openings):
                opened = self.opened.setdefault(user, set())
                opened.update(message.openings)
                assert len(opened) <= self.most_opened, f"shares {sorted(opened)} of user {user} are open"
        return messages
