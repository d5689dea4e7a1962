"""One experiment as its run configuration describes it, with what this scenario alone asks."""

from __future__ import annotations

from flower_coded.clients.run_config import read_bool, read_int
from flower_coded.errors import ParameterError
from flower_coded.experiment import Experiment

Config = dict[str, bool | int | float | str]


def prepare(config: Config) -> Experiment:
    """Make the experiment; refuse a configuration before anything is trained."""
    if config["baseline"] not in {"fedavg", "none"}:
        raise ParameterError("baseline", "must be fedavg or none", config["baseline"])
    if config["after-naming"] not in {"retrain", "none"}:
        raise ParameterError("after-naming", "must be retrain or none", config["after-naming"])
    read_int(config, "retrain-rounds", 5, least=1)
    read_int(config, "max-honest-lost", 2, least=0)
    for key in ("stacked", "under-attack"):
        read_bool(config, key, True)
    experiment = Experiment(config)
    experiment.check()
    _ = experiment.code
    return experiment
