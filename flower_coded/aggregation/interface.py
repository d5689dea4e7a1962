"""What an aggregation rule is: parameters checked once, then updates in and one vector out.

All rules read NumPy arrays, torch tensors and lists of either, leave out rows that are not finite, and modify
nothing. A rule is a frozen object. What it must know beside the updates (what it remembers of earlier rounds,
who sent which row, an update of the server's own) is handed to it with a :class:`RoundContext`, and what it
wants to remember it gives back: whoever runs the rounds keeps it, and begins a run with nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import stored
from flower_coded.aggregation.lazy_rows import LazyRows
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import ParameterError

__all__ = ["AggregationRule", "BlockwiseRule", "Memory", "PreAggregation", "RoundContext"]

Memory = Mapping[str, Array]

_LEAST = {
    "num_threads": 1,
    "num_byzantine": 0,
    "num_selected": 1,
    "bucket_size": 1,
    "pivot": 0,
    "num_iterations": 1,
    "num_coordinates": 1,
    "max_subsets": 1,
    "max_steps": 1,
}


@dataclass(frozen=True, eq=False)
class RoundContext:
    """What a rule may be told beside the updates.

    Attributes
    ----------
    generator : numpy.random.Generator or None
        For rules that draw.
    participants : tuple of int, or None
        Who sent which row, for rules that remember; the number of the row if absent.
    root_update : array of shape (d,), or None
        An update that the server trained itself, on data that it trusts (:class:`FLTrust`).
    memory : mapping of str to array
        What the rule gave back in the round before; empty in the first.
    """

    generator: np.random.Generator | None = None
    participants: tuple[int, ...] | None = None
    root_update: Array | None = None
    memory: Memory = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AggregationRule(ABC):
    """What makes one vector of many.

    Attributes
    ----------
    num_threads : int
        Threads that share the work on a CPU.
    """

    reads_lazy_rows: ClassVar[bool] = False
    """Whether ``aggregate`` takes :class:`~flower_coded.aggregation.lazy_rows.LazyRows` as well."""

    num_threads: int = 1

    def __post_init__(self) -> None:
        """Check the counts among the attributes."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name in _LEAST and value is not None:
                _check_count(entry.name, value, _LEAST[entry.name])

    @abstractmethod
    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Make one vector of many, of one round by itself.

        Parameters
        ----------
        updates : array of shape (n, d)
            NumPy or torch.
        generator : numpy.random.Generator or None
            For rules that draw (:class:`Bucketing`).

        Returns
        -------
        array of shape (d,), float64
            Of the same kind.

        Raises
        ------
        ParameterError
            If the array is not two-dimensional, or ``n`` too small for the faults expected.
        DecodingError
            If too few rows are finite.
        """

    def aggregate_in_round(self, updates: Array, context: RoundContext) -> tuple[Array, Memory]:
        """Make one vector of many, and say what is to be remembered.

        Parameters
        ----------
        updates : array of shape (n, d)
            NumPy or torch.
        context : RoundContext

        Returns
        -------
        (array of shape (d,), mapping)
            The aggregate in float64, and the memory of the next round's context.

        Raises
        ------
        ParameterError, DecodingError
            As :meth:`aggregate`; also if the context lacks what the rule needs.
        """
        return self.aggregate(updates, context.generator), {}

    def select(self, updates: Array) -> NDArray[np.int64] | None:
        """Find the rows whose mean the rule returns, best first; None for rules that use every row in part.

        Parameters
        ----------
        updates : array of shape (n, d)
            NumPy or torch.

        Returns
        -------
        ndarray of shape (q,), int64, or None

        Raises
        ------
        ParameterError, DecodingError
            As :meth:`aggregate`.
        """
        del updates
        return None


class BlockwiseRule(AggregationRule):
    """A rule made of the passes in :mod:`~flower_coded.aggregation.blocks`, which read lazy rows too."""

    reads_lazy_rows: ClassVar[bool] = True


@dataclass(frozen=True)
class PreAggregation(BlockwiseRule):
    """A step before a rule.

    Attributes
    ----------
    rule : AggregationRule
        What is done to the vectors behind the step.
    """

    rule: AggregationRule

    @abstractmethod
    def prepare(self, updates: Array, generator: np.random.Generator | None = None) -> LazyRows:
        """Change the vectors, without making a copy of them."""

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Prepare, then aggregate."""
        return self.rule.aggregate(self._readable(updates, generator), generator)

    def aggregate_in_round(self, updates: Array, context: RoundContext) -> tuple[Array, Memory]:
        """Prepare, then aggregate with what the rule remembers."""
        prepared = self._readable(updates, context.generator)
        if len(prepared) != len(updates):  # its rows are nobody's any more
            context = replace(context, participants=None)
        return self.rule.aggregate_in_round(prepared, context)

    def _readable(self, updates: Array, generator: np.random.Generator | None) -> Any:
        prepared = self.prepare(updates, generator)
        return prepared if self.rule.reads_lazy_rows else stored(prepared, num_threads=self.num_threads)


def _check_count(name: str, value: int, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ParameterError(name, f"must be an integer of at least {least}", value)
