"""Training and prediction of many models of one architecture at once.

The models of one user see the same images in the same order, so their states can be stacked and pushed
through ``torch.func.functional_call`` under ``torch.func.vmap``: one pass over the data trains them all.
Losses are summed before the backward pass; as no model's loss depends on another's weights, each gets the
gradient it would get alone. The optimizers work entry by entry, so a stacked step is every model's own
step. With the same seed the result equals :func:`flower_coded.learning.training.train` model by model up to
rounding, dropout masks included.

Left out: models with batch normalization (refused; see :mod:`flower_coded.learning.models`) and models of
different architectures.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from flower_coded.errors import ParameterError
from flower_coded.learning.models import ModelState
from flower_coded.learning.training import TrainReport, TrainSettings, as_tensors, choose_device, seeded_torch

__all__ = ["predict_stacked", "predict_stacked_logits", "train_stacked"]

_Tensors = dict[str, Tensor]


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
    target = choose_device(device)
    pixels, classes = as_tensors(images, labels, target)
    model.to(target).train()
    parameters, buffers = _stacked_tensors(model, stacked_state, target)
    for parameter in parameters.values():
        parameter.requires_grad_()
    stepper = settings.make_optimizer(parameters.values())
    num_models = len(next(iter(parameters.values())))
    loss_sums = torch.zeros(num_models, device=target)
    with seeded_torch(seed):
        for epoch, indices in settings.batches(len(labels)):
            batch = torch.from_numpy(indices).to(target)
            stepper.zero_grad()
            losses = _losses(_forward(model, parameters, buffers, pixels[batch]), classes[batch])
            # No model's loss depends on another's weights: the sum's gradient is everybody's own.
            losses.sum().backward()  # type: ignore[no-untyped-call]
            stepper.step()
            if epoch == epochs - 1:
                loss_sums += losses.detach() * len(indices)
    model_losses = tuple((loss_sums / len(labels)).tolist())
    report = TrainReport(float(np.mean(model_losses)), len(labels), model_losses)
    return _as_state(model, parameters, buffers), report


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
    target = choose_device(device)
    model.to(target).eval()
    parameters, buffers = _stacked_tensors(model, stacked_state, target)
    with torch.no_grad():
        parts = [
            _forward(
                model, parameters, buffers, torch.tensor(images[start : start + batch_size], device=target)
            )
            .cpu()
            .numpy()
            for start in range(0, len(images), batch_size)
        ]
    logits: NDArray[np.float32] = np.concatenate(parts, axis=1)
    return logits


def _forward(model: nn.Module, parameters: _Tensors, buffers: _Tensors, images: Tensor) -> Tensor:
    """Logits (m, B, c): every model on the same images, with the same random numbers."""

    def single(own_parameters: _Tensors, own_buffers: _Tensors) -> Tensor:
        logits: Tensor = functional_call(model, (own_parameters, own_buffers), (images,))
        return logits

    # The same dropout mask in every model, as each would draw with this seed when trained alone.
    logits: Tensor = vmap(single, randomness="same")(parameters, buffers)
    return logits


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each model, shape (m,)."""
    num_models, num_images, num_classes = logits.shape
    flat = functional.cross_entropy(
        logits.reshape(-1, num_classes), labels.repeat(num_models), reduction="none"
    )
    return flat.reshape(num_models, num_images).mean(dim=1)


def _stacked_tensors(
    model: nn.Module, stacked_state: Mapping[str, NDArray[np.generic]], device: torch.device
) -> tuple[_Tensors, _Tensors]:
    """Stacked parameters and buffers as tensors, checked against the architecture."""
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise ParameterError(
            "model",
            "must have no batch normalization to be trained stacked",
            type(model).__name__,
            hint="use GroupNorm, or train its models one by one",
        )
    own = model.state_dict()
    if list(own) != list(stacked_state):
        raise ParameterError("stacked_state", f"must have the keys {list(own)}", list(stacked_state))
    num_models = {array.shape[0] if array.ndim else 0 for array in stacked_state.values()}
    for key, value in own.items():
        if len(num_models) != 1 or tuple(value.shape) != stacked_state[key].shape[1:]:
            raise ParameterError(
                f"stacked_state[{key!r}]",
                f"must have a leading axis of models before {tuple(value.shape)}",
                stacked_state[key].shape,
            )
    names = {name for name, _ in model.named_parameters()}
    tensors = {key: torch.tensor(np.asarray(array), device=device) for key, array in stacked_state.items()}
    return (
        {key: tensor for key, tensor in tensors.items() if key in names},
        {key: tensor for key, tensor in tensors.items() if key not in names},
    )


def _as_state(model: nn.Module, parameters: _Tensors, buffers: _Tensors) -> ModelState:
    together = {**parameters, **buffers}
    return {key: together[key].detach().cpu().numpy() for key in model.state_dict()}
