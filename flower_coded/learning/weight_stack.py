"""Rows of a stack while they train: weights, optimizer, and the random numbers that each row draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flower_coded.learning.models import ModelState
from flower_coded.learning.stacked_layers import Draw, Tensors
from flower_coded.learning.training import TrainSettings

__all__ = ["RowDraws", "WeightStack", "joined_rows"]

_LANES = 16  # floats that a CPU's vector instruction takes at most


class WeightStack:
    """Weights of the rows that still train, with one optimizer, and of the rows that are done.

    Parameters
    ----------
    weights : dict of str to Tensor of shape (R, ...)
        The rows' states; taken over, and changed in place.
    parameter_names : frozenset of str
        Keys that are trained; the others (buffers) stay what they are.
    settings : TrainSettings
        Tells the optimizer.

    Examples
    --------
    >>> stack = WeightStack({"w": torch.ones(3, 2)}, frozenset("w"), TrainSettings(optimizer="sgd"))
    >>> stack.step(stack.weights()["w"].sum(dim=1))
    >>> stack.shrink(1)
    >>> stack.state()["w"].shape, stack.weights()["w"].shape
    ((3, 2), torch.Size([1, 2]))
    """

    def __init__(self, weights: Tensors, parameter_names: frozenset[str], settings: TrainSettings) -> None:
        self.settings = settings
        self.shapes = {key: each.shape[1:] for key, each in weights.items()}
        self._buffers = {key: each for key, each in weights.items() if key not in parameter_names}
        self._trained = {key: _filled_up(each) for key, each in weights.items() if key in parameter_names}
        self._done: list[ModelState] = []
        self._optimizer = settings.make_optimizer(self._leaves())

    def weights(self) -> Tensors:
        """Weights of the rows that still train, in the shapes of the architecture."""
        own = {key: self._own(key, each) for key, each in self._trained.items()}
        return {key: own[key] if key in own else self._buffers[key] for key in self.shapes}

    def copy(self) -> Tensors:
        """Trained weights as they are now."""
        return {key: each.detach().clone() for key, each in self._trained.items()}

    def moved(self, start: Tensors) -> Tensor:
        """Squared distance of every row from what :meth:`copy` gave, shape (R,)."""
        parts = [
            ((now - start[key][: len(now)]) ** 2).flatten(1).sum(dim=1) for key, now in self._trained.items()
        ]
        return torch.stack(parts).sum(dim=0)

    def step(self, losses: Tensor) -> None:
        """Make one step of every row on its own loss; losses are (R,)."""
        self._optimizer.zero_grad()
        # No model's loss depends on another's weights: the sum's gradient is everybody's own.
        losses.sum().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def shrink(self, active: int) -> None:
        """Go on with the first ``active`` rows only, their momenta included."""
        before = self._trained
        if active == len(next(iter(before.values()))):
            return
        self._done.append({key: each[active:] for key, each in self._arrays().items()})
        self._buffers = {key: each[:active] for key, each in self._buffers.items()}
        self._trained = {key: each.detach()[:active].clone() for key, each in before.items()}
        optimizer = self.settings.make_optimizer(self._leaves())
        for key, parameter in self._trained.items():
            kept = self._optimizer.state[before[key]]
            # The count of steps has no axis of rows: all rows that are left have made as many.
            optimizer.state[parameter] = {
                name: each[:active].clone() if each.ndim else each.clone() for name, each in kept.items()
            }
        self._optimizer = optimizer

    def state(self) -> ModelState:
        """Weights of all rows, in their first order."""
        parts = [self._arrays(), *reversed(self._done)]
        return {key: joined_rows([part[key] for part in parts]) for key in self.shapes}

    def _leaves(self) -> list[Tensor]:
        return [each.requires_grad_() for each in self._trained.values()]

    def _own(self, key: str, each: Tensor) -> Tensor:
        shape = self.shapes[key]
        return each if each.shape[1:] == shape else each[:, : math.prod(shape)].reshape(-1, *shape)

    def _arrays(self) -> ModelState:
        return {key: each.detach().cpu().numpy() for key, each in self.weights().items()}


class RowDraws:
    """Uniform numbers for dropout: every row's own stream, equal for rows of equal seed.

    Parameters
    ----------
    seeds : sequence of int
        One per row.

    Examples
    --------
    >>> draw = RowDraws([5, 6, 5]).at(np.array([2, 1, 2]), 2)
    >>> drawn = draw(torch.Size([4]))
    >>> drawn.shape, torch.equal(drawn[0], drawn[2]), torch.equal(drawn[0], drawn[1])
    (torch.Size([3, 2, 4]), True, False)
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = seeds
        self._generators = {seed: torch.Generator().manual_seed(seed) for seed in seeds}

    def at(self, sizes: NDArray[np.int64], width: int) -> Draw:
        """Give the numbers of one step for the first rows, whose batches have these sizes, up to a width."""

        def draw(shape: torch.Size) -> Tensor:
            drawn: dict[int, Tensor] = {}
            for seed, size in zip(self.seeds, sizes.tolist(), strict=False):
                if seed not in drawn:  # on the CPU, and for the batch alone, as the model alone would draw
                    own = torch.rand((size, *shape), generator=self._generators[seed])
                    missing = own.new_zeros(width - size, *shape)
                    drawn[seed] = own if size == width else torch.cat([own, missing])
            if len(sizes) == 1:
                return drawn[self.seeds[0]].unsqueeze(0)  # no copy
            return torch.stack([drawn[seed] for seed in self.seeds[: len(sizes)]])

        return draw


def joined_rows(parts: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Put parts of a stack one behind the other; a single one is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _filled_up(each: Tensor) -> Tensor:
    """Rows with zeros behind, so that no vector of a fused optimizer reaches from one row into the next.

    What is left over at the end of an array is computed without vector instructions, and rounded otherwise:
    a row would be trained to other last bits where it is the last one.
    """
    length = each[0].numel()
    missing = -length % _LANES
    return torch.cat([each.flatten(1), each.new_zeros(len(each), missing)], dim=1) if missing else each
