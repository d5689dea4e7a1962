"""One run of a sweep: a federated training inside this process, measured on held-out images.

Strategies and ClientApp are the ones of ``flwr run``; only the grid between them is in-process. Every defense
is measured on the same half of the held-out images (the other half calibrates the decoder of a coded
ensemble, and is left aside for the others). What a backdoor does is measured on triggered images of other
classes; what any other attack does shows in the accuracy, beside that of the clean run.
"""

from __future__ import annotations

import platform
import random
import time
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray
from torch import nn

from flower_coded import __version__
from flower_coded.attacks import Backdoor
from flower_coded.clients import AttackSettings, ClientSettings, training_client_app
from flower_coded.clients.ramp_krum import ramp_krum_mod
from flower_coded.codes import SubsetCode, certified_against
from flower_coded.errors import DecodingError
from flower_coded.learning import (
    ImageData,
    ModelState,
    build_model,
    get_state,
    initial_states,
    predict_stacked,
)
from flower_coded.strategies import CodedSubsetAggregation, EnsembleEvaluator
from flower_coded.sweep.defenses import (
    CODED_DEFENSES,
    RAMP_DEFENSE,
    decoder_options,
    defense_code,
    make_strategy,
    model_of_defense,
)
from flower_coded.sweep.detection import Detection, named_users
from flower_coded.sweep.metered import MeteredGrid
from flower_coded.sweep.plan import SweepRun
from flower_coded.sweep.training_memo import TrainingMemo
from flower_coded.wire.model_state import to_array_record

__all__ = ["execute", "versions"]

_ROUND_TIMEOUT = 600.0
_SINGLE = {
    "accuracy": "majority-accuracy",
    "accuracy-under-attack": "majority-accuracy-under-attack",
    "attack-success": "majority-attack-success-rate",
}
_ENSEMBLE = {
    "accuracy": "ensemble-accuracy",
    "majority-accuracy": "majority-accuracy",
    "accuracy-under-attack": "accuracy-under-attack",
    "attack-success": "attack-success-rate",
}


def execute(run: SweepRun) -> dict[str, Any]:
    """Run one training and measure it.

    Parameters
    ----------
    run : SweepRun
        The whole configuration; equal runs give equal results, on one machine.

    Returns
    -------
    dict
        ``accuracy``; for a backdoor ``attack-success`` and ``accuracy-under-attack``; for a coded ensemble
        ``majority-accuracy`` and ``certified-accuracy``; ``detection-precision``, ``-recall`` and ``-f1``
        with their counts; ``refused-rounds``, in which the old model stayed; ``megabytes-per-round`` both
        ways together, ``client-seconds-per-round`` of all users and ``server-seconds-per-round`` (processor
        time); ``seconds`` of wall clock in all. Absent where it does not apply.

    Raises
    ------
    DecodingError
        If nobody attacks and no round changed the model: then the configuration is wrong, not the defense.
    """
    started, state = time.perf_counter(), random.getstate()
    random.seed(run.seed)  # Flower samples nodes with the global generator
    try:
        experiment = _Experiment(run)
        found = experiment.train_ensemble() if run.defense in CODED_DEFENSES else experiment.train_single()
    finally:
        random.setstate(state)
    if not run.attackers and found["refused-rounds"] == run.num_rounds:
        raise DecodingError(f"{run.defense} refused every round of a run without attack")
    return {**found, "seconds": round(time.perf_counter() - started, 3)}


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    packages = ("flwr", "torch", "numpy")
    found = {"flower-coded": __version__, "python": platform.python_version()}
    return found | {name: version(name) for name in packages}


class _Experiment:
    """What a run needs, made from its configuration."""

    def __init__(self, run: SweepRun) -> None:
        self.run, self.config = run, run.run_config()
        self.config["model"] = model_of_defense(run.defense, ClientSettings.from_config(self.config).model)
        self.settings = ClientSettings.from_config(self.config)
        mods = [ramp_krum_mod] if run.defense == RAMP_DEFENSE else []
        self.grid = MeteredGrid(
            training_client_app(mods, training_mods=[TrainingMemo()]),
            run.num_users,
            self.config,
            wire=False,
            seed=run.seed,
        )

    @cached_property
    def data(self) -> ImageData:
        return self.settings.load()

    @cached_property
    def attack(self) -> AttackSettings:
        return AttackSettings.from_config(self.config, self.run.num_users)

    @property
    def attackers(self) -> tuple[int, ...]:
        return self.attack.attackers if self.run.attackers else ()

    def new_model(self) -> nn.Module:
        settings, data = self.settings, self.data
        return build_model(settings.model, data.image_shape, data.num_classes, seed=settings.seed)

    def train_single(self) -> dict[str, Any]:
        run = self.run
        strategy = make_strategy(
            run.defense, run.num_users, run.tolerated_attackers, run.defense_settings, run.seed
        )
        started = time.process_time()
        initial = to_array_record(get_state(self.new_model()))
        result = strategy.start(self.grid, initial, run.num_rounds, timeout=_ROUND_TIMEOUT)
        spent = time.process_time() - started
        final: ArrayRecord = result.arrays or initial  # empty where every round was refused
        state: ModelState = {name: array.numpy()[None] for name, array in final.items()}
        single = SubsetCode(np.ones((1, run.num_users), dtype=bool), name=run.defense)
        measured = self.evaluator(single, {}).evaluate(state).metrics
        refused = sum(1 for each in strategy.history if each.refusal)
        return self.record(strategy, measured, _SINGLE, spent) | {"refused-rounds": refused}

    def train_ensemble(self) -> dict[str, Any]:
        run = self.run
        code = defense_code(run.defense, run.num_users, run.tolerated_attackers, run.defense_settings)
        options = decoder_options(run.defense, run.tolerated_attackers, run.defense_settings)
        shape, classes = self.data.image_shape, self.data.num_classes
        strategy = CodedSubsetAggregation(
            code,
            initial_states=initial_states(self.settings.model, shape, classes, code.num_models, run.seed),
            stacked=True,
            seed=run.seed,
            fraction_evaluate=0.0,
        )
        started = time.process_time()
        initial = to_array_record(get_state(self.new_model()))
        strategy.start(self.grid, initial, run.num_rounds, timeout=_ROUND_TIMEOUT)
        spent = time.process_time() - started
        evaluator = self.evaluator(code, options)
        measured = evaluator.evaluate(strategy.states).metrics
        refused = sum(1 for each in strategy.history if len(each.unchanged_models) == code.num_models)
        return self.record(strategy, measured, _ENSEMBLE, spent) | {
            "certified-accuracy": self.certified_accuracy(code, strategy.states, *evaluator.measuring),
            "models": code.num_models,
            "refused-rounds": refused,
        }

    @cached_property
    def backdoor(self) -> Backdoor | None:
        """The trigger to test with, where the attack plants one."""
        if not self.run.attackers or "data" not in self.attack.row.acts_on:
            return None
        attack = self.attack.data_attack(self.data.image_shape, self.data.num_classes)
        return attack if isinstance(attack, Backdoor) else None

    def evaluator(self, code: SubsetCode, options: dict[str, Any]) -> EnsembleEvaluator:
        model, backdoor = self.new_model(), self.backdoor
        return EnsembleEvaluator(
            code,
            lambda state, images: predict_stacked(model, state, images, device=self.settings.device),
            self.data.test_images,
            self.data.test_labels,
            self.data.num_classes,
            trigger=None if backdoor is None else backdoor.trigger,
            target=None if backdoor is None else backdoor.target,
            attackers=self.attackers,
            seed=self.run.seed,
            decoder_options=options,
        )

    def certified_accuracy(
        self, code: SubsetCode, state: ModelState, images: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> float:
        """Share of the images that the majority gets right whatever ``k`` users had sent."""
        answers = predict_stacked(self.new_model(), state, images, device=self.settings.device)
        classes = self.data.num_classes
        certain = certified_against(answers, classes, code, self.run.tolerated_attackers)
        votes = (answers[:, :, None] == np.arange(classes)).sum(axis=0)
        return float((certain & (votes.argmax(axis=1) == labels)).mean())

    def record(
        self, strategy: Any, measured: dict[str, Any], names: dict[str, str], spent: float
    ) -> dict[str, Any]:
        found = {name: measured[key] for name, key in names.items() if key in measured}
        suspects = measured.get("suspected-users", ())
        named = named_users(strategy, self.grid, self.attack.from_round, suspects)
        detection = Detection.of(named, self.attackers)
        rounds, grid = self.run.num_rounds, self.grid
        traffic = grid.bytes_to_clients + grid.bytes_to_server
        return found | {
            "detection-precision": detection.precision,
            "detection-recall": detection.recall,
            "detection-f1": detection.f1,
            "true-positives": detection.true_positives,
            "false-positives": detection.false_positives,
            "false-negatives": detection.false_negatives,
            "megabytes-per-round": traffic / rounds / 1e6,
            "client-seconds-per-round": grid.client_seconds / rounds,
            "server-seconds-per-round": max(0.0, spent - grid.client_seconds) / rounds,
        }
