"""How the phases of ramp-shared multi-Krum reach Flower's nodes, and what comes back.

A transport lives for one round. It waits for a phase's replies at most the timeout, and not for stragglers:
once all but A + D have answered, the others have a few times as long as these took. Whoever is later is
silent, so that a user just under the timeout holds up nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict

from flower_coded.errors import MalformedReplyError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.loads import Load, message_load
from flower_coded.protocols.ramp_krum.messages import (
    Closed,
    Complaints,
    Dealing,
    Evaluations,
    Malformed,
    Openings,
    PublicKey,
    Request,
    ShareSum,
    UserMessage,
)
from flower_coded.protocols.ramp_krum.round import RoundReport
from flower_coded.protocols.ramp_krum.status import Reply
from flower_coded.strategies.federation import Assignment, Federation
from flower_coded.wire.keys import SERVER_ROUND_KEY
from flower_coded.wire.ramp_krum import (
    SETTINGS_RECORD,
    Limits,
    message_to_records,
    parameters_to_settings,
    records_to_message,
)
from flower_coded.wire.reference_string import REFERENCE_RECORD, reference_to_record
from flower_coded.wire.validation import Accepted, Rejected

__all__ = ["FlowerTransport", "Waits"]

_REPLY_KINDS: dict[str, type[UserMessage]] = {
    "keys": PublicKey,
    "shares": Dealing,
    "complaints": Complaints,
    "openings": Openings,
    "evaluations": Evaluations,
    "sums": ShareSum,
    "close": Closed,
}


@dataclass(frozen=True)
class Waits:
    """How long a phase is waited for.

    Parameters
    ----------
    timeout : float
        Seconds, at most.
    num_spare : int
        Stragglers that are not waited for as long: A + D.
    patience : float
        How many times as long as all others took the stragglers have.
    least : float
        Seconds that they have at least; short phases are no measure.
    """

    timeout: float
    num_spare: int
    patience: float = 3.0
    least: float = 10.0

    def is_enough(self, num_asked: int) -> Callable[[list[Message]], bool]:
        """Return a function that ends the wait for the replies of a phase that begins now."""
        started = time.monotonic()
        others_took: list[float] = []

        def is_enough(replies: list[Message]) -> bool:
            passed = time.monotonic() - started
            if len(replies) >= num_asked:
                return True
            if len(replies) < num_asked - self.num_spare:
                return False
            others_took.append(passed)
            return passed >= max(self.least, self.patience * others_took[0])

        return is_enough


@dataclass
class FlowerTransport:
    """Delivers requests as train messages, and reads the replies.

    Parameters
    ----------
    federation : Federation
    schemes : Schemes
    server_round : int
    waits : Waits
    training : callable
        ``training(user)`` returns what an ordinary train message holds: arrays and configuration.
    holders : dict of int to int
        By user, the node that has the reference string; written to.
    report : RoundReport
        What was sent, and the server's seconds.
    phase_seconds : dict of str to float
        From sending a phase's requests to having the last reply.
    rejected : dict of (str, int) to Rejected
        By phase and user, why there is no message: silence, an error of the client, nonsense.
    trained : list of Accepted of RecordDict
        The first phase's replies, which hold what clients report.
    """

    federation: Federation
    schemes: Schemes
    server_round: int
    waits: Waits
    training: Callable[[int], Mapping[str, ArrayRecord | ConfigRecord]]
    holders: dict[int, int]
    report: RoundReport = field(default_factory=RoundReport)
    phase_seconds: dict[str, float] = field(default_factory=dict)
    rejected: dict[tuple[str, int], Rejected] = field(default_factory=dict)
    trained: list[Accepted[MetricRecords]] = field(default_factory=list)
    _left_at: float = field(default_factory=time.perf_counter)
    _last_phase: str = ""

    def __call__(self, phase: str, requests: Mapping[int, Request]) -> list[Reply]:
        """Ask, wait, and return what can be read; see :data:`Transport`."""
        started = time.perf_counter()
        if self._last_phase:
            spent = self.report.server_seconds
            spent[self._last_phase] = spent.get(self._last_phase, 0.0) + started - self._left_at
        replies = self._ask(phase, requests)
        sent = self.report.sent.setdefault(phase, {})
        for user, message in replies:
            sent[user] = sent.get(user, Load()) + message_load(message)
        self._left_at, self._last_phase = time.perf_counter(), phase
        self.phase_seconds[phase] = self.phase_seconds.get(phase, 0.0) + self._left_at - started
        return replies

    def _ask(self, phase: str, requests: Mapping[int, Request]) -> list[Reply]:
        contents = {user: self._content(phase, user, request) for user, request in requests.items()}
        asked = self.federation.requests(self.server_round, MessageType.TRAIN, contents, group=phase)
        enough = self.waits.is_enough(len(asked.messages))
        received = self.federation.ask(asked, timeout=self.waits.timeout, is_enough=enough)
        limits, kind = Limits.of(self.schemes.parameters), _REPLY_KINDS[phase]

        def check(content: RecordDict, assignment: Assignment) -> tuple[UserMessage, MetricRecords]:
            metrics = dict(content.metric_records) if phase == "keys" else {}
            try:
                return records_to_message(content, [kind], limits), metrics
            except MalformedReplyError as error:  # an answer that cannot be used is not the same as none
                return Malformed(b"", assignment.participant, str(error)[:300]), metrics

        accepted, rejected = asked.validate(received, check)
        self.rejected |= {
            (phase, each.participant): each for each in rejected if each.participant is not None
        }
        replies: list[Reply] = [(each.participant, each.content[0]) for each in accepted]
        if phase == "keys":
            self._note_training(accepted)
            missing = [each.participant for each in rejected if each.code == "state-missing"]
            lost = [user for user in missing if user is not None and self.holders.pop(user, 0)]
            again = {user: requests[user] for user in lost}
            if again:  # it had the reference string and lost it: once more, with the string
                replies += self._ask(phase, again)
        return sorted(replies, key=lambda reply: reply[0])

    def _note_training(self, accepted: list[Accepted[tuple[UserMessage, MetricRecords]]]) -> None:
        for each in accepted:
            self.holders[each.participant] = each.node_id
            self.trained.append(Accepted(each.node_id, each.participant, each.content[1]))

    def _content(self, phase: str, user: int, request: Request) -> RecordDict:
        reference = self.schemes.by_family["update"].reference
        settings = parameters_to_settings(self.schemes.parameters, user=user, digest=reference.digest)
        settings[SERVER_ROUND_KEY] = self.server_round
        content = RecordDict({**message_to_records(request), SETTINGS_RECORD: settings})
        if phase == "keys":
            for name, record in self.training(user).items():
                content[name] = record
            if self.holders.get(user) != self.federation.participants.node_of(user):
                self.holders.pop(user, None)
                content[REFERENCE_RECORD] = reference_to_record(reference)
        return content


MetricRecords = dict[str, MetricRecord]
"""What a reply reports, by the names of its records."""
