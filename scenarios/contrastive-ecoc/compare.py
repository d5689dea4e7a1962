"""Re-make the paper's Table 4: five models, centrally and across users, under every attack.

    python scenarios/contrastive-ecoc/compare.py                           # digits, three seeds
    python scenarios/contrastive-ecoc/compare.py dataset=fashion-mnist samples-per-user=300 num-attacked=500 \
        epsilon=0.0314 step-size=0.0063
    python scenarios/contrastive-ecoc/compare.py --places central --ensemble
    python scenarios/contrastive-ecoc/compare.py adversarial-training=madry adversarial-epsilon=0.1 \
        select-by=robust validation-images=200 --places federated

With adversarial training the comparison is between softmax models and output codes that cost the same; the
last line says whether an output code is beyond. ``--methods "Standard, Standard + AT, ACL-CFPC + AT"`` trains
some.

Settings are those of `flower-coded run contrastive-ecoc`. A comparison that was interrupted goes on where it
stopped if it is given the same --name; under other settings, or with --ensemble where it was without, it is
refused. The tables hold the places and seeds that were asked for.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from contrastive_ecoc.comparison import Group, run_groups
from contrastive_ecoc.comparison_report import write_comparison
from contrastive_ecoc.experiment import ContrastiveExperiment
from contrastive_ecoc.methods import chosen_methods
from contrastive_ecoc.trainers import TRAINERS

from flower_coded.cli.exit_codes import refusals_as_status
from flower_coded.cli.scenario import find_scenario
from flower_coded.errors import ParameterError
from flower_coded.reporting import RunDirectory


def main(
    settings: Annotated[list[str] | None, typer.Argument(help="Settings: key=value …")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds; the table shows means over them.")] = "1,2,3",
    places: Annotated[str, typer.Option(help="central, federated or both.")] = "central,federated",
    methods: Annotated[str, typer.Option(help="Names separated by commas; all that belong by default.")] = "",
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Three parts of AutoAttack too; takes longer.")
    ] = False,
    processes: Annotated[int, typer.Option(min=1, help="Places and seeds at a time.")] = 1,
    results: Annotated[Path, typer.Option(help="Where the comparison leaves its files.")] = Path("results"),
    name: Annotated[str, typer.Option(help="Name of its directory; the data set by default.")] = "",
) -> None:
    """Train the models in every place for every seed; write tables, pictures and a report."""
    with refusals_as_status():
        scenario = find_scenario(str(Path(__file__).parent))
        config = {**scenario.defaults, **scenario.settings(list(settings or []))}
        chosen = [each.strip() for each in places.split(",")]
        if not set(chosen) <= set(TRAINERS):
            raise ParameterError("places", f"must be among {', '.join(TRAINERS)}", places)
        drawn = [each.strip() for each in seeds.split(",")]
        if not all(each.isdigit() for each in drawn):
            raise ParameterError("seeds", "must be whole numbers separated by commas", seeds)
        groups = [Group(place, int(seed)) for seed, place in itertools.product(drawn, chosen)]
        experiment = ContrastiveExperiment(config)
        experiment.check()
        trained = chosen_methods(methods, experiment.adversarial.method)
        path = results.resolve() / "contrastive_ecoc_comparison" / (name or str(config["dataset"]))
        run = RunDirectory.resume(path, config | {"ensemble": ensemble, "methods": ", ".join(trained)})
        _run(run, groups, config, trained, ensemble=ensemble, processes=processes)
        typer.echo(write_comparison(run, groups))


def _run(
    run: RunDirectory,
    groups: list[Group],
    config: dict[str, Any],
    methods: tuple[str, ...],
    *,
    ensemble: bool,
    processes: int,
) -> None:
    has_begun = (run.path / "metrics.json").is_file()
    records = run.metrics().records() if has_begun else []
    curve = run.metrics("robustness").records() if has_begun else []
    done = {(record["place"], record["seed"]) for record in records}
    missing = [group for group in groups if (group.place, group.seed) not in done]
    number_at_once = min(processes, max(1, len(missing)))
    for number, (group, found) in enumerate(
        run_groups(missing, config, methods=methods, ensemble=ensemble, num_processes=number_at_once),
        start=1,
    ):
        records, curve = records + found.records, curve + found.curve
        np.savez(run.path / f"code_book_{group.place}_{group.seed}.npz", **found.code_books)  # type: ignore[arg-type]
        run.write_metrics(curve, name="robustness")
        run.write_metrics(records)
        for each in found.records:
            typer.echo(
                f"{number}/{len(missing)}  seed {group.seed}, {group.place}, {each['method']}: clean "
                f"{each['clean']:.3f}, worst {each['worst']:.3f}  ({each['seconds']:.0f} s)"
            )


if __name__ == "__main__":
    typer.run(main)
