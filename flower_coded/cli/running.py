"""``flower-coded run``: one scenario through ``flwr run``: its log, its files, its true exit status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

import typer

from flower_coded.cli.environment import SimulationResources
from flower_coded.cli.exit_codes import COMPLETED
from flower_coded.cli.scenario import Scenario, Setting
from flower_coded.cli.simulation import FlowerSession, RunOutcome
from flower_coded.reporting.run_directory import RunDirectory

__all__ = ["interruptible", "run_scenario"]

_INTERRUPTED, _TERMINATED = 130, 143
_PROGRESS = "progress:"  # marks the lines of a log that a reader in a hurry wants


def run_scenario(
    scenario: Scenario,
    assignments: Sequence[str],
    *,
    results: Path,
    name: str = "",
    cpus_per_client: int = 1,
    gpus_per_client: float = 0.0,
    cpu_slots: int = 0,
    timeout: float | None = None,
    verbose: bool = True,
) -> tuple[RunOutcome, RunDirectory]:
    """Run a scenario once and keep its log beside what it writes.

    A scenario that has the setting ``out`` gets there the absolute path of a new directory
    ``results/<scenario>/<name>``, unless the assignments name another; one that has ``num-clients`` gets a
    simulation of that many nodes.

    Parameters
    ----------
    scenario : Scenario
        What to run.
    assignments : sequence of str
        Settings as ``key=value``.
    results : Path
        Parent of all results.
    name : str
        Name of the run's directory; the time by default.
    cpus_per_client, gpus_per_client, cpu_slots
        See :class:`~flower_coded.cli.environment.SimulationResources`.
    timeout : float, optional
        Seconds after which the run is stopped.
    verbose : bool
        Show Flower's log; otherwise only the lines that the scenario marks as progress.

    Raises
    ------
    ParameterError
        If a setting is refused; nothing was started then.
    SimulationError
        If Flower does not start.
    """
    settings = scenario.settings(assignments)
    resources = SimulationResources(
        num_clients=int(settings.get("num-clients", scenario.num_clients)),
        cpus_per_client=cpus_per_client,
        gpus_per_client=gpus_per_client,
        cpu_slots=cpu_slots,
    )
    run = _run_directory(scenario, settings, results=results, name=name)
    if "out" in scenario.defaults:
        settings["out"] = str(run.path)
    run.write_config({"scenario": scenario.name, **scenario.defaults, **settings})
    with (run.path / "log.txt").open("w", encoding="utf-8") as log:
        session = FlowerSession(on_line=lambda line: _pass_on(line, log, verbose=verbose))
        with interruptible(), session:
            outcome = session.run(scenario.path, settings, resources, timeout=timeout)
            if outcome.exit_status != COMPLETED:
                log.write(f"\n{outcome.status} {outcome.details}\n\n{session.superlink_log}\n")
    return outcome, run


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C and a termination signal into an orderly exit, status 130 or 143.

    Works in the main thread, where Python delivers signals; the former handlers are put back afterwards.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_IGN)  # once is enough: cleaning up must not be interrupted
        typer.secho("\nStopping the run and its SuperLink …", fg=typer.colors.YELLOW, err=True)
        sys.exit(_INTERRUPTED if number == signal.SIGINT else _TERMINATED)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_directory(
    scenario: Scenario, settings: dict[str, Setting], *, results: Path, name: str
) -> RunDirectory:
    asked = str(settings.get("out", "") or "")
    if asked:
        path = Path(asked).expanduser().resolve()
        path.mkdir(parents=True, exist_ok=True)
        return RunDirectory(path)
    return RunDirectory.create(results.expanduser(), scenario.name, name=name)


def _pass_on(line: str, log: TextIO, *, verbose: bool) -> None:
    log.write(line + "\n")
    log.flush()
    if verbose:
        typer.echo(line)
    elif _PROGRESS in line:
        typer.echo("  " + line.split(_PROGRESS, 1)[1].strip())
