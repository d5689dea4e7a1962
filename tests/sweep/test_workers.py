"""Processes: a raised error, a death and a task without end cost one task each; workers go too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flower_coded.sweep.workers import work_through


def work(task: str) -> str:
    """Do what the task says (run in a worker)."""
    if task == "raise":
        raise ValueError("raised on purpose")
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "sleep":
        time.sleep(60)
    if task == "threads":
        return os.environ["OMP_NUM_THREADS"]
    return task.upper()


def test_every_task_has_one_outcome_whatever_happens_to_others() -> None:
    tasks = ["a", "raise", "b", "die", "c", "sleep", "threads"]
    begun: list[str] = []
    outcomes = {
        outcome.task: outcome
        for outcome in work_through(tasks, work, num_processes=2, time_limit=3.0, on_begin=begun.append)
    }
    assert begun == tasks
    assert {task: outcomes[task].result for task in ("a", "b", "c")} == {"a": "A", "b": "B", "c": "C"}
    assert "ValueError: raised on purpose" in outcomes["raise"].error
    assert "Traceback" in outcomes["raise"].error
    assert outcomes["die"].error == "the worker process died, exit code -9"
    assert outcomes["sleep"].error == "not done within 3 s"
    assert outcomes["threads"].result == outcomes["threads"].unwrap() == "1"
    with pytest.raises(RuntimeError, match="exit code -9"):
        outcomes["die"].unwrap()


def test_nothing_to_do_starts_nothing() -> None:
    assert list(work_through([], work, num_processes=2, time_limit=1.0)) == []


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import time, pathlib, sys\n"
        "from flower_coded.sweep.workers import work_through\n"
        "def work(name):\n"
        "    pathlib.Path(name).touch()\n"
        "    time.sleep(120)\n"
        "if __name__ == '__main__':\n"
        "    list(work_through(sys.argv[1:], work, num_processes=2, time_limit=200))\n"
    )
    begun = [tmp_path / "first", tmp_path / "second"]
    parent = subprocess.Popen([sys.executable, str(script), *map(str, begun)])
    deadline = time.monotonic() + 60
    while not all(file.exists() for file in begun):
        assert time.monotonic() < deadline, "the workers did not begin"
        time.sleep(0.05)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
