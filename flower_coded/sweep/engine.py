"""Work through a list of independent tasks: inside this process one by one, or as tasks of Ray's.

An exception in a task comes back as its traceback and costs that task only. One process needs no Ray, whose
start takes seconds; what it cannot do is outlive a task that kills it.
"""

from __future__ import annotations

import math
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from flower_coded.sweep.outcome import RAISED, TIME_LIMIT, Outcome, RunResources

__all__ = ["work_through"]

T = TypeVar("T")


def work_through(
    tasks: Iterable[T],
    work: Callable[[T], Any],
    *,
    resources: RunResources,
    time_limit: float,
    on_begin: Callable[[T], None] = lambda task: None,
) -> Iterator[Outcome[T]]:
    """Do ``work(task)`` for every task, and give each outcome as it comes.

    Parameters
    ----------
    tasks : iterable
        What can be pickled; taken one by one as there is room.
    work : callable
        A function of a module, taking a task.
    resources : RunResources
        Where, and how many at a time.
    time_limit : float
        Seconds for one task; importing what the work needs not counted. Ray ends the task's process. Inside
        this process the task is interrupted, in Python code of the main thread on Linux and macOS; elsewhere
        there is no limit.
    on_begin : callable
        Called when a task begins.

    Yields
    ------
    Outcome
        One per task, in the order in which they end.

    Examples
    --------
    >>> [found] = work_through([-3], abs, resources=RunResources(), time_limit=60)
    >>> found.result
    3
    """
    if resources.uses_ray:
        from flower_coded.sweep.ray_tasks import work_through_with_ray

        yield from work_through_with_ray(
            tasks, work, resources=resources, time_limit=time_limit, on_begin=on_begin
        )
        return
    for task in tasks:
        on_begin(task)
        yield _do(task, work, time_limit)


def _do(task: T, work: Callable[[T], Any], time_limit: float) -> Outcome[T]:
    try:
        with threadpool_limits(1), _alarm(time_limit):
            return Outcome(task, work(task))
    except _TimeIsUp:
        return Outcome(task, None, f"not done within {time_limit:g} s", TIME_LIMIT)
    except Exception:  # noqa: BLE001 - whatever the task raised is its outcome
        return Outcome(task, None, traceback.format_exc(), RAISED)


class _TimeIsUp(BaseException):
    """No Exception: a ClientApp's error becomes its reply, and the run would go on."""


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise in the main thread after so many seconds, and each second again where that was swallowed."""
    if (
        math.isinf(seconds)
        or not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
