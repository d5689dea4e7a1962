"""``flower-coded run``: one scenario through ``flwr run``: its log, its files, its true exit status."""

from __future__ import annotations

import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

import typer

from flower_coded.cli.checking import check_settings
from flower_coded.cli.environment import SimulationResources
from flower_coded.cli.exit_codes import COMPLETED
from flower_coded.cli.scenario import Scenario, Setting
from flower_coded.cli.simulation import FlowerSession, RunOutcome, SimulationError
from flower_coded.reporting.round_lines import progress_of, read_round_line
from flower_coded.reporting.run_directory import RunDirectory
from flower_coded.reporting.tracking import Sinks, check_sinks, open_sinks

__all__ = ["interruptible", "run_scenario"]

_INTERRUPTED, _TERMINATED = 130, 143
_ROUND = re.compile(r"(?:INFO *: *)?\[ROUND (\d+)/(\d+)\]")  # Flower's own line at the beginning of a round
_QUIET_SECONDS = 10.0  # without a word, after which a quiet run says that it goes on


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
    track: Sequence[str] = (),
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
    track : sequence of str
        Trackers that get the numbers of every round besides the files of the run's directory
        (:mod:`flower_coded.reporting.tracking`).

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
    check_settings(scenario, settings)
    check_sinks(track)
    run = _run_directory(scenario, settings, results=results, name=name)
    if "out" in scenario.defaults:
        settings["out"] = str(run.path)
    run.write_config({"scenario": scenario.name, **scenario.defaults, **settings})
    sinks = open_sinks(track, run.path, f"{scenario.name} {run.path.name}", _warn)
    sinks.settings({**scenario.defaults, **settings})
    with (run.path / "log.txt").open("w", encoding="utf-8") as log, closing(sinks):
        teller = _Teller(log, verbose=verbose, sinks=sinks)
        session = FlowerSession(on_line=teller.hear, on_wait=teller.wait)
        again = shlex.join(["flower-coded", "run", scenario.name, *assignments])
        hint = f"What it has written stays in {run.path}. A run is not resumed; from the start: {again}"
        with interruptible(hint), session:
            try:
                outcome = session.run(scenario.path, settings, resources, timeout=timeout)
            except SimulationError as error:
                # Flower's message points into the session's directory, which ends with the session.
                log.write(f"\n{error}\n\n{session.superlink_log}\n")
                raise SimulationError(error.step, f"{error.output}\n(kept in {log.name})") from error
            if outcome.exit_status != COMPLETED:
                log.write(f"\n{outcome.status} {outcome.details}\n\n{session.superlink_log}\n")
        for picture in sorted(run.path.glob("*.png")):
            sinks.picture(picture.stem, picture)
        sinks.text("outcome", f"{outcome.status} {outcome.details}; report and files: {run.path}")
    return outcome, run


def _warn(words: str) -> None:
    typer.secho(words, fg=typer.colors.YELLOW, err=True)


@contextmanager
def interruptible(hint: str = "") -> Iterator[None]:
    """Turn Ctrl-C and a termination signal into an orderly exit, status 130 or 143; say how to go on.

    Works in the main thread, where Python delivers signals; the former handlers are put back afterwards.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_IGN)  # once is enough: cleaning up must not be interrupted
        typer.secho("\nStopping the run and its SuperLink …", fg=typer.colors.YELLOW, err=True)
        if hint:
            typer.echo(hint, err=True)
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


class _Teller:
    """Keep the whole log, and say what a reader wants: everything, or progress and that the run goes on."""

    def __init__(self, log: TextIO, *, verbose: bool, sinks: Sinks) -> None:
        self.log, self.verbose, self.sinks = log, verbose, sinks
        self.started = self.last_word = time.monotonic()
        self.rounds = ""
        self.first_round: tuple[int, float] | None = None

    def hear(self, line: str) -> None:
        self.log.write(line + "\n")
        self.log.flush()
        if (found := read_round_line(line)) is not None:
            self.sinks.scalars(found.training, found.server_round, found.values)
        if self.verbose:
            typer.echo(line)
        elif (words := progress_of(line)) is not None:
            self._say(words)
        elif begun := _ROUND.match(line):
            self.rounds = self._describe(int(begun[1]), int(begun[2]))

    def wait(self) -> None:
        now = time.monotonic()
        if not self.verbose and now - self.last_word > _QUIET_SECONDS:
            self._say(f"... {now - self.started:.0f} s{self.rounds}")

    def _describe(self, current: int, last: int) -> str:
        now = time.monotonic()
        if self.first_round is None or self.first_round[0] >= current:  # another training has begun
            self.first_round = (current, now)
        first, since = self.first_round
        left = (now - since) / (current - first) * (last - current + 1) if current > first else 0.0
        return f", round {current} of {last}" + (
            f", about {left:.0f} s left of this training" if left else ""
        )

    def _say(self, words: str) -> None:
        self.last_word = time.monotonic()
        typer.echo("  " + words)
