"""Train a single model with one of Flower's strategies, or an ensemble under a code; measure every round."""

from __future__ import annotations

from collections.abc import Mapping
from logging import INFO
from typing import Any

from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from flower_coded.clients.run_config import read_bool
from flower_coded.experiment import ENSEMBLE_METRICS, SINGLE_METRICS, Experiment
from flower_coded.learning import ModelState
from flower_coded.reporting.round_lines import round_line
from flower_coded.strategies import CodedSubsetAggregation


def train_single(
    experiment: Experiment, grid: Grid, strategy: FedAvg, name: str
) -> tuple[ModelState, list[dict[str, Any]]]:
    """Run a strategy that trains one model; give its state, as an ensemble of one, and a record per round."""
    rounds: list[dict[str, Any]] = []

    def collect(server_round: int, metrics: Mapping[str, Any]) -> None:
        rounds.append(_record(name, server_round, metrics, SINGLE_METRICS))

    return experiment.train(grid, strategy, on_round=collect), rounds


def train_ensemble(experiment: Experiment, grid: Grid) -> tuple[CodedSubsetAggregation, list[dict[str, Any]]]:
    """Run coded subset aggregation; give the strategy and a record per round and decoder."""
    strategy = experiment.coded_strategy(stacked=read_bool(experiment.config, "stacked", True))
    name, rounds = experiment.code.name, list[dict[str, Any]]()

    def collect(server_round: int, metrics: Mapping[str, Any]) -> None:
        rounds.append(_record(f"{name}, majority vote", server_round, metrics, SINGLE_METRICS))
        rounds.append(_record(f"{name}, decoder", server_round, metrics, ENSEMBLE_METRICS))

    experiment.train(grid, strategy, on_round=collect)
    return strategy, rounds


def _record(
    method: str, server_round: int, metrics: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    found = {name: metrics.get(key) for name, key in names.items()}
    log(INFO, "%s", round_line(method, server_round, found))
    return {"method": method, "round": server_round, **found}
