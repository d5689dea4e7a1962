"""What the comparison trains, and at what cost.

The paper's five models; a Hadamard code that nobody learned; and, where ``adversarial-training`` is set, all
of them on attacked images (``+ AT``). Pretraining is never attacked: it has no labels.

Cost is counted in *passes*, forward and backward computations for one training image. Pretraining takes two
per image and epoch (two views; BYOL's target adds a forward computation of each, two thirds of a pass), plain
fine-tuning one, Madry's ``steps + 1``, TRADES ``steps + 2``. An adversarially trained softmax model without
pretraining gets as many rounds as PF's and CFPC's passes buy, rounded up; so does the Hadamard code. TFC is
dearer than all of them: its code book is CFPC's.
"""

from __future__ import annotations

import math
from functools import cached_property

from contrastive_ecoc.experiment import ContrastiveExperiment
from contrastive_ecoc.selection import Trained
from contrastive_ecoc.trainers import Central, Federated, Trainer
from flower_coded.clients.contrastive_ecoc import contrastive_settings
from flower_coded.errors import ParameterError
from flower_coded.learning.models import get_state
from flower_coded.wire.model_state import State

__all__ = ["ATTACKED", "METHODS", "Methods", "chosen_methods"]

METHODS = ("Standard", "SimCLR", "ACL-PF", "ACL-CFPC", "ACL-TFC")
"""The paper's, in its order."""

ATTACKED = " + AT"
"""Behind the name of a method whose training images are attacked."""

_UNLEARNED = "Hadamard"
_BY_DEFAULT = ("Standard", "SimCLR", _UNLEARNED, "ACL-PF", "ACL-CFPC")


def chosen_methods(named: str, adversarial: str) -> tuple[str, ...]:
    """Names of methods from a list separated by commas, or those that belong to a kind of training.

    Raises
    ------
    ParameterError
        If a name is unknown, or wants attacked training images where there are none.

    Examples
    --------
    >>> chosen_methods("", "none")
    ('Standard', 'SimCLR', 'ACL-PF', 'ACL-CFPC', 'ACL-TFC')
    >>> chosen_methods("Standard, ACL-CFPC + AT", "madry")
    ('Standard', 'ACL-CFPC + AT')
    """
    is_attacked = adversarial != "none"
    known = [*METHODS, _UNLEARNED]
    known += [f"{each}{ATTACKED}" for each in known] if is_attacked else []
    if not named.strip():
        return ("Standard", *(f"{each}{ATTACKED}" for each in _BY_DEFAULT)) if is_attacked else METHODS
    methods = tuple(each.strip() for each in named.split(","))
    if not set(methods) <= set(known) or len(set(methods)) < len(methods):
        raise ParameterError("methods", f"must be different ones of {', '.join(known)}", named)
    return methods


class Methods:
    """Trains methods by name on one experiment; what they share is trained once.

    Parameters
    ----------
    trainer : type
        ``Central`` or ``Federated``.
    experiment : ContrastiveExperiment
    """

    def __init__(self, trainer: type[Central] | type[Federated], experiment: ContrastiveExperiment) -> None:
        # Nobody's images are attacked, so nobody's robustness is what a round is chosen by.
        selection = "clean" if experiment.selection == "robust" else experiment.selection
        plain = experiment.changed(adversarial_training="none", select_by=selection)
        self.experiment = experiment
        self._trainers: dict[bool, Trainer] = {True: trainer(experiment), False: trainer(plain)}
        self._learned: dict[bool, Trained] = {}

    def train(self, method: str) -> Trained:
        """Train one of :func:`chosen_methods`."""
        name, is_attacked = method.removesuffix(ATTACKED), method.endswith(ATTACKED)
        trainer, rounds = self._trainers[is_attacked], self.rounds(method)
        if name == "Standard":
            return trainer.softmax(get_state(self.experiment.model()), rounds)
        if name == "SimCLR":
            return trainer.softmax(with_features(self.experiment, self._pretrained_alone), rounds)
        if name == "ACL-PF":
            return trainer.fine_tune(self._pretrained, rounds)
        if name == "ACL-CFPC":
            return self._cfpc(is_attacked)
        new = get_state(self.experiment.network(self.experiment.seed + 1))
        book = self.experiment.hadamard() if name == _UNLEARNED else self._cfpc(is_attacked).code_book
        return trainer.fine_tune(new, rounds, code_book=book)

    def rounds(self, method: str) -> int:
        """Return how many rounds a method is trained with labels.

        Plain softmax models and TFC see labeled images as often as others see images at all. Attacked ones
        get what the passes of pretraining and fine-tuning buy.
        """
        config, each_image = self.experiment.config, self.experiment.adversarial.passes_per_image
        first, second = int(config["pretrain-rounds"]), int(config["fine-tune-rounds"])
        if method in {"Standard", "ACL-TFC", _UNLEARNED}:
            return first + second
        if method in {f"Standard{ATTACKED}", f"{_UNLEARNED}{ATTACKED}"}:
            return second + math.ceil(first * self._pretraining / each_image)
        return second

    def passes(self, method: str) -> float:
        """Forward and backward computations for one training image, all that the method needs included."""
        name, is_attacked = method.removesuffix(ATTACKED), method.endswith(ATTACKED)
        epochs = self.experiment.settings.local_epochs
        labeled = epochs * (self.experiment.adversarial.passes_per_image if is_attacked else 1)
        cost = float(self.rounds(method) * labeled)
        if name in {"SimCLR", "ACL-PF", "ACL-CFPC"}:
            cost += int(self.experiment.config["pretrain-rounds"]) * epochs * self._pretraining
        if name == "ACL-TFC":
            cost += self.passes(method.replace("TFC", "CFPC"))
        return round(cost, 1)

    @property
    def _pretraining(self) -> float:
        """Passes per image and epoch: two views, and of BYOL their forward computation by the target."""
        return 2.0 if contrastive_settings(self.experiment.config).contrastive == "simclr" else 8.0 / 3.0

    @cached_property
    def _pretrained(self) -> State:
        return self._trainers[False].pretrain(float(self.experiment.config["column-weight"]))

    @cached_property
    def _pretrained_alone(self) -> State:
        return self._trainers[False].pretrain(0.0)

    def _cfpc(self, is_attacked: bool) -> Trained:
        if is_attacked not in self._learned:
            rounds = int(self.experiment.config["fine-tune-rounds"])
            trainer = self._trainers[is_attacked]
            self._learned[is_attacked] = trainer.fine_tune(self._pretrained, rounds, follows=True)
        return self._learned[is_attacked]


def with_features(experiment: ContrastiveExperiment, pretrained: State) -> State:
    """Give a new softmax model the pretrained feature extractor: all of its weights but those of the head."""
    fresh = get_state(experiment.model())
    found = {key: pretrained[f"features.{key}"] for key in fresh if f"features.{key}" in pretrained}
    left = {key.rpartition(".")[0] for key in fresh.keys() - found.keys()}
    assert len(left) == 1, f"one module is new, the head; here {sorted(left)}"
    return fresh | found
