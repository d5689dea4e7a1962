"""Adversarial inputs within a maximum-norm ball, and the accuracy that is left.

FGSM is one step of the gradient's sign (Goodfellow et al., ICLR 2015); PGD takes many small ones from random
starts and projects back (Madry et al., ICLR 2018). Both climb an *objective*: any function from images and
labels to one loss per sample. A defense whose output is decoded is attacked through the decoded probabilities
and, adaptively, through the distances that the decoder compares; what counts is the worst of all attacks for
every single sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flower_coded.errors import ParameterError

__all__ = [
    "AttackBudget",
    "Objective",
    "Predict",
    "accuracy",
    "ascend",
    "ball",
    "fgsm",
    "pgd",
    "value_and_gradient",
    "worst_case",
]

Objective = Callable[[Tensor, Tensor], Tensor]
"""``objective(images, labels)``: one loss per sample, which the attacker makes large."""

Predict = Callable[[Tensor], Tensor]
"""``predict(images)``: one class per sample."""


@dataclass(frozen=True)
class AttackBudget:
    """What the attacker may do.

    Parameters
    ----------
    epsilon : float
        Radius of the maximum-norm ball, in units of the pixel range [0, 1]; 8/255 is the usual setting.
    step_size : float
        Length of a PGD step, in the same unit.
    num_steps : int
        PGD steps.
    num_restarts : int
        Random starts; the best result per sample is kept.

    Raises
    ------
    ParameterError
        If a length is not positive or a count is below 1.

    Examples
    --------
    >>> print(AttackBudget(epsilon=0.1, step_size=0.02, num_steps=20, num_restarts=3))
    epsilon 0.1, step 0.02, 20 steps, 3 restarts
    """

    epsilon: float = 8 / 255
    step_size: float = 2 / 255
    num_steps: int = 10
    num_restarts: int = 1

    def __post_init__(self) -> None:
        for name in ("epsilon", "step_size"):
            if not getattr(self, name) > 0.0:
                raise ParameterError(
                    name, "must be positive", getattr(self, name), hint="8/255 and 2/255 are usual"
                )
        for name in ("num_steps", "num_restarts"):
            if getattr(self, name) < 1:
                raise ParameterError(name, "must be at least 1", getattr(self, name))

    def __str__(self) -> str:
        return (
            f"epsilon {self.epsilon:.4g}, step {self.step_size:.4g}, {self.num_steps} steps, "
            f"{self.num_restarts} restarts"
        )


def fgsm(objective: Objective, images: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
    """One step of length epsilon along the sign of the gradient.

    Parameters
    ----------
    objective : callable
        Loss per sample to increase.
    images : Tensor of shape (B, C, H, W), float in [0, 1]
    labels : Tensor of shape (B,), int64
    epsilon : float
        Radius, in units of the pixel range.

    Returns
    -------
    Tensor of shape (B, C, H, W)
        Images in [0, 1], within epsilon of the given ones.
    """
    # The sign is the steepest ascent that a maximum-norm ball allows.
    return (images + epsilon * _gradient(objective, images, labels).sign()).clamp(0.0, 1.0)


def pgd(
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    *,
    budget: AttackBudget,
    generator: torch.Generator,
    predict: Predict | None = None,
) -> Tensor:
    """Projected gradient ascent with random restarts; per sample the best image found at any restart.

    Parameters
    ----------
    objective, images, labels
        As for :func:`fgsm`.
    budget : AttackBudget
        Radius, step, number of steps and restarts.
    generator : torch.Generator
        Source of the random starts, on the device of the images.
    predict : callable, optional
        If given, an image that is misclassified beats every one that is not; otherwise only the objective
        counts.

    Returns
    -------
    Tensor of shape (B, C, H, W)
        Images in [0, 1], within ``budget.epsilon`` of the given ones.
    """
    lower, upper = ball(images, budget.epsilon)
    # The clean image competes too: a sample misclassified without any attack must not count as robust.
    best = images.clone()
    best_is_wrong, best_loss = _outcome(objective, predict, images, labels)
    for _ in range(budget.num_restarts):
        # A start inside the ball, not at its center: at the image itself a masked gradient can vanish.
        noise = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype)
        start = torch.clamp(images + budget.epsilon * (2.0 * noise - 1.0), lower, upper)
        current = ascend(
            objective, start, labels, (lower, upper), step_size=budget.step_size, num_steps=budget.num_steps
        )
        is_wrong, loss = _outcome(objective, predict, current, labels)
        # A wrong label beats any loss: robust accuracy counts labels, and the objective only leads there.
        is_better = (is_wrong & ~best_is_wrong) | ((is_wrong == best_is_wrong) & (loss > best_loss))
        best = torch.where(is_better[:, None, None, None], current, best)
        best_loss = torch.where(is_better, loss, best_loss)
        best_is_wrong = best_is_wrong | is_wrong
    return best


def ascend(
    objective: Objective,
    start: Tensor,
    labels: Tensor,
    bounds: tuple[Tensor, Tensor],
    *,
    step_size: float,
    num_steps: int,
) -> Tensor:
    """Projected ascent from given starting points: the last image of every sample, whatever it achieved.

    Parameters
    ----------
    objective : callable
        Loss per sample to increase.
    start : Tensor of shape (B, C, H, W), float in [0, 1]
    labels : Tensor of shape (B,), int64
    bounds : (Tensor, Tensor), each of shape (B, C, H, W)
        Least and largest value of every pixel; see :func:`ball`.
    step_size : float
        In units of the pixel range.
    num_steps : int

    Returns
    -------
    Tensor of shape (B, C, H, W)
        Without a graph.
    """
    current = start
    for _ in range(num_steps):
        # The sign alone: a gradient that has all but vanished must not shorten the step.
        step = step_size * _gradient(objective, current, labels).sign()
        current = torch.clamp(current + step, *bounds)
    return current


def ball(images: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Least and largest value of every pixel within the maximum-norm ball and the pixel range.

    Examples
    --------
    >>> lower, upper = ball(torch.tensor([0.05, 0.5]), 0.1)
    >>> [round(each, 2) for each in [*lower.tolist(), *upper.tolist()]]
    [0.0, 0.4, 0.15, 0.6]
    """
    return (images - epsilon).clamp_min(0.0), (images + epsilon).clamp_max(1.0)


def accuracy(predict: Predict, images: Tensor, labels: Tensor) -> float:
    """Share of samples that are given their label."""
    with torch.no_grad():
        return float((predict(images) == labels).double().mean())


def worst_case(predict: Predict, attacked: Mapping[str, Tensor], labels: Tensor) -> float:
    """Robust accuracy: the share of samples that are given their label under *every* one of the attacks.

    Parameters
    ----------
    predict : callable
    attacked : mapping of str to Tensor of shape (B, C, H, W)
        Per attack its images, in the order of ``labels``. Put the clean images in as well.
    labels : Tensor of shape (B,), int64

    Raises
    ------
    ParameterError
        If no attack is given.
    """
    if not attacked:
        raise ParameterError("attacked", "must hold the images of at least one attack", dict(attacked))
    with torch.no_grad():
        survives = torch.stack([predict(images) == labels for images in attacked.values()])
    # All, not the mean: the attacker picks the attack for each sample singly.
    return float(survives.all(dim=0).double().mean())


def value_and_gradient(objective: Objective, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Objective (B,) and its gradient (B, C, H, W) at these images, without a graph."""
    with torch.enable_grad():
        moving = images.detach().clone().requires_grad_()
        values = objective(moving, labels)
        # In evaluation mode samples do not interact, so the sum's gradient holds each one's own.
        (gradient,) = torch.autograd.grad(values.sum(), moving)
    return values.detach(), gradient


def _gradient(objective: Objective, images: Tensor, labels: Tensor) -> Tensor:
    return value_and_gradient(objective, images, labels)[1]


def _outcome(
    objective: Objective, predict: Predict | None, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Whether each sample is misclassified (never, without ``predict``), and its objective."""
    with torch.no_grad():
        loss = objective(images, labels)
        is_wrong = (
            torch.zeros_like(labels, dtype=torch.bool) if predict is None else predict(images) != labels
        )
    return is_wrong, loss
