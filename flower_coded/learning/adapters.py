"""Adapters of low rank: a frozen network, and beside each chosen layer a small one that is trained.

A linear layer ``W x + b`` becomes ``W x + b + (alpha / rank) B A x`` with ``A`` of shape (rank, in) and
``B`` of shape (out, rank), ``B`` zero at the start (Hu et al., "LoRA: low-rank adaptation of large language
models", ICLR 2022, Section 4.1). All else is frozen, so that :func:`flower_coded.learning.get_state` is the
adapters alone: what strategies send, share, clip and average. Models of the package ``peft`` have the same
property and need nothing of this module.

**What an average of adapters is.** The mean of users' ``A`` and the mean of their ``B``, multiplied, is not
the mean of their products ``B A``: it has the cross terms of every pair of users in it. With
``trains_down=False`` every user keeps the same random ``A`` and trains ``B`` alone; then the mean of ``B`` is
exactly the mean of the products, under every strategy that averages whom it selects (Sun et al., "Improving
LoRA in privacy-preserving federated learning", ICLR 2024), and about half as much is sent.
:func:`product_gap` says what the other choice costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flower_coded.errors import ParameterError
from flower_coded.learning.models import ModelState, federated_names

__all__ = ["LowRankLinear", "add_adapters", "frozen_state", "product_gap"]

_DOWN, _UP = "down", "up"


class LowRankLinear(nn.Module):
    """A frozen linear layer with an adapter beside it.

    Parameters
    ----------
    frozen : torch.nn.Linear
        Weight (out, in); it is kept, and no longer trained.
    rank : int
        ``1 <= rank <= min(out, in)``.
    alpha : float
        The adapter's output is scaled by ``alpha / rank``.
    trains_down : bool
        Train ``A`` too; else it stays as it was drawn.
    generator : torch.Generator
        Draws ``A``, normal with variance ``1 / in``.

    Raises
    ------
    ParameterError
        If the rank does not fit.

    Examples
    --------
    >>> layer = LowRankLinear(nn.Linear(8, 4), 2, 4.0, True, torch.Generator().manual_seed(1))
    >>> x = torch.ones(3, 8)
    >>> bool((layer(x) == layer.frozen(x)).all()), layer.up.shape, layer.down.shape
    (True, torch.Size([4, 2]), torch.Size([2, 8]))
    """

    def __init__(
        self, frozen: nn.Linear, rank: int, alpha: float, trains_down: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        most = min(frozen.in_features, frozen.out_features)
        if not 1 <= rank <= most:
            raise ParameterError("rank", f"must be between 1 and {most}, the layer's smaller side", rank)
        self.frozen = frozen.requires_grad_(False)
        self.scale = alpha / rank
        down = torch.randn(rank, frozen.in_features, generator=generator) / frozen.in_features**0.5
        self.down = nn.Parameter(down, requires_grad=trains_down)
        # Zero, so that training starts from the frozen network itself.
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        """``W x + b + (alpha / rank) B A x``; the narrow product first, which is what makes it cheap."""
        output: Tensor = self.frozen(inputs) + self.scale * (inputs @ self.down.T) @ self.up.T
        return output


def add_adapters(
    model: nn.Module,
    layers: Sequence[str] = ("*",),
    *,
    rank: int = 4,
    alpha: float = 8.0,
    trains_down: bool = True,
    trained: Sequence[str] = (),
    seed: int = 0,
) -> nn.Module:
    """Freeze a model and put an adapter beside linear layers of it, in place.

    Parameters
    ----------
    model : torch.nn.Module
        With layers of type ``torch.nn.Linear``.
    layers : sequence of str
        Names of those that get an adapter, with ``*`` and ``?`` as in file names; all of them by default.
    rank, alpha, trains_down
        As for :class:`LowRankLinear`.
    trained : sequence of str
        Names, in the same form, of parameters that are trained whole, such as ``"head.*"``; their layers
        get no adapter.
    seed : int
        Of the adapters' first values, the same on every node.

    Returns
    -------
    torch.nn.Module
        The model itself. :func:`flower_coded.learning.get_state` now gives adapters and ``trained`` alone.

    Raises
    ------
    ParameterError
        If a pattern meets no layer, or no parameter.

    Examples
    --------
    >>> from flower_coded.learning.models import get_state
    >>> model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> adapted = add_adapters(model, ["0"], rank=1, trained=["2.*"])
    >>> list(get_state(adapted))
    ['0.down', '0.up', '2.weight', '2.bias']
    """
    model.requires_grad_(False)
    names = {name for name, _ in model.named_parameters()}
    whole = {name for name in names if _matches(name, trained)}
    _refuse_unmet("trained", trained, names)
    found = {name: each for name, each in model.named_modules() if isinstance(each, nn.Linear)}
    _refuse_unmet("layers", layers, set(found))
    generator = torch.Generator().manual_seed(seed)
    for name, layer in found.items():
        if _matches(name, layers) and f"{name}.weight" not in whole:
            owner = model.get_submodule(name.rpartition(".")[0])
            adapted = LowRankLinear(layer, rank, alpha, trains_down, generator)
            setattr(owner, name.rpartition(".")[2], adapted)
    for name, parameter in model.named_parameters():
        if name in whole:
            parameter.requires_grad_(True)
    return model


def frozen_state(model: nn.Module) -> ModelState:
    """Copy of what the model does not federate: the network that adapters belong to.

    ``flower_coded.wire.frozen.state_digest`` of it tells one network from another: adapters of one do
    nothing good in another.

    Examples
    --------
    >>> list(frozen_state(add_adapters(nn.Sequential(nn.Linear(2, 2)), rank=1)))
    ['0.frozen.weight', '0.frozen.bias']
    """
    federated = set(federated_names(model))
    return {
        name: value.detach().cpu().numpy().copy()
        for name, value in model.state_dict().items()
        if name not in federated
    }


def product_gap(states: Sequence[Mapping[str, NDArray[np.generic]]]) -> float:
    """Say how far the product of mean adapters is from the mean of the products.

    Parameters
    ----------
    states : sequence of dict of str to ndarray
        Users' adapters, with ``….down`` (rank, in) and ``….up`` (out, rank); a ``down`` that is not trained
        is the same everywhere and stands in none of them: then there is no gap.

    Returns
    -------
    float
        ``||mean(B) mean(A) - mean(B A)|| / ||mean(B A)||``, Frobenius, over all layers together.

    Examples
    --------
    >>> A, B = np.ones((1, 2)), np.ones((2, 1))
    >>> product_gap([{"w.down": A, "w.up": B}, {"w.down": -A, "w.up": -B}])  # both agree, their means vanish
    1.0
    """
    squared = {"gap": 0.0, "whole": 0.0}
    for name in states[0]:
        owner, _, kind = name.rpartition(".")
        if kind != _UP or f"{owner}.{_DOWN}" not in states[0]:
            continue
        ups = np.stack([np.asarray(state[name], np.float64) for state in states])
        downs = np.stack([np.asarray(state[f"{owner}.{_DOWN}"], np.float64) for state in states])
        exact = np.mean(ups @ downs, axis=0)
        squared["gap"] += float(np.sum((ups.mean(axis=0) @ downs.mean(axis=0) - exact) ** 2))
        squared["whole"] += float(np.sum(exact**2))
    return float(np.sqrt(squared["gap"] / squared["whole"])) if squared["whole"] else 0.0


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _refuse_unmet(argument: str, patterns: Sequence[str], names: set[str]) -> None:
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise ParameterError(argument, f"must meet one of {', '.join(sorted(names))}", pattern)
