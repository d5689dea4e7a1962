"""Shards killed at random moments, ten times over, end with the table of a sweep that never was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flower_coded.sweep.store import SweepStore

NUM_TASKS, NUM_SHARDS, NUM_KILLS = 96, 4, 10
SCRIPT = """
import os, sys, time
from flower_coded.sweep.outcome import RunResources
from flower_coded.sweep.resumable import do_missing
from flower_coded.sweep.store import SweepStore

def work(number):
    with open(os.path.join(sys.argv[1], "worked"), "a") as file:
        file.write(f"{number}\\n")
    time.sleep(0.05)
    if number == 7:
        raise ValueError("seven, as always")
    return {"status": "done", "number": number, "square": number * number, "filler": "x" * 20000}

def failed(outcome):
    return {"status": "failed", "number": outcome.task, "error": outcome.error.strip().splitlines()[-1]}

if __name__ == "__main__":
    store = SweepStore(sys.argv[1])
    numbers = list(range(int(sys.argv[2])))[int(sys.argv[3]) - 1 :: int(sys.argv[4])]
    tasks = {f"task-{number:02d}": number for number in numbers}
    for key, record in do_missing(
        tasks, work, store, record_failure=failed, resources=RunResources(), time_limit=30
    ):
        pass
    store.clear_leftovers()
    print("finished")
"""


def start(script: Path, directory: Path, shard: int = 1, shards: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, str(script), str(directory), str(NUM_TASKS), str(shard), str(shards)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def table(directory: Path) -> dict[str, dict[str, object]]:
    store = SweepStore(directory)
    return {key: store.read(key) for key in sorted(store.keys())}


def expected(number: int) -> dict[str, object]:
    if number == 7:
        return {"status": "failed", "number": 7, "error": "ValueError: seven, as always"}
    return {"status": "done", "number": number, "square": number * number, "filler": "x" * 20000}


@pytest.mark.slow
@pytest.mark.parametrize("shards", [NUM_SHARDS, 1], ids=["each its own part", "all the same runs"])
def test_four_shards_killed_ten_times_record_every_run_once(tmp_path: Path, shards: int) -> None:
    script, directory = tmp_path / "sweep.py", tmp_path / "store"
    script.write_text(SCRIPT)
    generator = np.random.default_rng(7)
    store = SweepStore(directory)

    def begin() -> list[subprocess.Popen[str]]:
        return [start(script, directory, number % shards + 1, shards) for number in range(NUM_SHARDS)]

    kills = 0
    for _ in range(NUM_KILLS):
        processes, num_before = begin(), len(store.keys())
        deadline = time.monotonic() + 60
        while len(store.keys()) < min(NUM_TASKS, num_before + int(generator.integers(1, 6))):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(float(generator.uniform(0, 0.1)))
        for process in processes:
            kills += process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
    assert kills >= NUM_KILLS, "the shards were at work when they were killed"
    done = {int(key.removeprefix("task-")) for key in table(directory)}
    assert 0 < len(done) < NUM_TASKS
    (directory / "worked").write_text("")
    for process in begin():
        assert process.communicate(timeout=120)[0] == "finished\n"
    assert table(directory) == {f"task-{number:02d}": expected(number) for number in range(NUM_TASKS)}
    worked = Counter(map(int, (directory / "worked").read_text().split()))
    assert set(worked) == set(range(NUM_TASKS)) - done, "what had a record was not begun again"
    assert set(worked.values()) == {1}, "nothing was done twice"
    assert list((directory / "claims").glob("task-*")) == []


def test_a_failure_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "sweep.py"
    script.write_text(SCRIPT.replace("time.sleep(0.05)", "pass"))
    process = start(script, tmp_path / "store")
    assert process.communicate(timeout=60)[0] == "finished\n"
    assert table(tmp_path / "store")["task-07"] == expected(7)
    journal = (tmp_path / "store" / "journal.csv").read_text().splitlines()
    ended = Counter(tuple(line.split(",")[1:]) for line in journal)
    assert ended["failed", "task-07"] == 1
    assert sum(count for (event, _), count in ended.items() if event == "done") == NUM_TASKS - 1
