"""Work that goes on where it was: tasks by key, a record for each in a store, nothing done twice.

Each task is claimed when it is handed out, so that several processes, on several machines, may work on one
store. Records are written by the process that asked for the work; where the work is done needs no access to
the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from flower_coded.sweep.claims import Claims
from flower_coded.sweep.engine import work_through
from flower_coded.sweep.outcome import Outcome, RunResources
from flower_coded.sweep.store import SweepStore

__all__ = ["do_missing"]

T = TypeVar("T")
_Record = dict[str, Any]


def do_missing(
    tasks: Mapping[str, T],
    work: Callable[[T], _Record],
    store: SweepStore,
    *,
    record_failure: Callable[[Outcome[T]], _Record],
    resources: RunResources,
    time_limit: float,
) -> Iterator[tuple[str, _Record]]:
    """Do the tasks that have no record yet and that no other process is doing.

    Parameters
    ----------
    tasks : mapping of str to task
        By key; equal keys are equal tasks.
    work : callable
        A function of a module: ``work(task)`` gives the record, with ``status``.
    store : SweepStore
        Where records go; others may work on it at the same time.
    record_failure : callable
        Gives the record of a task whose work raised, was lost or ran out of time.
    resources, time_limit
        See :func:`~flower_coded.sweep.engine.work_through`.

    Yields
    ------
    (str, dict)
        Key and record, as they are done.
    """
    claims = Claims(store.path / "claims")
    with claims.refreshed():
        outcomes = work_through(
            _claimed(tasks, store, claims),
            partial(_work_on, work),
            resources=resources,
            time_limit=time_limit,
            on_begin=lambda item: store.note("begun", item[0]),
        )
        for outcome in outcomes:
            key, task = outcome.task
            if outcome.error:
                record = record_failure(Outcome(task, None, outcome.error, outcome.cause))
            else:
                record = dict(outcome.result)
            is_first = store.write(key, record)
            claims.release(key)
            if is_first:
                store.note(str(record["status"]), key)
                yield key, record


def _claimed(tasks: Mapping[str, T], store: SweepStore, claims: Claims) -> Iterator[tuple[str, T]]:
    """Hand out tasks that nobody has done or does, claimed."""
    for key, task in tasks.items():
        if store.has(key) or not claims.take(key):
            continue
        if store.has(key):  # done, and its claim given up, between the two looks
            claims.release(key)
            continue
        yield key, task


def _work_on(work: Callable[[T], _Record], item: tuple[str, T]) -> _Record:
    return work(item[1])
