"""Three parts of AutoAttack by a kept library, for comparison with this package's own attacks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from flower_coded.errors import ParameterError
from flower_coded.learning.adversarial import AttackBudget
from flower_coded.learning.class_scores import Scores

__all__ = ["ensemble_attack"]


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
