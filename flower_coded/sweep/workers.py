"""Processes that work through a list: one task each at a time, and a death costs one task only.

Workers are spawned, not forked (torch and Flower have threads), and use one thread each. A worker watches its
parent and ends when the parent does, however it does. An exception in a task comes back as its traceback; a
worker that dies or runs out of time is replaced, and its task is reported so. What it leaves out: results
larger than a pipe is good for.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from flower_coded.threads import THREAD_VARIABLES

__all__ = ["Outcome", "work_through"]

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of a task.

    Parameters
    ----------
    task
        As it was given.
    result
        What the work returned; None if it failed.
    error : str
        The traceback, or how the worker ended; empty if it did not fail.
    """

    task: T
    result: Any
    error: str = ""

    def unwrap(self) -> Any:
        """Return the result.

        Raises
        ------
        RuntimeError
            If the work failed; the message is ``error``.
        """
        if self.error:
            raise RuntimeError(self.error)
        return self.result


def work_through(
    tasks: Iterable[T],
    work: Callable[[T], Any],
    *,
    num_processes: int,
    time_limit: float,
    on_begin: Callable[[T], None] = lambda task: None,
) -> Iterator[Outcome[T]]:
    """Do ``work(task)`` for every task in worker processes, and give each outcome as it comes.

    Parameters
    ----------
    tasks : iterable
        What can be pickled.
    work : callable
        A function of a module, taking a task.
    num_processes : int
        Workers at a time.
    time_limit : float
        Seconds for one task, after which its worker is killed; importing what the work needs not counted.
    on_begin : callable
        Called before a task is handed to a worker.

    Yields
    ------
    Outcome
        One per task, in the order in which they end.
    """
    waiting, workers = deque(tasks), list[_Worker[T]]()
    try:
        workers += [_Worker(work) for _ in range(min(num_processes, len(waiting)))]
        for worker in workers:
            _hand_over(worker, waiting, time_limit, on_begin)
        while busy := [worker for worker in workers if worker.task is not None]:
            remaining = min(worker.deadline for worker in busy) - time.monotonic()
            patience = None if math.isinf(remaining) else max(0.0, remaining)
            wait([worker.connection for worker in busy], timeout=patience)
            for worker in busy:
                outcome = worker.collect(time_limit)
                if outcome is None:
                    continue
                if not worker.is_usable:
                    workers.remove(worker)
                    worker.stop()
                    worker = _Worker(work)  # noqa: PLW2901
                    workers.append(worker)
                yield outcome
                _hand_over(worker, waiting, time_limit, on_begin)
    finally:
        for worker in workers:
            worker.stop()


def _hand_over(
    worker: _Worker[T], waiting: deque[T], time_limit: float, on_begin: Callable[[T], None]
) -> None:
    if waiting:
        task = waiting.popleft()
        on_begin(task)
        worker.give(task, time_limit)


class _Worker(Generic[T]):
    """A process, the pipe to it, and what it is doing."""

    def __init__(self, work: Callable[[T], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        with _one_thread_each():
            self.process.start()
        theirs.close()
        self.task: T | None = None
        self.deadline, self.is_ready, self.is_usable = math.inf, False, True

    def give(self, task: T, time_limit: float) -> None:
        self.task = task
        if self.is_ready:
            self.deadline = time.monotonic() + time_limit
        self.connection.send(task)

    def collect(self, time_limit: float) -> Outcome[T] | None:
        """Return the outcome of the task, if there is one by now."""
        assert self.task is not None
        task = self.task
        if self.connection.poll():
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                self.task, self.is_usable = None, False
                self.process.join(timeout=5)
                return Outcome(task, None, f"the worker process died, exit code {self.process.exitcode}")
            if not self.is_ready:  # the first message says that the imports are done: now time counts
                self.is_ready, self.deadline = True, time.monotonic() + time_limit
                return None
            self.task = None
            return Outcome(task, *message)
        if time.monotonic() >= self.deadline:
            self.task, self.is_usable = None, False
            return Outcome(task, None, f"not done within {time_limit:g} s")
        return None

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """Work on what comes through the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection.send(None)
    with ThreadPoolExecutor(max_workers=1) as executor:
        while True:
            try:
                task = connection.recv()
            except EOFError:
                return
            future = executor.submit(work, task)
            error = future.exception()
            if error is None:
                connection.send((future.result(), ""))
            else:
                connection.send((None, "".join(traceback.format_exception(error))))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let a process that is started now see the variables that make numerical libraries single-threaded."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
