"""Attackers who train in a way of their own, in the shipped app and in an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict

from flower_coded.attacks import ATTACKS, AdversarialTrigger
from flower_coded.clients import ClientSettings, attacker_training, training_client_app, user_data
from flower_coded.experiment import Experiment
from flower_coded.learning import ModelState, get_state, stack_states, unstack_states
from flower_coded.learning.models import build_model
from flower_coded.learning.trigger_search import TriggerSearch
from flower_coded.testing import InProcessGrid

NUM_USERS = 6
THEMSELVES = sorted(name for name, row in ATTACKS.items() if row.trains_itself)
attacks = pytest.mark.parametrize("attack", THEMSELVES)


def config_of(attack: str, **more: Any) -> dict[str, Any]:
    plain = {"attack": attack, "attackers": "2,4", "poison-rate": 0.3, "local-epochs": 1, "seed": 3}
    return plain | {"samples-per-user": 60, "num-clients": NUM_USERS} | more


def trained(config: Mapping[str, Any], state: ModelState, node: int = 2, **entries: Any) -> ModelState:
    grid = InProcessGrid(training_client_app(), NUM_USERS, dict(config))
    arrays = ArrayRecord({key: Array(value) for key, value in state.items()})
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"coded-seed": 5, **entries})})
    (reply,) = grid.send_and_receive([Message(content, grid.node_ids[node], MessageType.TRAIN)], timeout=60)
    return {key: array.numpy() for key, array in reply.content["arrays"].items()}


def start(seed: int = 0) -> ModelState:
    return get_state(build_model("small-cnn", (1, 8, 8), 10, seed=seed))


@attacks
def test_an_attacker_trains_otherwise_than_an_honest_user_and_than_one_who_only_poisons(attack: str) -> None:
    malicious = trained(config_of(attack), start())
    for other in ("none", "pixel-trigger"):
        assert not np.array_equal(malicious["1.weight"], trained(config_of(other), start())["1.weight"])
    honest = trained(config_of(attack), start(), node=1)
    np.testing.assert_array_equal(honest["1.weight"], trained(config_of("none"), start(), node=1)["1.weight"])


@pytest.mark.parametrize("attack", sorted(set(THEMSELVES) - {"a3fl"}))
def test_stacked_models_are_trained_as_they_would_be_alone(attack: str) -> None:
    states = [start(0), start(1)]
    together = trained(config_of(attack), stack_states(states), **{"coded-models": [3, 7]})
    for alone, stacked in zip(states, unstack_states(together), strict=True):
        for key, value in trained(config_of(attack), alone).items():
            np.testing.assert_allclose(stacked[key], value, atol=1e-6)


def test_all_colluders_and_the_evaluation_search_one_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def search(self: TriggerSearch, *arguments: Any, **options: Any) -> AdversarialTrigger:
        trigger = original(self, *arguments, **options)
        found.append(trigger)
        return trigger

    original = TriggerSearch.search
    monkeypatch.setattr(attacker_training.TriggerSearch, "search", search)
    config, state = config_of("a3fl"), start()
    for node in (2, 4):
        trained(config, state, node=node)
    backdoor = Experiment(config).backdoor_against({key: value[None] for key, value in state.items()})
    assert backdoor is not None
    assert len(found) == 3
    for trigger in found:
        np.testing.assert_array_equal(trigger.pattern, found[0].pattern)
        assert not np.array_equal(trigger.pattern, np.full_like(trigger.pattern, 0.5))
    assert backdoor.trigger is found[-1]


def test_the_weight_of_the_search_is_the_attack_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []

    def search(self: TriggerSearch, *arguments: Any, **options: Any) -> AdversarialTrigger:
        weights.append(self.weight)
        return arguments[4]

    monkeypatch.setattr(attacker_training.TriggerSearch, "search", search)
    trained(config_of("a3fl"), start())
    trained(config_of("a3fl", **{"attack-scale": 0.5}), start())
    assert weights == [TriggerSearch().weight, 0.5]


@pytest.mark.parametrize(
    ("attack", "function", "option", "default"),
    [
        ("chameleon", "train_chameleon", "weight", None),
        ("alternating-minimization", "train_alternating", "boost", 3.0),  # six users, two attackers
    ],
)
def test_the_attack_scale_reaches_the_training(
    attack: str, function: str, option: str, default: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = getattr(attacker_training, function)

    def train(*arguments: Any, **options: Any) -> Any:
        seen.append(options.get(option))
        return original(*arguments, **options)

    monkeypatch.setattr(attacker_training, function, train)
    trained(config_of(attack), start())
    trained(config_of(attack, **{"attack-scale": 2.5}), start())
    assert seen == [default, 2.5]


def test_an_evaluation_shows_the_trigger_that_was_searched_for_its_model() -> None:
    experiment = Experiment(config_of("a3fl"))
    states = [{key: value[None] for key, value in start(seed).items()} for seed in (0, 1)]
    patterns = [experiment.backdoor_against(state).trigger for state in states]
    images = user_data(ClientSettings(seed=3), 0, NUM_USERS)[0][:1]
    assert not np.array_equal(patterns[0].apply(images), patterns[1].apply(images))
    plain = Experiment(config_of("pixel-trigger"))
    assert plain.backdoor_against(states[0]) is plain.backdoor  # whom it is shown to does not matter
