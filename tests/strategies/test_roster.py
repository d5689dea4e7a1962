"""Waiting is bounded, and the order of users is that of their partition ids, whatever the grid does."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_coded.errors import NodesMissingError, ParameterError
from flower_coded.strategies.roster import Roster, assemble_roster, wait_for_nodes
from flower_coded.testing import InProcessGrid


class LateGrid(InProcessGrid):
    """One more node is there each time somebody looks."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.num_visible = 0

    def get_node_ids(self) -> Iterable[int]:
        self.num_visible = min(self.num_visible + 1, len(self.node_ids))
        return self.node_ids[: self.num_visible]


def claiming_app(claims: list[Any]) -> ClientApp:
    """Node ``i`` claims the seat ``claims[i]``; None is no answer in the right form."""
    app = ClientApp()

    @app.query("flower_coded_identity")
    def identify(message: Message, context: Context) -> Message:
        claim = claims[context.node_config["partition-id"]]
        record = MetricRecord({"x": 1}) if claim is None else ConfigRecord({"partition-id": claim})
        return Message(RecordDict({"identity": record}), reply_to=message)

    return app


def seats(grid: InProcessGrid, roster: Roster) -> list[int]:
    return [grid.node_ids.index(node_id) for node_id in roster.node_ids]


def test_wait_for_nodes__waits_until_the_last_has_joined() -> None:
    grid = LateGrid(ClientApp(), 5)
    assert wait_for_nodes(grid, 5, timeout=30, poll_interval=0.001) == sorted(grid.node_ids)


def test_wait_for_nodes__gives_up_when_there_are_too_few() -> None:
    started = time.monotonic()
    with pytest.raises(NodesMissingError, match="3 of 4 nodes connected within") as caught:
        wait_for_nodes(InProcessGrid(ClientApp(), 3), 4, timeout=0.05, poll_interval=0.01)
    assert (caught.value.num_connected, caught.value.num_needed) == (3, 4)
    assert "num-supernodes=4" in str(caught.value)
    assert time.monotonic() - started >= 0.05


@pytest.mark.parametrize("order", ["sent", "reversed", "shuffled"])
def test_assemble_roster__orders_users_by_partition_id(order: Any) -> None:
    grid = LateGrid(claiming_app([3, 1, 0, 2]), 4, order=order)
    roster = assemble_roster(grid, 4, timeout=30)
    assert seats(grid, roster) == [2, 1, 3, 0]
    assert roster.num_identified == 4


def test_assemble_roster__ranks_nodes_that_never_heard_of_us() -> None:
    grid = InProcessGrid(ClientApp(), 4)
    roster = assemble_roster(grid, 4)
    assert list(roster.node_ids) == sorted(grid.node_ids)
    assert roster.num_identified == 0


@pytest.mark.parametrize(
    ("claims", "rightful"),
    [
        ([0, 1, 1, 3], {0: 0, 3: 3}),  # two claim seat 1: neither has proved it
        ([0, None, 2, 9], {0: 0, 2: 2}),
        ([0, -1, 2, 2**62], {0: 0, 2: 2}),
        ([0, "1", 2, 3], {0: 0, 2: 2, 3: 3}),
        ([0, True, 2, 3], {0: 0, 2: 2, 3: 3}),
    ],
)
def test_assemble_roster__gives_free_seats_to_whoever_has_none_by_rank(
    claims: list[Any], rightful: dict[int, int]
) -> None:
    grid = InProcessGrid(claiming_app(claims), 4)
    roster = assemble_roster(grid, 4)
    seated = seats(grid, roster)
    assert {seat: seated[seat] for seat in rightful} == rightful
    rest = [roster.node_ids[seat] for seat in range(4) if seat not in rightful]
    assert rest == sorted(rest)
    assert sorted(seated) == [0, 1, 2, 3]
    assert roster.num_identified == len(rightful)


def test_assemble_roster__survives_silent_and_failing_nodes() -> None:
    app = claiming_app([0, 1, 2])
    grid = InProcessGrid(app, 3, drop=lambda partition_id, message: partition_id == 1)
    assert seats(grid, assemble_roster(grid, 3, timeout=5)) == [0, 1, 2]


def test_assemble_roster__leaves_out_nodes_beyond_the_seats() -> None:
    grid = InProcessGrid(claiming_app([1, 5, 0]), 3)
    roster = assemble_roster(grid, 2)
    assert seats(grid, roster) == [2, 0]
    assert roster.user_of(grid.node_ids[1]) is None


def test_roster__names_every_node_once() -> None:
    with pytest.raises(ParameterError, match="every node once"):
        Roster((5, 5))
