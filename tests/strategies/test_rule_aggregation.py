"""Aggregation rules in the place of FedAvg's mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Result
from toy_client_apps import moving_app

from flower_coded.aggregation import AGGREGATION_RULES, get_aggregation_rule
from flower_coded.errors import NoRoundSucceededError, ParameterError
from flower_coded.strategies.rule_aggregation import RuleAggregation
from flower_coded.testing import InProcessGrid

# Inputs that tell rules apart (their answers are known from arithmetic).
STEPS = np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]])
EXPECTED = {"mean": (22.4, 4.2), "median": (2, 3), "trimmed-mean": (4, 11 / 3), "krum": (2, 6)}
START = np.array([1000.0, -1000.0])


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
    rule = get_aggregation_rule(name, num_byzantine=1)
    return RuleAggregation(rule, min_train_nodes=5, min_available_nodes=5, fraction_evaluate=0.0, **options)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_global_model_moves_by_what_the_rule_makes_of_the_updates(name: str) -> None:
    state, result, _ = run(strategy_of(name))
    np.testing.assert_allclose(state - START, EXPECTED[name])
    assert result.arrays["count"].numpy() == 7, "counters stay as they are"
    assert result.train_metrics_clientapp[1]["accepted-replies"] == 5


@pytest.mark.parametrize("name", [*AGGREGATION_RULES, "bucketing+median", "nearest-neighbor-mixing+krum"])
def test_every_rule_gives_what_it_gives_alone(name: str) -> None:
    strategy = strategy_of(name, seed=3)
    state, _, _ = run(strategy)
    expected = strategy.rule.aggregate(STEPS, np.random.default_rng([3, 1]))  # in the order of partition ids
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
