"""The one place that asks nodes and validates their replies.

A :class:`Federation` is made once per grid. It knows who takes part (:class:`Participants`), draws samples
and seeds, sends one stage's messages (:class:`RoundRequests`) and waits for the replies, never without a
limit. What came back is accepted or rejected reply by reply. A reply belongs to the message whose id it
names, which Flower checks; a group id is somebody's word, and the notice of a dead node comes from Flower's
SuperLink, not from the node.

A strategy method then reads: which question, what is a good answer, what to do with the good ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from logging import INFO, WARNING
from typing import NamedTuple, TypeVar

import numpy as np
from flwr.app import Message, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid

from flower_coded.errors import MalformedReplyError, NodesMissingError
from flower_coded.strategies.participants import Participants, assign_places
from flower_coded.wire.keys import IDENTITY_MESSAGE_TYPE, PARTITION_ID_KEY
from flower_coded.wire.validation import Accepted, Rejected, the_only_record, validate

__all__ = ["Assignment", "Federation", "RoundRequests"]

T = TypeVar("T")

_POLL_SECONDS = 0.05
_IDENTITY_SECONDS = 60.0  # one silent newcomer must not hold up a round for long
_PATIENCE = 10  # a node that owes a reply for so many timeouts has lost the question


class Assignment(NamedTuple):
    """One question: who is asked, and about which model of an ensemble (None: about the one, or all)."""

    participant: int
    model: int | None = None


@dataclass
class RoundRequests:
    """The messages of one stage of one round, and the validation of their replies.

    Parameters
    ----------
    participants : Participants
        Who is who.
    server_round : int
        From 1.
    messages : mapping of Assignment to Message
        One message per assignment.
    unsent : dict of Assignment to Rejected
        Those who were not asked, and why: not connected, or busy.
    """

    participants: Participants
    server_round: int
    messages: dict[Assignment, Message] = field(default_factory=dict)
    unsent: dict[Assignment, Rejected] = field(default_factory=dict)

    def validate(
        self, replies: Iterable[Message], check: Callable[[RecordDict, Assignment], T]
    ) -> tuple[list[Accepted[T]], list[Rejected]]:
        """Validate replies singly.

        Parameters
        ----------
        replies : iterable of Message
            Everything that arrived, in any order.
        check : callable
            ``(content, assignment) -> T``; raises ``MalformedReplyError`` where the content is no answer.

        Returns
        -------
        accepted, rejected : lists
            Both by participant and model, whatever the order of arrival. Rejected are also those who
            were silent or not asked, and last what was not asked for: second replies, and strangers'.
        """
        self._sent = {each.metadata.message_id: key for key, each in self.messages.items()}
        verdicts: dict[Assignment, Accepted[T] | Rejected] = {}
        out_of_place: list[Rejected] = []
        for message in replies:
            assignment = self._assignment_of(message)
            if assignment is None:
                node_id = message.metadata.src_node_id
                index = self.participants.index_of(node_id)
                out_of_place.append(Rejected(node_id, index, "a reply that was not asked for", "unexpected"))
            elif assignment in verdicts:
                reason = "a second reply to the same message"
                out_of_place.append(self._rejected(assignment, reason, "duplicate"))
            else:
                verdicts[assignment] = self._validate_one(message, assignment, check)
        silence = "no reply before the timeout"
        ordered = [
            verdicts.get(each) or self.unsent.get(each) or self._rejected(each, silence, "no-reply")
            for each in sorted({*self.messages, *self.unsent}, key=_sorting)
        ]
        out_of_place.sort(key=lambda each: (each.participant is None, each.participant or 0, each.node_id))
        accepted = [each for each in ordered if isinstance(each, Accepted)]
        return accepted, [each for each in ordered if isinstance(each, Rejected)] + out_of_place

    def _assignment_of(self, message: Message) -> Assignment | None:
        """Return what a reply answers: by the id it names, which Flower checks, and by its sender."""
        metadata = message.metadata
        assignment = self._sent.get(metadata.reply_to_message_id) if metadata.reply_to_message_id else None
        if assignment is None:
            return None
        # The notice of a dead node comes from the SuperLink; anything else only from whom was asked.
        is_own = metadata.src_node_id == self.participants.node_of(assignment.participant)
        return assignment if is_own or message.has_error() else None

    def _validate_one(
        self, message: Message, assignment: Assignment, check: Callable[[RecordDict, Assignment], T]
    ) -> Accepted[T] | Rejected:
        participant, model = assignment
        verdict = validate(
            message, lambda content: check(content, assignment), participant=participant, model=model
        )
        if isinstance(verdict, Rejected) and verdict.node_id != self.participants.node_of(participant):
            return self._rejected(assignment, verdict.reason, verdict.code)
        return verdict

    def _rejected(self, assignment: Assignment, reason: str, code: str) -> Rejected:
        participant, model = assignment
        return Rejected(self.participants.node_of(participant), participant, reason, code, model)


class Federation:
    """The nodes behind one grid.

    Parameters
    ----------
    grid : Grid
        Flower's.
    num_participants : int or None
        How many take part, exactly; None for whoever is connected.
    connect_timeout : float
        Seconds to wait for nodes to connect, and for their partition ids.
    seed : int
        Draws samples and the seeds of messages.

    Attributes
    ----------
    participants : Participants
        Who has which index.
    connected : frozenset of int
        Node ids that were there at the last :meth:`refresh`.

    Examples
    --------
    >>> from flwr.clientapp import ClientApp
    >>> from flower_coded.testing import InProcessGrid
    >>> app = ClientApp()
    >>> @app.query()
    ... def answer(message, context):
    ...     return Message(RecordDict(), reply_to=message)
    >>> grid = InProcessGrid(app, 3, drop=lambda partition_id, message: partition_id == 1)
    >>> federation = Federation(grid, num_participants=3, connect_timeout=5)
    >>> federation.refresh()
    >>> requests = federation.requests(1, "query", {0: RecordDict(), 1: RecordDict(), 2: RecordDict()})
    >>> accepted, rejected = requests.validate(
    ...     federation.ask(requests, timeout=1), lambda content, assignment: "fine"
    ... )
    >>> [each.content for each in accepted], [str(each).split(": ")[1] for each in rejected]
    (['fine', 'fine'], ['no reply before the timeout [no-reply]'])
    """

    def __init__(
        self,
        grid: Grid,
        *,
        num_participants: int | None = None,
        connect_timeout: float = 120.0,
        seed: int = 0,
    ) -> None:
        self.grid, self.num_participants = grid, num_participants
        self.connect_timeout, self.seed = connect_timeout, seed
        self.participants, self.connected = Participants(), frozenset[int]()
        self._claims: dict[int, int | None] = {}
        self._expected = num_participants or 1
        self._owing: dict[int, tuple[str, float]] = {}  # by node: a message it has not answered, until when

    def refresh(self, at_least: int = 1) -> None:
        """Look who is connected and give newcomers a place; call it at the start of every stage.

        Parameters
        ----------
        at_least : int
            Nodes to wait for. The first look waits for all ``num_participants`` if there are so many. A
            later look that waits in vain is not repeated for the same loss.

        Raises
        ------
        NodesMissingError
            At the first look, if too few connect within ``connect_timeout``.
        """
        is_first = not self.participants.nodes
        needed = max(at_least, self.num_participants or 1) if is_first else min(at_least, self._expected)
        connected = wait_for_nodes(self.grid, needed, self.connect_timeout)
        if len(connected) < needed and is_first:
            raise NodesMissingError(len(connected), needed, self.connect_timeout)
        self._expected = max(1, min(at_least, len(connected)))
        unknown = [node_id for node_id in connected if node_id not in self._claims]
        if unknown:
            self._claims |= dict.fromkeys(unknown) | self._ask_identities(unknown)
        claims = {node_id: claim for node_id, claim in self._claims.items() if claim is not None}
        before = self.participants
        self.participants = assign_places(before, connected, claims, self.num_participants)
        self._log_changes(before, connected)
        self.connected = frozenset(connected)

    @property
    def present(self) -> list[int]:
        """Indices whose node was connected at the last look, ascending."""
        return [index for index, node_id in self.participants.nodes.items() if node_id in self.connected]

    def sample(self, fraction: float, at_least: int, stage_and_round: tuple[int, int]) -> list[int]:
        """Draw who takes part in a stage: the same for the same seed, whatever the node ids.

        Of a fixed number of participants all may be drawn, of an open federation those who are connected.
        """
        population = self.present if self.num_participants is None else list(self.participants)
        size = min(len(population), max(int(len(population) * fraction), at_least))
        generator = np.random.default_rng([self.seed, *stage_and_round])
        chosen: list[int] = sorted(generator.choice(population, size, replace=False).tolist())
        return chosen

    def seed_of(self, server_round: int, participant: int) -> int:
        """Seed for a message, ``0 .. 2**32 - 1``: all models of a participant share it in a round."""
        entropy = [self.seed, server_round, participant]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def requests(
        self,
        server_round: int,
        message_type: str,
        contents: Mapping[int, RecordDict] | Mapping[Assignment, RecordDict],
        *,
        group: str = "",
    ) -> RoundRequests:
        """Make one stage's messages; nothing is sent yet.

        Parameters
        ----------
        server_round : int
            From 1; the head of every message's group id.
        message_type : str
            Flower's.
        contents : mapping of int or Assignment to RecordDict
            What each participant is asked.
        group : str
            A name for the stage, for the group id.
        """
        requests = RoundRequests(self.participants, server_round)
        for key, content in contents.items():
            assignment = key if isinstance(key, Assignment) else Assignment(key)
            node_id = self.participants.node_of(assignment.participant)
            if node_id not in self.connected:
                requests.unsent[assignment] = Rejected(
                    node_id, assignment.participant, "not connected", "not-connected", assignment.model
                )
                continue
            # Not the model: which of its models a client trains is for nobody to read off a message.
            group_id = f"{server_round}/{group}" if group else str(server_round)
            requests.messages[assignment] = Message(content, node_id, message_type, group_id=group_id)
        return requests

    def ask(
        self,
        requests: RoundRequests,
        *,
        timeout: float,
        is_enough: Callable[[list[Message]], bool] | None = None,
    ) -> list[Message]:
        """Send the messages and wait for replies, at most ``timeout`` seconds.

        Parameters
        ----------
        requests : RoundRequests
            At most one message per node where ``is_enough`` is given. Who still owes a reply from an earlier
            stage is asked as soon as it has given it; if it does not, it is noted as unsent.
        timeout : float
            Seconds.
        is_enough : callable, optional
            Gets the replies so far; True ends the wait. Without it all are waited for.

        Returns
        -------
        list of Message
            In the order of arrival, error replies included: for :meth:`RoundRequests.validate`.
        """
        if not requests.messages:
            return []
        kind = next(iter(requests.messages.values())).metadata.message_type
        log(INFO, "asking %d nodes (%s), waiting at most %g s", len(requests.messages), kind, timeout)
        self._forget_lost()
        owing = {node_id for node_id in self._owing if node_id in set(requests.participants.nodes.values())}
        if is_enough is None and not owing:
            return list(self.grid.send_and_receive(list(requests.messages.values()), timeout=timeout))
        return self._ask_until(requests, timeout, is_enough or (lambda replies: False))

    def _ask_until(
        self, requests: RoundRequests, timeout: float, is_enough: Callable[[list[Message]], bool]
    ) -> list[Message]:
        deadline = time.monotonic() + timeout
        waiting = dict(requests.messages)  # not sent yet
        open_ids: dict[str, int] = {}
        replies: list[Message] = []
        while True:
            self._take_late_replies(set(open_ids))
            free = [key for key, each in waiting.items() if each.metadata.dst_node_id not in self._owing]
            messages = [waiting.pop(key) for key in free]
            nodes = [each.metadata.dst_node_id for each in messages]
            # Flower gives no id, or None, for a message it could not deliver: nobody will answer that one.
            for message_id, node_id in zip(self.grid.push_messages(messages), nodes, strict=False):
                if message_id:
                    open_ids[message_id] = node_id
                    self._owing[node_id] = (message_id, time.monotonic() + _PATIENCE * timeout)
            for reply in self.grid.pull_messages(list(open_ids)):
                answered = open_ids.pop(reply.metadata.reply_to_message_id, None)
                if answered is not None:
                    self._owing.pop(answered, None)
                replies.append(reply)
            if is_enough(replies) or not (open_ids or waiting) or time.monotonic() >= deadline:
                break
            time.sleep(_POLL_SECONDS)
        for assignment, message in waiting.items():
            reason = "still busy with an earlier message"
            node_id = message.metadata.dst_node_id
            requests.unsent[assignment] = Rejected(
                node_id, assignment.participant, reason, "no-reply", assignment.model
            )
            del requests.messages[assignment]
        return replies

    def _take_late_replies(self, own: set[str]) -> None:
        """Free those whose late reply has come; it belongs to an earlier stage and is not used."""
        late = [message_id for message_id, _ in self._owing.values() if message_id not in own]
        if late:
            answered = {reply.metadata.reply_to_message_id for reply in self.grid.pull_messages(late)}
            self._owing = {node: owed for node, owed in self._owing.items() if owed[0] not in answered}

    def _forget_lost(self) -> None:
        """Give up on replies of nodes that are gone, or that have had many times the time they were given."""
        now = time.monotonic()
        self._owing = {
            node_id: (message_id, until)
            for node_id, (message_id, until) in self._owing.items()
            if node_id in self.connected and now < until
        }

    def _ask_identities(self, node_ids: Sequence[int]) -> dict[int, int | None]:
        """Partition ids by node id, of those who answered properly."""
        timeout = min(self.connect_timeout, _IDENTITY_SECONDS)
        log(INFO, "asking %d nodes for their partition ids, waiting at most %g s", len(node_ids), timeout)
        questions = Participants(dict(enumerate(node_ids)))
        requests = RoundRequests(
            questions,
            0,
            {
                Assignment(index): Message(RecordDict(), node_id, IDENTITY_MESSAGE_TYPE)
                for index, node_id in questions.nodes.items()
            },
        )
        replies = self.grid.send_and_receive(list(requests.messages.values()), timeout=timeout)
        accepted, _ = requests.validate(replies, lambda content, _: _read_identity(content))
        return {each.node_id: each.content for each in accepted}

    def _log_changes(self, before: Participants, connected: Sequence[int]) -> None:
        if not before.nodes:
            log(INFO, "%d participants, in the order of: %s", len(self.participants), self.participants.order)
            if not self.participants.identified:
                log(
                    WARNING,
                    "no node said its partition id: the order differs from run to run (register_identity of "
                    "flower_coded.clients lets a ClientApp answer)",
                )
        for index, node_id in self.participants.nodes.items():
            old = before.nodes.get(index)
            if before.nodes and old is None:
                log(INFO, "node %d joins as participant %d", node_id, index)
            elif old is not None and old != node_id:
                log(WARNING, "participant %d: node %d is gone, node %d takes its place", index, old, node_id)
            elif before.nodes and node_id in self.connected and node_id not in connected:
                log(WARNING, "participant %d (node %d) is not connected any more", index, node_id)
        spare = [node_id for node_id in connected if self.participants.index_of(node_id) is None]
        if spare and not set(spare) <= self.connected:
            log(WARNING, "nodes %s wait for a free place", spare)


def wait_for_nodes(grid: Grid, num_nodes: int, timeout: float, *, poll_seconds: float = 0.2) -> list[int]:
    """Wait until ``num_nodes`` nodes are connected, but not for ever.

    Parameters
    ----------
    grid : Grid
        Asked again every ``poll_seconds``.
    num_nodes : int
        Nodes needed.
    timeout : float
        Seconds to wait at most.
    poll_seconds : float
        Seconds between two looks.

    Returns
    -------
    list of int
        The ids of all connected nodes, sorted; fewer than ``num_nodes`` where the time was up.

    Examples
    --------
    >>> from flwr.clientapp import ClientApp
    >>> from flower_coded.testing import InProcessGrid
    >>> len(wait_for_nodes(InProcessGrid(ClientApp(), 2), 3, timeout=0.01))
    2
    """
    deadline = time.monotonic() + timeout
    is_announced = False
    while len(connected := sorted(set(grid.get_node_ids()))) < num_nodes:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            log(WARNING, "%d of %d nodes connected after %g s", len(connected), num_nodes, timeout)
            break
        if not is_announced:
            log(
                INFO, "waiting at most %g s for nodes: %d of %d connected", timeout, len(connected), num_nodes
            )
            is_announced = True
        time.sleep(min(poll_seconds, remaining))
    return connected


def _sorting(assignment: Assignment) -> tuple[int, int]:
    participant, model = assignment
    return participant, -1 if model is None else model


def _read_identity(content: RecordDict) -> int:
    record = the_only_record(content.config_records, "ConfigRecord")
    claim = record.get(PARTITION_ID_KEY)
    if not isinstance(claim, int) or isinstance(claim, bool):
        raise MalformedReplyError("protocol", f"{PARTITION_ID_KEY!r} is {claim!r}, expected an integer")
    return claim
