"""A thousand data points appended one by one, beside what the master alone does with them.

Run: ``python benchmarks/encoded_gd_streaming.py``; m = 9, n = 20,000, d = 50, all nodes in one process.
The master alone encodes each point and keeps norms and keys; in Flower the points of a round travel in one
message per node, which appends them to its share.
"""

from __future__ import annotations

import logging
import time

import numpy as np

from flower_coded.clients.encoded_gd import encoded_gd_client_app
from flower_coded.codes import RealErrorLocatingCode
from flower_coded.protocols.encoded_gradient import (
    AcceleratedStep,
    EncodedGradientMaster,
    LeastSquares,
    Table,
)
from flower_coded.strategies import EncodedGradientDescent
from flower_coded.testing import InProcessGrid

NUM_WORKERS, NUM_ROWS, NUM_COLUMNS, NUM_POINTS = 9, 20_000, 50, 1000


def main() -> None:
    logging.getLogger("flwr").setLevel(logging.ERROR)
    generator = np.random.default_rng(0)
    features, targets = (
        generator.standard_normal((NUM_ROWS, NUM_COLUMNS)),
        generator.standard_normal(NUM_ROWS),
    )
    points, values = (
        generator.standard_normal((NUM_POINTS, NUM_COLUMNS)),
        generator.standard_normal(NUM_POINTS),
    )
    code = RealErrorLocatingCode(NUM_WORKERS, 3, 1)
    master = EncodedGradientMaster(code, Table(features, targets))
    started = time.perf_counter()
    for point, value in zip(points, values, strict=True):
        master.append(point, value)
    alone = time.perf_counter() - started

    strategy = EncodedGradientDescent(code, features, targets, LeastSquares(), AcceleratedStep())
    grid = InProcessGrid(encoded_gd_client_app(), NUM_WORKERS)
    arrays = strategy.start(grid, strategy.initial_arrays(), num_rounds=1).arrays
    plain = seconds(lambda: strategy.start(grid, arrays, num_rounds=1))
    started = time.perf_counter()
    for point, value in zip(points, values, strict=True):
        strategy.append(point[None], np.array([value]))
    strategy.start(grid, arrays, num_rounds=1)
    in_flower = time.perf_counter() - started - plain
    print(f"master alone: {1e3 * alone / NUM_POINTS:.3f} ms per point")
    print(f"in Flower:    {1e3 * in_flower / NUM_POINTS:.3f} ms, {in_flower / alone:.2f} times as much")
    print(f"(a round without new points takes {1e3 * plain:.0f} ms)")


def seconds(action: object) -> float:
    started = time.perf_counter()
    action()  # type: ignore[operator]
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
