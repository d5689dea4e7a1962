"""Train as the paper does: each model on its users' batches in turn, in this process, without averaging.

A model depends on its users and on which of them poison, so one trained for two attackers serves wherever
it is the same: a model without attackers is trained once for all numbers of them. Every model is kept in
a file as it is done; a comparison that is stopped goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import numpy as np

from flower_coded.clients import AttackSettings
from flower_coded.clients.client_settings import user_data
from flower_coded.experiment import Experiment
from flower_coded.learning import ModelState, build_model, get_state
from flower_coded.learning.in_turn import Samples, train_in_turn
from flower_coded.learning.models import stack_states
from flower_coded.learning.training import TrainSettings


def train_ensemble_in_turn(experiment: Experiment, kept: Path) -> ModelState:
    """Train every model of the experiment's code, or read it where it was trained before."""
    return stack_states([_model(experiment, row, kept) for row in range(experiment.code.num_models)])


def samples_of(experiment: Experiment, user: int) -> Samples:
    """One user's images and labels, poisoned where the user attacks."""
    images, labels = user_data(experiment.settings, user, experiment.num_users)
    if user not in experiment.attackers:
        return images, labels
    attack: AttackSettings = experiment.attack
    crafting = attack.data_attack(experiment.data.image_shape, experiment.data.num_classes, user=user)
    poisoned = crafting.craft(images, labels, np.random.default_rng([attack.seed, user, 0xDA7A]))
    return poisoned.images, poisoned.labels


def _model(experiment: Experiment, row: int, kept: Path) -> ModelState:
    users = experiment.code.users_of(row).tolist()
    attackers = [user for user in users if user in experiment.attackers]
    settings, data = experiment.settings, experiment.data
    epochs = experiment.num_rounds * settings.local_epochs
    seed = int(np.random.default_rng([experiment.seed, *users]).integers(2**31))
    described = {
        **{key: value for key, value in experiment.config.items() if key in _MATTERS},
        **(
            {key: value for key, value in experiment.config.items() if key in _OF_ATTACKS}
            if attackers
            else {}
        ),
        "users": users,
        "attackers": attackers,
        # The share of a trigger that is spread over attackers depends on how many there are.
        "colluders": len(experiment.attackers) if "distributed" in str(experiment.config["attack"]) else 0,
    }
    digest = hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=12).hexdigest()
    path = kept / f"{digest}.npz"
    if path.exists():
        with np.load(path) as stored:
            return dict(stored)
    model = build_model(settings.model, data.image_shape, data.num_classes, seed=seed)
    train_in_turn(
        model,
        [samples_of(experiment, user) for user in users],
        settings=TrainSettings(
            epochs,
            settings.batch_size,
            settings.learning_rate,
            settings.weight_decay,
            seed,
            settings.optimizer,
        ),
        device=settings.device,
    )
    state = get_state(model)
    kept.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **cast(dict[str, Any], state))
    part.replace(path)  # a model is there whole or not at all
    return state


_MATTERS = [
    "dataset",
    "data-directory",
    "model",
    "partition",
    "alpha",
    "pieces-per-user",
    "samples-per-user",
    "local-epochs",
    "batch-size",
    "optimizer",
    "learning-rate",
    "weight-decay",
    "num-clients",
    "num-server-rounds",
    "seed",
]
_OF_ATTACKS = ["attack", "attack-target", "poison-rate", "attack-scale"]
