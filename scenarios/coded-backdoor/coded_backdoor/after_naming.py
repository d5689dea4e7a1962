"""The second act: one model from everybody but the users whom the decoder has named."""

from __future__ import annotations

from logging import INFO
from typing import Any

from flwr.common.logger import log
from flwr.serverapp import Grid

from flower_coded.experiment import SINGLE_METRICS, Experiment
from flower_coded.strategies import CodedSubsetAggregation, retrain_without


def retrained(experiment: Experiment, strategy: CodedSubsetAggregation, grid: Grid) -> list[dict[str, Any]]:
    """Train it; give one record of who was left out, what it measures and what the ensemble says of it.

    The list is empty where the decoder names nobody: then there is nothing to do.
    """
    named = strategy.history[-1].reported.get("named-users", [])
    if not named:
        log(INFO, "progress: nobody is named, nobody is left out")
        return []
    done = retrain_without(
        strategy,
        grid,
        named,
        max_honest_lost=int(experiment.config["max-honest-lost"]),
        num_rounds=int(experiment.config["retrain-rounds"]),
    )
    measured = experiment.evaluator().evaluate(done.state).metrics
    record = {
        "left out": " ".join(map(str, done.exclusion.users)),
        "named and kept": " ".join(map(str, done.exclusion.spared)),
        "honest users lost": len(set(done.exclusion.users) - set(experiment.attackers)),
        "backdoor": done.verdict.finding,
        "obedience": done.verdict.obedience,
        "judged images": done.verdict.num_judged,
    }
    record |= {name: measured.get(key) for name, key in SINGLE_METRICS.items()}
    log(INFO, "progress: without users %s the backdoor: %s", record["left out"], record["backdoor"])
    return [record]
