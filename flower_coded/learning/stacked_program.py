"""An architecture as one program for many models: our own layers where they are known, else ``vmap``.

:class:`StackedProgram` maps the weights of ``R`` models and ``R`` batches to ``R`` times the logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from flower_coded.errors import ParameterError
from flower_coded.learning.models import federated_names
from flower_coded.learning.stacked_layers import Draw, Tensors, stacked_layers

__all__ = ["StackedProgram"]


class StackedProgram:
    """Many models of one architecture.

    Parameters
    ----------
    model : torch.nn.Module
        The architecture; of its own weights those that are frozen are used, none is changed. Put onto
        ``device``.
    device : torch.device
        Where everything is.

    Attributes
    ----------
    is_explicit : bool
        Whether all layers are our own; then the number of models in a program changes no bit on a CPU, and
        every model draws from its own seed. Otherwise the module itself is mapped over the models, and what
        it draws comes from torch's generator, the same for all.
    names : list of str
        Keys of the state, in order.
    parameter_names : frozenset of str
        Those that are trained.

    Raises
    ------
    ParameterError
        If the model has batch normalization.

    Examples
    --------
    >>> program = StackedProgram(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.device("cpu"))
    >>> program.is_explicit, program.names
    (True, ['1.weight', '1.bias'])
    >>> weights = {"1.weight": torch.zeros(2, 3, 4), "1.bias": torch.ones(2, 3)}
    >>> program(weights, torch.rand(2, 5, 1, 2, 2), None).shape
    torch.Size([2, 5, 3])
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
            raise ParameterError(
                "model",
                "must have no batch normalization to be trained stacked",
                type(model).__name__,
                hint="use GroupNorm, or train its models one by one",
            )
        self.model, self.device = model.to(device), device
        state = model.state_dict()
        self.names = federated_names(model)
        self.shapes = {key: tuple(state[key].shape) for key in self.names}
        # Our own layers take all weights from the stack; what is frozen stands in the module, once.
        self.layers = stacked_layers(model) if len(self.names) == len(state) else None
        self.is_explicit = self.layers is not None
        self.parameter_names = frozenset(
            name for name, each in model.named_parameters() if each.requires_grad
        )

    def check(self, stacked_state: Mapping[str, NDArray[np.generic]]) -> int:
        """Refuse what is no stacked state of this architecture.

        Returns
        -------
        int
            Models in it.

        Raises
        ------
        ParameterError
            If keys or shapes are not the architecture's with one leading axis.
        """
        if self.names != list(stacked_state):
            raise ParameterError("stacked_state", f"must have the keys {self.names}", list(stacked_state))
        lengths = {array.shape[0] if array.ndim else 0 for array in stacked_state.values()}
        for key, shape in self.shapes.items():
            if len(lengths) != 1 or 0 in lengths or shape != stacked_state[key].shape[1:]:
                raise ParameterError(
                    f"stacked_state[{key!r}]",
                    f"must have a leading axis of models before {shape}",
                    stacked_state[key].shape,
                )
        return lengths.pop()

    def __call__(self, weights: Tensors, images: Tensor, draw: Draw | None) -> Tensor:
        """Logits of every model on its own images.

        Parameters
        ----------
        weights : dict of str to Tensor of shape (R, ...)
            The state, buffers included.
        images : Tensor of shape (R, B, C, H, W)
            A first axis of 1: all models see the same.
        draw : callable or None
            Uniform numbers for dropout, as :data:`~flower_coded.learning.stacked_layers.Draw` says; None for
            prediction.

        Returns
        -------
        Tensor of shape (R, B, c)
        """
        if self.layers is None:
            return self._mapped(weights, images, is_training=draw is not None)
        values = images
        for layer in self.layers:
            values = layer(weights, values, draw)
        return values

    def _mapped(self, weights: Tensors, images: Tensor, *, is_training: bool) -> Tensor:
        self.model.train(is_training)
        num_models = len(next(iter(weights.values())))

        def single(own: Tensors, own_images: Tensor) -> Any:
            return functional_call(self.model, own, (own_images,))

        if num_models == 1:  # the module as it is: vmap would only cost
            own = {key: value[0] for key, value in weights.items()}
            logits: Tensor = single(own, images[0]).unsqueeze(0)
            return logits
        shared = len(images) == 1
        # The same dropout mask in every model, as each would draw with this seed when trained alone.
        mapped = vmap(single, in_dims=(0, None if shared else 0), randomness="same")
        together: Tensor = mapped(weights, images[0] if shared else images)
        return together

    def draws_numbers(self, images: Tensor) -> bool:
        """Tell whether a module that is mapped draws random numbers while it trains."""

        def single(own_images: Tensor) -> Any:
            return self.model(own_images)

        self.model.train()
        try:
            with torch.no_grad():
                vmap(single, randomness="error")(images[None])
        except RuntimeError as error:
            if "random" not in str(error):
                raise
            return True
        return False

    def stacked(self, models: Sequence[tuple[Mapping[str, NDArray[np.generic]], int]]) -> Tensors:
        """Weights on the device, one row per model of a stacked state: copies."""
        return {
            key: torch.from_numpy(np.stack([state[key][i] for state, i in models])).to(self.device)
            for key in self.names
        }
