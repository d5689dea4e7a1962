"""Coded subset aggregation: who gets which model, what is averaged, and the same seed is the same run."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Result
from toy_client_apps import echoing_app, moving_app

from flower_coded.codes import SubsetCode, backdoor_correction_code, partition_code
from flower_coded.errors import NodesMissingError, ParameterError
from flower_coded.strategies import CodedSubsetAggregation
from flower_coded.strategies.coded_subset import decoded_evaluate_fn
from flower_coded.testing import InProcessGrid
from flower_coded.wire.keys import (
    MODEL_KEY,
    MODELS_KEY,
    SEED_KEY,
    SERVER_ROUND_KEY,
    USER_KEY,
)

CODE = SubsetCode(np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1]], dtype=bool))  # 3 models, 4 users
START = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array(0)}


def record(state: dict[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(each) for name, each in state.items()})


def weighted_step(code: SubsetCode, model: int, without: tuple[int, ...] = ()) -> float:
    """What ``adding_app``'s users move a model by: steps j + 1 weighted by 10 (j + 1)."""
    steps = [user + 1 for user in code.users_of(model).tolist() if user not in without]
    return sum(step * step for step in steps) / sum(steps)


def run(
    app: ClientApp,
    *,
    num_rounds: int = 1,
    grid_options: dict[str, Any] | None = None,
    start: dict[str, np.ndarray] | None = None,
    config: ConfigRecord | None = None,
    **options: Any,
) -> tuple[CodedSubsetAggregation, Result, InProcessGrid]:
    code = options.pop("code", CODE)
    strategy = CodedSubsetAggregation(code, **options)
    grid = InProcessGrid(app, code.num_users, **(grid_options or {}))
    result = strategy.start(grid, record(start or START), num_rounds, timeout=30, train_config=config)
    return strategy, result, grid


def received_app(seen: list[dict[str, Any]]) -> ClientApp:
    """Note every train config, return the arrays as they came."""

    def note(message: Message, context: Context) -> None:
        shapes = {name: array.shape for name, array in message.content["arrays"].items()}
        seen.append({**message.content["config"], "node": context.node_id, "shapes": shapes})

    return echoing_app(note)


def test_every_model_is_averaged_over_its_own_users(adding_app: ClientApp) -> None:
    _, result, _ = run(adding_app, num_rounds=2)
    for model in range(CODE.num_models):
        expected = START["w"] + 2 * weighted_step(CODE, model)
        np.testing.assert_allclose(result.arrays["w"].numpy()[model], expected, rtol=1e-6)
    assert result.arrays["w"].dtype == "float32"
    assert result.arrays["w"].shape == (3, 2, 3)
    assert result.arrays["steps"].dtype == str(START["steps"].dtype)


def test_users_get_one_message_per_model_that_accepts_them(adding_app: ClientApp) -> None:
    _, _, grid = run(adding_app, fraction_evaluate=0.0)
    train = [(each.partition_id, each.group_id) for each in grid.traffic if each.message_type == "train"]
    assert train == [(0, "1"), (0, "1"), (1, "1"), (1, "1"), (2, "1"), (3, "1")]


def test_stacked_users_get_one_message_with_all_their_models(adding_app: ClientApp) -> None:
    seen: list[dict[str, Any]] = []
    _, _, grid = run(received_app(seen), stacked=True, fraction_evaluate=0.0)
    assert [each.group_id for each in grid.traffic if each.message_type == "train"] == ["1"] * 4
    assert sorted(len(each[MODELS_KEY]) for each in seen) == [1, 1, 2, 2]
    assert all(each["shapes"]["w"] == (len(each[MODELS_KEY]), 2, 3) for each in seen)
    assert all(MODEL_KEY not in each for each in seen)


def test_stacked_and_single_messages_give_the_same_models(adding_app: ClientApp) -> None:
    _, single, _ = run(adding_app, num_rounds=2)
    strategy, stacked, _ = run(adding_app, num_rounds=2, stacked=True)
    np.testing.assert_array_equal(single.arrays["w"].numpy(), stacked.arrays["w"].numpy())
    trained = [each for each in strategy.history if each.stage == "train"]
    assert trained[-1].assignments == ((0, None), (1, None), (2, None), (3, None))


def test_messages_carry_round_user_model_and_a_seed_that_all_models_of_a_user_share() -> None:
    seen: list[dict[str, Any]] = []
    run(received_app(seen), num_rounds=2, fraction_evaluate=0.0, config=ConfigRecord({"lr": 0.1}))
    assert all(each["lr"] == 0.1 for each in seen)
    asked = {(each[SERVER_ROUND_KEY], each[USER_KEY], each[MODEL_KEY]) for each in seen}
    assert len(asked) == len(seen) == 12
    seeds: dict[tuple[int, int], set[int]] = {}
    for each in seen:
        seeds.setdefault((each[SERVER_ROUND_KEY], each[USER_KEY]), set()).add(each[SEED_KEY])
    assert all(len(each) == 1 for each in seeds.values())
    assert len(set.union(*seeds.values())) == 8, "another seed for every user and round"
    assert all(0 <= seed < 2**32 for each in seeds.values() for seed in each)


@pytest.mark.parametrize("stacked", [False, True])
def test_nobody_is_told_which_models_it_trains_but_recognizes_them(stacked: bool) -> None:
    seen: list[dict[str, Any]] = []
    run(received_app(seen), num_rounds=2, fraction_evaluate=0.0, stacked=stacked)
    told: dict[tuple[int, int], list[Any]] = {}
    for each in seen:
        labels = each[MODELS_KEY] if stacked else [each[MODEL_KEY]]
        told.setdefault((each[SERVER_ROUND_KEY], each[USER_KEY]), []).extend(labels)
    for user in range(4):
        assert told[1, user] == told[2, user], "the same labels in the same order"
        assert all(isinstance(label, str) for label in told[1, user])
    labels = [label for user in range(4) for label in told[1, user]]
    assert len(set(labels)) == CODE.matrix.sum(), "two users have no label in common"


@pytest.mark.parametrize("stacked", [False, True])
def test_models_come_in_an_order_of_the_servers_own(stacked: bool) -> None:
    many = SubsetCode(np.ones((12, 2), dtype=bool))
    start = {"w": np.arange(12, dtype=np.float32)[:, None, None] * np.ones((12, 1, 1), np.float32)}
    for tell_models in (False, True):
        orders: dict[int, list[float]] = {}
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context, orders: Any = orders) -> Message:
            values = message.content["arrays"]["w"].numpy()[..., 0, 0] if stacked else [0.0]
            if not stacked:
                values = message.content["arrays"]["w"].numpy().ravel()
            orders.setdefault(message.content["config"][USER_KEY], []).extend(map(float, values))
            metrics = MetricRecord({"num-examples": 1})
            content = RecordDict({"arrays": message.content["arrays"], "metrics": metrics})
            return Message(content, reply_to=message)

        options = {"code": many, "stacked": stacked, "tell_models": tell_models, "initial_arrays": "stacked"}
        _, result, _ = run(app, start=start, fraction_evaluate=0.0, **options)
        np.testing.assert_array_equal(result.arrays["w"].numpy(), start["w"])
        assert all(sorted(order) == list(range(12)) for order in orders.values())
        in_order = [order == list(range(12)) for order in orders.values()]
        assert all(in_order) if tell_models else not all(in_order), "chance: 1 in (12!)^2"


def test_one_model_to_start_from_is_copied_to_all() -> None:
    strategy, result, _ = run(received_app([]))
    for model in range(3):
        np.testing.assert_array_equal(result.arrays["w"].numpy()[model], START["w"])
    assert strategy.history[0].unchanged_models == ()


def test_a_run_can_start_from_the_stacked_result_of_another(adding_app: ClientApp) -> None:
    _, whole, _ = run(adding_app, num_rounds=3)
    _, first, _ = run(adding_app, num_rounds=2)
    state = {name: each.numpy() for name, each in first.arrays.items()}
    _, second, _ = run(adding_app, num_rounds=1, start=state)
    np.testing.assert_allclose(second.arrays["w"].numpy(), whole.arrays["w"].numpy(), rtol=1e-6)


def test_models_may_start_from_initializations_of_their_own() -> None:
    own = {"w": np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float32), "steps": np.zeros(3, int)}
    _, result, _ = run(received_app([]), initial_states=own)
    np.testing.assert_array_equal(result.arrays["w"].numpy(), own["w"])


def test_a_boaster_counts_as_a_few_ordinary_users() -> None:
    """Users 0, 1 share model 0. Claims 10, 1e11, 10, 10: median 10, so user 1 counts 3 * 10, not 1e11."""
    app = moving_app(
        lambda me, arrays, message: {"w": np.array([float(me)])},
        metrics=lambda me: {"num-examples": 1e11 if me == 1 else 10},
    )
    options: dict[str, Any] = {"code": partition_code(2, 4), "max_claim_ratio": 3, "fraction_evaluate": 0.0}
    code = options["code"]
    _, result, _ = run(app, start={"w": np.zeros(1)}, **options)
    [model] = code.models_of(1).tolist()
    [other] = [user for user in code.users_of(model).tolist() if user != 1]
    assert result.arrays["w"].numpy()[model] == pytest.approx((30 * 1 + 10 * other) / 40)


def test_a_model_nobody_answered_for_keeps_its_state(adding_app: ClientApp) -> None:
    def lost(partition_id: int, message: Message) -> bool:
        return message.metadata.message_type == "train" and partition_id in (1, 2)

    strategy, result, _ = run(adding_app, grid_options={"drop": lost})
    np.testing.assert_array_equal(result.arrays["w"].numpy()[1], START["w"])
    assert strategy.history[0].unchanged_models == (1,)
    assert result.train_metrics_clientapp[1]["unchanged-models"] == [1]
    assert result.train_metrics_clientapp[1]["rejected-participants"] == [1, 2]


def test_a_round_without_any_reply_changes_nothing_and_the_next_one_works(adding_app: ClientApp) -> None:
    def lost(partition_id: int, message: Message) -> bool:
        return message.metadata.group_id == "1" and message.metadata.message_type == "train"

    strategy, result, _ = run(adding_app, num_rounds=2, grid_options={"drop": lost})
    assert strategy.history[0].accepted == ()
    assert result.train_metrics_clientapp[1]["rejected-no-reply"] == 6
    for model in range(3):
        expected = START["w"] + weighted_step(CODE, model)
        np.testing.assert_allclose(result.arrays["w"].numpy()[model], expected, rtol=1e-6)


def test_a_fraction_of_the_users_is_drawn_from_the_seed(adding_app: ClientApp) -> None:
    options: dict[str, Any] = {"fraction_train": 0.5, "num_rounds": 6, "fraction_evaluate": 0.0}
    first, _, _ = run(adding_app, seed=1, **options)
    again, _, _ = run(adding_app, seed=1, **options)
    other, _, _ = run(adding_app, seed=2, **options)
    chosen = [set(each.accepted) for each in first.history]
    assert all(len(each) == 2 for each in chosen)
    assert len({frozenset(each) for each in chosen}) > 1
    assert [each.accepted for each in first.history] == [each.accepted for each in again.history]
    assert [each.accepted for each in first.history] != [each.accepted for each in other.history]


def test_evaluation_is_averaged_over_users_and_models(adding_app: ClientApp) -> None:
    """Users 1..4 with steps 1, 2, 3, 4 appear 2, 2, 1, 1 times, weight 10 step, accuracy step / 10."""
    _, result, _ = run(adding_app)
    metrics = result.evaluate_metrics_clientapp[1]
    pairs = [(1, 2), (2, 2), (3, 1), (4, 1)]
    total = sum(step * times for step, times in pairs)
    expected = sum(step * times * step / 10 for step, times in pairs) / total
    assert metrics["accuracy"] == pytest.approx(expected)
    assert (metrics["accepted-replies"], metrics["rejected-replies"]) == (6, 0)


def test_evaluate_fn_gets_an_ensemble_in_every_round_and_an_adapter_decodes_it(adding_app: ClientApp) -> None:
    shapes: list[tuple[int, ...]] = []

    def note(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        shapes.append(arrays["w"].shape)
        return MetricRecord({"round": server_round})

    strategy = CodedSubsetAggregation(CODE, fraction_evaluate=0.0)
    grid = InProcessGrid(adding_app, 4)
    result = strategy.start(grid, record(START), num_rounds=2, evaluate_fn=note)
    assert shapes == [(3, 2, 3)] * 3
    assert list(result.evaluate_metrics_serverapp) == [0, 1, 2]
    evaluator = SimpleNamespace(
        evaluate=lambda states: SimpleNamespace(metrics={"largest": float(states["w"].max())})
    )
    evaluate_fn = decoded_evaluate_fn(evaluator)  # type: ignore[arg-type]
    result = strategy.start(grid, record(START), num_rounds=1, evaluate_fn=evaluate_fn)
    assert result.evaluate_metrics_serverapp[0]["largest"] == START["w"].max()
    assert result.evaluate_metrics_serverapp[1]["largest"] > START["w"].max()


def test_a_linear_model_with_as_many_classes_as_there_are_models_is_one_model() -> None:
    linear = {"weight": np.ones((3, 5), np.float32), "bias": np.zeros(3, np.float32)}
    _, result, _ = run(received_app([]), start=linear, fraction_evaluate=0.0)
    assert result.arrays["weight"].shape == (3, 3, 5)
    ensemble = {"weight": np.ones((3, 5), np.float32), "bias": np.zeros(3, np.float32)}
    _, result, _ = run(received_app([]), start=ensemble, initial_arrays="stacked", fraction_evaluate=0.0)
    assert result.arrays["weight"].shape == (3, 5)


def test_integers_and_half_precision_keep_their_types(adding_app: ClientApp) -> None:
    start = {"w": np.ones((2, 2), np.float16), "n": np.array(3), "t": np.array(0.5), "b": np.uint8([250, 1])}
    for stacked in (False, True):
        _, result, _ = run(adding_app, start=start, stacked=stacked, num_rounds=2, fraction_evaluate=0.0)
        assert {k: v.dtype for k, v in result.arrays.items()} == {k: str(v.dtype) for k, v in start.items()}
        assert {k: v.shape[1:] for k, v in result.arrays.items()} == {k: v.shape for k, v in start.items()}
        assert result.arrays["n"].numpy()[0] > 3


def test_a_user_without_examples_has_its_place_and_no_weight(adding_app: ClientApp) -> None:
    def tamper(user: int, reply: Message) -> Message:
        if user == 1 and reply.metadata.message_type == "train":
            reply.content["metrics"]["num-examples"] = 0
        return reply

    strategy, result, _ = run(adding_app, grid_options={"tamper": tamper}, fraction_evaluate=0.0)
    expected = START["w"] + weighted_step(CODE, 0, without=(1,))
    np.testing.assert_allclose(result.arrays["w"].numpy()[0], expected, rtol=1e-6)
    assert strategy.history[0].rejected == ()


def test_no_training_and_no_evaluation_send_nothing(adding_app: ClientApp) -> None:
    strategy, result, grid = run(adding_app, fraction_train=0.0, fraction_evaluate=0.0)
    assert grid.traffic == []
    assert strategy.history == []
    assert not result.train_metrics_clientapp


def digest(result: Result) -> str:
    return hashlib.sha256(b"".join(each.data for each in result.arrays.values())).hexdigest()


@pytest.mark.parametrize("stacked", [False, True])
def test_the_order_of_replies_and_nodes_does_not_show_in_a_single_bit(stacked: bool) -> None:
    """Sums of very different floats: another order of summation would show in the last bits."""

    def move(me: int, arrays: dict[str, np.ndarray], message: Message) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(message.content["config"][SEED_KEY])
        return {
            name: array + generator.normal(size=array.shape) * 10.0 ** generator.integers(-6, 6)
            for name, array in arrays.items()
        }

    app = moving_app(move, metrics=lambda me: {"num-examples": 1 + 37 * me % 50})
    options: dict[str, Any] = {
        "code": backdoor_correction_code(2, 2, 6),
        "start": {"w": np.zeros(50)},
        "num_rounds": 2,
        "fraction_train": 0.7,
        "fraction_evaluate": 0.0,
        "stacked": stacked,
    }
    digests = {
        digest(run(app, grid_options={"order": order, "seed": seed}, seed=5, **options)[1])
        for order, seed in [("sent", 0), ("reversed", 1), ("shuffled", 2), ("shuffled", 3)]
    }
    assert len(digests) == 1
    assert digest(run(app, seed=6, **options)[1]) not in digests


def test_nodes_that_join_late_are_waited_for(adding_app: ClientApp) -> None:
    class LateGrid(InProcessGrid):
        looks = 0

        def get_node_ids(self) -> list[int]:
            self.looks += 1
            return self.node_ids[: self.looks]

    grid = LateGrid(adding_app, 4)
    strategy = CodedSubsetAggregation(CODE, fraction_evaluate=0.0, connect_timeout=30)
    strategy.start(grid, record(START), num_rounds=1)
    assert len(strategy.history[0].assignments) == 6


def test_a_federation_that_stays_too_small_is_an_error_not_a_hang(adding_app: ClientApp) -> None:
    strategy = CodedSubsetAggregation(CODE, connect_timeout=0.05)
    with pytest.raises(NodesMissingError, match="3 of 4 nodes"):
        strategy.start(InProcessGrid(adding_app, 3), record(START), num_rounds=1)


def test_a_second_run_on_another_grid_gets_participants_of_its_own(adding_app: ClientApp) -> None:
    strategy = CodedSubsetAggregation(CODE, fraction_evaluate=0.0)
    for seed in (0, 1):
        grid = InProcessGrid(adding_app, 4, seed=seed)
        result = strategy.start(grid, record(START), num_rounds=1)
        assert strategy.federation is not None
        assert list(strategy.federation.participants.nodes.values()) == grid.node_ids
        assert len(strategy.history) == 1
        assert result.train_metrics_clientapp[1]["rejected-replies"] == 0
        expected = START["w"] + weighted_step(CODE, 0)
        np.testing.assert_allclose(result.arrays["w"].numpy()[0], expected, rtol=1e-6)


def test_flowers_own_options_are_passed_on() -> None:
    def count(contents: list[RecordDict], weighted_by_key: str) -> MetricRecord:
        return MetricRecord({"replies": len(contents)})

    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        assert "settings" in message.content
        metrics = MetricRecord({"samples": 1})
        return Message(RecordDict({"m": message.content["model"], "x": metrics}), reply_to=message)

    _, result, _ = run(
        app,
        arrayrecord_key="model",
        configrecord_key="settings",
        weighted_by_key="samples",
        train_metrics_aggr_fn=count,
        fraction_evaluate=0.0,
    )
    assert result.train_metrics_clientapp[1]["replies"] == 6
    assert result.train_metrics_clientapp[1]["rejected-replies"] == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("code", {"code": np.eye(3, dtype=bool)}),
        ("initial_arrays", {"initial_arrays": "both"}),
        ("evaluate_every", {"evaluate_every": 0}),
        ("seed", {"seed": -1}),
        ("max_claim_ratio", {"max_claim_ratio": 0.5}),
        ("max_claim_ratio", {"max_claim_ratio": float("nan")}),
        ("connect_timeout", {"connect_timeout": -1.0}),
    ],
)
def test_bad_parameters_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=f"^{name} must"):
        CodedSubsetAggregation(**{"code": CODE} | options)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="fraction_trian"):
        CodedSubsetAggregation(CODE, fraction_trian=1.0)


@pytest.mark.parametrize("stacked", [False, True])
def test_cyclic_training_visits_one_user_of_every_model_a_round(adding_app: ClientApp, stacked: bool) -> None:
    """After as many rounds as a model has users it has visited each once, and nothing was averaged."""
    options = {"stacked": stacked, "cyclic": True, "fraction_evaluate": 0.0}
    strategy, result, _ = run(adding_app, num_rounds=2, **options)
    for model in range(CODE.num_models):
        users = CODE.users_of(model).tolist()
        visited = [users[(round_ + model) % len(users)] for round_ in range(2)]
        steps = sum(weighted_step(CODE, model, without=tuple(set(range(4)) - {user})) for user in visited)
        np.testing.assert_allclose(result.arrays["w"].numpy()[model], START["w"] + steps, rtol=1e-6)
    assert all(not record.unchanged_models for record in strategy.history)
    if not stacked:
        assert [len(record.assignments) for record in strategy.history] == [CODE.num_models] * 2
