"""Chameleon: a backdoor that lasts because its features lie where honest images keep them.

A backdoor fades when honest images near the triggered ones, those of the same original class, pull the
features back; it stays while images of the target class hold them. Chameleon [1]_ first trains the features
alone: a supervised contrastive loss draws triggered images (which carry the target label by now) to the
target class and pushes them from their own. Then the features are frozen and the last layer is trained on
them.

With ``z`` the normalized features of a batch, ``P(i)`` the others with the label of ``i``, and ``w`` the
weight of anchors of the target class (1 for all others), the first stage minimizes the mean over ``i`` of

``- w_i / |P(i)| sum over p in P(i) of log( exp(z_i z_p / T) / sum over a != i of exp(z_i z_a / T) )``.

Threat model: an attacker with data of its own and the global model; it sees nobody's update.

Left out: the paper's projection on a ball around the global model
(:class:`~flower_coded.attacks.poisoned_update.NormProjection` does that to an update), and its schedule of
learning rates.

References
----------
.. [1] Y. Dai, S. Li, "Chameleon: adapting to peer images for planting durable backdoors in federated
   learning", ICML 2023, Sec. 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from flower_coded.errors import ParameterError
from flower_coded.learning.training import TrainReport, TrainSettings, train_with

__all__ = ["supervised_contrastive_loss", "train_chameleon"]


def train_chameleon(
    model: nn.Module,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    target: int,
    *,
    settings: TrainSettings,
    weight: float = 2.0,
    temperature: float = 0.07,
    feature_rate: float = 1.0,
    device: str = "cpu",
) -> TrainReport:
    """Train the model in place on poisoned images: features first, then the last layer.

    Parameters
    ----------
    model : torch.nn.Module
        Its last linear layer is the classifier, what comes into it the features.
    images : ndarray of shape (N, C, H, W), float32
    labels : ndarray of shape (N,), int64
        Poisoned: triggered images with the target's label among honest ones.
    target : int
    settings : TrainSettings
        Of either stage.
    weight : float
        ``w`` of anchors of the target class, positive; 2 in the authors' code.
    temperature : float
        ``T``, positive.
    feature_rate : float
        Learning rate of the first stage as a share of the second's, positive. The authors take many epochs
        at a smaller one; with the few of a round of federated training a smaller one plants less.
    device : str

    Returns
    -------
    TrainReport
        Of the second stage.

    Raises
    ------
    ParameterError
        If the model has no linear layer, or a number is not positive.
    """
    for name, value in (("weight", weight), ("temperature", temperature), ("feature_rate", feature_rate)):
        if not (np.isfinite(value) and value > 0):
            raise ParameterError(name, "must be a positive number", value)
    classifier = _last_linear(model)

    def contrast(pixels: Tensor, classes: Tensor) -> Tensor:
        features = _features_of(model, classifier, pixels)
        weights = torch.where(classes == target, weight, 1.0)
        return supervised_contrastive_loss(features, classes, weights, temperature=temperature)

    def classify(pixels: Tensor, classes: Tensor) -> Tensor:
        return functional.cross_entropy(model(pixels), classes)

    slow = replace(settings, learning_rate=feature_rate * settings.learning_rate)
    train_with(contrast, model, images, labels, settings=slow, device=device)
    with _frozen_but(model, classifier):
        return train_with(classify, model, images, labels, settings=settings, device=device)


def supervised_contrastive_loss(
    features: Tensor, labels: Tensor, weights: Tensor, *, temperature: float
) -> Tensor:
    """Supervised contrastive loss of a batch (Khosla et al. 2020, eq. 2), with a weight per anchor.

    Parameters
    ----------
    features : tensor of shape (B, d)
        Normalized here.
    labels : tensor of shape (B,)
    weights : tensor of shape (B,)
    temperature : float

    Returns
    -------
    tensor of shape ()
        The mean over anchors; one without another of its label counts 0.

    Examples
    --------
    >>> features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    >>> loss = supervised_contrastive_loss(
    ...     features, torch.tensor([0, 0, 1]), torch.ones(3), temperature=1.0
    ... )
    >>> round(float(loss), 4)  # 2/3 of log(1 + 1/e)
    0.2088
    """
    directions = functional.normalize(features, dim=1)
    is_other = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    is_positive = (labels[:, None] == labels[None, :]) & is_other
    # Minus infinity takes the anchor itself out of the sum. Not in place: gradients pass through the rest.
    scores = (directions @ directions.T / temperature).masked_fill(~is_other, -torch.inf)
    logs = scores - scores.logsumexp(dim=1, keepdim=True)
    sums = torch.where(is_positive, logs, 0.0).sum(dim=1)
    return -(weights * sums / is_positive.sum(dim=1).clamp(min=1)).mean()


def _last_linear(model: nn.Module) -> nn.Linear:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ParameterError("model", "must have a linear layer behind its features", type(model).__name__)
    return layers[-1]


def _features_of(model: nn.Module, classifier: nn.Linear, pixels: Tensor) -> Tensor:
    """Catch what comes into the last layer, whatever the model is made of."""
    caught: list[Tensor] = []
    hook = classifier.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    try:
        model(pixels)
    finally:
        hook.remove()
    return caught[-1]


@contextmanager
def _frozen_but(model: nn.Module, kept: nn.Module) -> Iterator[None]:
    """Let no parameter learn but those of one layer; afterwards those that did, learn again."""
    kept_ones = {id(parameter) for parameter in kept.parameters()}
    frozen = [p for p in model.parameters() if p.requires_grad and id(p) not in kept_ones]
    for parameter in frozen:
        parameter.requires_grad_(False)
        parameter.grad = None  # the optimizer would go on with what the first stage left there
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
