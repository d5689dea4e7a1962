"""``flower-coded sweep``: sweep over attacks against defenses, and write its robustness report."""

from __future__ import annotations

import logging
from pathlib import Path

import typer

from flower_coded.cli.exit_codes import COMPLETED, FAILED
from flower_coded.reporting.robustness_report import write_robustness_report
from flower_coded.reporting.run_directory import RunDirectory
from flower_coded.sweep.plan import SweepPlan, read_plan
from flower_coded.sweep.runner import run_sweep, sweep_table
from flower_coded.sweep.store import SweepStore

__all__ = ["run_sweep_file"]

_NOT_IN_TABLE = {"traceback"}


def run_sweep_file(
    sweep_file: Path,
    *,
    results: Path,
    name: str = "",
    num_processes: int = 1,
    only_report: bool = False,
    retries_failures: bool = False,
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
    num_processes : int
        Runs at a time.
    only_report : bool
        Run nothing; compose table and report from what is there.
    retries_failures : bool
        Run again what failed before.

    Returns
    -------
    int
        0, or 1 where runs failed; they are in the table with the reason.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)  # strategies are made to be checked, and log each time
    plan = read_plan(sweep_file)
    store = SweepStore(results.expanduser() / "sweep" / (name or sweep_file.stem))
    if not only_report:
        missing = len({run.key for run in plan.runs} - store.keys())
        typer.echo(f"{len(plan.runs)} runs, {missing} to do, {num_processes} at a time; files: {store.path}")
        run_sweep(
            plan,
            store,
            num_processes=num_processes,
            retries_failures=retries_failures,
            on_progress=lambda progress: typer.echo(str(progress)),
        )
    return _write_results(plan, store)


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
    return FAILED if failed else COMPLETED
