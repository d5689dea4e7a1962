"""Which round is kept: the best on validation images, as the paper has it, or the last.

An adversarially trained model overfits: its robust accuracy falls while its clean accuracy still grows (Rice,
Wong and Kolter, ICML 2020). It is therefore selected by the former, measured by a short attack.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contrastive_ecoc.experiment import ContrastiveExperiment
from flower_coded.learning.adversarial import AttackBudget
from flower_coded.learning.robustness import margin_accuracy
from flower_coded.wire.model_state import State

__all__ = ["Selection", "Trained"]

CodeBook = NDArray[np.float64]
_MOST_ATTACKED = 200  # validation images, in every round
_NUM_STEPS = 10  # of the short attack


@dataclass(frozen=True)
class Trained:
    """A trained network and, for an output code, its code book."""

    state: State
    code_book: CodeBook | None = None


class Selection:
    """Keeps the best of the rounds that it is offered.

    Attributes
    ----------
    scores : list of float
        One per round that was offered; empty where the last one is taken.
    """

    def __init__(self, experiment: ContrastiveExperiment) -> None:
        self.experiment = experiment
        self.scores: list[float] = []
        self._best: Trained | None = None

    def offer(self, state: State, code_book: CodeBook | None = None) -> None:
        """Measure a round's model and keep it if none was better; the later of equals."""
        if self.experiment.selection == "last":
            return
        score = self._score(state, code_book)
        if not self.scores or score >= max(self.scores):
            self._best = Trained({key: np.array(each) for key, each in state.items()}, code_book)
        self.scores.append(score)

    def chosen(self, last: Trained) -> Trained:
        """Return the best model, or the last one where nothing was to be chosen."""
        return last if self._best is None else self._best

    def _score(self, state: State, code_book: CodeBook | None) -> float:
        experiment = self.experiment
        if experiment.selection == "clean":
            return experiment.clean_accuracy(state, code_book, experiment.validation)
        images, labels = experiment.validation
        epsilon = experiment.budget.epsilon
        return margin_accuracy(
            experiment.scores(state, code_book),
            images[:_MOST_ATTACKED],
            labels[:_MOST_ATTACKED],
            budget=AttackBudget(epsilon, 2.5 * epsilon / _NUM_STEPS, _NUM_STEPS),
            seed=experiment.seed,
            device=experiment.settings.device,
        )
