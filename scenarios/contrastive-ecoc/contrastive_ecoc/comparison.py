"""The paper's five models, centrally and across users, and what every attack leaves of them.

Models of one place and seed are trained together because they share work, and because adversarial images made
for the first are tried on all others. :mod:`contrastive_ecoc.methods` says what is trained, and at what cost.
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

from contrastive_ecoc.experiment import ContrastiveExperiment
from contrastive_ecoc.methods import Methods
from contrastive_ecoc.report import attack_model, robustness_curve
from contrastive_ecoc.trainers import TRAINERS
from flower_coded.sweep.engine import work_through
from flower_coded.sweep.outcome import RunResources


@dataclass(frozen=True)
class Group:
    """The models of one place and seed."""

    place: str
    seed: int


@dataclass(frozen=True)
class Found:
    """What a group gives: one record a model, one record a model and radius, and the learned code books."""

    records: list[dict[str, Any]]
    curve: list[dict[str, Any]]
    code_books: dict[str, np.ndarray]


def run_groups(
    groups: Sequence[Group],
    config: dict[str, Any],
    *,
    methods: Sequence[str],
    ensemble: bool,
    num_processes: int,
) -> Iterator[tuple[Group, Found]]:
    """Run groups in processes that end with this one, and give each one's findings as it is done."""
    work = partial(run_group, config=config, methods=tuple(methods), ensemble=ensemble)
    resources = RunResources(num_processes)
    for outcome in work_through(groups, work, resources=resources, time_limit=math.inf):
        yield outcome.task, outcome.unwrap()


def run_group(group: Group, config: dict[str, Any], methods: Sequence[str], ensemble: bool = False) -> Found:
    """Train the models, attack each."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    experiment = ContrastiveExperiment({**config, "seed": group.seed})
    found = Found([], [], {})
    recipes = Methods(TRAINERS[group.place], experiment)
    transferred, started = None, time.monotonic()
    for method in methods:
        trained = recipes.train(method)
        cost = {"passes": recipes.passes(method), "seconds": round(time.monotonic() - started, 1)}
        report = attack_model(experiment, trained, transferred, ensemble=ensemble)
        transferred = report.attacked if transferred is None else transferred
        labels = {"place": group.place, "method": method, "seed": group.seed}
        accuracies = dict(report.accuracies)
        whole = {
            "clean": experiment.clean_accuracy(trained.state, trained.code_book),
            "clean, attacked images": accuracies.pop("clean"),
        }
        rest = {"attacked": report.num_samples} | vars(report.signs) | asdict(experiment.budget) | cost
        found.records.append(labels | whole | accuracies | rest | {"felled": felled_words(report.felled)})
        found.curve.extend(labels | point for point in robustness_curve(experiment, trained))
        if trained.code_book is not None:
            found.code_books[method] = trained.code_book
        started = time.monotonic()
    return found


def felled_words(felled: dict[str, int]) -> str:
    """Write what each part of the adaptive attack turned into one cell.

    Examples
    --------
    >>> felled_words({"margin of scores": 2, "dlr of scores": 0})
    'margin of scores 2'
    """
    return ", ".join(f"{name} {count}" for name, count in felled.items() if count)
