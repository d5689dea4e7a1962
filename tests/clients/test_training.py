"""The shipped ClientApp: data, rounds, both paths, attacks, identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp

from flower_coded.attacks import ATTACKS
from flower_coded.clients import (
    AttackSettings,
    ClientSettings,
    attack_mod,
    identity_mod,
    register_identity,
    training_client_app,
    user_data,
)
from flower_coded.errors import ParameterError
from flower_coded.learning import ModelState, get_state, initial_states, stack_states, train, unstack_states
from flower_coded.learning.adversarial_training import AdversarialTraining
from flower_coded.learning.models import build_model
from flower_coded.strategies.federation import Federation
from flower_coded.strategies.participants import Participants
from flower_coded.testing import InProcessGrid

NUM_USERS = 12
CONFIG = {"local-epochs": 1, "seed": 3}


def participants_of(grid: InProcessGrid) -> Participants:
    federation = Federation(grid, num_participants=len(grid.node_ids), connect_timeout=5)
    federation.refresh()
    return federation.participants


def send(
    run_config: Mapping[str, Any],
    state: ModelState,
    *,
    node: int = 0,
    message_type: str = MessageType.TRAIN,
    **config: Any,
) -> Message:
    grid = InProcessGrid(training_client_app(), NUM_USERS, dict(run_config))
    arrays = ArrayRecord({key: Array(value) for key, value in state.items()})
    entries = {key.replace("_", "-"): value for key, value in config.items()}
    content = RecordDict({"arrays": arrays, "config": ConfigRecord(entries)})
    (reply,) = grid.send_and_receive([Message(content, grid.node_ids[node], message_type)], timeout=60)
    return reply


def state_of(reply: Message) -> ModelState:
    return {key: array.numpy() for key, array in reply.content["arrays"].items()}


ATTACKED = {"adversarial-training": "madry", "adversarial-epsilon": 0.1, "adversarial-steps": 2}


@pytest.fixture(scope="module")
def single() -> ModelState:
    return get_state(build_model("small-cnn", (1, 8, 8), 10, seed=1))


def test_a_round_trains_the_model_and_reports_its_examples(single: ModelState) -> None:
    reply = send(CONFIG, single, server_round=1)
    trained = state_of(reply)
    assert list(trained) == list(single)
    assert all(trained[key].shape == single[key].shape for key in single)
    assert all(trained[key].dtype == single[key].dtype for key in single)
    assert not np.array_equal(trained["1.weight"], single["1.weight"])
    assert reply.content["metrics"]["num-examples"] == 100
    assert reply.content["metrics"]["train-loss"] > 0


def test_a_round_depends_on_seed_partition_and_round_and_on_nothing_else(single: ModelState) -> None:
    def weights(node: int, server_round: int, seed: int = 3) -> np.ndarray:
        reply = send({**CONFIG, "seed": seed}, single, node=node, server_round=server_round)
        return state_of(reply)["1.weight"]

    first = weights(0, 1)
    np.testing.assert_array_equal(first, weights(0, 1))
    for other in (weights(1, 1), weights(0, 2), weights(0, 1, seed=4)):
        assert not np.array_equal(first, other)


def test_stacked_and_single_messages_train_the_same_models() -> None:
    states = initial_states("small-cnn", (1, 8, 8), 10, 3, seed=5)
    together = state_of(send(CONFIG, states, server_round=2, coded_models=[1, 4, 7], coded_seed=99))
    alone = stack_states(
        [
            state_of(send(CONFIG, state, server_round=2, coded_model=model, coded_seed=99))
            for model, state in zip((1, 4, 7), unstack_states(states), strict=True)
        ]
    )
    for key in alone:
        np.testing.assert_allclose(together[key], alone[key], rtol=1e-4, atol=1e-5)


def test_a_client_trains_on_attacked_images_where_the_configuration_says_so(single: ModelState) -> None:
    settings = ClientSettings.from_config(CONFIG)
    images, labels = user_data(settings, 0, NUM_USERS)
    trained = {}
    for method in ("none", "madry", "trades"):
        model = build_model("small-cnn", (1, 8, 8), 10, seed=1)
        adversarial = AdversarialTraining(method, epsilon=0.1, step_size=0.125, num_steps=2)
        train(model, images, labels, adversarial=adversarial, **settings.train_options(5))
        config = {**CONFIG, **ATTACKED, "adversarial-training": method}
        trained[method] = state_of(send(config, single, coded_seed=5))["1.weight"]
        np.testing.assert_allclose(trained[method], get_state(model)["1.weight"], atol=1e-6)
    assert not np.allclose(trained["madry"], trained["none"], atol=1e-4)
    assert not np.allclose(trained["madry"], trained["trades"], atol=1e-4)


def test_stacked_models_and_constrained_losses_are_not_trained_plainly_in_silence() -> None:
    states = initial_states("small-cnn", (1, 8, 8), 10, num_models=2)
    stacked = send({**CONFIG, **ATTACKED}, states, coded_models=[0, 1], coded_seed=5)
    liar = {"attack": "model-replacement", "attackers": "0,", "attack-constrain": 0.5}
    single = {key: array[0] for key, array in states.items()}
    constrained = send({**CONFIG, **ATTACKED, **liar}, single, coded_seed=5, server_round=1)
    for reply in (stacked, constrained):
        assert "adversarial-training must be none" in reply.error.reason


def test_evaluation_measures_the_users_share_of_the_test_images(single: ModelState) -> None:
    reply = send(CONFIG, single, message_type=MessageType.EVALUATE)
    assert reply.content["metrics"]["num-examples"] == 597 // NUM_USERS
    assert 0 <= reply.content["metrics"]["eval-acc"] <= 1


def test_stacked_evaluation_is_the_mean_over_models(single: ModelState) -> None:
    other = initial_states("small-cnn", (1, 8, 8), 10, 1, seed=8)
    pair = stack_states([single, unstack_states(other)[0]])

    def accuracy(state: ModelState, **config: Any) -> float:
        reply = send(CONFIG, state, message_type=MessageType.EVALUATE, **config)
        return float(reply.content["metrics"]["eval-acc"])

    expected = (accuracy(single) + accuracy(unstack_states(other)[0])) / 2
    assert accuracy(pair, coded_models=[0, 1]) == pytest.approx(expected)


def test_users_share_no_image_and_agree_across_processes() -> None:
    settings = ClientSettings()
    parts = [user_data(settings, user, NUM_USERS) for user in range(NUM_USERS)]
    rows = np.concatenate([images.reshape(100, -1) for images, _ in parts])
    assert len(rows) == 1200
    again, _ = user_data(ClientSettings(), 4, NUM_USERS)
    np.testing.assert_array_equal(parts[4][0], again)


def test_a_poisoner_trains_on_other_data_from_its_round_on(single: ModelState) -> None:
    attack = {
        **CONFIG,
        "attack": "pixel-trigger",
        "attackers": "2,",
        "poison-rate": 0.3,
        "attack-from-round": 2,
    }

    def weights(config: Mapping[str, Any], node: int, server_round: int) -> np.ndarray:
        return state_of(send(config, single, node=node, server_round=server_round))["1.weight"]

    np.testing.assert_array_equal(weights(attack, 2, 1), weights(CONFIG, 2, 1))
    np.testing.assert_array_equal(weights(attack, 3, 2), weights(CONFIG, 3, 2))
    assert not np.array_equal(weights(attack, 2, 2), weights(CONFIG, 2, 2))


def test_the_shipped_app_sends_crafted_updates(single: ModelState) -> None:
    honest = state_of(send(CONFIG, single, node=1, server_round=1))
    flipped = state_of(
        send({**CONFIG, "attack": "sign-flip", "attackers": "1,"}, single, node=1, server_round=1)
    )
    for key in single:
        np.testing.assert_allclose(flipped[key] - single[key], single[key] - honest[key], atol=1e-6)


def test_colluders_of_the_shipped_app_send_one_vector(single: ModelState) -> None:
    config = {**CONFIG, "attack": "inner-product", "attackers": "1,5"}
    first, second = (state_of(send(config, single, node=node, server_round=1)) for node in (1, 5))
    for key in single:
        np.testing.assert_array_equal(first[key], second[key])


SILENT = {"silence", "exception", "no-reply"}


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - SILENT))
@pytest.mark.parametrize("stacked", [False, True])
def test_the_shipped_app_replies_under_every_attack(single: ModelState, attack: str, stacked: bool) -> None:
    config = {**CONFIG, "attack": attack, "attackers": "0,1,2,3", "samples-per-user": 40}
    config |= {"attack-scale": 0.01} if attack == "late" else {}
    states = initial_states("small-cnn", (1, 8, 8), 10, 2, seed=5)
    options = {"coded_models": [4, 9]} if stacked else {}
    reply = send(config, states if stacked else single, node=1, server_round=2, **options)
    assert not reply.has_error()
    assert reply.content.array_records


def test_a_replaced_model_is_the_poisoned_one_boosted(single: ModelState) -> None:
    config = {**CONFIG, "attackers": "2,", "poison-rate": 0.3}
    poisoned = state_of(send({**config, "attack": "pixel-trigger"}, single, node=2, server_round=1))
    boosted = state_of(send({**config, "attack": "model-replacement"}, single, node=2, server_round=1))
    for key in single:  # gamma = n / m = 12
        np.testing.assert_allclose(
            boosted[key] - single[key], 12 * (poisoned[key] - single[key]), rtol=1e-3, atol=1e-4
        )


def test_a_constrained_attacker_stays_nearer_to_the_global_model(single: ModelState) -> None:
    def moved(constrain: float) -> float:
        config = {**CONFIG, "attack": "model-replacement", "attackers": "2,", "attack-scale": 1.0}
        state = state_of(send({**config, "attack-constrain": constrain}, single, node=2, server_round=1))
        return float(sum(((state[key] - single[key]) ** 2).sum() for key in single))

    assert moved(0.5) < 0.7 * moved(1.0)


def test_stacked_models_cannot_be_constrained() -> None:
    states = initial_states("small-cnn", (1, 8, 8), 10, 2, seed=5)
    config = {**CONFIG, "attack": "model-replacement", "attackers": "2,", "attack-constrain": 0.5}
    reply = send(config, states, node=2, server_round=1, coded_models=[1, 2])
    assert "attack-constrain" in str(reply.error.reason)


@pytest.mark.parametrize(
    ("run_config", "named"),
    [
        ({"dataset": "digit"}, "one of digits"),
        ({"model": "cnn"}, "one of small-cnn"),
        ({"optimizer": "adma"}, "did you mean 'adam'"),
        ({"device": "gpu"}, "cpu, cuda"),
        ({"local-epochs": 0}, "local-epochs"),
        ({"samples-per-user": 101}, "samples_per_user"),
        ({"alpha": "many"}, "alpha"),
    ],
)
def test_mistakes_in_the_run_configuration_are_named(
    single: ModelState, run_config: dict[str, Any], named: str
) -> None:
    reply = send(run_config, single)
    assert named in str(reply.error.reason)


def test_nodes_answer_the_roster_query() -> None:
    grid = InProcessGrid(training_client_app(), 5)
    assert list(participants_of(grid).nodes.values()) == grid.node_ids


def test_identity_can_be_added_to_any_app() -> None:
    grid = InProcessGrid(register_identity(ClientApp()), 4)
    assert participants_of(grid).order == "partition id"


def test_identity_mod_answers_for_apps_made_with_client_fn() -> None:
    def client_fn(context: Context) -> Any:
        raise AssertionError("the roster query must not reach the client")

    grid = InProcessGrid(ClientApp(client_fn=client_fn, mods=[identity_mod]), 3)
    assert participants_of(grid).order == "partition id"


def test_a_node_that_does_not_know_its_partition_is_told_how_to() -> None:
    app = ClientApp(mods=[attack_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid(app, 1)
    context = grid.contexts[0]
    context.node_config = {}
    with pytest.raises(ParameterError, match="--node-config"):
        app(Message(RecordDict(), grid.node_ids[0], MessageType.TRAIN), context)


def test_every_model_of_a_stack_is_poisoned_with_its_own_trigger() -> None:
    stacked = initial_states("small-cnn", (1, 8, 8), 10, num_models=3, seed=1)
    entries = {"server_round": 1, "coded_seed": 5}
    config = {**CONFIG, "attack": "model-triggers", "attackers": "0,", "poison-rate": 0.5}
    together = state_of(
        send({**config, "attack-models": "4:0,9:1"}, stacked, **entries, coded_models=[4, 7, 9])
    )
    alone = {"4:0": 4, "5:0": 7, "9:1": 9}
    for place, (planned, model) in enumerate(alone.items()):
        state = {key: values[place] for key, values in stacked.items()}
        one = state_of(send({**config, "attack-models": planned}, state, **entries, coded_model=model))
        for key, values in one.items():
            np.testing.assert_allclose(together[key][place], values, atol=1e-5)
    state = {key: values[2] for key, values in stacked.items()}
    other = state_of(send({**config, "attack-models": "9:0"}, state, **entries, coded_model=9))
    assert not np.allclose(other["1.weight"], together["1.weight"][2], atol=1e-4)


def test_selective_attackers_poison_the_models_they_chose_and_train_the_others_honestly() -> None:
    stacked = initial_states("small-cnn", (1, 8, 8), 10, num_models=2, seed=1)
    entries = {"server_round": 1, "coded_seed": 5, "coded_models": [4, 9]}
    selective = {**CONFIG, "attack": "selective-trigger", "attackers": "0,", "poison-rate": 0.5}

    def trained(run_config: Mapping[str, Any]) -> ModelState:
        return state_of(send(run_config, stacked, **entries))

    honest, plain = trained(CONFIG), trained(selective)
    chosen = trained({**selective, "attack-models": "9"})
    spared = trained({**selective, "attack-models": "2,3"})
    for key in stacked:
        np.testing.assert_allclose(chosen[key][0], honest[key][0], atol=1e-6)
        np.testing.assert_allclose(chosen[key][1], plain[key][1], atol=1e-6)
        np.testing.assert_allclose(spared[key], honest[key], atol=1e-6)
    assert not np.allclose(honest["1.weight"], plain["1.weight"], atol=1e-4)
    with pytest.raises(ParameterError, match="attack-models must list"):
        AttackSettings.from_config({**selective, "attack-models": "all"}, NUM_USERS)
