"""``flower-coded grid``: run a grid of attacks against defences, and write its sheet."""

from __future__ import annotations

import logging
from pathlib import Path

import typer

from flower_coded.cli.exit_codes import COMPLETED, FAILED
from flower_coded.grid.plan import GridPlan, read_plan
from flower_coded.grid.runner import grid_table, run_grid
from flower_coded.grid.store import GridStore
from flower_coded.reporting.run_directory import RunDirectory
from flower_coded.reporting.sheet import write_sheet

__all__ = ["run_grid_file"]

_NOT_IN_TABLE = {"traceback"}


def run_grid_file(
    grid_file: Path,
    *,
    results: Path,
    name: str = "",
    num_processes: int = 1,
    only_sheet: bool = False,
    retries_failures: bool = False,
) -> int:
    """Run what a grid file asks for and is not done yet; write table and sheet; return the exit status.

    Parameters
    ----------
    grid_file : Path
        TOML, see :func:`flower_coded.grid.plan.read_plan`.
    results : Path
        Parent of all results; the grid's directory is ``results/grid/<name>``.
    name : str
        The file's name without its ending by default.
    num_processes : int
        Runs at a time.
    only_sheet : bool
        Run nothing; compose table and sheet from what is there.
    retries_failures : bool
        Run again what failed before.

    Returns
    -------
    int
        0, or 1 where runs failed; they are in the table with the reason.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)  # strategies are made to be checked, and log each time
    plan = read_plan(grid_file)
    store = GridStore(results.expanduser() / "grid" / (name or grid_file.stem))
    if not only_sheet:
        missing = len({run.key for run in plan.runs} - store.keys())
        typer.echo(f"{len(plan.runs)} runs, {missing} to do, {num_processes} at a time; files: {store.path}")
        run_grid(
            plan,
            store,
            num_processes=num_processes,
            retries_failures=retries_failures,
            on_progress=lambda progress: typer.echo(str(progress)),
        )
    return _write_results(plan, store)


def _write_results(plan: GridPlan, store: GridStore) -> int:
    records = grid_table(plan, store)
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
        typer.secho(f"failed: {record['defence']} under {record['attack']}: {record['error']}", fg="red")
    if len(failed) < len(records):
        for page in write_sheet(directory, records, title=plan.title):
            typer.echo(f"sheet: {page}")
    return FAILED if failed else COMPLETED
