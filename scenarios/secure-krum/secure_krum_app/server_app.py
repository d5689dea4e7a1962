"""The server: FedAvg and plain multi-Krum for comparison, then ramp-shared multi-Krum, and a report."""

from __future__ import annotations

import logging
from typing import Any

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, MultiKrum, Strategy

from flower_coded.clients.ramp_krum_experiments import deviations_from_config
from flower_coded.experiment import Experiment
from flower_coded.strategies import RampSharedMultiKrum
from flower_coded.threads import one_thread
from secure_krum_app.report import write_report

app = ServerApp()
app.lifespan()(one_thread)


def prepare(config: dict[str, Any]) -> tuple[Experiment, RampSharedMultiKrum]:
    """Make experiment and strategy; refuse a configuration before anything is trained."""
    experiment = Experiment(config)
    experiment.check()
    deviations_from_config(config)
    return experiment, _secure_strategy(config)


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = dict(context.run_config)
    experiment, secure = prepare(config)
    print(f"progress: {experiment.described_division}", flush=True)
    strategies: dict[str, Strategy] = {
        "FedAvg": FedAvg(**experiment.everybody),
        "multi-Krum, in the clear": MultiKrum(
            num_malicious_nodes=int(config["num-attackers"]),
            num_nodes_to_select=secure.num_selected,
            **experiment.everybody,
        ),
        "ramp-shared multi-Krum": secure,
    }
    logging.getLogger("flwr").setLevel(logging.WARNING)
    accuracies = []
    for name, strategy in strategies.items():

        def evaluate(server_round: int, arrays: ArrayRecord, name: str = name) -> MetricRecord:
            accuracy = experiment.accuracy({key: array.numpy() for key, array in arrays.items()})
            accuracies.append({"round": server_round, "method": name, "accuracy": accuracy})
            print(f"progress: {name}, round {server_round}: accuracy {accuracy:.3f}", flush=True)
            return MetricRecord({"accuracy": accuracy})

        start = experiment.initial_arrays()
        strategy.start(grid, start, experiment.num_rounds, timeout=600, evaluate_fn=evaluate)
    run = experiment.run_directory("secure-krum")
    write_report(run, config, secure, accuracies, experiment.data.test_images)


def _secure_strategy(config: dict[str, bool | int | float | str]) -> RampSharedMultiKrum:
    return RampSharedMultiKrum(
        int(config["num-clients"]),
        int(config["num-attackers"]),
        num_dropouts=int(config["num-dropouts"]),
        num_colluders=int(config["num-colluders"]) or None,
        num_parts=int(config["num-parts"]) or None,
        num_selected=int(config["num-selected"]) or None,
        clipping=float(config["clipping"]),
        num_bits=int(config["num-bits"]),
        seed=int(config["seed"]),
        fraction_evaluate=0.0,
    )
