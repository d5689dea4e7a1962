"""Training of one model on several users' batches in turn, as the coded subset aggregation paper trains.

Federated averaging lets every user train a copy and averages: the more users a model has, the more a
backdoor that one of them plants is diluted. Here the model itself passes from user to user, a batch at a
time, under one optimizer, and obeys a backdoor nearly as well as if it were the planter's own. A batch
never mixes users.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from flower_coded.errors import ParameterError
from flower_coded.learning.training import (
    TrainReport,
    TrainSettings,
    as_tensors,
    choose_device,
    seeded_torch,
)

__all__ = ["train_in_turn"]

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


def train_in_turn(
    model: nn.Module, users: Sequence[Samples], *, settings: TrainSettings, device: str = "cpu"
) -> TrainReport:
    """Train the model in place on the batches of several users, in random order.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (B, C, H, W) to logits (B, c). Left on ``device``, in training mode.
    users : sequence of (ndarray of shape (N, C, H, W) float32, ndarray of shape (N,) int64)
        Images with pixels in [0, 1] and classes, one pair for each user.
    settings : TrainSettings
        ``epochs`` passes through everybody's images.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.

    Returns
    -------
    TrainReport

    Raises
    ------
    ParameterError
        If there is no user, images do not fit labels, or the device is not there.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> alike = (np.zeros((6, 1, 2, 2), dtype=np.float32), np.zeros(6, dtype=np.int64))
    >>> train_in_turn(model, [alike, alike], settings=TrainSettings(epochs=2, batch_size=4)).num_examples
    12
    """
    if not users:
        raise ParameterError("users", "must hold at least one user's samples", users)
    target = choose_device(device)
    tensors = [as_tensors(*samples, target) for samples in users]
    model.to(target).train()
    optimizer = settings.make_optimizer(model.parameters())
    loss_sum, num_examples = torch.zeros((), device=target), sum(len(labels) for _, labels in users)
    with seeded_torch(settings.seed):
        for epoch, user, indices in _batches([len(labels) for _, labels in users], settings):
            pixels, classes = tensors[user]
            batch = torch.from_numpy(indices).to(target)
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(pixels[batch]), classes[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if epoch == settings.epochs - 1:
                loss_sum += loss.detach() * len(indices)
    mean_loss = float(loss_sum) / num_examples
    return TrainReport(mean_loss, num_examples, (mean_loss,))


def _batches(sizes: Sequence[int], settings: TrainSettings) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Epoch, user and image indices: every epoch cuts each user's images anew and shuffles the batches."""
    generator = np.random.default_rng([settings.seed, 0x707A])
    for epoch in range(settings.epochs):
        batches = [
            (user, order[start : start + settings.batch_size])
            for user, order in enumerate(generator.permutation(size) for size in sizes)
            for start in range(0, len(order), settings.batch_size)
        ]
        for index in generator.permutation(len(batches)):
            yield epoch, *batches[index]
