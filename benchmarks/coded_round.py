"""What a round of coded subset aggregation costs, beside a FedAvg round of the same client work.

Every user of a code trains ``ones in H / n`` models instead of one, so a round cannot cost less than that
many FedAvg rounds. Printed: CPU seconds of both in one process (no Ray; nothing waits, so an idle machine
takes as long on its clock), their ratio to that bound, the cost of one message that does no work, and the
stacked path.

    python benchmarks/coded_round.py
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Strategy

from flower_coded.clients import training_client_app
from flower_coded.codes import SubsetCode, backdoor_correction_code, partition_code
from flower_coded.learning import initial_states, load_images
from flower_coded.strategies import CodedSubsetAggregation
from flower_coded.strategies.ensemble_states import select_models
from flower_coded.testing import InProcessGrid
from flower_coded.wire.model_state import to_array_record

NUM_USERS, REPEATS = 12, 3
RUN_CONFIG = {"local-epochs": 5, "samples-per-user": 100, "model": "small-cnn"}


def echo_app() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays, metrics = message.content["arrays"], MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return app


def seconds_per_round(make: Callable[[], Strategy], app: ClientApp, start: ArrayRecord) -> float:
    """Median time of a round; the first run, which loads data, does not count."""
    times = []
    for _ in range(REPEATS + 1):
        strategy, grid = make(), InProcessGrid(app, NUM_USERS, RUN_CONFIG)
        began = time.process_time()
        strategy.start(grid, start, num_rounds=1)
        times.append(time.process_time() - began)
    return statistics.median(times[1:])


def fedavg() -> Strategy:
    return FedAvg(fraction_evaluate=0.0, min_train_nodes=NUM_USERS, min_available_nodes=NUM_USERS)


def coded(code: SubsetCode, *, stacked: bool = False) -> Callable[[], Strategy]:
    return lambda: CodedSubsetAggregation(code, stacked=stacked, fraction_evaluate=0.0)


def main() -> None:
    logging.getLogger("flwr").setLevel(logging.ERROR)
    data = load_images("digits")
    states = initial_states("small-cnn", data.image_shape, data.num_classes, 1, seed=0)
    start = to_array_record(select_models(states, 0))
    base = seconds_per_round(fedavg, training_client_app(), start)
    print(f"{'strategy':28} {'messages':>8} {'s/round':>8} {'bound':>8} {'ratio':>6} {'idle ms/message':>16}")
    idle = 1000 * seconds_per_round(fedavg, echo_app(), start) / NUM_USERS
    print(f"{'FedAvg':28} {NUM_USERS:8} {base:8.3f} {base:8.3f} {1.0:6.2f} {idle:16.1f}")
    for code in (
        backdoor_correction_code(4, 4, 12, rows="paper"),
        backdoor_correction_code(2, 6, 12),
        partition_code(6, 12),
    ):
        for stacked in (False, True):
            messages = NUM_USERS if stacked else int(code.matrix.sum())
            bound = base * int(code.matrix.sum()) / NUM_USERS
            spent = seconds_per_round(coded(code, stacked=stacked), training_client_app(), start)
            idle = 1000 * seconds_per_round(coded(code, stacked=stacked), echo_app(), start) / messages
            name = code.name + (", stacked" if stacked else "")
            print(f"{name:28} {messages:8} {spent:8.3f} {bound:8.3f} {spent / bound:6.2f} {idle:16.1f}")


if __name__ == "__main__":
    main()
