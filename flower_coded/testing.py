"""A Flower grid inside this process: strategies and ClientApps tested in milliseconds, without Ray.

:class:`InProcessGrid` hands every message a strategy sends to a real ``ClientApp`` (mods included) with a
``Context`` per node, and hands the replies back, as Flower's simulation engine would: an exception in a
client becomes an error reply, its state changes are then lost, a handler that returns nothing gives no
reply. Hooks drop, delay and tamper. What it leaves out: processes (module globals are shared by all nodes),
parallelism (exactly one handler runs at any time) and time-to-live.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from flower_coded.errors import ParameterError
from flower_coded.rendezvous import meet

try:  # Messages made outside a run ask this class who they come from; older Flower releases do not have it.
    from flwr.supercore.task_identity import TaskIdentity
except ImportError:  # pragma: no cover
    TaskIdentity = None  # type: ignore[assignment, misc]

__all__ = ["InProcessGrid", "SentMessage", "wire_round_trip"]

_UNKNOWN_ERROR, _CLIENT_APP_RAISED = 0, 2  # flwr.common.constant.ErrorCode, whose values are part of the wire

ReplyOrder = Literal["sent", "reversed", "shuffled"]


@dataclass(frozen=True)
class SentMessage:
    """One line of :attr:`InProcessGrid.traffic`: a message the strategy sent.

    Parameters
    ----------
    partition_id : int
        Position of the receiving node, ``0 .. num_nodes - 1``.
    message_type, group_id : str
        As in the message's metadata.
    """

    partition_id: int
    message_type: str
    group_id: str


@dataclass(frozen=True)
class _Arrival:
    delay: float  # pretended seconds: decides the order, and is the same in every run
    seconds: float  # pretended and real seconds together: decides whether the reply is in time
    replies: list[Message]


class InProcessGrid(Grid):
    """Run ``client_app`` for ``num_nodes`` virtual nodes inside this process.

    Node ids are random 62-bit integers drawn from ``seed``, so that their order says nothing about the
    partition ids, as in a real federation. Making a grid sets Flower's process-wide task identity, which
    every ``Message`` needs.

    Parameters
    ----------
    client_app : ClientApp
        The app every node runs.
    num_nodes : int
        Nodes, at least 1; node ``i`` has ``node_config["partition-id"] == i``.
    run_config : mapping, optional
        What the handlers find in ``context.run_config``.
    together : int
        Handlers that may be under way at a time. Exactly one of them runs; those of our training ClientApp
        wait until all have asked for their training, which is then one stacked program
        (:mod:`flower_coded.clients.cohort`). 1: each is trained before the next one begins. For an app that
        trains by itself the number changes nothing.
    wire : bool
        Send every message and reply through Flower's own serialization (default). Without it they are deep
        copied, which is faster and hides what cannot be serialized.
    seed : int
        Draws node ids and the order of shuffled replies.
    drop : callable, optional
        ``drop(partition_id, message) -> bool``: True makes the node silent for this message; its handler
        does not run.
    tamper : callable, optional
        ``tamper(partition_id, reply) -> Message | list[Message] | Error | None``: what arrives in place of
        the reply. A list is delivered whole (duplicates), an ``Error`` becomes an error reply, None is
        nothing at all.
    delay : callable, optional
        ``delay(partition_id, message) -> float``: seconds the reply takes, in pretended time (nobody
        sleeps; the handler's own run time counts as well). Replies arrive in this order; one later than the
        timeout never does.
    order : {"sent", "reversed", "shuffled"}
        Order of replies with equal delay.

    Attributes
    ----------
    node_ids : list of int
        The id of node ``i`` at position ``i``.
    contexts : list of Context
        The context of node ``i`` at position ``i``; its ``state`` is what the node remembers.
    traffic : list of SentMessage
        Everything sent so far.

    Raises
    ------
    ParameterError
        If ``num_nodes`` is below 1, ``order`` is unknown, or a message goes to a node not in the grid.

    Examples
    --------
    >>> from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
    >>> from flwr.clientapp import ClientApp
    >>> app = ClientApp()
    >>> @app.query()
    ... def whoami(message, context):
    ...     me = context.node_config["partition-id"]
    ...     return Message(RecordDict({"me": MetricRecord({"id": me})}), reply_to=message)
    >>> grid = InProcessGrid(app, 3, drop=lambda partition_id, message: partition_id == 1)
    >>> questions = [Message(RecordDict(), node_id, "query") for node_id in grid.node_ids]
    >>> [reply.content["me"]["id"] for reply in grid.send_and_receive(questions, timeout=1)]
    [0, 2]
    """

    def __init__(
        self,
        client_app: ClientApp,
        num_nodes: int,
        run_config: Mapping[str, Any] | None = None,
        *,
        together: int = 64,
        wire: bool = True,
        seed: int = 0,
        drop: Callable[[int, Message], bool] | None = None,
        tamper: Callable[[int, Message], Message | Sequence[Message] | Error | None] | None = None,
        delay: Callable[[int, Message], float] | None = None,
        order: ReplyOrder = "sent",
    ) -> None:
        if num_nodes < 1:
            raise ParameterError("num_nodes", "must be at least 1", num_nodes)
        if together < 1:
            raise ParameterError("together", "must be at least 1", together)
        if order not in ("sent", "reversed", "shuffled"):
            raise ParameterError("order", 'must be "sent", "reversed" or "shuffled"', order)
        self.client_app, self.wire, self.order, self.together = client_app, wire, order, together
        self.drop, self.tamper, self.delay = drop, tamper, delay
        self._generator = np.random.default_rng(seed)
        self._run = SimpleNamespace(run_id=int(self._generator.integers(1, 2**62)))
        if TaskIdentity is not None:
            TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = self._run.run_id, 1, 1
        self.node_ids: list[int] = self._generator.integers(2, 2**62, size=num_nodes).tolist()
        self.contexts = [self._new_context(i, dict(run_config or {})) for i in range(num_nodes)]
        self.traffic: list[SentMessage] = []
        self._message_numbers = itertools.count(1)
        self._arrivals: dict[str, _Arrival] = {}

    @property
    def run(self) -> Any:
        """The run this grid belongs to; only ``run_id`` is filled in."""
        return self._run

    def set_run(self, run: Any) -> None:
        """Replace the run description."""
        self._run = run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message for one node (Flower's older way; ``Message(...)`` does the same)."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Ids of the nodes connected now; override it to let nodes join late or leave."""
        return list(self.node_ids)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Deliver messages, run the handlers, keep their replies; return one message id each."""
        listed = list(messages)
        parts = [listed[i : i + self.together] for i in range(0, len(listed), self.together)]
        return [message_id for part in parts for message_id in self._deliver(part)]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Hand out the replies to these messages, each once, whatever their delay."""
        return self._collect(list(message_ids), timeout=math.inf)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Deliver messages and return the replies that arrive within ``timeout`` pretended seconds.

        Raises
        ------
        TimeoutError
            If a node gives no reply and ``timeout`` is None: Flower's own grid would wait forever.
        """
        message_ids = list(self.push_messages(messages))
        silent = sum(1 for message_id in message_ids if message_id not in self._arrivals)
        if silent and timeout is None:
            raise TimeoutError(
                f"{silent} of {len(message_ids)} messages get no reply and no timeout was given"
            )
        return self._collect(message_ids, timeout=math.inf if timeout is None else timeout)

    def _new_context(self, partition_id: int, run_config: dict[str, Any]) -> Context:
        node_config: dict[str, Any] = {"partition-id": partition_id, "num-partitions": len(self.node_ids)}
        return Context(
            self._run.run_id, self.node_ids[partition_id], node_config, RecordDict(), dict(run_config)
        )

    def _deliver(self, messages: Sequence[Message]) -> list[str]:
        """Run the handlers of messages that may wait for one another, and keep their replies."""
        message_ids, asked = [], []
        for message in messages:
            message_id = f"message-{next(self._message_numbers)}"
            message_ids.append(message_id)
            _set_metadata(message, message_id=message_id, run_id=self._run.run_id)
            partition_id = self._partition_of(message.metadata.dst_node_id)
            self.traffic.append(
                SentMessage(partition_id, message.metadata.message_type, message.metadata.group_id)
            )
            if self.drop is None or not self.drop(partition_id, message):
                asked.append((message_id, partition_id, message))
        calls = [
            (partition_id, partial(self._run_client, partition_id, message))
            for _, partition_id, message in asked
        ]
        for (message_id, partition_id, message), ended in zip(asked, meet(calls), strict=True):
            reply = ended.value
            if ended.error is not None:
                code = _CLIENT_APP_RAISED if isinstance(ended.error, Exception) else _UNKNOWN_ERROR
                reply = Message(Error(code, f"{type(ended.error).__name__}: {ended.error}"), reply_to=message)
            delay = 0.0 if self.delay is None else self.delay(partition_id, message)
            replies = [] if reply is None else self._tampered(partition_id, message, reply)
            if replies:
                self._arrivals[message_id] = _Arrival(delay, ended.seconds + delay, replies)
        return message_ids

    def _partition_of(self, node_id: int) -> int:
        if node_id not in self.node_ids:
            raise ParameterError("dst_node_id", "must be a node of this grid", node_id)
        return self.node_ids.index(node_id)

    def _run_client(self, partition_id: int, message: Message) -> Message | None:
        # The state is kept only if the handler returns, as in Flower's engine. (Copies share the bytes.)
        remembered = self.contexts[partition_id]
        context = copy.copy(remembered)
        context.state, context.run_config = copy.deepcopy(remembered.state), dict(remembered.run_config)
        answer = self.client_app(self._carry(message), context)
        reply = self._carry(answer) if isinstance(answer, Message) else None
        if context.run_config != remembered.run_config:
            return Message(Error(_UNKNOWN_ERROR, "run_config cannot be modified"), reply_to=message)
        remembered.state = context.state
        return reply

    def _carry(self, message: Message) -> Message:
        return wire_round_trip(message) if self.wire else copy.deepcopy(message)

    def _tampered(self, partition_id: int, message: Message, reply: Message) -> list[Message]:
        _set_metadata(reply, message_id=f"reply-to-{reply.metadata.reply_to_message_id}")
        if self.tamper is None:
            return [reply]
        arriving = self.tamper(partition_id, reply)
        if arriving is None:
            return []
        if isinstance(arriving, Error):
            arriving = Message(arriving, reply_to=message)
        return [arriving] if isinstance(arriving, Message) else list(arriving)

    def _collect(self, message_ids: list[str], timeout: float) -> list[Message]:
        arrivals = [self._arrivals.pop(each) for each in message_ids if each in self._arrivals]
        if self.order == "reversed":
            arrivals.reverse()
        elif self.order == "shuffled":
            self._generator.shuffle(arrivals)
        arrivals.sort(key=lambda arrival: arrival.delay)
        return [reply for arrival in arrivals if arrival.seconds <= timeout for reply in arrival.replies]


def wire_round_trip(message: Message) -> Message:
    """Serialize and read back ``message`` as Flower does between processes.

    Parameters
    ----------
    message : Message
        With content or error.

    Returns
    -------
    Message
        Equal to what the receiver would see; nothing is shared with ``message``.

    Examples
    --------
    >>> import numpy as np
    >>> from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
    >>> grid = InProcessGrid(ClientApp(), 1)
    >>> message = Message(RecordDict({"a": ArrayRecord({"w": Array(np.arange(3.0))})}), 7, "train")
    >>> wire_round_trip(message).content["a"]["w"].numpy()
    array([0., 1., 2.])
    """
    contents = {key: part.deflate() for key, part in get_all_nested_objects(message).items()}
    received = cast(Message, inflate_object_from_contents(message.object_id, contents))
    _set_metadata(received, message_id=message.metadata.message_id)
    return received


def _set_metadata(message: Message, **values: object) -> None:
    """Fill in what Flower's SuperLink would (the metadata class has no public setters for these)."""
    message.metadata.__dict__.update({f"_{name}": value for name, value in values.items()})
