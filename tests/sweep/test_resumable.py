"""A sweep killed at a random moment, ten times over, ends with the table of one that never was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from flower_coded.sweep.store import SweepStore

NUM_TASKS, NUM_KILLS = 60, 10
SCRIPT = """
import sys, time
from flower_coded.sweep.resumable import do_missing
from flower_coded.sweep.store import SweepStore

def work(number):
    time.sleep(0.1)
    if number == 7:
        raise ValueError("seven, as always")
    return {"status": "done", "number": number, "square": number * number, "filler": "x" * 20000}

def failed(number, error):
    return {"status": "failed", "number": number, "error": error.strip().splitlines()[-1]}

if __name__ == "__main__":
    store = SweepStore(sys.argv[1])
    tasks = {f"task-{number:02d}": number for number in range(int(sys.argv[2]))}
    with store.locked():
        for key, record in do_missing(
            tasks, work, store, record_failure=failed, num_processes=2, time_limit=30
        ):
            pass
    print("finished")
"""


def start(script: Path, directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(script), str(directory), str(NUM_TASKS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def table(directory: Path) -> dict[str, dict[str, object]]:
    store = SweepStore(directory)
    return {key: store.read(key) for key in sorted(store.keys())}


def journal(directory: Path) -> list[tuple[str, str]]:
    lines = (directory / "journal.csv").read_text().splitlines()
    return [(line.split(",")[1], line.split(",")[2]) for line in lines]


def test_killed_ten_times_it_ends_with_the_same_table_and_no_run_done_twice(tmp_path: Path) -> None:
    script, straight, killed = tmp_path / "grid.py", tmp_path / "straight", tmp_path / "killed"
    script.write_text(SCRIPT)
    assert start(script, straight).communicate(timeout=120)[0] == "finished\n"
    expected = table(straight)
    assert len(expected) == NUM_TASKS
    generator, done_before, num_events = np.random.default_rng(7), set[str](), 0
    for kill in range(NUM_KILLS):
        process = start(script, killed)
        kill_at_random(
            process, SweepStore(killed), len(done_before) + int(generator.integers(1, 5)), generator
        )
        events = journal(killed)
        begun_now = {key for event, key in events[num_events:] if event == "begun"}
        assert begun_now, f"nothing was begun before kill {kill}"
        assert not begun_now & done_before, "what had a record was begun again"
        done_before, num_events = SweepStore(killed).keys(), len(events)
        assert len(done_before) < NUM_TASKS
    assert start(script, killed).communicate(timeout=120)[0] == "finished\n"
    assert table(killed) == expected
    assert not list((killed / "runs").glob("*.tmp"))


def kill_at_random(
    process: subprocess.Popen[str], store: SweepStore, num_done: int, generator: np.random.Generator
) -> None:
    """Send SIGKILL up to 0.15 s after so many records are there; wait until the workers are gone too."""
    deadline = time.monotonic() + 60
    while len(store.keys()) < num_done:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(float(generator.uniform(0, 0.15)))
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(workers, timeout=30)


def test_a_failure_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "grid.py"
    script.write_text(SCRIPT.replace("time.sleep(0.1)", "pass"))
    command = [sys.executable, str(script), str(tmp_path / "sweep"), "9"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "finished\n"
    records = table(tmp_path / "sweep")
    assert records["task-07"] == {"status": "failed", "number": 7, "error": "ValueError: seven, as always"}
    assert [record["status"] for record in records.values()].count("done") == 8
    assert ("failed", "task-07") in journal(tmp_path / "sweep")
