"""Any Flower strategy with each reply judged alone: no malformed reply ends a run, and good ones count."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.exception import AggregationError
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
    Strategy,
)
from toy_client_apps import moving_app

from flower_coded.errors import NodesMissingError, NoRoundSucceededError, ParameterError
from flower_coded.strategies.validated import ValidatedReplies, narrowed, widened
from flower_coded.testing import InProcessGrid

NUM_NODES, BAD = 8, 2
START = {"w": np.zeros((2, 3), dtype=np.float32), "b": np.zeros(3, dtype=np.float32)}
EVERYBODY = {"min_train_nodes": NUM_NODES, "min_available_nodes": NUM_NODES, "fraction_evaluate": 0.0}
ROBUST: dict[str, Callable[[], Strategy]] = {
    "FedAvg": lambda: FedAvg(**EVERYBODY),
    "FedMedian": lambda: FedMedian(**EVERYBODY),
    "FedTrimmedAvg": lambda: FedTrimmedAvg(beta=0.2, **EVERYBODY),
    "Krum": lambda: Krum(num_malicious_nodes=1, **EVERYBODY),
    "MultiKrum": lambda: MultiKrum(num_malicious_nodes=1, num_nodes_to_select=5, **EVERYBODY),
    "Bulyan": lambda: Bulyan(num_malicious_nodes=1, **EVERYBODY),
}
OTHERS: dict[str, Callable[[], Strategy]] = {
    "FedAdam": lambda: FedAdam(**EVERYBODY),
    "FedAvgM": lambda: FedAvgM(**EVERYBODY),
    "QFedAvg": lambda: QFedAvg(client_learning_rate=0.1, train_loss_key="train-loss", **EVERYBODY),
    "FedAvg with differential privacy": lambda: DifferentialPrivacyServerSideFixedClipping(
        FedAvg(**EVERYBODY), noise_multiplier=0.0, clipping_norm=1e3, num_sampled_clients=NUM_NODES
    ),
}


def training_app() -> ClientApp:
    """Everybody adds 1 to 1.07 by its number, and reports ten examples and a loss."""
    return moving_app(
        lambda me, arrays, message: {
            name: array + np.float32(1 + me / 100) for name, array in arrays.items()
        },
        metrics=lambda me: {"num-examples": 10, "train-loss": 0.5},
        evaluation=lambda me: {"num-examples": 10, "accuracy": 0.5},
    )


def with_arrays(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Message], Message]:
    def tamper(reply: Message) -> Message:
        changed = {name: Array(change(array.numpy())) for name, array in reply.content["arrays"].items()}
        reply.content["arrays"] = ArrayRecord(changed)
        return reply

    return tamper


def with_metric(**values: Any) -> Callable[[Message], Message]:
    def tamper(reply: Message) -> Message:
        for name, value in values.items():
            key = name.replace("_", "-")
            if value is None:
                del reply.content["metrics"][key]
            else:
                reply.content["metrics"][key] = value
        return reply

    return tamper


def renamed(reply: Message) -> Message:
    arrays = reply.content["arrays"]
    reply.content["arrays"] = ArrayRecord({f"{name}.renamed": array for name, array in arrays.items()})
    return reply


def two_records(reply: Message) -> Message:
    reply.content["more"] = ArrayRecord({"w": Array(np.zeros(1))})
    return reply


def garbage(reply: Message) -> Message:
    arrays = reply.content["arrays"]
    arrays["w"] = Array(dtype="float32", shape=(2, 3), stype="numpy.ndarray", data=b"not an array")
    return reply


MALFORMED: dict[str, tuple[Callable[[Message], Any], str]] = {
    "NaN": (with_arrays(lambda a: np.full_like(a, np.nan)), "not-finite"),
    "infinity": (with_arrays(lambda a: np.full_like(a, np.inf)), "not-finite"),
    "wrong shape": (with_arrays(lambda a: np.concatenate([a, a])), "shape"),
    "wrong keys": (renamed, "keys"),
    "wrong type": (with_arrays(lambda a: a.astype(np.int64)), "dtype"),
    "garbage bytes": (garbage, "undecodable"),
    "two array records": (two_records, "record-count"),
    "negative num-examples": (with_metric(num_examples=-1), "num-examples"),
    "infinite num-examples": (with_metric(num_examples=float("inf")), "num-examples"),
    "no num-examples": (with_metric(num_examples=None), "metrics"),
    "silence": (lambda reply: Error(1000, "silent on purpose"), "error-reply"),
    "no reply": (lambda reply: None, "no-reply"),
    "twice": (lambda reply: [reply, reply], "duplicate"),
}


def run(
    strategy: Strategy,
    tamper: Callable[[Message], Any] = lambda reply: reply,
    num_rounds: int = 2,
    bad: tuple[int, ...] = (BAD,),
    **options: Any,
) -> tuple[dict[str, np.ndarray], ValidatedReplies, InProcessGrid, Any]:
    judged = strategy if isinstance(strategy, ValidatedReplies) else ValidatedReplies(strategy)
    grid = InProcessGrid(
        training_app(),
        NUM_NODES,
        tamper=lambda node, reply: (
            tamper(reply) if node in bad and not reply.metadata.message_type.startswith("query") else reply
        ),
        **options,
    )
    start = ArrayRecord({name: Array(array) for name, array in START.items()})
    result = judged.start(grid, start, num_rounds, timeout=5)
    return {name: array.numpy() for name, array in result.arrays.items()}, judged, grid, result


@pytest.mark.parametrize(
    ("name", "fault"),
    [*itertools.product(ROBUST, MALFORMED), *((name, "wrong keys") for name in OTHERS)],
)
def test_no_malformed_reply_ends_a_run_and_its_sender_is_named(name: str, fault: str) -> None:
    tamper, code = MALFORMED[fault]
    state, judged, grid, result = run((ROBUST | OTHERS)[name](), tamper, num_rounds=1, wire=False)
    assert all(np.isfinite(array).all() for array in state.values())
    assert len(judged.history) == 1
    for record in judged.history:
        assert [(each.participant, each.code) for each in record.rejected] == [(BAD, code)]
        assert record.rejected[0].node_id == grid.node_ids[BAD]
        assert record.refusal == ""
    metrics = result.train_metrics_clientapp[1]
    assert metrics["rejected-participants"] == [BAD]
    assert metrics[f"rejected-{code}"] == 1
    assert metrics["accepted-replies"] == NUM_NODES - (code != "duplicate")
    assert np.abs(state["w"]).sum() > 0, "the good replies were used"


@pytest.mark.parametrize("name", ["FedAvg", "FedMedian", "MultiKrum"])
def test_without_a_bad_reply_the_result_is_the_wrapped_strategys_own(name: str) -> None:
    alone = ROBUST[name]()
    start = ArrayRecord({key: Array(array) for key, array in START.items()})
    expected = alone.start(InProcessGrid(training_app(), NUM_NODES), start, 2).arrays
    state, _, _, _ = run(ROBUST[name]())
    for key, array in state.items():
        np.testing.assert_allclose(array, expected[key].numpy(), rtol=1e-6)


def test_huge_finite_values_leave_the_old_model_or_a_finite_one() -> None:
    huge = with_arrays(lambda a: np.full_like(a, 3e38))
    state, judged, _, _ = run(ROBUST["FedAvg"](), huge, bad=(1, 2, 3))
    assert all(np.isfinite(array).all() for array in state.values())
    median, _, _, _ = run(ROBUST["FedMedian"](), huge)
    assert np.abs(median["w"]).max() < 3
    del judged


def test_arrays_in_another_order_are_put_back_in_place() -> None:
    def reordered(reply: Message) -> Message:
        reply.content["arrays"] = ArrayRecord(dict(reversed(list(reply.content["arrays"].items()))))
        return reply

    straight, _, _, _ = run(ROBUST["MultiKrum"]())
    turned, judged, _, _ = run(ROBUST["MultiKrum"](), reordered)
    assert judged.history[0].rejected == ()
    np.testing.assert_array_equal(straight["w"], turned["w"])


def test_a_claim_of_a_billion_examples_counts_ten_times_the_median() -> None:
    state, _, _, _ = run(ROBUST["FedAvg"](), with_metric(num_examples=1_000_000_000), num_rounds=1)
    steps = [1 + node / 100 for node in range(NUM_NODES)]
    weights = [10.0 if node == BAD else 1.0 for node in range(NUM_NODES)]
    np.testing.assert_allclose(state["b"], np.average(steps, weights=weights), rtol=1e-6)


def test_the_order_of_arrival_does_not_change_a_bit() -> None:
    states = [run(ROBUST["FedAvg"](), order=order)[0] for order in ("sent", "reversed", "shuffled")]
    for state in states[1:]:
        np.testing.assert_array_equal(state["w"], states[0]["w"])


def test_a_rule_left_with_too_few_keeps_the_old_model_and_says_so() -> None:
    tamper, _ = MALFORMED["NaN"]
    with pytest.raises(NoRoundSucceededError, match="the rule refuses the replies that are left"):
        run(ROBUST["Bulyan"](), tamper, bad=(0, 1))  # 6 replies, 4 f + 3 = 7 needed


def test_an_exception_of_the_rule_keeps_the_old_model() -> None:
    class Raising(FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            raise AggregationError("not like this")

    with pytest.raises(NoRoundSucceededError, match="AggregationError: not like this"):
        run(Raising(**EVERYBODY))


def test_no_usable_reply_at_all_keeps_the_old_model() -> None:
    tamper, _ = MALFORMED["wrong keys"]
    with pytest.raises(NoRoundSucceededError, match="8 x array names differ"):
        run(ROBUST["FedAvg"](), tamper, bad=tuple(range(NUM_NODES)))


def test_evaluation_replies_are_judged_too() -> None:
    options = {**EVERYBODY, "fraction_evaluate": 1.0}

    def tamper(reply: Message) -> Message:
        if "accuracy" in reply.content["metrics"]:
            reply.content["metrics"]["num-examples"] = -5
        return reply

    _, judged, _, result = run(FedAvg(**options), tamper, num_rounds=1)
    assert result.evaluate_metrics_clientapp[1]["accuracy"] == pytest.approx(0.5)
    assert [each.stage for each in judged.history] == ["train", "evaluate"]
    assert [each.participant for each in judged.history[1].rejected] == [BAD]


def test_the_key_of_the_weight_is_found_behind_a_wrapper() -> None:
    inner = FedAvg(weighted_by_key="examples")
    wrapped = DifferentialPrivacyServerSideFixedClipping(inner, 0.1, 1.0, 5)
    assert ValidatedReplies(wrapped).weighted_by_key == "examples"


def test_what_is_no_strategy_is_refused() -> None:
    with pytest.raises(ParameterError, match="strategy must be a Strategy"):
        ValidatedReplies(FedAvg)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="max_claim_ratio must be at least 1"):
        ValidatedReplies(FedAvg(), max_claim_ratio=0.5)


def test_a_strategy_that_asks_a_node_twice_is_refused() -> None:
    class Asking(FedAvg):
        def configure_train(self, *args: Any) -> Any:
            messages = list(super().configure_train(*args))
            return [*messages, *messages]

    with pytest.raises(ParameterError, match="must send every node one message"):
        run(Asking(**EVERYBODY))


BATCH_NORM: dict[str, np.ndarray] = {
    "weight": np.full((2, 3), 0.5, np.float32),
    "half": np.full(3, 0.5, np.float16),
    "running_var": np.ones(3, np.float64),
    "num_batches_tracked": np.array(5),
    "mask": np.array([True, False]),
    "codes": np.array([250, 3], np.uint8),
    "temperature": np.array(0.5, np.float32),
}
TYPED = (
    ROBUST
    | OTHERS
    | {
        "FedAdagrad": lambda: FedAdagrad(**EVERYBODY),
        "FedYogi": lambda: FedYogi(**EVERYBODY),
        "FedProx": lambda: FedProx(proximal_mu=0.1, **EVERYBODY),
        "adaptive clipping": lambda: DifferentialPrivacyServerSideAdaptiveClipping(
            FedAvg(**EVERYBODY), noise_multiplier=0.0, num_sampled_clients=NUM_NODES
        ),
    }
)


def batch_norm_app() -> ClientApp:
    """Steps on what is floating, counts on, and answers in the types that a framework has."""

    def move(me: int, arrays: dict[str, np.ndarray], message: Message) -> dict[str, np.ndarray]:
        assert {k: v.dtype for k, v in arrays.items()} == {k: v.dtype for k, v in BATCH_NORM.items()}
        assert {k: v.shape for k, v in arrays.items()} == {k: v.shape for k, v in BATCH_NORM.items()}
        step = 0.1 + me / 1000
        moved = {k: (v + step).astype(v.dtype) if v.dtype.kind == "f" else v for k, v in arrays.items()}
        return moved | {"num_batches_tracked": np.asarray(arrays["num_batches_tracked"] + 7)}

    return moving_app(move, metrics=lambda me: {"num-examples": 10, "train-loss": 0.5})


@pytest.mark.parametrize("name", TYPED)
def test_a_model_with_batch_norm_keeps_its_types_and_moves_under_every_strategy(name: str) -> None:
    strategy = ValidatedReplies(TYPED[name]())
    grid = InProcessGrid(batch_norm_app(), NUM_NODES)
    start = ArrayRecord({name: Array(array) for name, array in BATCH_NORM.items()})
    result = strategy.start(grid, start, num_rounds=3)
    assert [(each.is_unchanged, each.rejected, len(each.accepted)) for each in strategy.history] == [
        (False, (), NUM_NODES)
    ] * 3
    state = {name: array.numpy() for name, array in result.arrays.items()}
    assert {k: (v.dtype, v.shape) for k, v in state.items()} == {
        k: (v.dtype, v.shape) for k, v in BATCH_NORM.items()
    }
    assert not np.array_equal(state["weight"], BATCH_NORM["weight"])
    assert state["temperature"] != BATCH_NORM["temperature"]
    np.testing.assert_array_equal(state["mask"], BATCH_NORM["mask"])
    np.testing.assert_array_equal(state["codes"], BATCH_NORM["codes"])


def test_complex_parameters_are_refused_by_name() -> None:
    start = ArrayRecord({"w": Array(np.zeros(2, np.complex64))})
    with pytest.raises(ParameterError, match="real numbers; received 'w' of type complex64"):
        ValidatedReplies(FedAvg(**EVERYBODY)).start(InProcessGrid(training_app(), NUM_NODES), start, 1)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.uint64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_narrowed_undoes_widened(dtype: Any, shape: tuple[int, ...]) -> None:
    state = {"x": np.ones(shape, dtype)}
    wide = widened(state)
    assert wide["x"].ndim >= 1
    assert wide["x"].dtype.kind == "f"
    assert wide["x"].dtype.itemsize >= 4
    back = narrowed(wide, state)
    assert (back["x"].dtype, back["x"].shape) == (state["x"].dtype, shape)
    np.testing.assert_array_equal(back["x"], state["x"])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64])
def test_narrowed_stays_within_the_type(dtype: Any) -> None:
    least, most = narrowed({"x": np.array([-1e30, 1e30])}, {"x": np.zeros(2, dtype)})["x"].tolist()
    assert least == np.iinfo(dtype).min
    assert np.iinfo(dtype).max * 0.999 < most <= np.iinfo(dtype).max


@pytest.mark.parametrize(
    "tamper",
    [
        with_metric(train_loss=None),
        with_metric(train_loss=float("nan")),
        with_metric(train_loss=[0.5, 0.5]),
        with_metric(num_examples=0),
    ],
)
@pytest.mark.parametrize("name", [*ROBUST, "QFedAvg"])
def test_odd_metrics_cost_the_metrics_or_the_weight_and_never_the_place(name: str, tamper: Any) -> None:
    state, judged, _, result = run((ROBUST | OTHERS)[name](), tamper, num_rounds=1, wire=False)
    assert judged.history[0].rejected == ()
    assert judged.history[0].accepted == tuple(range(NUM_NODES))
    assert result.train_metrics_clientapp[1]["train-loss"] == pytest.approx(0.5)
    assert np.abs(state["w"]).sum() > 0


def test_a_reply_is_used_whatever_its_records_are_called() -> None:
    def other_names(reply: Message) -> Message:
        reply.content = RecordDict({"x": reply.content["arrays"], "y": reply.content["metrics"]})
        return reply

    for name in ("FedAvg", "MultiKrum", "Bulyan"):
        straight = run(ROBUST[name](), num_rounds=1)[0]
        state, judged, _, _ = run(ROBUST[name](), other_names, num_rounds=1)
        assert judged.history[0].rejected == ()
        np.testing.assert_array_equal(state["w"], straight["w"])


def test_a_function_for_metrics_sees_the_whole_reply_and_one_that_fails_costs_the_metrics() -> None:
    def total(contents: list[RecordDict], key: str) -> MetricRecord:
        return MetricRecord(
            {"total": sum(each["extra"]["value"] * each["metrics"][key] for each in contents)}
        )

    def with_extra(reply: Message) -> Message:
        reply.content["extra"] = ConfigRecord({"value": 2})
        return reply

    strategy = FedAvg(train_metrics_aggr_fn=total, **EVERYBODY)
    _, judged, _, result = run(strategy, with_extra, bad=tuple(range(NUM_NODES)))
    assert result.train_metrics_clientapp[1]["total"] == 2 * 10 * NUM_NODES
    assert strategy.train_metrics_aggr_fn is total
    _, judged, _, result = run(FedAvg(train_metrics_aggr_fn=total, **EVERYBODY), with_extra)
    assert "total" not in result.train_metrics_clientapp[1]
    assert not judged.history[0].is_unchanged


def test_too_few_nodes_end_the_first_round_and_are_waited_for_in_a_later_one() -> None:
    class Leaving(InProcessGrid):
        num_visible = NUM_NODES

        def get_node_ids(self) -> list[int]:
            return self.node_ids[: self.num_visible]

    def tamper(node: int, reply: Message) -> Message:
        if reply.metadata.message_type == "train":
            grid.num_visible = NUM_NODES - 1
        return reply

    options = {**EVERYBODY, "fraction_evaluate": 1.0, "min_evaluate_nodes": 2}
    strategy = ValidatedReplies(FedAvg(**options), connect_timeout=0.2)
    grid = Leaving(training_app(), NUM_NODES, tamper=tamper)
    start = ArrayRecord({name: Array(array) for name, array in START.items()})
    result = strategy.start(grid, start, num_rounds=2)
    assert [(each.stage, each.is_unchanged) for each in strategy.history] == [
        ("train", False),
        ("evaluate", True),
        ("train", True),
        ("evaluate", True),
    ]
    assert "7 of 8 nodes connected" in strategy.history[1].refusal
    assert result.train_metrics_clientapp[2]["unchanged"] == 1
    with pytest.raises(NodesMissingError):
        ValidatedReplies(FedAvg(**options), connect_timeout=0.2).start(grid, start, num_rounds=1)


class ProjectStrategy(FedAvg):
    """A project's own subclass, in the manner of Flower's advanced examples."""

    def set_save_path_and_run_dir(self, path: str, run_dir: str) -> None:
        self.save_path, self.run_dir, self.best = path, run_dir, 0.0

    def start(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the wrapper has its own")


def test_methods_of_a_subclass_are_reached_through_the_wrapper(caplog: pytest.LogCaptureFixture) -> None:
    strategy = ValidatedReplies(ProjectStrategy(**EVERYBODY))
    strategy.set_save_path_and_run_dir("/models", "today")
    assert (strategy.save_path, strategy.strategy.run_dir) == ("/models", "today")
    with caplog.at_level("WARNING", logger="flwr"):
        result = strategy.start(
            InProcessGrid(training_app(), NUM_NODES),
            ArrayRecord({name: Array(each) for name, each in START.items()}),
            num_rounds=1,
        )
    assert "ProjectStrategy has a start() of its own, which is not run" in caplog.text
    assert result.arrays["w"].numpy().min() > 0.9
    with pytest.raises(AttributeError, match="no attribute 'set_save_paths'"):
        strategy.set_save_paths("/models")


def test_reaching_through_the_wrapper_leaves_copies_and_nested_wrappers_alone() -> None:
    def seen(contents: list[RecordDict], key: str) -> MetricRecord:
        return MetricRecord({"seen": len(contents)})

    inner = ValidatedReplies(ProjectStrategy(train_metrics_aggr_fn=seen, **EVERYBODY))
    assert (
        copy.deepcopy(inner).weighted_by_key
        == pickle.loads(pickle.dumps(ValidatedReplies(FedAvg()))).weighted_by_key
    )
    with pytest.raises(AttributeError, match="_repr_html_"):
        inner._repr_html_()
    outer = ValidatedReplies(inner)
    result = outer.start(
        InProcessGrid(training_app(), NUM_NODES),
        ArrayRecord({name: Array(each) for name, each in START.items()}),
        num_rounds=1,
    )
    assert result.train_metrics_clientapp[1]["seen"] == NUM_NODES
    assert "train_metrics_aggr_fn" not in vars(inner), "set where it belongs, and given back"
    assert inner.train_metrics_aggr_fn is seen


@pytest.mark.parametrize(
    "arrays", [{"0": np.zeros(0, np.uint8)}, {"0": np.frombuffer(b"trees", np.uint8)}, {}]
)
def test_bytes_of_trees_are_refused_by_name_before_anybody_is_asked(arrays: dict[str, np.ndarray]) -> None:
    grid = InProcessGrid(training_app(), 2)
    record = ArrayRecord({name: Array(each) for name, each in arrays.items()})
    for wrapped in (FedAvg(), FedXgbBagging(), FedXgbCyclic()):
        with pytest.raises(ParameterError, match=r"floating-point numbers to be trained.*FedXgbBagging"):
            ValidatedReplies(wrapped).start(grid, record, num_rounds=1)
    assert all(each.message_type != "train" for each in grid.traffic)


def test_a_pickled_model_is_refused_by_name() -> None:
    pickled = Array(dtype="object", shape=(), stype="pickle", data=b"an estimator")
    with pytest.raises(ParameterError, match="must hold NumPy arrays; received 'model' of type pickle"):
        ValidatedReplies(FedAvg()).start(
            InProcessGrid(training_app(), 2), ArrayRecord({"model": pickled}), num_rounds=1
        )
