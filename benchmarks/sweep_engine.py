"""What it costs to send a sweep's runs to Ray: its start and end, and each run, beside one process.

``python benchmarks/sweep_engine.py`` prints seconds and milliseconds; the work is next to nothing, so what is
left is the engine's.
"""

from __future__ import annotations

import argparse
import math
import time

from flower_coded.sweep.engine import work_through
from flower_coded.sweep.outcome import RunResources


def nothing(number: int) -> dict[str, int]:
    """Give a record of a usual size."""
    return {f"column-{column}": number for column in range(40)}


def measure(num_tasks: int, resources: RunResources) -> tuple[float, float]:
    """Seconds until the first outcome and after the last, and seconds for each in between."""
    marks = [time.perf_counter()]
    for outcome in work_through(range(num_tasks), nothing, resources=resources, time_limit=math.inf):
        outcome.unwrap()
        marks.append(time.perf_counter())
    end = time.perf_counter()
    return marks[1] - marks[0] + end - marks[-1], (marks[-1] - marks[1]) / (num_tasks - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    for name, resources in (
        ("one process", RunResources()),
        (f"Ray, {arguments.processes} processes", RunResources(arguments.processes)),
    ):
        start, each = measure(arguments.tasks, resources)
        print(f"{name:20}  start and end {start:6.2f} s   each run {1000 * each:6.2f} ms")


if __name__ == "__main__":
    main()
