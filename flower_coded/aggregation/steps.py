"""Steps before a rule, as objects: mixing, buckets, clipping. Each holds the rule behind it.

What a step computes and where it comes from stands in the module of the function that it calls. The prepared
vectors are read as they are made (:mod:`~flower_coded.aggregation.lazy_rows`) by every rule that can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flower_coded.aggregation.interface import PreAggregation
from flower_coded.aggregation.lazy_rows import LazyRows
from flower_coded.aggregation.mixing import bucket_mixtures, nearest_neighbor_mixtures
from flower_coded.aggregation.norm_clipping import adaptively_clipped, check_norm, clipped
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import ParameterError

__all__ = ["AdaptiveClipping", "Bucketing", "NearestNeighborMixing", "StaticClipping"]


@dataclass(frozen=True)
class NearestNeighborMixing(PreAggregation):
    """A rule behind :func:`~flower_coded.aggregation.nearest_neighbor_mixing`.

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``2 f < n``.
    """

    num_byzantine: int

    def prepare(self, updates: Array, generator: np.random.Generator | None = None) -> LazyRows:
        """Mix."""
        return nearest_neighbor_mixtures(updates, self.num_byzantine, num_threads=self.num_threads)


@dataclass(frozen=True)
class Bucketing(PreAggregation):
    """A rule behind :func:`~flower_coded.aggregation.bucketing`; its ``aggregate`` needs a generator.

    Of the buckets' means there are ``ceil(n / s)``.

    Attributes
    ----------
    bucket_size : int
        ``s``.
    """

    bucket_size: int = 2

    def prepare(self, updates: Array, generator: np.random.Generator | None = None) -> LazyRows:
        """Draw buckets."""
        if generator is None:
            raise ParameterError(
                "generator", "must be given where buckets are drawn", None, hint="numpy.random.default_rng(0)"
            )
        return bucket_mixtures(updates, self.bucket_size, generator)


@dataclass(frozen=True)
class StaticClipping(PreAggregation):
    """A rule behind :func:`~flower_coded.aggregation.clip_norms`.

    Attributes
    ----------
    max_norm : float or None
        The median of the norms if absent.
    """

    max_norm: float | None = None

    def __post_init__(self) -> None:
        """Check the norm."""
        super().__post_init__()
        check_norm(self.max_norm)

    def prepare(self, updates: Array, generator: np.random.Generator | None = None) -> LazyRows:
        """Clip."""
        return clipped(updates, self.max_norm, num_threads=self.num_threads)


@dataclass(frozen=True)
class AdaptiveClipping(PreAggregation):
    """A rule behind :func:`~flower_coded.aggregation.clip_adaptively` (ARC).

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``2 f < n``.
    """

    num_byzantine: int

    def prepare(self, updates: Array, generator: np.random.Generator | None = None) -> LazyRows:
        """Clip the longest."""
        return adaptively_clipped(updates, self.num_byzantine, num_threads=self.num_threads)
