r"""Choose settings on validation images: every combination of a grid, and what each is worth.

    python scenarios/contrastive-ecoc/choose.py column-weight=1,5,20 probability-temperature=0.1,1
    python scenarios/contrastive-ecoc/choose.py learning-rate=0.001,0.003 --method "ACL-CFPC + AT" \
        --set adversarial-training=madry --by worst

The validation images are part of the training set, no user trains on them, and no test image is read: clean
accuracy and attacks are measured on validation images. Combinations that were tried under the same --name are
not tried again.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from contrastive_ecoc.comparison import Group, run_group
from contrastive_ecoc.experiment import ContrastiveExperiment
from contrastive_ecoc.methods import chosen_methods
from contrastive_ecoc.trainers import TRAINERS

from flower_coded.cli.exit_codes import refusals_as_status
from flower_coded.cli.scenario import find_scenario
from flower_coded.errors import ParameterError
from flower_coded.reporting import RunDirectory, Table

MEASURES = ("clean", "worst")


def main(
    grid: Annotated[list[str], typer.Argument(help="What is tried: key=value,value …")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting of all: key=value.")] = None,
    method: Annotated[str, typer.Option(help="What is trained.")] = "ACL-CFPC",
    place: Annotated[str, typer.Option(help="central or federated.")] = "central",
    seeds: Annotated[str, typer.Option(help="Seeds; means over them are compared.")] = "1",
    by: Annotated[str, typer.Option(help="clean, or worst (under the plain attacks).")] = "clean",
    results: Annotated[Path, typer.Option(help="Where the choice leaves its files.")] = Path("results"),
    name: Annotated[str, typer.Option(help="Name of its directory; the data set by default.")] = "",
) -> None:
    """Try every combination, print them from the best to the worst, and the best as settings."""
    with refusals_as_status():
        scenario = find_scenario(str(Path(__file__).parent))
        base = {**scenario.defaults, **scenario.settings(list(settings or []))}
        # Judged on validation images, and without the attack that takes longest.
        base |= {"judge-on": "validation", "adaptive-steps": 0}
        if place not in TRAINERS or by not in MEASURES:
            known = (*TRAINERS, *MEASURES)
            raise ParameterError("place or by", f"must be among {', '.join(known)}", (place, by))
        if not all(each.strip().isdigit() for each in seeds.split(",")):
            raise ParameterError("seeds", "must be whole numbers separated by commas", seeds)
        combinations = [scenario.settings(list(each)) for each in itertools.product(*map(_choices, grid))]
        for each in combinations:
            experiment = ContrastiveExperiment(base | each)
            experiment.check()
            chosen_methods(method, experiment.adversarial.method)
        tried = {key: base[key] for key in base if key not in combinations[0]}
        path = results.resolve() / "contrastive_ecoc_choice" / (name or str(base["dataset"]))
        run = RunDirectory.resume(path, tried | {"method": method, "place": place})
        groups = [Group(place, int(each)) for each in seeds.split(",")]
        rows = [_tried(run, base, each, groups, method) for each in combinations]
        rows.sort(key=lambda row: -row[by])
        best = " ".join(f"{key}={value}" for key, value in rows[0].items() if key in combinations[0])
        typer.echo(f"\n{Table.from_records(rows).to_text()}\n\nbest by {by}: {best}")


def _choices(setting: str) -> list[str]:
    key, equals, values = setting.partition("=")
    if not equals or not values:
        raise ParameterError("grid", "must be key=value,value", setting)
    return [f"{key}={value.strip()}" for value in values.split(",")]


def _tried(
    run: RunDirectory, base: dict[str, Any], changes: dict[str, Any], groups: list[Group], method: str
) -> dict[str, Any]:
    """Means over the seeds for one combination; what is missing is trained and written at once."""
    has_begun = (run.path / "metrics.json").is_file()
    records = run.metrics().records() if has_begun else []
    found = []
    for group in groups:
        key = {**changes, "seed": group.seed}
        known = [each for each in records if key.items() <= each.items()]
        if not known:
            (record,) = run_group(group, base | changes, (method,)).records
            known = [key | {measure: record[measure] for measure in MEASURES}]
            records += known
            run.write_metrics(records)
        found.append(known[0])
    means = {measure: round(float(np.mean([each[measure] for each in found])), 4) for measure in MEASURES}
    typer.echo(f"{changes}: {means}")
    return {**changes, **means}


if __name__ == "__main__":
    typer.run(main)
