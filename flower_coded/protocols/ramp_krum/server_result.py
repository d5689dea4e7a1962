"""The server's steps from products to the mean: range sums, distances, selection, sums.

What a liar sends here are values of polynomials of known degree, so Reed-Solomon decoding finds the wrong
ones and who sent them. A sum is also checked against the commitments of the selected users before it is used:
a wrong one costs nothing but its sender's place, and K + T right ones suffice.

Before anybody is selected, every update is shown to be short (range checks) and the norm of each of its
blocks to be within the bound, so that every distance is the integer it should be and no entry of the sum can
exceed m times the root of the bound. A user whose update is not is named, and the round goes on without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.commitment import Claim
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, absolute_values, from_bytes, to_ints
from flower_coded.crypto.reed_solomon import DecodedColumns, ReedSolomonCode
from flower_coded.errors import DecodingError
from flower_coded.protocols.ramp_krum.commitments import Commitments, Schemes
from flower_coded.protocols.ramp_krum.dealing import row_claim
from flower_coded.protocols.ramp_krum.messages import (
    Evaluations,
    Grade,
    Misbehavior,
    ShareSum,
    SumRequest,
)
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.range_check import is_in_range
from flower_coded.protocols.ramp_krum.selection import Selection, select_users
from flower_coded.protocols.ramp_krum.server_disputes import AwaitingEvaluations
from flower_coded.protocols.ramp_krum.status import ParticipantStatus, Reply, refusal, validate_replies

__all__ = ["AwaitingSums", "RoundOutcome", "receive_evaluations", "receive_sums"]


@dataclass(frozen=True)
class AwaitingSums:
    """The selection is announced.

    Parameters
    ----------
    schemes : Schemes
    round_id : bytes
    status : ParticipantStatus
    commitments : mapping of int to Commitments
    distances : mapping of (int, int) to int
        Squared distances that the selection used.
    selection : Selection
    num_attackers : int
        How many liars the selection allowed for.
    asked : tuple of int
        From whom a sum is awaited.
    unasked : tuple of int
        Who may still be asked.
    sums : mapping of int to ndarray of shape (row_length, 4), uint64
        Right sums so far, by user.
    """

    schemes: Schemes
    round_id: bytes
    status: ParticipantStatus
    commitments: Mapping[int, Commitments]
    distances: Mapping[tuple[int, int], int]
    selection: Selection
    num_attackers: int
    asked: tuple[int, ...]
    unasked: tuple[int, ...]
    sums: Mapping[int, FieldArray]


@dataclass(frozen=True)
class RoundOutcome:
    """The result of a round, and what was seen on the way.

    Parameters
    ----------
    total : ndarray of shape (L,), int64
        Sum of the selected users' quantized updates.
    mean : ndarray of shape (L,), float64
        What it stands for, divided by m.
    selection : Selection
    num_attackers : int
        How many liars the selection allowed for: A minus those already out.
    distances : mapping of (int, int) to int
        Squared distances of the quantized updates, as the server read them.
    status : ParticipantStatus
        Reports of misbehavior included.
    """

    total: NDArray[np.int64]
    mean: NDArray[np.float64]
    selection: Selection
    num_attackers: int
    distances: Mapping[tuple[int, int], int]
    status: ParticipantStatus


def receive_evaluations(
    state: AwaitingEvaluations, replies: Iterable[Reply], *, ask_everybody: bool = False
) -> tuple[AwaitingSums, dict[int, SumRequest]]:
    """Decode range sums and distances, select users, and ask for sums.

    Parameters
    ----------
    state : AwaitingEvaluations
    replies : iterable of Reply
    ask_everybody : bool
        False asks ``K + T + 2A`` users for their sum, as the paper counts, and others only when those do not
        suffice; True asks all at once.

    Raises
    ------
    RoundRefusedError
        If more values are missing or wrong than can be corrected, or too few updates are left.
    """
    parameters = state.schemes.parameters
    dealers = state.status.dealers
    num_pairs = 0 if parameters.is_ballot else len(dealers) * (len(dealers) - 1) // 2
    num_products = num_pairs + (0 if parameters.is_paper_form else len(dealers))
    num_sums = len(dealers) * parameters.num_range_checks

    def check(_: int, message: Evaluations) -> tuple[FieldArray, FieldArray]:
        products = from_bytes(_as_bytes(message.products), num_elements=num_products)
        return products, from_bytes(_as_bytes(message.range_sums), num_elements=num_sums)

    contents, reports = validate_replies(
        state.status.participants,
        replies,
        phase="evaluations",
        round_id=state.round_id,
        message_type=Evaluations,
        check=check,
    )
    status = state.status.after(reports)
    status.check_enough(parameters, "evaluations")
    if num_sums:
        range_sums = {user: content[1] for user, content in contents.items()}
        status = _check_ranges(parameters, status, range_sums, dealers)
        status.check_enough(parameters, "evaluations")
    products = {user: contents[user][0] for user in status.participants}
    status, values = _decode_products(parameters, status, products)
    if not parameters.is_paper_form:
        status = _check_norms(state, status, dealers, values[num_pairs:])
    status.check_enough(parameters, "evaluations")
    num_attackers = status.num_attackers_dealing(parameters)
    if parameters.is_ballot:
        distances: dict[tuple[int, int], int] = {}
        selection = _everybody(parameters, status)
    else:
        distances = _read_distances(parameters, status, dealers, values[:num_pairs])
        selection = select_users(distances, num_attackers=num_attackers, num_selected=parameters.num_selected)
    left = status.num_attackers_left(parameters)
    wave = len(status.participants) if ask_everybody else parameters.sharing.num_shares_needed + 2 * left
    following = AwaitingSums(
        state.schemes,
        state.round_id,
        status,
        state.commitments,
        distances,
        selection,
        num_attackers,
        asked=status.participants[:wave],
        unasked=status.participants[wave:],
        sums={},
    )
    return following, _ask_for_sums(following)


def receive_sums(
    state: AwaitingSums, replies: Iterable[Reply]
) -> tuple[AwaitingSums, dict[int, SumRequest]] | RoundOutcome:
    """Check sums against the commitments, and rebuild the result, or ask more users.

    Raises
    ------
    RoundRefusedError
        If fewer than K + T right sums can be had, or the result is out of range.
    """
    parameters = state.schemes.parameters
    length = parameters.families["update"].row_length
    contents, reports = validate_replies(
        state.asked,
        replies,
        phase="sums",
        round_id=state.round_id,
        message_type=ShareSum,
        check=lambda _, message: from_bytes(_as_bytes(message.total), num_elements=length),
    )
    false = state.schemes.find_false({user: _sum_claims(state, user, row) for user, row in contents.items()})
    reports += [
        Misbehavior(user, "sums", "the sum does not match the commitments", Grade.LIE) for user in false
    ]
    status = state.status.after(reports)
    sums = {**state.sums, **{user: row for user, row in contents.items() if user not in false}}
    needed = parameters.sharing.num_shares_needed
    if len(sums) >= needed:
        return _finish(state, status, sums)
    if not state.unasked:
        raise refusal("sums", "too few right sums", status, received=len(sums), needed=needed)
    following = replace(state, status=status, asked=state.unasked, unasked=(), sums=sums)
    return following, _ask_for_sums(following)


def _ask_for_sums(state: AwaitingSums) -> dict[int, SumRequest]:
    return dict.fromkeys(state.asked, SumRequest(state.round_id, state.selection.users))


def _check_ranges(
    parameters: RampKrumParameters,
    status: ParticipantStatus,
    range_sums: Mapping[int, FieldArray],
    dealers: tuple[int, ...],
) -> ParticipantStatus:
    sharing = parameters.sharing
    decoded = _decode(parameters, status, range_sums, sharing.num_shares_needed, "range sums")
    reports = _wrong_values(decoded, "range sums")
    opened = to_ints(parameters.embedding.read_parts(decoded.coefficients))
    checks = parameters.num_range_checks
    for number, dealer in enumerate(dealers):
        own = [
            opened[part * len(dealers) * checks + number * checks + check]
            for part in range(sharing.num_parts)
            for check in range(checks)
        ]
        failed = sum(not is_in_range(value, parameters) for value in own)
        if failed:
            reason = f"the update has entries far out of range: {failed} of {len(own)} subset sums are"
            reports.append(Misbehavior(dealer, "evaluations", reason, Grade.LIE))
    return status.after(reports)


def _decode_products(
    parameters: RampKrumParameters, status: ParticipantStatus, products: Mapping[int, FieldArray]
) -> tuple[ParticipantStatus, list[int]]:
    """Return what the products say: squared distances of all pairs, then norms."""
    decoded = _decode(parameters, status, products, parameters.sharing.num_product_coefficients, "products")
    values = to_ints(parameters.embedding.read_products(decoded.coefficients))
    return status.after(_wrong_values(decoded, "products")), values


def _check_norms(
    state: AwaitingEvaluations, status: ParticipantStatus, dealers: tuple[int, ...], norms: list[int]
) -> ParticipantStatus:
    """Name whose blocks, completed by their slack, do not have the norm that all must have."""
    norm_check = state.schemes.parameters.norm_check
    expected = norm_check.expected(norm_check.weights(state.digest))
    reason = "the norm of a block of its update exceeds the bound"
    return status.after(
        Misbehavior(dealer, "evaluations", reason, Grade.LIE)
        for dealer, norm in zip(dealers, norms, strict=True)
        if norm != expected and dealer not in status.liars
    )


def _everybody(parameters: RampKrumParameters, status: ParticipantStatus) -> Selection:
    """Select all whose ballot was accepted."""
    received, needed = len(status.dealers), parameters.num_selected
    if received < needed:
        raise refusal("evaluations", "too few ballots", status, received=received, needed=needed)
    return Selection(status.dealers, {})


def _read_distances(
    parameters: RampKrumParameters, status: ParticipantStatus, dealers: tuple[int, ...], values: list[int]
) -> dict[tuple[int, int], int]:
    pairs = [(i, j) for n, i in enumerate(dealers) for j in dealers[n + 1 :]]
    remaining = set(status.dealers)
    distances = {pair: value for pair, value in zip(pairs, values, strict=True) if set(pair) <= remaining}
    # Two updates within their bounds cannot be farther apart; with the checks passed this has a probability
    # of 2**-soundness_bits, without them (the paper's form) it is how an oversized update shows.
    largest = max(distances.values(), default=0)
    if largest > FIELD_MODULUS // 2:
        raise refusal(
            "evaluations",
            "a squared distance is no integer that two short updates can have",
            status,
            why_nobody="a distance belongs to two users",
        )
    return distances


def _decode(
    parameters: RampKrumParameters,
    status: ParticipantStatus,
    values: Mapping[int, FieldArray],
    dimension: int,
    what: str,
) -> DecodedColumns:
    users = sorted(values)
    code = ReedSolomonCode(parameters.sharing.points, dimension)
    try:
        return code.decode(np.stack([values[user] for user in users]), rows=users)
    except DecodingError as error:
        raise refusal(
            "evaluations",
            f"the {what} of {len(users)} users cannot be decoded: {error}",
            status,
            why_nobody=f"more than num_attackers = {parameters.sharing.num_attackers} users lie together, "
            "and which values are wrong cannot be told from the values alone",
        ) from error


def _wrong_values(decoded: DecodedColumns, what: str) -> list[Misbehavior]:
    return [Misbehavior(user, "evaluations", f"sent wrong {what}", Grade.LIE) for user in decoded.wrong_rows]


def _sum_claims(state: AwaitingSums, user: int, row: FieldArray) -> dict[str, list[Claim]]:
    parameters = state.schemes.parameters
    dealers = [state.commitments[dealer] for dealer in state.selection.users]
    return {"update": [row_claim(parameters, parameters.polynomials[0], user, row, dealers)]}


def _finish(state: AwaitingSums, status: ParticipantStatus, sums: Mapping[int, FieldArray]) -> RoundOutcome:
    parameters = state.schemes.parameters
    users = sorted(sums)[: parameters.sharing.num_shares_needed]
    shares = np.stack([sums[user][: parameters.part_length] for user in users])
    readers = parameters.embedding.part_readers
    parts = parameters.sharing.reconstruct(shares, users=users, readers=readers)
    elements = parameters.sharing.join(parts, length=parameters.length)
    entry = parameters.fixed_point.max_integer if parameters.is_paper_form else parameters.largest_entry
    number = len(state.selection.users)
    total = _read_total(elements, number * entry)
    if total is None:
        raise refusal(
            "sums",
            f"an entry of the sum exceeds {number} times what an update may hold",
            status,
            why_nobody="the sum does not show who of the selected users added what; "
            + (
                "the paper's form checks no update"
                if parameters.is_paper_form
                else f"with all checks passed this happens with probability 2**-{parameters.soundness_bits}"
            ),
        )
    mean = parameters.fixed_point.dequantize(total, count=number)
    return RoundOutcome(total, mean, state.selection, state.num_attackers, state.distances, status)


def _read_total(elements: FieldArray, limit: int) -> NDArray[np.int64] | None:
    """Read field elements as signed integers; None if one exceeds the limit."""
    sizes, is_negative = absolute_values(elements)
    if sizes[:, 1:].any() or (sizes[:, 0] > np.uint64(limit)).any():
        return None
    integers = sizes[:, 0].astype(np.int64)
    return np.where(is_negative, -integers, integers)


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b"?"  # one byte is no field element and is refused as such
