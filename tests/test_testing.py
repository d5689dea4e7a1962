"""The in-process grid behaves as Flower's simulation engine does, and its hooks do what they say."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from toy_client_apps import moving_app

from flower_coded.errors import ParameterError
from flower_coded.testing import InProcessGrid, SentMessage, wire_round_trip


def counting_app(**options: Any) -> ClientApp:
    """Each train call adds one to the node's counter and replies with (partition id, counter)."""
    app = ClientApp(**options)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        calls = context.state.get("calls", MetricRecord({"count": 0}))["count"] + 1
        context.state["calls"] = MetricRecord({"count": calls})
        if message.content.get("fail"):
            raise RuntimeError("the disk is full")
        reply = MetricRecord({"id": context.node_config["partition-id"], "calls": calls})
        return Message(RecordDict({"reply": reply}), reply_to=message)

    return app


def ask(
    grid: InProcessGrid, *partition_ids: int, fail: bool = False, timeout: float | None = 10
) -> list[Any]:
    content = RecordDict({"fail": MetricRecord({"yes": 1})} if fail else {})
    messages = [Message(content, grid.node_ids[each], "train", group_id="1") for each in partition_ids]
    return list(grid.send_and_receive(messages, timeout=timeout))


def ids(replies: list[Any]) -> list[int]:
    return [reply.content["reply"]["id"] for reply in replies]


def test_node_ids_are_drawn_from_the_seed_and_their_order_says_nothing() -> None:
    first, again = (InProcessGrid(counting_app(), 6, seed=3) for _ in range(2))
    other = InProcessGrid(counting_app(), 6, seed=4)
    assert first.node_ids == again.node_ids != other.node_ids
    assert len(set(first.node_ids)) == 6
    assert first.node_ids != sorted(first.node_ids)
    assert list(first.get_node_ids()) == first.node_ids


@pytest.mark.parametrize("wire", [True, False])
def test_every_node_keeps_its_own_state_between_messages(wire: bool) -> None:
    grid = InProcessGrid(counting_app(), 3, wire=wire)
    ask(grid, 0, 1, 2)
    ask(grid, 1)
    replies = ask(grid, 0, 1, 2)
    assert [reply.content["reply"]["calls"] for reply in replies] == [2, 3, 2]
    assert [each.state["calls"]["count"] for each in grid.contexts] == [2, 3, 2]


def test_an_exception_becomes_an_error_reply_and_loses_the_state_changes() -> None:
    grid = InProcessGrid(counting_app(), 2)
    ask(grid, 0)
    [reply] = ask(grid, 0, fail=True)
    assert reply.has_error()
    assert not reply.has_content()
    assert (reply.error.code, reply.error.reason) == (2, "RuntimeError: the disk is full")
    assert reply.metadata.src_node_id == grid.node_ids[0]
    assert grid.contexts[0].state["calls"]["count"] == 1


@pytest.mark.parametrize("exit_with", [SystemExit(3), KeyboardInterrupt()])
def test_a_client_that_exits_does_not_take_the_test_along(exit_with: BaseException) -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        raise exit_with

    [reply] = ask(InProcessGrid(app, 1), 0)
    assert reply.error.code == 0


def test_an_unknown_action_is_an_error_reply() -> None:
    grid = InProcessGrid(counting_app(), 1)
    [reply] = grid.send_and_receive([Message(RecordDict(), grid.node_ids[0], "query.unheard_of")], timeout=1)
    assert "unheard_of" in reply.error.reason


def test_a_changed_run_config_is_refused_and_not_kept() -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        context.run_config["lr"] = 0.5
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid(app, 1, {"lr": 0.1})
    [reply] = ask(grid, 0)
    assert reply.error.reason == "run_config cannot be modified"
    assert grid.contexts[0].run_config == {"lr": 0.1}


def test_mods_see_messages_and_may_change_replies() -> None:
    def double(message: Message, context: Context, call_next: Any) -> Message:
        reply = call_next(message, context)
        reply.content["reply"]["id"] *= 2
        return reply

    assert ids(ask(InProcessGrid(counting_app(mods=[double]), 4), 3)) == [6]


def test_dropped_nodes_are_silent_and_their_handler_does_not_run() -> None:
    grid = InProcessGrid(counting_app(), 3, drop=lambda partition_id, message: partition_id == 1)
    assert ids(ask(grid, 0, 1, 2)) == [0, 2]
    assert "calls" not in grid.contexts[1].state


def test_waiting_forever_for_a_silent_node_is_an_error() -> None:
    grid = InProcessGrid(counting_app(), 3, drop=lambda partition_id, message: partition_id == 1)
    with pytest.raises(TimeoutError, match="1 of 3 messages"):
        ask(grid, 0, 1, 2, timeout=None)
    assert ids(ask(InProcessGrid(counting_app(), 3), 0, 1, 2, timeout=None)) == [0, 1, 2]


def test_a_handler_that_returns_nothing_gives_no_reply() -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> None:
        return None

    assert ask(InProcessGrid(app, 2), 0, 1) == []


def test_replies_arrive_in_the_order_of_their_delay_and_late_ones_never() -> None:
    delays = [3.0, 1.0, 99.0, 2.0]
    grid = InProcessGrid(counting_app(), 4, delay=lambda partition_id, message: delays[partition_id])
    started = time.perf_counter()
    assert ids(ask(grid, 0, 1, 2, 3, timeout=10)) == [1, 3, 0]
    assert time.perf_counter() - started < 9, "nobody sleeps"
    assert ids(ask(grid, 0, 1)) == [1, 0], "the late reply is not delivered afterwards"


def test_a_handler_that_runs_longer_than_the_timeout_gives_no_reply() -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        time.sleep(0.6 * context.node_config["partition-id"])
        reply = MetricRecord({"id": context.node_config["partition-id"]})
        return Message(RecordDict({"reply": reply}), reply_to=message)

    assert ids(ask(InProcessGrid(app, 2, wire=False), 0, 1, timeout=0.5)) == [0]


def test_replies_come_in_the_order_asked_for() -> None:
    everyone = range(8)
    assert ids(ask(InProcessGrid(counting_app(), 8), *everyone)) == list(everyone)
    assert ids(ask(InProcessGrid(counting_app(), 8, order="reversed"), *everyone)) == list(reversed(everyone))
    shuffled = ids(ask(InProcessGrid(counting_app(), 8, order="shuffled", seed=1), *everyone))
    assert shuffled != list(everyone)
    assert sorted(shuffled) == list(everyone)
    assert shuffled == ids(ask(InProcessGrid(counting_app(), 8, order="shuffled", seed=1), *everyone))


def test_tampering_replaces_removes_or_repeats_a_reply() -> None:
    def tamper(partition_id: int, reply: Message) -> Message | list[Message] | Error | None:
        reply.content["reply"]["id"] += 100
        return {0: reply, 1: None, 2: [reply, reply], 3: Error(1000, "no power")}[partition_id]

    grid = InProcessGrid(counting_app(), 4, tamper=tamper)
    assert ids(ask(grid, 0, 1, 2)) == [100, 102, 102]
    [reply] = ask(grid, 3)
    assert (reply.error.code, reply.metadata.src_node_id) == (1000, grid.node_ids[3])


def test_traffic_records_every_message() -> None:
    grid = InProcessGrid(counting_app(), 2, drop=lambda partition_id, message: True)
    ask(grid, 1)
    assert grid.traffic == [SentMessage(1, "train", "1")]


@pytest.mark.parametrize("wire", [True, False])
def test_nodes_share_nothing_with_the_sender(wire: bool) -> None:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        del message.content["secret"]
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid(app, 2, wire=wire)
    content = RecordDict({"secret": ConfigRecord({"key": b"\x00\x01"})})
    messages = [Message(content, node_id, "train") for node_id in grid.node_ids]
    assert not any(reply.has_error() for reply in grid.send_and_receive(messages, timeout=1))
    assert "secret" in content


def test_the_wire_keeps_what_flower_serializes() -> None:
    InProcessGrid(ClientApp(), 1)
    arrays = {
        "w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "empty": np.zeros((0, 4)),
        "scalar": np.array(7),
    }
    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(each) for name, each in arrays.items()}),
            "config": ConfigRecord({"a": 1, "b": [1.5, 2.5], "c": b"\xff", "d": True}),
        }
    )
    received = wire_round_trip(Message(content, 7, "train.step", group_id="4/2"))
    assert (received.metadata.message_type, received.metadata.group_id) == ("train.step", "4/2")
    assert dict(received.content["config"]) == dict(content["config"])
    for name, each in arrays.items():
        np.testing.assert_array_equal(received.content["arrays"][name].numpy(), each)


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(ParameterError, match="num_nodes must be at least 1"):
        InProcessGrid(ClientApp(), 0)
    with pytest.raises(ParameterError, match="order"):
        InProcessGrid(ClientApp(), 1, order="random")  # type: ignore[arg-type]
    grid = InProcessGrid(counting_app(), 1)
    with pytest.raises(ParameterError, match="dst_node_id"):
        list(grid.push_messages([Message(RecordDict(), 1, "train")]))


def test_flowers_own_fedavg_runs_on_it() -> None:
    """Three nodes return 0, 1, 2 with 1, 2, 3 examples: the average is (0*1 + 1*2 + 2*3) / 6 = 4/3."""
    app = moving_app(
        lambda me, arrays, message: {"w": np.full(2, float(me))}, metrics=lambda me: {"num-examples": me + 1}
    )
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=3, min_available_nodes=3)
    result = strategy.start(InProcessGrid(app, 3), ArrayRecord({"w": Array(np.zeros(2))}), num_rounds=1)
    np.testing.assert_allclose(result.arrays["w"].numpy(), [4 / 3, 4 / 3])
