"""Play one training of an act: run its strategy, measure every round, keep what the pictures need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy
from numpy.typing import NDArray

from classroom.acts import CODED, EXPECTED_ATTACKERS, FEDAVG, KRUM, SECRET, Training
from classroom.lecture import Lecture
from flower_coded.aggregation import MultiKrum, krum_scores, squared_distances
from flower_coded.experiment import ENSEMBLE_METRICS, SINGLE_METRICS
from flower_coded.learning import ModelState
from flower_coded.reporting.round_lines import round_line
from flower_coded.strategies import RampSharedMultiKrum, RuleAggregation


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
    state: ModelState = field(default_factory=dict)
    selected: list[tuple[int, ...]] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)

    @property
    def last(self) -> dict[str, Any]:
        """The record of the last round."""
        return self.rounds[-1]


def play(lecture: Lecture, grid: Grid, training: Training) -> Played:
    """Run a training to its end."""
    strategy = _strategy(lecture, training)
    played = Played(training, lecture.num_users, lecture.attackers_of(training.attack), strategy)
    names = ENSEMBLE_METRICS if training.method == CODED else SINGLE_METRICS
    is_secret = training.method == SECRET
    num_rounds = int(lecture.config["secret-rounds"]) if is_secret else lecture.num_rounds

    def collect(server_round: int, metrics: Mapping[str, Any]) -> None:
        played.rounds.append(_record(training, server_round, metrics, names))
        if server_round % 4 == 0 or server_round == num_rounds or is_secret:
            _tell(played.last, num_rounds)

    played.state = lecture.train(
        grid,
        strategy,
        num_rounds=num_rounds,
        on_round=collect,
        train_config=training.train_config(lecture.attack_settings(training.attack)),
        timeout=600,
    )
    _keep_selection(played)
    return played


def captured(played: Played) -> float:
    """Share of attackers among the selected, over all rounds."""
    selected = [user for users in played.selected for user in users]
    return sum(user in played.attackers for user in selected) / max(1, len(selected))


def _strategy(lecture: Lecture, training: Training) -> Strategy:
    secret = lecture.secret_strategy(EXPECTED_ATTACKERS)
    if training.method == SECRET:
        return secret
    if training.method == KRUM:
        rule = WatchedMultiKrum(EXPECTED_ATTACKERS, secret.num_selected)
        return RuleAggregation(rule, **lecture.everybody)
    if training.method == CODED:
        return lecture.coded_strategy()
    assert training.method == FEDAVG
    return FedAvg(**lecture.everybody)


def _record(
    training: Training, server_round: int, metrics: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    told = {
        "accuracy": "accuracy",
        "with the trigger": "accuracy under attack",
        "trigger obeyed": "attack success",
    }
    found = {key: metrics[names[name]] for key, name in told.items()}
    return {"training": training.label, "round": server_round, **found}


def _tell(record: dict[str, Any], num_rounds: int) -> None:
    values = {key: record[key] for key in ("accuracy", "with the trigger")}
    print(round_line(record["training"], record["round"], values, num_rounds=num_rounds), flush=True)


def _keep_selection(played: Played) -> None:
    strategy = played.strategy
    if isinstance(strategy, RampSharedMultiKrum):
        played.selected = [each.selected for each in strategy.history]
    if isinstance(strategy, RuleAggregation):
        assert isinstance(strategy.rule, WatchedMultiKrum)
        history = strategy.history
        played.selected = [tuple(sorted(set(each.accepted) - set(each.unselected))) for each in history]
        scores = strategy.rule.scores[-1].tolist()
        played.scores = dict(zip(history[-1].accepted, scores, strict=True))
