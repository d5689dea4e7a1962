"""What is trained and how it is judged: the strategy, a softmax model beside it, the attacks on both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from flower_coded.clients.attack_settings import AttackSettings
from flower_coded.clients.contrastive_ecoc import code_book_attack, contrastive_settings, train_settings
from flower_coded.clients.training import ClientSettings
from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import ParameterError
from flower_coded.learning.adversarial import AttackBudget
from flower_coded.learning.models import build_model, get_state, set_state
from flower_coded.learning.output_code_network import OutputCodeNetwork, build_output_code_network
from flower_coded.learning.robustness import Scores, codeword_scores, softmax_scores, unsquashed_scores
from flower_coded.learning.training import predict_labels, predict_logits
from flower_coded.strategies.contrastive_ecoc import ContrastiveECOC
from flower_coded.wire.model_state import State

RADII = (0.25, 0.5, 1.0, 1.5)  # multiples of the radius, for curves


class Experiment:
    """The run configuration, read once."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)
        self.settings = ClientSettings.from_config(config)
        self.data = self.settings.load()
        self.num_users = int(config["num-clients"])
        self.seed = self.settings.seed
        self.num_bits = int(config["num-bits"])
        self.budget = AttackBudget(
            float(config["epsilon"]),
            float(config["step-size"]),
            int(config["num-steps"]),
            int(config["num-restarts"]),
        )
        count = min(max(int(config["num-attacked"]), 0), len(self.data.test_labels))
        chosen = np.random.default_rng([self.seed, 0xA77]).permutation(len(self.data.test_labels))[:count]
        self.attacked_images = self.data.test_images[chosen]
        self.attacked_labels = self.data.test_labels[chosen]

    @property
    def num_rounds(self) -> int:
        """Rounds of the contrastive run; the softmax model gets as many passes over the data."""
        config = self.config
        retrain = int(config["retrain-rounds"]) if config["variant"] == "tfc" else 0
        return int(config["pretrain-rounds"]) + int(config["fine-tune-rounds"]) + retrain

    def check(self) -> None:
        """Refuse a configuration before anything is trained."""
        if int(self.config["num-attacked"]) < 1:
            raise ParameterError("num-attacked", "must be at least 1", self.config["num-attacked"])
        self.strategy()
        contrastive_settings(self.config)
        train_settings(self.config, self.seed)
        AttackSettings.from_config(self.config, self.num_users)
        for user in range(self.num_users):
            code_book_attack(self.config, user, self.num_users)

    def network(self, seed: int | None = None) -> OutputCodeNetwork:
        """Build an untrained output-code network."""
        shape = self.data.image_shape
        return build_output_code_network(
            self.settings.model, shape, self.num_bits, seed=self.seed if seed is None else seed
        )

    def softmax_model(self) -> Any:
        """Build an untrained classifier on the same backbone."""
        return build_model(self.settings.model, self.data.image_shape, self.data.num_classes, seed=self.seed)

    def strategy(
        self, code_book: np.ndarray | None = None, *, with_evaluator: bool = True
    ) -> ContrastiveECOC:
        """Make the strategy of the configuration; ``fixed`` takes this code book, or a Hadamard code."""
        config, variant = self.config, str(self.config["variant"])
        if code_book is None:
            fixed = OutputCode.hadamard(max(self.data.num_classes, self.num_bits + 1)).codewords
            code_book = fixed[: self.data.num_classes, : self.num_bits]
        return ContrastiveECOC(
            self.data.num_classes,
            self.num_bits,
            self.num_users,
            variant=variant,  # type: ignore[arg-type]
            pretrain_rounds=int(config["pretrain-rounds"]),
            fine_tune_rounds=int(config["fine-tune-rounds"]),
            retrain_rounds=int(config["retrain-rounds"]) if variant == "tfc" else 0,
            retrain_arrays=get_state(self.network(self.seed + 1)) if variant == "tfc" else None,
            code_book=code_book if variant == "fixed" else None,
            model_rule=str(config["model-rule"]),  # type: ignore[arg-type]
            code_book_rule=str(config["code-book-rule"]),  # type: ignore[arg-type]
            num_byzantine=int(config["num-byzantine"]),
            evaluator=self.clean_accuracy if with_evaluator else None,
            seed=self.seed,
            fraction_evaluate=0.0,
            min_train_nodes=self.num_users,
            min_available_nodes=self.num_users,
        )

    def clean_accuracy(self, state: State, code_book: np.ndarray | None) -> dict[str, float]:
        """Accuracy on the test images, once there is a code book."""
        if code_book is None:
            return {}
        network = self.network()
        set_state(network, state)
        words = predict_logits(network, self.data.test_images, device=self.settings.device)
        answers = OutputCode(code_book).decode(words)
        return {"clean-accuracy": float((answers == self.data.test_labels).mean())}

    def softmax_accuracy(self, state: State) -> float:
        """Accuracy of the softmax model on the test images."""
        model = self.softmax_model()
        set_state(model, state)
        answers = predict_labels(model, self.data.test_images, device=self.settings.device)
        return float((answers == self.data.test_labels).mean())

    def contrastive_scores(self, state: State, code_book: np.ndarray) -> Scores:
        """Scores of the trained output-code network."""
        return codeword_scores(self._trained(state), code_book, device=self.settings.device)

    def surrogate_scores(self, state: State, code_book: np.ndarray) -> Scores:
        """Scores of the trained output-code network before ``tanh``, to attack it through."""
        return unsquashed_scores(self._trained(state), code_book, device=self.settings.device)

    def softmax_scores(self, state: State) -> Scores:
        """Scores of the trained softmax model."""
        model = self.softmax_model()
        set_state(model, state)
        return softmax_scores(model.to(self.settings.device))

    def _trained(self, state: State) -> OutputCodeNetwork:
        network = self.network()
        set_state(network, state)
        return network


def shrunk(budget: AttackBudget, factor: float) -> AttackBudget:
    """Allow the same number of steps in a ball of another radius, from one start."""
    return replace(
        budget, epsilon=budget.epsilon * factor, step_size=budget.step_size * factor, num_restarts=1
    )
