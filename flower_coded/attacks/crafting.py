"""What every attack on updates shares: its interface, its memory, its checks.

An *update* is a flat vector, local model minus global model. ``craft(own, known, generator)`` gets the
attacker's own update ``own`` (d,) and the honest updates ``known`` (k, d) that its threat model lets it see.
What comes back has the shape and type of ``own``; no input is modified; sums run in float64.

Some attacks learn over rounds. They have ``craft_with_memory`` as well, which takes what was remembered, a
dictionary of arrays that is empty at first, and the global model of the round, and returns the new memory
beside the update: whoever runs the attack keeps it. Colluders who see the same keep the same memory.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError

__all__ = [
    "IneffectiveAttackWarning",
    "Memory",
    "StatefulAttack",
    "UpdateAttack",
    "Vector",
    "as_type",
    "check_positive",
    "check_updates",
    "mean_of",
]

Vector = NDArray[np.floating[Any]]
Memory = dict[str, NDArray[np.float64]]


_LARGEST_BFLOAT16 = (2 - 2.0**-7) * 2.0**127


class IneffectiveAttackWarning(UserWarning):
    """The attack does nothing with these numbers of clients."""


class UpdateAttack(Protocol):
    """Anything that turns honest updates into a malicious one."""

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """Malicious update (d,) from the own update (d,) and the known ones (k, d)."""
        ...


@runtime_checkable
class StatefulAttack(Protocol):
    """An attack that learns over rounds."""

    def craft(self, own: Vector, known: Vector, generator: np.random.Generator) -> Vector:
        """Malicious update of a first round."""
        ...

    def craft_with_memory(
        self, own: Vector, known: Vector, model: Vector, memory: Memory, generator: np.random.Generator
    ) -> tuple[Vector, Memory]:
        """Malicious update, and what to remember; ``model`` (d,) is the round's global model."""
        ...


def mean_of(known: Vector) -> NDArray[np.float64]:
    """Mean of the known updates, float64."""
    mean: NDArray[np.float64] = known.mean(axis=0, dtype=np.float64)
    return mean


def as_type(crafted: NDArray[np.float64], own: Vector) -> Vector:
    """Round a crafted update to the own one's type, and keep it within that type's range."""
    # An overflow would make infinities, which every server drops; an attacker sends the largest number.
    # (bfloat16, which NumPy does not know, reaches nearly as far as float32.)
    largest = float(np.finfo(own.dtype).max) if own.dtype.kind == "f" else _LARGEST_BFLOAT16
    return np.clip(crafted, -largest, largest).astype(own.dtype)


def check_updates(own: Vector, known: Vector) -> None:
    """Check that own and known updates fit.

    Raises
    ------
    ParameterError
        If they do not, or are not floating point.
    """
    if own.ndim != 1 or known.ndim != 2 or len(known) == 0 or known.shape[1] != len(own):
        raise ParameterError("known", f"must be (k, {own.shape}) with k >= 1", known.shape)
    if not np.issubdtype(own.dtype, np.floating):
        raise ParameterError("own", "must be floating point", own.dtype)


def check_positive(name: str, value: float) -> None:
    """Check a positive number.

    Raises
    ------
    ParameterError
        If it is none.
    """
    if not (np.isfinite(value) and value > 0):
        raise ParameterError(name, "must be a positive number", value)
