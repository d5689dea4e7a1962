"""Auto-PGD: projected gradient ascent with momentum whose step adapts to every sample.

Source: Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, Algorithm 1, in the maximum norm. The first step is twice the radius. At
checkpoints that come closer and closer a sample's step is halved, and the sample goes back to its best point,
where fewer than three of four steps since the last checkpoint raised its objective, or where neither step nor
best value changed since then. Nothing is left to tune but the number of steps.

The objective may be taken of other scores than those that decide (a surrogate): whether an image is
misclassified is asked of ``predict`` at every point, and the first such image is kept.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flower_coded.errors import ParameterError
from flower_coded.learning.adversarial import Objective, Predict, ball, value_and_gradient

__all__ = ["auto_pgd", "checkpoints"]

_MOMENTUM = 0.75  # alpha of the paper's eq. 3
_SHARE_OF_RISES = 0.75  # rho of its condition 1


def checkpoints(num_steps: int) -> list[int]:
    """Return the steps after which step sizes are looked at: ``ceil(p_j N)``, the paper's Section 3.

    Examples
    --------
    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1.0:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Sums of decimals end a little beyond their value, and the ceiling would take the next step.
    return sorted({math.ceil(round(share * num_steps, 6)) for share in shares[1:] if share < 1.0})


def auto_pgd(
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    num_steps: int,
    generator: torch.Generator,
    predict: Predict,
) -> Tensor:
    """Climb the objective from one random start in every sample's ball.

    Parameters
    ----------
    objective : callable
        Loss per sample to increase.
    images : Tensor of shape (B, C, H, W), float in [0, 1]
    labels : Tensor of shape (B,), int64
    epsilon : float
        Radius of the maximum-norm ball, in units of the pixel range.
    num_steps : int
        At least 1.
    generator : torch.Generator
        Source of the starts, on the device of the images.
    predict : callable
        The classifier that is to be misled.

    Returns
    -------
    Tensor of shape (B, C, H, W)
        Per sample the first misclassified image that was met, or else the one of the largest objective.

    Raises
    ------
    ParameterError
        If a number is out of its range.
    """
    if not epsilon > 0.0:
        raise ParameterError("epsilon", "must be positive", epsilon, hint="8/255")
    if num_steps < 1:
        raise ParameterError("num_steps", "must be at least 1", num_steps, hint="100")
    bounds, looked_at = ball(images, epsilon), checkpoints(num_steps)
    noise = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    climb = _Climb(objective, torch.clamp(images + epsilon * (2.0 * noise - 1.0), *bounds), labels, epsilon)
    misled = _Misled(predict, images, labels)
    misled.look_at(climb.current)
    for step in range(num_steps):
        climb.move(bounds, 1.0 if step == 0 else _MOMENTUM)
        misled.look_at(climb.current)
        if step + 1 in looked_at:
            climb.adapt(step + 1)
    return torch.where(misled.is_misled[:, None, None, None], misled.found, climb.best)


class _Misled:
    """The first image of every sample that the classifier gets wrong."""

    def __init__(self, predict: Predict, images: Tensor, labels: Tensor) -> None:
        self.predict, self.labels, self.found = predict, labels, images
        self.is_misled = torch.zeros_like(labels, dtype=torch.bool)

    def look_at(self, images: Tensor) -> None:
        with torch.no_grad():
            is_new = ~self.is_misled & (self.predict(images) != self.labels)
        self.found = torch.where(is_new[:, None, None, None], images, self.found)
        self.is_misled = self.is_misled | is_new


class _Climb:
    """Points, step sizes and what they achieved, one of each per sample."""

    def __init__(self, objective: Objective, start: Tensor, labels: Tensor, epsilon: float) -> None:
        self.objective, self.labels = objective, labels
        self.current = self.previous = start
        self.value, self.gradient = value_and_gradient(objective, start, labels)
        self.best, self.best_value, self.best_gradient = start, self.value, self.gradient
        self.size = torch.full_like(self.value, 2.0 * epsilon)
        self.num_rises = torch.zeros_like(self.value)
        self.value_then, self.step_then = self.best_value, 0
        self.was_halved = torch.zeros_like(labels, dtype=torch.bool)

    def move(self, bounds: tuple[Tensor, Tensor], momentum: float) -> None:
        ahead = torch.clamp(self.current + _per_image(self.size) * self.gradient.sign(), *bounds)
        step = momentum * (ahead - self.current) + (1.0 - momentum) * (self.current - self.previous)
        self.previous, self.current = self.current, torch.clamp(self.current + step, *bounds)
        value, self.gradient = value_and_gradient(self.objective, self.current, self.labels)
        self.num_rises = self.num_rises + (value > self.value)
        self.value = value
        is_better = value > self.best_value
        self.best_value = torch.where(is_better, value, self.best_value)
        self.best = torch.where(_per_image(is_better), self.current, self.best)
        self.best_gradient = torch.where(_per_image(is_better), self.gradient, self.best_gradient)

    def adapt(self, step: int) -> None:
        wavers = self.num_rises < _SHARE_OF_RISES * (step - self.step_then)
        # A step that was halved at the last checkpoint gets until the next one to prove itself.
        stands = ~self.was_halved & (self.best_value <= self.value_then)
        halves = wavers | stands
        self.size = torch.where(halves, 0.5 * self.size, self.size)
        self.current = torch.where(_per_image(halves), self.best, self.current)
        self.gradient = torch.where(_per_image(halves), self.best_gradient, self.gradient)
        self.value = torch.where(halves, self.best_value, self.value)
        self.num_rises = torch.zeros_like(self.num_rises)
        self.value_then, self.step_then, self.was_halved = self.best_value, step, halves


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]
