"""Which image of which user is met in which step, for many users with different numbers of images.

Every user's order is the one of :meth:`~flower_coded.learning.training.TrainSettings.batches` with its own
seed. Batches of one step are filled up to the widest of them with images that count nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flower_coded.learning.training import TrainSettings

__all__ = ["Batches", "Schedule"]


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of ``R`` rows in ``T`` steps, rows with most steps first.

    Attributes
    ----------
    indices, labels : Tensor of shape (T, R, B), int64
        Images among those of all users together, and their classes; anything behind a batch's end.
    weights : Tensor of shape (T, R, B), float32
        One over the batch's size; 0 behind its end.
    counted : Tensor of shape (T, R), float64
        Images in the batch where it belongs to the row's last epoch, else 0.
    sizes : ndarray of shape (T, R), int64
        Images in the batch.
    widths, num_active : list of int, length T
        Widest batch of a step; rows that have a batch in it.
    """

    indices: Tensor
    labels: Tensor
    weights: Tensor
    counted: Tensor
    sizes: NDArray[np.int64]
    widths: list[int]
    num_active: list[int]


class Schedule:
    """The batches of several users.

    Parameters
    ----------
    labels : sequence of ndarray of shape (N_j,), int64
        Classes of every user's images.
    seeds : sequence of int
        Of every user's order.
    offsets : sequence of int
        Where a user's images begin among those of all users together.
    settings : TrainSettings
        Epochs and batch size.

    Attributes
    ----------
    num_steps : ndarray of int64
        Batches of every user.
    width : int
        Images of the widest batch.

    Examples
    --------
    >>> labels = [np.zeros(5, np.int64), np.ones(3, np.int64)]
    >>> schedule = Schedule(labels, [1, 2], [0, 5], TrainSettings(epochs=1, batch_size=4))
    >>> batches = schedule.of([0, 1], torch.device("cpu"))
    >>> batches.sizes.tolist(), batches.widths, batches.num_active
    ([[4, 3], [1, 0]], [4, 1], [2, 1])
    >>> batches.weights[0, 1]
    tensor([0.3333, 0.3333, 0.3333, 0.0000])
    """

    def __init__(
        self,
        labels: Sequence[NDArray[np.int64]],
        seeds: Sequence[int],
        offsets: Sequence[int],
        settings: TrainSettings,
    ) -> None:
        own = [
            [each for _, each in replace(settings, seed=seed).batches(len(classes))]
            for classes, seed in zip(labels, seeds, strict=True)
        ]
        self.num_steps = np.array([len(batches) for batches in own])
        self.epochs = settings.epochs
        self.width = max(len(batch) for batches in own for batch in batches)
        shape = (int(self.num_steps.max()), len(own))
        self._sizes = np.zeros(shape, dtype=np.int64)
        self._indices = np.zeros((*shape, self.width), dtype=np.int64)
        self._labels = np.zeros((*shape, self.width), dtype=np.int64)
        for user, (batches, classes, offset) in enumerate(zip(own, labels, offsets, strict=True)):
            for step, batch in enumerate(batches):
                self._sizes[step, user] = len(batch)
                self._indices[step, user, : len(batch)] = batch + offset
                self._labels[step, user, : len(batch)] = classes[batch]
        # Of all users, not of those in one program, or rounding would depend on who is in which.
        self._widths = self._sizes.max(axis=1)

    def of(self, users: Sequence[int], device: torch.device) -> Batches:
        """Give the batches of some users, those with most steps first; a user may be there several times."""
        num_steps = self.num_steps[list(users)]
        last = int(num_steps.max())
        sizes = self._sizes[:last][:, users]
        is_there = np.arange(self.width) < sizes[:, :, None]
        weights = is_there / np.maximum(sizes, 1)[:, :, None]
        steps = np.arange(last)[:, None]
        counted = sizes * (steps >= num_steps - num_steps // self.epochs)
        return Batches(
            torch.from_numpy(self._indices[:last][:, users]).to(device),
            torch.from_numpy(self._labels[:last][:, users]).to(device),
            torch.from_numpy(weights.astype(np.float32)).to(device),
            torch.from_numpy(counted.astype(np.float64)).to(device),
            sizes,
            self._widths[:last].tolist(),
            (num_steps > steps).sum(axis=1).tolist(),
        )
