"""Every decoder against attackers who have read it, over seeds and numbers of attackers, as one table.

For every seed and number all versions of all models are trained once and given to every decoder, as at the
end of a run (:mod:`coded_backdoor.under_attack`). What is kept of a decoder is the worst over seeds, beside
what the same decoder reaches when nobody attacks.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from coded_backdoor.experiment import Config, prepare
from coded_backdoor.under_attack import FEW_IMAGES, measured_under_attack, trained_versions
from flower_coded.codes import DECODER_NAMES
from flower_coded.experiment import Experiment
from flower_coded.reporting import Report, RunDirectory, Table
from flower_coded.sweep.engine import work_through
from flower_coded.sweep.outcome import RunResources


@dataclass(frozen=True)
class Versions:
    """One training of all versions of all models: by these many attackers, under this seed."""

    attackers: int
    seed: int

    @classmethod
    def of(cls, record: dict[str, Any]) -> Versions:
        """Give the training that a record comes from."""
        return cls(record["attackers"], record["seed"])

    def experiment(self, config: Config) -> Experiment:
        """Make the experiment from the comparison's common configuration."""
        return prepare({**config, "attackers": str(self.attackers), "seed": self.seed})


def run_versions(
    tasks: Sequence[Versions], config: Config, *, decoders: Sequence[str], num_processes: int
) -> Iterator[tuple[Versions, list[dict[str, Any]]]]:
    """Train and measure in processes that end with this one, and give each one's records as it is done."""
    resources = RunResources(num_processes)
    work = partial(measure, config=config, decoders=decoders)
    for outcome in work_through(tasks, work, resources=resources, time_limit=math.inf):
        yield outcome.task, outcome.unwrap()


def measure(task: Versions, config: Config, decoders: Sequence[str]) -> list[dict[str, Any]]:
    """Train once; one record for each of these decoders and every attack."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    experiment = task.experiment(config)
    records = measured_under_attack(experiment, trained_versions(experiment), decoders)
    return [{"attackers": task.attackers, "seed": task.seed} | record for record in records]


def write_decoders(run: RunDirectory, tasks: Sequence[Versions], decoders: Sequence[str]) -> str:
    """Write summary and report of these trainings and decoders; return the table for the terminal."""
    config, asked = run.config(), set(tasks)
    found: list[dict[str, Any]] = run.metrics().records()
    records = [r for r in found if Versions.of(r) in asked and r["decoder"] in decoders]
    rows = summary(records, config)
    run.write_metrics(rows, name="summary")
    seeds = ", ".join(map(str, sorted({task.seed for task in tasks})))
    report = Report(
        "Decoders against attackers who have read them",
        subtitle=f"{config['dataset']}, {config['num-clients']} users, seeds {seeds}",
    )
    report.add_text(
        "Every version of every model that the attackers can bring about is trained; they then choose, with "
        "each decoder, which of their models to poison. `lost` is the largest loss of any seed against the "
        f"same triggered images ({FEW_IMAGES} where they are few, each by itself where it is one) without "
        "attackers, `success` the largest share of them that got the attackers' label, `innocents` the "
        "largest share of images on which somebody innocent is named, `naming runs` how many runs name an "
        "attacker, `framed runs` how many somebody innocent. `clean` is the largest loss against the "
        "majority vote when nobody attacks; beside it stands the mean over seeds."
    )
    report.add_table(rows).add_heading("Every attack").add_table(records)
    path = report.add_details("Settings", config).write(run.report_path)
    return f"\n{Table.from_records(rows).to_text()}\n\nreport: {path}"


def summary(records: Sequence[dict[str, Any]], config: Config) -> list[dict[str, Any]]:
    """One row for every decoder, number of attackers and attack: the worst over seeds."""
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["decoder"], record["attackers"], record["attack"]), []).append(record)
    rows = []
    for decoder, number, attack in sorted(groups, key=lambda key: (DECODER_NAMES.index(key[0]), key[1])):
        if attack == "nobody":
            continue
        clean = [r["majority's accuracy"] - r["accuracy"] for r in groups[decoder, number, "nobody"]]
        under = groups[decoder, number, attack]
        named = [_rightly_and_wrongly_named(record, config) for record in under]
        rows.append(
            {
                "decoder": decoder,
                "attackers": number,
                "attack": attack,
                "runs": len(under),
                "clean": max(clean),
                "clean, mean": sum(clean) / len(clean),
                "lost": max(r["accuracy without attack"] - r["accuracy under attack"] for r in under),
                "success": max(r["attack success"] for r in under),
                "innocents": max(r["innocents named"] for r in under),
                "naming runs": sum(right > 0 for right, _ in named),
                "framed runs": sum(wrong > 0 for _, wrong in named),
            }
        )
    return rows


def _rightly_and_wrongly_named(record: dict[str, Any], config: Config) -> tuple[int, int]:
    """Count the users whom a run names: those whose column of the code is an attacker's, and others."""
    experiment = Versions.of(record).experiment(config)
    guilty = set(np.flatnonzero(experiment.code.alike[list(experiment.attackers)].any(axis=0)).tolist())
    named = {int(user) for user in str(record["named"] or "").split()}
    return len(named & guilty), len(named - guilty)
