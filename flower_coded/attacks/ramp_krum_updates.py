"""Updates that no honest user shares in ramp-shared multi-Krum: too large, not short, or just harmful.

In a finite field a squared distance can be small though the vectors are far apart: F_r holds square roots of
-1 and of most negative numbers. Every class here uses that, or what clipping leaves open; which of them are
refused and which are only left out by multi-Krum stands in ``docs/ramp_krum.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    FieldArray,
    add,
    from_ints,
    from_signed_int64,
    to_ints,
)

__all__ = [
    "Deviation",
    "HarmfulUpdate",
    "HiddenElementUpdate",
    "OversizedUpdate",
    "SpikeUpdate",
    "WrapAroundUpdate",
    "field_square_root",
]

# 7 generates the multiplicative group, whose order is 2**32 times an odd number
_TWO_ADICITY, _NON_RESIDUE = 32, 7
SQUARE_ROOT_OF_MINUS_ONE = pow(_NON_RESIDUE, (FIELD_MODULUS - 1) // 4, FIELD_MODULUS)


@dataclass(frozen=True)
class Deviation:
    """An honest user; subclasses change what they need to."""

    def alter_update(self, integers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the quantized update of shape (L,) that is shared instead; bounds are still kept."""
        return integers

    def alter_parts(self, parts: FieldArray) -> FieldArray:
        """Return what is committed to and shared instead of the update's parts, shape (K, part_length, 4)."""
        return parts

    def alter_slack(self, slack: FieldArray, parts: FieldArray) -> FieldArray:
        """Return the slack dealt beside the altered parts, shape (num_slack_parts, slack_length, 4)."""
        del parts
        return slack

    def alter_shares(
        self, shares: dict[int, Mapping[str, FieldArray]]
    ) -> dict[int, Mapping[str, FieldArray]]:
        """Return the shares that are encrypted, by receiver."""
        return shares

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Return the messages that leave in a phase: normally one."""
        del phase
        return [message]


@dataclass(frozen=True)
class HarmfulUpdate(Deviation):
    """Replace the update by one within all bounds that pulls far away.

    Parameters
    ----------
    value : int
        Every entry, before blocks are scaled to the bound.
    """

    value: int = 2**15 - 1

    def alter_update(self, integers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a constant update."""
        return np.full_like(integers, self.value)


@dataclass(frozen=True)
class OversizedUpdate(Deviation):
    """Share entries far outside the clipping range, yet small in the field.

    Parameters
    ----------
    value : int
        Added to every entry.
    """

    value: int = 2**30

    def alter_parts(self, parts: FieldArray) -> FieldArray:
        """Add a constant."""
        return add(parts, from_signed_int64([self.value])[0])


@dataclass(frozen=True)
class WrapAroundUpdate(Deviation):
    """Add (c, i c) with ``i**2 = -1`` to two entries: no squared distance changes modulo r, the sum does.

    Parameters
    ----------
    shift : int
        c.
    entries : (int, int)
        Which two entries of the first part; where all honest updates agree (a dead pixel's weights) the
        attack is invisible to distances.
    crosses_parts : bool
        Whether the second entry is one of the last part: no part's own distance comes out right then, only
        their sum does.

    Examples
    --------
    >>> (1 + SQUARE_ROOT_OF_MINUS_ONE**2) % FIELD_MODULUS
    0
    """

    shift: int = 2**40
    entries: tuple[int, int] = (0, 1)
    crosses_parts: bool = False

    def alter_parts(self, parts: FieldArray) -> FieldArray:
        """Shift two entries."""
        shifts = [self.shift, self.shift * SQUARE_ROOT_OF_MINUS_ONE % FIELD_MODULUS]
        altered = parts.copy()
        where = [0, len(parts) - 1 if self.crosses_parts else 0], list(self.entries)
        altered[where] = add(parts[where], from_ints(shifts))
        return altered


@dataclass(frozen=True)
class SpikeUpdate(Deviation):
    """Share zeros and a few entries beyond what a block's norm allows, but small beside honest distances.

    Parameters
    ----------
    value : int
        Of each entry.
    num_entries : int
        How many, in the first columns of the first part.
    completes_norm : bool
        Whether slack outside of the integers makes every block's norm come out right modulo r: the norm check
        alone would pass it.
    """

    value: int = 2**19
    num_entries: int = 1
    completes_norm: bool = False

    def alter_parts(self, parts: FieldArray) -> FieldArray:
        """Return zeros and the spikes."""
        altered = np.zeros_like(parts)
        altered[0, : self.num_entries] = from_signed_int64([self.value])[0]
        return altered

    def alter_update(self, integers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return zeros, whose slack is what the spikes are set against."""
        return np.zeros_like(integers)

    def alter_slack(self, slack: FieldArray, parts: FieldArray) -> FieldArray:
        """Take the spikes' squares out of the slack, in the field."""
        if not self.completes_norm:
            return slack
        altered = slack.copy()
        # Blocks are strided over the columns of parts and slack alike, and a block has four numbers of slack.
        num_blocks = slack.shape[1] // -(-4 // len(slack))
        spikes = min(self.num_entries, parts.shape[1])
        for block in range(min(spikes, num_blocks)):
            num_inside = len(range(block, spikes, num_blocks))
            own = to_ints(slack[:, block::num_blocks])
            wanted = sum(value * value for value in own) - num_inside * self.value**2
            root = field_square_root(wanted - sum(value * value for value in own[1:]))
            while root is None:  # half of all elements have a root: change another summand and try again
                own[-1] += 1
                root = field_square_root(wanted - sum(value * value for value in own[1:]))
            numbers = from_ints([root, *(value % FIELD_MODULUS for value in own[1:])])
            altered[:, block::num_blocks] = numbers.reshape(altered[:, block::num_blocks].shape)
        return altered


@dataclass(frozen=True)
class HiddenElementUpdate(Deviation):
    """Share an element whose square is negative: it lowers all of the sender's distances.

    In a padding slot it leaves no trace in the mean. In a live one, two liars with opposite signs leave none.

    Parameters
    ----------
    reduction : int
        What every squared distance is lowered by.
    sign : int
        Of the element, 1 or -1.
    is_live : bool
        Whether it is added to the first weight; else it takes the place of the last entry of the last part.
    """

    reduction: int = 2**40
    sign: int = 1
    is_live: bool = False

    def alter_parts(self, parts: FieldArray) -> FieldArray:
        """Add or write the element."""
        altered, reduction = parts.copy(), self.reduction
        while (root := field_square_root(-reduction)) is None:
            reduction += 1
        element = from_ints([self.sign * root % FIELD_MODULUS])[0]
        if self.is_live:
            altered[0, 0] = add(altered[0, 0], element)
        else:
            altered[-1, -1] = element
        return altered


def field_square_root(value: int) -> int | None:
    """Return a square root modulo r by Tonelli and Shanks, or None if there is none.

    Examples
    --------
    >>> field_square_root(9) in (3, FIELD_MODULUS - 3), field_square_root(7) is None
    (True, True)
    """
    value %= FIELD_MODULUS
    if value == 0:
        return 0
    if pow(value, (FIELD_MODULUS - 1) // 2, FIELD_MODULUS) != 1:
        return None
    odd, level = (FIELD_MODULUS - 1) >> _TWO_ADICITY, _TWO_ADICITY
    generator = pow(_NON_RESIDUE, odd, FIELD_MODULUS)
    root, rest = pow(value, (odd + 1) // 2, FIELD_MODULUS), pow(value, odd, FIELD_MODULUS)
    while rest != 1:
        order, power = 0, rest
        while power != 1:
            power, order = power * power % FIELD_MODULUS, order + 1
        factor = pow(generator, 1 << (level - order - 1), FIELD_MODULUS)
        generator = factor * factor % FIELD_MODULUS
        root, rest, level = root * factor % FIELD_MODULUS, rest * generator % FIELD_MODULUS, order
    return root
