"""Alternating minimization: the malicious goal and the look of an honest update, a step for each in turn.

An update that is boosted as a whole, as in model replacement, stands out. Bhagoji et al. [1]_, Sec. 4.3,
minimize two losses in turn, each from where the other has arrived:

* *stealth*: cross-entropy of the attacker's honest images ``+ rho |w - w_b|``, with ``w_b`` the model that it
  would have got by training honestly, for some steps;
* *malicious*: one gradient step on the poisoned samples alone, boosted: ``w <- w - lambda eta grad``. Where
  all of them have the target already, the step is left out.

As in the authors' runs, ``w_b`` is the attacker's own honest model of the round, and only weights are
boosted, not biases.

Threat model: an attacker with data of its own and the global model, who knows how many are averaged
(``lambda``).

References
----------
.. [1] A. N. Bhagoji, S. Chakraborty, P. Mittal, S. Calo, "Analyzing federated learning through an adversarial
   lens", ICML 2019.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from flower_coded.errors import ParameterError
from flower_coded.learning.training import (
    TrainReport,
    TrainSettings,
    as_tensors,
    choose_device,
    seeded_torch,
    train_with,
)

__all__ = ["train_alternating"]


def train_alternating(
    model: nn.Module,
    honest: tuple[NDArray[np.float32], NDArray[np.int64]],
    poisoned: tuple[NDArray[np.float32], NDArray[np.int64]],
    *,
    settings: TrainSettings,
    boost: float,
    distance_weight: float = 1e-4,
    num_stealth_steps: int = 2,
    device: str = "cpu",
) -> TrainReport:
    """Train the model in place.

    Parameters
    ----------
    model : torch.nn.Module
    honest, poisoned : (ndarray of shape (N, C, H, W) float32, ndarray of shape (N,) int64)
        The attacker's images as they are, and those that shall get another label, with that label.
    settings : TrainSettings
        Of the stealth steps, and of the honest training for comparison; its learning rate is ``eta``.
    boost : float
        ``lambda``, positive; the number of users that are averaged, over the attackers.
    distance_weight : float
        ``rho``, not negative; 10⁻⁴ in the paper.
    num_stealth_steps : int
        Before every malicious step, at least 1. The paper takes 10, of runs of hundreds of steps.
    device : str

    Returns
    -------
    TrainReport
        Of the stealth loss.

    Raises
    ------
    ParameterError
        If a number is outside its range.
    """
    if not (np.isfinite(boost) and boost > 0):
        raise ParameterError("boost", "must be a positive number", boost)
    if not (np.isfinite(distance_weight) and distance_weight >= 0):
        raise ParameterError("distance_weight", "must not be negative", distance_weight, hint="0.0001")
    if num_stealth_steps < 1:
        raise ParameterError("num_stealth_steps", "must be at least 1", num_stealth_steps)
    if len(poisoned[1]) == 0:  # none of the class that is to be poisoned
        return train_with(_cross_entropy_of(model), model, *honest, settings=settings, device=device)
    target = choose_device(device)
    pixels, classes = as_tensors(*honest, target)
    marked, wanted = as_tensors(*poisoned, target)
    example = copy.deepcopy(model)
    train_with(_cross_entropy_of(example), example, *honest, settings=settings, device=device)
    aim = [parameter.detach() for parameter in example.parameters()]
    model.to(target).train()
    stepper = settings.make_optimizer(model.parameters())
    batches = list(settings.batches(len(classes)))
    loss_sum = torch.zeros((), device=target)
    with seeded_torch(settings.seed):
        for count, (epoch, indices) in enumerate(batches, start=1):
            batch = torch.from_numpy(indices).to(target)
            stepper.zero_grad()
            loss = functional.cross_entropy(model(pixels[batch]), classes[batch])
            (loss + distance_weight * _distance(model, aim)).backward()  # type: ignore[no-untyped-call]
            stepper.step()
            if epoch == settings.epochs - 1:
                loss_sum += loss.detach() * len(indices)
            # The last step is always malicious: a round may have fewer than num_stealth_steps in all.
            if count % num_stealth_steps == 0 or count == len(batches):
                _malicious_step(model, marked, wanted, settings.learning_rate, boost)
    mean_loss = float(loss_sum) / len(classes)
    return TrainReport(mean_loss, len(classes), (mean_loss,))


def _cross_entropy_of(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda pixels, classes: functional.cross_entropy(model(pixels), classes)


def _distance(model: nn.Module, aim: Sequence[Tensor]) -> Tensor:
    squares = [((now - kept) ** 2).sum() for now, kept in zip(model.parameters(), aim, strict=True)]
    # The root has no gradient at 0, where the honest model would be met exactly.
    return torch.sqrt(torch.stack(squares).sum() + 1e-12)


def _malicious_step(model: nn.Module, images: Tensor, labels: Tensor, rate: float, boost: float) -> None:
    """Take one gradient step on the poisoned samples, its weights boosted, unless they have their label."""
    logits: Tensor = model(images)
    if bool((logits.argmax(dim=1) == labels).all()):
        return
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(functional.cross_entropy(logits, labels), parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(gradient, alpha=rate * (boost if parameter.ndim > 1 else 1.0))
