"""BYOL in SimCLR's place: one network predicts what a slowly moving copy of it says of another view.

Source: Grill et al., "Bootstrap your own latent", NeurIPS 2020. The online network (features, encoder,
projection head, predictor) sees one view, the target network (the same without the predictor) the other one;
the loss is the squared distance of the two directions (eq. 2), taken both ways round. No gradient reaches the
target, whose weights are an exponential moving average of the online ones (eq. 1) with a rate that rises to 1
along a cosine.

What differs here: the heads have no batch normalization, like all models of this package. Without labels and
without negative pairs nothing but that average, and the decorrelation of the bits (eq. 1 of the output code
paper), keeps all words from becoming one. Across users a client's target starts every round from the network
that it is sent, that is, from the average of all users' online networks.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from flower_coded.errors import ParameterError
from flower_coded.learning.codeword_losses import cosine_rows
from flower_coded.learning.output_code_network import OutputCodeNetwork

__all__ = ["TargetNetwork", "byol_loss", "momentum_at"]


def byol_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Eq. 2: mean squared distance of two directions, ``2 - 2 cos``.

    Parameters
    ----------
    predictions, targets : Tensor of shape (B, d), float
        Row i of both comes from sample i. No gradient flows into the targets.

    Returns
    -------
    Tensor, scalar
        In [0, 4].

    Raises
    ------
    ParameterError
        If the shapes differ.

    Examples
    --------
    >>> byol_loss(torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    tensor(1.)
    """
    if predictions.shape != targets.shape or predictions.ndim != 2:
        raise ParameterError(
            "targets", f"must have the shape of predictions, {tuple(predictions.shape)}", tuple(targets.shape)
        )
    return (2.0 - 2.0 * cosine_rows(predictions, targets.detach())).mean()


def momentum_at(step: int, num_steps: int, start: float) -> float:
    """Share of the target's weights that stays at a step: from ``start`` to 1 along a cosine (Section 3.2).

    Examples
    --------
    >>> [round(momentum_at(step, 10, 0.99), 4) for step in (0, 5, 10)]
    [0.99, 0.995, 1.0]
    """
    return 1.0 - (1.0 - start) * (math.cos(math.pi * step / num_steps) + 1.0) / 2.0


class TargetNetwork:
    """Moving average of an online network, and BYOL's loss against it.

    Parameters
    ----------
    online : OutputCodeNetwork
        With a predictor; trained by whoever minimizes :meth:`loss`.
    momentum : float
        Share of the target's weights that stays at the first step, in [0, 1); 0.996 in the paper.
    num_steps : int
        Steps until it is 1.

    Raises
    ------
    ParameterError
        If the network has no predictor or a number is out of its range.
    """

    def __init__(self, online: OutputCodeNetwork, *, momentum: float, num_steps: int) -> None:
        if online.predictor is None:
            raise ParameterError("network", "must have a predictor for BYOL", None, hint="has_predictor=True")
        if not 0.0 <= momentum < 1.0:
            raise ParameterError("target_momentum", "must lie in [0, 1)", momentum, hint="0.99")
        if num_steps < 1:
            raise ParameterError("num_steps", "must be at least 1", num_steps)
        self.online, self.momentum, self.num_steps = online, momentum, num_steps
        self.network = copy.deepcopy(online).requires_grad_(False)
        self.step = 0

    def loss(self, words: tuple[Tensor, Tensor], views: tuple[Tensor, Tensor]) -> Tensor:
        """BYOL's loss, both ways round.

        Parameters
        ----------
        words : pair of Tensor of shape (B, num_bits)
            The online network's words of both views.
        views : pair of Tensor of shape (B, C, H, W)
        """
        predictions = [self.online.predict(self.online.project(each)) for each in words]
        with torch.no_grad():
            targets = [self.network.project(self.network(view)) for view in views]
        return byol_loss(predictions[0], targets[1]) + byol_loss(predictions[1], targets[0])

    def follow(self) -> None:
        """Move the target toward the online network (eq. 1); call it after every step of the optimizer."""
        share = momentum_at(min(self.step, self.num_steps), self.num_steps, self.momentum)
        with torch.no_grad():
            for own, online in zip(_weights(self.network), _weights(self.online), strict=True):
                own.lerp_(online, 1.0 - share)
        self.step += 1


def _weights(network: nn.Module) -> list[Tensor]:
    # Buffers with a fraction (running means) are averaged like weights; counters are not.
    return [each for each in network.state_dict().values() if each.is_floating_point()]
