"""How much is sent: measured on the messages, and Table I of the paper.

A symbol is an element of F_r, 32 bytes here. Table I counts, for the server, the values it needs (``K + T +
2A`` sums of L/K symbols, ``2 (K + T + A) - 1`` products for every pair); for a user, its shares for the
others, its sum and its products; and commitments in group elements. For K > 1 its user entry is a bound: 2N
vectors of L/K, of which one is never sent, since a user sends 2 (N - 1) shares and one sum. For K = 1 it is
exact; there its commitments count T rows of second masks that no one needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from flower_coded.crypto.backends.base import G1_BYTES
from flower_coded.crypto.encrypted_share import ENCRYPTION_OVERHEAD, KEY_BYTES
from flower_coded.crypto.field_vectors import ELEMENT_BYTES
from flower_coded.protocols.ramp_krum.messages import (
    Complaints,
    Dealing,
    DealRequest,
    Delivery,
    EvaluationRequest,
    Evaluations,
    OpeningRequest,
    Openings,
    PublicKey,
    Request,
    ShareSum,
    SumRequest,
    UserMessage,
)
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters
from flower_coded.protocols.ramp_krum.traffic import USER_NUMBER_BYTES

__all__ = ["Load", "TableOne", "message_load", "request_bytes", "table_one", "table_one_brea"]


@dataclass(frozen=True)
class Load:
    """What a message, or several, amount to.

    Parameters
    ----------
    symbols : int
        Elements of F_r.
    points : int
        Group elements.
    num_bytes : int
        Everything, encryption included; what a transport adds is not counted.
    """

    symbols: int = 0
    points: int = 0
    num_bytes: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(
            self.symbols + other.symbols, self.points + other.points, self.num_bytes + other.num_bytes
        )


@dataclass(frozen=True)
class TableOne:
    """One row of Table I.

    Parameters
    ----------
    server : Fraction
        Symbols that the server receives.
    per_user : Fraction
        Symbols that a user sends.
    commitments : int
        Group elements of all users.
    """

    server: Fraction
    per_user: Fraction
    commitments: int


def message_load(message: UserMessage) -> Load:
    """Measure a user's message.

    Examples
    --------
    >>> message_load(Evaluations(b"", 0, products=bytes(64), range_sums=bytes(32)))
    Load(symbols=3, points=0, num_bytes=96)
    """
    num_bytes = symbols = points = 0
    match message:
        case PublicKey():
            num_bytes = KEY_BYTES
        case Dealing():
            encrypted = sum(len(share) for share in message.encrypted_shares.values())
            num_bytes = encrypted + len(message.commitments)
            symbols = (encrypted - ENCRYPTION_OVERHEAD * len(message.encrypted_shares)) // ELEMENT_BYTES
            points = len(message.commitments) // G1_BYTES
        case Complaints():
            num_bytes = USER_NUMBER_BYTES * len(message.dealers) + sum(map(len, message.echoes.values()))
        case Openings():
            num_bytes = sum(len(opening) for opening in message.openings.values())
        case Evaluations():
            num_bytes = len(message.products) + len(message.range_sums)
            symbols = num_bytes // ELEMENT_BYTES
        case ShareSum():
            num_bytes = len(message.total)
            symbols = num_bytes // ELEMENT_BYTES
    return Load(symbols, points, num_bytes)


def request_bytes(request: Request) -> int:
    """Measure what a user receives, in bytes.

    Examples
    --------
    >>> request_bytes(SumRequest(b"", selected=(0, 3, 7)))
    12
    """
    match request:
        case DealRequest():
            return sum(map(len, request.public_keys.values()))
        case Delivery():
            shown, shares = request.commitments.values(), request.encrypted_shares.values()
            return sum(map(len, shown)) + sum(map(len, shares))
        case OpeningRequest():
            return USER_NUMBER_BYTES * len(request.receivers)
        case EvaluationRequest():
            echoes = sum(map(len, request.echoes.values()))
            return USER_NUMBER_BYTES * len(request.dealers) + len(request.challenge) + echoes
        case SumRequest():
            return USER_NUMBER_BYTES * len(request.selected)
    return 0


def table_one(parameters: RampKrumParameters) -> TableOne:
    """Evaluate the paper's formulas.

    Examples
    --------
    >>> from flower_coded.crypto.ramp_sharing import RampSharing
    >>> sharing = RampSharing(num_users=12, num_parts=3, num_colluders=1, num_attackers=1, num_dropouts=1)
    >>> row = table_one(RampKrumParameters(sharing, num_selected=4, length=3000))
    >>> int(row.server), int(row.per_user), row.commitments
    (6594, 24066, 60)
    """
    sharing = parameters.sharing
    n, k, t, a = sharing.num_users, sharing.num_parts, sharing.num_colluders, sharing.num_attackers
    length = parameters.length
    pairs = Fraction(n * (n - 1), 2)
    server = (1 + Fraction(2 * a + t, k)) * length + (2 * (t + a + k) - 1) * pairs
    return TableOne(server, min(Fraction(2 * n, k), Fraction(n)) * length + pairs, n * (k + 2 * t))


def table_one_brea(parameters: RampKrumParameters) -> TableOne:
    """Evaluate Table I's row for BREA with the same N, T, A and L."""
    sharing = parameters.sharing
    n, t, a = sharing.num_users, sharing.num_colluders, sharing.num_attackers
    length = parameters.length
    pairs = Fraction(n * (n - 1), 2)
    server = (2 * a + t + 1) * length + (2 * (t + a) + 1) * pairs
    return TableOne(Fraction(server), n * length + pairs, t * n * length)
