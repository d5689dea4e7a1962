"""Who takes part and in which order; every wait has an end; a reply belongs to the message it answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_coded.errors import NodesMissingError, ParameterError
from flower_coded.strategies.federation import Assignment, Federation, RoundRequests, wait_for_nodes
from flower_coded.strategies.participants import Participants, assign_places
from flower_coded.testing import InProcessGrid
from flower_coded.wire.validation import Accepted


class ChangingGrid(InProcessGrid):
    """Nodes come and go: ``visible`` says which partitions are connected."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.visible = list(range(len(self.node_ids)))

    def get_node_ids(self) -> Iterable[int]:
        return [self.node_ids[index] for index in self.visible]


class LateGrid(ChangingGrid):
    """One more node is there each time somebody looks."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.visible = []

    def get_node_ids(self) -> Iterable[int]:
        self.visible = list(range(min(len(self.visible) + 1, len(self.node_ids))))
        return super().get_node_ids()


class SlowGrid(InProcessGrid):
    """A reply can be pulled only after so many looks."""

    def __init__(self, *arguments: Any, looks: dict[int, int], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.looks, self._seen = looks, dict[str, int]()

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ready = []
        for message_id in message_ids:
            if message_id in self._arrivals:
                reply = self._arrivals[message_id].replies[0]
                partition = self.node_ids.index(reply.metadata.src_node_id)
                self._seen[message_id] = self._seen.get(message_id, 0) + 1
                if self._seen[message_id] > self.looks.get(partition, 0):
                    ready.append(message_id)
        return super().pull_messages(ready)


def claiming_app(claims: list[Any]) -> ClientApp:
    """Node ``i`` says the partition id ``claims[i]`` (None: no id at all), and echoes queries."""
    app = ClientApp()

    @app.query("flower_coded_identity")
    def identify(message: Message, context: Context) -> Message:
        claim = claims[int(context.node_config["partition-id"])]
        record = MetricRecord({"x": 1}) if claim is None else ConfigRecord({"partition-id": claim})
        return Message(RecordDict({"identity": record}), reply_to=message)

    @app.query()
    def echo(message: Message, context: Context) -> Message:
        return Message(message.content, reply_to=message)

    return app


def federation_of(grid: InProcessGrid, num_participants: int | None = None) -> Federation:
    federation = Federation(grid, num_participants=num_participants, connect_timeout=5)
    federation.refresh()
    return federation


def partitions(federation: Federation) -> dict[int, int]:
    """Partition (position in the grid) by index."""
    grid: Any = federation.grid
    return {index: grid.node_ids.index(node) for index, node in federation.participants.nodes.items()}


def ask(federation: Federation, participants: list[int], **options: Any) -> tuple[list[int], dict[int, str]]:
    """Ask an echo; give who was accepted and the reason for everybody else."""
    requests = federation.requests(1, "query", dict.fromkeys(participants, RecordDict()))
    replies = federation.ask(requests, **{"timeout": 0.3} | options)
    accepted, rejected = requests.validate(replies, lambda content, assignment: None)
    return [each.participant for each in accepted], {
        int(each.participant or 0): each.code for each in rejected
    }


def test_wait_for_nodes__waits_until_the_last_has_joined() -> None:
    grid = LateGrid(ClientApp(), 5)
    assert wait_for_nodes(grid, 5, timeout=30, poll_seconds=0.001) == sorted(grid.node_ids)


def test_the_first_look_gives_up_when_there_are_too_few() -> None:
    started = time.monotonic()
    federation = Federation(InProcessGrid(ClientApp(), 3), num_participants=4, connect_timeout=0.05)
    with pytest.raises(NodesMissingError, match="3 of 4 nodes connected within") as caught:
        federation.refresh()
    assert (caught.value.num_connected, caught.value.num_needed) == (3, 4)
    assert "num-supernodes=4" in str(caught.value)
    assert 0.05 <= time.monotonic() - started < 3


@pytest.mark.parametrize("order", ["sent", "reversed", "shuffled"])
def test_participants_are_ordered_by_partition_id(order: Any) -> None:
    federation = federation_of(LateGrid(claiming_app([3, 1, 0, 2]), 4, order=order), 4)
    assert partitions(federation) == {0: 2, 1: 1, 2: 3, 3: 0}
    assert federation.participants.order == "partition id"


def test_nodes_that_never_heard_of_us_are_ordered_by_rank() -> None:
    grid = InProcessGrid(ClientApp(), 4)
    for num_participants in (4, None):
        participants = federation_of(grid, num_participants).participants
        assert list(participants.nodes.values()) == sorted(grid.node_ids)
        assert participants.order == "rank of the node id"


@pytest.mark.parametrize(
    ("claims", "rightful"),
    [
        ([0, 1, 1, 3], {0: 0, 3: 3}),  # two claim place 1: neither has proved it
        ([0, None, 2, 9], {0: 0, 2: 2}),
        ([0, -1, 2, 2**62], {0: 0, 2: 2}),
        ([0, "1", 2, 3], {0: 0, 2: 2, 3: 3}),
        ([0, True, 2, 3], {0: 0, 2: 2, 3: 3}),
    ],
)
def test_free_places_go_to_whoever_has_none_by_rank(claims: list[Any], rightful: dict[int, int]) -> None:
    federation = federation_of(InProcessGrid(claiming_app(claims), 4), 4)
    seated = partitions(federation)
    assert {place: seated[place] for place in rightful} == rightful
    rest = [federation.participants.node_of(place) for place in range(4) if place not in rightful]
    assert rest == sorted(rest)
    assert sorted(seated.values()) == [0, 1, 2, 3]
    assert federation.participants.identified == set(rightful)


def test_silent_and_failing_nodes_have_a_place_too() -> None:
    grid = InProcessGrid(claiming_app([0, 1, 2]), 3, drop=lambda partition_id, message: partition_id == 1)
    assert partitions(federation_of(grid, 3)) == {0: 0, 1: 1, 2: 2}


def test_nodes_beyond_the_places_wait() -> None:
    federation = federation_of(InProcessGrid(claiming_app([1, 5, 0]), 3), 2)
    assert partitions(federation) == {0: 2, 1: 0}


def test_an_open_federation_takes_whoever_comes_and_numbers_never_shift() -> None:
    grid = ChangingGrid(claiming_app([7, 2, None, 4]), 4)
    grid.visible = [0, 1]
    federation = federation_of(grid)
    assert partitions(federation) == {2: 1, 7: 0}
    grid.visible = [0, 1, 2, 3]
    federation.refresh()
    assert partitions(federation) == {0: 2, 2: 1, 4: 3, 7: 0}
    grid.visible = [2, 3]
    federation.refresh()
    assert federation.present == [0, 4]
    assert partitions(federation) == {0: 2, 2: 1, 4: 3, 7: 0}


def test_a_node_that_comes_back_under_a_new_id_has_its_place_again(caplog: pytest.LogCaptureFixture) -> None:
    grid = ChangingGrid(claiming_app([0, 1, 2, 1]), 4)  # partition 1 restarts: its second id is the fourth
    grid.visible = [0, 1, 2]
    federation = federation_of(grid, 3)
    grid.visible = [0, 2]
    federation.refresh()
    assert federation.present == [0, 2]
    assert ask(federation, [0, 1, 2]) == ([0, 2], {1: "not-connected"})
    grid.visible = [0, 2, 3]
    with caplog.at_level(logging.INFO, "flwr"):
        logging.getLogger("flwr").addHandler(caplog.handler)
        federation.refresh()
        logging.getLogger("flwr").removeHandler(caplog.handler)
    assert partitions(federation) == {0: 0, 1: 3, 2: 2}
    assert any("participant 1: node" in each.getMessage() for each in caplog.records)
    assert ask(federation, [0, 1, 2]) == ([0, 1, 2], {})


def test_a_waiting_node_takes_the_place_of_one_that_has_gone() -> None:
    grid = ChangingGrid(ClientApp(), 4)
    federation = federation_of(grid, 3)
    spare = grid.node_ids.index(max(grid.node_ids))
    gone = partitions(federation)[1]
    grid.visible = [index for index in range(4) if index != gone]
    federation.refresh()
    assert partitions(federation)[1] == spare


def test_a_loss_is_waited_for_once() -> None:
    grid = ChangingGrid(ClientApp(), 3)
    federation = Federation(grid, connect_timeout=0.2)
    federation.refresh(at_least=3)
    grid.visible = [0, 1]
    durations = []
    for _ in range(2):
        started = time.monotonic()
        federation.refresh(at_least=3)
        durations.append(time.monotonic() - started)
    assert durations[0] >= 0.2
    assert durations[1] < 0.2


def test_samples_and_seeds_do_not_depend_on_node_ids() -> None:
    drawn = set()
    for seed in (0, 1):
        federation = federation_of(InProcessGrid(claiming_app(list(range(8))), 8, seed=seed), 8)
        drawn.add((tuple(federation.sample(0.5, 1, (0, 1))), federation.seed_of(1, 3)))
    assert len(drawn) == 1
    [(sample, seed)] = drawn
    assert len(sample) == 4
    assert 0 <= seed < 2**32


def test_the_notice_of_a_dead_node_is_that_participants() -> None:
    """Flower's SuperLink answers for it, as node 1."""

    def tamper(partition: int, reply: Message) -> Any:
        if partition == 1 and reply.metadata.message_type == "query":
            error = Message(Error(5, "Node is offline"), reply_to=reply)
            error.metadata.__dict__.update(
                _src_node_id=1, _reply_to_message_id=reply.metadata.reply_to_message_id
            )
            return error
        return reply

    federation = federation_of(InProcessGrid(claiming_app([0, 1, 2]), 3, tamper=tamper), 3)
    requests = federation.requests(1, "query", dict.fromkeys(range(3), RecordDict()))
    accepted, rejected = requests.validate(federation.ask(requests, timeout=1), lambda content, _: None)
    assert [each.participant for each in accepted] == [0, 2]
    assert [str(each) for each in rejected] == [
        f"participant 1 (node {federation.participants.node_of(1)}): Node is offline [error-reply]"
    ]


@pytest.mark.parametrize(("place", "value"), [("_src_node_id", 999), ("_reply_to_message_id", "no-such-id")])
def test_a_reply_that_answers_nothing_is_nobodys(place: str, value: Any) -> None:
    def tamper(partition: int, reply: Message) -> Message:
        if partition == 1 and reply.metadata.message_type == "query":
            reply.metadata.__dict__[place] = value
        return reply

    federation = federation_of(InProcessGrid(claiming_app([0, 1, 2]), 3, tamper=tamper), 3)
    requests = federation.requests(1, "query", dict.fromkeys(range(3), RecordDict()))
    _, rejected = requests.validate(federation.ask(requests, timeout=1), lambda content, _: None)
    assert [each.code for each in rejected] == ["no-reply", "unexpected"]


def test_enough_replies_end_the_wait_and_a_busy_node_is_asked_when_it_is_free() -> None:
    looks = {2: 3}
    federation = federation_of(SlowGrid(claiming_app([0, 1, 2]), 3, looks=looks), 3)
    enough = {"timeout": 10, "is_enough": lambda replies: len(replies) >= 2}
    assert ask(federation, [0, 1, 2], **enough) == ([0, 1], {2: "no-reply"})
    # It still owes the first answer; all are needed now, so it is waited for and asked then.
    assert ask(federation, [0, 1, 2], timeout=10) == ([0, 1, 2], {})
    looks[2] = 10**6
    assert ask(federation, [0, 1, 2], **enough) == ([0, 1], {2: "no-reply"})
    started = time.monotonic()
    assert ask(federation, [2], timeout=0.2) == ([], {2: "no-reply"})
    assert time.monotonic() - started >= 0.2, "a busy node is waited for, not passed over at once"


def test_replies_are_used_by_participant_and_model() -> None:
    federation = federation_of(InProcessGrid(claiming_app([0, 1]), 2, order="reversed"), 2)
    keys = [Assignment(1, 2), Assignment(0, 1), Assignment(1, 0), Assignment(0, 0)]
    requests = federation.requests(1, "query", dict.fromkeys(keys, RecordDict()))
    accepted, _ = requests.validate(federation.ask(requests, timeout=1), lambda content, key: key)
    assert [each.content for each in accepted] == sorted(keys)
    assert [(each.participant, each.model) for each in accepted] == sorted(keys)
    groups = {key: each.metadata.group_id for key, each in requests.messages.items()}
    assert set(groups.values()) == {"1"}, "no client reads off its group which model it trains"


def test_nobody_asked_is_no_error() -> None:
    requests = RoundRequests(Participants(), 1)
    accepted: list[Accepted[None]]
    accepted, rejected = requests.validate([], lambda content, _: None)
    assert (accepted, rejected) == ([], [])


def test_participants__name_every_node_once() -> None:
    with pytest.raises(ParameterError, match="every node once"):
        Participants({0: 5, 1: 5})


def test_assign_places__a_stranger_never_takes_a_place_that_is_in_use() -> None:
    before = Participants({0: 10, 1: 11}, frozenset({0, 1}))
    assert assign_places(before, [10, 11, 99], {99: 1}, 2).nodes == {0: 10, 1: 11}
