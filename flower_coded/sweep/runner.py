"""All runs of a sweep, those already done left out, and the table of what they found."""

from __future__ import annotations

import datetime as dt
import gc
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from flower_coded.errors import ParameterError
from flower_coded.sweep.drift import Drift, describe_drift, meet_drift, versions
from flower_coded.sweep.execution import execute
from flower_coded.sweep.outcome import LOST, Outcome, RunResources
from flower_coded.sweep.plan import SweepPlan, SweepRun
from flower_coded.sweep.resumable import do_missing
from flower_coded.sweep.store import SweepStore

__all__ = ["Progress", "part_of_plan", "run_sweep", "sweep_table"]

_logger = logging.getLogger(__name__)

_SHOWN = ("accuracy", "attack-success")


@dataclass(frozen=True)
class Progress:
    """One run that ended.

    Parameters
    ----------
    run : SweepRun
        Which.
    record : mapping
        What is in its file.
    num_done, num_runs : int
        Runs of the plan that are done or failed by now, of all.
    seconds_left : float
        Estimated from the mean time per defense so far.
    """

    run: SweepRun
    record: Mapping[str, Any]
    num_done: int
    num_runs: int
    seconds_left: float

    def __str__(self) -> str:
        run, record = self.run, self.record
        mix = "" if run.alpha == "iid" else f", alpha {run.alpha}"
        what = f"{run.defense} under {run.attack} ({run.attackers} attackers, seed {run.seed}{mix})"
        if record["status"] != "done":
            found = f"FAILED: {record['error']}"
        else:
            shown = [f"{name} {record[name]:.3f}" for name in _SHOWN if record.get(name) is not None]
            found = ", ".join(shown) + f"  ({record['seconds']:.1f} s)"
        left = dt.timedelta(seconds=round(self.seconds_left))
        return f"{self.num_done:4d}/{self.num_runs}  {what}: {found}  {left} left"


def run_sweep(
    plan: SweepPlan,
    store: SweepStore,
    *,
    resources: RunResources = RunResources(),  # noqa: B008 - frozen
    shard: tuple[int, int] = (1, 1),
    retries_failures: bool = False,
    drift: Drift = Drift.REFUSE,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> int:
    """Run what is not done yet and what nobody else is doing.

    Runs that were lost with their process or machine are run again; others that failed, if asked for.

    Parameters
    ----------
    plan : SweepPlan
        What to run.
    store : SweepStore
        Where records are; several processes may work on it.
    resources : RunResources
        Where runs go, and how many at a time.
    shard : (int, int)
        ``(i, n)``: every ``n``-th run of the plan from the ``i``-th on.
    retries_failures : bool
        Whether runs that failed before are run again.
    drift : Drift
        What becomes of records that other versions made.
    on_progress : callable
        Called after every run.

    Returns
    -------
    int
        Runs that were run now.

    Raises
    ------
    ParameterError
        If there are records of other versions and nobody said what to do with them.
    """
    runs = {run.key: run for run in part_of_plan(plan, shard)}
    store.clear_leftovers()
    store.set_aside(runs, lambda record: record.get("cause") == LOST, "lost")
    if retries_failures:
        store.set_aside(runs, lambda record: record.get("status") != "done", "failed")
    meet_drift(runs, store, drift)
    done = store.keys()
    clock = _Clock([run for key, run in runs.items() if key not in done], resources.num_processes)
    num_done, count, now = len(runs) - len(clock.pending), 0, versions()
    outcomes = do_missing(
        runs,
        _recorded_run,
        store,
        record_failure=_recorded_failure,
        resources=resources,
        time_limit=plan.time_limit,
    )
    for count, (key, record) in enumerate(outcomes, start=1):
        if differing := describe_drift([record], now):
            _logger.warning("%s was run elsewhere under other versions: %s", key, differing)
        left = clock.seconds_left_after(runs[key], record)
        on_progress(Progress(runs[key], record, num_done + count, len(runs), left))
    return count


def part_of_plan(plan: SweepPlan, shard: tuple[int, int]) -> tuple[SweepRun, ...]:
    """Return the runs of one shard: together all shards have all runs, each once.

    Raises
    ------
    ParameterError
        If the shard's number is not among 1 to their number.
    """
    number, num_shards = shard
    if not 1 <= number <= num_shards:
        raise ParameterError("shard", "must be i/n with 1 <= i <= n", f"{number}/{num_shards}", hint="1/4")
    return plan.runs[number - 1 :: num_shards]


def sweep_table(plan: SweepPlan, store: SweepStore) -> list[dict[str, Any]]:
    """Collect one record per run of the plan, in its order, as far as there are any.

    ``accuracy-loss`` is added: the accuracy of the same defense without attack, minus that under attack.
    """
    done = store.keys()
    records = [store.read(run.key) for run in plan.runs if run.key in done]
    clean = {
        _without_attack(record): record["accuracy"]
        for record in records
        if record["attack"] == "none" and record["status"] == "done"
    }
    for record in records:
        reference = clean.get(_without_attack(record))
        if reference is not None and record["status"] == "done":
            record["accuracy-loss"] = reference - record["accuracy"]
    return records


def _recorded_run(run: SweepRun) -> dict[str, Any]:
    """Run quietly, on one thread, and with cheap garbage collection."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    # Some of Flower's strategies collect garbage after every array: 2 s a round with all of torch's objects.
    gc.collect()
    gc.freeze()
    try:
        return {**_heading(run), "status": "done", **execute(run)}
    finally:
        gc.unfreeze()


def _recorded_failure(outcome: Outcome[SweepRun]) -> dict[str, Any]:
    told = {"error": outcome.error.strip().splitlines()[-1], "traceback": outcome.error}
    return {**_heading(outcome.task), "status": "failed", "cause": outcome.cause, **told}


def _heading(run: SweepRun) -> dict[str, Any]:
    return {"key": run.key, **run.configuration(), **versions()}


def _without_attack(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return record["defense"], record["alpha"], record["seed"]


class _Clock:
    """Time left, from how long runs of each defense took so far."""

    def __init__(self, missing: list[SweepRun], num_processes: int) -> None:
        self.pending = {run.key: run.defense for run in missing}
        self.num_processes = num_processes
        self.taken: dict[str, list[float]] = defaultdict(list)
        self.started = time.monotonic()

    def seconds_left_after(self, run: SweepRun, record: Mapping[str, Any]) -> float:
        self.pending.pop(run.key, None)
        elapsed = time.monotonic() - self.started
        self.taken[run.defense].append(float(record.get("seconds") or elapsed))
        overall = fmean(seconds for each in self.taken.values() for seconds in each)
        expected = (
            fmean(self.taken[defense]) if self.taken.get(defense) else overall
            for defense in self.pending.values()
        )
        return sum(expected) / max(1, self.num_processes)
