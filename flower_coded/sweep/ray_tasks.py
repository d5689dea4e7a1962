"""Tasks on Ray: one of Ray's tasks each, on this machine or a cluster, and a death costs one task only.

A task is a generator of two values: that it has begun, and what came out. So its time counts from its begin,
not from its place in a queue or the start of a process that has torch to import. Results come to this process
alone: the other machines need this package and the data, and no common disk. Ray never tries a task again by
itself: who asked decides that.

Machines may come and go. What is under way follows what the cluster holds by now, asked once a second.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import shutil
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import ray
from threadpoolctl import threadpool_limits

from flower_coded.errors import ParameterError
from flower_coded.sweep.outcome import LOST, RAISED, TIME_LIMIT, Outcome, RunResources
from flower_coded.threads import THREAD_VARIABLES

__all__ = ["work_through_with_ray"]

T = TypeVar("T")

_POLL_SECONDS = 1.0
_KNOCK_SECONDS = 10.0
_SECONDS_WITHOUT_ROOM = 0.1
_PATIENCE_SECONDS = 600.0  # how long a cluster may be without any machine that could take a task
_LONGEST_DIRECTORY = 45  # Ray appends some 60 bytes to it and makes sockets, whose names end at 104 or 107
_OBJECT_STORE_BYTES = 128 * 2**20  # results are small; Ray's own choice is a third of the memory
_START_ATTEMPTS, _SLOW_START = 3, "timed out during startup"
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

_END: Any = object()

_logger = logging.getLogger(__name__)


def work_through_with_ray(
    tasks: Iterable[T],
    work: Callable[[T], Any],
    *,
    resources: RunResources,
    time_limit: float,
    on_begin: Callable[[T], None] = lambda task: None,
) -> Iterator[Outcome[T]]:
    """Do ``work(task)`` for every task; parameters as :func:`~flower_coded.sweep.engine.work_through`.

    Raises
    ------
    ParameterError
        If there is no cluster at the address, or none of its machines could take a task.
    """
    waiting, running = iter(tasks), list[_Running[T]]()
    first = next(waiting, _END)
    if first is _END:  # nothing to do starts nothing
        return
    with _cluster(resources):
        remote: Any = ray.remote(
            num_cpus=resources.cpus_per_run,
            num_gpus=resources.gpus_per_run,
            max_retries=0,
            num_returns="streaming",
        )(_serve)
        running.append(_Running(first, remote.remote(work, first)))
        room, last_room, is_more = _room(resources), time.monotonic(), True
        try:
            # Not "while running": all that run may end in one round, and others still wait.
            while running or is_more:
                new = list(itertools.islice(waiting, max(0, room - len(running))))
                running += [_Running(task, remote.remote(work, task)) for task in new]
                is_more = is_more and len(running) >= room
                _wait_for_a_word(running)
                for one in list(running):
                    outcome = one.collect(time_limit, on_begin)
                    if outcome is None:
                        continue
                    running.remove(one)
                    if outcome.cause == LOST and one.starts_left and not one.has_begun:
                        again = remote.remote(work, one.task)
                        running.append(_Running(one.task, again, starts_left=one.starts_left - 1))
                    else:
                        yield outcome
                room = _room(resources)
                last_room = time.monotonic() if room else last_room
                if time.monotonic() - last_room > _PATIENCE_SECONDS:
                    _logger.error("no machine of the cluster has come back: the rest stays to be done")
                    break
        finally:
            for one in running:
                one.stop()
    for one in running:
        yield Outcome(one.task, None, "no machine of the cluster was left to run it", LOST)


def _serve(work: Callable[[T], Any], task: T) -> Generator[tuple[Any, str], None, None]:
    """In the worker: say that it begins, then the result or the traceback."""
    yield None, ""
    try:
        with threadpool_limits(1):
            found = work(task), ""
    except Exception:  # noqa: BLE001 - whatever the task raised is its outcome
        found = None, traceback.format_exc()
    yield found


@dataclass(eq=False)
class _Running(Generic[T]):
    """A task, and Ray's stream of what it says."""

    task: T
    stream: Any
    deadline: float = math.inf
    has_begun: bool = False
    starts_left: int = 2  # a task may go to a process that dies of the one before

    def collect(self, time_limit: float, on_begin: Callable[[T], None]) -> Outcome[T] | None:
        """Hear what the task has said; its outcome, if there is one by now."""
        ready, _ = ray.wait([self.stream], timeout=0)
        if not ready:
            if time.monotonic() < self.deadline:
                return None
            self.stop()
            return Outcome(self.task, None, f"not done within {time_limit:g} s", TIME_LIMIT)
        try:
            result, error = ray.get(next(self.stream))
        except ray.exceptions.RayTaskError as raised:  # a task or result that cannot be pickled
            return Outcome(self.task, None, str(raised), RAISED)
        except (ray.exceptions.RayError, StopIteration) as gone:
            return Outcome(self.task, None, _in_one_line(gone), LOST)
        if not self.has_begun:
            self.has_begun, self.deadline = True, time.monotonic() + time_limit
            on_begin(self.task)
            return None
        return Outcome(self.task, result, error, RAISED if error else "")

    def stop(self) -> None:
        try:
            ray.cancel(self.stream, force=True)
        except (ray.exceptions.RayError, ValueError) as error:  # it ended by itself, or its cluster did
            _logger.debug("nothing to cancel: %s", error)


def _wait_for_a_word(running: list[_Running[T]]) -> None:
    """Wait until a task says something or runs out of time, a second at most; a moment where none runs."""
    if not running:
        time.sleep(_SECONDS_WITHOUT_ROOM)
        return
    remaining = min(one.deadline for one in running) - time.monotonic()
    patience = max(0.0, min(_POLL_SECONDS, remaining))
    ray.wait([one.stream for one in running], num_returns=1, timeout=patience)


def _room(resources: RunResources) -> int:
    """Count the tasks that the machines of the cluster can run at a time by now."""
    room = 0
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            has = node["Resources"]
            fits = math.floor(has.get("CPU", 0.0) / resources.cpus_per_run + 1e-9)
            if resources.gpus_per_run:
                fits = min(fits, math.floor(has.get("GPU", 0.0) / resources.gpus_per_run + 1e-9))
            room += fits
    return min(room, resources.num_processes) if resources.num_processes else room


@contextmanager
def _cluster(resources: RunResources) -> Iterator[None]:
    """Be connected to the cluster, one of this machine's own where there is no address; leave no trace."""
    if ray.is_initialized():  # Flower's simulation has one in this process: it is not ours to end
        _refuse_without_room(resources)
        yield
        return
    settings = _SETTINGS | dict.fromkeys(THREAD_VARIABLES, "1")
    settings["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # workers find what this process finds
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)  # for the processes that start now
    directory = _short_directory()
    try:
        _connect(resources, directory)
        _refuse_without_room(resources)
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})


def _connect(resources: RunResources, directory: Path) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not resources.address:
        _start_ray(
            num_cpus=math.ceil(resources.num_processes * resources.cpus_per_run),
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            _temp_dir=str(directory),
            **quiet,
        )
        return
    if resources.address.startswith("ray://"):
        hint = "start the sweep on a machine of the cluster, with the address auto"
        raise ParameterError("address", "must not be that of a Ray client", resources.address, hint=hint)
    try:
        _knock(resources.address)
        ray.init(address=resources.address, **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        hint = f"{_in_one_line(error)}; `ray start --head` starts one"
        raise ParameterError(
            "address", "must be that of a Ray cluster", resources.address, hint=hint
        ) from error


def _start_ray(**options: Any) -> None:
    """Start Ray on this machine, again where the machine is too busy for Ray's own patience of 30 s."""
    for attempt in range(1, _START_ATTEMPTS + 1):
        try:
            ray.init(**options)
        except Exception as error:
            # That patience is no setting, and its end has no class of its own.
            if _SLOW_START not in str(error) or attempt == _START_ATTEMPTS:
                raise
        else:
            return


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens: Ray would try for ten minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def _refuse_without_room(resources: RunResources) -> None:
    if not _room(resources):
        asked = f"{resources.cpus_per_run:g} processors and {resources.gpus_per_run:g} GPUs"
        raise ParameterError(
            "resources", "must fit on a machine of the cluster", asked, hint="ask for less, or add a machine"
        )


def _short_directory() -> Path:
    """Make a directory with a name short enough for Ray's sockets."""
    default = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    parent = default if len(default) < _LONGEST_DIRECTORY - 15 or os.name != "posix" else "/tmp"
    return Path(tempfile.mkdtemp(prefix="fc-ray-", dir=parent))


def _in_one_line(error: BaseException) -> str:
    """Say how a process ended: the error's name and its first sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'the worker process is gone'}"
