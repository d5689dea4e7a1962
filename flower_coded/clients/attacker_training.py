"""What attackers train on, and attackers with a training of their own: A3FL, Chameleon, two losses in turn.

The rows of :data:`flower_coded.attacks.ATTACKS` with ``trains_itself`` are made here, for an app that trains
with :mod:`flower_coded.learning`. In an app of your own, call what is called here where you train:
:class:`~flower_coded.learning.trigger_search.TriggerSearch`,
:func:`~flower_coded.learning.chameleon_training.train_chameleon`,
:func:`~flower_coded.learning.alternating_minimization.train_alternating`.

The trigger of A3FL is searched anew in every round, from the colluders' common patch, on the images of the
colluder of lowest partition id, against the global models of the round. It depends on nothing else, so that
all colluders find the same, and so does whoever measures a model (:func:`adapted_backdoor`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from flwr.app import Context, Message
from numpy.typing import NDArray
from torch import nn

from flower_coded.attacks import AdversarialTrigger, Backdoor
from flower_coded.clients.attack_mod import attack_in
from flower_coded.clients.attack_settings import AttackSettings
from flower_coded.clients.identity import partition_of
from flower_coded.errors import ParameterError
from flower_coded.learning import (
    ModelState,
    TrainReport,
    TrainSettings,
    get_state,
    set_state,
    stack_states,
    train,
    unstack_states,
)
from flower_coded.learning.alternating_minimization import train_alternating
from flower_coded.learning.chameleon_training import train_chameleon
from flower_coded.learning.trigger_search import TriggerSearch

__all__ = ["AttackerTraining", "adapted_backdoor", "poisoned_samples"]

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]
_State = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class AttackerTraining:
    """One attacker's training in one round.

    Attributes
    ----------
    attack : AttackSettings
        Of an attack that ``trains_itself``.
    user : int
        The attacker.
    honest : (ndarray of shape (N, C, H, W) float32, ndarray of shape (N,) int64)
        What it would train on honestly.
    first_colluder : (ndarray, ndarray)
        The same of the colluder of lowest partition id, which all colluders share.
    num_classes : int
        Classes of the task.
    settings : TrainSettings
        The round's.
    device : str
    """

    attack: AttackSettings
    user: int
    honest: Samples
    first_colluder: Samples
    num_classes: int
    settings: TrainSettings
    device: str = "cpu"

    def train(
        self, model: nn.Module, stacked_state: Mapping[str, NDArray[np.generic]]
    ) -> tuple[ModelState, TrainReport]:
        """Train models one after another; each sees the same images in the same order.

        Parameters
        ----------
        model : torch.nn.Module
            The architecture; left with the last model's weights.
        stacked_state : dict of str to ndarray of shape (m, ...)
            Where they start.

        Returns
        -------
        stacked_state : dict of str to ndarray of shape (m, ...)
        report : TrainReport
            ``loss`` is the mean over models, ``model_losses`` has one entry per model.
        """
        states = unstack_states(stacked_state)
        channels, height, width = self.honest[0].shape[1:]
        drawn = self.attack.data_attack((channels, height, width), self.num_classes, user=self.user)
        assert isinstance(drawn, Backdoor), "attacks that train themselves plant backdoors"
        backdoor = adapted_backdoor(
            self.attack, drawn, model, states, self.first_colluder, device=self.device
        )
        trained, losses = [], []
        for state in states:
            set_state(model, state)
            losses.append(self._train_one(model, backdoor).loss)
            trained.append(get_state(model))
        return stack_states(trained), TrainReport(float(np.mean(losses)), len(self.honest[1]), tuple(losses))

    def _train_one(self, model: nn.Module, backdoor: Backdoor) -> TrainReport:
        draws = np.random.default_rng([self.attack.seed, self.user, 0xDA7A])
        poisoned = backdoor.craft(*self.honest, draws)
        scale, common = float(self.attack.option("attack-scale")), {"device": self.device}
        if self.attack.attack == "chameleon":
            chosen = {"weight": scale} if scale else {}
            options: dict[str, Any] = {"settings": self.settings, **chosen, **common}
            return train_chameleon(model, poisoned.images, poisoned.labels, backdoor.target, **options)
        if self.attack.attack == "alternating-minimization":
            marked = poisoned.images[poisoned.indices], poisoned.labels[poisoned.indices]
            boost = scale or self.attack.num_users / len(self.attack.attackers)
            options = {"settings": self.settings, "boost": boost, **common}
            return train_alternating(model, self.honest, marked, **options)
        return train(model, poisoned.images, poisoned.labels, **asdict(self.settings), device=self.device)


def adapted_backdoor(
    attack: AttackSettings,
    backdoor: Backdoor,
    model: nn.Module,
    states: Sequence[_State],
    first_colluder: Samples,
    *,
    device: str = "cpu",
) -> Backdoor:
    """Give the backdoor that colluders who see these models use: for most attacks what they drew.

    For A3FL its trigger is searched.

    Parameters
    ----------
    attack : AttackSettings
    backdoor : Backdoor
        What the colluders drew.
    model : torch.nn.Module
        The architecture; its weights are used for work.
    states : sequence of model states
        One model, or all of an ensemble that are attacked together.
    first_colluder : (images, labels)
        Honest data of the colluder of lowest partition id, which all colluders share.
    device : str

    Returns
    -------
    Backdoor
    """
    if not isinstance(backdoor.trigger, AdversarialTrigger):
        return backdoor
    scale = float(attack.option("attack-scale"))
    search = TriggerSearch(weight=scale) if scale else TriggerSearch()
    found = search.search(
        model, states, *first_colluder, backdoor.trigger, backdoor.target, seed=attack.seed, device=device
    )
    return replace(backdoor, trigger=found)


def poisoned_samples(
    samples: Samples, num_classes: int, message: Message, context: Context, *, backdoor: int = 0
) -> Samples:
    """Poison a node's samples where its attack on data has begun: the same in every round.

    Parameters
    ----------
    samples : (ndarray of shape (N, C, H, W) float32, ndarray of shape (N,) int64)
        Honest images and labels; not modified.
    num_classes : int
        Classes of the task.
    message : Message
        Tells the round.
    context : Context
        Tells the node and, in its run configuration, the attack.
    backdoor : int
        Which of several backdoors.

    Returns
    -------
    (ndarray of shape (N, C, H, W) float32, ndarray of shape (N,) int64)
        The samples themselves where the node is honest so far.

    Raises
    ------
    ParameterError
        If the attack trains in a way of its own.
    """
    attack = attack_in(message, context)
    if attack is None or "data" not in attack.row.acts_on:
        return samples
    if attack.row.trains_itself:
        raise ParameterError(
            "attack", "must be one on data alone where the app's training is its own", attack.attack
        )
    user = partition_of(context)[0]
    images, labels = samples
    channels, height, width = images.shape[1:]
    data_attack = attack.data_attack((channels, height, width), num_classes, user=user, backdoor=backdoor)
    poisoned = data_attack.craft(images, labels, np.random.default_rng([attack.seed, user, 0xDA7A]))
    return poisoned.images, poisoned.labels
