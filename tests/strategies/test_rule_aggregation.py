"""Aggregation rules in the place of FedAvg's mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedYogi, Result
from toy_client_apps import moving_app

from flower_coded.aggregation import (
    AGGREGATION_RULES,
    SERVER_OPTIMIZERS,
    RoundContext,
    get_aggregation_rule,
    get_server_optimizer,
)
from flower_coded.errors import NoRoundSucceededError, ParameterError
from flower_coded.strategies.rule_aggregation import RuleAggregation
from flower_coded.testing import InProcessGrid

# Inputs that tell rules apart (their answers are known from arithmetic).
STEPS = np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]])
EXPECTED = {"mean": (22.4, 4.2), "median": (2, 3), "trimmed-mean": (4, 11 / 3), "krum": (2, 6)}
START = np.array([1000.0, -1000.0])


ROOT_STEP = np.array([1.0, 2.0])


def root_training(server_round: int, arrays: ArrayRecord) -> ArrayRecord:
    return ArrayRecord({"w": Array(arrays["w"].numpy() + ROOT_STEP), "count": arrays["count"]})


def stepping_app(steps: np.ndarray = STEPS) -> ClientApp:
    return moving_app(
        lambda me, arrays, message: {"w": arrays["w"] + steps[me], "count": arrays["count"]},
        metrics=lambda me: {
            "num-examples": 10 ** (1 + int(steps[me][0] > 50)),
            "loss": float(steps[me][0]),
        },
    )


def run(strategy: RuleAggregation, num_rounds: int = 1, **options: Any) -> tuple[np.ndarray, Result, Any]:
    app = options.pop("app", None) or stepping_app()
    grid = InProcessGrid(app, 5, **options)
    start = ArrayRecord({"w": Array(START), "count": Array(np.array(7))})
    result = strategy.start(grid, start, num_rounds, timeout=5)
    return result.arrays["w"].numpy(), result, grid


def strategy_of(name: str, **options: Any) -> RuleAggregation:
    rule = get_aggregation_rule(name, num_byzantine=0 if name == "bulyan" else 1)  # it needs n >= 4 f + 3
    return RuleAggregation(rule, min_train_nodes=5, min_available_nodes=5, fraction_evaluate=0.0, **options)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_global_model_moves_by_what_the_rule_makes_of_the_updates(name: str) -> None:
    state, result, _ = run(strategy_of(name))
    np.testing.assert_allclose(state - START, EXPECTED[name])
    assert result.arrays["count"].numpy() == 7, "counters stay as they are"
    assert result.train_metrics_clientapp[1]["accepted-replies"] == 5


@pytest.mark.parametrize("name", [*AGGREGATION_RULES, "bucketing+median", "nearest-neighbor-mixing+krum"])
def test_every_rule_gives_what_it_gives_alone(name: str) -> None:
    strategy = strategy_of(name, seed=3, train_on_root=root_training)
    state, _, _ = run(strategy)
    context = RoundContext(np.random.default_rng([3, 1]), root_update=ROOT_STEP)
    expected, _ = strategy.rule.aggregate_in_round(STEPS, context)  # in the order of partition ids
    np.testing.assert_allclose(state - START, expected, rtol=1e-9)


def test_krum_names_the_nodes_that_it_left_out() -> None:
    strategy = strategy_of("krum")
    _, result, _ = run(strategy)
    assert strategy.history[0].unselected == (0, 1, 3, 4)
    assert result.train_metrics_clientapp[1]["unselected-participants"] == [0, 1, 3, 4]


def test_a_reply_that_is_not_finite_costs_its_sender_the_place() -> None:
    steps = STEPS.copy()
    steps[4] = np.nan
    strategy = strategy_of("mean")
    state, result, _ = run(strategy, app=stepping_app(steps))
    np.testing.assert_allclose(state - START, STEPS[:4].mean(axis=0))
    assert result.train_metrics_clientapp[1]["rejected-participants"] == [4]


def test_too_few_replies_for_the_rule_keep_the_old_model() -> None:
    strategy = strategy_of("krum")  # n >= 2 f + 3 = 5, and one is silent
    silent_once = {"drop": lambda node, message: node == 0 and message.metadata.group_id == "1"}
    state, result, _ = run(strategy, num_rounds=2, **silent_once)
    np.testing.assert_allclose(state - START, EXPECTED["krum"])
    assert "2 f + 3" in strategy.history[0].refusal or "num_byzantine" in strategy.history[0].refusal
    assert [result.train_metrics_clientapp[number]["unchanged"] for number in (1, 2)] == [1, 0]


def test_a_run_in_which_nobody_answers_does_not_end_well() -> None:
    strategy = strategy_of("median")
    with pytest.raises(NoRoundSucceededError, match=r"none of 2 rounds .*: 5 x no reply"):
        run(strategy, num_rounds=2, drop=lambda node, message: message.metadata.message_type == "train")
    assert all(each.is_unchanged for each in strategy.history)


def test_the_order_of_arrival_does_not_matter() -> None:
    strategies = [strategy_of("bucketing+median") for _ in range(2)]
    orders = zip(strategies, ("sent", "shuffled"), strict=True)
    states = [run(strategy, order=order)[0] for strategy, order in orders]
    assert [strategy.history[0].refusal for strategy in strategies] == ["", ""]
    np.testing.assert_array_equal(states[0], states[1])


def test_what_is_no_rule_is_refused() -> None:
    with pytest.raises(ParameterError, match="rule must have a method aggregate"):
        RuleAggregation("median")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="seed must not be negative"):
        RuleAggregation(get_aggregation_rule("median"), seed=-1)


def test_fl_trust_without_root_data_says_what_it_needs() -> None:
    with pytest.raises(NoRoundSucceededError, match=r"root_update .* train_on_root="):
        run(strategy_of("fl-trust"))
    other_shapes = strategy_of("fl-trust", train_on_root=lambda _, arrays: ArrayRecord({"w": arrays["w"]}))
    with pytest.raises(NoRoundSucceededError, match="train_on_root must return arrays"):
        run(other_shapes)


def changing_app(steps: np.ndarray) -> ClientApp:
    """Client ``k`` moves the parameters by row ``k`` of this round's steps."""

    def moved(me: int, arrays: dict[str, np.ndarray], message: Message) -> dict[str, np.ndarray]:
        now = steps[message.content["config"]["server-round"] - 1, me]
        by = {"w": now, "half": now[0], "count": 0}
        return {name: (array + by[name]).astype(array.dtype) for name, array in arrays.items()}

    return moving_app(moved)


CHANGES = np.random.default_rng(1).normal(0.0, 0.3, (3, 5, 4))
OURS_AND_FLOWERS: dict[str, tuple[dict[str, float], type[FedAvg], dict[str, float]]] = {
    "fedavgm": (
        {"learning_rate": 0.7, "momentum": 0.8},
        FedAvgM,
        {"server_learning_rate": 0.7, "server_momentum": 0.8},
    ),
    "fedadagrad": ({"learning_rate": 0.3, "adaptivity": 0.01}, FedAdagrad, {"eta": 0.3, "tau": 0.01}),
    "fedadam": (
        {"first_decay": 0.8, "second_decay": 0.9},
        FedAdam,
        {"beta_1": 0.8, "beta_2": 0.9},
    ),
    "fedyogi": ({}, FedYogi, {}),
}


def optimized(strategy: FedAvg, only: str | None = None) -> dict[str, np.ndarray]:
    start = {"w": START.repeat(2), "half": np.ones((), np.float16), "count": np.array(7)}
    record = ArrayRecord({name: Array(array) for name, array in start.items() if only in (None, name)})
    result = strategy.start(InProcessGrid(changing_app(CHANGES), 5), record, 3, timeout=5)
    return {name: array.numpy() for name, array in result.arrays.items()}


@pytest.mark.parametrize("name", SERVER_OPTIMIZERS)
def test_optimizers_behind_the_mean_are_those_of_flower(name: str) -> None:
    ours, flowers, theirs = OURS_AND_FLOWERS[name]
    options: dict[str, Any] = {"min_train_nodes": 5, "min_available_nodes": 5, "fraction_evaluate": 0.0}
    expected = optimized(flowers(**options, **theirs), "w")
    strategy = strategy_of("mean", server_optimizer=get_server_optimizer(name, **ours))
    np.testing.assert_allclose(optimized(strategy, "w")["w"], expected["w"], rtol=1e-12)
    assert np.abs(expected["w"] - START.repeat(2)).max() > 1e-3


@pytest.mark.parametrize("name", SERVER_OPTIMIZERS)
def test_optimizers_keep_types_and_start_every_run_afresh(name: str) -> None:
    strategy = strategy_of("median", server_optimizer=get_server_optimizer(name))
    once, again = optimized(strategy), optimized(strategy)
    assert {key: array.dtype for key, array in once.items()} == {
        "w": np.float64,
        "half": np.float16,
        "count": np.int64,
    }
    assert once["count"] == 7
    for key, array in once.items():
        np.testing.assert_array_equal(array, again[key])


def test_a_refused_round_leaves_the_moments_as_they_are() -> None:
    optimizer = get_server_optimizer("fedavgm", momentum=0.5)
    strategy = strategy_of("krum", server_optimizer=optimizer)  # n >= 2 f + 3 = 5
    lost = {"drop": lambda node, message: node == 0 and message.metadata.group_id == "2"}
    state, result, _ = run(strategy, num_rounds=3, **lost)
    assert [result.train_metrics_clientapp[number]["unchanged"] for number in (1, 2, 3)] == [0, 1, 0]
    step = np.array(EXPECTED["krum"])
    np.testing.assert_allclose(state - START, step + (0.5 * step + step))


def test_a_rule_that_remembers_is_told_who_sent_what_and_forgets_between_runs() -> None:
    # Two sybils send opposite noise besides the same harm: their sums are alike, single updates less so.
    steps = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.3], [-3.0, -3.0], [-3.0, -3.1]])
    strategy = strategy_of("fools-gold")
    first = run(strategy, app=stepping_app(steps), num_rounds=2)[0]
    np.testing.assert_array_equal(run(strategy, app=stepping_app(steps), num_rounds=2)[0], first)
    assert first.min() > START.min() - 3.0


@pytest.mark.parametrize("optimizer", ["fedadam", 0.1])
def test_what_is_no_optimizer_is_refused(optimizer: Any) -> None:
    with pytest.raises(ParameterError, match="server_optimizer must be a ServerOptimizer"):
        strategy_of("mean", server_optimizer=optimizer)


@pytest.mark.parametrize(
    ("name", "parameters", "named"),
    [
        ("adam", {}, "fedavgm, fedadagrad"),
        ("fedadam", {"momentum": 0.5}, "must be among learning_rate, adaptivity"),
        ("fedadam", {"learning_rate": 0.0}, "learning_rate"),
        ("fedyogi", {"adaptivity": -1.0}, "adaptivity"),
        ("fedavgm", {"momentum": 1.0}, "momentum"),
        ("none", {"learning_rate": 1.0}, "nothing to be told learning_rate"),
        ("FedYogy", {}, "did you mean 'fedyogi'"),
    ],
)
def test_get_server_optimizer_says_what_would_work(name: str, parameters: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        get_server_optimizer(name, **parameters)
