"""Image classifiers, and model states as plain arrays.

A *model state* is a dictionary of arrays in ``state_dict`` order, the form in which models cross layers and
travel in Flower's ArrayRecords. A *stacked state* has the same keys, every array with a leading axis of
models.

All models take pixels in [0, 1] and center them themselves. None of them uses batch normalization: its
running statistics would be averaged over users whose data differ, its batch counter is an integer that a
weighted mean turns into something else, and its in-place updates are what ``torch.func.vmap`` handles least
well. ResNet-18 therefore normalizes over groups of channels (Wu and He 2018), as is usual in federated
learning since Hsieh et al. 2020. A model of your own may keep batch normalization for training one by one;
stacked training refuses it.

Where some of a model's parameters are frozen, its state is what is left: see :func:`federated_names`.

Dropout draws its mask on the CPU from torch's generator, so that one seed gives the same mask on CPU and
GPU and, under ``vmap(randomness="same")``, the same mask for every stacked model as for that model alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import ParameterError
from flower_coded.learning.output_code_head import with_output_code

__all__ = [
    "MODEL_NAMES",
    "OUTPUT_CODE_NAMES",
    "ModelState",
    "build_model",
    "federated_names",
    "get_state",
    "initial_states",
    "set_state",
    "stack_states",
    "unstack_states",
]

ModelState = dict[str, NDArray[np.generic]]

MODEL_NAMES = ("small-cnn", "cnn4", "resnet18")
OUTPUT_CODE_NAMES = ("hadamard",)


def build_model(
    name: str, image_shape: tuple[int, int, int], num_classes: int, *, seed: int = 0
) -> nn.Module:
    """Classifier by name with weights drawn from the seed; torch's global generator is left as it was.

    Parameters
    ----------
    name : str
        ``"small-cnn"``: 16 convolutions of 3x3 and 64 units, for 8x8 digits.
        ``"cnn4"``: the paper's 32 and 64 convolutions of 3x3, 2x2 max-pool, dropout 0.25, 128 units.
        ``"resnet18"``: ResNet-18 with a 3x3 first convolution and no first pooling, group normalization.
        With ``"+hadamard"`` behind any of them the last layer predicts a codeword of a Hadamard code instead;
        see :mod:`flower_coded.learning.output_code_head`.
    image_shape : (int, int, int)
        Channels, height, width.
    num_classes : int
        Classes ``c >= 2``.
    seed : int
        Seed of the initial weights.

    Returns
    -------
    torch.nn.Module
        Maps float32 (B, C, H, W) to logits (B, c).

    Raises
    ------
    ParameterError
        If the name is unknown or the images are smaller than the model's filters.

    Examples
    --------
    >>> model = build_model("small-cnn", (1, 8, 8), 10, seed=1)
    >>> sum(parameter.numel() for parameter in model.parameters())
    37738
    """
    base, _, code = name.partition("+")
    if base not in MODEL_NAMES or ("+" in name and code not in OUTPUT_CODE_NAMES):
        names = f"one of {', '.join(MODEL_NAMES)}, or one with +{' or +'.join(OUTPUT_CODE_NAMES)} behind it"
        raise ParameterError("model", "must be a known model", name, hint=names)
    if num_classes < 2:
        raise ParameterError("num_classes", "must be at least 2", num_classes)
    if min(image_shape[1:]) < 6:
        raise ParameterError("image_shape", "must be at least 6 x 6 pixels", image_shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _BUILDERS[base](image_shape, num_classes)
        return with_output_code(model, OutputCode.hadamard(num_classes)) if code else model


def initial_states(
    name: str, image_shape: tuple[int, int, int], num_classes: int, num_models: int, seed: int = 0
) -> ModelState:
    """Stacked state of ``num_models`` models, model ``i`` with weights drawn from (seed, i).

    Parameters
    ----------
    name, image_shape, num_classes
        As for :func:`build_model`.
    num_models : int
        ``m >= 1``.
    seed : int
        Seed of the whole ensemble.

    Returns
    -------
    dict of str to ndarray of shape (m, ...)
        The stacked state.
    """
    if num_models < 1:
        raise ParameterError("num_models", "must be at least 1", num_models)
    seeds = np.random.SeedSequence([seed, 0x57A7E]).generate_state(num_models)
    return stack_states(
        [get_state(build_model(name, image_shape, num_classes, seed=int(model_seed))) for model_seed in seeds]
    )


def federated_names(model: nn.Module) -> list[str]:
    """Names of the arrays that a model federates, in ``state_dict`` order.

    All of them, unless some of its parameters are frozen (``requires_grad`` false): then the trainable
    parameters, and the buffers of modules that have one. What is frozen is the same everywhere already, and
    is neither sent nor averaged; adapters (:mod:`flower_coded.learning.adapters`, or a model of the package
    ``peft``) are the trainable part of a frozen network.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    >>> _ = model[0].requires_grad_(False), model[1].requires_grad_(False)
    >>> federated_names(model)
    ['2.weight', '2.bias']
    """
    parameters = dict(model.named_parameters())
    if all(each.requires_grad for each in parameters.values()):
        return list(model.state_dict())
    if not any(each.requires_grad for each in parameters.values()):
        raise ParameterError("model", "must have a parameter that is not frozen", type(model).__name__)
    trained = {name for name, each in parameters.items() if each.requires_grad}
    owners = {name.rpartition(".")[0] for name in trained}
    return [
        name
        for name in model.state_dict()
        if name in trained or (name not in parameters and name.rpartition(".")[0] in owners)
    ]


def get_state(model: nn.Module) -> ModelState:
    """Copy of what the model federates (:func:`federated_names`) as arrays, in ``state_dict`` order."""
    own = model.state_dict()
    return {name: own[name].detach().cpu().numpy().copy() for name in federated_names(model)}


def set_state(model: nn.Module, state: Mapping[str, NDArray[np.generic]]) -> None:
    """Load arrays into the model, whatever device it is on; what is frozen stays.

    Raises
    ------
    ParameterError
        If keys or shapes are not those that the model federates; a stacked state is refused here.
    """
    own = model.state_dict()
    names = federated_names(model)
    if names != list(state):
        differing = sorted(set(names) ^ set(state)) or list(state)
        raise ParameterError("state", f"must have the keys of {type(model).__name__}", differing)
    for key in names:
        shape = tuple(own[key].shape)
        if shape != tuple(state[key].shape):
            raise ParameterError(f"state[{key!r}]", f"must have shape {shape}", state[key].shape)
    tensors = {key: torch.tensor(np.asarray(array)) for key, array in state.items()}
    model.load_state_dict(tensors, strict=False)  # names were compared above; the frozen ones are not there


def stack_states(states: Sequence[Mapping[str, NDArray[np.generic]]]) -> ModelState:
    """Put states of equal keys and shapes one above the other along a new leading axis.

    Examples
    --------
    >>> stack_states([{"weight": np.zeros(3)}, {"weight": np.ones(3)}])["weight"].shape
    (2, 3)
    """
    if not states:
        raise ParameterError("states", "must hold at least one state", states)
    if any(list(state) != list(states[0]) for state in states):
        raise ParameterError("states", "must all have the same keys", [list(state) for state in states])
    return {key: np.stack([state[key] for state in states]) for key in states[0]}


def unstack_states(stacked_state: Mapping[str, NDArray[np.generic]]) -> list[ModelState]:
    """Take a stacked state apart into one state per model; the arrays are views.

    Examples
    --------
    >>> [state["weight"].tolist() for state in unstack_states({"weight": np.array([[0.0], [1.0]])})]
    [[0.0], [1.0]]
    """
    lengths = {len(array) if array.ndim else 0 for array in stacked_state.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ParameterError("stacked_state", "must have one leading axis of models", sorted(lengths))
    return [{key: array[i] for key, array in stacked_state.items()} for i in range(lengths.pop())]


class Center(nn.Module):
    """Pixels in [0, 1] moved to [-1, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        return 2.0 * images - 1.0


class SeededDropout(nn.Module):
    """Dropout whose mask is drawn on the CPU, hence the same on every device and under ``vmap``."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return values
        return self.thinned(values, torch.rand(values.shape))

    def thinned(self, values: Tensor, uniform: Tensor) -> Tensor:
        """Values with zeros where a number drawn uniformly from [0, 1) is too small."""
        kept = (uniform >= self.probability).to(values.device)
        return values * kept / (1.0 - self.probability)


def _small_cnn(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    channels, height, width = image_shape
    return nn.Sequential(
        Center(),
        nn.Conv2d(channels, 16, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * (height - 2) * (width - 2), 64),
        nn.ReLU(),
        nn.Linear(64, num_classes),
    )


def _cnn4(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    channels, height, width = image_shape
    return nn.Sequential(
        Center(),
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        SeededDropout(0.25),
        nn.Flatten(),
        nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128),
        nn.ReLU(),
        nn.Linear(128, num_classes),
    )


def _resnet18(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    from torchvision.models import resnet18

    model: nn.Module = resnet18(
        num_classes=num_classes, norm_layer=lambda channels: nn.GroupNorm(32, channels)
    )
    model.conv1 = nn.Conv2d(image_shape[0], 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return nn.Sequential(Center(), model)


_BUILDERS: dict[str, Callable[[tuple[int, int, int], int], nn.Module]] = {
    "small-cnn": _small_cnn,
    "cnn4": _cnn4,
    "resnet18": _resnet18,
}
