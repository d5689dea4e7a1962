"""Two of twelve users plant a backdoor in the digits: federated averaging learns it, the coded ensemble
does not.

``python -m pytest -m experiment tests/clients/test_backdoor_experiment.py -s`` prints the figures of
docs/clients.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg

from flower_coded.attacks import Backdoor
from flower_coded.clients import AttackSettings, ClientSettings, training_client_app
from flower_coded.codes import SubsetCode, backdoor_correction_code, confusion_counts, majority_vote
from flower_coded.learning import (
    CodedEnsemble,
    ModelState,
    build_model,
    initial_states,
    predict_labels,
    predict_stacked,
    set_state,
    unstack_states,
)
from flower_coded.strategies import CodedSubsetAggregation
from flower_coded.testing import InProcessGrid

pytestmark = pytest.mark.experiment

NUM_USERS, NUM_ROUNDS, ATTACKERS = 12, 20, "0,1"
CODE = backdoor_correction_code(4, 4, NUM_USERS, rows="paper")


def run_config(seed: int, attackers: str, **changes: Any) -> dict[str, Any]:
    return {
        "attack": "pixel-trigger",
        "attackers": attackers,
        "poison-rate": 0.2,
        "local-epochs": 2,
        "seed": seed,
        **changes,
    }


def train_federated(strategy: Any, states: ModelState, config: dict[str, Any]) -> ModelState:
    grid = InProcessGrid(training_client_app(), NUM_USERS, config)
    first = unstack_states(states)[0]
    start = ArrayRecord({key: Array(np.ascontiguousarray(value)) for key, value in first.items()})
    arrays = strategy.start(grid, start, num_rounds=NUM_ROUNDS, timeout=3600).arrays
    return {key: array.numpy() for key, array in arrays.items()}


def fedavg_triggered_accuracy(config: dict[str, Any]) -> tuple[float, float]:
    """Accuracy on clean and on triggered test images."""
    data = ClientSettings.from_config(config).load()
    strategy = FedAvg(min_train_nodes=NUM_USERS, min_available_nodes=NUM_USERS, fraction_evaluate=0.0)
    states = initial_states("small-cnn", data.image_shape, 10, 1, config["seed"])
    model = build_model("small-cnn", data.image_shape, 10)
    set_state(model, train_federated(strategy, states, config))
    images = (data.test_images, backdoor_of(config).trigger.apply(data.test_images))
    clean, triggered = (float((predict_labels(model, each) == data.test_labels).mean()) for each in images)
    return clean, triggered


def backdoor_of(config: dict[str, Any]) -> Backdoor:
    attack = AttackSettings.from_config(config, NUM_USERS).data_attack((1, 8, 8), 10)
    assert isinstance(attack, Backdoor)
    return attack


def coded_triggered_accuracy(code: SubsetCode, config: dict[str, Any]) -> tuple[float, float]:
    """Accuracy on triggered test images by the decoder and by majority vote; half of the images calibrate."""
    data = ClientSettings.from_config(config).load()
    states = initial_states("small-cnn", data.image_shape, 10, code.num_models, config["seed"])
    strategy = CodedSubsetAggregation(code, initial_states=states, stacked=True, fraction_evaluate=0.0)
    trained = train_federated(strategy, states, config)
    model, half = build_model("small-cnn", data.image_shape, 10), len(data.test_labels) // 2
    answers = predict_stacked(model, trained, data.test_images[:half])
    confusion = confusion_counts(answers, data.test_labels[:half], 10)
    ensemble = CodedEnsemble(code, trained, confusion, data.image_shape, "small-cnn")
    images, labels = backdoor_of(config).trigger.apply(data.test_images[half:]), data.test_labels[half:]
    votes = majority_vote(ensemble.predict_models(images), 10).labels
    return float((ensemble.predict(images) == labels).mean()), float((votes == labels).mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_federated_averaging_falls_and_the_coded_ensemble_keeps_its_accuracy(seed: int) -> None:
    clean, fedavg = fedavg_triggered_accuracy(run_config(seed, ATTACKERS))
    alone, _ = coded_triggered_accuracy(CODE, run_config(seed, ""))
    decoded, voted = coded_triggered_accuracy(CODE, run_config(seed, ATTACKERS))
    print(
        f"\nseed {seed}: FedAvg clean {clean:.3f}, triggered {fedavg:.3f}; BCC(4,4,12) triggered: "
        f"decoder {decoded:.3f} (without attackers {alone:.3f}), majority {voted:.3f}"
    )
    assert clean > 0.95
    assert fedavg < 0.2
    assert decoded > alone - 0.05
    assert voted < alone - 0.3


def test_gradient_descent_lets_a_backdoor_through_that_adam_washes_out() -> None:
    weak = {"poison-rate": 0.1, "local-epochs": 5}
    gradient_descent = fedavg_triggered_accuracy(run_config(0, ATTACKERS, **weak))
    adam = fedavg_triggered_accuracy(
        run_config(0, ATTACKERS, **weak, optimizer="adam", **{"learning-rate": 0.005})
    )
    print(f"\nFedAvg clean and triggered accuracy: SGD {gradient_descent}, Adam {adam}")
    assert adam[1] > gradient_descent[1] + 0.1
