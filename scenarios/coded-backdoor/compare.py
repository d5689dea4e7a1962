"""Compare methods over numbers of attackers (the paper's Figure 6), codes that track (Table 1), or decoders.

    python scenarios/coded-backdoor/compare.py                      # digits, 0 to 3 attackers, three seeds
    python scenarios/coded-backdoor/compare.py tracking             # who was it?
    python scenarios/coded-backdoor/compare.py decoders             # against attackers who have read them
    python scenarios/coded-backdoor/compare.py decoders --methods joint
    python scenarios/coded-backdoor/compare.py dataset=mnist samples-per-user=1000 --seeds 1
    python scenarios/coded-backdoor/compare.py in-turn dataset=mnist samples-per-user=5000  # as the paper

Settings are those of `flower-coded run coded-backdoor`, for as many users as the methods are named for and an
attack with a trigger. A comparison that was interrupted goes on where it stopped if it is given the same
--name; under other settings, another version of this package, or another largest number of attackers, of
which MultiKrum is told, it is refused. The tables hold the methods, numbers and seeds that were asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

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
from coded_backdoor.decoder_comparison import Versions, run_versions, write_decoders
from coded_backdoor.experiment import prepare
from coded_backdoor.under_attack import attacks_of

from flower_coded.cli.exit_codes import refusals_as_status
from flower_coded.cli.scenario import find_scenario
from flower_coded.codes import DECODER_NAMES
from flower_coded.errors import ParameterError
from flower_coded.reporting import RunDirectory

Task = TypeVar("Task")

TRACKING, DECODERS = "tracking", "decoders"

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
    settings: Annotated[
        list[str] | None, typer.Argument(help="tracking, decoders or in-turn, and settings: key=value …")
    ] = None,
    attackers: Annotated[str, typer.Option(help="Numbers of attackers.")] = "0,1,2,3",
    seeds: Annotated[str, typer.Option(help="Seeds; the table shows means over them.")] = "1,2,3",
    methods: Annotated[
        str, typer.Option(help="Names of methods, or decoders, separated by semicolons; all if empty.")
    ] = "",
    processes: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 2,
    results: Annotated[Path, typer.Option(help="Where the comparison leaves its files.")] = Path("results"),
    name: Annotated[str, typer.Option(help="Name of its directory; the data set by default.")] = "",
) -> None:
    """Train every method against every number of attackers and write tables, pictures and a report."""
    given = list(settings or [])
    modes = {each for each in given if each in {TRACKING, IN_TURN, DECODERS}}
    given = [each for each in given if each not in modes]
    with refusals_as_status():
        if DECODERS in modes and len(modes) > 1:
            raise ParameterError("decoders", "must stand without tracking and in-turn", sorted(modes))
        tracking, in_turn = TRACKING in modes, IN_TURN in modes
        scenario = find_scenario(str(Path(__file__).parent))
        users = {"num-clients": NUM_TRACKING_USERS, "samples-per-user": 75}
        common = {**(users if tracking else {}), **(PAPERS_TRAINING if in_turn else {})}
        config = {**scenario.defaults, **common, **scenario.settings(given)}
        known = (
            TRACKING_METHODS if tracking else CODED_METHODS if in_turn else (*SINGLE_MODELS, *CODED_METHODS)
        )
        names = list(DECODER_NAMES) if DECODERS in modes else [method.name for method in known]
        chosen = list(dict.fromkeys(each.strip() for each in methods.split(";") if each.strip())) or names
        if not set(chosen) <= set(names):
            raise ParameterError("methods", f"must be among {'; '.join(names)}", methods)
        numbers, drawn = _numbers("attackers", attackers), _numbers("seeds", seeds)
        config["most-attackers"] = max(numbers)
        _check(config, NUM_TRACKING_USERS if tracking else NUM_USERS)
        kind = TRACKING if tracking else DECODERS if DECODERS in modes else "comparison"
        kind += "_in_turn" if in_turn else ""
        path = results.resolve() / f"coded_backdoor_{kind}" / (name or str(config["dataset"]))
        run = RunDirectory.resume(path, config)
        if DECODERS in modes:
            versions = [Versions(a, s) for s, a in itertools.product(drawn, numbers) if a]
            typer.echo(_compare_decoders(run, versions, config, processes, chosen))
        else:
            trainings = [Training(m, a, s) for s, a, m in itertools.product(drawn, numbers, chosen)]
            typer.echo(_compare_methods(run, trainings, config, processes, tracking=tracking))


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


def _run(
    run: RunDirectory,
    tasks: list[Task],
    work: Callable[[list[Task]], Iterator[tuple[Task, list[dict[str, Any]]]]],
    task_of: Callable[[dict[str, Any]], Task],
    told: Callable[[Task, list[dict[str, Any]]], str],
    is_done: Callable[[list[dict[str, Any]]], bool] = bool,
) -> None:
    """Do the tasks whose records do not suffice yet, and keep each one's records as it is done."""
    records = list(run.metrics().records()) if (run.path / "metrics.json").is_file() else []
    missing = [task for task in tasks if not is_done([r for r in records if task_of(r) == task])]
    for number, (task, found) in enumerate(work(missing), start=1):
        renewed = {(task, record.get("decoder")) for record in found}
        records = [r for r in records if (task_of(r), r.get("decoder")) not in renewed] + found
        run.write_metrics(records)
        typer.echo(f"{number:3d}/{len(missing)}  {told(task, found)}")


def _compare_methods(
    run: RunDirectory, trainings: list[Training], config: dict[str, Any], processes: int, *, tracking: bool
) -> str:
    def told(training: Training, found: list[dict[str, Any]]) -> str:
        shown = ", ".join(f"{r['readout']} {r['accuracy under attack']:.3f}" for r in found)
        return (
            f"seed {training.seed}, {training.attackers} attackers, {training.method}: under attack {shown}"
            f"  ({found[0]['seconds']:.0f} s)"
        )

    work = partial(run_trainings, config=config, num_processes=processes, kept=run.path / "models")
    _run(run, trainings, work, lambda r: Training(r["method"], r["attackers"], r["seed"]), told)
    return write_comparison(run, trainings, tracking=tracking)


def _compare_decoders(
    run: RunDirectory,
    versions: list[Versions],
    config: dict[str, Any],
    processes: int,
    decoders: list[str],
) -> str:
    def told(task: Versions, found: list[dict[str, Any]]) -> str:
        worst = {
            decoder: max(r["attack success"] for r in found if r["decoder"] == decoder)
            for decoder in decoders
        }
        shown = ", ".join(f"{decoder} {success:.3f}" for decoder, success in worst.items())
        return f"seed {task.seed}, {task.attackers} attackers: attack success at most {shown}"

    asked = set(itertools.product(decoders, attacks_of(prepare(config))))

    def is_done(found: list[dict[str, Any]]) -> bool:
        return asked <= {(record["decoder"], record["attack"]) for record in found}

    work = partial(run_versions, config=config, decoders=decoders, num_processes=processes)
    _run(run, versions, work, Versions.of, told, is_done)
    return write_decoders(run, versions, decoders)


def _numbers(option: str, text: str) -> list[int]:
    pieces = [piece.strip() for piece in text.split(",")]
    if not all(piece.isdigit() for piece in pieces):
        raise ParameterError(option, "must be whole numbers separated by commas", text)
    return list(dict.fromkeys(int(piece) for piece in pieces))


if __name__ == "__main__":
    typer.run(main)
