"""What every strategy of this package keeps, whatever it computes.

To add a strategy, add a row: how to make it, an honest ClientApp for it, how many nodes, and the arrays a
run starts from. Faults are applied to the training replies of one node; a fault that a strategy has no
business noticing (a wrong ``num-examples`` where examples do not count) is named in ``tolerates``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Strategy

from flower_coded.clients.identity import register_identity
from flower_coded.codes import backdoor_correction_code
from flower_coded.errors import NodesMissingError
from flower_coded.strategies import CodedSubsetAggregation
from flower_coded.testing import InProcessGrid

CULPRIT = 1
ROUNDS = 2


@dataclass(frozen=True)
class Row:
    """One strategy of the table."""

    name: str
    make_strategy: Callable[..., Any]  # takes FedAvg's options
    make_app: Callable[[], ClientApp]
    num_nodes: int
    arrays: dict[str, np.ndarray]
    tolerates: frozenset[str] = frozenset()


def drifting_app() -> ClientApp:
    """A FedAvg-style client: adds a constant of its own to every entry."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        step = 0.1 * (1 + context.node_config["partition-id"])
        arrays = ArrayRecord(
            {
                name: Array(np.asarray(each.numpy() + step, each.dtype))
                for name, each in message.content["arrays"].items()
            }
        )
        metrics = MetricRecord({"num-examples": 10, "loss": step})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return register_identity(app)


ONE_MODEL = {"weight": np.ones((4, 3), np.float32), "bias": np.zeros(4, np.float32)}
CODE = backdoor_correction_code(2, 2, 6)

ROWS = [
    Row(
        "coded subset",
        lambda **options: CodedSubsetAggregation(CODE, node_timeout=0.2, **options),
        drifting_app,
        6,
        ONE_MODEL,
    ),
    Row(
        "coded subset, stacked",
        lambda **options: CodedSubsetAggregation(CODE, stacked=True, node_timeout=0.2, **options),
        drifting_app,
        6,
        ONE_MODEL,
    ),
]


def on_arrays(change: Callable[[dict[str, Array]], dict[str, Array]]) -> Callable[[Message], Message]:
    """Apply ``change`` to the first ArrayRecord of a reply."""

    def tamper(reply: Message) -> Message:
        name, arrays = next(iter(reply.content.array_records.items()))
        reply.content[name] = ArrayRecord(change(dict(arrays)))
        return reply

    return tamper


def on_first(change: Callable[[np.ndarray], np.ndarray | Array]) -> Callable[[Message], Message]:
    """Apply ``change`` to the first array of the first ArrayRecord."""

    def change_record(arrays: dict[str, Array]) -> dict[str, Array]:
        name = next(iter(arrays))
        changed = change(arrays[name].numpy().copy())
        return arrays | {name: changed if isinstance(changed, Array) else Array(changed)}

    return on_arrays(change_record)


def on_examples(claim: Any) -> Callable[[Message], Message]:
    def tamper(reply: Message) -> Message:
        for metrics in reply.content.metric_records.values():
            metrics["num-examples"] = claim
        return reply

    return tamper


def without_metrics(reply: Message) -> Message:
    for name in list(reply.content.metric_records):
        del reply.content[name]
    return reply


def emptied(reply: Message) -> Message:
    for name in list(reply.content):
        del reply.content[name]
    return reply


FAULTS: dict[str, Callable[[Message], Message | list[Message] | Error | None]] = {
    "missing key": on_arrays(lambda arrays: dict(list(arrays.items())[1:])),
    "extra key": on_arrays(lambda arrays: arrays | {"surplus": Array(np.zeros(1))}),
    "renamed key": on_arrays(lambda arrays: {f"{name}-": each for name, each in arrays.items()}),
    "wrong shape": on_first(lambda values: np.concatenate([values, values])),
    "wrong dtype": on_first(lambda values: values.astype(np.complex64)),
    "NaN": on_first(lambda values: np.full(values.shape, np.nan)),
    "infinity": on_first(lambda values: np.full(values.shape, -np.inf)),
    "garbage bytes": on_first(lambda values: Array("float32", values.shape, "numpy.ndarray", b"garbage")),
    "truncated bytes": on_first(
        lambda values: Array(str(values.dtype), values.shape, "numpy.ndarray", Array(values).data[:-1])
    ),
    "unknown stype": on_first(lambda values: Array("float32", values.shape, "pickle", b"cos\nsystem")),
    "negative num-examples": on_examples(-3),
    "NaN num-examples": on_examples(float("nan")),
    "huge num-examples": on_examples(2**62),
    "list of num-examples": on_examples([1, 2, 3]),
    "missing metrics": without_metrics,
    "nothing": emptied,
    "error reply": lambda reply: Error(1000, "the battery is empty"),
    "silence": lambda reply: None,
}


def run(row: Row, tamper: Any = None, *, num_nodes: int | None = None, **grid_options: Any) -> Any:
    strategy = row.make_strategy(fraction_evaluate=0.0)
    grid = InProcessGrid(row.make_app(), num_nodes or row.num_nodes, tamper=tamper, **grid_options)
    start = ArrayRecord({name: Array(each) for name, each in row.arrays.items()})
    return strategy, strategy.start(grid, start, num_rounds=ROUNDS, timeout=30)


def state_of(result: Any) -> dict[str, np.ndarray]:
    return {name: each.numpy() for name, each in result.arrays.items()}


FEDAVG_OPTIONS: dict[str, Any] = {
    "fraction_train": 0.5,
    "fraction_evaluate": 0.5,
    "min_train_nodes": 3,
    "min_evaluate_nodes": 3,
    "min_available_nodes": 3,
    "weighted_by_key": "weight",
    "arrayrecord_key": "model",
    "configrecord_key": "settings",
    "train_metrics_aggr_fn": lambda contents, key: MetricRecord(),
    "evaluate_metrics_aggr_fn": lambda contents, key: MetricRecord(),
}

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@each_row
def test_it_is_a_flower_strategy_that_leaves_start_alone(row: Row) -> None:
    strategy = row.make_strategy()
    assert isinstance(strategy, FedAvg)
    assert type(strategy).start is Strategy.start


@each_row
@pytest.mark.parametrize("option", FEDAVG_OPTIONS)
def test_it_takes_every_option_of_fedavg(row: Row, option: str) -> None:
    value = FEDAVG_OPTIONS[option]
    assert getattr(row.make_strategy(**{option: value}), option) == value


def test_the_options_of_fedavg_are_all_in_the_table() -> None:
    assert list(FEDAVG_OPTIONS) == list(inspect.signature(FedAvg.__init__).parameters)[1:]


@each_row
def test_honest_nodes_are_never_rejected(row: Row) -> None:
    _, result = run(row)
    assert len(result.train_metrics_clientapp) == ROUNDS
    for metrics in result.train_metrics_clientapp.values():
        assert metrics["rejected-replies"] == 0
        assert "rejected-users" not in metrics
    assert any(not np.array_equal(state_of(result)[k], row.arrays[k]) for k in row.arrays)


@each_row
@pytest.mark.parametrize("fault", FAULTS)
def test_a_malformed_reply_costs_its_sender_the_place_and_never_the_run(row: Row, fault: str) -> None:
    def tamper(partition_id: int, reply: Message) -> Any:
        is_training = reply.metadata.message_type.startswith("train")
        return FAULTS[fault](reply) if partition_id == CULPRIT and is_training else reply

    strategy, result = run(row, tamper)
    assert len(result.train_metrics_clientapp) == ROUNDS
    assert all(np.isfinite(each).all() for each in state_of(result).values())
    rejected = {} if fault in row.tolerates else {CULPRIT}
    for metrics in result.train_metrics_clientapp.values():
        assert set(metrics.get("rejected-users", [])) == set(rejected)
    if rejected:
        reasons = [each.reason for record in strategy.history for each in record.rejected]
        assert reasons
        assert all(reasons)


@each_row
def test_a_malformed_reply_counts_as_much_as_none(row: Row) -> None:
    def silent(partition_id: int, reply: Message) -> Any:
        is_training = reply.metadata.message_type.startswith("train")
        return None if partition_id == CULPRIT and is_training else reply

    def broken(partition_id: int, reply: Message) -> Any:
        is_training = reply.metadata.message_type.startswith("train")
        return FAULTS["NaN"](reply) if partition_id == CULPRIT and is_training else reply

    without, with_garbage = state_of(run(row, silent)[1]), state_of(run(row, broken)[1])
    for name, each in without.items():
        np.testing.assert_array_equal(with_garbage[name], each)


@each_row
def test_the_order_of_replies_does_not_matter(row: Row) -> None:
    first, second = (state_of(run(row, order=order)[1]) for order in ("sent", "reversed"))
    for name, each in first.items():
        np.testing.assert_array_equal(second[name], each)


@each_row
def test_too_few_nodes_are_an_error_not_a_hang(row: Row) -> None:
    with pytest.raises(NodesMissingError):
        run(row, num_nodes=row.num_nodes - 1)


@each_row
def test_all_nodes_silent_leave_the_model_as_it_was(row: Row) -> None:
    def silent(partition_id: int, reply: Message) -> Any:
        return None if reply.metadata.message_type.startswith("train") else reply

    _, result = run(row, silent)
    assert result.arrays is None or all(np.isfinite(each).all() for each in state_of(result).values())
    for metrics in result.train_metrics_clientapp.values():
        assert set(metrics["rejected-users"]) == set(range(row.num_nodes))
