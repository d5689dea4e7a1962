"""What a stream of answers leaves behind, in bounded memory.

A sample on which all models agree says nothing about an attack: it is only counted. Of the others every
distinct vector of answers is kept with the number of samples it stands for. When there are more distinct
vectors than the memory holds, a random sample of the *newest and the oldest alike* stays, each vector with a
chance proportional to its count where that is below the threshold, and with a count that keeps every
expectation what it was (the threshold sampling of Duffield, Lund and Thorup 2007, "priority sampling").
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.confusion import distinct_answers

__all__ = ["AnswerMemory"]


@dataclass(frozen=True)
class AnswerMemory:
    """Distinct answers of a stream with their counts.

    Parameters
    ----------
    vectors : ndarray of shape (V, m), int64
        Answers on which the models disagree.
    counts : ndarray of shape (V,), float64
        The samples each stands for.
    num_unanimous : int
        Samples on which all models agreed.
    num_samples : int
        All samples seen.

    Examples
    --------
    >>> memory = AnswerMemory.empty(2).extended(np.array([[0, 1, 0], [2, 1, 2]]), num_classes=3, capacity=8)
    >>> memory.vectors.tolist(), memory.counts.tolist(), memory.num_unanimous
    ([[0, 2]], [2.0], 1)
    """

    vectors: NDArray[np.int64] = field(repr=False)
    counts: NDArray[np.float64] = field(repr=False)
    num_unanimous: int = 0
    num_samples: int = 0

    @classmethod
    def empty(cls, num_models: int) -> AnswerMemory:
        """Nothing seen yet."""
        return cls(np.empty((0, num_models), dtype=np.int64), np.empty(0))

    def extended(self, answers: NDArray[np.int64], *, num_classes: int, capacity: int) -> AnswerMemory:
        """Add a batch.

        Parameters
        ----------
        answers : ndarray of shape (m, B), int64
            Checked predictions.
        num_classes : int
            ``c``.
        capacity : int
            Distinct vectors kept at most.

        Returns
        -------
        AnswerMemory
        """
        vectors, _, counts = distinct_answers(answers, num_classes)
        agree = (vectors == vectors[:, :1]).all(axis=1)
        together, inverse, _ = distinct_answers(
            np.concatenate([self.vectors, vectors[~agree]]).T, num_classes
        )
        both = np.concatenate([self.counts, counts[~agree].astype(np.float64)])
        totals: NDArray[np.float64] = np.bincount(inverse, both, minlength=len(together)).astype(np.float64)
        num_samples = self.num_samples + answers.shape[1]
        if len(together) > capacity:
            # The draw is a function of what was seen, so that a stream always leaves the same memory.
            generator = np.random.default_rng([num_samples, len(together)])
            kept, totals = _priority_sample(totals, capacity, generator)
            together = together[kept]
        return AnswerMemory(together, totals, self.num_unanimous + int(counts[agree].sum()), num_samples)


def _priority_sample(
    counts: NDArray[np.float64], capacity: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Keep ``capacity`` entries; the expectation of every kept count is the count."""
    priority = counts / (1.0 - generator.random(len(counts)))
    order = np.argsort(-priority, kind="stable")
    threshold = priority[order[capacity]]
    kept = np.sort(order[:capacity])
    return kept, np.maximum(counts[kept], threshold)
