"""The adaptive attack: every loss, target and path at what the plain attacks left right.

Auto-PGD climbs, one after the other, the cross-entropy, the margin and the difference of logits ratio of the
classifier's own scores, then the same of every *path*: surrogate scores whose gradients are there where the
classifier's vanish (before ``tanh``, through a softened one). Then each of the likeliest wrong classes is
aimed at. An image that is turned is not attacked again, as in AutoAttack, so the whole costs little more than
its hardest images do; what it leaves is the worst case over all parts for every single image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flower_coded.errors import ParameterError
from flower_coded.learning.attack_objectives import (
    ScoreLoss,
    cross_entropy,
    dlr,
    margin,
    on_scores,
    prediction,
    targeted_dlr,
    targeted_margin,
)
from flower_coded.learning.auto_pgd import auto_pgd
from flower_coded.learning.class_scores import Scores

__all__ = ["AdaptiveBudget", "AdaptiveOutcome", "adaptive_attack"]


@dataclass(frozen=True)
class AdaptiveBudget:
    """How hard the adaptive attack tries.

    Parameters
    ----------
    num_steps : int
        Steps of Auto-PGD; 100 in its paper.
    num_restarts : int
        Random starts of every part.
    num_targets : int
        Likeliest wrong classes that are aimed at; 0 aims at none, 9 in AutoAttack.

    Raises
    ------
    ParameterError
        If a number is out of its range.

    Examples
    --------
    >>> print(AdaptiveBudget(50, 2, 3))
    50 steps, 2 restarts, 3 targets
    """

    num_steps: int = 100
    num_restarts: int = 1
    num_targets: int = 9

    def __post_init__(self) -> None:
        for name, least in (("num_steps", 1), ("num_restarts", 1), ("num_targets", 0)):
            if getattr(self, name) < least:
                raise ParameterError(name, f"must be at least {least}", getattr(self, name))

    def __str__(self) -> str:
        return f"{self.num_steps} steps, {self.num_restarts} restarts, {self.num_targets} targets"


@dataclass(frozen=True)
class AdaptiveOutcome:
    """What the attack found.

    Attributes
    ----------
    images : Tensor of shape (B, C, H, W)
        Per sample an image that is misclassified, if any was found.
    felled : dict of str to int
        Samples that every part turned, of those that were right under all before.
    """

    images: Tensor
    felled: dict[str, int]


def adaptive_attack(
    scores: Scores,
    attacked: Mapping[str, Tensor],
    labels: Tensor,
    *,
    epsilon: float,
    budget: AdaptiveBudget,
    generator: torch.Generator,
    paths: Mapping[str, Scores] | None = None,
) -> AdaptiveOutcome:
    """Attack what earlier attacks left right.

    Parameters
    ----------
    scores : callable
        The classifier.
    attacked : mapping of str to Tensor of shape (B, C, H, W)
        ``clean`` images, and those of earlier attacks within the same ball.
    labels : Tensor of shape (B,), int64
    epsilon : float
        Radius of the maximum-norm ball, in units of the pixel range.
    budget : AdaptiveBudget
    generator : torch.Generator
        Source of the random starts, on the device of the images.
    paths : mapping of str to callable, optional
        Surrogate scores by name, climbed in place of the classifier's.

    Returns
    -------
    AdaptiveOutcome

    Raises
    ------
    ParameterError
        If there are no clean images.
    """
    if "clean" not in attacked:
        raise ParameterError("attacked", "must hold the clean images", sorted(attacked))
    clean, predict = attacked["clean"], prediction(scores)
    found = clean.clone()
    with torch.no_grad():
        for images in attacked.values():
            is_wrong = predict(images) != labels
            found = torch.where(is_wrong[:, None, None, None], images, found)
        is_right = predict(found) == labels
        likeliest = scores(clean).scatter(1, labels[:, None], -torch.inf).argsort(dim=1, descending=True)
    felled: dict[str, int] = {}
    for name, path, loss_for in _parts(scores, dict(paths or {}), likeliest, budget):
        left = torch.nonzero(is_right)[:, 0]
        if not len(left):
            break
        turned = auto_pgd(
            on_scores(path, loss_for(left)),
            clean[left],
            labels[left],
            epsilon=epsilon,
            num_steps=budget.num_steps,
            generator=generator,
            predict=predict,
        )
        with torch.no_grad():
            still = predict(turned) == labels[left]
        found[left], is_right[left] = turned, still
        felled[name] = felled.get(name, 0) + int((~still).sum())
    return AdaptiveOutcome(found, felled)


LossFor = Callable[[Tensor], ScoreLoss]
"""The loss for the samples of these indices."""


def _parts(
    scores: Scores, paths: dict[str, Scores], likeliest: Tensor, budget: AdaptiveBudget
) -> Iterator[tuple[str, Scores, LossFor]]:
    """Name, path and loss of every run of Auto-PGD, cheap and broad ones first."""
    num_classes = likeliest.shape[1]
    # Ratios need a third score, aimed ones a fourth.
    untargeted = [cross_entropy, margin, *([dlr] if num_classes > 2 else [])]
    aimed = targeted_dlr if num_classes > 3 else targeted_margin
    num_targets = min(budget.num_targets, num_classes - 1)
    for _ in range(budget.num_restarts):
        for name, path in {"scores": scores, **paths}.items():
            for loss in untargeted:
                yield f"{loss.__name__.replace('_', '-')} of {name}", path, _same(loss)
        for rank in range(num_targets):
            yield "targets of scores", scores, _at(aimed, likeliest[:, rank])
            for name, path in paths.items():
                yield f"targets of {name}", path, _at(targeted_margin, likeliest[:, rank])


def _same(loss: ScoreLoss) -> LossFor:
    return lambda _: loss


def _at(aimed: Callable[[Tensor], ScoreLoss], targets: Tensor) -> LossFor:
    return lambda chosen: aimed(targets[chosen])
