"""The server: FedAvg and plain multi-Krum for comparison, then ramp-shared multi-Krum, and a report."""

from __future__ import annotations

import logging
from typing import Any

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, MultiKrum, Strategy

from flower_coded.aggregation import ServerOptimizer, get_aggregation_rule, get_server_optimizer
from flower_coded.clients.ramp_krum_experiments import deviations_from_config
from flower_coded.clients.run_config import read_float, read_text
from flower_coded.experiment import Experiment
from flower_coded.reporting.round_lines import round_line
from flower_coded.strategies import AgreedClipping, RampSharedMultiKrum, RuleAggregation
from flower_coded.threads import one_thread
from secure_krum_app.report import write_report

app = ServerApp()
app.lifespan()(one_thread)


def prepare(config: dict[str, Any]) -> tuple[Experiment, RampSharedMultiKrum]:
    """Make experiment and strategy; refuse a configuration before anything is trained."""
    secure = _secure_strategy(config)  # first, for it needs no data
    experiment = Experiment(config)
    experiment.check()
    deviations_from_config(config)
    return experiment, secure


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = dict(context.run_config)
    experiment, secure = prepare(config)
    print(f"progress: {experiment.described_division}", flush=True)
    strategies = in_the_clear(experiment, secure) | {"ramp-shared multi-Krum": secure}
    logging.getLogger("flwr").setLevel(logging.WARNING)
    accuracies = []
    for name, strategy in strategies.items():

        def evaluate(server_round: int, arrays: ArrayRecord, name: str = name) -> MetricRecord:
            accuracy = experiment.accuracy({key: array.numpy() for key, array in arrays.items()})
            accuracies.append({"round": server_round, "method": name, "accuracy": accuracy})
            print(round_line(name, server_round, {"accuracy": accuracy}), flush=True)
            return MetricRecord({"accuracy": accuracy})

        start = experiment.initial_arrays()
        strategy.start(grid, start, experiment.num_rounds, timeout=600, evaluate_fn=evaluate)
    run = experiment.run_directory("secure-krum")
    write_report(run, config, secure, accuracies, experiment.data.test_images)


def in_the_clear(experiment: Experiment, secure: RampSharedMultiKrum) -> dict[str, Strategy]:
    """Make what ramp sharing is compared with: Flower's own, or the same rules with the server's step."""
    optimizer, liars, everybody = secure.steps.optimizer, secure.sharing.num_attackers, experiment.everybody
    chosen = secure.num_selected
    if optimizer is None:
        plain: Strategy = FedAvg(**everybody)
        krum: Strategy = MultiKrum(num_malicious_nodes=liars, num_nodes_to_select=chosen, **everybody)
    else:  # Flower's FedAvgM and its like are classes of their own, without a robust rule in front
        rule = get_aggregation_rule("multi-krum", num_byzantine=liars, num_selected=chosen)
        plain = RuleAggregation(get_aggregation_rule("mean"), server_optimizer=optimizer, **everybody)
        krum = RuleAggregation(rule, server_optimizer=optimizer, **everybody)
    return {"FedAvg": plain, "multi-Krum, in the clear": krum}


def _server_optimizer(config: dict[str, bool | int | float | str]) -> ServerOptimizer | None:
    rate = read_float(config, "server-learning-rate", 0.0)
    chosen = {"learning_rate": rate} if rate else {}
    return get_server_optimizer(read_text(config, "server-optimizer", "none"), **chosen)


def _secure_strategy(config: dict[str, bool | int | float | str]) -> RampSharedMultiKrum:
    return RampSharedMultiKrum(
        int(config["num-clients"]),
        int(config["num-attackers"]),
        num_dropouts=int(config["num-dropouts"]),
        num_colluders=int(config["num-colluders"]) or None,
        num_parts=int(config["num-parts"]) or None,
        num_selected=int(config["num-selected"]) or None,
        clipping=float(config["clipping"]) or AgreedClipping(),
        num_bits=int(config["num-bits"]),
        server_optimizer=_server_optimizer(config),
        seed=int(config["seed"]),
        fraction_evaluate=0.0,
    )
