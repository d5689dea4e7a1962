"""One model, m models one by one, m models stacked: processor time to train each on one user's images.

Run ``python benchmarks/stacked_training.py [--device cuda] [--models 5 15] [--steps 10]``. Every row trains
the same architecture on the same images with the same seed; the ratios are to one model's time on the same
device, measured within this run, so that they can be compared between machines. On a GPU it is wall time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from flower_coded.learning import (
    build_model,
    choose_device,
    initial_states,
    set_state,
    train,
    train_stacked,
    unstack_states,
)

# architecture, image shape, images of a batch
ROWS = (("small-cnn", (1, 8, 8), 20), ("cnn4", (1, 28, 28), 128), ("resnet18", (3, 32, 32), 128))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--models", type=int, nargs="+", default=[5, 15])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--architectures", nargs="+", default=None, choices=[name for name, _, _ in ROWS])
    arguments = parser.parse_args()
    if choose_device(arguments.device).type == "cpu":
        torch.set_num_threads(1)
    default = [name for name, _, _ in ROWS] if arguments.device != "cpu" else ["small-cnn", "cnn4"]
    print(f"device {arguments.device}, {arguments.steps} steps, one thread where it is the CPU")
    print(f"{'architecture':14}{'batch':>6}{'models':>8}{'one model':>12}{'one by one':>14}{'stacked':>14}")
    for name, shape, batch_size in ROWS:
        if name in (arguments.architectures or default):
            for num_models in arguments.models:
                print_row(name, shape, batch_size, num_models, arguments.steps, arguments.device)


def print_row(
    name: str, shape: tuple[int, int, int], batch_size: int, num_models: int, steps: int, device: str
) -> None:
    generator = np.random.default_rng(0)
    images = generator.random((batch_size * steps, *shape), dtype=np.float32)
    labels = generator.integers(0, 10, len(images))
    model = build_model(name, shape, 10)
    stacked_state = initial_states(name, shape, 10, num_models)
    states = unstack_states(stacked_state)

    def one() -> None:
        set_state(model, states[0])
        train(model, images, labels, batch_size=batch_size, device=device)

    def one_by_one() -> None:
        for state in states:
            set_state(model, state)
            train(model, images, labels, batch_size=batch_size, device=device)

    def stacked() -> None:
        train_stacked(model, stacked_state, images, labels, batch_size=batch_size, device=device)

    base, apart, together = (seconds(run) for run in (one, one_by_one, stacked))
    print(
        f"{name:14}{batch_size:6}{num_models:8}{base * 1e3:9.0f} ms{apart * 1e3:9.0f} ms"
        f"{together * 1e3:9.0f} ms   ratios {apart / base:5.1f} and {together / base:5.1f}",
        flush=True,
    )


def seconds(run: Callable[[], None]) -> float:
    """Best of two runs after one to warm up; a run ends with its results on the CPU."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    times = []
    for _ in range(3):
        start = clock()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times[1:])


if __name__ == "__main__":
    main()
