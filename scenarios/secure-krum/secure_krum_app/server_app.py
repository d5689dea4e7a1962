"""The server: FedAvg and plain multi-Krum for comparison, then ramp-shared multi-Krum, and a report."""

from __future__ import annotations

import logging
from pathlib import Path

from flwr.app import Array, ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, MultiKrum, Strategy

from flower_coded.clients import AttackSettings, ClientSettings
from flower_coded.clients.ramp_krum import deviations_from_config
from flower_coded.learning import build_model, get_state, predict_labels, set_state
from flower_coded.reporting import RunDirectory
from flower_coded.strategies import RampSharedMultiKrum
from flower_coded.threads import one_thread
from secure_krum_app.report import write_report

app = ServerApp()
app.lifespan()(one_thread)


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = dict(context.run_config)
    num_users = int(config["num-clients"])
    AttackSettings.from_config(config, num_users)  # refuses a bad configuration before anything runs
    deviations_from_config(config)
    settings = ClientSettings.from_config(config)
    data = settings.load()
    model = build_model(settings.model, data.image_shape, data.num_classes, seed=settings.seed)
    start = ArrayRecord({name: Array(array) for name, array in get_state(model).items()})
    everybody = {"min_train_nodes": num_users, "min_available_nodes": num_users, "fraction_evaluate": 0.0}
    secure = _secure_strategy(config)
    strategies: dict[str, Strategy] = {
        "FedAvg": FedAvg(**everybody),
        "multi-Krum, in the clear": MultiKrum(
            num_malicious_nodes=int(config["num-attackers"]),
            num_nodes_to_select=secure.num_selected,
            **everybody,
        ),
        "ramp-shared multi-Krum": secure,
    }
    logging.getLogger("flwr").setLevel(logging.WARNING)
    accuracies = []
    for name, strategy in strategies.items():

        def evaluate(server_round: int, arrays: ArrayRecord, name: str = name) -> MetricRecord:
            set_state(model, {key: array.numpy() for key, array in arrays.items()})
            predicted = predict_labels(model, data.test_images, device=settings.device)
            accuracy = float((predicted == data.test_labels).mean())
            accuracies.append({"round": server_round, "method": name, "accuracy": accuracy})
            print(f"progress: {name}, round {server_round}: accuracy {accuracy:.3f}", flush=True)
            return MetricRecord({"accuracy": accuracy})

        strategy.start(grid, start, int(config["num-server-rounds"]), timeout=600, evaluate_fn=evaluate)
    out = Path(str(config["out"])) if config["out"] else Path.cwd() / "results" / "secure_krum"
    out.mkdir(parents=True, exist_ok=True)
    run = RunDirectory(out)
    run.write_config(config)
    write_report(run, config, secure, accuracies, data.test_images)


def _secure_strategy(config: dict[str, bool | int | float | str]) -> RampSharedMultiKrum:
    return RampSharedMultiKrum(
        int(config["num-clients"]),
        int(config["num-attackers"]),
        num_dropouts=int(config["num-dropouts"]),
        num_colluders=int(config["num-colluders"]),
        num_parts=int(config["num-parts"]) or None,
        num_selected=int(config["num-selected"]) or None,
        clipping=float(config["clipping"]),
        num_bits=int(config["num-bits"]),
        num_per_element=int(config["num-per-element"]),
        num_range_checks=int(config["num-range-checks"]) if int(config["num-per-element"]) == 1 else 0,
        seed=int(config["seed"]),
        fraction_evaluate=0.0,
    )
