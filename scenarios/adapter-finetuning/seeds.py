"""The scenario for several seeds, in one process: the same apps and strategies, without Flower's processes.

    python scenarios/adapter-finetuning/seeds.py strategies=fedavg,ramp
    python scenarios/adapter-finetuning/seeds.py strategies=fedavg attack=none --seeds 1,2,3

Settings are those of `flower-coded run adapter-finetuning`, and so are the figures: what users draw depends
on seed, user and round alone. One line per strategy and seed, in the terminal and in summary.csv.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from adapter_finetuning.client_app import app
from adapter_finetuning.experiment import prepare
from adapter_finetuning.report import summarize
from adapter_finetuning.server_app import compare

from flower_coded.cli.exit_codes import refusals_as_status
from flower_coded.cli.scenario import find_scenario
from flower_coded.errors import ParameterError
from flower_coded.reporting import RunDirectory
from flower_coded.testing import InProcessGrid


def main(
    settings: Annotated[list[str] | None, typer.Argument(help="Settings: key=value …")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "1,2,3",
    results: Annotated[Path, typer.Option(help="Where summary.csv goes.")] = Path("results/adapter-seeds"),
) -> None:
    """Fine-tune under every strategy for every seed."""
    torch.set_num_threads(1)
    with refusals_as_status():
        scenario = find_scenario(str(Path(__file__).parent))
        config = {**scenario.defaults, **scenario.settings(list(settings or []))}
        drawn = [each.strip() for each in seeds.split(",")]
        if not all(each.isdigit() for each in drawn):
            raise ParameterError("seeds", "must be whole numbers separated by commas", seeds)
        run = RunDirectory(results)
        rows: list[dict[str, Any]] = []
        for seed in map(int, drawn):
            rows += one_seed({**config, "seed": seed})
            run.write_metrics(rows, name="summary")


def one_seed(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Run all strategies for one seed; one record for each."""
    experiment, records = prepare(config), []
    sent: dict[str, float] = {}
    for name in experiment.names:
        grid = InProcessGrid(app, experiment.task.num_users, config)
        records += compare(experiment, grid, name, sent)
    rows = [{"seed": config["seed"], **row} for row in summarize(experiment, records, sent)]
    for row in rows:
        print("; ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


if __name__ == "__main__":
    typer.run(main)
