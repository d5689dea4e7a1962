"""How rare the joint decoder should hold attacks never seen before: one triggered image against clean ones.

For each value of ``HARD_PER_NEW``: how far the decoder's accuracy on clean images is below the majority
vote's when nobody attacks, and how often two plain attackers have their label on a triggered image that is
decoded by itself. "exact" counts clean images on which nine models, those of two users, stand against the
other six; "vote right" says on how many of them the nine are right. Digits, 12 users of 100 images,
BCC(4,4,12), the settings of the scenario coded-backdoor. Run with
``python benchmarks/new_attack_prior.py [SEEDS]`` (some 10 s a seed on one core of an AMD EPYC).
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.cli.scenario import find_scenario
from flower_coded.clients.client_settings import user_data
from flower_coded.codes import majority_vote
from flower_coded.codes.subset import answer_likelihood
from flower_coded.experiment import Experiment
from flower_coded.learning import ModelVersions, initial_states, train_versions
from flower_coded.reporting import Table

VALUES = (0.5, 1.0, 2.0, 3.0, 10.0, 30.0)
SCENARIO = Path(__file__).parents[1] / "scenarios" / "coded-backdoor"


def trained(experiment: Experiment) -> ModelVersions:
    """Train every model without attackers, and with those who reach it."""
    settings, data, code, seed = experiment.settings, experiment.data, experiment.code, experiment.seed

    def poisoned(user: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        attack = experiment.attack.data_attack(data.image_shape, data.num_classes, user=user)
        draw = np.random.default_rng([seed, user, 0xDA7A])
        crafted = attack.craft(*user_data(settings, user, experiment.num_users), draw)
        return crafted.images, crafted.labels

    return train_versions(
        code,
        experiment.attackers,
        experiment.model(),
        initial_states(settings.model, data.image_shape, data.num_classes, code.num_models, seed),
        partial(user_data, settings, num_users=experiment.num_users),
        [poisoned],
        num_rounds=experiment.num_rounds,
        train_options=settings.train_options,
        seed=seed,
    )


def exact_patterns(
    experiment: Experiment, answers: NDArray[np.int64], labels: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell of every image that looks like an attack of two users whether the vote is right."""
    code = experiment.code
    pairs = {code.reach([a, b]).tobytes() for a in range(code.num_users) for b in range(a)}
    vote = majority_vote(answers, experiment.data.num_classes).labels
    is_vote = answers == vote
    rest = np.where(is_vote, -1, answers).max(axis=0)  # the others agree, too
    is_pair = [column.tobytes() in pairs for column in is_vote.T] & (is_vote.sum(axis=0) == 9)
    is_exact = is_pair & (is_vote | (answers == rest)).all(axis=0)
    is_right = np.asarray(vote == labels, dtype=np.bool_)
    return np.asarray(is_right[is_exact])


def main() -> None:
    logging.getLogger("flwr").setLevel(logging.ERROR)
    seeds = [int(each) for each in (sys.argv[1] if len(sys.argv) > 1 else "1,2,3").split(",")]
    clean: dict[float, list[float]] = {value: [] for value in VALUES}
    single: dict[float, list[float]] = {value: [] for value in VALUES}
    exact: list[bool] = []
    num_images = 0
    for seed in seeds:
        config: dict[str, Any] = {**find_scenario(str(SCENARIO)).defaults, "seed": seed, "attackers": "2"}
        experiment = Experiment(config)
        evaluator, versions = experiment.evaluator(experiment.code), trained(experiment)
        honest = versions.ensemble({})
        reached = np.flatnonzero(experiment.code.reach(experiment.attackers)).tolist()
        attacked = versions.ensemble(dict.fromkeys(reached, 1))
        images, labels = evaluator.measuring
        exact += exact_patterns(experiment, experiment.predict(honest, images), labels).tolist()
        num_images += len(labels)
        for value in VALUES:
            answer_likelihood.HARD_PER_NEW = value
            quiet: dict[str, Any] = evaluator.evaluate(honest).metrics
            clean[value].append(quiet["majority-accuracy"] - quiet["ensemble-accuracy"])
            alone: dict[str, Any] = evaluator.evaluate(attacked, alone=True).metrics
            single[value].append(alone["attack-success-rate"])
    rows = [
        {
            "HARD_PER_NEW": f"{value:g}",
            "clean, mean": f"{np.mean(clean[value]):.4f}",
            "clean, worst": f"{max(clean[value]):.4f}",
            "one image, mean": f"{np.mean(single[value]):.3f}",
            "one image, least to most": f"{min(single[value]):.3f} to {max(single[value]):.3f}",
        }
        for value in VALUES
    ]
    print(f"seeds {', '.join(map(str, seeds))}\n{Table.from_records(rows).to_text()}")
    print(f"\nexact: {len(exact)} of {num_images} clean images, vote right on {sum(exact)}")


if __name__ == "__main__":
    main()
