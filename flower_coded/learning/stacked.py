"""Training and prediction of many models of one architecture at once.

All models of a stack see the same images in the same order: what one user does with its models of a coded
ensemble. It is one job of :mod:`flower_coded.learning.cohort`, which trains those of all users together.

Left out: models with batch normalization (refused; see :mod:`flower_coded.learning.models`) and models of
different architectures.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from flower_coded.errors import ParameterError
from flower_coded.learning.cohort import TrainJob, train_jobs
from flower_coded.learning.models import ModelState
from flower_coded.learning.stacked_program import StackedProgram
from flower_coded.learning.training import TrainReport, TrainSettings, choose_device

__all__ = ["predict_stacked", "predict_stacked_logits", "train_stacked"]


def train_stacked(
    model: nn.Module,
    stacked_state: Mapping[str, NDArray[np.generic]],
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    epochs: int = 1,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    seed: int = 0,
    optimizer: str = "adam",
    device: str = "cpu",
) -> tuple[ModelState, TrainReport]:
    """Train all stacked models on one user's images.

    Parameters
    ----------
    model : torch.nn.Module
        The architecture; its own weights are neither used nor changed. Left on ``device``, in training mode.
    stacked_state : dict of str to ndarray of shape (m, ...)
        States of the ``m`` models, one above the other.
    images, labels, epochs, batch_size, learning_rate, weight_decay, seed, optimizer, device
        As for :func:`flower_coded.learning.training.train`; all models share seed, order and masks.

    Returns
    -------
    stacked_state : dict of str to ndarray of shape (m, ...)
        The trained states.
    report : TrainReport
        ``loss`` is the mean over models, ``model_losses`` has one entry per model.

    Raises
    ------
    ParameterError
        If the state is not a stacked state of this model, the model has batch normalization, or a setting is
        outside its range.
    """
    settings = TrainSettings(epochs, batch_size, learning_rate, weight_decay, seed, optimizer)
    job = TrainJob(stacked_state, images, labels, seed)
    (trained,) = train_jobs(model, [job], settings=settings, device=device)
    model.train()
    return trained


def predict_stacked(
    model: nn.Module,
    stacked_state: Mapping[str, NDArray[np.generic]],
    images: NDArray[np.float32],
    *,
    batch_size: int = 1024,
    device: str = "cpu",
) -> NDArray[np.int64]:
    """Most likely class of every image according to every stacked model.

    Parameters
    ----------
    model : torch.nn.Module
        The architecture; its own weights are not used.
    stacked_state : dict of str to ndarray of shape (m, ...)
        States of the ``m`` models.
    images : ndarray of shape (B, C, H, W), float32
        Pixels in [0, 1].
    batch_size : int
        Images at a time.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.

    Returns
    -------
    ndarray of shape (m, B), int64
    """
    logits = predict_stacked_logits(model, stacked_state, images, batch_size=batch_size, device=device)
    labels: NDArray[np.int64] = logits.argmax(axis=2).astype(np.int64)
    return labels


def predict_stacked_logits(
    model: nn.Module,
    stacked_state: Mapping[str, NDArray[np.generic]],
    images: NDArray[np.float32],
    *,
    batch_size: int = 1024,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """Logits (m, B, c) of every image by every model; parameters as for :func:`predict_stacked`."""
    if len(images) == 0:
        raise ParameterError("images", "must hold at least one image", images.shape)
    program = StackedProgram(model, choose_device(device))
    program.model.eval()
    num_models = program.check(stacked_state)
    weights = program.stacked([(stacked_state, i) for i in range(num_models)])
    with torch.no_grad():
        parts = [
            # A first axis of 1: all models see the same images.
            program(
                weights, torch.tensor(images[start : start + batch_size], device=program.device)[None], None
            )
            .cpu()
            .numpy()
            for start in range(0, len(images), batch_size)
        ]
    logits: NDArray[np.float32] = np.concatenate(parts, axis=1)
    return logits
