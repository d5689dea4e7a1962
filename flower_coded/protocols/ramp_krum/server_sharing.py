"""The server's steps until it is settled whose shares count: keys, shares, complaints, openings.

Disputes. A dealer about whom more than A users complain is out: one of them must be honest. Any other
disputed box is opened by its dealer, whose opening can fit that box only. The server then sees what was sent:
if the dealer does not answer, or the box does not open, or holds a share that does not match the commitments,
the dealer is out; if it holds a right share, the complaint was false and the complainer is out. What the
server learns of an honest dealer that way are shares that liars hold; if it works together with T users,
count those liars among the T.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flower_coded.crypto.sealed_channel import BOX_OVERHEAD, KEY_BYTES, is_usable_public_key, reopen_box
from flower_coded.errors import FlowerCodedError, ParameterError
from flower_coded.protocols.ramp_krum.commitments import Commitments, Schemes
from flower_coded.protocols.ramp_krum.dealing import bytes_to_share, share_claims
from flower_coded.protocols.ramp_krum.messages import (
    Complaints,
    Dealing,
    DealRequest,
    Delivery,
    EvaluationRequest,
    KeyRequest,
    OpeningRequest,
    Openings,
    PublicKey,
    Verdict,
)
from flower_coded.protocols.ramp_krum.range_check import CHALLENGE_BYTES
from flower_coded.protocols.ramp_krum.replies import Reply, Standing, judge_replies
from flower_coded.protocols.ramp_krum.user import channel

__all__ = [
    "AwaitingComplaints",
    "AwaitingDealings",
    "AwaitingEvaluations",
    "AwaitingKeys",
    "AwaitingOpenings",
    "open_round",
    "receive_complaints",
    "receive_dealings",
    "receive_keys",
    "receive_openings",
]


@dataclass(frozen=True)
class AwaitingKeys:
    """Nobody has answered yet.

    Parameters
    ----------
    schemes : Schemes
    round_id : bytes
    standing : Standing
    """

    schemes: Schemes
    round_id: bytes
    standing: Standing


@dataclass(frozen=True)
class AwaitingDealings:
    """Keys are known.

    Parameters
    ----------
    schemes, round_id, standing
        As before.
    public_keys : mapping of int to bytes
    """

    schemes: Schemes
    round_id: bytes
    standing: Standing
    public_keys: Mapping[int, bytes]


@dataclass(frozen=True)
class AwaitingComplaints:
    """Shares are on their way to their receivers.

    Parameters
    ----------
    schemes, round_id, standing, public_keys
        As before.
    dealings : mapping of int to Dealing
    commitments : mapping of int to Commitments
        Of every dealer.
    """

    schemes: Schemes
    round_id: bytes
    standing: Standing
    public_keys: Mapping[int, bytes]
    dealings: Mapping[int, Dealing]
    commitments: Mapping[int, Commitments]


@dataclass(frozen=True)
class AwaitingOpenings:
    """Some boxes may be disputed.

    Parameters
    ----------
    base : AwaitingComplaints
        With the standing after the complaints.
    disputes : mapping of int to tuple of int
        By dealer, who complains about it.
    """

    base: AwaitingComplaints
    disputes: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class AwaitingEvaluations:
    """It is settled whose shares count.

    Parameters
    ----------
    schemes, round_id, standing, commitments
        As before.
    """

    schemes: Schemes
    round_id: bytes
    standing: Standing
    commitments: Mapping[int, Commitments]


def open_round(
    schemes: Schemes, *, known_liars: Iterable[int] = (), round_id: bytes | None = None
) -> tuple[AwaitingKeys, dict[int, KeyRequest]]:
    """Open a round.

    Parameters
    ----------
    schemes : Schemes
    known_liars : iterable of int
        Who lied in an earlier round: they are not asked, and count among the A.
    round_id : bytes or None
        None draws one.
    """
    everybody = range(schemes.parameters.sharing.num_users)
    liars = sorted(set(known_liars))
    if not set(liars) <= set(everybody):
        raise ParameterError("known_liars", f"must be below {len(everybody)}", liars)
    asked = tuple(user for user in everybody if user not in liars)
    known = tuple(Verdict(user, "keys", "lied in an earlier round", is_liar=True) for user in liars)
    identity = os.urandom(16) if round_id is None else round_id
    state = AwaitingKeys(schemes, identity, Standing(asked, asked, known))
    state.standing.check_enough(schemes.parameters, "keys")
    return state, {user: KeyRequest(identity) for user in asked}


def receive_keys(
    state: AwaitingKeys, replies: Iterable[Reply]
) -> tuple[AwaitingDealings, dict[int, DealRequest]]:
    """Take everybody's key, and ask for shares."""

    def check(_: int, message: PublicKey) -> bytes:
        if not isinstance(message.public_key, bytes) or not is_usable_public_key(message.public_key):
            raise ParameterError("public_key", f"must be {KEY_BYTES} bytes and not of small order", "another")
        return message.public_key

    keys, verdicts = judge_replies(
        state.standing.participants,
        replies,
        phase="keys",
        round_id=state.round_id,
        message_type=PublicKey,
        check=check,
    )
    standing = Standing(tuple(keys), tuple(keys), state.standing.verdicts + tuple(verdicts))
    standing.check_enough(state.schemes.parameters, "keys")
    request = DealRequest(state.round_id, keys)
    return AwaitingDealings(state.schemes, state.round_id, standing, keys), dict.fromkeys(keys, request)


def receive_dealings(
    state: AwaitingDealings, replies: Iterable[Reply]
) -> tuple[AwaitingComplaints, dict[int, Delivery]]:
    """Take everybody's commitments and boxes, pass them on, and draw the challenge of the range checks."""
    size = state.schemes.parameters.share_bytes + BOX_OVERHEAD

    def check(user: int, message: Dealing) -> tuple[Dealing, Commitments]:
        receivers = set(state.public_keys) - {user}
        if not isinstance(message.boxes, Mapping) or set(message.boxes) != receivers:
            raise ParameterError("boxes", f"must be one for each of {len(receivers)} users", "others")
        if any(not isinstance(box, bytes) or len(box) != size for box in message.boxes.values()):
            raise ParameterError("boxes", f"must have {size} bytes each", "another size")
        return message, state.schemes.from_bytes(message.commitments)

    dealt, verdicts = judge_replies(
        state.standing.participants,
        replies,
        phase="shares",
        round_id=state.round_id,
        message_type=Dealing,
        check=check,
    )
    # Whoever did not deal has no update in the round, silent or lying.
    before = state.standing.after(verdicts)
    standing = Standing(before.participants, tuple(dealt), before.verdicts)
    standing.check_enough(state.schemes.parameters, "shares")
    challenge = os.urandom(CHALLENGE_BYTES)
    commitments_bytes = {dealer: dealing.commitments for dealer, (dealing, _) in dealt.items()}
    requests = {}
    for user in standing.participants:
        boxes = {dealer: dealing.boxes[user] for dealer, (dealing, _) in dealt.items() if dealer != user}
        requests[user] = Delivery(state.round_id, commitments_bytes, boxes, challenge)
    following = AwaitingComplaints(
        state.schemes,
        state.round_id,
        standing,
        state.public_keys,
        {dealer: dealing for dealer, (dealing, _) in dealt.items()},
        {dealer: commitments for dealer, (_, commitments) in dealt.items()},
    )
    return following, requests


def receive_complaints(
    state: AwaitingComplaints, replies: Iterable[Reply]
) -> tuple[AwaitingOpenings, dict[int, OpeningRequest]]:
    """Take complaints; the requests ask dealers to open disputed boxes and are empty if nobody complains."""

    def check(user: int, message: Complaints) -> tuple[int, ...]:
        if not isinstance(message.dealers, tuple) or not set(message.dealers) <= set(state.dealings) - {user}:
            raise ParameterError("dealers", "must be users who dealt, not oneself", message.dealers)
        return tuple(sorted(set(message.dealers)))

    complaints, verdicts = judge_replies(
        state.standing.participants,
        replies,
        phase="complaints",
        round_id=state.round_id,
        message_type=Complaints,
        check=check,
    )
    most = state.schemes.parameters.sharing.num_attackers
    disputes = {}
    for dealer in state.dealings:
        complainers = tuple(user for user, dealers in complaints.items() if dealer in dealers)
        if len(complainers) > most:
            reason = (
                f"users {_names(complainers)} complain about its shares, more than num_attackers = {most}"
            )
            verdicts.append(Verdict(dealer, "complaints", reason, is_liar=True))
        elif complainers:
            disputes[dealer] = complainers
    standing = state.standing.after(verdicts)
    standing.check_enough(state.schemes.parameters, "complaints")
    # Those who complain about themselves being out of the round need no answer.
    open_disputes = {
        dealer: tuple(user for user in complainers if user in standing.participants)
        for dealer, complainers in disputes.items()
        if dealer in standing.dealers
    }
    open_disputes = {dealer: users for dealer, users in open_disputes.items() if users}
    requests = {
        dealer: OpeningRequest(state.round_id, users)
        for dealer, users in open_disputes.items()
        if dealer in standing.participants
    }
    return AwaitingOpenings(_with_standing(state, standing), open_disputes), requests


def receive_openings(
    state: AwaitingOpenings, replies: Iterable[Reply]
) -> tuple[AwaitingEvaluations, dict[int, EvaluationRequest]]:
    """Settle disputes, and ask for products and range sums."""
    base = state.base
    parameters = base.schemes.parameters

    def check(dealer: int, message: Openings) -> tuple[int, ...]:
        if not isinstance(message.openings, Mapping) or set(message.openings) != set(state.disputes[dealer]):
            raise ParameterError(
                "openings", f"must be those of users {_names(state.disputes[dealer])}", "others"
            )
        for receiver, opening in message.openings.items():
            _check_disputed_box(base, dealer, receiver, opening)
        return state.disputes[dealer]

    answered, verdicts = judge_replies(
        [dealer for dealer in state.disputes if dealer in base.standing.participants],
        replies,
        phase="openings",
        round_id=base.round_id,
        message_type=Openings,
        check=check,
    )
    accusers = {user: dealer for dealer, complainers in answered.items() for user in complainers}
    verdicts += [
        Verdict(user, "openings", f"complained about a right share of user {dealer}", is_liar=True)
        for user, dealer in sorted(accusers.items())
    ]
    standing = base.standing.after(verdicts)
    # A disputed dealer who does not answer any more cannot stay.
    unanswered = set(state.disputes) - set(answered)
    dealers = tuple(dealer for dealer in standing.dealers if dealer not in unanswered)
    standing = Standing(standing.participants, dealers, standing.verdicts)
    standing.check_enough(parameters, "openings")
    request = EvaluationRequest(base.round_id, dealers)
    following = AwaitingEvaluations(base.schemes, base.round_id, standing, base.commitments)
    return following, dict.fromkeys(standing.participants, request)


def _check_disputed_box(state: AwaitingComplaints, dealer: int, receiver: int, opening: bytes) -> None:
    """Raise a refusal if what the dealer sent is not a right share."""
    box, key = state.dealings[dealer].boxes[receiver], state.public_keys[receiver]
    if not isinstance(opening, bytes):
        raise ParameterError("opening", "must be bytes", type(opening).__name__)
    message = reopen_box(box, opening, key, channel(state.round_id, dealer, receiver))
    share = bytes_to_share(state.schemes.parameters, message)
    claims = share_claims(state.schemes.parameters, receiver, share, state.commitments[dealer])
    if state.schemes.find_false({receiver: claims}):
        raise FlowerCodedError(f"the share for user {receiver} does not match the commitments")


def _with_standing(state: AwaitingComplaints, standing: Standing) -> AwaitingComplaints:
    return AwaitingComplaints(
        state.schemes, state.round_id, standing, state.public_keys, state.dealings, state.commitments
    )


def _names(users: Iterable[int]) -> str:
    return ", ".join(map(str, users))
