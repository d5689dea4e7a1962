"""One user misbehaves in every way there is: it is named with the reason, and costs nobody else anything."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord
from flwr.clientapp import ClientApp

from flower_coded.codes import SubsetCode, backdoor_correction_code
from flower_coded.errors import NoRoundSucceededError
from flower_coded.strategies import CodedSubsetAggregation
from flower_coded.testing import InProcessGrid

CODE = backdoor_correction_code(2, 2, 6)
CULPRIT = 2
ROUNDS = 2
START = {"w": np.zeros((3, 2), np.float32), "b": np.zeros(3, np.float32)}

Tamper = Callable[[Message], Message | list[Message] | Error | None]


def replace_arrays(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Tamper:
    def tamper(reply: Message) -> Message:
        state = {name: each.numpy().copy() for name, each in reply.content["arrays"].items()}
        reply.content["arrays"] = ArrayRecord({name: Array(each) for name, each in change(state).items()})
        return reply

    return tamper


def replace_metrics(**changes: Any) -> Tamper:
    def tamper(reply: Message) -> Message:
        metrics = dict(reply.content["metrics"]) | changes
        reply.content["metrics"] = MetricRecord({k: v for k, v in metrics.items() if v is not None})
        return reply

    return tamper


def replace_bytes(data: bytes, stype: str = "numpy.ndarray") -> Tamper:
    def tamper(reply: Message) -> Message:
        reply.content["arrays"]["w"] = Array("float32", (3, 2), stype, data)
        return reply

    return tamper


def without(record: str) -> Tamper:
    def tamper(reply: Message) -> Message:
        del reply.content[record]
        return reply

    return tamper


def one_nan(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    state["w"].flat[-1] = np.nan
    return state


FAULTS: dict[str, tuple[Tamper, str]] = {
    "renamed key": (replace_arrays(lambda s: {"v": s["w"], "b": s["b"]}), "keys"),
    "missing key": (replace_arrays(lambda s: {"w": s["w"]}), "keys"),
    "extra key": (replace_arrays(lambda s: s | {"x": s["b"]}), "keys"),
    "no keys": (replace_arrays(lambda s: {}), "keys"),
    "wrong shape": (replace_arrays(lambda s: s | {"w": s["w"][:, :1]}), "shape"),
    "transposed": (replace_arrays(lambda s: s | {"w": s["w"].T}), "shape"),
    "broadcastable shape": (replace_arrays(lambda s: s | {"b": s["b"][:1]}), "shape"),
    "integers": (replace_arrays(lambda s: {k: v.astype(np.int64) for k, v in s.items()}), "dtype"),
    "complex": (replace_arrays(lambda s: {k: v.astype(np.complex64) for k, v in s.items()}), "dtype"),
    "NaN": (replace_arrays(one_nan), "not-finite"),
    "infinity": (replace_arrays(lambda s: s | {"b": np.full_like(s["b"], np.inf)}), "not-finite"),
    "overflow": (
        replace_arrays(lambda s: {k: v.astype(np.float64) + 1e200 for k, v in s.items()}),
        "not-finite",
    ),
    "garbage bytes": (replace_bytes(b"\x93NUMPY garbage"), "undecodable"),
    "no bytes": (replace_bytes(b""), "undecodable"),
    "unknown stype": (replace_bytes(b"", "pickle"), "undecodable"),
    "negative num-examples": (replace_metrics(**{"num-examples": -5}), "num-examples"),
    "NaN num-examples": (replace_metrics(**{"num-examples": float("nan")}), "num-examples"),
    "infinite num-examples": (replace_metrics(**{"num-examples": float("inf")}), "num-examples"),
    "huge num-examples": (replace_metrics(**{"num-examples": 2**62}), "num-examples"),
    "list of num-examples": (replace_metrics(**{"num-examples": [1, 2]}), "metrics"),
    "no num-examples": (replace_metrics(**{"num-examples": None}), "metrics"),
    "missing metrics": (without("metrics"), "record-count"),
    "missing arrays": (without("arrays"), "record-count"),
    "error reply": (lambda reply: Error(1000, "out of battery"), "error-reply"),
    "silence": (lambda reply: None, "no-reply"),
}


def expected_model(code: SubsetCode, model: int, missing: set[int]) -> float:
    """User ``j`` adds j + 1 with weight 10 (j + 1); see ``adding_app``."""
    steps = [user + 1 for user in code.users_of(model).tolist() if user not in missing]
    return ROUNDS * sum(step * step for step in steps) / sum(steps) if steps else 0.0


def run(
    app: ClientApp, tamper: Callable[[int, Message], Any] | None, stacked: bool = False
) -> tuple[CodedSubsetAggregation, Any]:
    strategy = CodedSubsetAggregation(CODE, stacked=stacked, fraction_evaluate=0.0)
    grid = InProcessGrid(app, 6, tamper=tamper)
    start = ArrayRecord({name: Array(each) for name, each in START.items()})
    return strategy, strategy.start(grid, start, num_rounds=ROUNDS, timeout=30)


def of_culprit(tamper: Tamper) -> Callable[[int, Message], Any]:
    def apply(partition_id: int, reply: Message) -> Any:
        is_training = reply.metadata.message_type == "train"
        return tamper(reply) if partition_id == CULPRIT and is_training else reply

    return apply


def assert_only_the_culprit_is_missing(strategy: CodedSubsetAggregation, result: Any) -> None:
    for model in range(CODE.num_models):
        expected = expected_model(CODE, model, {CULPRIT})
        np.testing.assert_allclose(result.arrays["w"].numpy()[model], expected, rtol=1e-6)
        np.testing.assert_allclose(result.arrays["b"].numpy()[model], expected, rtol=1e-6)
    assert len(strategy.history) == ROUNDS


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_its_user_the_place_and_nothing_else(fault: str, adding_app: ClientApp) -> None:
    tamper, code = FAULTS[fault]
    strategy, result = run(adding_app, of_culprit(tamper))
    assert_only_the_culprit_is_missing(strategy, result)
    models = CODE.models_of(CULPRIT).tolist()
    for each in strategy.history:
        assert [(r.participant, r.model, r.code) for r in each.rejected] == [
            (CULPRIT, m, code) for m in models
        ]
        assert all(rejected.reason for rejected in each.rejected)
    for metrics in result.train_metrics_clientapp.values():
        assert metrics["rejected-participants"] == [CULPRIT]
        assert metrics[f"rejected-{code}"] == metrics["rejected-replies"] == len(models)
        assert "loss" in metrics


@pytest.mark.parametrize(
    "fault", ["missing key", "wrong shape", "NaN", "missing metrics", "error reply", "silence"]
)
def test_stacked_replies_are_judged_the_same_way(fault: str, adding_app: ClientApp) -> None:
    tamper, code = FAULTS[fault]
    strategy, result = run(adding_app, of_culprit(tamper), stacked=True)
    assert_only_the_culprit_is_missing(strategy, result)
    for each in strategy.history:
        assert [(r.participant, r.model, r.code) for r in each.rejected] == [(CULPRIT, None, code)]


def test_the_reason_reaches_the_log(adding_app: ClientApp, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("flwr").addHandler(caplog.handler)
    try:
        run(adding_app, of_culprit(FAULTS["wrong shape"][0]))
    finally:
        logging.getLogger("flwr").removeHandler(caplog.handler)
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert any("round 1: rejected participant 2" in line and "'w' has shape (3, 1)" in line for line in lines)


def test_an_exception_in_the_client_itself_is_an_error_reply_with_its_message(adding_app: ClientApp) -> None:
    def failing(message: Message, context: Any, call_next: Any) -> Message:
        if context.node_config["partition-id"] == CULPRIT and message.metadata.message_type == "train":
            raise ValueError("no such file: data.csv")
        return call_next(message, context)

    app = ClientApp()
    app.train(mods=[failing])(adding_app._registered_funcs["train.default"])
    app.query("flower_coded_identity")(adding_app._registered_funcs["query.flower_coded_identity"])
    strategy, result = run(app, None)
    assert_only_the_culprit_is_missing(strategy, result)
    [first, *_] = strategy.history[0].rejected
    assert (first.code, first.reason) == ("error-reply", "ValueError: no such file: data.csv")


def test_the_first_of_two_replies_counts_and_the_second_is_reported(adding_app: ClientApp) -> None:
    def twice(reply: Message) -> list[Message]:
        return [reply, reply]

    strategy, result = run(adding_app, of_culprit(twice))
    for model in range(CODE.num_models):
        expected = expected_model(CODE, model, set())
        np.testing.assert_allclose(result.arrays["w"].numpy()[model], expected, rtol=1e-6)
    assert {each.code for each in strategy.history[0].rejected} == {"duplicate"}
    assert {each.participant for each in strategy.history[0].rejected} == {CULPRIT}


@pytest.mark.parametrize("group", ["1/1", "1/99", "7/3", "", "1", "1/", "9" * 5000, "1/\u0663"])
def test_a_reply_is_for_the_model_it_was_asked_about_whatever_it_says(
    group: str, adding_app: ClientApp
) -> None:
    """The culprit says that all its replies are for another model: model 1 does not accept it."""
    assert CULPRIT not in CODE.users_of(1), "otherwise 1/1 would be a legal claim"

    def redirect(reply: Message) -> Message:
        reply.metadata.group_id = group
        return reply

    strategy, result = run(adding_app, of_culprit(redirect))
    np.testing.assert_allclose(result.arrays["w"].numpy()[1], expected_model(CODE, 1, set()), rtol=1e-6)
    assert strategy.history[0].rejected == ()
    for model in range(CODE.num_models):
        expected = expected_model(CODE, model, set())
        np.testing.assert_allclose(result.arrays["w"].numpy()[model], expected, rtol=1e-6)


def test_a_reply_of_a_stranger_is_reported_by_its_node(adding_app: ClientApp) -> None:
    def disguise(reply: Message) -> Message:
        reply.metadata.__dict__["_src_node_id"] = 999
        return reply

    strategy, result = run(adding_app, of_culprit(disguise))
    assert_only_the_culprit_is_missing(strategy, result)
    assert result.train_metrics_clientapp[1]["rejected-nodes"] == [999]
    assert result.train_metrics_clientapp[1]["rejected-participants"] == [CULPRIT]


def test_odd_metrics_are_left_out_of_the_mean_and_the_arrays_still_count(adding_app: ClientApp) -> None:
    strategy, result = run(adding_app, of_culprit(replace_metrics(loss=float("nan"))))
    np.testing.assert_allclose(result.arrays["w"].numpy()[0], expected_model(CODE, 0, set()), rtol=1e-6)
    assert strategy.history[0].rejected == ()
    metrics = result.train_metrics_clientapp[1]
    assert metrics["metrics-left-out"] == len(CODE.models_of(CULPRIT))
    assert np.isfinite(metrics["loss"])


def test_everybody_at_fault_leaves_the_ensemble_as_it_was(adding_app: ClientApp) -> None:
    def tamper(partition_id: int, reply: Message) -> Any:
        return FAULTS["NaN"][0](reply) if reply.metadata.message_type == "train" else reply

    with pytest.raises(NoRoundSucceededError, match="values in 'w' are not finite"):
        run(adding_app, tamper)


def test_evaluation_replies_are_judged_singly_too(adding_app: ClientApp) -> None:
    def tamper(partition_id: int, reply: Message) -> Message:
        if partition_id == CULPRIT and reply.metadata.message_type == "evaluate":
            return replace_metrics(**{"num-examples": -1})(reply)  # type: ignore[return-value]
        return reply

    strategy = CodedSubsetAggregation(CODE)
    start = ArrayRecord({name: Array(each) for name, each in START.items()})
    result = strategy.start(InProcessGrid(adding_app, 6, tamper=tamper), start, num_rounds=1)
    metrics = result.evaluate_metrics_clientapp[1]
    assert (metrics["rejected-participants"], metrics["rejected-num-examples"]) == ([CULPRIT], 2)
    assert 0 < metrics["accuracy"] < 1
