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
from torch import Tensor, nn

from flower_coded.errors import ParameterError
from flower_coded.learning.adaptive_attack import AdaptiveBudget, adaptive_attack
from flower_coded.learning.adversarial import (
    AttackBudget,
    MaskingSigns,
    accuracy,
    fgsm,
    masking_signs,
    pgd,
    worst_case,
)
from flower_coded.learning.attack_objectives import Scores, cross_entropy, margin, on_scores, prediction
from flower_coded.learning.codeword_losses import cosine_similarity
from flower_coded.learning.output_code_network import OutputCodeNetwork
from flower_coded.learning.training import choose_device

__all__ = [
    "RobustnessReport",
    "Scores",
    "codeword_scores",
    "ensemble_attack",
    "evaluate_robustness",
    "margin_accuracy",
    "robust_accuracy",
    "softened_scores",
    "softmax_scores",
    "unsquashed_scores",
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


def softmax_scores(model: nn.Module) -> Scores:
    """Scores of a classifier that ends in logits; puts the model into evaluation mode."""
    model.eval()
    return model


def codeword_scores(network: nn.Module, code_book: NDArray[np.float64], *, device: str = "cpu") -> Scores:
    """Scores of an output-code network: similarities with the codewords (eq. 5 before its softmax).

    Parameters
    ----------
    network : torch.nn.Module
        Images to predicted codewords; put into evaluation mode.
    code_book : ndarray of shape (num_classes, num_bits)
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.
    """
    network.to(choose_device(device)).eval()
    book = torch.tensor(code_book, dtype=torch.float32, device=choose_device(device))
    return lambda images: cosine_similarity(network(images), book)


def unsquashed_scores(
    network: OutputCodeNetwork, code_book: NDArray[np.float64], *, device: str = "cpu"
) -> Scores:
    """Surrogate scores to attack an output-code network through: inner products without the ``tanh``.

    Parameters
    ----------
    network : OutputCodeNetwork
        Put into evaluation mode.
    code_book : ndarray of shape (num_classes, num_bits)
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.
    """
    network.to(choose_device(device)).eval()
    book = torch.tensor(code_book, dtype=torch.float32, device=choose_device(device))
    return lambda images: network.unsquashed(images) @ book.T


def softened_scores(
    network: OutputCodeNetwork,
    code_book: NDArray[np.float64],
    *,
    temperature: float = 4.0,
    device: str = "cpu",
) -> Scores:
    """Surrogate scores through a flatter ``tanh``: similarities of ``tanh(outputs / temperature)``.

    Between :func:`codeword_scores` and :func:`unsquashed_scores`: a saturated bit has a gradient, and no bit
    outweighs the others by its size.

    Parameters
    ----------
    network, code_book, device
        As for :func:`unsquashed_scores`.
    temperature : float
        At 1 the decoder's own scores.
    """
    network.to(choose_device(device)).eval()
    book = torch.tensor(code_book, dtype=torch.float32, device=choose_device(device))
    return lambda images: cosine_similarity(torch.tanh(network.unsquashed(images) / temperature), book)


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


def ensemble_attack(scores: Scores, images: Tensor, labels: Tensor, *, budget: AttackBudget) -> Tensor:
    """Part of AutoAttack (Croce & Hein, ICML 2020), by the Adversarial Robustness Toolbox.

    Auto-PGD on the cross-entropy and on the ratio of logits, then the gradient-free Square attack with 500
    queries, each on what the ones before it left right. Step sizes adapt themselves, so only the radius and
    the restarts of the budget count.

    The whole of AutoAttack has four parts: Auto-PGD on the cross-entropy, Auto-PGD on the *targeted* ratio of
    logits for the nine likeliest wrong classes, the targeted FAB attack, and Square with 5,000 queries. The
    toolbox has neither FAB nor a targeted ratio. The targeted part is run by
    :func:`~flower_coded.learning.adaptive_attack.adaptive_attack`; FAB is not run at all.

    Raises
    ------
    ParameterError
        If the toolbox is not installed; the message says how to install it.
    """
    try:
        from art.attacks.evasion import AutoAttack, AutoProjectedGradientDescent, SquareAttack
        from art.estimators.classification import PyTorchClassifier
    except ImportError as error:
        raise ParameterError(
            "ensemble",
            "needs the Adversarial Robustness Toolbox",
            str(error),
            hint="pip install 'flower-coded[adversarial]'",
        ) from error

    class Classifier(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return scores(batch)

    with torch.no_grad():
        num_classes = int(scores(images[:1]).shape[1])
    estimator = PyTorchClassifier(
        Classifier(),
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=num_classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if images.is_cuda else "cpu",
    )
    limits = {"norm": np.inf, "eps": budget.epsilon, "batch_size": len(images), "verbose": False}
    losses = ["cross_entropy"] + ["difference_logits_ratio"] * (num_classes > 2)
    climbers = [
        AutoProjectedGradientDescent(
            estimator, eps_step=budget.step_size, loss_type=loss, nb_random_init=budget.num_restarts, **limits
        )
        for loss in losses
    ]
    attack = AutoAttack(
        estimator,
        norm=np.inf,
        eps=budget.epsilon,
        eps_step=budget.step_size,
        attacks=[*climbers, SquareAttack(estimator, max_iter=500, **limits)],
        batch_size=len(images),
    )
    one_hot = np.eye(num_classes, dtype=np.float32)[labels.cpu().numpy()]
    adversarial = attack.generate(images.cpu().numpy(), one_hot)
    return torch.tensor(adversarial, device=images.device)


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
