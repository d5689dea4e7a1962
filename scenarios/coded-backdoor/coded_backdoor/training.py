"""Train a single model with one of Flower's strategies, or an ensemble under a code; measure every round."""

from __future__ import annotations

from logging import INFO

from flwr.app import ArrayRecord, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from coded_backdoor.experiment import Experiment
from flower_coded.codes import SubsetCode
from flower_coded.learning import get_state
from flower_coded.strategies import CodedSubsetAggregation
from flower_coded.wire.model_state import State, to_array_record

SINGLE = ("majority-accuracy", "majority-accuracy-under-attack", "majority-attack-success-rate")
ENSEMBLE = ("ensemble-accuracy", "accuracy-under-attack", "attack-success-rate")


def train_single(experiment: Experiment, grid: Grid, strategy: FedAvg, name: str) -> tuple[State, list[dict]]:
    """Run a strategy that trains one model; give its state, as an ensemble of one, and a record per round."""
    evaluator = experiment.evaluator(SubsetCode([[True] * experiment.num_users], name=name))
    rounds: list[dict] = []

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        state = {key: array.numpy()[None] for key, array in arrays.items()}
        metrics = evaluator.evaluate(state).metrics
        if server_round:
            rounds.append(_record(name, server_round, metrics, SINGLE))
        return MetricRecord({key: metrics[key] for key in SINGLE if key in metrics})

    arrays = to_array_record(get_state(experiment.new_model()))
    result = strategy.start(grid, arrays, num_rounds=experiment.num_rounds, evaluate_fn=evaluate)
    return {key: array.numpy()[None] for key, array in result.arrays.items()}, rounds


def train_ensemble(
    experiment: Experiment, grid: Grid, code: SubsetCode
) -> tuple[CodedSubsetAggregation, list[dict]]:
    """Run coded subset aggregation; give the strategy and a record per round and decoder."""
    strategy = CodedSubsetAggregation(
        code,
        initial_states=experiment.initial_states(code.num_models),
        stacked=bool(experiment.config["stacked"]),
        evaluator=experiment.evaluator(code),
        seed=experiment.seed,
        fraction_evaluate=0.0,
    )
    rounds: list[dict] = []

    def collect(server_round: int, arrays: ArrayRecord) -> None:
        del arrays
        if server_round:
            metrics = strategy.history[-1].metrics
            rounds.append(_record(f"{code.name}, majority vote", server_round, metrics, SINGLE))
            rounds.append(_record(f"{code.name}, decoder", server_round, metrics, ENSEMBLE))

    arrays = to_array_record(get_state(experiment.new_model()))
    strategy.start(grid, arrays, num_rounds=experiment.num_rounds, evaluate_fn=collect)
    return strategy, rounds


def _record(method: str, server_round: int, metrics: dict, keys: tuple[str, str, str]) -> dict:
    clean, triggered, success = (metrics.get(key) for key in keys)
    shown = "" if triggered is None else f", under attack {triggered:.3f}"
    log(INFO, "progress: round %2d  %s: accuracy %.3f%s", server_round, method, clean, shown)
    return {
        "method": method,
        "round": server_round,
        "accuracy": clean,
        "accuracy under attack": triggered,
        "attack success": success,
    }
