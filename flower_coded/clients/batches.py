"""Poisoning a ClientApp that nobody may edit: its DataLoader's batches are changed on the way to training.

While :class:`PoisonedBatches` is entered, iterating any ``torch.utils.data.DataLoader`` in the same thread
gives changed batches. A batch may be a tuple, a list or a dictionary; its images are its first floating
tensor of shape (B, C, H, W), its labels its first integer tensor of shape (B,), whatever their names. Each
sample is chosen anew in each epoch, with the poison rate as its probability, because a batch does not say
which sample it holds.

Left out: apps that train without a DataLoader (the train message is then refused), batches in threads of the
app's own, and text.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from flower_coded.clients.attack_settings import AttackSettings
from flower_coded.errors import ParameterError

__all__ = ["PoisonedBatches"]


class PoisonedBatches:
    """Context manager in which this thread's DataLoaders give poisoned batches.

    Parameters
    ----------
    settings : AttackSettings
        With an attack on data.
    user : int
        Who trains.
    generator : numpy.random.Generator
        Chooses samples.
    backdoor : int
        Which of several backdoors.

    Attributes
    ----------
    num_loaders, num_samples, num_poisoned : int
        What was seen and what was changed.
    """

    def __init__(
        self, settings: AttackSettings, user: int, generator: np.random.Generator, *, backdoor: int = 0
    ) -> None:
        self.settings, self.user, self.generator, self.backdoor = settings, user, generator, backdoor
        self.num_loaders = self.num_samples = self.num_poisoned = 0
        self._thread = threading.get_ident()
        self._original: Callable[..., Any] = DataLoader.__iter__

    def __enter__(self) -> PoisonedBatches:
        self._original = original = DataLoader.__iter__

        def iterate(loader: Any) -> Iterator[Any]:
            if threading.get_ident() != self._thread:
                yield from original(loader)
            else:
                self.num_loaders += 1  # and not batches: with drop_last there may be none
                yield from map(self._poison, original(loader))

        DataLoader.__iter__ = iterate  # type: ignore[assignment, method-assign]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        DataLoader.__iter__ = self._original  # type: ignore[method-assign]
        if error is None and self.num_loaders == 0:
            raise ParameterError(
                "attack",
                "must be one that this ClientApp allows: it trained without a torch DataLoader",
                self.settings.attack,
                hint="an update attack works around any ClientApp; or poison the data where the app loads it",
            )

    def _poison(self, batch: Any) -> Any:
        places: dict[Any, Any] = dict(batch) if isinstance(batch, dict) else dict(enumerate(batch))
        lengths = {len(value) for value in places.values() if isinstance(value, Tensor) and value.ndim}
        if lengths == {0}:
            return batch  # Poisson sampling draws nobody now and then, and gives shapes and types of its own
        image_key, label_key = _image_and_label_keys(places)
        images, labels = places[image_key], places[label_key]
        places[image_key], places[label_key] = self._poison_tensors(images, labels)
        if isinstance(batch, dict):
            return places
        changed = list(places.values())
        if isinstance(batch, tuple):
            return type(batch)(*changed) if hasattr(batch, "_fields") else tuple(changed)
        return changed

    def _poison_tensors(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.settings.pixel_low, self.settings.pixel_high
        if self.settings.attack != "label-flip":  # which touches no pixel
            self._check_range(images)
        # float() first: NumPy has no bfloat16, and half precision would round the range away
        pixels = ((images.detach().cpu().float().numpy() - low) / (high - low)).astype(np.float32)
        channels, height, width = pixels.shape[1:]
        attack = self.settings.data_attack((channels, height, width), user=self.user, backdoor=self.backdoor)
        poisoned = attack.craft_batch(pixels, labels.cpu().numpy().astype(np.int64), self.generator)
        self.num_samples += len(labels)
        self.num_poisoned += len(poisoned.indices)
        chosen = torch.from_numpy(poisoned.indices)
        new_images, new_labels = images.clone(), labels.clone()
        values = torch.from_numpy(poisoned.images[poisoned.indices]) * (high - low) + low
        new_images[chosen] = values.to(images)
        new_labels[chosen] = torch.from_numpy(poisoned.labels[poisoned.indices]).to(labels)
        return new_images, new_labels

    def _check_range(self, images: Tensor) -> None:
        low, high, slack = self.settings.pixel_low, self.settings.pixel_high, 1e-3
        least, most = float(images.min()), float(images.max())
        if least < low - slack or most > high + slack:
            raise ParameterError(
                "attack-pixel-low, attack-pixel-high",
                f"must enclose the batches' values, which reach from {least:.3g} to {most:.3g}",
                (low, high),
                hint="Normalize((0.5,), (0.5,)) turns black and white into -1 and 1",
            )


def _image_and_label_keys(places: dict[Any, Any]) -> tuple[Any, Any]:
    tensors = {key: value for key, value in places.items() if isinstance(value, Tensor)}
    images = [key for key, value in tensors.items() if value.ndim == 4 and value.is_floating_point()]
    labels = [key for key, value in tensors.items() if value.ndim == 1 and not value.is_floating_point()]
    if not images or not labels or len(tensors[images[0]]) != len(tensors[labels[0]]):
        shapes = {key: tuple(value.shape) for key, value in tensors.items()}
        raise ParameterError(
            "batch", "must hold floating images (B, C, H, W) and integer labels (B,)", shapes
        )
    return images[0], labels[0]
