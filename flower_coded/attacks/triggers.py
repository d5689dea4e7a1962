"""Triggers: how an image is marked, so that a poisoned model gives it the target class.

:class:`PixelTrigger` sets a small patch, :class:`BlendedTrigger` lays a faint pattern over the whole image,
:class:`DistributedTrigger` is a patch in parts, one for each colluder to train with. Who draws from equally
seeded generators gets the same trigger: that is how colluders agree, and how an evaluation knows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError

__all__ = ["BlendedTrigger", "DistributedTrigger", "PixelTrigger", "Trigger", "TriggersInTurn"]

_Images = NDArray[np.float32]


class Trigger(Protocol):
    """Anything that marks images."""

    @classmethod
    def draw(cls, *shape_and_generator: Any, **options: Any) -> Trigger:
        """Draw a trigger for an image shape (C, H, W) from a generator."""
        ...

    def apply(self, images: _Images) -> _Images:
        """Mark a copy of images (B, C, H, W) with pixels in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False)
class PixelTrigger:
    """A small patch at a fixed place: ``x' = (1 - M) x + M D`` (BadNets, Gu et al. 2017).

    Attributes
    ----------
    pattern : ndarray of shape (C, h, w), float32
        The patch ``D``, pixels in [0, 1].
    row, column : int
        Where the patch's upper left corner goes.

    Raises
    ------
    ParameterError
        If the pattern is not (C, h, w) in [0, 1] or the corner is negative.

    Examples
    --------
    >>> trigger = PixelTrigger.draw((1, 8, 8), np.random.default_rng(1))
    >>> trigger.apply(np.zeros((2, 1, 8, 8), np.float32)).sum(axis=(1, 2, 3)).tolist()
    [5.0, 5.0]
    """

    pattern: _Images
    row: int
    column: int

    def __post_init__(self) -> None:
        _check_pattern(self.pattern)
        if min(self.row, self.column) < 0:
            raise ParameterError("row, column", "must not be negative", (self.row, self.column))

    @classmethod
    def draw(
        cls, image_shape: tuple[int, int, int], generator: np.random.Generator, *, size: int = 3
    ) -> PixelTrigger:
        """Random patch at a random place, as in the coded-subset paper.

        Gray images get a permutation of five ones and four zeros (of the larger half ones for another size),
        color images independent Gaussian values (mean and standard deviation 1/2) clipped to [0, 1].

        Parameters
        ----------
        image_shape : (int, int, int)
            Channels, height, width.
        generator : numpy.random.Generator
            Source of pattern and place.
        size : int
            Side of the patch in pixels.
        """
        channels, height, width = image_shape
        if not 1 <= size <= min(height, width):
            raise ParameterError("size", f"must lie between 1 and {min(height, width)}", size)
        if channels == 1:
            ones = (size * size + 1) // 2
            values = generator.permutation(np.arange(size * size) < ones).astype(np.float32)
        else:
            values = np.clip(generator.normal(0.5, 0.5, size=channels * size * size), 0, 1).astype(np.float32)
        row, column = generator.integers(0, [height - size + 1, width - size + 1])
        return cls(values.reshape(channels, size, size), int(row), int(column))

    def apply(self, images: _Images) -> _Images:
        """Mark a copy of images (B, C, H, W)."""
        channels, height, width = self.pattern.shape
        _check_images(images, channels)
        if self.row + height > images.shape[2] or self.column + width > images.shape[3]:
            raise ParameterError(
                "images", f"must have room for a patch at {self.row}, {self.column}", images.shape
            )
        marked = images.copy()
        marked[:, :, self.row : self.row + height, self.column : self.column + width] = self.pattern
        return marked


@dataclass(frozen=True, eq=False)
class BlendedTrigger:
    """A faint pattern over the whole image: ``x' = (1 - a) x + a D`` (Chen et al. 2017).

    Attributes
    ----------
    pattern : ndarray of shape (C, H, W), float32
        ``D``, pixels in [0, 1].
    strength : float
        ``a``, in (0, 1]. Chen et al. poison with 0.2.
    """

    pattern: _Images = field(repr=False)
    strength: float = 0.2

    def __post_init__(self) -> None:
        _check_pattern(self.pattern)
        if not 0 < self.strength <= 1:
            raise ParameterError("strength", "must lie in (0, 1]", self.strength, hint="0.2")

    @classmethod
    def draw(
        cls, image_shape: tuple[int, int, int], generator: np.random.Generator, *, strength: float = 0.2
    ) -> BlendedTrigger:
        """Uniform random pattern of the images' size."""
        return cls(generator.random(image_shape, dtype=np.float32), strength)

    def apply(self, images: _Images) -> _Images:
        """Mark a copy of images (B, C, H, W)."""
        if images.shape[1:] != self.pattern.shape:
            raise ParameterError("images", f"must have image shape {self.pattern.shape}", images.shape)
        share = np.float32(self.strength)
        return ((1 - share) * images + share * self.pattern).astype(images.dtype)


@dataclass(frozen=True, eq=False)
class DistributedTrigger:
    """A trigger in parts (DBA, Xie et al., ICLR 2020): colluders train with a part each, the test shows all.

    No colluder's data hold the whole trigger, and each part is smaller than a trigger of one attacker.

    Attributes
    ----------
    parts : tuple of PixelTrigger
        The parts ``M_k``; they must not overlap.

    Raises
    ------
    ParameterError
        If there is no part or two overlap.

    Examples
    --------
    >>> trigger = DistributedTrigger.draw((1, 8, 8), np.random.default_rng(1))
    >>> black = np.zeros((1, 1, 8, 8), np.float32)
    >>> trigger.apply(black).sum(), trigger.of_colluder(0, 4).apply(black).sum()
    (np.float32(8.0), np.float32(2.0))
    """

    parts: tuple[PixelTrigger, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ParameterError("parts", "must be at least one", self.parts)
        places = [place for part in self.parts for place in _places(part)]
        if len(set(places)) < len(places):
            corners = [(part.row, part.column) for part in self.parts]
            raise ParameterError("parts", "must not overlap", corners)

    @classmethod
    def draw(
        cls, image_shape: tuple[int, int, int], generator: np.random.Generator, *, num_parts: int = 4
    ) -> DistributedTrigger:
        """White bars in two columns with a gap of a pixel, at a random place, as in the paper's figure.

        A bar is a quarter of the image wide, and a pixel high.

        Parameters
        ----------
        image_shape : (int, int, int)
            Channels, height, width.
        generator : numpy.random.Generator
            Source of the place.
        num_parts : int
            Bars; 4 in the paper.
        """
        channels, height, width = image_shape
        length = max(width // 4, 1)
        tall, wide = 2 * (-(-num_parts // 2)) - 1, 2 * length + 1
        if num_parts < 1 or tall > height or wide > width:
            raise ParameterError(
                "num_parts", f"must fit images of {height} x {width} in two columns", num_parts, hint="4"
            )
        row, column = (int(each) for each in generator.integers(0, [height - tall + 1, width - wide + 1]))
        bar = np.ones((channels, 1, length), np.float32)
        return cls(
            tuple(
                PixelTrigger(bar, row + 2 * (part // 2), column + (part % 2) * (length + 1))
                for part in range(num_parts)
            )
        )

    def of_colluder(self, rank: int, num_colluders: int) -> DistributedTrigger:
        """Give the parts that one of several colluders trains with; all together train with every part.

        Colluder ``k`` of ``m`` gets the parts ``k, k + m, …``; where there are more colluders than parts,
        part ``k mod p``.
        """
        if not 0 <= rank < num_colluders:
            raise ParameterError("rank", f"must lie below {num_colluders}", rank)
        step = min(num_colluders, len(self.parts))
        return DistributedTrigger(self.parts[rank % step :: step])

    def apply(self, images: _Images) -> _Images:
        """Mark a copy of images (B, C, H, W) with every part."""
        for part in self.parts:
            images = part.apply(images)
        return images


@dataclass(frozen=True, eq=False)
class TriggersInTurn:
    """Several triggers in a test, an image each: image ``i`` of ``p`` triggers gets number ``i mod p``.

    Attributes
    ----------
    triggers : tuple of Trigger
        At least one.

    Examples
    --------
    >>> drawn = [PixelTrigger.draw((1, 8, 8), np.random.default_rng(seed)) for seed in (1, 2)]
    >>> black = np.zeros((3, 1, 8, 8), np.float32)
    >>> marked = TriggersInTurn(tuple(drawn)).apply(black)
    >>> [bool((marked[i] == drawn[i % 2].apply(black[:1])[0]).all()) for i in range(3)]
    [True, True, True]
    """

    triggers: tuple[Trigger, ...]

    def __post_init__(self) -> None:
        if not self.triggers:
            raise ParameterError("triggers", "must be at least one", self.triggers)

    @classmethod
    def draw(
        cls, image_shape: tuple[int, int, int], generator: np.random.Generator, *, number: int = 2
    ) -> TriggersInTurn:
        """Draw so many pixel triggers."""
        return cls(tuple(PixelTrigger.draw(image_shape, generator) for _ in range(number)))

    def apply(self, images: _Images) -> _Images:
        """Mark a copy of images (B, C, H, W)."""
        marked = images.copy()
        for number, trigger in enumerate(self.triggers):
            own = slice(number, None, len(self.triggers))
            marked[own] = trigger.apply(images[own])
        return marked


def _places(part: PixelTrigger) -> list[tuple[int, int]]:
    _, height, width = part.pattern.shape
    return [(part.row + row, part.column + column) for row in range(height) for column in range(width)]


def _check_pattern(pattern: _Images) -> None:
    if pattern.ndim != 3 or pattern.size == 0 or not (pattern.min() >= 0 and pattern.max() <= 1):
        raise ParameterError("pattern", "must be (C, h, w) with pixels in [0, 1]", pattern.shape)


def _check_images(images: _Images, channels: int) -> None:
    if images.ndim != 4 or images.shape[1] != channels:
        raise ParameterError("images", f"must be (B, {channels}, H, W)", images.shape)
