"""What a lying user can do in ramp-shared multi-Krum: one small class per deviation, for any of the phases.

A deviation changes what an otherwise honest user does at three points: the parts of its update before they
are committed to, the shares before they are sealed, and each message before it leaves. :data:`DEVIATIONS`
names them all, as run configurations spell them. Messages are recognized by their phase and copied with
changes, so that this module needs to know nothing of the protocol's code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, add, from_ints, from_signed_int64
from flower_coded.errors import ParameterError

__all__ = [
    "DEVIATIONS",
    "AlterMessage",
    "BadShares",
    "Deviation",
    "FalseComplaints",
    "HarmfulUpdate",
    "OversizedUpdate",
    "SendTwice",
    "SilentFrom",
    "WrapAroundUpdate",
    "get_deviation",
]

SQUARE_ROOT_OF_MINUS_ONE = pow(
    7, (FIELD_MODULUS - 1) // 4, FIELD_MODULUS
)  # 7 generates the multiplicative group

_PHASES = ("keys", "shares", "complaints", "openings", "evaluations", "sums", "close")
_SMALL_ORDER_POINT = bytes([0x80]) + bytes(47)  # (0, 2) lies on the curve and has order 3
_OFF_CURVE_POINT = bytes([0x80]) + bytes(46) + bytes([1])  # 1 + 4 is no square: no point has x = 1


@dataclass(frozen=True)
class Deviation:
    """An honest user; subclasses change what they need to."""

    def alter_parts(self, parts: FieldArray) -> FieldArray:
        """Return what is committed to and shared instead of the update's parts, shape (K, part_length, 4)."""
        return parts

    def alter_shares(
        self, shares: dict[int, Mapping[str, FieldArray]]
    ) -> dict[int, Mapping[str, FieldArray]]:
        """Return the shares that are sealed, by receiver."""
        return shares

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Return the messages that leave in a phase: normally one."""
        return [message]


@dataclass(frozen=True)
class SilentFrom(Deviation):
    """Fall silent in a phase and stay so: a drop-out rather than a liar.

    Parameters
    ----------
    phase : str

    Examples
    --------
    >>> silent = SilentFrom("shares")
    >>> silent.alter_message("keys", "message"), silent.alter_message("sums", "message")
    (['message'], [])
    """

    phase: str

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Send nothing from the phase on."""
        return [] if _PHASES.index(phase) >= _PHASES.index(self.phase) else [message]


@dataclass(frozen=True)
class HarmfulUpdate(Deviation):
    """Replace the update by one within the clipping range that pulls far away.

    Parameters
    ----------
    value : int
        Every entry; at most the fixed point's largest integer to stay within the range.
    """

    value: int = 2**15 - 1

    def alter_parts(self, parts: FieldArray) -> FieldArray:
        """Return constant parts."""
        return np.broadcast_to(from_signed_int64([self.value])[0], parts.shape).copy()


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

    Examples
    --------
    >>> (1 + SQUARE_ROOT_OF_MINUS_ONE**2) % FIELD_MODULUS
    0
    """

    shift: int = 2**40
    entries: tuple[int, int] = (0, 1)

    def alter_parts(self, parts: FieldArray) -> FieldArray:
        """Shift two entries."""
        shifts = [self.shift, self.shift * SQUARE_ROOT_OF_MINUS_ONE % FIELD_MODULUS]
        altered = parts.copy()
        altered[0, list(self.entries)] = add(parts[0, list(self.entries)], from_ints(shifts))
        return altered


@dataclass(frozen=True)
class BadShares(Deviation):
    """Send some users shares that do not match the commitments.

    Parameters
    ----------
    victims : tuple of int or None
        None means everybody.
    polynomial : str
        Whose value is wrong by one in its first entry.
    """

    victims: tuple[int, ...] | None = None
    polynomial: str = "first"

    def alter_shares(
        self, shares: dict[int, Mapping[str, FieldArray]]
    ) -> dict[int, Mapping[str, FieldArray]]:
        """Add one to an entry."""
        altered = dict(shares)
        for user in shares if self.victims is None else set(self.victims) & set(shares):
            values = shares[user][self.polynomial].copy()
            values[0] = add(values[0], from_ints([1])[0])
            altered[user] = {**shares[user], self.polynomial: values}
        return altered


@dataclass(frozen=True)
class FalseComplaints(Deviation):
    """Complain about users who did nothing wrong.

    Parameters
    ----------
    victims : tuple of int
    """

    victims: tuple[int, ...]

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Name the victims."""
        if phase != "complaints":
            return [message]
        named = tuple(user for user in self.victims if user != message.user)
        return [dataclasses.replace(message, dealers=named)]


@dataclass(frozen=True)
class SendTwice(Deviation):
    """Equivocate: send two messages in one phase.

    Parameters
    ----------
    phase : str
    """

    phase: str = "shares"

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Repeat the message."""
        return [message, message] if phase == self.phase else [message]


@dataclass(frozen=True)
class AlterMessage(Deviation):
    """Change the message of one phase.

    Parameters
    ----------
    phase : str
    change : callable
        ``change(message)`` returns the message that leaves.
    """

    phase: str
    change: Callable[[Any], Any] = field(repr=False)

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Apply the change."""
        return [self.change(message)] if phase == self.phase else [message]


def get_deviation(name: str) -> Deviation:
    """Return a deviation by the name that run configurations use.

    Raises
    ------
    ParameterError
        If there is none of that name.

    Examples
    --------
    >>> get_deviation("drop-at-sums")
    SilentFrom(phase='sums')
    """
    if name not in DEVIATIONS:
        raise ParameterError("name", f"must be one of {', '.join(sorted(DEVIATIONS))}", name)
    return DEVIATIONS[name]()


def _replace(phase: str, **changes: Callable[[Any], Any]) -> Callable[[], Deviation]:
    """Return a deviation that computes some fields of a message anew from the old ones."""

    def change(message: Any) -> Any:
        new = {name: function(getattr(message, name)) for name, function in changes.items()}
        return dataclasses.replace(message, **new)

    return lambda: AlterMessage(phase, change)


def _add_one(elements_bytes: bytes) -> bytes:
    """Add one to the first element of a vector, in its 32-byte form."""
    first = (int.from_bytes(elements_bytes[:32], "little") + 1) % FIELD_MODULUS
    return first.to_bytes(32, "little") + elements_bytes[32:]


def _reverse_boxes(boxes: Mapping[int, bytes]) -> dict[int, bytes]:
    """Give every receiver another one's box."""
    receivers = sorted(boxes)
    return {receiver: boxes[other] for receiver, other in zip(receivers, receivers[::-1], strict=True)}


DEVIATIONS: dict[str, Callable[[], Deviation]] = {
    "none": Deviation,
    **{f"drop-at-{phase}": (lambda phase=phase: SilentFrom(phase)) for phase in _PHASES[:6]},  # type: ignore[misc]
    "harmful-update": HarmfulUpdate,
    "oversized-update": OversizedUpdate,
    "wrap-around-update": WrapAroundUpdate,
    "bad-shares": BadShares,
    "bad-second-share": lambda: BadShares(victims=(0, 1), polynomial="second"),
    "bad-share-to-one": lambda: BadShares(victims=(0,)),
    "low-order-key": _replace("keys", public_key=lambda _: bytes(32)),
    "commitment-of-small-order": _replace("shares", commitments=lambda old: _SMALL_ORDER_POINT + old[48:]),
    "commitment-off-the-curve": _replace("shares", commitments=lambda old: _OFF_CURVE_POINT + old[48:]),
    "other-commitments": _replace("shares", commitments=lambda old: old[48:] + old[:48]),
    "truncated-shares": _replace("shares", boxes=lambda old: {user: box[:-32] for user, box in old.items()}),
    "swapped-boxes": _replace("shares", boxes=_reverse_boxes),
    "send-twice": SendTwice,
    "false-complaint": lambda: FalseComplaints(victims=(0, 1)),
    "wrong-opening": lambda: _BadSharesAndOpening(victims=(0,)),
    "wrong-products": _replace("evaluations", products=_add_one),
    "wrong-range-sums": _replace("evaluations", range_sums=_add_one),
    "oversized-scalar": _replace("evaluations", products=lambda old: b"\xff" * 32 + old[32:]),
    "wrong-sum": _replace("sums", total=_add_one),
    "truncated-sum": _replace("sums", total=lambda old: old[:-1]),
    "replayed-sum": _replace("sums", round_id=lambda old: old[::-1]),
    "impostor": _replace("evaluations", user=lambda old: old + 1),
}
"""Every deviation by name; each value makes one."""


@dataclass(frozen=True)
class _BadSharesAndOpening(BadShares):
    """Send a bad share and answer the dispute with an opening that fits no box."""

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Return a wrong opening."""
        if phase != "openings":
            return [message]
        return [dataclasses.replace(message, openings=dict.fromkeys(message.openings, bytes(32)))]
