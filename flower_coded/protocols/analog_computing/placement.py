"""Who got which evaluation point: between results by worker and words of the code by evaluation index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.errors import ParameterError

__all__ = ["Placement"]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Placement:
    """The workers on the code's circle.

    Parameters
    ----------
    code : AnalogLagrangeCode
        The code.
    order : ndarray of shape (N,), int
        Evaluation index of each worker.

    Raises
    ------
    ParameterError
        If an index is missing or there twice.

    Examples
    --------
    >>> placement = Placement(AnalogLagrangeCode(3, 1, 0), np.array([2, 0, 1]))
    >>> words, present = placement.words({0: np.array([[7.0 + 0j]])})
    >>> words.ravel().real.tolist(), placement.workers_at(present), placement.missing({0: words})
    ([0.0, 0.0, 7.0], (0,), (1, 2))
    """

    code: AnalogLagrangeCode
    order: IntArray

    def __post_init__(self) -> None:
        """Check that the order is one."""
        if sorted(self.order.tolist()) != list(range(self.code.num_workers)):
            requirement = "must name every evaluation index once"
            raise ParameterError("evaluation_order", requirement, self.order.tolist())

    def words(self, results: Mapping[int, ComplexArray]) -> tuple[ComplexArray, BoolArray]:
        """Put results in order of evaluation index, and flag those present: shapes (N, entries), (N,)."""
        size = next((values.size for values in results.values()), 0)
        words = np.zeros((self.code.num_workers, size), dtype=np.complex128)
        present = np.zeros(self.code.num_workers, dtype=bool)
        for worker, values in results.items():
            words[self.order[worker]] = values.ravel()
            present[self.order[worker]] = True
        return words, present

    def interpolate(self, results: Mapping[int, ComplexArray]) -> tuple[BoolArray, FloatArray]:
        """Rebuild the blocks' values from these results alone; gives the evaluation indices used too."""
        shape = next(iter(results.values())).shape
        words, present = self.words(results)
        return present, np.asarray(self.code.reconstruct(words, present)).reshape(-1, *shape)

    def missing(self, results: Mapping[int, ComplexArray]) -> tuple[int, ...]:
        """Name the workers without a result."""
        return tuple(worker for worker in range(self.code.num_workers) if worker not in results)

    def by_index(self, of_workers: BoolArray) -> BoolArray:
        """Reorder flags of workers by evaluation index."""
        flags = np.zeros(self.code.num_workers, dtype=bool)
        flags[self.order] = of_workers
        return flags

    def workers_at(self, of_indices: BoolArray) -> tuple[int, ...]:
        """Name the workers whose evaluation index is flagged."""
        return tuple(int(worker) for worker in np.flatnonzero(of_indices[self.order]))
