"""Robust accuracy of a classifier, attacked through its probabilities and through what its decoder compares.

A classifier is given as scores per class: logits of a softmax model, or similarities with the codewords of an
output code (eq. 5 takes their softmax). Two objectives climb: the cross-entropy of the scores' softmax, and
the margin ``largest wrong score - right score``, which for an output code is the distance comparison itself
and does not flatten when probabilities saturate. Where ``tanh`` is flat neither of them has a gradient, so a
third one climbs the margin of *surrogate* scores: inner products with the codewords, taken before ``tanh``.
What is left then meets the adaptive attack (:mod:`flower_coded.learning.adaptive_attack`): more losses,
targets, paths, steps and starts. Reported is every attack alone and the worst of them per sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flower_coded.learning.adaptive_attack import AdaptiveBudget, adaptive_attack
from flower_coded.learning.adversarial import (
    AttackBudget,
    accuracy,
    fgsm,
    pgd,
    worst_case,
)
from flower_coded.learning.attack_objectives import cross_entropy, margin, on_scores, prediction
from flower_coded.learning.class_scores import Scores
from flower_coded.learning.ensemble_attack import ensemble_attack
from flower_coded.learning.gradient_masking import MaskingSigns, masking_signs
from flower_coded.learning.training import choose_device

__all__ = [
    "RobustnessReport",
    "evaluate_robustness",
    "margin_accuracy",
    "robust_accuracy",
]


@dataclass(frozen=True)
class RobustnessReport:
    """Accuracies of one classifier.

    Attributes
    ----------
    accuracies : dict of str to float
        ``clean``, ``fgsm``, ``pgd`` (both on the cross-entropy), ``pgd-margin`` (adaptive);
        ``pgd-surrogate``, ``transfer`` (images made against another classifier), ``adaptive`` (what is left
        by it and all before) and ``ensemble`` where they were run; and ``worst``: the share of samples right
        under all of them.
    budget : AttackBudget
        What the attacks were allowed.
    num_samples : int
        Test images.
    signs : MaskingSigns
        Signs of masked gradients, each False for a sound evaluation.
    attacked : Tensor of shape (B, C, H, W)
        PGD's images, for transfer to another classifier.
    felled : dict of str to int
        Samples that each part of the adaptive attack turned, of those that were right under all before.
    """

    accuracies: dict[str, float]
    budget: AttackBudget
    num_samples: int
    signs: MaskingSigns
    attacked: Tensor = field(repr=False)
    felled: dict[str, int] = field(default_factory=dict)


def evaluate_robustness(
    scores: Scores,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    budget: AttackBudget,
    seed: int = 0,
    transferred: Tensor | None = None,
    surrogate: Scores | None = None,
    adaptive: AdaptiveBudget | None = None,
    paths: Mapping[str, Scores] | None = None,
    ensemble: bool = False,
    device: str = "cpu",
) -> RobustnessReport:
    """Attack a classifier in every way this module knows.

    Parameters
    ----------
    scores : callable
        The classifier, see :func:`softmax_scores` and :func:`codeword_scores`.
    images : ndarray of shape (B, C, H, W), float32
        Pixels in [0, 1].
    labels : ndarray of shape (B,), int64
    budget : AttackBudget
        Radius, step, steps, restarts.
    seed : int
        Seed of the random starts.
    transferred : Tensor of shape (B, C, H, W), optional
        Images made against another classifier within the same ball: an attack like the others, and the
        black-box check.
    surrogate : callable, optional
        Scores whose margin one more PGD climbs; what it finds is judged by ``scores``. See
        :func:`unsquashed_scores`.
    adaptive : AdaptiveBudget, optional
        Steps, starts and targets of the adaptive attack, on what the attacks before it left right; None
        leaves it out.
    paths : mapping of str to callable, optional
        Surrogate scores by name, through which the adaptive attack goes too.
    ensemble : bool
        Run the kept library's ensemble attack too; see :func:`ensemble_attack`.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.

    Returns
    -------
    RobustnessReport
    """
    pixels, classes, generator = _on_device(images, labels, seed, device)
    predict = prediction(scores)
    attacked = _gradient_attacks(scores, surrogate, pixels, classes, budget, generator)
    if transferred is not None:
        attacked["transfer"] = transferred
    accuracies = {name: accuracy(predict, batch, classes) for name, batch in attacked.items()}
    felled: dict[str, int] = {}
    if adaptive is not None:
        found = adaptive_attack(
            scores,
            attacked,
            classes,
            epsilon=budget.epsilon,
            budget=adaptive,
            paths=paths,
            generator=generator,
        )
        attacked["adaptive"], felled = found.images, found.felled
        accuracies["adaptive"] = accuracy(predict, found.images, classes)
    if ensemble:
        attacked["ensemble"] = ensemble_attack(scores, pixels, classes, budget=budget)
        accuracies["ensemble"] = accuracy(predict, attacked["ensemble"], classes)
    accuracies["worst"] = worst_case(predict, attacked, classes)
    signs = masking_signs(
        on_scores(scores, cross_entropy),
        predict,
        pixels,
        classes,
        budget=budget,
        many_steps=accuracies["pgd"],
        one_step=accuracies["fgsm"],
        black_box=accuracies.get("transfer"),
        generator=generator,
    )
    return RobustnessReport(accuracies, budget, len(labels), signs, attacked["pgd"], felled)


def robust_accuracy(
    scores: Scores,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    budget: AttackBudget,
    seed: int = 0,
    surrogate: Scores | None = None,
    device: str = "cpu",
) -> float:
    """Share of samples right under every gradient attack: one point of a curve over the radius.

    Parameters are those of :func:`evaluate_robustness`, whose ``worst`` this is without transferred images
    and ensemble attack.
    """
    pixels, classes, generator = _on_device(images, labels, seed, device)
    attacked = _gradient_attacks(scores, surrogate, pixels, classes, budget, generator)
    return worst_case(prediction(scores), attacked, classes)


def margin_accuracy(
    scores: Scores,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    budget: AttackBudget,
    seed: int = 0,
    device: str = "cpu",
) -> float:
    """Share of samples right under PGD on the decoder's margin alone: a short measure, to select models by.

    Parameters are those of :func:`evaluate_robustness`.
    """
    pixels, classes, generator = _on_device(images, labels, seed, device)
    objective, predict = on_scores(scores, margin), prediction(scores)
    attacked = pgd(objective, pixels, classes, budget=budget, generator=generator, predict=predict)
    return accuracy(predict, attacked, classes)


def _on_device(
    images: NDArray[np.float32], labels: NDArray[np.int64], seed: int, device: str
) -> tuple[Tensor, Tensor, torch.Generator]:
    target = choose_device(device)
    generator = torch.Generator(device=target).manual_seed(seed)
    return torch.tensor(images, device=target), torch.tensor(labels, device=target), generator


def _gradient_attacks(
    scores: Scores,
    surrogate: Scores | None,
    pixels: Tensor,
    classes: Tensor,
    budget: AttackBudget,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Clean and attacked images by the name of the attack."""
    predict, plain = prediction(scores), on_scores(scores, cross_entropy)
    climbed = {"pgd": plain, "pgd-margin": on_scores(scores, margin)}
    if surrogate is not None:
        climbed["pgd-surrogate"] = on_scores(surrogate, margin)
    found = {
        name: pgd(objective, pixels, classes, budget=budget, generator=generator, predict=predict)
        for name, objective in climbed.items()
    }
    one_step = fgsm(plain, pixels, classes, epsilon=budget.epsilon)
    return {"clean": pixels, "fgsm": one_step, **found}
