"""The server's steps until shares are with their receivers: keys and shares."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flower_coded.crypto.encrypted_share import ENCRYPTION_OVERHEAD, KEY_BYTES, is_usable_public_key
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.commitments import Commitments, Schemes
from flower_coded.protocols.ramp_krum.messages import (
    Dealing,
    DealRequest,
    Delivery,
    Grade,
    KeyRequest,
    Misbehavior,
    PublicKey,
)
from flower_coded.protocols.ramp_krum.status import ParticipantStatus, Reply, validate_replies

__all__ = [
    "AwaitingComplaints",
    "AwaitingDealings",
    "AwaitingKeys",
    "open_round",
    "receive_dealings",
    "receive_keys",
]


@dataclass(frozen=True)
class AwaitingKeys:
    """Nobody has answered yet.

    Parameters
    ----------
    schemes : Schemes
    round_id : bytes
    status : ParticipantStatus
    """

    schemes: Schemes
    round_id: bytes
    status: ParticipantStatus


@dataclass(frozen=True)
class AwaitingDealings:
    """Keys are known.

    Parameters
    ----------
    schemes, round_id, status
        As before.
    public_keys : mapping of int to bytes
    """

    schemes: Schemes
    round_id: bytes
    status: ParticipantStatus
    public_keys: Mapping[int, bytes]


@dataclass(frozen=True)
class AwaitingComplaints:
    """Shares are on their way to their receivers.

    Parameters
    ----------
    schemes, round_id, status, public_keys
        As before.
    dealings : mapping of int to Dealing
    commitments : mapping of int to Commitments
        Of every dealer.
    """

    schemes: Schemes
    round_id: bytes
    status: ParticipantStatus
    public_keys: Mapping[int, bytes]
    dealings: Mapping[int, Dealing]
    commitments: Mapping[int, Commitments]


def open_round(
    schemes: Schemes,
    *,
    known_liars: Iterable[int] = (),
    round_id: bytes | None = None,
    is_measurement: bool = False,
) -> tuple[AwaitingKeys, dict[int, KeyRequest]]:
    """Open a round.

    Parameters
    ----------
    schemes : Schemes
    known_liars : iterable of int
        Who lied in an earlier round: they are not asked, and count among the A.
    round_id : bytes or None
        None draws one.
    is_measurement : bool
        Whether the paper's form may run, in which nothing proves that updates are short.

    Raises
    ------
    ParameterError
        If the parameters leave out the checks and the round is no measurement.
    """
    if schemes.parameters.is_paper_form and not is_measurement:
        raise ParameterError(
            "is_paper_form",
            "must be False outside of measurements: in the paper's form one liar can set every weight",
            True,
        )
    everybody = range(schemes.parameters.sharing.num_users)
    liars = sorted(set(known_liars))
    if not set(liars) <= set(everybody):
        raise ParameterError("known_liars", f"must be below {len(everybody)}", liars)
    asked = tuple(user for user in everybody if user not in liars)
    known = tuple(Misbehavior(user, "keys", "lied in an earlier round", Grade.LIE) for user in liars)
    identity = os.urandom(16) if round_id is None else round_id
    state = AwaitingKeys(schemes, identity, ParticipantStatus(asked, asked, known))
    state.status.check_enough(schemes.parameters, "keys")
    return state, {user: KeyRequest(identity) for user in asked}


def receive_keys(
    state: AwaitingKeys, replies: Iterable[Reply]
) -> tuple[AwaitingDealings, dict[int, DealRequest]]:
    """Take everybody's key, and ask for shares."""

    def check(_: int, message: PublicKey) -> bytes:
        if not isinstance(message.public_key, bytes) or not is_usable_public_key(message.public_key):
            raise ParameterError("public_key", f"must be {KEY_BYTES} bytes and not of small order", "another")
        return message.public_key

    keys, reports = validate_replies(
        state.status.participants,
        replies,
        phase="keys",
        round_id=state.round_id,
        message_type=PublicKey,
        check=check,
    )
    # Whoever sends no key deals nothing and holds nothing.
    status = ParticipantStatus(tuple(keys), tuple(keys), (*state.status.misbehavior, *reports))
    status.check_enough(state.schemes.parameters, "keys")
    request = DealRequest(state.round_id, keys)
    return AwaitingDealings(state.schemes, state.round_id, status, keys), dict.fromkeys(keys, request)


def receive_dealings(
    state: AwaitingDealings, replies: Iterable[Reply]
) -> tuple[AwaitingComplaints, dict[int, Delivery]]:
    """Take everybody's commitments and encrypted shares, and pass them on."""
    size = state.schemes.parameters.share_bytes + ENCRYPTION_OVERHEAD

    def check(user: int, message: Dealing) -> tuple[Dealing, Commitments]:
        shares = message.encrypted_shares
        receivers = set(state.public_keys) - {user}
        if not isinstance(shares, Mapping) or len(shares) != len(receivers) or set(shares) != receivers:
            raise ParameterError(
                "encrypted_shares", f"must be one for each of {len(receivers)} users", "others"
            )
        if any(not isinstance(share, bytes) or len(share) != size for share in shares.values()):
            raise ParameterError("encrypted_shares", f"must have {size} bytes each", "another size")
        return message, state.schemes.from_bytes(message.commitments)

    dealt, reports = validate_replies(
        state.status.participants,
        replies,
        phase="shares",
        round_id=state.round_id,
        message_type=Dealing,
        check=check,
    )
    # Whoever did not deal has no update in the round, silent or lying.
    before = state.status.after(reports)
    status = ParticipantStatus(before.participants, tuple(dealt), before.misbehavior)
    status.check_enough(state.schemes.parameters, "shares")
    dealings = {dealer: dealing for dealer, (dealing, _) in dealt.items()}
    shown = {dealer: dealing.commitments for dealer, dealing in dealings.items()}
    requests = {}
    for user in status.participants:
        shares = {
            dealer: dealing.encrypted_shares[user] for dealer, dealing in dealings.items() if dealer != user
        }
        requests[user] = Delivery(state.round_id, shown, shares)
    following = AwaitingComplaints(
        state.schemes,
        state.round_id,
        status,
        state.public_keys,
        dealings,
        {dealer: commitments for dealer, (_, commitments) in dealt.items()},
    )
    return following, requests
