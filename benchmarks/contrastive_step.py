"""Time of one training step of an output code against a softmax head on the same backbone.

Run ``python benchmarks/contrastive_step.py [--device cuda] [--model resnet18] [--batch-size 128]``. A step is
forward, backward and optimizer on one batch of 32x32 color images; the code book follows the weights (eq.
11), which is the dearest variant. The two take turns and the median counts, so that the ratio can be compared
between machines. The aim is a throughput of at least 0.8 of the softmax head's.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from flower_coded.learning.contrastive_training import ContrastiveSettings, fine_tune
from flower_coded.learning.models import build_model
from flower_coded.learning.output_code_network import build_output_code_network
from flower_coded.learning.training import TrainSettings, choose_device, train
from flower_coded.reporting import Table

SHAPE, NUM_CLASSES, NUM_BITS = (3, 32, 32), 10, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", default="resnet18", choices=["small-cnn", "cnn4", "resnet18"])
    parser.add_argument(
        "--batch-size", type=int, default=0, help="images of a step; 0: 128 on a GPU, else 16"
    )
    parser.add_argument("--steps", type=int, default=0, help="steps of a round; 0: 20 on a GPU, else 2")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    arguments = parser.parse_args()
    is_gpu = choose_device(arguments.device).type == "cuda"
    if not is_gpu:
        torch.set_num_threads(1)
    batch_size = arguments.batch_size or (128 if is_gpu else 16)
    steps = arguments.steps or (20 if is_gpu else 2)
    seconds = measure(arguments.model, batch_size, steps, arguments.rounds, arguments.device)
    print(
        f"{arguments.model} on {arguments.device}, {batch_size} images a step, {steps} steps, "
        f"median of {arguments.rounds}"
    )
    base = seconds["softmax"]
    print(
        Table.from_records(
            [
                {"head": head, "ms a step": 1e3 * each / steps, "throughput, softmax = 1": base / each}
                for head, each in seconds.items()
            ]
        ).to_text(digits=2)
    )


def measure(name: str, batch_size: int, steps: int, rounds: int, device: str) -> dict[str, float]:
    """Median seconds of a call of training by head; the first of each only warms up."""
    generator = np.random.default_rng(0)
    images = generator.random((batch_size * steps, *SHAPE), dtype=np.float32)
    labels = generator.integers(0, NUM_CLASSES, len(images))
    code_book = np.sign(generator.normal(size=(NUM_CLASSES, NUM_BITS)))
    model = build_model(name, SHAPE, NUM_CLASSES)
    network = build_output_code_network(name, SHAPE, NUM_BITS, seed=0)
    training = TrainSettings(batch_size=batch_size)

    def softmax() -> None:
        train(model, images, labels, batch_size=batch_size, device=device)

    def output_code() -> None:
        fine_tune(
            network,
            images,
            labels,
            code_book,
            training=training,
            settings=ContrastiveSettings(),
            update_code_book=True,
            device=device,
        )

    calls = {"softmax": softmax, "output code": output_code}
    taken: dict[str, list[float]] = {head: [] for head in calls}
    for _ in range(rounds + 1):
        for head, call in calls.items():
            started = time.perf_counter()
            call()  # ends in float(loss), which waits for the device
            taken[head].append(time.perf_counter() - started)
    return {head: float(np.median(each[1:])) for head, each in taken.items()}


if __name__ == "__main__":
    main()
