"""``flower-coded demo``: the main scenario, somewhat shortened, and the table a newcomer should see."""

from __future__ import annotations

from pathlib import Path

import typer

from flower_coded.cli.exit_codes import COMPLETED
from flower_coded.cli.running import run_scenario
from flower_coded.cli.scenario import find_scenario

__all__ = ["run_demo"]

_INTRODUCTION = """\
Twelve users train a classifier of handwritten digits together. Two of them collude: they stamp a 3x3 pattern
on a few of their images and label those images as a class of their choice. FedAvg learns the trick. A coded
ensemble of 15 models, each trained by four users that a backdoor-correcting code picks, sees through it. The
report's first figure shows it against attackers who have read the decoder and poison some of their models.
"""

_SETTINGS = [
    "num-server-rounds=15"
]  # a quarter fewer than the scenario's: about a minute, and the same to see


def run_demo(*, results: Path, verbose: bool) -> int:
    """Run ``coded-backdoor``, print its summary and say where its report is."""
    scenario = find_scenario("coded-backdoor")
    typer.echo(_INTRODUCTION)
    typer.echo("Starting Flower (flwr run) and Ray: 10 to 30 seconds …")
    outcome, run = run_scenario(scenario, _SETTINGS, results=results, verbose=verbose)
    if outcome.exit_status != COMPLETED:
        typer.secho(f"{outcome.status} {outcome.details}", fg=typer.colors.RED, err=True)
        typer.echo(f"the log: {run.path / 'log.txt'}", err=True)
        return outcome.exit_status
    typer.echo(f"\n{run.metrics('summary').to_text()}\n")
    typer.echo(f"Finished in {outcome.seconds:.0f} s. Pictures, every number and what they mean:")
    typer.secho(f"  {run.report_path}", bold=True)
    return COMPLETED
