"""One run as its configuration describes it: task, attack, strategies, and how a global model is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg, Strategy
from numpy.typing import NDArray
from torch import nn

from adapter_finetuning.adapters import adapted_network, check_adapters
from adapter_finetuning.attack import Attack
from adapter_finetuning.task import Task
from flower_coded.aggregation import get_aggregation_rule
from flower_coded.clients.run_config import read_float, read_int, read_text, refuse_misspelled_keys
from flower_coded.codes import SubsetCode, backdoor_correction_code
from flower_coded.errors import ParameterError
from flower_coded.learning import choose_device, frozen_state, get_state, predict_labels, set_state
from flower_coded.reporting import RunDirectory
from flower_coded.strategies import (
    AgreedClipping,
    CodedSubsetAggregation,
    EnsembleEvaluator,
    RampSharedMultiKrum,
    RuleAggregation,
    ValidatedReplies,
    model_predictor,
)
from flower_coded.wire.frozen import FROZEN_DIGEST_KEY, state_digest
from flower_coded.wire.model_state import read_state, to_array_record

__all__ = ["LABELS", "Experiment", "prepare"]

LABELS = {
    "fedavg": "FedAvg",
    "norm-clipping": "FedAvg, long updates clipped",
    "multi-krum": "multi-Krum, in the clear",
    "ramp": "ramp-shared multi-Krum",
    "coded": "coded ensemble, decoder",
}
"""What each of ``strategies`` is called in tables and pictures."""
_BATCH = 128  # what a transformer makes of so many samples stays in a processor's cache


@dataclass(frozen=True)
class Experiment:
    """Parameters: ``config``, the run's."""

    config: dict[str, Any]

    def check(self) -> None:
        """Refuse what cannot be, before anything is trained."""
        refuse_misspelled_keys(self.config, [*self.config])
        self.task.check()
        check_adapters(self.config)
        read_int(self.config, "num-server-rounds", 1, least=1)
        choose_device(read_text(self.config, "device", "cpu"))
        _ = self.attack
        for name in self.names:
            self.strategy(name)

    @cached_property
    def task(self) -> Task:
        """Data and network."""
        return Task(self.config)

    @cached_property
    def attack(self) -> Attack:
        """Who attacks, and how."""
        return Attack.of(self.config)

    @cached_property
    def names(self) -> list[str]:
        """Strategies to compare."""
        asked = [name.strip() for name in read_text(self.config, "strategies", "fedavg").split(",")]
        for name in asked:
            if name not in LABELS:
                raise ParameterError("strategies", f"must be among {', '.join(LABELS)}", name)
        return asked

    @cached_property
    def code(self) -> SubsetCode:
        """Which user trains which of the ensemble's adapters; each learns from a third of them at least."""
        users = self.task.num_users
        attackers = read_int(self.config, "tolerated-attackers", 4, least=1)
        return backdoor_correction_code(attackers, max(1, users // 3), users)

    def strategy(self, name: str) -> Strategy:
        """Make a strategy anew."""
        users, attackers = self.task.num_users, read_int(self.config, "num-attackers", 2, least=1)
        everybody: dict[str, Any] = {
            "fraction_evaluate": 0.0,
            "min_train_nodes": users,
            "min_available_nodes": users,
        }
        if name == "fedavg":
            return ValidatedReplies(FedAvg(**everybody))  # which takes replies in the users' order
        if name == "norm-clipping":
            bound = read_float(self.config, "max-norm", 0.0) or None
            return RuleAggregation(get_aggregation_rule("norm-clipping", max_norm=bound), **everybody)
        if name == "coded":
            return CodedSubsetAggregation(self.code, stacked=True, seed=self.task.seed, fraction_evaluate=0.0)
        ramp = RampSharedMultiKrum(
            users,
            attackers,
            clipping=read_float(self.config, "clipping", 0.5) or AgreedClipping(),
            seed=self.task.seed,
            fraction_evaluate=0.0,
        )
        if name == "ramp":
            return ramp
        rule = get_aggregation_rule("multi-krum", num_byzantine=attackers, num_selected=ramp.num_selected)
        return RuleAggregation(rule, **everybody)

    @cached_property
    def network(self) -> nn.Module:
        """The pretrained network with adapters."""
        return adapted_network(self.config)

    def initial_arrays(self) -> ArrayRecord:
        """Give the adapters as they begin."""
        return to_array_record(get_state(adapted_network(self.config)))

    def train_config(self) -> ConfigRecord:
        """Say which frozen network the adapters are for."""
        return ConfigRecord({FROZEN_DIGEST_KEY: state_digest(frozen_state(self.network))})

    @cached_property
    def evaluator(self) -> EnsembleEvaluator:
        """Reads the coded ensemble out, clean and with the trigger."""
        samples, device = self.task.test_samples(), read_text(self.config, "device", "cpu")
        return EnsembleEvaluator(
            self.code,
            model_predictor(self.network, batch_size=_BATCH, device=device),
            samples.inputs,
            samples.labels,
            self.task.num_classes,
            trigger=cast(Any, self.task.trigger),  # only what it does to inputs is asked for
            target=self.task.target,
            attackers=self.attack.attackers,
            seed=self.task.seed,
        )

    def measure(self, name: str, arrays: ArrayRecord) -> dict[str, float]:
        """Accuracy on clean inputs; share of other classes' inputs that get the target with the trigger."""
        state = read_state(arrays)
        if name == "coded":
            is_single = state.keys() and next(iter(state.values())).shape == self._shapes[next(iter(state))]
            if is_single:  # before the first round
                state = {key: np.stack([value] * self.code.num_models) for key, value in state.items()}
            metrics: Mapping[str, Any] = self.evaluator.evaluate(state).metrics
            return {
                "accuracy": float(metrics["ensemble-accuracy"]),
                "attack success": float(metrics["attack-success-rate"]),
            }
        set_state(self.network, state)
        samples, trigger = self.task.test_samples(), self.task.trigger
        clean = self._predict(samples.inputs)
        triggered = self._predict(trigger.apply(samples.inputs))
        others = samples.labels != self.task.target
        return {
            "accuracy": float(np.mean(clean == samples.labels)),
            "attack success": float(np.mean(triggered[others] == self.task.target)),
        }

    def run_directory(self) -> RunDirectory:
        """Make the directory for results, and write the settings into it."""
        out = read_text(self.config, "out", "")
        path = Path(out) if out else Path.cwd() / "results" / "adapter-finetuning"
        path.mkdir(parents=True, exist_ok=True)
        run = RunDirectory(path)
        run.write_config(self.config)
        return run

    def _predict(self, inputs: NDArray[np.float32]) -> NDArray[np.int64]:
        device = read_text(self.config, "device", "cpu")
        return predict_labels(self.network, inputs, batch_size=_BATCH, device=device)

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in get_state(self.network).items()}


def prepare(config: dict[str, Any]) -> Experiment:
    """Make the experiment; refuse a configuration before anything is trained."""
    experiment = Experiment(config)
    experiment.check()
    return experiment
