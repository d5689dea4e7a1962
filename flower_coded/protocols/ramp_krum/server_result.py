"""The server's steps from products to the mean: range sums, distances, selection, sums.

What a liar sends here are values of polynomials of known degree, so Reed-Solomon decoding finds the wrong
ones and who sent them. A sum is also checked against the commitments of the selected users before it is used:
a wrong one costs nothing but its sender's place, and K + T right ones suffice.

The result is looked at once more before it leaves: if an entry of the sum exceeds m times the clipping bound,
somebody selected sent what no honest user sends (it can only be an entry that is moderately too large, or any
at all if range checks are off), and the round is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.commitment import Claim
from flower_coded.crypto.field_vectors import FIELD_MODULUS, FieldArray, from_bytes, to_ints
from flower_coded.crypto.reed_solomon import DecodedColumns, ReedSolomonCode
from flower_coded.errors import DecodingError, RoundRefusedError
from flower_coded.protocols.ramp_krum.commitments import Commitments, Schemes
from flower_coded.protocols.ramp_krum.dealing import row_claim
from flower_coded.protocols.ramp_krum.messages import Evaluations, ShareSum, SumRequest, Verdict
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.range_check import is_in_range
from flower_coded.protocols.ramp_krum.replies import Reply, Standing, judge_replies
from flower_coded.protocols.ramp_krum.selection import Selection, select_users
from flower_coded.protocols.ramp_krum.server_sharing import AwaitingEvaluations

__all__ = ["AwaitingSums", "RoundOutcome", "receive_evaluations", "receive_sums"]


@dataclass(frozen=True)
class AwaitingSums:
    """The selection is announced.

    Parameters
    ----------
    schemes : Schemes
    round_id : bytes
    standing : Standing
    commitments : mapping of int to Commitments
    distances : mapping of (int, int) to int
        Squared distances that the selection used.
    selection : Selection
    asked : tuple of int
        From whom a sum is awaited.
    unasked : tuple of int
        Who may still be asked.
    sums : mapping of int to ndarray of shape (row_length, 4), uint64
        Right sums so far, by user.
    """

    schemes: Schemes
    round_id: bytes
    standing: Standing
    commitments: Mapping[int, Commitments]
    distances: Mapping[tuple[int, int], int]
    selection: Selection
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
    distances : mapping of (int, int) to int
        Squared distances of the quantized updates, as the server read them.
    standing : Standing
        Verdicts included.
    """

    total: NDArray[np.int64]
    mean: NDArray[np.float64]
    selection: Selection
    distances: Mapping[tuple[int, int], int]
    standing: Standing


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
    dealers = state.standing.dealers
    num_products, num_sums = (
        len(dealers) * (len(dealers) - 1) // 2,
        len(dealers) * parameters.num_range_checks,
    )

    def check(_: int, message: Evaluations) -> tuple[FieldArray, FieldArray]:
        products = from_bytes(_as_bytes(message.products), num_elements=num_products)
        return products, from_bytes(_as_bytes(message.range_sums), num_elements=num_sums)

    contents, verdicts = judge_replies(
        state.standing.participants,
        replies,
        phase="evaluations",
        round_id=state.round_id,
        message_type=Evaluations,
        check=check,
    )
    standing = state.standing.after(verdicts)
    standing.check_enough(parameters, "evaluations")
    if num_sums:
        range_sums = {user: content[1] for user, content in contents.items()}
        standing = _check_ranges(parameters, standing, range_sums, dealers)
        standing.check_enough(parameters, "evaluations")
    products = {user: contents[user][0] for user in standing.participants}
    standing, distances = _read_distances(parameters, standing, products, dealers)
    standing.check_enough(parameters, "evaluations")
    left = standing.num_attackers_left(parameters)
    remaining = {pair: d for pair, d in distances.items() if set(pair) <= set(standing.dealers)}
    selection = select_users(remaining, num_attackers=left, num_selected=parameters.num_selected)
    wave = len(standing.participants) if ask_everybody else parameters.sharing.num_shares_needed + 2 * left
    asked, unasked = standing.participants[:wave], standing.participants[wave:]
    following = AwaitingSums(
        state.schemes, state.round_id, standing, state.commitments, remaining, selection, asked, unasked, {}
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
    contents, verdicts = judge_replies(
        state.asked,
        replies,
        phase="sums",
        round_id=state.round_id,
        message_type=ShareSum,
        check=lambda _, message: from_bytes(_as_bytes(message.total), num_elements=length),
    )
    false = state.schemes.find_false({user: _sum_claims(state, user, row) for user, row in contents.items()})
    verdicts += [
        Verdict(user, "sums", "the sum does not match the commitments", is_liar=True) for user in false
    ]
    standing = state.standing.after(verdicts)
    sums = {**state.sums, **{user: row for user, row in contents.items() if user not in false}}
    needed = parameters.sharing.num_shares_needed
    if len(sums) >= needed:
        return _finish(state, standing, sums)
    if not state.unasked:
        raise RoundRefusedError(
            "sums", "too few right sums", received=len(sums), needed=needed, verdicts=standing.verdicts
        )
    following = AwaitingSums(
        state.schemes,
        state.round_id,
        standing,
        state.commitments,
        state.distances,
        state.selection,
        state.unasked,
        (),
        sums,
    )
    return following, _ask_for_sums(following)


def _ask_for_sums(state: AwaitingSums) -> dict[int, SumRequest]:
    return dict.fromkeys(state.asked, SumRequest(state.round_id, state.selection.users))


def _check_ranges(
    parameters: RampKrumParameters,
    standing: Standing,
    range_sums: Mapping[int, FieldArray],
    dealers: tuple[int, ...],
) -> Standing:
    sharing = parameters.sharing
    decoded = _decode(parameters, standing, range_sums, sharing.num_shares_needed, "range sums")
    verdicts = _wrong_values(decoded, "range sums")
    opened = to_ints(decoded.coefficients[: sharing.num_parts])
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
            verdicts.append(Verdict(dealer, "evaluations", reason, is_liar=True))
    return standing.after(verdicts)


def _read_distances(
    parameters: RampKrumParameters,
    standing: Standing,
    products: Mapping[int, FieldArray],
    dealers: tuple[int, ...],
) -> tuple[Standing, dict[tuple[int, int], int]]:
    decoded = _decode(parameters, standing, products, parameters.sharing.num_product_coefficients, "products")
    verdicts = _wrong_values(decoded, "products")
    totals = to_ints(decoded.coefficients[parameters.sharing.num_parts - 1])
    pairs = [(i, j) for n, i in enumerate(dealers) for j in dealers[n + 1 :]]
    read = {
        pair: parameters.packing.squared_distance(total) for pair, total in zip(pairs, totals, strict=True)
    }
    standing = standing.after(verdicts)
    left = standing.num_attackers_left(parameters)
    # Two honest updates cannot be that far apart: one with more such neighbors than liars are left is a
    # liar's.
    far = [pair for pair in pairs if read[pair] is None and set(pair) <= set(standing.dealers)]
    found = [
        Verdict(user, "evaluations", "the update is farther from others than clipping allows", is_liar=True)
        for user in standing.dealers
        if sum(user in pair for pair in far) > left
    ]
    distances = {pair: FIELD_MODULUS if distance is None else distance for pair, distance in read.items()}
    return standing.after(found), distances


def _decode(
    parameters: RampKrumParameters,
    standing: Standing,
    values: Mapping[int, FieldArray],
    dimension: int,
    what: str,
) -> DecodedColumns:
    users = sorted(values)
    code = ReedSolomonCode(parameters.sharing.points, dimension)
    try:
        return code.decode(np.stack([values[user] for user in users]), rows=users)
    except DecodingError as error:
        raise RoundRefusedError(
            "evaluations",
            f"the {what} of {len(users)} users cannot be decoded: {error}",
            verdicts=standing.verdicts,
        ) from error


def _wrong_values(decoded: DecodedColumns, what: str) -> list[Verdict]:
    return [Verdict(user, "evaluations", f"sent wrong {what}", is_liar=True) for user in decoded.wrong_rows]


def _sum_claims(state: AwaitingSums, user: int, row: FieldArray) -> dict[str, list[Claim]]:
    parameters = state.schemes.parameters
    dealers = [state.commitments[dealer] for dealer in state.selection.users]
    return {"update": [row_claim(parameters, parameters.polynomials[0], user, row, dealers)]}


def _finish(state: AwaitingSums, standing: Standing, sums: Mapping[int, FieldArray]) -> RoundOutcome:
    parameters = state.schemes.parameters
    users = sorted(sums)[: parameters.sharing.num_shares_needed]
    shares = np.stack([sums[user][: parameters.part_length] for user in users])
    parts = parameters.sharing.reconstruct(shares, users=users)
    elements = parameters.sharing.join(parts, length=parameters.packing.num_elements)
    total, is_valid = parameters.packing.unpack(elements, length=parameters.length)
    limit = parameters.num_selected * parameters.fixed_point.max_integer
    num_outside = int(np.count_nonzero(~is_valid)) or int(np.count_nonzero(np.abs(total) > limit))
    if num_outside:
        raise RoundRefusedError(
            "sums",
            f"{num_outside} entries of the sum exceed {parameters.num_selected} times the clipping bound, so "
            f"one of users {', '.join(map(str, state.selection.users))} shared what no honest one does",
            verdicts=standing.verdicts,
        )
    mean = parameters.fixed_point.dequantize(total, count=parameters.num_selected)
    return RoundOutcome(total, mean, state.selection, state.distances, standing)


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b"?"  # one byte is no field element and is refused as such
