"""One run of a sweep: a federated training inside this process, measured on held-out images.

Strategies and ClientApp are the ones of ``flwr run``; only the grid between them is in-process. Every defense
is measured on the same half of the held-out images (the other half calibrates the decoder of a coded
ensemble, and is left aside for the others). What a backdoor does is measured on triggered images of other
classes; what any other attack does shows in the accuracy, beside that of the clean run.
"""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from flower_coded.attacks.selective_poisoning import GOALS
from flower_coded.clients import training_client_app
from flower_coded.clients.ramp_krum import ramp_krum_mod
from flower_coded.codes import certified_against
from flower_coded.errors import DecodingError, NoRoundSucceededError
from flower_coded.experiment import ENSEMBLE_METRICS, SINGLE_METRICS, Experiment
from flower_coded.learning import ModelState
from flower_coded.strategies import EnsembleEvaluator
from flower_coded.sweep.defenses import (
    CODED_DEFENSES,
    RAMP_DEFENSE,
    code_settings,
    make_strategy,
    model_of_defense,
)
from flower_coded.sweep.detection import Detection, accused_users, named_users
from flower_coded.sweep.metered import MeteredGrid
from flower_coded.sweep.plan import SweepRun

__all__ = ["execute"]

_ROUND_TIMEOUT = 600.0


def execute(run: SweepRun) -> dict[str, Any]:
    """Run one training and measure it.

    Parameters
    ----------
    run : SweepRun
        The whole configuration; equal runs give equal results, on one machine.

    Returns
    -------
    dict
        ``accuracy``; for a backdoor ``attack-success`` and ``accuracy-under-attack``; for a coded ensemble
        ``majority-accuracy`` and ``certified-accuracy``; ``detection-precision``, ``-recall`` and ``-f1``
        with their counts; ``refused-rounds``, in which the old model stayed; ``megabytes-per-round`` both
        ways together, ``client-seconds-per-round`` of all users and ``server-seconds-per-round`` (processor
        time); ``seconds`` of wall clock in all. Absent where it does not apply.

    Raises
    ------
    DecodingError
        If nobody attacks and no round changed the model: then the configuration is wrong, not the defense.
    """
    started, state = time.perf_counter(), random.getstate()
    random.seed(run.seed)  # Flower samples nodes with the global generator
    try:
        experiment = _experiment_of(run)
        grid = _grid_for(run, experiment)
        train = _train_ensemble if run.defense in CODED_DEFENSES else _train_single
        found = train(run, experiment, grid)
    finally:
        random.setstate(state)
    if not run.attackers and found["refused-rounds"] == run.num_rounds:
        raise DecodingError(f"{run.defense} refused every round of a run without attack")
    return {**found, "seconds": round(time.perf_counter() - started, 3)}


def _experiment_of(run: SweepRun) -> Experiment:
    config = run.run_config() | {"num-clients": run.num_users, "num-server-rounds": run.num_rounds}
    config["model"] = model_of_defense(run.defense, Experiment(config).settings.model)
    if run.defense in CODED_DEFENSES:
        config |= code_settings(run.defense, run.tolerated_attackers, run.defense_settings)
        goal = str(config.get("attack-models", ""))
        if goal in GOALS and run.attackers:  # planned from code and decoder, which the attackers know
            config["attack-models"] = Experiment(config).selective_plan(goal).setting
    return Experiment(config)


def _grid_for(run: SweepRun, experiment: Experiment) -> MeteredGrid:
    mods = [ramp_krum_mod] if run.defense == RAMP_DEFENSE else []
    app = training_client_app(mods)
    return MeteredGrid(app, run.num_users, experiment.config, wire=False, seed=run.seed)


def _train_single(run: SweepRun, experiment: Experiment, grid: MeteredGrid) -> dict[str, Any]:
    strategy = make_strategy(
        run.defense, run.num_users, run.tolerated_attackers, run.defense_settings, run.seed
    )
    state, spent = _timed_training(experiment, grid, strategy)
    measured = experiment.evaluator(against=state).evaluate(state).metrics
    refused = sum(1 for each in strategy.history if each.refusal)
    found = _named(measured, SINGLE_METRICS) | {"refused-rounds": refused}
    return found | _record(run, experiment, grid, strategy, set(), spent)


def _train_ensemble(run: SweepRun, experiment: Experiment, grid: MeteredGrid) -> dict[str, Any]:
    code, strategy = experiment.code, experiment.coded_strategy(is_measured=False)
    state, spent = _timed_training(experiment, grid, strategy)
    evaluator = experiment.evaluator(code, against=state)
    measured: dict[str, Any] = evaluator.evaluate(state).metrics
    refused = sum(1 for each in strategy.history if each.is_unchanged)
    own = {
        "majority-accuracy": measured["majority-accuracy"],
        "certified-accuracy": _certified_accuracy(experiment, state, evaluator, run.tolerated_attackers),
        "models": code.num_models,
        "refused-rounds": refused,
    }
    accused = accused_users(code, measured.get("named-users", ()), experiment.attackers)
    found = _named(measured, ENSEMBLE_METRICS) | own
    return found | _record(run, experiment, grid, strategy, accused, spent)


def _timed_training(experiment: Experiment, grid: Grid, strategy: Any) -> tuple[ModelState, float]:
    """Train; give the model and the processor time of server and clients together."""
    started = time.process_time()
    try:
        state = experiment.train(grid, strategy, timeout=_ROUND_TIMEOUT)
    except NoRoundSucceededError:  # what an attack did to a defense is a finding: the first model stayed
        state = experiment.untrained(strategy)
    return state, time.process_time() - started


def _certified_accuracy(
    experiment: Experiment, state: ModelState, evaluator: EnsembleEvaluator, num_attackers: int
) -> float:
    """Share of the images that the majority gets right whatever so many users had sent."""
    images, labels = evaluator.measuring
    answers: NDArray[np.int64] = experiment.predict(state, images)
    classes = experiment.data.num_classes
    certain = certified_against(answers, classes, experiment.code, num_attackers)
    votes = (answers[:, :, None] == np.arange(classes)).sum(axis=0)
    return float((certain & (votes.argmax(axis=1) == labels)).mean())


def _named(measured: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Take what was measured, under the names of the table of results."""
    return {name.replace(" ", "-"): measured[key] for name, key in names.items() if key in measured}


def _record(
    run: SweepRun,
    experiment: Experiment,
    grid: MeteredGrid,
    strategy: Any,
    accused: set[int],
    spent: float,
) -> dict[str, Any]:
    """Whom the defense named, and what the training cost."""
    attack = experiment.attack
    named = named_users(strategy, grid, attack.from_round, accused, attack.until_round)
    detection = Detection.of(named, experiment.attackers)
    traffic = grid.bytes_to_clients + grid.bytes_to_server
    return {
        "detection-precision": detection.precision,
        "detection-recall": detection.recall,
        "detection-f1": detection.f1,
        "true-positives": detection.true_positives,
        "false-positives": detection.false_positives,
        "false-negatives": detection.false_negatives,
        "megabytes-per-round": traffic / run.num_rounds / 1e6,
        "client-seconds-per-round": grid.client_seconds / run.num_rounds,
        "server-seconds-per-round": max(0.0, spent - grid.client_seconds) / run.num_rounds,
    }
