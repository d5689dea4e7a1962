"""Layers of many models of one architecture at once: every weight has a leading axis of models.

Values are ``(R, B, C, H, W)`` or ``(R, B, F)``: ``R`` models, each on its own batch of ``B``. Written by hand
because ``torch.func.vmap`` is slower than one model after another where convolutions are large: it turns
them into one convolution of ``R`` groups, for which the CPU's library has no good backward pass (measured by
``benchmarks/stacked_training.py``). Here

* a linear layer is a batched matrix product;
* a convolution over few channels is a batched product with the image's patches (:func:`_patches`), which
  saves ``R - 1`` calls into a library that takes longer to be called than to compute;
* a larger convolution is the library's own, model after model, on channels-last memory, where it is fastest;
  a GPU gets one convolution of ``R`` groups instead, since it is the number of calls that costs there;
* pooling comes before a ReLU beside it: the larger of two values stays the larger.

No product mixes models, and each is the same call whatever ``R`` is: the number of models in a program
changes no bit of the result on a CPU. Left out: layers that :func:`stacked_layers` does not know; then it
says so, and ``vmap`` does the work (:mod:`flower_coded.learning.stacked_program`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from flower_coded.learning.models import Center, SeededDropout
from flower_coded.learning.output_code_head import OutputCodeClassifier, OutputCodeHead, code_scores

__all__ = ["Draw", "Layer", "Tensors", "stacked_layers"]

Tensors = dict[str, Tensor]
Draw = Callable[[torch.Size], Tensor]
"""``draw(shape)``: uniform numbers (R, B, *shape), each model's from its own seed."""
Layer = Callable[[Tensors, Tensor, Draw | None], Tensor]
"""``layer(weights, values, draw)``: the next values; without ``draw`` for prediction."""

_MOST_PATCH_ENTRIES = 64
"""Channels times filter size up to which patches pay: their copy grows with it, the saved calls do not."""


def stacked_layers(model: nn.Module) -> tuple[Layer, ...] | None:
    """Translate a module into stacked layers.

    Parameters
    ----------
    model : torch.nn.Module
        Layers in a row (``nn.Sequential``, nested or not), with an output-code head or without.

    Returns
    -------
    tuple of callable or None
        To be applied one after the other; None where a layer is not known here.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    >>> weights = {key: torch.stack([value, 2 * value]) for key, value in model.state_dict().items()}
    >>> values = torch.rand(1, 5, 1, 2, 2).expand(2, -1, -1, -1, -1)
    >>> for layer in stacked_layers(model):
    ...     values = layer(weights, values, torch.rand)
    >>> values.shape, torch.allclose(values[0], model(torch.zeros(5, 1, 2, 2))), values.shape
    (torch.Size([2, 5, 3]), False, torch.Size([2, 5, 3]))
    >>> stacked_layers(nn.BatchNorm2d(3)) is None
    True
    """
    leaves = _leaves(model, "")
    if leaves is None:
        return None
    ordered = _relu_last(leaves)
    layers = [
        _translated(name, module, [each for _, each in ordered[i + 1 :]])
        for i, (name, module) in enumerate(ordered)
    ]
    return None if None in layers else tuple(layer for layer in layers if layer is not None)


def _leaves(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module]] | None:
    """Layers in the order in which they are applied, with the prefix of their weights' names."""
    if type(module) not in (nn.Sequential, OutputCodeClassifier):
        return [(prefix, module)]
    found: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        inner = _leaves(child, f"{prefix}{name}.")
        if inner is None:
            return None
        found += inner
    return found


def _relu_last(leaves: Sequence[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """Put pooling and flattening before the ReLU that they follow: the same values and gradients.

    The larger of two values stays the larger, and pooling leaves fewer; flattening puts them in one order.
    """
    ordered = list(leaves)
    for i in range(len(ordered) - 1):
        if type(ordered[i][1]) is nn.ReLU and type(ordered[i + 1][1]) in (nn.MaxPool2d, nn.Flatten):
            ordered[i], ordered[i + 1] = ordered[i + 1], ordered[i]
    return ordered


def _translated(name: str, module: nn.Module, following: Sequence[nn.Module]) -> Layer | None:
    """Stacked form of one layer; exact types only, as a subclass may do anything."""
    if type(module) is nn.Conv2d:
        # Pooling and large convolutions are faster so; flattening needs the other order.
        channels_last = any(isinstance(each, nn.Conv2d | nn.MaxPool2d) for each in following)
        return _Convolution.of(name, module, channels_last) if module.padding_mode == "zeros" else None
    translate = _TRANSLATIONS.get(type(module))
    return None if translate is None else translate(name, module)


def _thinned(dropout: SeededDropout, values: Tensor, draw: Draw | None) -> Tensor:
    # In the order of the mask, which is also what a linear layer needs next.
    return values if draw is None else dropout.thinned(values.contiguous(), draw(values.shape[2:]))


@dataclass(frozen=True)
class _Linear:
    name: str
    has_bias: bool

    def __call__(self, weights: Tensors, values: Tensor, draw: Draw | None) -> Tensor:
        bias = weights[f"{self.name}bias"] if self.has_bias else None
        result: Tensor = _Product.apply(values, weights[f"{self.name}weight"], bias)
        return result


@dataclass(frozen=True)
class _CodeHead:
    encoder: _Linear
    head: OutputCodeHead

    def __call__(self, weights: Tensors, values: Tensor, draw: Draw | None) -> Tensor:
        words = self.encoder(weights, values, draw)
        return code_scores(words, self.head.get_buffer("directions"), self.head.temperature)


class _Product(torch.autograd.Function):
    """Linear layers: values (R or 1, B, F), weight (R, O, F), bias (R, O) or None, result (R, B, O)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        values = values.expand(len(weight), -1, -1)
        ctx.save_for_backward(values, weight)
        if bias is None:
            return torch.bmm(values, weight.transpose(1, 2))
        return torch.baddbmm(bias[:, None], values, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        values, weight = ctx.saved_tensors
        of_values = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        # In the weight's own order: autograd's would be transposed, and be copied once more for that.
        of_weight = torch.bmm(gradient.transpose(1, 2), values)
        return of_values, of_weight, gradient.sum(1) if ctx.needs_input_grad[2] else None


@dataclass(frozen=True)
class _Convolution:
    name: str
    has_bias: bool
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    uses_patches: bool
    channels_last: bool  # for the layers behind it

    @classmethod
    def of(cls, name: str, module: nn.Conv2d, channels_last: bool) -> _Convolution | None:
        if isinstance(module.padding, str):
            return None
        entries = module.weight[0].numel()
        geometry = (module.stride, module.padding, module.dilation, module.groups)
        is_plain = geometry == ((1, 1), (0, 0), (1, 1), 1) and entries <= _MOST_PATCH_ENTRIES
        return cls(name, module.bias is not None, *geometry, is_plain, channels_last)

    def __call__(self, weights: Tensors, values: Tensor, draw: Draw | None) -> Tensor:
        weight = weights[f"{self.name}weight"]
        bias = weights[f"{self.name}bias"] if self.has_bias else weight.new_zeros(weight.shape[:2])
        num_models, own = len(weight), (self.stride, self.padding, self.dilation)
        if len(values) == 1 and num_models > 1 and self.groups == 1:  # all models see the same images
            shared = functional.conv2d(values[0], weight.flatten(0, 1), bias.flatten(), *own)
            return shared.view(len(shared), *weight.shape[:2], *shared.shape[2:]).transpose(0, 1)
        values = values.expand(num_models, -1, -1, -1, -1)
        result: Tensor
        if self.uses_patches:
            result = _PatchProduct.apply(values, weight, bias, self.channels_last)
        elif values.device.type == "cpu":
            result = _OneByOne.apply(values, weight, bias, *own, self.groups)
        else:
            together = values.transpose(0, 1).flatten(1, 2)
            result = functional.conv2d(
                together, weight.flatten(0, 1), bias.flatten(), *own, groups=num_models * self.groups
            )
            result = result.view(len(result), *weight.shape[:2], *result.shape[2:]).transpose(0, 1)
        return result


def _patches(values: Tensor, height: int, width: int) -> Tensor:
    """Every image's patches as columns, (R, C * h * w, B * H' * W'): filters times them is a convolution."""
    views = values.unfold(3, height, 1).unfold(4, width, 1)  # (R, B, C, H', W', h, w)
    return views.permute(0, 2, 5, 6, 1, 3, 4).flatten(4).flatten(1, 3)


def _channels_last(values: Tensor) -> Tensor:
    """Put values into the memory order (R, B, H, W, C), without a copy where they are in it."""
    return values.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


class _PatchProduct(torch.autograd.Function):
    """Convolutions with stride 1 and no padding, as products with patches."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, channels_last: bool) -> Tensor:
        patches, filters = _patches(values, *weight.shape[3:]), weight.flatten(2)
        ctx.save_for_backward(patches, filters)
        ctx.shapes = values.shape, weight.shape
        # The bias added afterwards: handed to the product, it would first be copied to its whole size.
        rows = torch.bmm(filters, patches).add_(bias[:, :, None])
        height, width = (values.shape[3 + i] - weight.shape[3 + i] + 1 for i in (0, 1))
        maps = rows.view(*rows.shape[:2], -1, height, width).transpose(1, 2)
        return _channels_last(maps) if channels_last else maps

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        patches, filters = ctx.saved_tensors
        (num_models, batch, channels, *_), (_, _, _, height, width) = ctx.shapes
        rows = gradient.transpose(1, 2).flatten(2)  # (R, O, B * H' * W')
        of_filters = torch.bmm(rows, patches.transpose(1, 2)).view(ctx.shapes[1])
        of_values = None
        if ctx.needs_input_grad[0]:
            rows_out, columns_out = gradient.shape[3:]
            of_patches = torch.bmm(filters.transpose(1, 2), rows).view(
                num_models, channels, height, width, batch, rows_out, columns_out
            )
            of_values = gradient.new_zeros(ctx.shapes[0])
            for i in range(height):
                for j in range(width):
                    place = of_values[:, :, :, i : i + rows_out, j : j + columns_out]
                    place += of_patches[:, :, i, j].transpose(1, 2)
        return of_values, of_filters, rows.sum(2), None


def _one_above_the_other(parts: Sequence[Tensor]) -> Tensor:
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(list(parts))


class _OneByOne(torch.autograd.Function):
    """Convolutions by torch's own, model after model, on channels-last memory."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, *geometry: Any) -> Tensor:
        values = _channels_last(values)
        ctx.save_for_backward(values, weight)
        ctx.geometry = geometry
        parts = [
            functional.conv2d(*each, *geometry).permute(0, 2, 3, 1)
            for each in zip(values.unbind(), weight.unbind(), bias.unbind(), strict=True)
        ]
        return _one_above_the_other(parts).permute(0, 1, 4, 2, 3)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        values, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        gradient = _channels_last(gradient)
        of_values, is_needed = None, ctx.needs_input_grad[0]
        parts = [
            torch.ops.aten.convolution_backward(
                *each,
                [weight.shape[1]],
                stride,
                padding,
                dilation,
                False,
                [0, 0],
                groups,
                [is_needed, True, True],
            )
            for each in zip(gradient.unbind(), values.unbind(), weight.unbind(), strict=True)
        ]
        if is_needed:
            last = _one_above_the_other([of_images.permute(0, 2, 3, 1) for of_images, _, _ in parts])
            of_values = last.permute(0, 1, 4, 2, 3)
        of_weight, of_bias = (_one_above_the_other([each[i] for each in parts]) for i in (1, 2))
        return of_values, of_weight, of_bias, None, None, None, None


def _flattening(module: nn.Flatten) -> Layer | None:
    own: Any = (module.start_dim, module.end_dim)
    return (lambda weights, values, draw: values.flatten(2)) if own == (1, -1) else None


def _pooling(module: nn.MaxPool2d) -> Layer | None:
    """Pooling by torch's own, which is several times as fast on channels-last memory."""

    def pool(weights: Tensors, values: Tensor, draw: Draw | None) -> Tensor:
        flat: Tensor = module(values.flatten(0, 1))
        pooled = flat.permute(0, 2, 3, 1).unflatten(0, values.shape[:2])  # type: ignore[no-untyped-call]
        result: Tensor = pooled.permute(0, 1, 4, 2, 3)
        return result

    return None if module.return_indices else pool


_TRANSLATIONS: dict[type[nn.Module], Callable[[str, Any], Layer | None]] = {
    nn.Linear: lambda name, module: _Linear(name, module.bias is not None),
    nn.MaxPool2d: lambda name, module: _pooling(module),
    nn.Flatten: lambda name, module: _flattening(module),
    nn.ReLU: lambda name, module: lambda weights, values, draw: functional.relu(values),
    nn.Identity: lambda name, module: lambda weights, values, draw: values,
    Center: lambda name, module: lambda weights, values, draw: module(values),
    SeededDropout: lambda name, module: lambda weights, values, draw: _thinned(module, values, draw),
    OutputCodeHead: lambda name, module: _CodeHead(_Linear(f"{name}encoder.", True), module),
}
