"""Other ways to get a gradient from workers who may lie: one round, raw data, an aggregation rule.

Each worker holds a part of the data and returns the gradient of its losses; the master combines them.

* plain distributed gradient descent: ``m`` disjoint parts, the sum. One liar decides.
* repetition (DRACO, Chen et al., ICML 2018): groups of at least ``2 t + 1`` workers hold the same part,
  the answer that ``t + 1`` of them agree on counts. Exact, at ``2 t + 1`` times the storage and work.
* coordinate median, trimmed mean, Krum: ``m`` disjoint parts, ``m`` times the robust center of the
  answers. Not exact even without liars, because the parts differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation import coordinate_median, krum, mean, trimmed_mean
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.protocols.encoded_gradient.objectives import Objective

__all__ = ["BASELINES", "Baseline", "Partition", "Repetition", "RobustCenter", "get_baseline"]

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Partition:
    """Raw data of one worker.

    Parameters
    ----------
    features : ndarray of shape (n_i, d), float64
    targets : ndarray of shape (n_i,), float64
    """

    features: Reals
    targets: Reals

    @property
    def num_numbers(self) -> int:
        """Numbers stored."""
        return self.features.size + self.targets.size

    def gradient(self, objective: Objective, weights: Reals) -> Reals:
        """Gradient of the losses of this part, without penalties."""
        slopes = objective.slopes(self.features @ weights, self.targets)
        return np.asarray(self.features.T @ slopes)


class Baseline(ABC):
    """A way to spread data over workers and to combine their gradients."""

    @abstractmethod
    def spread(self, features: Reals, targets: Reals, num_workers: int) -> list[Partition]:
        """Return each worker's part."""

    @abstractmethod
    def combine(self, gradients: Mapping[int, Reals], num_workers: int) -> Reals:
        """Combine the finite gradients that arrived, by worker, to that of all data.

        Raises
        ------
        DecodingError
            If they do not suffice.
        """


@dataclass(frozen=True)
class RobustCenter(Baseline):
    """Disjoint parts, and ``m`` times a center of the answers; the mean makes it plain distributed descent.

    Parameters
    ----------
    rule : {"mean", "median", "trimmed-mean", "krum"}
    num_byzantine : int
        ``t``, for the rules that want to know.
    """

    rule: str = "mean"
    num_byzantine: int = 0

    def __post_init__(self) -> None:
        if self.rule not in ("mean", "median", "trimmed-mean", "krum"):
            raise ParameterError("rule", "must be mean, median, trimmed-mean or krum", self.rule)

    def spread(self, features: Reals, targets: Reals, num_workers: int) -> list[Partition]:
        """Cut the rows into ``m`` parts of nearly equal size."""
        return _parts(features, targets, num_workers)

    def combine(self, gradients: Mapping[int, Reals], num_workers: int) -> Reals:
        """Scale the center of the answers to the whole of the data."""
        if not gradients:
            raise DecodingError("no worker answered", received=0, needed=1)
        vectors = np.stack([gradients[worker] for worker in sorted(gradients)])
        missing = num_workers - len(vectors)
        expected = max(self.num_byzantine - missing, 0)
        if self.rule == "median":
            center = coordinate_median(vectors)
        elif self.rule == "trimmed-mean":
            center = trimmed_mean(vectors, expected)
        elif self.rule == "krum":
            center = krum(vectors, min(expected, (len(vectors) - 3) // 2))
        else:
            center = mean(vectors)
        return np.asarray(num_workers * center)


@dataclass(frozen=True)
class Repetition(Baseline):
    """Groups of at least ``2 t + 1`` workers with the same data; the majority of each group counts.

    Parameters
    ----------
    num_errors : int
        ``t``.
    tolerance : float
        Answers that differ by this much, relative to the larger, agree: workers may round differently.
    """

    num_errors: int
    tolerance: float = 1e-9

    def groups(self, num_workers: int) -> list[NDArray[np.int64]]:
        """Return the workers of each group, ``floor(m / (2 t + 1))`` of them."""
        count = num_workers // (2 * self.num_errors + 1)
        if count < 1:
            raise ParameterError("num_workers", f"must be at least {2 * self.num_errors + 1}", num_workers)
        return [np.asarray(part) for part in np.array_split(np.arange(num_workers), count)]

    def spread(self, features: Reals, targets: Reals, num_workers: int) -> list[Partition]:
        """Give every worker of a group the same part."""
        groups = self.groups(num_workers)
        parts = _parts(features, targets, len(groups))
        return [part for part, group in zip(parts, groups, strict=True) for _ in group]

    def combine(self, gradients: Mapping[int, Reals], num_workers: int) -> Reals:
        """Sum the majorities."""
        majorities = [self._majority(gradients, group) for group in self.groups(num_workers)]
        return np.asarray(np.sum(majorities, axis=0))

    def _majority(self, gradients: Mapping[int, Reals], group: Iterable[int]) -> Reals:
        answers = np.stack([gradients[w] for w in group if w in gradients] or [np.full(1, np.nan)])
        sizes = np.linalg.norm(answers, axis=1)
        apart = np.linalg.norm(answers[:, None] - answers[None], axis=2)
        agree = (apart <= self.tolerance * np.maximum(sizes[:, None], sizes[None])).sum(axis=1)
        best = int(np.argmax(agree))
        if agree[best] < self.num_errors + 1:
            raise DecodingError(
                "no answer has a majority in its group", received=int(agree[best]), needed=self.num_errors + 1
            )
        return np.asarray(answers[best])


BASELINES = ("plain", "repetition", "median", "trimmed-mean", "krum")
"""Names that :func:`get_baseline` knows."""


def get_baseline(name: str, num_errors: int) -> Baseline:
    """Make a baseline by name.

    Parameters
    ----------
    name : str
        One of :data:`BASELINES`.
    num_errors : int
        ``t``.

    Returns
    -------
    Baseline

    Raises
    ------
    ParameterError
        If the name is unknown.

    Examples
    --------
    >>> get_baseline("median", 2)
    RobustCenter(rule='median', num_byzantine=2)
    """
    if name not in BASELINES:
        raise ParameterError("name", f"must be one of {', '.join(BASELINES)}", name)
    if name == "repetition":
        return Repetition(num_errors)
    return RobustCenter("mean" if name == "plain" else name, num_errors)


def _parts(features: Reals, targets: Reals, count: int) -> list[Partition]:
    cuts = np.array_split(np.arange(len(targets)), count)
    return [Partition(features[cut], targets[cut]) for cut in cuts]
