"""Play one training of an act: run its strategy, measure every round, keep what the pictures need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy
from numpy.typing import NDArray

from classroom.acts import CODED, EXPECTED_ATTACKERS, FEDAVG, KRUM, SECRET, Training
from classroom.lecture import Lecture
from flower_coded.aggregation import MultiKrum, krum_scores, squared_distances
from flower_coded.codes import SubsetCode
from flower_coded.learning import build_model, get_state
from flower_coded.strategies import CodedSubsetAggregation, RampSharedMultiKrum, RuleAggregation
from flower_coded.strategies.base import assemble_roster
from flower_coded.wire.model_state import State, to_array_record

_SINGLE = ("majority-accuracy", "majority-accuracy-under-attack", "majority-attack-success-rate")
_ENSEMBLE = ("ensemble-accuracy", "accuracy-under-attack", "attack-success-rate")


@dataclass(frozen=True)
class WatchedMultiKrum(MultiKrum):
    """Multi-Krum that remembers, for the audience, how it scored the rows of every round."""

    scores: list[NDArray[np.float64]] = field(default_factory=list)

    def select(self, updates: Any) -> NDArray[np.int64]:
        """Remember the scores, then find the rows of smallest score."""
        self.scores.append(krum_scores(squared_distances(updates), self.num_byzantine))
        return super().select(updates)


@dataclass
class Played:
    """What a training left: a record per round, the model, and what its strategy saw of the users.

    Attributes
    ----------
    training : Training
        What was played.
    num_users : int
        Users.
    attackers : tuple of int
        The users who attacked.
    rounds : list of dict
        Label, round, accuracy on clean and on triggered images.
    state : dict of str to ndarray of shape (m, ...)
        The model, or the ensemble.
    selected : list of tuple of int
        Users selected in every round; empty where nobody is selected.
    scores : dict of int to float
        Multi-Krum's score of every user in the last round, where the server knows it.
    strategy : Strategy
        As it stands after the last round.
    """

    training: Training
    num_users: int
    attackers: tuple[int, ...]
    strategy: Strategy
    rounds: list[dict[str, Any]] = field(default_factory=list)
    state: State = field(default_factory=dict)
    selected: list[tuple[int, ...]] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)

    @property
    def last(self) -> dict[str, Any]:
        """The record of the last round."""
        return self.rounds[-1]


def play(lecture: Lecture, grid: Grid, training: Training) -> Played:
    """Run a training to its end."""
    strategy = _strategy(lecture, training)
    played = Played(training, lecture.num_users, lecture.attackers(training.attack), strategy)
    is_ensemble, is_secret = training.method == CODED, training.method == SECRET
    num_rounds = int(lecture.config["secret-rounds"]) if is_secret else lecture.num_rounds
    evaluator = lecture.evaluator(SubsetCode([[True] * lecture.num_users]))

    def measure(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if not server_round:
            return None
        if isinstance(strategy, CodedSubsetAggregation):
            metrics = strategy.history[-1].metrics
        else:
            metrics = evaluator.evaluate({key: array.numpy()[None] for key, array in arrays.items()}).metrics
        played.rounds.append(_record(training, server_round, metrics, _ENSEMBLE if is_ensemble else _SINGLE))
        if server_round % 4 == 0 or server_round == num_rounds or is_secret:
            _tell(played.last, num_rounds)
        return None

    data, settings = lecture.data, lecture.settings
    model = build_model(settings.model, data.image_shape, data.num_classes, seed=lecture.seed)
    result = strategy.start(
        grid,
        to_array_record(get_state(model)),
        num_rounds,
        timeout=600,
        train_config=training.train_config(),
        evaluate_fn=measure,
    )
    arrays = {key: array.numpy() for key, array in result.arrays.items()}
    played.state = arrays if is_ensemble else {key: array[None] for key, array in arrays.items()}
    _keep_selection(played, grid, lecture.num_users)
    return played


def _strategy(lecture: Lecture, training: Training) -> Strategy:
    number, expected = lecture.num_users, EXPECTED_ATTACKERS
    everybody = {"fraction_evaluate": 0.0, "min_train_nodes": number, "min_available_nodes": number}
    if training.method == SECRET:
        return lecture.secret_strategy(expected)
    if training.method == KRUM:
        num_selected = lecture.secret_strategy(expected).num_selected
        return RuleAggregation(WatchedMultiKrum(expected, num_selected), **everybody)
    if training.method == CODED:
        return CodedSubsetAggregation(
            lecture.code,
            initial_states=lecture.initial_states(lecture.code.num_models),
            stacked=True,
            evaluator=lecture.evaluator(lecture.code),
            seed=lecture.seed,
            fraction_evaluate=0.0,
        )
    assert training.method == FEDAVG
    return FedAvg(**everybody)


def _record(
    training: Training, server_round: int, metrics: dict[str, Any], keys: tuple[str, str, str]
) -> dict[str, Any]:
    clean, triggered, success = (metrics[key] for key in keys)
    return {
        "training": training.label,
        "round": server_round,
        "accuracy": clean,
        "with the trigger": triggered,
        "trigger obeyed": success,
    }


def _tell(record: dict[str, Any], num_rounds: int) -> None:
    print(
        f"progress:   {record['training']}, round {record['round']} of {num_rounds}: "
        f"accuracy {record['accuracy']:.3f}, with the trigger {record['with the trigger']:.3f}",
        flush=True,
    )


def _keep_selection(played: Played, grid: Grid, num_users: int) -> None:
    strategy = played.strategy
    if isinstance(strategy, RampSharedMultiKrum):
        played.selected = [each.selected for each in strategy.history]
    if isinstance(strategy, RuleAggregation):
        assert isinstance(strategy.rule, WatchedMultiKrum)
        roster = assemble_roster(grid, num_users)
        played.selected = [
            tuple(sorted(roster.user_of(node) for node in set(each.accepted) - set(each.unselected)))
            for each in strategy.history
        ]
        users = [roster.user_of(node) for node in strategy.history[-1].accepted]
        played.scores = dict(zip(users, strategy.rule.scores[-1].tolist(), strict=True))
