"""Compare methods over numbers of attackers (the paper's Figure 6), or track attackers (its Table 1).

    python scenarios/coded-backdoor/compare.py                     # digits, 0 to 3 attackers, three seeds
    python scenarios/coded-backdoor/compare.py tracking python scenarios/coded-backdoor/compare.py in-turn
    dataset=mnist samples-per-user=5000   # as the paper trains python scenarios/coded-backdoor/compare.py
    dataset=mnist samples-per-user=1000 --seeds 1

Settings are those of `flower-coded run coded-backdoor`, for as many users as the methods are named for and an
attack with a trigger. A comparison that was interrupted goes on where it stopped if it is given the same
--name; under other settings, or with another largest number of attackers, of which MultiKrum is told, it is
refused. The tables hold the methods, numbers and seeds that were asked for.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer
from coded_backdoor.comparison import (
    CODED_METHODS,
    IN_TURN,
    NUM_TRACKING_USERS,
    NUM_USERS,
    SINGLE_MODELS,
    TRACKING_METHODS,
    Training,
    run_trainings,
)
from coded_backdoor.comparison_report import write_comparison
from coded_backdoor.experiment import prepare

from flower_coded.cli.exit_codes import refusals_as_status
from flower_coded.cli.scenario import find_scenario
from flower_coded.errors import ParameterError
from flower_coded.reporting import RunDirectory

PAPERS_TRAINING = {
    "training": IN_TURN,
    "num-server-rounds": 1,
    "local-epochs": 10,
    "batch-size": 128,
    "optimizer": "adam",
    "learning-rate": 0.001,
    "poison-rate": 0.05,
}
"""Section 6 of the paper; ``num-server-rounds`` times ``local-epochs`` passes through all images."""


def main(
    settings: Annotated[list[str] | None, typer.Argument(help="tracking, and settings: key=value …")] = None,
    attackers: Annotated[str, typer.Option(help="Numbers of attackers.")] = "0,1,2,3",
    seeds: Annotated[str, typer.Option(help="Seeds; the table shows means over them.")] = "1,2,3",
    methods: Annotated[
        str, typer.Option(help="Names of methods, separated by semicolons; all if empty.")
    ] = "",
    processes: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 2,
    results: Annotated[Path, typer.Option(help="Where the comparison leaves its files.")] = Path("results"),
    name: Annotated[str, typer.Option(help="Name of its directory; the data set by default.")] = "",
) -> None:
    """Train every method against every number of attackers and write tables, pictures and a report."""
    given = list(settings or [])
    tracking, in_turn = "tracking" in given, IN_TURN in given
    given = [each for each in given if each not in {"tracking", IN_TURN}]
    with refusals_as_status():
        scenario = find_scenario(str(Path(__file__).parent))
        users = {"num-clients": NUM_TRACKING_USERS, "samples-per-user": 75}
        common = {**(users if tracking else {}), **(PAPERS_TRAINING if in_turn else {})}
        config = {**scenario.defaults, **common, **scenario.settings(given)}
        kind = ("tracking" if tracking else "comparison") + ("_in_turn" if in_turn else "")
        known = (
            TRACKING_METHODS if tracking else CODED_METHODS if in_turn else (*SINGLE_MODELS, *CODED_METHODS)
        )
        names = [method.name for method in known]
        chosen = [each.strip() for each in methods.split(";") if each.strip()] or names
        if not set(chosen) <= set(names):
            raise ParameterError("methods", f"must be among {'; '.join(names)}", methods)
        numbers, drawn = _numbers("attackers", attackers), _numbers("seeds", seeds)
        trainings = [Training(m, a, s) for s, a, m in itertools.product(drawn, numbers, chosen)]
        config["most-attackers"] = max(numbers)
        _check(config, NUM_TRACKING_USERS if tracking else NUM_USERS)
        path = results.resolve() / f"coded_backdoor_{kind}" / (name or str(config["dataset"]))
        run = RunDirectory.resume(path, config)
        _run(run, trainings, config, processes)
        typer.echo(write_comparison(run, trainings, tracking=tracking))


def _check(config: dict[str, Any], num_users: int) -> None:
    """Refuse what no training of the comparison could use."""
    if int(config["num-clients"]) != num_users:
        raise ParameterError(
            "num-clients",
            f"must be {num_users}: the methods are made and named for it",
            config["num-clients"],
        )
    if config["most-attackers"] > num_users:
        raise ParameterError("attackers", f"must be at most {num_users}", config["most-attackers"])
    if prepare(config).backdoor is None:
        raise ParameterError(
            "attack", "must have a trigger to compare by", config["attack"], hint="pixel-trigger, say"
        )


def _run(run: RunDirectory, trainings: list[Training], config: dict[str, Any], processes: int) -> None:
    known = run.metrics().records() if (run.path / "metrics.json").is_file() else []
    done = {(record["method"], record["attackers"], record["seed"]) for record in known}
    missing = [each for each in trainings if (each.method, each.attackers, each.seed) not in done]
    records = list(known)
    for number, (training, found) in enumerate(
        run_trainings(
            missing,
            config,
            num_processes=min(processes, max(1, len(missing))),
            kept=run.path / "models",
        ),
        start=1,
    ):
        records += found
        run.write_metrics(records)
        shown = ", ".join(f"{r['readout']} {r['accuracy under attack']:.3f}" for r in found)
        typer.echo(
            f"{number:3d}/{len(missing)}  seed {training.seed}, {training.attackers} attackers, "
            f"{training.method}: under attack {shown}  ({found[0]['seconds']:.0f} s)"
        )


def _numbers(option: str, text: str) -> list[int]:
    pieces = [piece.strip() for piece in text.split(",")]
    if not all(piece.isdigit() for piece in pieces):
        raise ParameterError(option, "must be whole numbers separated by commas", text)
    return [int(piece) for piece in pieces]


if __name__ == "__main__":
    typer.run(main)
