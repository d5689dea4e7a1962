"""Signs that an accuracy under attack comes from useless gradients.

Figures that look better than they are mostly come from gradients that do not point anywhere (Athalye et al.,
ICML 2018). :func:`masking_signs` runs the usual checks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flower_coded.learning.adversarial import AttackBudget, Objective, Predict, accuracy, pgd

__all__ = ["MaskingSigns", "masking_signs"]


@dataclass(frozen=True)
class MaskingSigns:
    """Signs that an accuracy comes from useless gradients; each would be False for a sound evaluation.

    Attributes
    ----------
    one_step_beats_many : bool
        FGSM leaves less accuracy than PGD at the same radius.
    black_box_beats_white_box : bool
        Images made for another model leave less accuracy than those made for this one.
    unbounded_attack_survives : bool
        Some accuracy is left when every pixel may take any value.
    noise_beats_gradient : bool
        Uniform noise in the ball leaves less accuracy than PGD.
    """

    one_step_beats_many: bool
    black_box_beats_white_box: bool
    unbounded_attack_survives: bool
    noise_beats_gradient: bool

    @property
    def any(self) -> bool:
        """Whether one of the signs is there."""
        return any(vars(self).values())


def masking_signs(
    objective: Objective,
    predict: Predict,
    images: Tensor,
    labels: Tensor,
    *,
    budget: AttackBudget,
    many_steps: float,
    one_step: float,
    black_box: float | None,
    generator: torch.Generator,
) -> MaskingSigns:
    """Check an evaluation for masked gradients (Carlini et al., arXiv 1902.06705).

    The attacks that the evaluation ran are not run again: their accuracies are what is judged.

    Parameters
    ----------
    objective, predict, images, labels, budget, generator
        As for :func:`pgd`.
    many_steps, one_step : float
        Accuracy under PGD and under FGSM, with that objective and budget.
    black_box : float or None
        Accuracy under images made against another model at the same radius; None leaves that check out
        (False).
    """
    # Radius 1 reaches every pixel value, and 40 steps of 0.05 cross that range twice.
    unbounded = AttackBudget(epsilon=1.0, step_size=0.05, num_steps=max(40, budget.num_steps))
    anywhere = pgd(objective, images, labels, budget=unbounded, generator=generator, predict=predict)
    noise = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    noisy = (images + budget.epsilon * (2.0 * noise - 1.0)).clamp(0.0, 1.0)
    return MaskingSigns(
        one_step_beats_many=one_step < many_steps,
        black_box_beats_white_box=black_box is not None and black_box < many_steps,
        unbounded_attack_survives=accuracy(predict, anywhere, labels) > 0.0,
        noise_beats_gradient=accuracy(predict, noisy, labels) < many_steps,
    )
