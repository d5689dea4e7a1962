"""What is trained and how it is judged: the strategy, a softmax model beside it, the attacks on both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from flower_coded.clients.contrastive_ecoc import code_book_attack, contrastive_settings, train_settings
from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import ParameterError
from flower_coded.experiment import Experiment
from flower_coded.learning.adversarial import AttackBudget
from flower_coded.learning.models import get_state, set_state
from flower_coded.learning.output_code_network import OutputCodeNetwork, build_output_code_network
from flower_coded.learning.robustness import Scores, codeword_scores, softmax_scores, unsquashed_scores
from flower_coded.learning.training import predict_logits
from flower_coded.strategies.contrastive_ecoc import ContrastiveECOC
from flower_coded.wire.model_state import State

RADII = (0.25, 0.5, 1.0, 1.5)  # multiples of the radius, for curves


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

    @cached_property
    def attacked(self) -> tuple[np.ndarray, np.ndarray]:
        """Test images that are attacked, (B, C, H, W), and their labels (B,)."""
        count = min(max(int(self.config["num-attacked"]), 0), len(self.data.test_labels))
        chosen = np.random.default_rng([self.seed, 0xA77]).permutation(len(self.data.test_labels))[:count]
        return self.data.test_images[chosen], self.data.test_labels[chosen]

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
        _ = self.strategy(), self.budget
        contrastive_settings(self.config)
        train_settings(self.config, self.seed)
        for user in range(self.num_users):
            code_book_attack(self.config, user, self.num_users)

    def network(self, seed: int | None = None) -> OutputCodeNetwork:
        """Build an untrained output-code network."""
        shape = self.data.image_shape
        return build_output_code_network(
            self.settings.model, shape, self.num_bits, seed=self.seed if seed is None else seed
        )

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
            **self.everybody,
        )

    def clean_accuracy(self, state: State, code_book: np.ndarray | None) -> dict[str, float]:
        """Accuracy on the test images, once there is a code book."""
        if code_book is None:
            return {}
        network = self._trained(state)
        words = predict_logits(network, self.data.test_images, device=self.settings.device)
        answers = OutputCode(code_book).decode(words)
        return {"clean-accuracy": float((answers == self.data.test_labels).mean())}

    def contrastive_scores(self, state: State, code_book: np.ndarray) -> Scores:
        """Scores of the trained output-code network."""
        return codeword_scores(self._trained(state), code_book, device=self.settings.device)

    def surrogate_scores(self, state: State, code_book: np.ndarray) -> Scores:
        """Scores of the trained output-code network before ``tanh``, to attack it through."""
        return unsquashed_scores(self._trained(state), code_book, device=self.settings.device)

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
