"""Who sends what: the messages of a round, in the order in which they travel.

========================  ==========================  ==============================================
phase                     server to user              user to server
========================  ==========================  ==============================================
keys                      :class:`KeyRequest`         :class:`PublicKey`
shares                    :class:`DealRequest`        :class:`Dealing` (commitments, encrypted shares)
complaints                :class:`Delivery`           :class:`Complaints`, with echoes for the others
openings (if disputed)    :class:`OpeningRequest`     :class:`Openings`, one share at a time
evaluations               :class:`EvaluationRequest`  :class:`Evaluations` (products, range sums)
sums                      :class:`SumRequest`         :class:`ShareSum`
close (who gave no sum)   :class:`CloseRequest`       :class:`Closed`
========================  ==========================  ==============================================

A user's message holds raw bytes: nobody has checked them, and the step that receives it does so before
anything else. Every message names its round and its sender, so that one that is replayed or passed off as
another's is told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "LONGEST_REASON",
    "PHASES",
    "CloseRequest",
    "Closed",
    "Complaints",
    "DealRequest",
    "Dealing",
    "Delivery",
    "EvaluationRequest",
    "Evaluations",
    "Grade",
    "KeyRequest",
    "Malformed",
    "Misbehavior",
    "OpeningRequest",
    "Openings",
    "PublicKey",
    "Request",
    "ShareSum",
    "SumRequest",
    "UserMessage",
]

PHASES = ("keys", "shares", "complaints", "openings", "evaluations", "sums", "close")


LONGEST_REASON = 300
"""Characters of a reason; what a peer wrote must not fill the log."""


class Grade(StrEnum):
    """How strong the evidence of a misbehavior report is."""

    SILENT = "silent"
    """No answer came. Networks do that."""

    MALFORMED = "malformed"
    """An answer came that cannot be used. Old software does that."""

    LIE = "lie"
    """What was sent contradicts the sender's own commitments or what all others sent. Only a lie does."""


@dataclass(frozen=True)
class Misbehavior:
    """What was found out about a user, and when.

    Parameters
    ----------
    user : int
    phase : str
        One of :data:`PHASES`.
    reason : str
        In words; cut to :data:`LONGEST_REASON` characters.
    grade : Grade
        Only a lie excludes a user from later rounds.
    """

    user: int
    phase: str
    reason: str
    grade: Grade

    def __post_init__(self) -> None:
        if len(self.reason) > LONGEST_REASON:
            object.__setattr__(self, "reason", self.reason[: LONGEST_REASON - 1] + "…")

    @property
    def is_lie(self) -> bool:
        """Whether nothing but a lie explains it."""
        return self.grade is Grade.LIE


@dataclass(frozen=True)
class Request:
    """Base of what the server sends.

    Parameters
    ----------
    round_id : bytes
        Unique to the round.
    """

    round_id: bytes


@dataclass(frozen=True)
class UserMessage:
    """Base of what users send.

    Parameters
    ----------
    round_id : bytes
    user : int
        The sender, as it says itself.
    """

    round_id: bytes
    user: int


@dataclass(frozen=True)
class KeyRequest(Request):
    """Opens the round."""


@dataclass(frozen=True)
class PublicKey(UserMessage):
    """A key made for this round.

    Parameters
    ----------
    public_key : bytes of length 32
    """

    public_key: bytes


@dataclass(frozen=True)
class DealRequest(Request):
    """Asks for shares.

    Parameters
    ----------
    public_keys : mapping of int to bytes
        Of all users that take part.
    """

    public_keys: Mapping[int, bytes]


@dataclass(frozen=True)
class Dealing(UserMessage):
    """What a dealer broadcasts, and what it sends to each user.

    Parameters
    ----------
    commitments : bytes
        48 for every chunk of every row.
    encrypted_shares : mapping of int to bytes
        One for every other user that takes part.
    """

    commitments: bytes
    encrypted_shares: Mapping[int, bytes]


@dataclass(frozen=True)
class Delivery(Request):
    """What a user gets from all dealers.

    Parameters
    ----------
    commitments : mapping of int to bytes
        By dealer; the same to all users.
    encrypted_shares : mapping of int to bytes
        By dealer; for this user only.
    """

    commitments: Mapping[int, bytes]
    encrypted_shares: Mapping[int, bytes]


@dataclass(frozen=True)
class Complaints(UserMessage):
    """Whose share did not open, or did not match the commitments.

    Parameters
    ----------
    dealers : tuple of int
    echoes : mapping of int to bytes
        For every other user, encrypted: a digest of the keys and commitments that the server showed. Users
        compare them, so that a server that shows different users different commitments is noticed.
    """

    dealers: tuple[int, ...]
    echoes: Mapping[int, bytes]


@dataclass(frozen=True)
class OpeningRequest(Request):
    """Asks a dealer to open a share that its receiver complains about.

    Parameters
    ----------
    receivers : tuple of int
    """

    receivers: tuple[int, ...]


@dataclass(frozen=True)
class Openings(UserMessage):
    """Opens disputed shares to the server.

    Parameters
    ----------
    openings : mapping of int to bytes
        By receiver; see :func:`flower_coded.crypto.encrypted_share.reopen_share`.
    """

    openings: Mapping[int, bytes]


@dataclass(frozen=True)
class EvaluationRequest(Request):
    """Says whose shares count, and asks for products of their differences.

    Parameters
    ----------
    dealers : tuple of int
        Ascending.
    challenge : bytes
        From which the subsets of the range checks follow. It is drawn after all disputes are settled, so that
        a dealer who would fail can no longer leave.
    echoes : mapping of int to bytes
        By sender; what the others sent to this user, encrypted.
    """

    dealers: tuple[int, ...]
    challenge: bytes
    echoes: Mapping[int, bytes]


@dataclass(frozen=True)
class Evaluations(UserMessage):
    """Values, at the sender's point, of the polynomials that the server decodes.

    Parameters
    ----------
    products : bytes
        One field element for every pair of dealers, (0, 1), (0, 2), ..., and behind them one for every
        dealer: the weighted norm of its update.
    range_sums : bytes
        Q field elements for every dealer.
    """

    products: bytes
    range_sums: bytes


@dataclass(frozen=True)
class SumRequest(Request):
    """Announces who was selected, and asks for the sum of their shares.

    Parameters
    ----------
    selected : tuple of int
        Ascending.
    """

    selected: tuple[int, ...]


@dataclass(frozen=True)
class ShareSum(UserMessage):
    """The sum of the selected dealers' first shares.

    Parameters
    ----------
    total : bytes
    """

    total: bytes


@dataclass(frozen=True)
class CloseRequest(Request):
    """Says that the round is over and what is left of it is to be forgotten."""


@dataclass(frozen=True)
class Closed(UserMessage):
    """Says that it is forgotten."""


@dataclass(frozen=True)
class Malformed(UserMessage):
    """Stands for what a transport received and could not read as a message.

    Parameters
    ----------
    reason : str
    """

    reason: str
