"""The commands of ``flower-coded``: what they take, print and leave; the work is done in the modules beside.

Modules that take long to import (torch, matplotlib, Flower) are imported inside the commands that need them,
so that ``--help`` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flower_coded import __version__
from flower_coded.cli.exit_codes import COMPLETED, EXIT_STATUS_HELP, refusals_as_status
from flower_coded.cli.plan import PlanGroup
from flower_coded.cli.reference import reference_app
from flower_coded.cli.scenario import copy_scenario, find_scenario, scenario_directories
from flower_coded.errors import ParameterError
from flower_coded.threads import available_processors

__all__ = ["app"]

app = typer.Typer(
    name="flower-coded",
    help="Coding theory and cryptography for Flower: federated learning that holds when participants lie.",
    epilog=EXIT_STATUS_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
plan = typer.Typer(
    cls=PlanGroup, no_args_is_help=True, help="Work out a system's parameters before anything runs."
)
app.add_typer(plan, name="plan")
app.add_typer(reference_app, name="reference")

ResultsOption = Annotated[Path, typer.Option(help="Where runs leave their files.")]
TrackOption = Annotated[
    list[str] | None,
    typer.Option("--track", help="Besides files: tensorboard, wandb or mlflow; several times for several."),
]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Serve the options that belong to no command."""
    if version:
        typer.echo(f"flower-coded {__version__}")
        raise typer.Exit


@app.command(epilog=EXIT_STATUS_HELP)
def run(
    scenario: Annotated[str, typer.Argument(help="A scenario's name, or the path of any Flower app.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings of the scenario: key=value …")
    ] = None,
    results: ResultsOption = Path("results"),
    name: Annotated[str, typer.Option(help="Name of the run's directory; the time by default.")] = "",
    gpus_per_client: Annotated[
        float, typer.Option(min=0.0, help="Share of a GPU for each client, 0.25 for four at a time.")
    ] = 0.0,
    cpus_per_client: Annotated[int, typer.Option(min=1, help="Processor slots that a client occupies.")] = 1,
    cpu_slots: Annotated[int, typer.Option(min=0, help="Slots in all; 0 for the number of processors.")] = 0,
    timeout: Annotated[float | None, typer.Option(help="Stop the run after so many seconds.")] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Show progress only; the log is in log.txt.")
    ] = False,
    track: TrackOption = None,
) -> None:
    """Run a scenario through `flwr run`, in a SuperLink of its own, and tell how it ended.

    The scenario's settings are those of its pyproject.toml; `flower-coded scenarios` lists them. What the run
    writes is in results/<scenario>/<time>/.
    """
    with refusals_as_status():
        from flower_coded.cli.running import run_scenario

        outcome, directory = run_scenario(
            find_scenario(scenario),
            settings or [],
            results=results,
            name=name,
            cpus_per_client=cpus_per_client,
            gpus_per_client=gpus_per_client,
            cpu_slots=cpu_slots,
            timeout=timeout,
            verbose=not quiet,
            track=track or (),
        )
    done = outcome.exit_status == COMPLETED
    typer.secho(
        f"{outcome.status} after {outcome.seconds:.0f} s {outcome.details}".rstrip(),
        fg=typer.colors.GREEN if done else typer.colors.RED,
    )
    typer.echo(f"files: {directory.path}")
    if directory.report_path.is_file():
        typer.echo(f"report: {directory.report_path}")
    raise typer.Exit(outcome.exit_status)


@app.command()
def scenarios() -> None:
    """List the scenarios with their settings, defaults and what they mean."""
    with refusals_as_status():
        for directory in scenario_directories():
            for file in sorted(directory.glob("*/pyproject.toml")):
                found = find_scenario(str(file.parent))
                typer.secho(found.name, bold=True, nl=False)
                typer.echo(f"  {found.description}")
                for key, value in found.defaults.items():
                    explained = found.explanations.get(key, "")
                    typer.echo(f"    {f'{key}={value}':32}{'  ' * bool(explained)}{explained}".rstrip())
                typer.echo("")


@app.command(epilog=EXIT_STATUS_HELP)
def demo(
    results: ResultsOption = Path("results"),
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Flower's whole log.")] = False,
) -> None:
    """Run the main scenario: FedAvg and a coded ensemble under the same backdoor attack."""
    with refusals_as_status():
        from flower_coded.cli.demo import run_demo

        raise typer.Exit(run_demo(results=results, verbose=verbose))


@app.command(epilog=EXIT_STATUS_HELP)
def playground(
    directory: Annotated[Path, typer.Argument(help="Where the page goes.")] = Path("playground"),
    archives: Annotated[
        Path | None,
        typer.Option(help="A folder with the two archives of Python for browsers; fetched otherwise."),
    ] = None,
    serve: Annotated[bool, typer.Option(help="Serve the page after writing it.")] = True,
    host: Annotated[
        str, typer.Option(help="0.0.0.0 lets a class open it from other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
) -> None:
    """Make a page on which a class plays the lesson in its browsers, and serve it.

    Python itself runs on the page; the directory can be put on any server of files. The first time some 9 MB
    are fetched from the npm registry and kept.
    """
    with refusals_as_status():
        from flower_coded.cli.playground import serve_page, write_page

        typer.echo(f"page: {write_page(directory, archives)}")
        if serve:
            serve_page(directory, host, port)


@app.command()
def codes(
    num_users: Annotated[int, typer.Option("--users", "-n", min=2, help="n, the users of the code.")] = 12,
    num_attackers: Annotated[
        int, typer.Option("--attackers", "-k", min=1, help="k, the colluding users it withstands.")
    ] = 4,
    kind: Annotated[str, typer.Option(help="detection, correction or tracking.")] = "correction",
    row_weight: Annotated[
        int, typer.Option("--row-weight", "-r", min=0, help="Show this code's matrix too; 0 for none.")
    ] = 0,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this CSV file.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw it into this PNG or SVG file.")] = None,
) -> None:
    """Explore the trade-off of subset codes: for n users and k attackers, models against data per model."""
    with refusals_as_status():
        from flower_coded.cli.codes import explore

        explore(
            kind=kind,
            num_attackers=num_attackers,
            num_users=num_users,
            row_weight=row_weight,
            csv=csv,
            picture=picture,
        )


@app.command(epilog=EXIT_STATUS_HELP)
def new(
    scenario: Annotated[str, typer.Argument(help="The scenario to start from.")],
    directory: Annotated[Path, typer.Argument(help="Where to copy it; must not exist yet.")],
) -> None:
    """Copy a scenario into a directory of yours: a Flower app to change, run and publish."""
    with refusals_as_status():
        target = copy_scenario(find_scenario(scenario), directory)
        typer.echo(f"{target}\nrun it: flower-coded run {directory}")


@app.command(epilog=EXIT_STATUS_HELP)
def sweep(
    sweep_file: Annotated[
        Path, typer.Argument(metavar="SWEEP.TOML", help="Attacks, defenses, seeds: docs/sweep.md.")
    ],
    results: ResultsOption = Path("results"),
    name: Annotated[str, typer.Option(help="Name of the directory; the file's name by default.")] = "",
    processes: Annotated[
        int,
        typer.Option(min=0, help="Runs at a time; 0: one per processor, all a cluster holds, 1 in a shard."),
    ] = 0,
    address: Annotated[str, typer.Option(help="The Ray cluster this machine is part of: auto.")] = "",
    cpus_per_run: Annotated[float, typer.Option(help="Processors that Ray sets aside for a run.")] = 1.0,
    gpus_per_run: Annotated[float, typer.Option(help="Share of a GPU for a run: 0.25.")] = 0.0,
    shard: Annotated[str, typer.Option(help="i/n: every n-th run from the i-th on, for job arrays.")] = "",
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Run nothing; compose table and report from what is there.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run again what failed before.")
    ] = False,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Go on beside records that other versions made.")
    ] = False,
    rerun_drifted: Annotated[
        bool, typer.Option("--rerun-drifted", help="Run again what other versions have recorded.")
    ] = False,
    track: TrackOption = None,
) -> None:
    """Run every attack against every defense, and write one report about it.

    A sweep that was stopped, however, goes on where it was; what is done is not run again.
    """
    with refusals_as_status():
        from flower_coded.cli.sweep import run_sweep_file
        from flower_coded.sweep.drift import Drift
        from flower_coded.sweep.outcome import RunResources

        if accept_drift and rerun_drifted:
            raise ParameterError("drift", "must be accepted or run again", "both")
        by_itself = 0 if address else 1 if shard else available_processors()
        status = run_sweep_file(
            sweep_file,
            results=results,
            name=name,
            resources=RunResources(processes or by_itself, address, cpus_per_run, gpus_per_run),
            shard=shard,
            only_report=report_only,
            track=track or (),
            retries_failures=retry_failed,
            drift=Drift.ACCEPT if accept_drift else Drift.RERUN if rerun_drifted else Drift.REFUSE,
        )
        raise typer.Exit(status)


@app.command()
def report(
    run_directories: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="A run's directory, or a parent of some; or several.")
    ],
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Compose overview.html anew from the run's tables and pictures.")
    ] = False,
) -> None:
    """Print a run's table and say where its report is, composing one if it has none; or compare several."""
    with refusals_as_status():
        from flower_coded.reporting.comparison import compare_runs
        from flower_coded.reporting.run_directory import RunDirectory

        runs = [RunDirectory.open(path) for path in run_directories]
        if len(runs) > 1:
            settings, found = compare_runs(runs)
            differing = settings.to_text() if settings.rows else "The settings are the same."
            typer.echo(f"{differing}\n\n{found.to_text()}")
            return
        [run] = runs
        typer.echo(run.metrics().to_text())
        page = run.report_path
        if rebuild or not page.is_file():
            page = run.report().write(run.path / ("overview.html" if page.is_file() else page.name))
        typer.echo(f"\nreport: {page}")
