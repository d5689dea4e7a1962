"""Every method against every number of attackers, each ensemble trained once and read out twice.

Runs on :class:`flower_coded.testing.InProcessGrid`: the same strategies and the same ClientApp as under
``flwr run``, without Ray. Trainings are independent and go to as many processes as asked for.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flwr.serverapp.strategy import FedAvg, MultiKrum

from coded_backdoor.client_app import app
from coded_backdoor.experiment import Config, prepare
from coded_backdoor.in_turn import train_ensemble_in_turn
from coded_backdoor.training import train_ensemble, train_single
from flower_coded.experiment import ENSEMBLE_METRICS, SINGLE_METRICS, Experiment
from flower_coded.sweep.engine import work_through
from flower_coded.sweep.outcome import RunResources
from flower_coded.testing import InProcessGrid


@dataclass(frozen=True)
class Method:
    """One way to train: a strategy of Flower's, or an ensemble under a code given by run-config keys."""

    name: str
    letter: str = ""  # the paper's
    code: dict[str, Any] = field(default_factory=dict)


IN_TURN = "in-turn"
"""Value of ``training``: each model on its users' batches in turn, as the paper trains."""

NUM_USERS, NUM_TRACKING_USERS = 12, 16
"""What the names of the methods below say."""

SINGLE_MODELS = (Method("FedAvg"), Method("MultiKrum"))
CODED_METHODS = (
    Method("12 groups of 1", "a", {"code": "partition", "num-models": 12}),
    Method("6 groups of 2", "b", {"code": "partition", "num-models": 6}),
    Method("BCC(4,4,12)", "c", {"code": "correction", "tolerated-attackers": 4, "row-weight": 4}),
    Method("BCC(2,6,12)", "d", {"code": "correction", "tolerated-attackers": 2, "row-weight": 6}),
    Method("random 15 of 4", "e", {"code": "random", "num-models": 15, "row-weight": 4}),
    Method("random 6 of 6", "f", {"code": "random", "num-models": 6, "row-weight": 6}),
)
TRACKING_METHODS = (
    Method("BTC(1,11,16)", "", {"code": "tracking", "tolerated-attackers": 1, "row-weight": 11}),
    Method("BTC(2,4,16)", "", {"code": "tracking", "tolerated-attackers": 2, "row-weight": 4}),
)
_TOLD_OF_DECODERS = (
    "suspected-attackers",
    "suspected-innocents",
    "run-suspected-attackers",
    "run-suspected-innocents",
    "true-positives",
    "false-positives",
    "suspect-rates",
)

METHODS = {method.name: method for method in SINGLE_MODELS + CODED_METHODS + TRACKING_METHODS}


@dataclass(frozen=True)
class Training:
    """One training of the comparison."""

    method: str
    attackers: int
    seed: int

    def experiment(self, config: Config) -> Experiment:
        """Make the experiment from the comparison's common configuration."""
        own = METHODS[self.method].code
        return prepare({**config, "attackers": str(self.attackers), "seed": self.seed, **own})


def run_trainings(
    trainings: Sequence[Training], config: Config, *, num_processes: int, kept: Path
) -> Iterator[tuple[Training, list[dict[str, Any]]]]:
    """Run trainings in processes that end with this one, and give each one's records as it is done.

    ``kept`` is where models trained in turn are kept.
    """
    work = partial(run_training, config=config, kept=kept)
    resources = RunResources(num_processes)
    for outcome in work_through(trainings, work, resources=resources, time_limit=math.inf):
        yield outcome.task, outcome.unwrap()


def run_training(training: Training, config: Config, kept: Path) -> list[dict[str, Any]]:
    """Train once; one record for a single model, two (majority vote and decoder) for an ensemble."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    experiment, started = training.experiment(config), time.monotonic()
    if config.get("training") == IN_TURN:
        return _run_in_turn(training, experiment, kept, started)
    grid = InProcessGrid(app, experiment.num_users, experiment.config, wire=False)
    if training.method in SINGLE_STRATEGIES:
        strategy = SINGLE_STRATEGIES[training.method](experiment)
        rounds, own = train_single(experiment, grid, strategy, training.method)[1], {}
    else:
        coded, rounds = train_ensemble(experiment, grid)
        metrics, code = coded.history[-1].reported, experiment.code
        own = {key: metrics.get(key) for key in _TOLD_OF_DECODERS}
        own |= {"models": code.num_models, "cost": code.training_cost}
    last = [record for record in rounds if record["round"] == experiment.num_rounds]
    return [_record(training, record, own, time.monotonic() - started) for record in last]


def _run_in_turn(
    training: Training, experiment: Experiment, kept: Path, started: float
) -> list[dict[str, Any]]:
    code = experiment.code
    metrics = experiment.evaluator(code).evaluate(train_ensemble_in_turn(experiment, kept)).metrics
    own = {key: metrics.get(key) for key in _TOLD_OF_DECODERS}
    own |= {"models": code.num_models, "cost": code.training_cost}
    return [
        _record(
            training,
            {"method": f"{code.name}, {readout}"} | {key: metrics.get(names[key]) for key in names},
            own,
            time.monotonic() - started,
        )
        for readout, names in (("majority vote", SINGLE_METRICS), ("decoder", ENSEMBLE_METRICS))
    ]


def _record(
    training: Training, measured: dict[str, Any], own: dict[str, Any], seconds: float
) -> dict[str, Any]:
    readout = measured["method"].partition(", ")[2]
    decoded = own if readout == "decoder" else {key: own[key] for key in ("models", "cost") if key in own}
    return {
        "method": training.method,
        "readout": {"": "one model", "majority vote": "majority", "decoder": "decoder"}[readout],
        "attackers": training.attackers,
        "seed": training.seed,
        "accuracy": measured["accuracy"],
        "accuracy under attack": measured["accuracy under attack"],
        "attack success": measured["attack success"],
        "models": 1,
        "cost": 1.0,
        "seconds": round(seconds, 1),
    } | decoded


def _fedavg(experiment: Experiment) -> FedAvg:
    return FedAvg(**experiment.everybody)


def _multi_krum(experiment: Experiment) -> FedAvg:
    """Flower's MultiKrum, told the largest number of attackers in the comparison; it averages the others."""
    told = int(experiment.config["most-attackers"])
    selected = experiment.num_users - told
    return MultiKrum(num_malicious_nodes=told, num_nodes_to_select=selected, **experiment.everybody)


SINGLE_STRATEGIES: dict[str, Callable[[Experiment], FedAvg]] = {"FedAvg": _fedavg, "MultiKrum": _multi_krum}
