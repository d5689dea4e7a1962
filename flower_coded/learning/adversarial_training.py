"""Adversarial training of any classifier that ends in class probabilities: Madry's and TRADES.

Both train on images that are moved, batch by batch, to where the network as it stands does worst:

* Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018, eq. 2.1: the loss
  is taken at the image within the ball that maximizes it.
* Zhang et al., "Theoretically principled trade-off between robustness and accuracy", ICML 2019, eq. 5
  (TRADES): the loss at the clean image plus ``beta`` times the divergence ``KL(p(x) || p(x'))`` at the image
  ``x'`` that maximizes that divergence. As in the authors' program, the search starts within 0.001 of ``x``
  and both probabilities carry a gradient.

The inner search needs log-probabilities only. For a softmax model they are those of its logits, and for an
output code those of eq. 5, so that it climbs eq. 6: the part of the codeword loss that tells which class is
decoded. The hinge and the row separation join outside, where the network is trained. The network searches in
evaluation mode: a dropout mask that changes with every step would blur the gradient.

Cost is counted in passes: one forward and backward computation for one image. Plain training takes 1 a step,
Madry's ``num_steps + 1``, TRADES ``num_steps + 2``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from flower_coded.errors import ParameterError
from flower_coded.learning.adversarial import Objective, ascend, ball

__all__ = ["ADVERSARIAL_METHODS", "UNATTACKED", "AdversarialTraining", "adversarial_loss"]

ADVERSARIAL_METHODS = ("none", "madry", "trades")

_TRADES_START = 1e-3  # standard deviation of the start: at x itself the divergence has no gradient

BatchLoss = Callable[[Tensor, Tensor], Tensor]
"""Pixels (B, C, H, W) and classes (B,) to the mean loss of the batch."""


@dataclass(frozen=True)
class AdversarialTraining:
    """How, and how hard, training images are attacked.

    Parameters
    ----------
    method : {"none", "madry", "trades"}
    epsilon : float
        Radius of the maximum-norm ball, in units of the pixel range.
    step_size : float
        Length of a step of the inner search, in the same unit.
    num_steps : int
        Steps of the inner search.
    beta : float
        Weight of TRADES' divergence; 6 in its paper.

    Raises
    ------
    ParameterError
        If the method is unknown or a number is outside its range, or the steps cannot reach the radius.

    Examples
    --------
    >>> AdversarialTraining("madry", epsilon=0.1, step_size=0.025, num_steps=5).passes_per_image
    6
    """

    method: str = "none"
    epsilon: float = 8 / 255
    step_size: float = 2 / 255
    num_steps: int = 7
    beta: float = 6.0

    def __post_init__(self) -> None:
        if self.method not in ADVERSARIAL_METHODS:
            names = ", ".join(ADVERSARIAL_METHODS)
            raise ParameterError("adversarial-training", f"must be one of {names}", self.method)
        for name in ("epsilon", "step_size"):
            if not 0.0 < getattr(self, name) <= 1.0:
                key = f"adversarial-{name.replace('_', '-')}"
                raise ParameterError(key, "must lie in (0, 1]", getattr(self, name), hint="8/255 and 2/255")
        if self.num_steps < 1:
            raise ParameterError("adversarial-steps", "must be at least 1", self.num_steps, hint="7")
        if not self.beta >= 0.0:
            raise ParameterError("adversarial-beta", "must not be negative", self.beta, hint="6.0")
        if self.num_steps * self.step_size < self.epsilon * (1.0 - 1e-9):
            raise ParameterError(
                "adversarial-step-size",
                f"must reach the radius {self.epsilon:.4g} in {self.num_steps} steps",
                self.step_size,
                hint=f"{2.5 * self.epsilon / self.num_steps:.2g}, say",
            )

    @property
    def passes_per_image(self) -> int:
        """Forward and backward computations for one image of a training step."""
        return {"none": 1, "madry": self.num_steps + 1, "trades": self.num_steps + 2}[self.method]


UNATTACKED = AdversarialTraining()
"""Plain training."""


def adversarial_loss(
    model: nn.Module,
    loss_of_outputs: Callable[[Tensor, Tensor], Tensor],
    log_probabilities: Callable[[Tensor], Tensor],
    settings: AdversarialTraining,
) -> BatchLoss:
    """Loss of a batch of images, attacked as the settings say.

    Parameters
    ----------
    model : torch.nn.Module
        Images to outputs: logits, or predicted codewords. Expected in training mode.
    loss_of_outputs : callable
        ``loss_of_outputs(outputs, classes)``: the mean loss that plain training would take.
    log_probabilities : callable
        Outputs to log-probabilities (B, num_classes).
    settings : AdversarialTraining

    Returns
    -------
    callable
        ``loss_of(pixels, classes)``, a scalar; it draws starts from torch's generator.
    """

    def plain(pixels: Tensor, classes: Tensor) -> Tensor:
        return loss_of_outputs(model(pixels), classes)

    def madry(pixels: Tensor, classes: Tensor) -> Tensor:
        def climbed(images: Tensor, truth: Tensor) -> Tensor:
            return functional.nll_loss(log_probabilities(model(images)), truth, reduction="none")

        start = pixels + settings.epsilon * (2.0 * torch.rand_like(pixels) - 1.0)
        return plain(_search(model, climbed, start, pixels, classes, settings), classes)

    def trades(pixels: Tensor, classes: Tensor) -> Tensor:
        model.eval()
        with torch.no_grad():
            standing = log_probabilities(model(pixels))
        start = pixels + _TRADES_START * torch.randn_like(pixels)

        def climbed(images: Tensor, _: Tensor) -> Tensor:
            return _divergence(standing, log_probabilities(model(images)))

        attacked = _search(model, climbed, start, pixels, classes, settings)
        outputs = model(pixels)
        # First, because a code book that follows the batch follows its clean words.
        loss = loss_of_outputs(outputs, classes)
        divergence = _divergence(log_probabilities(outputs), log_probabilities(model(attacked)))
        return loss + settings.beta * divergence.mean()

    return {"none": plain, "madry": madry, "trades": trades}[settings.method]


def _search(
    model: nn.Module,
    climbed: Objective,
    start: Tensor,
    pixels: Tensor,
    classes: Tensor,
    settings: AdversarialTraining,
) -> Tensor:
    """Images that the model, in evaluation mode, does worst on; the model is left in training mode."""
    model.eval()
    bounds = ball(pixels, settings.epsilon)
    attacked = ascend(
        climbed,
        torch.clamp(start, *bounds),
        classes,
        bounds,
        step_size=settings.step_size,
        num_steps=settings.num_steps,
    )
    model.train()
    return attacked


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``KL(p || q)`` per sample, from log-probabilities (B, num_classes)."""
    return functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
