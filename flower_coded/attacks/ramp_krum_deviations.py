"""What a lying user can do in ramp-shared multi-Krum: one small class per deviation, for any of the phases.

A deviation changes what an otherwise honest user does at five points: its quantized update, the parts that
are committed to, the slack that completes their norms, the shares before they are encrypted, and each message
before it leaves. :data:`DEVIATIONS` names them all, as run configurations spell them. Messages are recognized
by their phase and copied with changes, so that this module needs to know nothing of the protocol's code.
Attacks on the update itself are in :mod:`flower_coded.attacks.ramp_krum_updates`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.attacks.ramp_krum_updates import (
    Deviation,
    HarmfulUpdate,
    HiddenElementUpdate,
    OversizedUpdate,
    SpikeUpdate,
    WrapAroundUpdate,
)
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, add, from_ints
from flower_coded.errors import ParameterError

__all__ = [
    "DEVIATIONS",
    "AlterMessage",
    "BadShares",
    "Combined",
    "FalseComplaints",
    "SendTwice",
    "SilentFrom",
    "SilentOnlyAt",
    "get_deviation",
]

_PHASES = ("keys", "shares", "complaints", "openings", "evaluations", "sums", "close")
_SMALL_ORDER_POINT = bytes([0x80]) + bytes(47)  # (0, 2) lies on the curve and has order 3
_OFF_CURVE_POINT = bytes([0x80]) + bytes(46) + bytes([1])  # 1 + 4 is no square: no point has x = 1


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
class SilentOnlyAt(Deviation):
    """Miss one phase and answer all others.

    Parameters
    ----------
    phase : str
    """

    phase: str

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Send nothing in the phase."""
        return [] if phase == self.phase else [message]


@dataclass(frozen=True)
class BadShares(Deviation):
    """Send some users shares that do not match the commitments.

    Parameters
    ----------
    victims : tuple of int or None
        None means everybody.
    polynomial : str
        Whose value is wrong by one in its first entry; where the round has no such one, the update's.
    """

    victims: tuple[int, ...] | None = None
    polynomial: str = "first"

    def alter_shares(
        self, shares: dict[int, Mapping[str, FieldArray]]
    ) -> dict[int, Mapping[str, FieldArray]]:
        """Add one to an entry."""
        altered = dict(shares)
        for user in shares if self.victims is None else set(self.victims) & set(shares):
            name = self.polynomial if self.polynomial in shares[user] else "first"
            values = shares[user][name].copy()
            values[0] = add(values[0], from_ints([1])[0])
            altered[user] = {**shares[user], name: values}
        return altered


@dataclass(frozen=True)
class FalseComplaints(Deviation):
    """Complain about users who did nothing wrong.

    Parameters
    ----------
    victims : tuple of int or None
        None means everybody.
    """

    victims: tuple[int, ...] | None = None

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Name the victims."""
        if phase != "complaints":
            return [message]
        victims = message.echoes if self.victims is None else self.victims
        named = tuple(user for user in victims if user != message.user)
        return [dataclasses.replace(message, dealers=named)]


@dataclass(frozen=True)
class Combined(Deviation):
    """Deviate in several ways, one after another.

    Parameters
    ----------
    deviations : tuple of Deviation
    """

    deviations: tuple[Deviation, ...]

    def alter_update(self, integers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Apply all."""
        for deviation in self.deviations:
            integers = deviation.alter_update(integers)
        return integers

    def alter_parts(self, parts: FieldArray) -> FieldArray:
        """Apply all."""
        for deviation in self.deviations:
            parts = deviation.alter_parts(parts)
        return parts

    def alter_slack(self, slack: FieldArray, parts: FieldArray) -> FieldArray:
        """Apply all."""
        for deviation in self.deviations:
            slack = deviation.alter_slack(slack, parts)
        return slack

    def alter_shares(
        self, shares: dict[int, Mapping[str, FieldArray]]
    ) -> dict[int, Mapping[str, FieldArray]]:
        """Apply all."""
        for deviation in self.deviations:
            shares = deviation.alter_shares(shares)
        return shares

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Apply all to every message that is left."""
        messages: Sequence[Any] = [message]
        for deviation in self.deviations:
            messages = [new for old in messages for new in deviation.alter_message(phase, old)]
        return messages


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


def _add_one_to_last(elements_bytes: bytes) -> bytes:
    """Add one to the last element: of products, that is the norm of the last dealer."""
    return elements_bytes[:-32] + _add_one(elements_bytes[-32:])


def _reverse(shares: Mapping[int, bytes]) -> dict[int, bytes]:
    """Give every receiver another one's share."""
    receivers = sorted(shares)
    return {receiver: shares[other] for receiver, other in zip(receivers, receivers[::-1], strict=True)}


def _of_each(change: Callable[[bytes], bytes]) -> Callable[[Mapping[int, bytes]], dict[int, bytes]]:
    return lambda values: {user: change(value) for user, value in values.items()}


DEVIATIONS: dict[str, Callable[[], Deviation]] = {
    "none": Deviation,
    **{f"drop-at-{phase}": (lambda phase=phase: SilentFrom(phase)) for phase in _PHASES[:6]},  # type: ignore[misc]
    **{f"miss-only-{phase}": (lambda phase=phase: SilentOnlyAt(phase)) for phase in _PHASES[1:6]},  # type: ignore[misc]
    "harmful-update": HarmfulUpdate,
    "oversized-update": OversizedUpdate,
    "wrap-around-update": WrapAroundUpdate,
    "wrap-around-across-parts": lambda: WrapAroundUpdate(crosses_parts=True),
    "spike": SpikeUpdate,
    "spike-with-square-root-slack": lambda: SpikeUpdate(completes_norm=True),
    "spikes-in-many-entries": lambda: SpikeUpdate(num_entries=4),
    "dead-slot": HiddenElementUpdate,
    "live-slot": lambda: HiddenElementUpdate(is_live=True),
    "live-slot-canceled": lambda: HiddenElementUpdate(is_live=True, sign=-1),
    "bad-shares": BadShares,
    "bad-second-share": lambda: BadShares(victims=(0, 1), polynomial="second"),
    "bad-slack-share": lambda: BadShares(victims=(0, 1), polynomial="slack"),
    "bad-mask-share": lambda: BadShares(victims=(0, 1), polynomial="product"),
    "bad-range-share": lambda: BadShares(victims=(0, 1), polynomial="range"),
    "bad-share-to-one": lambda: BadShares(victims=(0,)),
    "low-order-key": _replace("keys", public_key=lambda _: bytes(32)),
    "commitment-of-small-order": _replace("shares", commitments=lambda old: _SMALL_ORDER_POINT + old[48:]),
    "commitment-off-the-curve": _replace("shares", commitments=lambda old: _OFF_CURVE_POINT + old[48:]),
    "other-commitments": _replace("shares", commitments=lambda old: old[48:] + old[:48]),
    "truncated-shares": _replace("shares", encrypted_shares=_of_each(lambda share: share[:-32])),
    "swapped-shares": _replace("shares", encrypted_shares=_reverse),
    "send-twice": SendTwice,
    "false-complaint": lambda: FalseComplaints(victims=(0, 1)),
    "false-complaints-about-one": lambda: FalseComplaints(victims=(0,)),
    "false-complaints-about-all": FalseComplaints,
    "flood-of-complaints": _replace("complaints", dealers=lambda old: (*old, *range(200_000))),
    "wrong-echoes": _replace("complaints", echoes=_of_each(lambda echo: echo[:-1] + bytes([echo[-1] ^ 1]))),
    "no-echoes": _replace("complaints", echoes=lambda _: {}),
    "complain-and-fall-silent": lambda: Combined((FalseComplaints(victims=(0, 1)), SilentFrom("openings"))),
    "bad-share-and-silence": lambda: Combined((BadShares(victims=(0,)), SilentFrom("openings"))),
    "wrong-opening": lambda: _BadSharesAndOpening(victims=(0,)),
    "wrong-products": _replace("evaluations", products=_add_one),
    "wrong-norms": _replace("evaluations", products=_add_one_to_last),
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
    """Send a bad share and answer the dispute with an opening that fits no share."""

    def alter_message(self, phase: str, message: Any) -> Sequence[Any]:
        """Return a wrong opening."""
        if phase != "openings":
            return [message]
        return [dataclasses.replace(message, openings=dict.fromkeys(message.openings, bytes(32)))]
