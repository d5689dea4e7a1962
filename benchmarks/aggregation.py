"""Aggregate 20 updates of a million weights with our rules, Flower's and ByzFL's; print one table.

Run with ``python benchmarks/aggregation.py [--threads 2]``. All sides run in this process, in turn. With one
thread, the default, times are milliseconds of that thread's CPU time, which other processes disturb little;
with more, which our rules and torch use, of the wall clock. The least of five repetitions counts. Flower's
median and trimmed mean are timed on the bare matrix, without the unpacking of replies that its strategies
add; its Krum takes replies and nothing else, and gets them in memory. ByzFL is timed on NumPy arrays and on
tensors, and the faster counts; its column is left out where it is not installed. The largest difference
between the results stands beside; "other" where ByzFL's Krum, whose score counts one neighbor more, chooses
differently.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import numpy as np  # noqa: E402  (after the thread settings)
import torch  # noqa: E402
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict  # noqa: E402
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean  # noqa: E402
from flwr.serverapp.strategy.multikrum import select_multikrum  # noqa: E402
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords  # noqa: E402

from flower_coded.aggregation import get_aggregation_rule  # noqa: E402
from flower_coded.codes.array_namespace import to_numpy  # noqa: E402

NUM_CLIENTS, DIMENSION, NUM_BYZANTINE, REPEATS = 20, 1_000_000, 4, 5
NAMES = (
    "mean",
    "median",
    "trimmed-mean",
    "krum",
    "multi-krum",
    "geometric-median",
    "centered-clipping",
    "nearest-neighbor-mixing+median",
    "bucketing+median",
)
Rule = Callable[[], Any]


def flower_krum(updates: np.ndarray, num_selected: int) -> Rule:
    replies = [
        RecordDict({"arrays": ArrayRecord({"w": Array(row)}), "metrics": MetricRecord({"num-examples": 1})})
        for row in updates
    ]

    def aggregate() -> np.ndarray:
        chosen = select_multikrum(replies, NUM_BYZANTINE, num_selected)
        return aggregate_arrayrecords(chosen, "num-examples")["w"].numpy()

    return aggregate


def flower_rules(updates: np.ndarray, num_selected: int) -> dict[str, list[Rule]]:
    return {
        "median": [lambda: np.median(updates, axis=0)],
        "trimmed-mean": [lambda: trim_mean(updates, NUM_BYZANTINE / NUM_CLIENTS)],
        "krum": [flower_krum(updates, 1)],
        "multi-krum": [flower_krum(updates, num_selected)],
    }


def byzfl_rules(updates: np.ndarray) -> dict[str, list[Rule]]:
    try:
        import byzfl
    except ImportError:
        print("ByzFL is not installed (pip install 'flower-coded[byzfl]'): its column is left out")
        return {}
    made = {
        "median": byzfl.Median(),
        "trimmed-mean": byzfl.TrMean(NUM_BYZANTINE),
        "krum": byzfl.Krum(NUM_BYZANTINE),
        "multi-krum": byzfl.MultiKrum(NUM_BYZANTINE),
    }
    tensor = torch.from_numpy(updates)
    return {name: [partial(rule, updates), partial(rule, tensor)] for name, rule in made.items()}


def best_time(rule: Rule, num_threads: int) -> tuple[float, np.ndarray]:
    clock = time.process_time if num_threads == 1 else time.perf_counter
    times = []
    for _ in range(REPEATS):
        start = clock()
        result = rule()
        times.append(clock() - start)
    return 1e3 * min(times), to_numpy(result)


def fastest(rules: list[Rule], num_threads: int) -> tuple[float, np.ndarray] | None:
    return min((best_time(rule, num_threads) for rule in rules), default=None, key=lambda pair: pair[0])


def agreement(ours: np.ndarray, theirs: np.ndarray) -> str:
    difference = float(np.abs(ours - theirs).max())
    return f"{difference:.0e}" if difference < 1e-4 else "other"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    num_threads = parser.parse_args().threads
    torch.set_num_threads(num_threads)
    updates = np.random.default_rng(0).normal(size=(NUM_CLIENTS, DIMENSION)).astype(np.float32)
    num_selected = NUM_CLIENTS - NUM_BYZANTINE
    flower, byzfl = flower_rules(updates, num_selected), byzfl_rules(updates)
    clock = "CPU" if num_threads == 1 else "wall-clock"
    print(f"n = {NUM_CLIENTS}, d = {DIMENSION}, f = {NUM_BYZANTINE}, {num_threads} thread(s), {clock} ms")
    print(f"{'rule':<32}{'ours':>6}{'Flower':>8}{'ByzFL':>8}{'faster peer / ours':>20}{'differences':>16}")
    for name in NAMES:
        parameters = {"num_selected": num_selected} if name == "multi-krum" else {}
        rule = get_aggregation_rule(name, num_byzantine=NUM_BYZANTINE, num_threads=num_threads, **parameters)
        draw = np.random.default_rng(0)
        own_time, own = best_time(partial(rule.aggregate, updates, draw), num_threads)
        peers = [fastest(side.get(name, []), num_threads) for side in (flower, byzfl)]
        times = [pair[0] for pair in peers if pair]
        ratio = f"{min(times) / own_time:.1f}" if times else ""
        cells = "".join(f"{pair[0]:>8.0f}" if pair else " " * 8 for pair in peers)
        differences = ", ".join(agreement(own, pair[1]) for pair in peers if pair)
        print(f"{name:<32}{own_time:>6.0f}{cells}{ratio:>20}{differences:>16}")


if __name__ == "__main__":
    main()
