"""One experiment as its run configuration describes it, with what this scenario alone asks."""

from __future__ import annotations

from flower_coded.errors import ParameterError
from flower_coded.experiment import Experiment

Config = dict[str, bool | int | float | str]


def prepare(config: Config) -> Experiment:
    """Make the experiment; refuse a configuration before anything is trained."""
    if config["baseline"] not in {"fedavg", "none"}:
        raise ParameterError("baseline", "must be fedavg or none", config["baseline"])
    experiment = Experiment(config)
    experiment.check()
    _ = experiment.code
    return experiment
