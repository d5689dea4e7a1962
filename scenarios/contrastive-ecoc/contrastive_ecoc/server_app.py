"""The server: a softmax model by FedAvg, then the contrastive output code; attacks on both; a report."""

from __future__ import annotations

from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from contrastive_ecoc.experiment import ContrastiveExperiment
from contrastive_ecoc.report import write_results
from flower_coded.learning.models import get_state
from flower_coded.strategies.federation import wait_for_nodes
from flower_coded.threads import one_thread
from flower_coded.wire.model_state import State, to_array_record

app = ServerApp()
app.lifespan()(one_thread)


def prepare(config: dict[str, Any]) -> ContrastiveExperiment:
    """Make the experiment; refuse a configuration before anything is trained."""
    experiment = ContrastiveExperiment(config)
    experiment.check()
    return experiment


@app.main()
def main(grid: Grid, context: Context) -> None:
    experiment = prepare(dict(context.run_config))
    wait_for_nodes(grid, experiment.num_users, timeout=120)
    softmax, rounds = train_softmax(experiment, grid)
    strategy = experiment.strategy()
    result = strategy.start(
        grid,
        to_array_record(get_state(experiment.network())),
        num_rounds=strategy.num_rounds,
        train_config=ConfigRecord({}),
    )
    for number, metrics in result.train_metrics_clientapp.items():
        accuracy = metrics.get("clean-accuracy")
        phase = strategy.phase_of(number)
        if accuracy is not None:
            rounds.append({"method": "output code", "round": number, "phase": phase, "accuracy": accuracy})
    write_results(experiment.run_directory("contrastive-ecoc"), experiment, strategy, softmax, rounds)


def train_softmax(experiment: ContrastiveExperiment, grid: Grid) -> tuple[State, list[dict[str, Any]]]:
    """FedAvg on the same backbone, for as many rounds."""
    rounds: list[dict[str, Any]] = []

    def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
        accuracy = experiment.accuracy({key: each.numpy() for key, each in arrays.items()})
        rounds.append({"method": "softmax", "round": number, "phase": "train", "accuracy": accuracy})
        return MetricRecord({"clean-accuracy": accuracy})

    fedavg = FedAvg(**experiment.everybody)
    result = fedavg.start(
        grid, experiment.initial_arrays(), num_rounds=experiment.num_rounds, evaluate_fn=evaluate
    )
    return {key: each.numpy() for key, each in result.arrays.items()}, rounds
