"""What is trained and how it is judged: the strategy, a softmax model beside it, the attacks on both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from flower_coded.clients.adversarial_settings import adversarial_training
from flower_coded.clients.contrastive_ecoc import code_book_attack, contrastive_settings, train_settings
from flower_coded.clients.run_config import read_bool, read_choice, read_int
from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import ParameterError
from flower_coded.experiment import Experiment
from flower_coded.learning.adaptive_attack import AdaptiveBudget
from flower_coded.learning.adversarial import AttackBudget
from flower_coded.learning.adversarial_training import AdversarialTraining
from flower_coded.learning.class_scores import (
    Scores,
    codeword_scores,
    softened_scores,
    softmax_scores,
    unsquashed_scores,
)
from flower_coded.learning.models import get_state, set_state
from flower_coded.learning.output_code_network import OutputCodeNetwork, build_output_code_network
from flower_coded.learning.training import predict_labels, predict_logits
from flower_coded.strategies.contrastive_ecoc import ContrastiveECOC, Evaluator
from flower_coded.wire.model_state import State

RADII = (0.25, 0.5, 1.0, 1.5)  # multiples of the radius, for curves
SELECTIONS = ("last", "clean", "robust")
Images = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ContrastiveExperiment(Experiment):
    """The run configuration, read once; an output code beside a softmax model."""

    @property
    def num_bits(self) -> int:
        """Length of a codeword."""
        return int(self.config["num-bits"])

    @property
    def budget(self) -> AttackBudget:
        """What an adversarial image may change, and how hard it is searched for."""
        config = self.config
        sizes = float(config["epsilon"]), float(config["step-size"])
        return AttackBudget(*sizes, int(config["num-steps"]), int(config["num-restarts"]))

    @property
    def adaptive(self) -> AdaptiveBudget | None:
        """How hard the adaptive attack tries; None where it is left out."""
        steps, restarts, targets = (
            read_int(self.config, f"adaptive-{name}", default)
            for name, default in (("steps", 50), ("restarts", 1), ("targets", 3))
        )
        return AdaptiveBudget(steps, restarts, targets) if steps else None

    @property
    def adversarial(self) -> AdversarialTraining:
        """How training images are attacked."""
        return adversarial_training(self.config)

    @property
    def selection(self) -> str:
        """By what the best round is chosen, on validation images; ``last`` takes the last one."""
        return read_choice(self.config, "select-by", "last", SELECTIONS)

    @cached_property
    def validation(self) -> Images:
        """Images that no user trains on, and their labels."""
        images, labels = self.data.validation_images, self.data.validation_labels
        if images is None or labels is None:
            raise ParameterError(
                "validation-images",
                "must be at least 1 where something is chosen or judged on them",
                self.config.get("validation-images", 0),
            )
        return images, labels

    @property
    def judged(self) -> Images:
        """Images that clean accuracy is measured on: the test images, or those of validation."""
        if read_choice(self.config, "judge-on", "test", ("test", "validation")) == "validation":
            return self.validation
        return self.data.test_images, self.data.test_labels

    @cached_property
    def attacked(self) -> Images:
        """Images that are attacked, (B, C, H, W), and their labels (B,): some of those judged."""
        images, labels = self.judged
        count = min(max(int(self.config["num-attacked"]), 0), len(labels))
        chosen = np.random.default_rng([self.seed, 0xA77]).permutation(len(labels))[:count]
        return images[chosen], labels[chosen]

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
        super().check()
        _ = self.strategy(), self.budget, self.adaptive, self.judged
        if self.selection != "last":
            _ = self.validation
        contrastive_settings(self.config)
        read_bool(self.config, "flip", False)
        train_settings(self.config, self.seed)
        for user in range(self.num_users):
            code_book_attack(self.config, user, self.num_users)

    def network(self, seed: int | None = None) -> OutputCodeNetwork:
        """Build an untrained output-code network."""
        shape = self.data.image_shape
        return build_output_code_network(
            self.settings.model,
            shape,
            self.num_bits,
            seed=self.seed if seed is None else seed,
            has_predictor=contrastive_settings(self.config).contrastive == "byol",
        )

    def hadamard(self) -> np.ndarray:
        """Make a code book that is not learned, (num_classes, num_bits)."""
        fixed = OutputCode.hadamard(max(self.data.num_classes, self.num_bits + 1)).codewords
        return fixed[: self.data.num_classes, : self.num_bits]

    def changed(self, **changes: Any) -> ContrastiveExperiment:
        """Make the same experiment with other settings; underscores in their names stand for hyphens."""
        renamed = {key.replace("_", "-"): value for key, value in changes.items()}
        return ContrastiveExperiment({**self.config, **renamed})

    def strategy(
        self, code_book: np.ndarray | None = None, *, evaluator: Evaluator | None = None
    ) -> ContrastiveECOC:
        """Make the strategy of the configuration; ``fixed`` takes this code book, or a Hadamard code."""
        config, variant = self.config, str(self.config["variant"])
        code_book = self.hadamard() if code_book is None else code_book
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
            evaluator=evaluator,
            seed=self.seed,
            **self.everybody,
        )

    def clean_accuracy(
        self, state: State, code_book: np.ndarray | None = None, on: Images | None = None
    ) -> float:
        """Accuracy of a softmax model, or of an output code, on the judged images or on these."""
        images, labels = self.judged if on is None else on
        if code_book is None:
            model = self.model()
            set_state(model, state)
            answers = predict_labels(model, images, device=self.settings.device)
        else:
            words = predict_logits(self._trained(state), images, device=self.settings.device)
            answers = OutputCode(code_book).decode(words)
        return float((answers == labels).mean())

    def scores(self, state: State, code_book: np.ndarray | None) -> Scores:
        """Scores of a softmax model, or with a code book of an output code."""
        return self.softmax_scores(state) if code_book is None else self.contrastive_scores(state, code_book)

    def contrastive_scores(self, state: State, code_book: np.ndarray) -> Scores:
        """Scores of the trained output-code network."""
        return codeword_scores(self._trained(state), code_book, device=self.settings.device)

    def surrogate_scores(self, state: State, code_book: np.ndarray) -> Scores:
        """Scores of the trained output-code network before ``tanh``, to attack it through."""
        return unsquashed_scores(self._trained(state), code_book, device=self.settings.device)

    def paths(self, state: State, code_book: np.ndarray) -> Mapping[str, Scores]:
        """Ways for the adaptive attack around the output code's ``tanh``."""
        softened = softened_scores(self._trained(state), code_book, device=self.settings.device)
        return {"before tanh": self.surrogate_scores(state, code_book), "softened tanh": softened}

    def softmax_scores(self, state: State) -> Scores:
        """Scores of the trained softmax model."""
        model = self.model()
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
