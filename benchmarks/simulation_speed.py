"""Client steps a second of a simulated federation, beside the loop that does nothing but train.

Run ``python benchmarks/simulation_speed.py [--device cuda] [--threads 1 2] [--rounds 2] [--flwr-run]``. The
set-up is the one of pfl-research's image classification benchmark (apple/pfl-research,
``benchmarks/image_classification``, CIFAR-10 IID): 1,000 users of 50 images, 50 users a round, batches of 10,
one local epoch, so 250 client steps a round, and a network of two convolutions, 1.63 million parameters:
``cnn4`` at 32x32, which lacks the second of its two dropouts. Optimizer: gradient descent at 0.1, here with
momentum. The images are random; the time of a step does not depend on what is on them.

Rows, all in this run:

* ``loop``: one model, the round's 250 batches one after the other, nothing else: what training costs.
* ``large batch``: the same images as five batches of 500, one model: what the hardware could do if federated
  learning did not need a model for each user.
* ``stacked``: the 50 users' trainings as one question (:func:`flower_coded.learning.cohort.train_jobs`).
* ``grid, stacked``: whole rounds of Flower's FedAvg with our ClientApp in ``InProcessGrid(wire=False)``.
* ``grid, one by one``: the same with ``together=1`` and Flower's serialization.
* ``flwr run``: the same strategy and ClientApp in Flower's simulation engine, without its start.

Wall time is of a machine that may have other work; processor time counts this process only, all its threads.
Best of ``--repeats``, the rows taking turns.
"""

from __future__ import annotations

import argparse
import gc
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.serverapp.strategy import FedAvg
from torch.nn import functional

from flower_coded.cli.environment import SimulationResources
from flower_coded.cli.simulation import FlowerSession
from flower_coded.clients import ClientSettings, training_client_app, user_data
from flower_coded.learning import build_model, choose_device, get_state
from flower_coded.learning.cohort import TrainJob, train_jobs
from flower_coded.testing import InProcessGrid
from flower_coded.wire.model_state import to_array_record

USERS, PER_ROUND, IMAGES, BATCH = 1000, 50, 50, 10
SHAPE, CLASSES = (3, 32, 32), 10
STEPS = PER_ROUND * (IMAGES // BATCH)  # of all clients in a round

SERVER_APP = """
import time
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flower_coded.learning import build_model, get_state
from flower_coded.wire.model_state import to_array_record

app = ServerApp()

@app.main()
def main(grid, context):
    config = context.run_config
    share, number = config["share"], config["num-clients"]
    strategy = FedAvg(fraction_train=share, fraction_evaluate=0.0, min_available_nodes=number)
    start = to_array_record(get_state(build_model("cnn4", (3, 32, 32), 10)))

    def tell(server_round, arrays):
        print(f"progress: round {server_round} ended at {time.time():.3f}", flush=True)

    strategy.start(grid, start, config["num-server-rounds"], timeout=3600, evaluate_fn=tell)
"""

PYPROJECT = """
[project]
name = "simulation-speed"
version = "1.0.0"
license = { file = "LICENSE" }
dependencies = ["flwr[simulation]>=1.32", "flower-coded>=0.2.0"]
[tool.flwr.app]
publisher = "flowercoded"
fab-format-version = 1
flwr-version-target = "1.42.0"
[tool.flwr.app.components]
serverapp = "simulation_speed_app.server:app"
clientapp = "simulation_speed_app.client:app"
[tool.flwr.app.config]
num-clients = 1000
num-server-rounds = 2
share = 0.05
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1, help="of the grid's rows, in each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--flwr-run", action="store_true", help="also `flwr run`: some minutes")
    arguments = parser.parse_args()
    choose_device(arguments.device)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as directory:
        write_images(Path(directory))
        config = {
            "dataset": "cifar10",
            "data-directory": directory,
            "model": "cnn4",
            "samples-per-user": IMAGES,
            "local-epochs": 1,
            "batch-size": BATCH,
            "learning-rate": 0.1,
            "weight-decay": 0.0,
            "device": arguments.device,
        }
        print(f"device {arguments.device}; {STEPS} client steps a round")
        print(f"{'threads':>7} {'row':20}{'steps/s':>10}{'steps/CPU s':>13}{'of the loop':>13}{'by CPU':>9}")
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            print_rows(threads, rows(config, arguments.rounds), arguments.repeats)
        if arguments.flwr_run:
            print_flwr_run(config, Path(directory), rounds=arguments.rounds + 1)


def write_images(directory: Path) -> None:
    """CIFAR-10 in shape and number."""
    draw = np.random.default_rng(0)
    (directory / "cifar10").mkdir()
    arrays: dict[str, Any] = {}
    for part, number in (("train", USERS * IMAGES), ("test", 100)):
        arrays[f"x_{part}"] = draw.integers(0, 256, (number, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = draw.integers(0, CLASSES, number)
    np.savez(directory / "cifar10" / "random.npz", **arrays)


def rows(config: dict[str, Any], rounds: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Make what is measured: a function, and the client steps it makes."""
    settings = ClientSettings.from_config(config)
    users = [user_data(settings, user, USERS) for user in range(PER_ROUND)]
    model, target = build_model("cnn4", SHAPE, CLASSES), choose_device(settings.device)
    alone = {key: values[None] for key, values in get_state(model).items()}
    model.to(target)
    pixels = torch.tensor(np.concatenate([images for images, _ in users]), device=target)
    classes = torch.tensor(np.concatenate([labels for _, labels in users]), device=target)

    def train(batch_size: int) -> None:
        optimizer = settings.train_settings.make_optimizer(model.parameters())
        for start in range(0, len(classes), batch_size):
            optimizer.zero_grad()
            logits = model(pixels[start : start + batch_size])
            functional.cross_entropy(logits, classes[start : start + batch_size]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if target.type == "cuda":
            torch.cuda.synchronize()

    jobs = [TrainJob(alone, *samples, seed=user) for user, samples in enumerate(users)]
    return {
        "loop": (lambda: train(BATCH), STEPS),
        "large batch": (lambda: train(BATCH * PER_ROUND), STEPS),
        "stacked": (
            lambda: train_jobs(model, jobs, settings=settings.train_settings, device=settings.device),
            STEPS,
        ),
        "grid, stacked": (in_grid(config, rounds, together=64, wire=False), rounds * STEPS),
        "grid, one by one": (in_grid(config, rounds, together=1, wire=True), rounds * STEPS),
    }


def in_grid(config: dict[str, Any], rounds: int, *, together: int, wire: bool) -> Callable[[], object]:
    app = training_client_app()
    grid = InProcessGrid(app, USERS, config, together=together, wire=wire)
    start = to_array_record(get_state(build_model("cnn4", SHAPE, CLASSES)))
    share = PER_ROUND / USERS

    def run() -> object:
        strategy = FedAvg(fraction_train=share, fraction_evaluate=0.0, min_available_nodes=USERS)
        gc.collect()
        gc.freeze()  # Flower's FedAvg collects garbage after every array
        return strategy.start(grid, start, rounds, timeout=3600)

    return run


def print_rows(threads: int, measured: dict[str, tuple[Callable[[], object], int]], repeats: int) -> None:
    wall: dict[str, float] = {}
    processor: dict[str, float] = {}
    for repeat in range(repeats + 1):
        for name, (run, steps) in measured.items():
            start = time.perf_counter(), time.process_time()
            run()
            if repeat:  # the first warms up
                wall[name] = max(wall.get(name, 0.0), steps / (time.perf_counter() - start[0]))
                processor[name] = max(processor.get(name, 0.0), steps / (time.process_time() - start[1]))
    for name in measured:
        print(
            f"{threads:7} {name:20}{wall[name]:10.0f}{processor[name]:13.0f}"
            f"{wall[name] / wall['loop']:12.2f}x{processor[name] / processor['loop']:8.2f}x",
            flush=True,
        )


def print_flwr_run(config: dict[str, Any], directory: Path, rounds: int) -> None:
    """Time the rounds after the first, which starts the workers and loads their data."""
    package = directory / "app" / "simulation_speed_app"
    package.mkdir(parents=True)
    (directory / "app" / "pyproject.toml").write_text(
        PYPROJECT + "".join(f"{key} = {value!r}\n" for key, value in config.items())
    )
    (directory / "app" / "LICENSE").write_text("Apache-2.0")
    (package / "__init__.py").write_text("")
    (package / "server.py").write_text(SERVER_APP)
    (package / "client.py").write_text(
        "from flower_coded.clients import training_client_app\napp = training_client_app()\n"
    )
    ended: list[float] = []

    def listen(line: str) -> None:
        if "progress: round" in line:
            ended.append(float(line.rsplit(maxsplit=1)[-1]))

    with FlowerSession(listen) as session:
        outcome = session.run(
            directory / "app",
            {"num-server-rounds": rounds, "num-clients": USERS, "share": PER_ROUND / USERS},
            SimulationResources(USERS),
            timeout=1800,
        )
    if len(ended) <= rounds:  # round 0 is told, too
        print(f"flwr run: {outcome}")
        return
    print(f"{'':7} {'flwr run':20}{(rounds - 1) * STEPS / (ended[-1] - ended[1]):10.0f}")


if __name__ == "__main__":
    main()
