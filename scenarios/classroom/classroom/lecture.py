"""What the run configuration says: data, models, the code, the trigger, and how to measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from classroom.acts import ACTS, EXPECTED_ATTACKERS, TRIGGER, Attack
from flower_coded.attacks import Backdoor
from flower_coded.clients import AttackSettings, ClientSettings
from flower_coded.codes import SubsetCode, build_code
from flower_coded.errors import ParameterError
from flower_coded.learning import ImageData, ModelState, build_model, initial_states, predict_stacked
from flower_coded.strategies import EnsembleEvaluator, RampSharedMultiKrum

Config = Mapping[str, bool | int | float | str]


@dataclass(frozen=True)
class Lecture:
    """One configuration, read; the server's side of it."""

    config: Config

    @property
    def num_users(self) -> int:
        """Users, which are the simulation's nodes."""
        return int(self.config["num-clients"])

    @property
    def num_rounds(self) -> int:
        """Rounds of every training but the secret-shared one."""
        return int(self.config["num-server-rounds"])

    @property
    def seed(self) -> int:
        """Seed of data, attackers, trigger and weights."""
        return int(self.config["seed"])

    @cached_property
    def settings(self) -> ClientSettings:
        """What the users read from the configuration."""
        return ClientSettings.from_config(self.config)

    @cached_property
    def data(self) -> ImageData:
        """Training and test images."""
        return self.settings.load()

    @cached_property
    def code(self) -> SubsetCode:
        """Which user trains which model in act 3."""
        tolerated, row_weight = int(self.config["tolerated-attackers"]), int(self.config["row-weight"])
        return build_code(str(self.config["code"]), tolerated, row_weight, self.num_users)

    @cached_property
    def backdoor(self) -> Backdoor:
        """The attackers' trigger and target; images with it are shown to every model."""
        attack = self._attack_settings(TRIGGER).data_attack(self.data.image_shape, self.data.num_classes)
        assert isinstance(attack, Backdoor)
        return attack

    def attackers(self, attack: Attack) -> tuple[int, ...]:
        """Users who attack: drawn from the seed, the two of one act among the three of another."""
        return self._attack_settings(attack).attackers

    def evaluator(self, code: SubsetCode) -> EnsembleEvaluator:
        """Measure on the test images, clean and triggered; half of them calibrate act 3's decoder."""
        model, data = (
            build_model(self.settings.model, self.data.image_shape, self.data.num_classes),
            self.data,
        )
        return EnsembleEvaluator(
            code,
            lambda state, images: predict_stacked(model, state, images, device=self.settings.device),
            data.test_images,
            data.test_labels,
            data.num_classes,
            trigger=self.backdoor.trigger,
            target=self.backdoor.target,
            attackers=self.attackers(TRIGGER),
            seed=self.seed,
            decoder_options={"attack_rate": 0.5, "success_rate": 0.99, "smoothing": 0.3},
        )

    def initial_states(self, num_models: int) -> ModelState:
        """Every model of an ensemble starts from weights of its own."""
        data = self.data
        return initial_states(self.settings.model, data.image_shape, data.num_classes, num_models, self.seed)

    def check(self) -> None:
        """Refuse a configuration before anything is trained."""
        for name in ("num-server-rounds", "secret-rounds"):
            if int(self.config[name]) < 1:
                raise ParameterError(name, "must be at least 1", self.config[name])
        for training in (training for act in ACTS for training in act.trainings):
            self.attackers(training.attack)
        self.secret_strategy(EXPECTED_ATTACKERS)
        _ = self.code, self.backdoor

    def secret_strategy(self, num_attackers: int) -> RampSharedMultiKrum:
        """Make the strategy of act 4; it holds the parameters of the protocol."""
        num_per_element = int(self.config["num-per-element"])
        return RampSharedMultiKrum(
            self.num_users,
            num_attackers,
            num_per_element=num_per_element,
            num_range_checks=int(self.config["num-range-checks"]) if num_per_element == 1 else 0,
            seed=self.seed,
            fraction_evaluate=0.0,
        )

    def _attack_settings(self, attack: Attack) -> AttackSettings:
        return AttackSettings.from_config({**self.config, **attack.settings()}, self.num_users)
