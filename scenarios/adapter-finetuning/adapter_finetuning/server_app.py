"""The server: the same fine-tuning under every strategy that is asked for, and a report."""

from __future__ import annotations

import logging
import time
from typing import Any

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from adapter_finetuning.experiment import LABELS, Experiment, prepare
from adapter_finetuning.report import write_report
from flower_coded.reporting.round_lines import round_line
from flower_coded.threads import one_thread

app = ServerApp()
app.lifespan()(one_thread)


@app.main()
def main(grid: Grid, context: Context) -> None:
    experiment = prepare(dict(context.run_config))
    logging.getLogger("flwr").setLevel(logging.WARNING)
    print("progress: pretraining, unless it is in the cache", flush=True)
    records: list[dict[str, Any]] = []
    sent: dict[str, float] = {}
    for name in experiment.names:
        records += compare(experiment, grid, name, sent)
    write_report(experiment, experiment.run_directory(), records, sent)


def compare(experiment: Experiment, grid: Grid, name: str, sent: dict[str, float]) -> list[dict[str, Any]]:
    """Fine-tune under one strategy; one record per round, and in ``sent`` the bytes of a user's round."""
    label, records, begun = LABELS[name], [], time.perf_counter()

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        nonlocal begun
        seconds = time.perf_counter() - begun
        measured = experiment.measure(name, arrays)
        records.append({"round": server_round, "method": label, **measured, "seconds": seconds})
        print(round_line(label, server_round, measured), flush=True)
        begun = time.perf_counter()
        return MetricRecord({**measured})

    strategy = experiment.strategy(name)
    start, config = experiment.initial_arrays(), experiment.train_config()
    rounds = int(experiment.config["num-server-rounds"])
    result = strategy.start(grid, start, rounds, timeout=600, train_config=config, evaluate_fn=evaluate)
    del result
    sent[label] = bytes_per_user(experiment, name, strategy, start)
    return records


def bytes_per_user(experiment: Experiment, name: str, strategy: Any, start: ArrayRecord) -> float:
    """Bytes that a user sends in a round, on average."""
    adapters = sum(len(array.data) for array in start.values())
    if name == "coded":
        return adapters * float(experiment.code.training_cost)
    if name != "ramp":
        return float(adapters)
    whole = [sum(each.bytes_by_phase().values()) for each in strategy.history if each.stage == "train"]
    return float(sum(whole)) / len(whole) / experiment.task.num_users
