"""``flower-coded sweep``: sweep over attacks against defenses, and write its robustness report."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import typer

from flower_coded.cli.exit_codes import COMPLETED, FAILED
from flower_coded.errors import ParameterError
from flower_coded.reporting.robustness_report import write_robustness_report
from flower_coded.reporting.run_directory import RunDirectory
from flower_coded.reporting.tracking import check_sinks, open_sinks
from flower_coded.sweep.claims import Claims
from flower_coded.sweep.drift import Drift, pending_drift
from flower_coded.sweep.outcome import RunResources
from flower_coded.sweep.plan import SweepPlan, SweepRun, read_plan
from flower_coded.sweep.runner import Progress, part_of_plan, run_sweep, sweep_table
from flower_coded.sweep.store import SweepStore

__all__ = ["read_shard", "run_sweep_file"]

_NOT_IN_TABLE = {"traceback"}
_ASKED = ("attack", "defense", "alpha", "attackers", "seed", "status")


def run_sweep_file(
    sweep_file: Path,
    *,
    results: Path,
    name: str = "",
    resources: RunResources,
    shard: str = "",
    only_report: bool = False,
    retries_failures: bool = False,
    drift: Drift = Drift.REFUSE,
    track: Sequence[str] = (),
) -> int:
    """Run what a sweep file asks for and is not done yet; write table and report; return the exit status.

    Parameters
    ----------
    sweep_file : Path
        TOML, see :func:`flower_coded.sweep.plan.read_plan`.
    results : Path
        Parent of all results; the directory is ``results/sweep/<name>``.
    name : str
        The file's name without its ending by default.
    resources : RunResources
        Where runs go, and how many at a time.
    shard : str
        ``i/n``: every n-th run from the i-th on; the shard that ends last writes the report.
    only_report : bool
        Run nothing; compose table and report from what is there.
    retries_failures : bool
        Run again what failed before.
    drift : Drift
        What becomes of records that other versions made; at a terminal, refusing means asking.
    track : sequence of str
        Trackers that get every run's settings and numbers as it is done, besides ``results.jsonl``.

    Returns
    -------
    int
        0, or 1 where runs failed (they are in the table with the reason) or were left undone by everybody.
    """
    check_sinks(track)
    logging.getLogger("flwr").setLevel(logging.ERROR)  # strategies are made to be checked, and log each time
    plan = read_plan(sweep_file)
    numbers = read_shard(shard)
    part = part_of_plan(plan, numbers)
    store = SweepStore(results.expanduser() / "sweep" / (name or sweep_file.stem))
    if only_report:
        return _write_results(plan, store)
    missing = len({run.key for run in part} - store.keys())
    own = f" (shard {shard} of {len(plan.runs)} runs)" if shard else ""
    places = f"at {resources.address}" if resources.address else f"{resources.num_processes} at a time"
    typer.echo(f"{len(part)} runs{own}, {missing} to do, {places}; files: {store.path}")
    with closing(
        open_sinks(track, store.path, f"sweep {store.path.name}", typer.echo, goes_on=True)
    ) as sinks:

        def on_progress(progress: Progress) -> None:
            typer.echo(str(progress))
            sinks.result(progress.run.key, *_settings_and_numbers(progress.record))

        share = partial(run_sweep, plan, store, resources=resources, shard=numbers, on_progress=on_progress)
        met = _ask_about_drift(part, store) if drift is Drift.REFUSE else drift
        share(retries_failures=retries_failures, drift=met)
        lost, before = _undone_by_anybody(part, store), len(part) + 1
        while 0 < len(lost) < before:  # others gave them up, or have set them aside and not begun
            before = len(lost)
            share(drift=Drift.REFUSE if met is Drift.REFUSE else Drift.ACCEPT)  # set aside once
            lost = _undone_by_anybody(part, store)
    left = {run.key for run in plan.runs} - store.keys()
    if lost:
        told = f"{len(lost)} runs are not done, and nobody is doing them; the same command goes on"
        typer.echo(told, err=True)
    others = len(left - lost)
    if others and shard:
        typer.echo(f"{others} runs of other shards are not done yet; the last shard writes the report")
        return FAILED if lost else _status(sweep_table(plan, store))
    if others:
        typer.echo(f"{others} runs are being done elsewhere; the same command completes the report later")
    status = _write_results(plan, store)
    return FAILED if lost else status


def _undone_by_anybody(part: Sequence[SweepRun], store: SweepStore) -> set[str]:
    """Return the runs that have no record, and that nobody alive has claimed."""
    claimed = Claims(store.path / "claims").held_by_others()  # asked first: who ends now leaves a record
    return {run.key for run in part} - claimed - store.keys()


def read_shard(text: str) -> tuple[int, int]:
    """Read ``i/n``; (1, 1) where there is nothing to read.

    Raises
    ------
    ParameterError
        If it is no pair of numbers.

    Examples
    --------
    >>> read_shard("2/4")
    (2, 4)
    """
    number, slash, count = (text or "1/1").partition("/")
    if not (slash and number.isascii() and number.isdigit() and count.isascii() and count.isdigit()):
        raise ParameterError("shard", "must be i/n with 1 <= i <= n", text, hint="1/4")
    return int(number), int(count)


def _settings_and_numbers(record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """Part a record into what was asked for and what was found."""
    asked = {key: record[key] for key in _ASKED if key in record}
    found = {
        key: float(value)
        for key, value in record.items()
        if key not in asked and isinstance(value, int | float) and not isinstance(value, bool)
    }
    return asked, found


def _ask_about_drift(part: Sequence[SweepRun], store: SweepStore) -> Drift:
    """Ask at a terminal what to do with records of other versions; elsewhere nobody answers."""
    differing = pending_drift((run.key for run in part), store) if sys.stdin.isatty() else ""
    if not differing:
        return Drift.REFUSE
    typer.secho(f"Records of this sweep were made under other versions: {differing}", fg="yellow")
    answer = typer.prompt("accept them, rerun them, or refuse to go on?", default=Drift.REFUSE.value)
    return Drift(answer) if answer in {each.value for each in Drift} else Drift.REFUSE


def _write_results(plan: SweepPlan, store: SweepStore) -> int:
    records = sweep_table(plan, store)
    if not records:
        typer.echo("nothing is done yet")
        return COMPLETED
    directory = RunDirectory(store.path)
    directory.write_config({"title": plan.title, "runs": len(plan.runs)})
    directory.write_metrics(
        {key: value for key, value in record.items() if key not in _NOT_IN_TABLE} for record in records
    )
    typer.echo(f"table: {store.path / 'metrics.csv'}")
    failed = [record for record in records if record["status"] != "done"]
    for record in failed:
        typer.secho(f"failed: {record['defense']} under {record['attack']}: {record['error']}", fg="red")
    if len(failed) < len(records):
        for page in write_robustness_report(directory, records, title=plan.title, num_planned=len(plan.runs)):
            typer.echo(f"robustness report: {page}")
    return _status(records)


def _status(records: Sequence[Mapping[str, Any]]) -> int:
    return FAILED if any(record["status"] != "done" for record in records) else COMPLETED
