"""A clipping bound that users agree on against one that is guessed: accuracy, what is cut, and what it costs.

    OPENBLAS_NUM_THREADS=1 python benchmarks/agreed_clipping.py

Softmax regression on the digits, 12 users of whom two send updates of the other sign; the pixels are
multiplied by a scale, as by somebody who forgot to normalize, and with them shrink or grow the steps that
training takes.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import typer
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from flower_coded.clients.identity import register_identity
from flower_coded.clients.ramp_krum import ramp_krum_mod
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.crypto.srs_cache import cached_reference_string
from flower_coded.learning import ImageData, load_images, user_indices
from flower_coded.protocols.ramp_krum.clipping_ballot import ballot, ballot_parameters
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.simulation import run_round
from flower_coded.reporting import Table
from flower_coded.strategies import AgreedClipping, RampSharedMultiKrum
from flower_coded.testing import InProcessGrid
from flower_coded.wire.ramp_krum import reference_size

NUM_USERS, NUM_LIARS, NUM_ROUNDS = 12, 2, 10


def features(images: np.ndarray, scale: float) -> np.ndarray:
    """Pixels times a scale, and a one."""
    flat = images.reshape(len(images), -1).astype(np.float64) * scale
    return np.hstack([flat, np.full((len(flat), 1), scale)])


def app_of(data: ImageData, scale: float) -> ClientApp:
    """Full-batch gradient steps whose length undoes the scale; users 3 and 8 send the opposite."""
    division = user_indices(data.train_labels, NUM_USERS, seed=1)
    app = ClientApp(mods=[ramp_krum_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        user = int(context.node_config["partition-id"])
        x = features(data.train_images[division[user]], scale)
        truth = np.eye(10)[data.train_labels[division[user]]]
        start = message.content.array_records["arrays"]["weight"].numpy()
        weight = start.copy()
        for _ in range(20):
            logits = x @ weight
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            weight -= 0.5 / scale**2 * x.T @ (odds / odds.sum(axis=1, keepdims=True) - truth) / len(x)
        if user in {3, 8}:
            weight = 2 * start - weight
        arrays = ArrayRecord({"weight": Array(weight)})
        metrics = MetricRecord({"num-examples": len(x)})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return register_identity(app)


def trained(data: ImageData, scale: float, strategy: FedAvg) -> float:
    """Accuracy after some rounds."""
    start = ArrayRecord({"weight": Array(np.zeros((65, 10)))})
    grid = InProcessGrid(app_of(data, scale), NUM_USERS)
    weight = strategy.start(grid, start, num_rounds=NUM_ROUNDS, timeout=600).arrays["weight"].numpy()
    return float(((features(data.test_images, scale) @ weight).argmax(axis=1) == data.test_labels).mean())


def main() -> None:
    """Print accuracies by scale and bound, and the cost of an agreement."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    data, rows = load_images("digits"), []
    options: dict[str, Any] = {"fraction_evaluate": 0.0, "seed": 1}
    for scale in (1.0, 1 / 255, 16.0):
        row: dict[str, Any] = {"pixels times": f"{scale:.3g}"}
        row["FedAvg"] = trained(data, scale, FedAvg(min_train_nodes=NUM_USERS, fraction_evaluate=0.0))
        for name, clipping in (("0.01", 0.01), ("1.0", 1.0), ("agreed", AgreedClipping())):
            strategy = RampSharedMultiKrum(NUM_USERS, NUM_LIARS, clipping=clipping, **options)
            row[f"clipped at {name}"] = trained(data, scale, strategy)
        row["bound agreed on"] = strategy.history[0].clipping
        rows.append(row)
    print(Table.from_records(rows).to_text())

    sharing = RampSharing(num_users=12, num_parts=2, num_colluders=2, num_attackers=2, num_dropouts=1)
    parameters = ballot_parameters(sharing, share=0.001)
    schemes = Schemes.create(parameters, cached_reference_string(reference_size(parameters)))
    generator = np.random.default_rng(0)
    for _ in range(2):  # the first round compiles
        votes = {user: ballot(generator.normal(size=1000), 0.001) for user in range(12)}
        report = run_round(schemes, votes)
    sent = sum(load.num_bytes for loads in report.sent.values() for load in loads.values()) / NUM_USERS
    seconds = sum(sum(times.values()) for times in report.user_seconds.values()) / NUM_USERS
    print(f"\none agreement of {NUM_USERS} users: {sent / 1e3:.0f} kB and {seconds:.3f} s for each")


if __name__ == "__main__":
    typer.run(main)
