"""One experiment as its run configuration describes it: code, data, attack and how to measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import nn

from flower_coded.attacks import Backdoor
from flower_coded.clients import AttackSettings, ClientSettings
from flower_coded.codes import SubsetCode, build_code, partition_code, random_code
from flower_coded.errors import ParameterError
from flower_coded.learning import ImageData, ModelState, build_model, initial_states, predict_stacked
from flower_coded.strategies import EnsembleEvaluator

Config = Mapping[str, bool | int | float | str]


@dataclass(frozen=True)
class Experiment:
    """What server, comparison and report need to know, read from one run configuration."""

    config: Config

    @property
    def num_users(self) -> int:
        """Users, which are the simulation's nodes."""
        return int(self.config["num-clients"])

    @property
    def num_rounds(self) -> int:
        """Rounds of training."""
        return int(self.config["num-server-rounds"])

    @property
    def seed(self) -> int:
        """Seed of data, attack, models and code."""
        return int(self.config["seed"])

    @cached_property
    def settings(self) -> ClientSettings:
        """What the clients read from the configuration."""
        return ClientSettings.from_config(self.config)

    @cached_property
    def data(self) -> ImageData:
        """Training and test images."""
        return self.settings.load()

    @cached_property
    def attack(self) -> AttackSettings:
        """What the attackers do."""
        return AttackSettings.from_config(self.config, self.num_users)

    @property
    def attackers(self) -> tuple[int, ...]:
        """Users who attack."""
        return self.attack.attackers if self.attack.attack != "none" else ()

    @cached_property
    def backdoor(self) -> Backdoor | None:
        """The trigger to test with: also without attackers, to see what it does to a clean model."""
        if "data" not in self.attack.row.acts_on:
            return None
        attack = self.attack.data_attack(self.data.image_shape, self.data.num_classes)
        return attack if isinstance(attack, Backdoor) else None

    @cached_property
    def code(self) -> SubsetCode:
        """Which user trains which model."""
        kind, row_weight = str(self.config["code"]), int(self.config["row-weight"])
        num_models = int(self.config["num-models"])
        if kind == "partition":
            return partition_code(num_models, self.num_users)
        if kind == "random":
            return random_code(num_models, row_weight, self.num_users, self.seed)
        return build_code(kind, int(self.config["tolerated-attackers"]), row_weight, self.num_users)

    def evaluator(self, code: SubsetCode) -> EnsembleEvaluator:
        """Measure on the test images: half of them calibrate the decoder, the other half are judged."""
        backdoor, model = self.backdoor, self.new_model()
        measured = slice(int(self.config["test-images"]) or None)
        return EnsembleEvaluator(
            code,
            lambda state, images: predict_stacked(model, state, images, device=self.settings.device),
            self.data.test_images[measured],
            self.data.test_labels[measured],
            self.data.num_classes,
            trigger=None if backdoor is None else backdoor.trigger,
            target=None if backdoor is None else backdoor.target,
            attackers=self.attackers,
            seed=self.seed,
            decoder_options=self.decoder_options,
        )

    @property
    def decoder_options(self) -> dict[str, object]:
        """The decoder's prior beliefs."""
        return {
            "attack_rate": float(self.config["decoder-attack-rate"]),
            "success_rate": float(self.config["decoder-success-rate"]),
            "smoothing": float(self.config["decoder-smoothing"]),
            "attacker_prior": np.ones(int(self.config["decoder-max-attackers"]) + 1).tolist(),
        }

    def new_model(self) -> nn.Module:
        """Make the architecture, with the weights that a single model starts from."""
        return build_model(self.settings.model, self.data.image_shape, self.data.num_classes, seed=self.seed)

    def initial_states(self, num_models: int) -> ModelState:
        """Every model of the ensemble starts from weights of its own."""
        return initial_states(
            self.settings.model, self.data.image_shape, self.data.num_classes, num_models, self.seed
        )

    def check(self) -> None:
        """Refuse a configuration before anything is trained."""
        if self.config["decoder"] not in {"posterior", "majority"}:
            raise ParameterError("decoder", "must be posterior or majority", self.config["decoder"])
        if self.config["baseline"] not in {"fedavg", "none"}:
            raise ParameterError("baseline", "must be fedavg or none", self.config["baseline"])
        _ = self.code, self.data, self.backdoor
