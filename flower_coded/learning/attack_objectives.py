"""What an attack on a classifier climbs: losses of its class scores, one per sample.

A classifier is given as scores per class: logits of a softmax model, or similarities with the codewords of an
output code. The losses differ in where their gradients vanish. The cross-entropy flattens when a score's
softmax saturates; the margin (Carlini & Wagner, 2017, their f_6 without its floor) does not, but pulls on one
wrong class at a time; the difference of logits ratio (DLR; Croce & Hein, ICML 2020, eqs. 6 and 7) divides the
margin by the spread of the scores, so that a rescaled classifier is attacked alike. Targeted forms name the
wrong class, and so reach it when another one is nearer but walled off.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from flower_coded.errors import ParameterError
from flower_coded.learning.adversarial import Objective
from flower_coded.learning.class_scores import Scores

__all__ = [
    "ScoreLoss",
    "cross_entropy",
    "dlr",
    "margin",
    "on_scores",
    "prediction",
    "targeted_dlr",
    "targeted_margin",
]

ScoreLoss = Callable[[Tensor, Tensor], Tensor]
"""Scores (B, num_classes) and labels (B,) to one loss per sample (B,), which the attacker makes large."""

_SPREAD_FLOOR = 1e-12  # equal scores have no spread to divide by


def on_scores(scores: Scores, loss: ScoreLoss) -> Objective:
    """Objective of images: the loss of their scores."""
    return lambda images, labels: loss(scores(images), labels)


def prediction(scores: Scores) -> Callable[[Tensor], Tensor]:
    """Class of the largest score, (B,)."""
    return lambda images: scores(images).argmax(dim=1)


def cross_entropy(values: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the scores' softmax; for an output code eq. 6 at temperature 1."""
    return functional.cross_entropy(values, labels, reduction="none")


def margin(values: Tensor, labels: Tensor) -> Tensor:
    """Largest wrong score minus the right one; positive where the answer is wrong.

    Examples
    --------
    >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([-1.])
    """
    return _largest_wrong(values, labels) - _right(values, labels)


def dlr(values: Tensor, labels: Tensor) -> Tensor:
    """Margin over the distance of the first from the third score (Croce & Hein, eq. 6).

    Raises
    ------
    ParameterError
        With fewer than three classes.

    Examples
    --------
    >>> dlr(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([-0.5000])
    """
    _check_classes(values, 3)
    largest = values.topk(3, dim=1).values
    return margin(values, labels) / (largest[:, 0] - largest[:, 2] + _SPREAD_FLOOR)


def targeted_margin(targets: Tensor) -> ScoreLoss:
    """Score of the target, (B,) int64, minus the right one."""
    return lambda values, labels: _right(values, targets) - _right(values, labels)


def targeted_dlr(targets: Tensor) -> ScoreLoss:
    """Targeted margin over the first score's distance from the third and fourth (Croce & Hein, eq. 7).

    Raises
    ------
    ParameterError
        From the loss, with fewer than four classes.

    Examples
    --------
    >>> targeted_dlr(torch.tensor([1]))(torch.tensor([[3.0, 1.0, 2.0, 0.0]]), torch.tensor([0]))
    tensor([-0.8000])
    """

    def loss(values: Tensor, labels: Tensor) -> Tensor:
        _check_classes(values, 4)
        largest = values.topk(4, dim=1).values
        spread = largest[:, 0] - 0.5 * (largest[:, 2] + largest[:, 3])
        return targeted_margin(targets)(values, labels) / (spread + _SPREAD_FLOOR)

    return loss


def _right(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None])[:, 0]


def _largest_wrong(values: Tensor, labels: Tensor) -> Tensor:
    return values.scatter(1, labels[:, None], -torch.inf).amax(dim=1)


def _check_classes(values: Tensor, least: int) -> None:
    if values.shape[1] < least:
        raise ParameterError(
            "scores", f"must be of at least {least} classes", values.shape[1], hint="take the margin"
        )
