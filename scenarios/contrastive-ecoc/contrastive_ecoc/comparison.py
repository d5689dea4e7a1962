"""The paper's five models, centrally and across users, and what every attack leaves of them.

Models of one place and seed are trained together because they share work: PF and CFPC start from one
pretrained network, TFC takes CFPC's last code book, and adversarial images made for Standard are tried on all
others.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from contrastive_ecoc.experiment import RADII, ContrastiveExperiment, shrunk
from contrastive_ecoc.trainers import Central, Federated, Trained, Trainer
from flower_coded.learning.models import get_state
from flower_coded.learning.robustness import Scores, evaluate_robustness, robust_accuracy
from flower_coded.sweep.workers import work_through
from flower_coded.wire.model_state import State

METHODS = ("Standard", "SimCLR", "ACL-PF", "ACL-CFPC", "ACL-TFC")
TRAINERS: dict[str, type[Central] | type[Federated]] = {"central": Central, "federated": Federated}


@dataclass(frozen=True)
class Group:
    """The five models of one place and seed."""

    place: str
    seed: int


@dataclass(frozen=True)
class Found:
    """What a group gives: one record a model, one record a model and radius, and the learned code books."""

    records: list[dict[str, Any]]
    curve: list[dict[str, Any]]
    code_books: dict[str, np.ndarray]


def run_groups(
    groups: Sequence[Group], config: dict[str, Any], *, ensemble: bool, num_processes: int
) -> Iterator[tuple[Group, Found]]:
    """Run groups in processes that end with this one, and give each one's findings as it is done."""
    work = partial(run_group, config=config, ensemble=ensemble)
    for outcome in work_through(groups, work, num_processes=num_processes, time_limit=math.inf):
        yield outcome.task, outcome.unwrap()


def run_group(group: Group, config: dict[str, Any], ensemble: bool = False) -> Found:
    """Train the five models, attack each."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    experiment = ContrastiveExperiment({**config, "seed": group.seed})
    found = Found([], [], {})
    transferred, started = None, time.monotonic()
    for method, trained in train_methods(TRAINERS[group.place](experiment), experiment):
        seconds = time.monotonic() - started
        attacks = Attacks(experiment, trained)
        accuracies, signs, own = attacks.report(transferred, ensemble)
        transferred = own if transferred is None else transferred
        labels = {"place": group.place, "method": method, "seed": group.seed}
        whole = {"clean": attacks.clean_accuracy(), "clean, attacked images": accuracies.pop("clean")}
        found.records.append(
            labels | whole | accuracies | signs | asdict(experiment.budget) | {"seconds": round(seconds, 1)}
        )
        found.curve.extend(labels | point for point in attacks.curve())
        if trained.code_book is not None:
            found.code_books[method] = trained.code_book
        started = time.monotonic()
    return found


def train_methods(trainer: Trainer, experiment: ContrastiveExperiment) -> Iterator[tuple[str, Trained]]:
    """Train in the order of :data:`METHODS`; Standard sees the labeled images as often as TFC does."""
    config = experiment.config
    first, second = int(config["pretrain-rounds"]), int(config["fine-tune-rounds"])
    yield "Standard", trainer.softmax(get_state(experiment.model()), first + second)
    yield "SimCLR", trainer.softmax(with_features(experiment, trainer.pretrain(0.0)), second)
    pretrained = trainer.pretrain(float(config["column-weight"]))
    yield "ACL-PF", trainer.fine_tune(pretrained, second)
    learned = trainer.fine_tune(pretrained, second, follows=True)
    yield "ACL-CFPC", learned
    new = get_state(experiment.network(experiment.seed + 1))
    yield "ACL-TFC", trainer.fine_tune(new, first + second, code_book=learned.code_book)


def with_features(experiment: ContrastiveExperiment, pretrained: State) -> State:
    """Give a new softmax model the pretrained feature extractor: all of its weights but those of the head."""
    fresh = get_state(experiment.model())
    found = {key: pretrained[f"features.{key}"] for key in fresh if f"features.{key}" in pretrained}
    left = {key.rpartition(".")[0] for key in fresh.keys() - found.keys()}
    assert len(left) == 1, f"one module is new, the head; here {sorted(left)}"
    return fresh | found


class Attacks:
    """Attacks on one trained model."""

    def __init__(self, experiment: ContrastiveExperiment, trained: Trained) -> None:
        self.experiment, self.trained, self.device = experiment, trained, experiment.settings.device
        self.surrogate: Scores | None = None
        if trained.code_book is None:
            self.scores = experiment.softmax_scores(trained.state)
        else:
            self.scores = experiment.contrastive_scores(trained.state, trained.code_book)
            self.surrogate = experiment.surrogate_scores(trained.state, trained.code_book)

    def clean_accuracy(self) -> float:
        """Accuracy on all test images."""
        state, code_book = self.trained.state, self.trained.code_book
        if code_book is None:
            return self.experiment.accuracy(state)
        return self.experiment.clean_accuracy(state, code_book)["clean-accuracy"]

    def report(self, transferred: Any, ensemble: bool) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """Accuracies by attack, signs of masked gradients, and PGD's images."""
        found = evaluate_robustness(
            self.scores,
            self.experiment.attacked[0],
            self.experiment.attacked[1],
            budget=self.experiment.budget,
            seed=self.experiment.seed,
            transferred=transferred,
            surrogate=self.surrogate,
            ensemble=ensemble,
            device=self.device,
        )
        return dict(found.accuracies), dict(vars(found.signs)), found.attacked

    def curve(self) -> list[dict[str, Any]]:
        """Robust accuracy on a third of the attacked images for several radii, from one random start."""
        count = max(1, len(self.experiment.attacked[1]) // 3)
        budgets = [shrunk(self.experiment.budget, factor) for factor in RADII]
        return [
            {
                "epsilon": budget.epsilon,
                "worst": robust_accuracy(
                    self.scores,
                    self.experiment.attacked[0][:count],
                    self.experiment.attacked[1][:count],
                    budget=budget,
                    seed=self.experiment.seed,
                    surrogate=self.surrogate,
                    device=self.device,
                ),
            }
            for budget in budgets
        ]
