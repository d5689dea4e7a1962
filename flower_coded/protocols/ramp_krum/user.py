"""A user's steps: each takes a state and the server's request, and returns a new state and the answer.

A state holds what a later step needs and nothing else. What can be computed when shares arrive is computed
then (checks, inner products, norms), so that of a dealer's share only what range checks and the sum need is
kept. After the sum there is no state left.

A step refuses (:class:`RoundRefusedError`) what an honest server does not ask: a request out of turn, twice
or of another round, a sum over fewer than m users or over users unknown, the opening of more than T shares,
products while others were shown other commitments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flower_coded.crypto.commitment import Claim
from flower_coded.crypto.encrypted_share import KeyPair, ShareContext, decrypt_share, encrypt_share
from flower_coded.crypto.field_products import gram_matrix, weighted_sum
from flower_coded.crypto.field_vectors import FieldArray, add, subtract, to_bytes, zeros
from flower_coded.errors import FlowerCodedError, RoundRefusedError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.conduct import HONEST, Conduct
from flower_coded.protocols.ramp_krum.dealing import (
    Resources,
    Share,
    bytes_to_share,
    draw_rows,
    draw_slack,
    share_claims,
    share_rows,
    share_to_bytes,
    update_to_parts,
)
from flower_coded.protocols.ramp_krum.echo import check_echoes, encrypt_echoes, view_digest
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
    "SummingState",
    "add_up",
    "announce_key",
    "answer_dispute",
    "deal",
    "evaluate",
    "receive_shares",
    "share_context",
]


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
    public_keys : mapping of int to bytes
        Of all users that take part, as the server showed them.
    openings : mapping of int to bytes
        What opens the share of each receiver, should it be disputed.
    own_share : Share
        The dealer's share of its own update.
    """

    round_id: bytes
    user: int
    key: KeyPair
    public_keys: Mapping[int, bytes]
    openings: Mapping[int, bytes]
    own_share: Share


@dataclass(frozen=True)
class HoldingState:
    """After everybody's shares arrived.

    Parameters
    ----------
    round_id : bytes
    user : int
    key : KeyPair
    openings : mapping of int to bytes
        As before.
    opened : tuple of int
        Whose shares were opened to the server.
    digest : bytes
        Of what the server showed; see :mod:`flower_coded.protocols.ramp_krum.echo`.
    dealers : tuple of int
        Whose shares were right, ascending; the first axis of the arrays below.
    first : ndarray of shape (n, row_length, 4), uint64
        Their shares of the update.
    slack : ndarray of shape (n, slack_length, 4), uint64
        Their shares of slack.
    inner : ndarray of shape (n, n, 4), uint64
        Inner products of shares, in the paper's form of first and second shares.
    norms : ndarray of shape (n, 4), uint64
        Weighted norms, slack included.
    range_masks : ndarray of shape (n, Q, 4), uint64
    product_masks : ndarray of shape (n, num_products, 4), uint64
    """

    round_id: bytes
    user: int
    key: KeyPair
    openings: Mapping[int, bytes]
    opened: tuple[int, ...]
    digest: bytes
    dealers: tuple[int, ...]
    first: FieldArray
    slack: FieldArray
    inner: FieldArray
    norms: FieldArray
    range_masks: FieldArray
    product_masks: FieldArray


@dataclass(frozen=True)
class SummingState:
    """After products were sent: only shares of updates are left.

    Parameters
    ----------
    round_id : bytes
    user : int
    dealers : tuple of int
    first : ndarray of shape (n, row_length, 4), uint64
        As before.
    """

    round_id: bytes
    user: int
    dealers: tuple[int, ...]
    first: FieldArray


def share_context(round_id: bytes, sender: int, receiver: int) -> ShareContext:
    """Return what an encrypted share of this protocol is bound to."""
    return ShareContext("ramp-krum", round_id, sender, receiver)


def announce_key(user: int, request: KeyRequest) -> tuple[KeyState, PublicKey]:
    """Make a key for the round."""
    key = KeyPair.generate()
    return KeyState(request.round_id, user, key), PublicKey(request.round_id, user, key.public_key)


def deal(
    schemes: Schemes,
    state: KeyState,
    request: DealRequest,
    integers: NDArray[np.int64],
    *,
    resources: Resources | None = None,
    conduct: Conduct = HONEST,
) -> tuple[DealtState, Dealing]:
    """Commit to an update and deal shares of it.

    Parameters
    ----------
    schemes : Schemes
    state : KeyState
    request : DealRequest
    integers : ndarray of shape (L,), int64
        The quantized update. Blocks beyond the bound are scaled down to it.
    resources : Resources or None
    conduct : Conduct
        For experiments with lying dealers.

    Returns
    -------
    state : DealtState
    message : Dealing
    """
    parameters = schemes.parameters
    _check_turn(state.round_id, request, "shares")
    sharing = parameters.sharing
    fewest = sharing.num_users - sharing.num_dropouts - sharing.num_attackers
    users = set(request.public_keys)
    if not ({state.user} <= users <= set(range(sharing.num_users)) and len(users) >= fewest):
        raise RoundRefusedError("shares", "the server's list of users does not fit this round")
    rows = _rows_of_update(parameters, integers, conduct)
    commitments_bytes = schemes.to_bytes(schemes.commit(rows))
    shares = share_rows(parameters, rows, sorted(request.public_keys), resources or Resources())
    shares = conduct.alter_shares(shares)
    encrypted, openings = {}, {}
    for receiver, public_key in request.public_keys.items():
        if receiver != state.user:
            context = share_context(state.round_id, state.user, receiver)
            message = share_to_bytes(parameters, shares[receiver])
            encrypted[receiver], openings[receiver] = encrypt_share(message, public_key, context)
    dealt = DealtState(
        state.round_id, state.user, state.key, request.public_keys, openings, shares[state.user]
    )
    return dealt, Dealing(state.round_id, state.user, commitments_bytes, encrypted)


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
        Dealers whose share does not open or does not match their commitments; echoes for the others.
    """
    _check_turn(state.round_id, delivery, "complaints")
    shares: dict[int, Share] = {}
    claims: dict[int, dict[str, list[Claim]]] = {}
    unreadable = []
    for dealer in sorted(delivery.encrypted_shares):
        try:
            context = share_context(state.round_id, dealer, state.user)
            message = decrypt_share(delivery.encrypted_shares[dealer], state.key, context)
            share = bytes_to_share(schemes.parameters, message)
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
    digest = view_digest(state.round_id, state.public_keys, delivery.commitments)
    holding = _condense(schemes.parameters, state, right, digest, resources or Resources())
    complaints = tuple(sorted({*unreadable, *false}))
    echoes = encrypt_echoes(digest, state.round_id, state.user, state.public_keys)
    return holding, Complaints(state.round_id, state.user, complaints, echoes)


def answer_dispute(
    parameters: RampKrumParameters, state: HoldingState, request: OpeningRequest
) -> tuple[HoldingState, Openings]:
    """Open shares that their receivers complain about: no more than T of them, however often one is asked."""
    _check_turn(state.round_id, request, "openings")
    opened = tuple(sorted({*state.opened, *request.receivers}))
    most = parameters.sharing.num_colluders
    if len(opened) > most:
        raise RoundRefusedError("openings", f"more than num_colluders = {most} shares are not opened")
    unknown = set(request.receivers) - set(state.openings)
    if unknown:
        raise RoundRefusedError("openings", f"no share was encrypted for users {sorted(unknown)}")
    openings = {receiver: state.openings[receiver] for receiver in request.receivers}
    return replace(state, opened=opened), Openings(state.round_id, state.user, openings)


def evaluate(
    parameters: RampKrumParameters, state: HoldingState, request: EvaluationRequest
) -> tuple[SummingState, Evaluations]:
    """Return inner products of differences of shares, one for every pair of dealers, norms and range sums.

    ``<F_i - F_j, F~_i - F~_j>`` follows from the matrix of inner products of all shares. Nobody is answered
    twice: with other dealers or another challenge the same masks would hide less.

    Raises
    ------
    RoundRefusedError
        If the request is none of this round, names dealers whose shares are not held, or too few others saw
        the same commitments.
    """
    _check_turn(state.round_id, request, "evaluations")
    sharing = parameters.sharing
    check_echoes(
        state.digest,
        request.echoes,
        round_id=state.round_id,
        user=state.user,
        key=state.key,
        num_needed=sharing.num_users - 1 - sharing.num_attackers - sharing.num_dropouts,
    )
    chosen = _positions(state, request.dealers, "evaluations")
    inner = state.inner[np.ix_(chosen, chosen)]
    upper = _pairs(parameters, len(chosen))
    diagonal = inner[np.arange(len(chosen)), np.arange(len(chosen))]
    squares = add(diagonal[upper[0]], diagonal[upper[1]])
    products = subtract(squares, add(inner[upper], inner[upper[1], upper[0]]))
    if not parameters.is_paper_form:
        products = np.concatenate([products, state.norms[chosen]])
    if parameters.hides_products:
        masks = weighted_sum([1] * len(chosen), state.product_masks[chosen])
        products = add(products, masks[_product_numbers(parameters, request.dealers)])
    sums = _range_sums(parameters, state, request.challenge)[chosen]
    message = Evaluations(state.round_id, state.user, to_bytes(products), to_bytes(sums))
    return SummingState(state.round_id, state.user, state.dealers, state.first), message


def add_up(parameters: RampKrumParameters, state: SummingState, request: SumRequest) -> tuple[None, ShareSum]:
    """Return the sum of the selected dealers' shares; nothing is kept."""
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


def _rows_of_update(
    parameters: RampKrumParameters, integers: NDArray[np.int64], conduct: Conduct
) -> dict[str, FieldArray]:
    bounded = conduct.alter_update(integers)
    if not parameters.is_paper_form:
        bounded = parameters.norm_check.bound_integers(bounded)
    parts = conduct.alter_parts(update_to_parts(parameters, bounded))
    slack = conduct.alter_slack(draw_slack(parameters, bounded), parts)
    return draw_rows(parameters, parts, slack)


def _condense(
    parameters: RampKrumParameters,
    state: DealtState,
    shares: Mapping[int, Share],
    digest: bytes,
    resources: Resources,
) -> HoldingState:
    """Keep of all shares what later steps need."""
    dealers = tuple(sorted(shares))
    length, slack_length = parameters.part_length, parameters.slack_length

    def stack(name: str, size: int) -> FieldArray:
        rows = [shares[dealer][name][:size] for dealer in dealers] if size else []
        return np.stack(rows) if rows else zeros(len(dealers), size)

    first = stack("first", parameters.families["update"].row_length)
    slack = stack("slack", slack_length)
    second = None if parameters.embedding.second_parts is None else stack("second", length)
    own = first[:, :length]
    norms = zeros(len(dealers))
    if not parameters.is_paper_form and dealers:
        weights = parameters.norm_check.weights(digest)
        norms = parameters.norm_check.evaluate(own, slack, weights)
    return HoldingState(
        state.round_id,
        state.user,
        state.key,
        state.openings,
        (),
        digest,
        dealers,
        first,
        slack,
        gram_matrix(own, second, num_threads=resources.num_threads, device=resources.device),
        norms,
        stack("range", parameters.num_range_checks),
        stack("product", parameters.num_products if parameters.hides_products else 0),
    )


def _range_sums(parameters: RampKrumParameters, state: HoldingState, challenge: bytes) -> FieldArray:
    """Return masked subset sums of every dealer's share and slack, shape (n, Q, 4)."""
    if not parameters.num_range_checks:
        return state.range_masks
    length = parameters.part_length
    subsets = random_subsets(
        challenge, num_subsets=parameters.num_range_checks, length=parameters.num_checked
    )
    of_update = subset_sums(state.first[:, :length], subsets[:, :length])
    return add(add(of_update, subset_sums(state.slack, subsets[:, length:])), state.range_masks)


def _positions(state: HoldingState | SummingState, users: tuple[int, ...], phase: str) -> list[int]:
    missing = set(users) - set(state.dealers)
    if missing or tuple(sorted(set(users))) != tuple(users):
        raise RoundRefusedError(phase, f"no right share is held of users {sorted(missing) or list(users)}")
    return [state.dealers.index(user) for user in users]


def _pairs(parameters: RampKrumParameters, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of so many users whose distances are told: all of updates, none of ballots."""
    first, second = np.triu_indices(0 if parameters.is_ballot else number, k=1)
    return first.astype(np.int64), second.astype(np.int64)


def _product_numbers(parameters: RampKrumParameters, users: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the places of the pairs of ``users``, and of their norms, among those of all users."""
    upper = _pairs(parameters, parameters.sharing.num_users)
    is_chosen = np.isin(upper[0], users) & np.isin(upper[1], users)
    pairs = np.flatnonzero(is_chosen)
    if parameters.is_paper_form:
        return pairs
    return np.concatenate([pairs, parameters.num_pairs + np.array(users, dtype=np.int64)])


def _check_turn(round_id: bytes, request: Request, phase: str) -> None:
    if request.round_id != round_id:
        raise RoundRefusedError(phase, "the request belongs to another round")
