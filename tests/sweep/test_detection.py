"""Precision, recall and F1 against arithmetic; bytes counted."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_coded.codes import partition_code
from flower_coded.sweep.detection import Detection, accused_users
from flower_coded.sweep.metered import MeteredGrid, content_bytes


def test_detection__counts_users_over_observations() -> None:
    found = Detection.of([{1, 2}, {1}, set()], attackers=(1, 3))  # 2 true, 1 false, 4 missed
    assert (found.true_positives, found.false_positives, found.false_negatives) == (2, 1, 4)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(1 / 3)
    assert found.f1 == pytest.approx(4 / 9)


def test_detection__is_undefined_where_there_is_nothing_to_count() -> None:
    nobody = Detection.of([set()], attackers=(1,))
    assert (nobody.precision, nobody.recall, nobody.f1) == (None, 0.0, 0.0)
    clean = Detection.of([{4}], attackers=())
    assert (clean.precision, clean.recall, clean.f1) == (0.0, None, None)


@pytest.mark.parametrize(
    ("named", "attackers", "accused"),
    [
        ([], [0], set()),
        ([0, 1], [1], {1}),  # they train the same models: a right name, once
        ([0, 1], [0, 1], {0, 1}),  # both attack, and both are found
        ([0, 1], [2], {0}),  # a wrong name, once
        ([0, 1, 2, 3], [3], {0, 3}),
    ],
)
def test_accused_users__of_those_who_train_the_same_models_one_side_is_meant(
    named: list[int], attackers: list[int], accused: set[int]
) -> None:
    assert accused_users(partition_code(2, 4), named, attackers) == accused


def answering_app() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: object) -> Message:
        content = RecordDict({"a": message.content["a"], "m": MetricRecord({"num-examples": 1})})
        return Message(content, reply_to=message)

    @app.query()
    def query(message: Message, context: object) -> Message:
        return Message(RecordDict(), reply_to=message)

    return app


def question(node_id: int, value: float) -> Message:
    arrays = ArrayRecord({"w": Array(np.full(3, value))})
    config = ConfigRecord({"server-round": 1})
    return Message(RecordDict({"a": arrays, "c": config}), node_id, "train")


def test_the_grid_counts_content_of_train_messages_both_ways() -> None:
    grid = MeteredGrid(answering_app(), 2, wire=False)
    messages = [question(node_id, 1.0) for node_id in grid.node_ids]
    array_bytes = len(messages[0].content["a"]["w"].data)
    list(grid.send_and_receive([Message(RecordDict(), grid.node_ids[0], "query")], timeout=1))
    assert (grid.bytes_to_clients, grid.bytes_to_server) == (0, 0)
    list(grid.send_and_receive(messages, timeout=1))
    assert grid.bytes_to_clients == 2 * (array_bytes + 8)  # one integer in the config
    assert grid.bytes_to_server == 2 * (array_bytes + 8)  # one number in the metrics
    assert grid.client_seconds > 0


def test_content_bytes_reads_every_kind_of_value() -> None:
    config = ConfigRecord({"text": "käse", "bytes": b"123", "flag": True, "many": ["a", "bc"]})
    assert content_bytes(RecordDict({"c": config})) == 5 + 3 + 8 + 3
