"""Work that goes on where it was: tasks by key, a record for each in a store, nothing done twice.

A worker writes its record itself as soon as it has it, so that what is done is on disk, whatever becomes of
the process that asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from flower_coded.sweep.store import SweepStore
from flower_coded.sweep.workers import Outcome, work_through

__all__ = ["do_missing"]

T = TypeVar("T")
_Record = dict[str, Any]


def do_missing(
    tasks: Mapping[str, T],
    work: Callable[[T], _Record],
    store: SweepStore,
    *,
    record_failure: Callable[[T, str], _Record],
    num_processes: int,
    time_limit: float,
) -> Iterator[tuple[str, _Record]]:
    """Do the tasks that have no record yet.

    Parameters
    ----------
    tasks : mapping of str to task
        By key; equal keys are equal tasks.
    work : callable
        A function of a module: ``work(task)`` gives the record, with ``status``.
    store : SweepStore
        Held by the caller, see :meth:`SweepStore.locked`.
    record_failure : callable
        ``record_failure(task, error)`` gives the record of a task whose work raised, died or ran out of time.
    num_processes, time_limit
        See :func:`~flower_coded.sweep.workers.work_through`.

    Yields
    ------
    (str, dict)
        Key and record, as they are done.
    """
    done = store.keys()
    missing = [(key, task) for key, task in tasks.items() if key not in done]
    outcomes = work_through(
        missing,
        partial(_work_and_write, str(store.path), work),
        num_processes=num_processes,
        time_limit=time_limit,
        on_begin=lambda item: store.note("begun", item[0]),
    )
    for outcome in outcomes:
        key = outcome.task[0]
        record = _recorded(outcome, record_failure, store)
        store.note(str(record["status"]), key)
        yield key, record


def _work_and_write(directory: str, work: Callable[[T], _Record], item: tuple[str, T]) -> _Record:
    key, task = item
    record = work(task)
    SweepStore(Path(directory)).write(key, record)
    return record


def _recorded(
    outcome: Outcome[tuple[str, T]], record_failure: Callable[[T, str], _Record], store: SweepStore
) -> _Record:
    if not outcome.error:
        return dict(outcome.result)
    key, task = outcome.task
    record = record_failure(task, outcome.error)
    if store.write(key, record):
        return record
    return store.read(key)  # the worker had written its record before it died
