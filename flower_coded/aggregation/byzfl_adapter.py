"""Aggregators of the library ByzFL as rules of this package, for comparisons.

ByzFL (https://byzfl.epfl.ch, an optional dependency) passes NaN through most of its rules, so that rows that
are not finite are removed before it sees them, and its ``f`` lowered by as many. A fresh aggregator is made
for each call: its centered clipping remembers the last result otherwise. It computes on NumPy arrays in
float64 here, as tensors would be rounded to float32.

Two definitions differ from this package's: ByzFL's Krum and multi-Krum sum over ``n - f - 1`` neighbors
instead of ``n - f - 2``, and multi-Krum keeps ``n - f`` vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from flower_coded.aggregation.blocks import stored
from flower_coded.aggregation.interface import AggregationRule
from flower_coded.aggregation.vectors import finite_part
from flower_coded.codes.array_namespace import Array, constant_like, to_numpy
from flower_coded.errors import ParameterError

__all__ = ["ByzflRule"]


@dataclass(frozen=True)
class ByzflRule(AggregationRule):
    """A ByzFL aggregator behind the interface of this package.

    Attributes
    ----------
    aggregator : str
        A class of ``byzfl``: ``"TrMean"``, ``"Krum"``, ``"GeometricMedian"``, ``"CAF"`` …
    parameters : dict
        What the class is made with, ``{"f": 2}`` say.

    Raises
    ------
    ParameterError
        If ByzFL is not installed, has no such aggregator, or refuses the parameters or the number of vectors.
    """

    aggregator: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the aggregator once, so that a mistake is found here."""
        super().__post_init__()
        self._make(0)

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Remove rows that are not finite, then let ByzFL aggregate."""
        present, num_lost = finite_part(updates)
        try:
            result = self._make(num_lost)(to_numpy(stored(present)).astype(np.float64))
        except ValueError as error:
            raise ParameterError(
                "updates", f"must suit {self.aggregator}", len(present), hint=str(error)
            ) from None
        return constant_like(np.asarray(result, dtype=np.float64), updates)

    def _make(self, num_lost: int) -> Any:
        made: Any = getattr(_byzfl(self.aggregator), self.aggregator, None)
        if getattr(made, "__module__", None) != "byzfl.aggregators.aggregators":
            raise ParameterError(
                "aggregator", "must be an aggregator of byzfl", self.aggregator, hint="TrMean"
            )
        parameters = dict(self.parameters)
        if isinstance(parameters.get("f"), int) and parameters["f"] >= 0:
            parameters["f"] = max(parameters["f"] - num_lost, 0)
        try:
            return made(**parameters)
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"parameters of {self.aggregator}", "must suit ByzFL", self.parameters, hint=str(error)
            ) from None


def _byzfl(aggregator: str) -> ModuleType:
    try:
        import byzfl
    except ImportError as error:
        raise ParameterError(
            "aggregator", "needs the package byzfl", aggregator, hint="pip install 'flower-coded[byzfl]'"
        ) from error
    assert isinstance(byzfl, ModuleType)
    return byzfl
