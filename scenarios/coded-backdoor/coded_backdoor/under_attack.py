"""Every decoder against attackers who have read it; all in this process.

The models that attackers can bring about are trained once (:mod:`flower_coded.learning.model_versions`). For
every decoder the attackers then choose, with that decoder, which of their models to poison and with which of
their triggers, and the ensemble that this gives is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from coded_backdoor.experiment import Config
from flower_coded.clients.client_settings import user_data
from flower_coded.codes import DECODER_NAMES
from flower_coded.experiment import Experiment
from flower_coded.learning import ModelVersions, initial_states, train_versions

ATTACKS = (
    "nobody",
    "plain",
    "few images",
    "one image",
    "selective",
    "framing",
    "model triggers",
    "two groups",
)
"""Plain attackers poison every model they belong to, and show their trigger on many images, on few, or on
each as if there were no other; selective and framing ones choose the models; with model triggers they also
choose one of two triggers for each; two groups have a trigger and a target each, and know nothing of each
other."""

FEW_IMAGES = 10
_GOALS = {"selective": "label", "framing": "frame", "model triggers": "label"}
_OTHER_ATTACKS = {"model triggers": "model-triggers", "two groups": "independent-groups"}
_OWN_BELIEFS = {"decoder-attack-rate": -1.0, "decoder-success-rate": -1.0, "decoder-max-attackers": -1}
_COMMON, _SECOND, _OF_GROUP = 1, 2, 3  # ways to poison a model


def has_versions(experiment: Experiment) -> bool:
    """Tell whether the attack is one that single models can be spared: a trigger, and no crafted update."""
    row = experiment.attack.row
    is_plain = row.acts_on == ("data",) and not row.backdoors_by
    return experiment.backdoor is not None and is_plain and bool(experiment.attackers)


def trained_versions(experiment: Experiment) -> ModelVersions:
    """Train every version of every model: honest, with either trigger, with that of the attacker's group."""
    settings, data, code = experiment.settings, experiment.data, experiment.code
    ways: list[Callable[[int], Any]] = [partial(_poisoned, experiment)]
    if _has_other_attacks(experiment):
        by_model, by_group = (_as(experiment, attack) for attack in _OTHER_ATTACKS)
        ways += [partial(_poisoned, by_model, backdoor=1), partial(_poisoned, by_group)]
    return train_versions(
        code,
        experiment.attackers,
        experiment.model(),
        initial_states(settings.model, data.image_shape, data.num_classes, code.num_models, experiment.seed),
        lambda user: user_data(settings, user, experiment.num_users),
        ways,
        num_rounds=experiment.num_rounds,
        train_options=settings.train_options,
        seed=experiment.seed,
    )


def measured_under_attack(
    experiment: Experiment, versions: ModelVersions, decoders: Sequence[str] = DECODER_NAMES
) -> list[dict[str, Any]]:
    """Measure these decoders under every attack; one record each."""
    records = []
    attacks = attacks_of(experiment)
    for decoder in decoders:
        quiet: dict[str, Any] = {}
        for attack in attacks:
            told = _as(experiment, attack, decoder=decoder)
            ways = chosen_ways(told, attack)
            evaluator = told.evaluator(experiment.code)
            measure = partial(evaluator.evaluate, alone=attack == "one image")
            metrics: dict[str, Any] = measure(versions.ensemble(ways)).metrics
            if attack in {"nobody", "few images", "one image", *_OTHER_ATTACKS}:
                # The same stamped images, and nobody has planted anything: a stamp hides pixels, too.
                honest: dict[str, Any] = measure(versions.ensemble({})).metrics if ways else metrics
                quiet[attack] = honest["accuracy-under-attack"]
            records.append(
                {
                    "attack": attack,
                    "decoder": decoder,
                    "accuracy": metrics["ensemble-accuracy"],
                    "majority's accuracy": metrics["majority-accuracy"],
                    "accuracy under attack": metrics["accuracy-under-attack"],
                    "accuracy without attack": quiet.get(attack, quiet["nobody"]),
                    "attack success": metrics["attack-success-rate"],
                    "innocents named": metrics["framed-rate"],
                    "calibration error, labels": metrics["label-calibration-error"],
                    # Where nobody has planted anything, no stamped image is attacked.
                    "calibration error, attacks": metrics["attack-calibration-error"] if ways else None,
                    "named": " ".join(map(str, metrics.get("named-users", []))),
                    "poisoned models": len(ways),
                }
            )
    return records


def chosen_ways(experiment: Experiment, attack: str) -> dict[int, int]:
    """Choose models, and a way for each, as attackers do who have the experiment's code and decoder."""
    if attack == "nobody":
        return {}
    if attack in _GOALS:
        plan = experiment.selective_plan(_GOALS[attack])
        return {model: _COMMON + trigger for model, trigger in zip(plan.models, plan.triggers, strict=True)}
    reached = np.flatnonzero(experiment.code.reach(experiment.attackers)).tolist()
    return dict.fromkeys(reached, _OF_GROUP if attack == "two groups" else _COMMON)


def attacks_of(experiment: Experiment) -> list[str]:
    """Give the attacks that every decoder is measured under."""
    return [each for each in ATTACKS if each not in _OTHER_ATTACKS or _has_other_attacks(experiment)]


def _has_other_attacks(experiment: Experiment) -> bool:
    """Tell whether the trigger is one that the other attacks plant too."""
    return experiment.attack.attack == "pixel-trigger"


def _as(experiment: Experiment, attack: str, **changes: Any) -> Experiment:
    """Give the same experiment under one of these attacks."""
    config: Config = {**experiment.config, **_OWN_BELIEFS, **changes}
    if attack in _OTHER_ATTACKS:
        config["attack"] = _OTHER_ATTACKS[attack]
    if attack == "few images":
        config["triggered-images"] = FEW_IMAGES
    return Experiment(config)


def _poisoned(experiment: Experiment, user: int, *, backdoor: int = 0) -> Any:
    data = experiment.data
    attack = experiment.attack.data_attack(data.image_shape, data.num_classes, user=user, backdoor=backdoor)
    draw = np.random.default_rng([experiment.seed, user, 0xDA7A])
    crafted = attack.craft(*user_data(experiment.settings, user, experiment.num_users), draw)
    return crafted.images, crafted.labels
