"""Aggregate 20 updates of a million weights with our rules, Flower's and ByzFL's; print one table.

Run with ``python benchmarks/aggregation.py [--threads 2]``. All sides run in this process, in turn. With one
thread, the default, times are milliseconds of that thread's CPU time, which other processes disturb little;
with more, which our rules and torch use, of the wall clock. The least of five repetitions counts (of one,
where it took longer than five seconds). Flower's median and trimmed mean are timed on the bare matrix,
without the unpacking of replies that its strategies add; its Krum and Bulyan take replies and nothing else,
and get them in memory. ByzFL is timed on NumPy arrays and on tensors, and the faster counts; its column is
left out where it is not installed; its clipping changes what it is given, and gets a copy, which is timed.
The largest difference between the results stands beside; "other" where a definition differs (ByzFL's Krum
counts one neighbor more, its CAF is random, Flower's Bulyan chooses all vectors at once) or ours is not made.

``--memory`` measures instead what 200 updates of a million weights take beside themselves, in shares of
their own 800 MB (float32), by tracemalloc: the peak of a first round, and what the rule keeps of it for the
next.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import numpy as np  # noqa: E402  (after the thread settings)
import torch  # noqa: E402
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict  # noqa: E402
from flwr.serverapp.strategy.bulyan import aggregate_n_closest_weights  # noqa: E402
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean  # noqa: E402
from flwr.serverapp.strategy.multikrum import select_multikrum  # noqa: E402
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords  # noqa: E402

from flower_coded.aggregation import AGGREGATION_RULES, RoundContext, get_aggregation_rule  # noqa: E402
from flower_coded.codes.array_namespace import to_numpy  # noqa: E402

NUM_CLIENTS, DIMENSION, NUM_BYZANTINE, REPEATS = 20, 1_000_000, 4, 5
LONG_SECONDS, MEMORY_CLIENTS, MEMORY_BYZANTINE = 5.0, 200, 40
STEPS = ("nearest-neighbor-mixing", "bucketing", "static-clipping", "adaptive-clipping")
NAMES = (*AGGREGATION_RULES, *(f"{step}+mean" for step in STEPS), "nearest-neighbor-mixing+median")
PARAMETERS: dict[str, dict[str, Any]] = {
    "multi-krum": {"num_selected": NUM_CLIENTS - NUM_BYZANTINE},  # also with more clients: q <= n - f
    "centered-clipping": {"starts_at_zero": True, "radius": 100.0},
    "flame": {"noise_factor": 0.0},
    "static-clipping+mean": {"max_norm": 900.0},
}
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


def flower_bulyan(updates: np.ndarray) -> Rule:
    """Run the body of Flower's ``Bulyan.aggregate_train``, from contents to arrays."""
    replies = [
        RecordDict({"arrays": ArrayRecord({"w": Array(row)}), "metrics": MetricRecord({"num-examples": 1})})
        for row in updates
    ]
    theta = len(updates) - 2 * NUM_BYZANTINE

    def aggregate() -> np.ndarray:
        chosen = select_multikrum(replies, NUM_BYZANTINE, theta)
        arrays = [[each.array_records["arrays"]["w"].numpy()] for each in chosen]
        median = [np.median(entries, axis=0) for entries in zip(*arrays, strict=True)]
        return aggregate_n_closest_weights(median, arrays, theta - 2 * NUM_BYZANTINE)[0]

    return aggregate


def flower_rules(updates: np.ndarray, num_selected: int) -> dict[str, list[Rule]]:
    return {
        "mean": [lambda: np.mean(updates, axis=0)],
        "bulyan": [flower_bulyan(updates)],
        "median": [lambda: np.median(updates, axis=0)],
        "trimmed-mean": [lambda: trim_mean(updates, NUM_BYZANTINE / NUM_CLIENTS)],
        "krum": [flower_krum(updates, 1)],
        "multi-krum": [flower_krum(updates, num_selected)],
    }


def afresh(made: Callable[[], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def aggregate(vectors: Any) -> Any:
        return made()(vectors)  # the same one would remember the last result

    return aggregate


def behind(step: Callable[[Any], Any], rule: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda vectors: rule(step(vectors))


def copied(step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda vectors: step(vectors.clone() if isinstance(vectors, torch.Tensor) else vectors.copy())


def byzfl_rules(updates: np.ndarray) -> dict[str, list[Rule]]:
    try:
        import byzfl
    except ImportError:
        print("ByzFL is not installed (pip install 'flower-coded[byzfl]'): its column is left out")
        return {}
    made = {
        "mean": byzfl.Average(),
        "median": byzfl.Median(),
        "trimmed-mean": byzfl.TrMean(NUM_BYZANTINE),
        "mean-around-median": byzfl.Meamed(NUM_BYZANTINE),
        "krum": byzfl.Krum(NUM_BYZANTINE),
        "multi-krum": byzfl.MultiKrum(NUM_BYZANTINE),
        "geometric-median": byzfl.GeometricMedian(),
        "centered-clipping": afresh(byzfl.CenteredClipping),
        "minimum-diameter": byzfl.MDA(NUM_BYZANTINE),
        "monna": byzfl.MoNNA(NUM_BYZANTINE),
        "covariance-filter": byzfl.CAF(NUM_BYZANTINE),
        "nearest-neighbor-mixing+mean": behind(byzfl.NNM(NUM_BYZANTINE), byzfl.Average()),
        "bucketing+mean": behind(byzfl.Bucketing(2), byzfl.Average()),
        "static-clipping+mean": behind(copied(byzfl.Clipping(900.0)), byzfl.Average()),
        "adaptive-clipping+mean": behind(copied(byzfl.ARC(NUM_BYZANTINE)), byzfl.Average()),
        "nearest-neighbor-mixing+median": behind(byzfl.NNM(NUM_BYZANTINE), byzfl.Median()),
    }
    # SMEA is left out: each of its 4,845 subsets reads all vectors several times.
    tensor = torch.from_numpy(updates)
    return {name: [partial(rule, updates), partial(rule, tensor)] for name, rule in made.items()}


def best_time(rule: Rule, num_threads: int) -> tuple[float, np.ndarray]:
    clock = time.process_time if num_threads == 1 else time.perf_counter
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < LONG_SECONDS:
        start = clock()
        result = rule()
        times.append(clock() - start)
    return 1e3 * min(times), to_numpy(result)


def fastest(rules: list[Rule], num_threads: int) -> tuple[float, np.ndarray] | None:
    return min((best_time(rule, num_threads) for rule in rules), default=None, key=lambda pair: pair[0])


def agreement(ours: np.ndarray, theirs: np.ndarray) -> str:
    difference = float(np.abs(ours - theirs).max())
    return f"{difference:.0e}" if difference < 1e-4 else "other"


def own_round(
    name: str, num_byzantine: int, num_threads: int, **parameters: Any
) -> Callable[[np.ndarray], tuple[Any, Any]]:
    parameters = PARAMETERS.get(name, {}) | parameters
    rule = get_aggregation_rule(name, num_byzantine=num_byzantine, num_threads=num_threads, **parameters)
    generator = np.random.default_rng(0)
    return lambda updates: rule.aggregate_in_round(updates, RoundContext(generator, root_update=updates[0]))


def own_rule(name: str, num_byzantine: int, num_threads: int) -> Callable[[np.ndarray], np.ndarray]:
    one_round = own_round(name, num_byzantine, num_threads)
    return lambda updates: to_numpy(one_round(updates)[0])


def print_times(num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    updates = np.random.default_rng(0).normal(size=(NUM_CLIENTS, DIMENSION)).astype(np.float32)
    flower, byzfl = flower_rules(updates, NUM_CLIENTS - NUM_BYZANTINE), byzfl_rules(updates)
    clock = "CPU" if num_threads == 1 else "wall-clock"
    print(f"n = {NUM_CLIENTS}, d = {DIMENSION}, f = {NUM_BYZANTINE}, {num_threads} thread(s), {clock} ms")
    print(f"{'rule':<32}{'ours':>6}{'Flower':>8}{'ByzFL':>8}{'faster peer / ours':>20}{'differences':>16}")
    for name in NAMES:
        rule = own_rule(name, NUM_BYZANTINE, num_threads)
        own_time, own = best_time(partial(rule, updates), num_threads)
        peers = [fastest(side.get(name, []), num_threads) for side in (flower, byzfl)]
        times = [pair[0] for pair in peers if pair]
        ratio = f"{min(times) / own_time:.1f}" if times else ""
        cells = "".join(f"{pair[0]:>8.0f}" if pair else " " * 8 for pair in peers)
        differences = ", ".join(agreement(own, pair[1]) for pair in peers if pair)
        print(f"{name:<32}{own_time:>6.0f}{cells}{ratio:>20}{differences:>16}", flush=True)


def print_memory() -> None:
    updates = np.random.default_rng(0).standard_normal((MEMORY_CLIENTS, DIMENSION), dtype=np.float32)
    print(f"n = {MEMORY_CLIENTS}, d = {DIMENSION}, f = {MEMORY_BYZANTINE}: memory beside the updates")
    print(f"{'rule':<42}{'of n d 4 bytes':>16}{'kept of it':>12}{'seconds':>9}")
    rows: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in NAMES]
    rows += [(name, {"last_coordinates": DIMENSION // 4}) for name in NAMES if name == "fools-gold"]
    for name, parameters in rows:
        if name == "smallest-eigenvalue":  # 200 choose 40 subsets
            continue
        one_round = own_round(name, MEMORY_BYZANTINE, 1, **parameters)
        tracemalloc.start()
        start = time.process_time()
        _, memory = one_round(updates)
        seconds = time.process_time() - start
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        kept = sum(array.nbytes for array in memory.values())
        told = " ".join([name, *(f"{key}={value}" for key, value in parameters.items())])
        shares = f"{peak / updates.nbytes:>16.3f}{kept / updates.nbytes:>12.3f}"
        print(f"{told:<42}{shares}{seconds:>9.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    chosen = parser.parse_args()
    if chosen.memory:
        print_memory()
    else:
        print_times(chosen.threads)


if __name__ == "__main__":
    main()
