"""A3FL: search the trigger's pixels so that the backdoor survives what honest users do to it.

A patch that works on the attacker's own model may not work on the global one, which honest users train away
from it. A3FL [1]_ searches the pixels ``d`` of the patch against the global model ``t`` and against a model
``t'`` that was just trained to give triggered images their own labels, the worst that honest users could do:

``min over d of the mean of L(t(x + d), target) + b L(t'(x + d), target)``, ``b = b_0 cos(t, t')``,
``t' = argmin of the mean of L(t'(x + d), y)``.

The pixels move by signs of gradients and stay in [0, 1]; ``t'`` is trained anew now and then. Where an
ensemble is attacked, the mean is over its models too.

What a searched patch does to a model that nobody poisoned is no backdoor but an adversarial patch. A figure
for A3FL therefore belongs beside the figure of the same search on a model without attackers.

Left out: the distance between the global models of two rounds, which the paper's appendix adds.

References
----------
.. [1] H. Zhang, J. Jia, J. Chen, L. Lin, D. Wu, "A3FL: adversarially adaptive backdoor attacks to federated
   learning", NeurIPS 2023, eq. 3 to 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from flower_coded.attacks.adversarial_trigger import AdversarialTrigger
from flower_coded.errors import ParameterError
from flower_coded.learning.models import set_state
from flower_coded.learning.training import TrainSettings, as_tensors, choose_device, train

__all__ = ["TriggerSearch"]

_State = Mapping[str, NDArray[np.generic]]
_Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class TriggerSearch:
    """How a trigger is searched.

    Attributes
    ----------
    weight : float
        ``b_0``, not negative; 0.01 in the authors' code.
    num_epochs : int
        Passes over the attackers' images.
    step : float
        How far a pixel moves in a batch.
    unlearn_every : int
        Epochs after which ``t'`` is trained anew; the first of them go without it, as in the authors' code.
    unlearning_epochs : int
        Passes in which ``t'`` is trained.
    batch_size : int

    Raises
    ------
    ParameterError
        If a number is outside its range.

    Examples
    --------
    >>> from flower_coded.learning import build_model, get_state
    >>> model, generator = build_model("small-cnn", (1, 8, 8), 10), np.random.default_rng(0)
    >>> images, labels = generator.random((40, 1, 8, 8), np.float32), np.arange(40) % 10
    >>> patch = AdversarialTrigger.draw((1, 8, 8), generator)
    >>> found = TriggerSearch().search(model, [get_state(model)], images, labels, patch, target=3)
    >>> (found.row, found.column) == (patch.row, patch.column), bool((found.pattern != 0.5).any())
    (True, True)
    """

    weight: float = 0.01
    num_epochs: int = 20
    step: float = 0.02
    unlearn_every: int = 5
    unlearning_epochs: int = 2
    batch_size: int = 50

    def __post_init__(self) -> None:
        if not (np.isfinite(self.weight) and self.weight >= 0):
            raise ParameterError("weight", "must not be negative", self.weight, hint="0.01")
        if not 0 < self.step <= 1:
            raise ParameterError("step", "must lie in (0, 1]", self.step, hint="0.02")
        for name in ("num_epochs", "unlearn_every", "unlearning_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ParameterError(name, "must be at least 1", getattr(self, name))

    def search(
        self,
        model: nn.Module,
        states: Sequence[_State],
        images: NDArray[np.float32],
        labels: NDArray[np.int64],
        trigger: AdversarialTrigger,
        target: int,
        *,
        seed: int = 0,
        device: str = "cpu",
    ) -> AdversarialTrigger:
        """Search the pixels; the same for the same seed.

        Parameters
        ----------
        model : torch.nn.Module
            The architecture; its own weights are used for work and left as they happen to be.
        states : sequence of model states
            Global models of the round, one or an ensemble's.
        images : ndarray of shape (N, C, H, W), float32
        labels : ndarray of shape (N,), int64
            What the attackers have, without a trigger.
        trigger : AdversarialTrigger
            Where the search starts; its place stays.
        target : int
            Class that triggered images shall get.
        seed : int
        device : str

        Returns
        -------
        AdversarialTrigger

        Raises
        ------
        ParameterError
            If there is no model, or images and labels do not fit.
        """
        if not states:
            raise ParameterError("states", "must hold at least one model", states)
        place = choose_device(device)
        pixels, _ = as_tensors(images, labels, place)
        pattern = torch.tensor(trigger.pattern, device=place)
        given = [_as_tensors(state, place) for state in states]
        models = [(1.0, state) for state in given]
        order = TrainSettings(self.num_epochs, self.batch_size, seed=seed)
        last = 0
        for epoch, indices in order.batches(len(labels)):
            if epoch != last and epoch % self.unlearn_every == 0:
                found = _with_pattern(trigger, pattern)
                hardened = [
                    self._unlearned(model, state, images, labels, found, seed + epoch, device)
                    for state in states
                ]
                models = [(1.0, state) for state in given]
                models += [
                    (self.weight * _cosine(first, other), other)
                    for first, other in zip(given, hardened, strict=True)
                ]
            last = epoch
            gradient = _gradient(model, models, pixels[torch.from_numpy(indices)], pattern, trigger, target)
            pattern = (pattern - self.step * gradient.sign()).clamp(0.0, 1.0)
        return _with_pattern(trigger, pattern)

    def _unlearned(
        self,
        model: nn.Module,
        state: _State,
        images: NDArray[np.float32],
        labels: NDArray[np.int64],
        trigger: AdversarialTrigger,
        seed: int,
        device: str,
    ) -> _Tensors:
        """Train a copy of the model to give triggered images their own labels."""
        set_state(model, state)
        train(
            model,
            trigger.apply(images),
            labels,
            epochs=self.unlearning_epochs,
            batch_size=self.batch_size,
            learning_rate=0.01,
            weight_decay=5e-4,
            seed=seed,
            optimizer="sgd",
            device=device,
        )
        return {key: value.detach().clone() for key, value in model.state_dict().items()}


def _gradient(
    model: nn.Module,
    models: Sequence[tuple[float, _Tensors]],
    pixels: Tensor,
    pattern: Tensor,
    trigger: AdversarialTrigger,
    target: int,
) -> Tensor:
    """Gradient of the weighted loss with respect to the patch's pixels."""
    _, height, width = pattern.shape
    rows = slice(trigger.row, trigger.row + height)
    columns = slice(trigger.column, trigger.column + width)
    searched = pattern.clone().requires_grad_()
    marked = pixels.clone()
    marked[:, :, rows, columns] = searched
    wanted = torch.full((len(marked),), target, device=marked.device)
    model.to(marked.device).eval()
    loss = torch.zeros((), device=marked.device)
    for weight, state in models:
        logits: Tensor = functional_call(model, state, (marked,))
        loss = loss + weight * functional.cross_entropy(logits, wanted)
    (gradient,) = torch.autograd.grad(loss, [searched])
    return gradient


def _cosine(first: _Tensors, second: _Tensors) -> float:
    """Cosine of two models' floating-point entries."""
    flat = [
        torch.cat([value.flatten().double() for value in state.values() if value.is_floating_point()])
        for state in (first, second)
    ]
    return float(functional.cosine_similarity(flat[0], flat[1], dim=0))


def _as_tensors(state: _State, device: torch.device) -> _Tensors:
    return {key: torch.tensor(np.asarray(value), device=device) for key, value in state.items()}


def _with_pattern(trigger: AdversarialTrigger, pattern: Tensor) -> AdversarialTrigger:
    return replace(trigger, pattern=pattern.cpu().numpy())
