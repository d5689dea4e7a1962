"""Every decoder against attackers who have read it: plain, selective, framing; all in this process.

The models that attackers can bring about are trained once (:mod:`flower_coded.learning.model_versions`). For
every decoder the attackers then choose, with that decoder, which of their models to poison, and the ensemble
that this gives is measured.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from flower_coded.clients.training import user_data
from flower_coded.codes import DECODER_NAMES
from flower_coded.experiment import Experiment
from flower_coded.learning import ModelVersions, initial_states, train_versions

ATTACKS = ("nobody", "plain", "selective", "framing")
_GOALS = {"selective": "label", "framing": "frame"}
_OWN_BELIEFS = {"decoder-attack-rate": -1.0, "decoder-success-rate": -1.0, "decoder-max-attackers": -1}


def has_versions(experiment: Experiment) -> bool:
    """Tell whether the attack is one that single models can be spared: a trigger, and no crafted update."""
    is_on_data = experiment.attack.row.acts_on == ("data",)
    return experiment.backdoor is not None and is_on_data and 1 <= len(experiment.attackers) <= 4


def trained_versions(experiment: Experiment) -> ModelVersions:
    """Train every version of every model of the experiment's code."""
    settings, data, code = experiment.settings, experiment.data, experiment.code

    def poisoned(user: int) -> Any:
        attack = experiment.attack.data_attack(data.image_shape, data.num_classes, user=user)
        draw = np.random.default_rng([experiment.seed, user, 0xDA7A])
        crafted = attack.craft(*user_data(settings, user, experiment.num_users), draw)
        return crafted.images, crafted.labels

    return train_versions(
        code,
        experiment.attackers,
        experiment.model(),
        initial_states(settings.model, data.image_shape, data.num_classes, code.num_models, experiment.seed),
        lambda user: user_data(settings, user, experiment.num_users),
        poisoned,
        num_rounds=experiment.num_rounds,
        train_options=settings.train_options,
        seed=experiment.seed,
    )


def measured_under_attack(experiment: Experiment, versions: ModelVersions) -> list[dict[str, Any]]:
    """Measure every decoder under every attack; one record each."""
    records = []
    for decoder in DECODER_NAMES:
        told = Experiment({**experiment.config, **_OWN_BELIEFS, "decoder": decoder})
        evaluator = told.evaluator(experiment.code)
        for attack in ATTACKS:
            models = chosen_models(told, attack)
            metrics = evaluator.evaluate(versions.ensemble(models)).metrics
            records.append(
                {
                    "attack": attack,
                    "decoder": decoder,
                    "accuracy": metrics["ensemble-accuracy"],
                    "majority's accuracy": metrics["majority-accuracy"],
                    "accuracy under attack": metrics["accuracy-under-attack"],
                    "attack success": metrics["attack-success-rate"],
                    "innocents named": metrics["framed-rate"],
                    "named": " ".join(map(str, cast(list[int], metrics.get("named-users", [])))),
                    "poisoned models": len(models),
                }
            )
    return records


def chosen_models(experiment: Experiment, attack: str) -> tuple[int, ...]:
    """Models that attackers poison who have the experiment's code and decoder before them."""
    code, attackers = experiment.code, experiment.attackers
    if attack == "nobody":
        return ()
    if attack == "plain":
        return tuple(int(model) for model in np.flatnonzero(code.reach(attackers)))
    return experiment.selective_models(_GOALS[attack])
