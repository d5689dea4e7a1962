"""Aggregation rules as objects: those that judge vectors by length and direction.

They take vectors for updates, whose origin means something: moved all alike, they would be judged otherwise.
What a rule computes and where it comes from stands in the module of the function that it calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flower_coded.aggregation.filter_rules import needed
from flower_coded.aggregation.flame import flame
from flower_coded.aggregation.interface import BlockwiseRule, Memory, RoundContext
from flower_coded.aggregation.norm_clipping import check_noise, check_norm, norm_clipped_mean
from flower_coded.aggregation.root_trust import trusted_mean
from flower_coded.aggregation.sign_guard import check_sign_guard, sign_guard
from flower_coded.aggregation.sybils import add_to_history, check_last_coordinates, fools_gold, last_of
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import ParameterError

__all__ = ["FLTrust", "Flame", "FoolsGold", "NormClipping", "SignGuard"]


@dataclass(frozen=True)
class NormClipping(BlockwiseRule):
    """The mean of clipped vectors, with noise or not: :func:`~flower_coded.aggregation.norm_clipped_mean`.

    Attributes
    ----------
    max_norm : float or None
        The median length if absent.
    noise_deviation : float
        Of the Gaussian noise on every entry ("weak differential privacy"); noise needs a generator.
    """

    max_norm: float | None = None
    noise_deviation: float = 0.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        check_norm(self.max_norm)
        check_noise("noise_deviation", self.noise_deviation)

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Clip, average, add noise."""
        return norm_clipped_mean(
            updates, self.max_norm, self.noise_deviation, generator, num_threads=self.num_threads
        )


@dataclass(frozen=True)
class SignGuard(BlockwiseRule):
    """Filters by length and by signs: :func:`~flower_coded.aggregation.sign_guard.sign_guard`.

    Its ``aggregate`` needs a generator.

    Attributes
    ----------
    shortest, longest : float
        In median lengths.
    coordinate_share : float
        Of the coordinates whose signs are counted.
    """

    shortest: float = 0.1
    longest: float = 3.0
    coordinate_share: float = 0.1

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        check_sign_guard(self.shortest, self.longest, self.coordinate_share)

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Filter, clip, average."""
        return sign_guard(
            updates,
            needed(generator, "coordinates are"),
            shortest=self.shortest,
            longest=self.longest,
            coordinate_share=self.coordinate_share,
            num_threads=self.num_threads,
        )


@dataclass(frozen=True)
class Flame(BlockwiseRule):
    """The largest cluster of directions, clipped: :func:`~flower_coded.aggregation.flame.flame`.

    Attributes
    ----------
    noise_factor : float
        ``lambda``: standard deviation of the noise in median lengths; above 0 a generator is needed.
    """

    noise_factor: float = 0.001

    def __post_init__(self) -> None:
        """Check the factor."""
        super().__post_init__()
        check_noise("noise_factor", self.noise_factor)

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Cluster, clip, average, add noise."""
        return flame(updates, self.noise_factor, generator, num_threads=self.num_threads)


@dataclass(frozen=True)
class FLTrust(BlockwiseRule):
    """The mean by trust in the server's own update: :func:`~flower_coded.aggregation.trusted_mean`.

    ``aggregate`` refuses; ``aggregate_in_round`` takes the server's update from the context.
    ``RuleAggregation(FLTrust(), train_on_root=...)`` puts it there.
    """

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Refuse: there is no update of the server's own."""
        raise ParameterError(
            "root_update",
            "must be given in the round's context",
            None,
            hint="RuleAggregation(rule, train_on_root=...), or trusted_mean(vectors, root_update)",
        )

    def aggregate_in_round(self, updates: Array, context: RoundContext) -> tuple[Array, Memory]:
        """Weigh by trust."""
        if context.root_update is None:
            return self.aggregate(updates), {}
        return trusted_mean(updates, context.root_update, num_threads=self.num_threads), {}


@dataclass(frozen=True)
class FoolsGold(BlockwiseRule):
    """Weights against sybils: :func:`~flower_coded.aggregation.fools_gold`.

    ``aggregate`` sees one round. ``aggregate_in_round`` remembers the sum of every participant's updates,
    which takes as much memory as the updates do, or ``last_coordinates`` of them.

    Attributes
    ----------
    last_coordinates : int or None
        How many entries at the end are compared (the output layer of most models); all if absent.
    """

    last_coordinates: int | None = None

    def __post_init__(self) -> None:
        """Check the number."""
        super().__post_init__()
        check_last_coordinates(self.last_coordinates)

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Weigh and average one round."""
        return fools_gold(updates, last_of(updates, self.last_coordinates), num_threads=self.num_threads)

    def aggregate_in_round(self, updates: Array, context: RoundContext) -> tuple[Array, Memory]:
        """Add to the sums, weigh, average."""
        sums, memory = add_to_history(
            updates,
            context.participants,
            context.memory,
            self.last_coordinates,
            num_threads=self.num_threads,
        )
        return fools_gold(updates, sums, num_threads=self.num_threads), memory
