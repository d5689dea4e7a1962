"""How a user conducts itself: where an honest one passes things on unchanged, a liar changes them.

Experiments give a user another conduct (:mod:`flower_coded.attacks.ramp_krum_deviations`); the protocol knows
these five points and nothing of attacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.field_vectors import FieldArray

__all__ = ["HONEST", "Conduct"]


class Conduct(Protocol):
    """What a user may change."""

    def alter_update(self, integers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the quantized update of shape (L,) that is shared instead; bounds are still kept."""

    def alter_parts(self, parts: FieldArray) -> FieldArray:
        """Return what is committed to and shared instead of the parts, shape (K, part_length, 4)."""

    def alter_slack(self, slack: FieldArray, parts: FieldArray) -> FieldArray:
        """Return the slack dealt beside the altered parts, shape (num_slack_parts, slack_length, 4)."""

    def alter_shares(
        self, shares: dict[int, Mapping[str, FieldArray]]
    ) -> dict[int, Mapping[str, FieldArray]]:
        """Return the shares that are encrypted, by receiver."""

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Return the messages that leave in a phase: normally one."""


class _Honest:
    def alter_update(self, integers: NDArray[np.int64]) -> NDArray[np.int64]:
        return integers

    def alter_parts(self, parts: FieldArray) -> FieldArray:
        return parts

    def alter_slack(self, slack: FieldArray, parts: FieldArray) -> FieldArray:
        del parts
        return slack

    def alter_shares(
        self, shares: dict[int, Mapping[str, FieldArray]]
    ) -> dict[int, Mapping[str, FieldArray]]:
        return shares

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        del phase
        return [message]


HONEST: Conduct = _Honest()
"""Changes nothing."""
