"""A user's steps: each takes a state and the server's request, and returns a new state and the answer.

A state holds what a later step needs and nothing else. What can be computed when shares arrive is computed
then (checks, inner products, range sums), so that of two long shares per dealer only the first is kept, for
the sum. After the sum there is no state left.

A step refuses (:class:`RoundRefusedError`) what an honest server does not ask: a request out of turn or of
another round, a sum over fewer than m users or over users unknown, a second sum, the opening of more than A
boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.commitment import Claim
from flower_coded.crypto.field_products import gram_matrix, weighted_sum
from flower_coded.crypto.field_vectors import FieldArray, add, subtract, to_bytes, zeros
from flower_coded.crypto.sealed_channel import ChannelContext, KeyPair, open_box, seal
from flower_coded.errors import FlowerCodedError, RoundRefusedError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.dealing import (
    Resources,
    Share,
    bytes_to_share,
    draw_rows,
    share_claims,
    share_rows,
    share_to_bytes,
)
from flower_coded.protocols.ramp_krum.messages import (
    Complaints,
    Dealing,
    DealRequest,
    Delivery,
    EvaluationRequest,
    Evaluations,
    KeyRequest,
    OpeningRequest,
    Openings,
    PublicKey,
    Request,
    ShareSum,
    SumRequest,
)
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.range_check import random_subsets, subset_sums

__all__ = [
    "DealtState",
    "HoldingState",
    "KeyState",
    "add_up",
    "announce_key",
    "answer_dispute",
    "channel",
    "deal",
    "evaluate",
    "receive_shares",
]

ShareFilter = Callable[[dict[int, Share]], dict[int, Share]]
"""Changes shares before they are sealed: what a lying dealer does. Honest users pass none."""


@dataclass(frozen=True)
class KeyState:
    """After the key was announced.

    Parameters
    ----------
    round_id : bytes
    user : int
    key : KeyPair
        Of this round.
    """

    round_id: bytes
    user: int
    key: KeyPair


@dataclass(frozen=True)
class DealtState:
    """After shares were dealt.

    Parameters
    ----------
    round_id : bytes
    user : int
    key : KeyPair
    openings : mapping of int to bytes
        What opens the box of each receiver, should it be disputed.
    own_share : Share
        The dealer's share of its own update.
    """

    round_id: bytes
    user: int
    key: KeyPair
    openings: Mapping[int, bytes]
    own_share: Share


@dataclass(frozen=True)
class HoldingState:
    """After everybody's shares arrived.

    Parameters
    ----------
    round_id : bytes
    user : int
    openings : mapping of int to bytes
        As before.
    dealers : tuple of int
        Whose shares were right, ascending; the first axis of the arrays below.
    first : ndarray of shape (n, row_length, 4), uint64
        Their first shares.
    inner : ndarray of shape (n, n, 4), uint64
        Inner products of first and second shares.
    range_sums : ndarray of shape (n, Q, 4), uint64
        Masked subset sums.
    product_masks : ndarray of shape (n, num_pairs, 4), uint64
    """

    round_id: bytes
    user: int
    openings: Mapping[int, bytes]
    dealers: tuple[int, ...]
    first: FieldArray
    inner: FieldArray
    range_sums: FieldArray
    product_masks: FieldArray


def channel(round_id: bytes, sender: int, receiver: int) -> ChannelContext:
    """Return what a box of this protocol is bound to."""
    return ChannelContext("ramp-krum", round_id, sender, receiver)


def announce_key(user: int, request: KeyRequest) -> tuple[KeyState, PublicKey]:
    """Make a key for the round."""
    key = KeyPair.generate()
    return KeyState(request.round_id, user, key), PublicKey(request.round_id, user, key.public_key)


def deal(
    schemes: Schemes,
    state: KeyState,
    request: DealRequest,
    parts: FieldArray,
    *,
    resources: Resources | None = None,
    alter_shares: ShareFilter | None = None,
) -> tuple[DealtState, Dealing]:
    """Commit to an update and deal shares of it.

    Parameters
    ----------
    schemes : Schemes
    state : KeyState
    request : DealRequest
    parts : ndarray of shape (K, part_length, 4), uint64
        From :func:`flower_coded.protocols.ramp_krum.dealing.update_to_parts`.
    resources : Resources or None
    alter_shares : callable or None
        For experiments with lying dealers only.

    Returns
    -------
    state : DealtState
    message : Dealing
    """
    parameters = schemes.parameters
    _check_turn(state.round_id, request, "shares")
    if state.user not in request.public_keys or max(request.public_keys) >= parameters.sharing.num_users:
        raise RoundRefusedError("shares", "the server's list of users does not fit this round")
    rows = draw_rows(parameters, parts)
    commitments_bytes = schemes.to_bytes(schemes.commit(rows))
    shares = share_rows(parameters, rows, sorted(request.public_keys), resources or Resources())
    if alter_shares is not None:
        shares = alter_shares(shares)
    boxes, openings = {}, {}
    for receiver, public_key in request.public_keys.items():
        if receiver != state.user:
            context = channel(state.round_id, state.user, receiver)
            message = share_to_bytes(parameters, shares[receiver])
            boxes[receiver], openings[receiver] = seal(message, public_key, context)
    dealt = DealtState(state.round_id, state.user, state.key, openings, shares[state.user])
    return dealt, Dealing(state.round_id, state.user, commitments_bytes, boxes)


def receive_shares(
    schemes: Schemes, state: DealtState, delivery: Delivery, *, resources: Resources | None = None
) -> tuple[HoldingState, Complaints]:
    """Open and check everybody's shares, and compute what the next steps send.

    Parameters
    ----------
    schemes : Schemes
    state : DealtState
    delivery : Delivery
    resources : Resources or None

    Returns
    -------
    state : HoldingState
    message : Complaints
        Dealers whose box does not open or whose share does not match their commitments.
    """
    _check_turn(state.round_id, delivery, "complaints")
    shares: dict[int, Share] = {}
    claims: dict[int, dict[str, list[Claim]]] = {}
    unreadable = []
    for dealer in sorted(delivery.boxes):
        try:
            context = channel(state.round_id, dealer, state.user)
            share = bytes_to_share(schemes.parameters, open_box(delivery.boxes[dealer], state.key, context))
            commitments = schemes.from_bytes(delivery.commitments[dealer])
        except FlowerCodedError:
            unreadable.append(dealer)
            continue
        shares[dealer] = share
        claims[dealer] = share_claims(schemes.parameters, state.user, share, commitments)
    false = schemes.find_false(claims)
    right = {dealer: share for dealer, share in shares.items() if dealer not in false}
    if state.user in delivery.commitments:
        right[state.user] = state.own_share
    holding = _condense(schemes.parameters, state, right, delivery.challenge, resources or Resources())
    complaints = tuple(sorted({*unreadable, *false}))
    return holding, Complaints(state.round_id, state.user, complaints)


def answer_dispute(
    parameters: RampKrumParameters, state: HoldingState, request: OpeningRequest
) -> tuple[HoldingState, Openings]:
    """Open the boxes that their receivers complain about: no more than A of them."""
    _check_turn(state.round_id, request, "openings")
    most = parameters.sharing.num_attackers
    if len(request.receivers) > most:
        raise RoundRefusedError("openings", f"more than num_attackers = {most} boxes are not opened")
    unknown = set(request.receivers) - set(state.openings)
    if unknown:
        raise RoundRefusedError("openings", f"no box was sealed for users {sorted(unknown)}")
    openings = {receiver: state.openings[receiver] for receiver in request.receivers}
    return state, Openings(state.round_id, state.user, openings)


def evaluate(
    parameters: RampKrumParameters, state: HoldingState, request: EvaluationRequest
) -> tuple[HoldingState, Evaluations]:
    """Return inner products of differences of shares, one for every pair of dealers, and the range sums.

    ``<F_i - F_j, F~_i - F~_j>`` follows from the matrix of inner products of all shares.
    """
    _check_turn(state.round_id, request, "evaluations")
    chosen = _positions(state, request.dealers, "evaluations")
    inner = state.inner[np.ix_(chosen, chosen)]
    upper = np.triu_indices(len(chosen), k=1)
    diagonal = inner[np.arange(len(chosen)), np.arange(len(chosen))]
    squares = add(diagonal[upper[0]], diagonal[upper[1]])
    products = subtract(squares, add(inner[upper], inner[upper[1], upper[0]]))
    if parameters.hides_products:
        masks = weighted_sum([1] * len(chosen), state.product_masks[chosen])
        products = add(products, masks[_pair_numbers(parameters, request.dealers)])
    sums = state.range_sums[chosen]
    return state, Evaluations(state.round_id, state.user, to_bytes(products), to_bytes(sums))


def add_up(parameters: RampKrumParameters, state: HoldingState, request: SumRequest) -> tuple[None, ShareSum]:
    """Return the sum of the selected dealers' first shares; nothing is kept."""
    _check_turn(state.round_id, request, "sums")
    if len(set(request.selected)) < parameters.num_selected:
        raise RoundRefusedError(
            "sums",
            "a sum over so few users would tell too much",
            received=len(set(request.selected)),
            needed=parameters.num_selected,
        )
    chosen = _positions(state, request.selected, "sums")
    total = weighted_sum([1] * len(chosen), state.first[chosen])
    return None, ShareSum(state.round_id, state.user, to_bytes(total))


def _condense(
    parameters: RampKrumParameters,
    state: DealtState,
    shares: Mapping[int, Share],
    challenge: bytes,
    resources: Resources,
) -> HoldingState:
    dealers = tuple(sorted(shares))
    length = parameters.part_length
    family = parameters.families["update"]
    first = _stack([shares[dealer]["first"] for dealer in dealers], family.row_length)
    second = None
    if parameters.has_second_shares:
        second = _stack([shares[dealer]["second"][:length] for dealer in dealers], length)
    inner = gram_matrix(first[:, :length], second, num_threads=resources.num_threads, device=resources.device)
    range_sums = zeros(len(dealers), 0)
    if parameters.num_range_checks:
        size = parameters.num_range_checks
        subsets = random_subsets(challenge, num_subsets=size, length=length)
        masks = _stack([shares[dealer]["range"][:size] for dealer in dealers], size)
        range_sums = add(subset_sums(first[:, :length], subsets), masks)
    size = parameters.num_pairs if parameters.hides_products else 0
    masks = zeros(len(dealers), size)
    if size:
        masks = _stack([shares[dealer]["product"][:size] for dealer in dealers], size)
    return HoldingState(state.round_id, state.user, state.openings, dealers, first, inner, range_sums, masks)


def _stack(rows: list[FieldArray], length: int) -> FieldArray:
    return np.stack(rows) if rows else zeros(0, length)


def _positions(state: HoldingState, users: tuple[int, ...], phase: str) -> list[int]:
    missing = set(users) - set(state.dealers)
    if missing or tuple(sorted(set(users))) != tuple(users):
        raise RoundRefusedError(phase, f"no right share is held of users {sorted(missing) or list(users)}")
    return [state.dealers.index(user) for user in users]


def _pair_numbers(parameters: RampKrumParameters, users: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the place of every pair of ``users`` among all pairs of the round's users."""
    upper = np.triu_indices(parameters.sharing.num_users, k=1)
    is_chosen = np.isin(upper[0], users) & np.isin(upper[1], users)
    return np.flatnonzero(is_chosen)


def _check_turn(round_id: bytes, request: Request, phase: str) -> None:
    if request.round_id != round_id:
        raise RoundRefusedError(phase, "the request belongs to another round")
