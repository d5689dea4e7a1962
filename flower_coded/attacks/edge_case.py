"""Edge cases: rare samples get the target label, without any mark on them.

Inputs from the tail of the data are seldom seen by honest clients, so that nobody trains the backdoor away
again (Wang et al., "Attack of the tails", NeurIPS 2020). Theirs come from other data sets (planes of one
airline labeled as trucks); here they are the attacker's own samples of least likelihood,
that of one Gaussian per class with the classes' common variance per pixel.

Threat model: knows its own data only. The paper's attacker also keeps its update within a ball around the
global model (:class:`~flower_coded.attacks.poisoned_update.NormProjection`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.data import Poisoned, check_rate, check_samples, check_target, shared_generator
from flower_coded.errors import ParameterError

__all__ = ["EdgeCase", "tail_samples"]

_VARIANCE_FLOOR = 1e-2  # of a pixel's variance: pixels that are always black must not decide alone


@dataclass(frozen=True)
class EdgeCase:
    """Give the least likely samples of other classes the target label.

    Attributes
    ----------
    target : int
        The label that they get.
    rate : float
        Share of the user's samples that are relabeled, in (0, 1]; no more than there are of other classes.

    Examples
    --------
    >>> images = np.zeros((5, 1, 8, 8), np.float32)
    >>> images[3] = 1.0
    >>> EdgeCase(7, 0.2).craft(images, np.zeros(5, np.int64), np.random.default_rng(0)).labels
    array([0, 0, 0, 7, 0])
    """

    target: int
    rate: float = 0.05

    def __post_init__(self) -> None:
        check_rate(self.rate)
        if self.target < 0:
            raise ParameterError("target", "must be a class number", self.target)

    @classmethod
    def draw(cls, num_classes: int, *, seed: int, rate: float = 0.05, target: int | None = None) -> EdgeCase:
        """Draw the target class from the colluders' common seed where none is given."""
        check_target(target, num_classes)
        drawn = shared_generator(seed).integers(num_classes)
        return cls(int(drawn) if target is None else target, rate)

    def craft(
        self, images: NDArray[np.float32], labels: NDArray[np.int64], generator: np.random.Generator
    ) -> Poisoned:
        """Relabel ``round(rate * N)`` samples, at least one of any; the generator is not used."""
        return self._relabel(images, labels, max(1, round(self.rate * len(labels))))

    def craft_batch(
        self, images: NDArray[np.float32], labels: NDArray[np.int64], generator: np.random.Generator
    ) -> Poisoned:
        """Relabel the least likely of a batch, as many as ``N`` draws with probability ``rate`` give."""
        return self._relabel(images, labels, int(generator.binomial(len(labels), self.rate)))

    def _relabel(self, images: NDArray[np.float32], labels: NDArray[np.int64], count: int) -> Poisoned:
        check_samples(images, labels)
        chosen = np.sort(tail_samples(images, labels, count, without=self.target))
        relabeled = labels.copy()
        relabeled[chosen] = self.target
        return Poisoned(images, relabeled, chosen)


def tail_samples(
    images: NDArray[np.float32], labels: NDArray[np.int64], count: int, *, without: int | None = None
) -> NDArray[np.int64]:
    """Find the samples of least likelihood under a Gaussian per class.

    Parameters
    ----------
    images : ndarray of shape (N, C, H, W), float32
        Pixels in [0, 1].
    labels : ndarray of shape (N,), int64
        Classes.
    count : int
        Samples wanted.
    without : int or None
        A class whose samples are left out.

    Returns
    -------
    ndarray of shape (at most count,), int64
        Indices, the least likely first.

    Raises
    ------
    ParameterError
        If images and labels do not belong together.

    Examples
    --------
    >>> images = np.array([0.0, 0.1, 0.0, 0.9, 1.0, 0.5], np.float32).reshape(6, 1, 1, 1)
    >>> tail_samples(images, np.array([0, 0, 0, 1, 1, 1]), 2)
    array([5, 4])
    """
    check_samples(images, labels)
    if len(labels) == 0:
        return np.zeros(0, dtype=np.int64)
    pixels = images.reshape(len(images), -1).astype(np.float64)
    classes, members = np.unique(labels, return_inverse=True)
    means = np.stack([pixels[members == place].mean(axis=0) for place in range(len(classes))])
    apart = (pixels - means[members]) ** 2
    # One variance per pixel over all classes: a rare class has too few samples for one of its own.
    variance = apart.mean(axis=0)
    surprise = (apart / np.maximum(variance, _VARIANCE_FLOOR)).sum(axis=1)
    candidates = np.flatnonzero(labels != without) if without is not None else np.arange(len(labels))
    # Stable: which of equally unlikely samples is taken must not depend on the sort.
    order = np.argsort(-surprise[candidates], kind="stable")
    return np.asarray(candidates[order[:count]], dtype=np.int64)
