"""Tasks inside this process and on Ray: a raised error, a death and a task without end cost one task each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from flower_coded.errors import ParameterError
from flower_coded.sweep import ray_tasks
from flower_coded.sweep.engine import work_through
from flower_coded.sweep.outcome import LOST, RAISED, TIME_LIMIT, RunResources


def work(task: str) -> str:
    """Do what the task says."""
    if task == "raise":
        raise ValueError("raised on purpose")
    if task == "die":
        time.sleep(0.3)  # that it has begun is told first
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "sleep":
        time.sleep(60)
    if task == "swallow":
        return _swallow()
    if task == "threads":
        return os.environ["OMP_NUM_THREADS"]
    return task.upper()


def _swallow() -> str:
    """Take every Exception for a client's, as a grid does, and go on."""
    for _ in range(600):
        try:
            time.sleep(0.1)
        except Exception:  # noqa: BLE001
            continue
    return "never"


def test_one_process_works_here_and_interrupts_what_takes_too_long() -> None:
    tasks, begun = ["a", "raise", "sleep", "swallow", "b"], list[str]()
    outcomes = {
        outcome.task: outcome
        for outcome in work_through(
            tasks, work, resources=RunResources(), time_limit=0.3, on_begin=begun.append
        )
    }
    assert begun == tasks
    assert {task: outcomes[task].unwrap() for task in ("a", "b")} == {"a": "A", "b": "B"}
    assert outcomes["raise"].cause == RAISED
    assert "ValueError: raised on purpose" in outcomes["raise"].error
    for task in ("sleep", "swallow"):
        assert (outcomes[task].error, outcomes[task].cause) == ("not done within 0.3 s", TIME_LIMIT)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_thread_that_is_not_the_main_one_works_without_a_limit() -> None:
    found: list[object] = []

    def run() -> None:
        found.extend(work_through(["a"], work, resources=RunResources(), time_limit=0.01))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=30)
    assert [outcome.result for outcome in found] == ["A"]  # type: ignore[attr-defined]


def test_tasks_are_taken_one_by_one_as_there_is_room() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    for count, outcome in enumerate(work_through(tasks(), abs, resources=RunResources(), time_limit=9)):
        assert outcome.result == count
        assert taken == list(range(count + 1))


def test_nothing_to_do_starts_nothing() -> None:
    assert list(work_through([], work, resources=RunResources(2), time_limit=1.0)) == []
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_processes": 0}, "num_processes must be at least 1"),
        ({"cpus_per_run": 0.0}, "cpus_per_run must be positive"),
        ({"gpus_per_run": -1.0}, "gpus_per_run must be a share"),
        ({"gpus_per_run": 1.5}, "gpus_per_run must be a share"),
        ({"gpus_per_run": float("nan")}, "gpus_per_run must be a share"),
    ],
)
def test_resources_that_cannot_be_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        RunResources(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "127.0.0.1:1",
            "must be that of a Ray cluster; received '127.0.0.1:1' .ConnectionRefusedError",
        ),
        ("ray://127.0.0.1:10001", "must not be that of a Ray client"),
    ],
)
def test_an_address_where_no_cluster_is_is_refused_at_once(address: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        list(work_through(["a"], work, resources=RunResources(0, address), time_limit=1.0))


RAY_TASKS = ["a", "raise", "b", "die", "c", "sleep", "threads"]
RAY_SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, str(Path({tests!r})))
from test_engine import RAY_TASKS, work
from flower_coded.sweep.engine import work_through
from flower_coded.sweep.outcome import RunResources

begun = []
outcomes = work_through(
    RAY_TASKS, work, resources=RunResources(2), time_limit=3.0, on_begin=begun.append
)
found = {{each.task: [each.result, each.error, each.cause] for each in outcomes}}
print(json.dumps([begun, found]))
"""


@pytest.mark.slow
def test_on_ray_every_task_has_one_outcome_whatever_happens_to_others(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(RAY_SCRIPT.format(tests=str(Path(__file__).parent)))
    result = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=180, check=True
    )
    begun, outcomes = json.loads(result.stdout.splitlines()[-1])
    assert sorted(begun) == sorted(RAY_TASKS)
    assert [outcomes[task][0] for task in ("a", "b", "c", "threads")] == ["A", "B", "C", "1"]
    assert outcomes["raise"][2] == RAISED
    assert "ValueError: raised on purpose" in outcomes["raise"][1]
    assert outcomes["die"][2] == LOST
    assert "WorkerCrashedError" in outcomes["die"][1]
    assert outcomes["sleep"][1:] == ["not done within 3 s", TIME_LIMIT]


@pytest.mark.slow
def test_on_ray_tasks_that_end_in_the_same_moment_do_not_end_the_others(tmp_path: Path) -> None:
    """Nothing may run for a moment while many tasks wait."""
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from flower_coded.sweep import ray_tasks\n"
        "from flower_coded.sweep.engine import work_through\n"
        "from flower_coded.sweep.outcome import RunResources\n"
        "def work(task):\n"
        "    return task * task\n"
        # Looked at so seldom, both of two tasks have always ended.
        "ray_tasks._wait_for_a_word = lambda running: time.sleep(1.5)\n"
        "done = work_through(range(5), work, resources=RunResources(2), time_limit=60)\n"
        "print(sorted(outcome.unwrap() for outcome in done))\n"
    )
    result = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=180, check=True
    )
    assert result.stdout.splitlines()[-1] == "[0, 1, 4, 9, 16]"


@pytest.mark.slow
def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import time, pathlib, sys\n"
        "from flower_coded.sweep.engine import work_through\n"
        "from flower_coded.sweep.outcome import RunResources\n"
        "def work(name):\n"
        "    pathlib.Path(name).touch()\n"
        "    time.sleep(120)\n"
        "if __name__ == '__main__':\n"
        "    list(work_through(sys.argv[1:], work, resources=RunResources(2), time_limit=200))\n"
    )
    begun = [tmp_path / "first", tmp_path / "second"]
    parent = subprocess.Popen([sys.executable, str(script), *map(str, begun)])
    deadline = time.monotonic() + 120
    while not all(file.exists() for file in begun):
        assert time.monotonic() < deadline, "the workers did not begin"
        time.sleep(0.05)
    children = psutil.Process(parent.pid).children(recursive=True)
    children = [each for each in children if each.name() == "ray::_serve"]
    assert len(children) == 2
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


@pytest.mark.parametrize(
    ("late", "said", "tries"),
    [(2, "it timed out during startup", 3), (9, "it timed out during startup", 3), (9, "no room", 1)],
)
def test_a_late_ray_is_started_again_and_a_broken_one_is_not(
    late: int, said: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def init(**options: object) -> None:
        started.append(1)
        if len(started) <= late:
            raise Exception(said)

    monkeypatch.setattr(ray_tasks.ray, "init", init)
    with nullcontext() if late < 3 else pytest.raises(Exception, match=said):
        ray_tasks._start_ray(num_cpus=1)
    assert len(started) == tries
