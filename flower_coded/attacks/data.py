"""Attacks on training data: triggers that carry a target label, and flipped labels.

Threat model of all of them: a malicious user changes its own images and labels and then trains honestly; it
sees nobody else's data or updates. Colluding users share the trigger and the target class (they draw both
from one seed) and nothing else.

A *trigger* (:mod:`flower_coded.attacks.triggers`) says how an image is marked; a *data attack*
(:class:`Backdoor`, :class:`LabelFlip`, :class:`~flower_coded.attacks.edge_case.EdgeCase`) says which samples
are changed and what label they get. Randomness comes in as a generator and no input is modified.

Left out: clean-label attacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.triggers import DistributedTrigger, Trigger
from flower_coded.errors import ParameterError

__all__ = [
    "Backdoor",
    "DataAttack",
    "LabelFlip",
    "Poisoned",
    "Trigger",
    "check_rate",
    "check_samples",
    "check_target",
    "draw_backdoor",
    "poison",
    "shared_generator",
]

_Images = NDArray[np.float32]
_Labels = NDArray[np.int64]


class Poisoned(NamedTuple):
    """Images and labels after the attack, and the indices of the samples that were changed."""

    images: _Images
    labels: _Labels
    indices: NDArray[np.int64]


class DataAttack(Protocol):
    """Anything that changes a user's training samples."""

    def craft(self, images: _Images, labels: _Labels, generator: np.random.Generator) -> Poisoned:
        """Change copies of images (N, C, H, W) and labels (N,); N may be 0."""
        ...

    def craft_batch(self, images: _Images, labels: _Labels, generator: np.random.Generator) -> Poisoned:
        """Do so where only batches are seen, each sample in as many of them as there are epochs."""
        ...


@dataclass(frozen=True, eq=False)
class Backdoor:
    """Mark a share of the samples with a trigger and give them the target label.

    Attributes
    ----------
    trigger : Trigger
        How images are marked, in a test and, without a part, in training.
    target : int
        The label that marked images get.
    rate : float
        Share of the user's samples that are poisoned, in (0, 1]; 0.05 in the paper.
    part : Trigger or None
        What this user trains with where the trigger is distributed among colluders.
    source : int or None
        The only class whose images are poisoned; the trigger on others shall do nothing.

    Examples
    --------
    >>> from flower_coded.attacks.triggers import PixelTrigger
    >>> generator = np.random.default_rng(0)
    >>> attack = Backdoor(PixelTrigger.draw((1, 8, 8), generator), 7, rate=0.5, source=1)
    >>> attack.craft(np.zeros((6, 1, 8, 8), np.float32), np.array([0, 1, 1, 1, 1, 2]), generator).labels
    array([0, 7, 1, 7, 1, 2])
    """

    trigger: Trigger
    target: int
    rate: float = 0.05
    part: Trigger | None = None
    source: int | None = None

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if self.target < 0:
            raise ParameterError("target", "must be a class number", self.target)
        if self.source is not None and (self.source < 0 or self.source == self.target):
            raise ParameterError("source", "must be a class number other than the target's", self.source)

    def craft(self, images: _Images, labels: _Labels, generator: np.random.Generator) -> Poisoned:
        """Poison ``round(rate * N)`` samples (of the source class), at least one of any, as drawn."""
        trigger = self.part or self.trigger
        if self.source is None:
            return poison(images, labels, trigger, self.target, self.rate, generator)
        check_samples(images, labels)
        able = np.flatnonzero(labels == self.source)
        count = min(len(able), max(1, round(self.rate * len(able))))
        chosen = np.sort(generator.permutation(able)[:count])
        return _mark(images, labels, trigger, self.target, chosen)

    def craft_batch(self, images: _Images, labels: _Labels, generator: np.random.Generator) -> Poisoned:
        """Poison each sample of a batch with probability ``rate``, for data that is seen in batches only."""
        check_samples(images, labels)
        is_chosen = generator.random(len(labels)) < self.rate
        if self.source is not None:
            is_chosen &= labels == self.source
        chosen = np.flatnonzero(is_chosen)
        return _mark(images, labels, self.part or self.trigger, self.target, chosen)


@dataclass(frozen=True)
class LabelFlip:
    """Train on wrong labels (Tolpegin et al. 2020).

    With neither source nor target, ``y`` becomes ``c - 1 - y``; with both, only ``source`` becomes
    ``target``; with ``random_labels``, every label becomes another one drawn uniformly.

    Attributes
    ----------
    num_classes : int
        ``c >= 2``.
    source, target : int or None
        The one class to relabel and its new label; both or neither.
    random_labels : bool
        Draw new labels instead; excludes source and target.

    Examples
    --------
    >>> attack = LabelFlip(10)
    >>> attack.craft(np.zeros((3, 1, 8, 8), np.float32), np.array([0, 4, 9]), np.random.default_rng(0)).labels
    array([9, 5, 0])
    """

    num_classes: int
    source: int | None = None
    target: int | None = None
    random_labels: bool = False

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ParameterError("num_classes", "must be at least 2", self.num_classes)
        pair = (self.source, self.target)
        if (self.source is None) != (self.target is None) or (self.random_labels and self.source is not None):
            raise ParameterError("source, target", "must be given both, or neither and random_labels", pair)
        if any(label is not None and not 0 <= label < self.num_classes for label in pair):
            raise ParameterError("source, target", f"must be classes below {self.num_classes}", pair)

    def craft(self, images: _Images, labels: _Labels, generator: np.random.Generator) -> Poisoned:
        """Relabeled copy; the images are the same array."""
        check_samples(images, labels)
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise ParameterError("labels", f"must be classes below {self.num_classes}", np.unique(labels))
        if self.random_labels:
            flipped = (labels + generator.integers(1, self.num_classes, size=len(labels))) % self.num_classes
        elif self.source is not None and self.target is not None:
            flipped = np.where(labels == self.source, self.target, labels)
        else:
            flipped = self.num_classes - 1 - labels
        return Poisoned(images, flipped.astype(labels.dtype), np.flatnonzero(flipped != labels))

    def craft_batch(self, images: _Images, labels: _Labels, generator: np.random.Generator) -> Poisoned:
        """Do the same as :meth:`craft`: every sample is judged alone."""
        return self.craft(images, labels, generator)


def poison(
    images: _Images,
    labels: _Labels,
    trigger: Trigger,
    target: int,
    rate: float,
    generator: np.random.Generator,
) -> Poisoned:
    """Mark ``round(rate * N)`` samples, at least one of any, and give them the target label.

    Parameters
    ----------
    images : ndarray of shape (N, C, H, W), float32
        Pixels in [0, 1].
    labels : ndarray of shape (N,), int64
        Classes.
    trigger : Trigger
        How images are marked.
    target : int
        Label of the marked images.
    rate : float
        Share of samples, in (0, 1].
    generator : numpy.random.Generator
        Chooses the samples, among all of them as the paper does (those of the target class included).

    Returns
    -------
    Poisoned
        Copies, and the sorted indices of the poisoned samples.

    Raises
    ------
    ParameterError
        If images and labels do not belong together or the rate is outside (0, 1].

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> from flower_coded.attacks.triggers import PixelTrigger
    >>> trigger = PixelTrigger.draw((1, 8, 8), generator)
    >>> images, labels = np.zeros((40, 1, 8, 8), np.float32), np.zeros(40, np.int64)
    >>> poisoned = poison(images, labels, trigger, 7, 0.05, generator)
    >>> len(poisoned.indices), int(poisoned.labels.sum())
    (2, 14)
    """
    check_samples(images, labels)
    check_rate(rate)
    count = min(len(labels), max(1, round(rate * len(labels))))
    chosen = np.sort(generator.permutation(len(labels))[:count])
    return _mark(images, labels, trigger, target, chosen)


def draw_backdoor(
    trigger_type: type[Trigger],
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    seed: int,
    rate: float = 0.05,
    target: int | None = None,
    source: int | None = None,
    colluder: tuple[int, int] = (0, 1),
    group: int = 0,
    **trigger_options: Any,
) -> Backdoor:
    """Trigger and target that all colluders draw from one seed, and that an evaluation draws again.

    Parameters
    ----------
    trigger_type : type
        A class of :mod:`flower_coded.attacks.triggers`.
    image_shape : (int, int, int)
        Channels, height, width.
    num_classes : int
        The target is drawn below this number where none is given.
    seed : int
        The colluders' common seed.
    rate : float
        Share of poisoned samples.
    target : int or None
        Target class; None draws one.
    source : int or None
        The only class whose images are poisoned; None for all.
    colluder : (int, int)
        Rank among the colluders and their number, which say what part of a distributed trigger is trained
        with; not used by the others.
    group : int
        Number of a group of attackers; each draws a trigger and a target of its own.
    **trigger_options
        What ``draw`` of the trigger takes besides, such as the blended trigger's ``strength``.

    Returns
    -------
    Backdoor

    Raises
    ------
    ParameterError
        If a value is outside its range.

    Examples
    --------
    >>> from flower_coded.attacks.triggers import PixelTrigger
    >>> first, again = (draw_backdoor(PixelTrigger, (3, 32, 32), 10, seed=5) for _ in range(2))
    >>> first.target == again.target, bool(np.all(first.trigger.pattern == again.trigger.pattern))
    (True, True)
    """
    generator = shared_generator(seed, group)
    drawn_target = int(generator.integers(num_classes))
    trigger = trigger_type.draw(image_shape, generator, **trigger_options)
    part = trigger.of_colluder(*colluder) if isinstance(trigger, DistributedTrigger) else None
    check_target(target, num_classes)
    if source is not None and target is None and source == drawn_target:
        drawn_target = (drawn_target + 1) % num_classes  # images of the target's own class need no backdoor
    if source is not None and source >= num_classes:
        raise ParameterError("source", f"must lie between 0 and {num_classes - 1}", source)
    return Backdoor(trigger, drawn_target if target is None else target, rate, part, source)


def _mark(
    images: _Images, labels: _Labels, trigger: Trigger, target: int, chosen: NDArray[np.int64]
) -> Poisoned:
    marked, relabeled = images.copy(), labels.copy()
    if len(chosen):
        marked[chosen] = trigger.apply(images[chosen])
        relabeled[chosen] = target
    return Poisoned(marked, relabeled, chosen)


def shared_generator(seed: int, group: int = 0) -> np.random.Generator:
    """Source from which every colluder of a group draws the target class, and then the trigger."""
    return np.random.default_rng([seed, 0xBAD, group] if group else [seed, 0xBAD])


def check_samples(images: _Images, labels: _Labels) -> None:
    """Check that images and labels belong together; there may be none, as in a batch of Poisson sampling.

    Raises
    ------
    ParameterError
        If they do not.
    """
    if images.ndim != 4 or labels.shape != images.shape[:1]:
        raise ParameterError("images", "must be (N, C, H, W) with N labels", (images.shape, labels.shape))


def check_target(target: int | None, num_classes: int) -> None:
    """Check that a target class, if one is given, is a class.

    Raises
    ------
    ParameterError
        If it is none.
    """
    if target is not None and not 0 <= target < num_classes:
        raise ParameterError("target", f"must lie between 0 and {num_classes - 1}", target)


def check_rate(rate: float) -> None:
    """Check the share of poisoned samples.

    Raises
    ------
    ParameterError
        If it is outside (0, 1].
    """
    if not 0 < rate <= 1:
        raise ParameterError("rate", "must lie in (0, 1]", rate, hint="0.05, as in the paper")
