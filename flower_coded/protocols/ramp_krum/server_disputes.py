"""The server's steps that settle whose shares count: complaints and openings.

A disputed share is opened by its dealer, whose opening can fit that encrypted share only, and the server sees
who lied: if the share does not open or does not match the commitments, the dealer; else the complainer.
Nobody is found lying by the number of complaints: more than A about one dealer may come from a dealer who
lies or from more liars than the protocol is set for, and only a share tells these apart.

An opened share of an honest dealer is a share more that the server knows, so openings are rare on purpose.
They come one at a time for every complainer and every dealer; a complainer found lying is out and its other
complaints with it, so that each of A liars can have one share opened in all. Of one dealer no more than T are
ever opened: with ``T >= A`` it takes more than A liars to reach that, and a dealer with complaints left then
is left out, and blamed by nobody. The dealer itself counts, too, and refuses a request beyond T.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from flower_coded.crypto.encrypted_share import KEY_BYTES, reopen_share
from flower_coded.errors import FlowerCodedError, ParameterError
from flower_coded.protocols.ramp_krum.commitments import Commitments, Schemes
from flower_coded.protocols.ramp_krum.dealing import bytes_to_share, share_claims
from flower_coded.protocols.ramp_krum.echo import ECHO_BYTES, view_digest
from flower_coded.protocols.ramp_krum.messages import (
    Complaints,
    EvaluationRequest,
    Grade,
    Misbehavior,
    OpeningRequest,
    Openings,
)
from flower_coded.protocols.ramp_krum.range_check import CHALLENGE_BYTES
from flower_coded.protocols.ramp_krum.server_sharing import AwaitingComplaints
from flower_coded.protocols.ramp_krum.status import ParticipantStatus, Reply, validate_replies
from flower_coded.protocols.ramp_krum.user import share_context

__all__ = ["AwaitingEvaluations", "AwaitingOpenings", "receive_complaints", "receive_openings"]


@dataclass(frozen=True)
class AwaitingOpenings:
    """Some shares may be disputed.

    Parameters
    ----------
    base : AwaitingComplaints
        With the status so far.
    disputes : mapping of int to tuple of int
        By dealer, whose complaints about it are not settled.
    asked : mapping of int to int
        By dealer, the complainer whose share it was asked to open.
    opened : mapping of int to tuple of int
        By dealer, for whom shares were opened before.
    echoes : mapping of int to (mapping of int to bytes)
        By sender, what it sent for every other user.
    """

    base: AwaitingComplaints
    disputes: Mapping[int, tuple[int, ...]]
    asked: Mapping[int, int]
    opened: Mapping[int, tuple[int, ...]]
    echoes: Mapping[int, Mapping[int, bytes]]


@dataclass(frozen=True)
class AwaitingEvaluations:
    """It is settled whose shares count.

    Parameters
    ----------
    schemes : Schemes
    round_id : bytes
    status : ParticipantStatus
    commitments : mapping of int to Commitments
    digest : bytes
        Of keys and commitments as they were shown; draws the weights of the norm check.
    challenge : bytes
        Of the range checks.
    """

    schemes: Schemes
    round_id: bytes
    status: ParticipantStatus
    commitments: Mapping[int, Commitments]
    digest: bytes
    challenge: bytes


def receive_complaints(
    state: AwaitingComplaints, replies: Iterable[Reply]
) -> tuple[AwaitingOpenings, dict[int, OpeningRequest]]:
    """Take complaints and echoes; the requests are empty if nothing is to be opened."""

    def check(user: int, message: Complaints) -> tuple[tuple[int, ...], Mapping[int, bytes]]:
        return _check_complaints(state, user, message)

    contents, reports = validate_replies(
        state.status.participants,
        replies,
        phase="complaints",
        round_id=state.round_id,
        message_type=Complaints,
        check=check,
    )
    disputes = {}
    for dealer in state.dealings:
        if complainers := tuple(user for user, (dealers, _) in contents.items() if dealer in dealers):
            disputes[dealer] = complainers
    status = state.status.after(reports)
    echoes = {user: sent for user, (_, sent) in contents.items()}
    return _ask_for_openings(replace(state, status=status), disputes, {}, echoes)


def receive_openings(
    state: AwaitingOpenings, replies: Iterable[Reply]
) -> (
    tuple[AwaitingOpenings, dict[int, OpeningRequest]]
    | tuple[AwaitingEvaluations, dict[int, EvaluationRequest]]
):
    """Settle the disputes asked about; ask about the next, or for products, norms and range sums."""
    base = state.base

    def check(dealer: int, message: Openings) -> bytes:
        complainer, openings = state.asked[dealer], message.openings
        if not isinstance(openings, Mapping) or list(openings) != [complainer]:
            raise ParameterError("openings", f"must be that of user {complainer}", "others")
        opening = openings[complainer]
        if not isinstance(opening, bytes) or len(opening) != KEY_BYTES:
            raise ParameterError("opening", f"must be {KEY_BYTES} bytes", "another")
        return opening

    answered, reports = validate_replies(
        state.asked,
        replies,
        phase="openings",
        round_id=base.round_id,
        message_type=Openings,
        check=check,
    )
    opened = dict(state.opened)
    for dealer, opening in answered.items():
        complainer = state.asked[dealer]
        opened[dealer] = (*opened.get(dealer, ()), complainer)
        fault = _fault_in_share(base, dealer, complainer, opening)
        liar = dealer if fault else complainer
        reason = fault or f"complained about a right share of user {dealer}"
        reports.append(Misbehavior(liar, "openings", reason, Grade.LIE))
    # A dealer who is asked and does not answer cannot stay, whoever is right.
    unanswered = set(state.asked) - set(answered)
    status = base.status.after(reports, without_dealers=unanswered)
    following = _ask_for_openings(replace(base, status=status), state.disputes, opened, state.echoes)
    if following[0].disputes:
        return following
    return _ask_for_evaluations(following[0])


def _check_complaints(
    state: AwaitingComplaints, user: int, message: Complaints
) -> tuple[tuple[int, ...], Mapping[int, bytes]]:
    dealers, echoes = message.dealers, message.echoes
    others, receivers = set(state.dealings) - {user}, set(state.public_keys) - {user}
    # The length is bounded before anything of it is converted or written down.
    if not isinstance(dealers, tuple) or len(dealers) > len(others) or not set(dealers) <= others:
        raise ParameterError("dealers", "must be users who dealt, not oneself", "others")
    if not isinstance(echoes, Mapping) or len(echoes) != len(receivers) or set(echoes) != receivers:
        raise ParameterError("echoes", f"must be one for each of {len(receivers)} users", "others")
    if any(not isinstance(echo, bytes) or len(echo) != ECHO_BYTES for echo in echoes.values()):
        raise ParameterError("echoes", f"must have {ECHO_BYTES} bytes each", "another size")
    return tuple(sorted(set(dealers))), echoes


def _ask_for_openings(
    base: AwaitingComplaints,
    disputes: Mapping[int, tuple[int, ...]],
    opened: Mapping[int, tuple[int, ...]],
    echoes: Mapping[int, Mapping[int, bytes]],
) -> tuple[AwaitingOpenings, dict[int, OpeningRequest]]:
    """Drop what is settled, and pair complainers with dealers, each at most once."""
    sharing = base.schemes.parameters.sharing
    unsettled: dict[int, tuple[int, ...]] = {}
    left_out = []
    for dealer, complainers in disputes.items():
        # Of a complainer who is out, lying or silent, nobody will ask for a share any more.
        open_complaints = tuple(user for user in complainers if user in base.status.participants)
        if dealer not in base.status.dealers or not open_complaints:
            continue
        if dealer in base.status.participants and len(opened.get(dealer, ())) < sharing.num_colluders:
            unsettled[dealer] = open_complaints
        else:
            left_out.append(dealer)  # it cannot answer any more, or may not
    status = base.status.after((), without_dealers=left_out)
    status.check_enough(base.schemes.parameters, "openings" if opened else "complaints")
    asked: dict[int, int] = {}
    for dealer, complainers in unsettled.items():
        free = [user for user in complainers if user not in asked.values()]
        if free:
            asked[dealer] = free[0]
    requests = {dealer: OpeningRequest(base.round_id, (complainer,)) for dealer, complainer in asked.items()}
    following = AwaitingOpenings(replace(base, status=status), unsettled, asked, opened, echoes)
    return following, requests


def _ask_for_evaluations(
    state: AwaitingOpenings,
) -> tuple[AwaitingEvaluations, dict[int, EvaluationRequest]]:
    base = state.base
    shown = {dealer: dealing.commitments for dealer, dealing in base.dealings.items()}
    digest = view_digest(base.round_id, base.public_keys, shown)
    # Drawn only now: whoever would fail can no longer be disputed and fall silent.
    challenge = os.urandom(CHALLENGE_BYTES)
    requests = {}
    for user in base.status.participants:
        echoes = {sender: sent[user] for sender, sent in state.echoes.items() if sender != user}
        requests[user] = EvaluationRequest(base.round_id, base.status.dealers, challenge, echoes)
    following = AwaitingEvaluations(
        base.schemes, base.round_id, base.status, base.commitments, digest, challenge
    )
    return following, requests


def _fault_in_share(state: AwaitingComplaints, dealer: int, receiver: int, opening: bytes) -> str:
    """Return what is wrong with the share that a dealer sent; empty if nothing is."""
    encrypted, key = state.dealings[dealer].encrypted_shares[receiver], state.public_keys[receiver]
    try:
        message = reopen_share(encrypted, opening, key, share_context(state.round_id, dealer, receiver))
        share = bytes_to_share(state.schemes.parameters, message)
    except FlowerCodedError as error:
        return f"its share for user {receiver}: {error}"
    claims = share_claims(state.schemes.parameters, receiver, share, state.commitments[dealer])
    if state.schemes.find_false({receiver: claims}):
        return f"its share for user {receiver} does not match the commitments"
    return ""
