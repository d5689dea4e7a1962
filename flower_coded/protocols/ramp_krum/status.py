"""Where participants stand in a round, and what a phase's replies are worth.

Each message is validated alone, and a bad one costs its sender its place and nobody else's. What is known of
the participants follows by counting: D users may fall silent and A may lie, also by saying nothing or
nonsense. Whoever is silent beyond D is therefore one of the A, and that many fewer liars can still be
undetected among the rest. With ``N - D >= 2 (K + T + A) - 1`` and ``N - D >= 2A + m + 3`` what is left always
suffices to decode and to select while that number is not negative, so one inequality decides whether a round
goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from flower_coded.errors import FlowerCodedError, RoundRefusedError
from flower_coded.protocols.ramp_krum.messages import Grade, Malformed, Misbehavior, UserMessage
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

__all__ = ["ParticipantStatus", "Reply", "name_users", "refusal", "validate_replies"]

Reply = tuple[int, UserMessage]
"""A message and the user from whose connection it came, against which its own claim is checked."""

MessageT = TypeVar("MessageT", bound=UserMessage)
ContentT = TypeVar("ContentT")


@dataclass(frozen=True)
class ParticipantStatus:
    """Who is still asked, whose update still counts, and what was found out.

    Parameters
    ----------
    participants : tuple of int
        Users that answered everything so far, ascending.
    dealers : tuple of int
        Users whose update takes part; one who fell silent after dealing remains.
    misbehavior : tuple of Misbehavior
        Reports, in the order in which they were made.
    """

    participants: tuple[int, ...]
    dealers: tuple[int, ...]
    misbehavior: tuple[Misbehavior, ...] = ()

    @property
    def liars(self) -> tuple[int, ...]:
        """Users who were found lying, ascending."""
        return tuple(sorted({report.user for report in self.misbehavior if report.is_lie}))

    @property
    def absent(self) -> tuple[int, ...]:
        """Users whose answer did not come or could not be used, and who were not found lying, ascending."""
        return tuple(sorted({report.user for report in self.misbehavior} - set(self.liars)))

    def after(
        self, reports: Iterable[Misbehavior], *, without_dealers: Iterable[int] = ()
    ) -> ParticipantStatus:
        """Return the status after some reports.

        Parameters
        ----------
        reports : iterable of Misbehavior
            Liars lose their place and their update, others only their place.
        without_dealers : iterable of int
            Dealers whose update is left out though nobody found them lying.
        """
        found = tuple(reports)
        gone = {report.user for report in found}
        out = {report.user for report in found if report.is_lie} | set(without_dealers)
        return ParticipantStatus(
            tuple(user for user in self.participants if user not in gone),
            tuple(user for user in self.dealers if user not in out),
            self.misbehavior + found,
        )

    def num_attackers_left(self, parameters: RampKrumParameters) -> int:
        """Return how many liars may still be among the participants.

        A minus those found, minus the absent beyond D: of more than D silent users, the excess was not just
        unlucky.

        Examples
        --------
        >>> from flower_coded.crypto.ramp_sharing import RampSharing
        >>> sharing = RampSharing(num_users=12, num_parts=2, num_colluders=2, num_attackers=2, num_dropouts=1)
        >>> parameters = RampKrumParameters(sharing, num_selected=4, length=10)
        >>> silent = [Misbehavior(user, "keys", "no answer", Grade.SILENT) for user in (3, 8)]
        >>> everybody = tuple(range(12))
        >>> ParticipantStatus(everybody, everybody).after(silent).num_attackers_left(parameters)
        1
        """
        return max(self._num_attackers_left(parameters, self.absent), 0)

    def num_attackers_dealing(self, parameters: RampKrumParameters) -> int:
        """Return how many liars may still be among the dealers: an absent user's update may yet take part."""
        absent = [user for user in self.absent if user not in self.dealers]
        return max(self._num_attackers_left(parameters, absent), 0)

    def check_enough(self, parameters: RampKrumParameters, phase: str) -> None:
        """Refuse the round if more went wrong than D silent users and A liars explain.

        Raises
        ------
        RoundRefusedError
            Naming who is silent and who lied.
        """
        sharing = parameters.sharing
        if self._num_attackers_left(parameters, self.absent) < 0:
            raise refusal(
                phase,
                f"{len(self.liars)} users lied and {len(self.absent)} did not answer as they must; that is "
                f"more than num_attackers = {sharing.num_attackers} liars and num_dropouts = "
                f"{sharing.num_dropouts} silent users explain",
                self,
            )

    def _num_attackers_left(self, parameters: RampKrumParameters, absent: Iterable[int]) -> int:
        sharing = parameters.sharing
        excess = max(len(tuple(absent)) - sharing.num_dropouts, 0)
        return sharing.num_attackers - len(self.liars) - excess


def refusal(
    phase: str,
    reason: str,
    status: ParticipantStatus,
    *,
    why_nobody: str = "",
    received: int | None = None,
    needed: int | None = None,
) -> RoundRefusedError:
    """Return the refusal of a round, which names somebody or says why nobody can be named.

    Parameters
    ----------
    phase, reason : str
    status : ParticipantStatus
        Whom it names.
    why_nobody : str
        Why the guilty cannot be told; required where the status has no report.
    received, needed : int or None
        The numbers, where the refusal is about numbers.
    """
    if why_nobody:
        reason = f"{reason}; who is guilty cannot be told: {why_nobody}"
    else:
        assert status.misbehavior, "a refusal names somebody or says why not"
        grades = {report.user: report.grade for report in status.misbehavior}
        grades |= dict.fromkeys(status.liars, Grade.LIE)
        named = ", ".join(f"{user} ({grade})" for user, grade in sorted(grades.items()))
        reason = f"{reason}; users {named}"
    return RoundRefusedError(phase, reason, received=received, needed=needed, misbehavior=status.misbehavior)


def name_users(users: Iterable[int]) -> str:
    """Write some users for a reason."""
    return ", ".join(map(str, users))


def validate_replies(
    asked: Iterable[int],
    replies: Iterable[Reply],
    *,
    phase: str,
    round_id: bytes,
    message_type: type[MessageT],
    check: Callable[[int, MessageT], ContentT],
) -> tuple[dict[int, ContentT], list[Misbehavior]]:
    """Validate the replies of one phase.

    Parameters
    ----------
    asked : iterable of int
        Users from whom a reply is expected.
    replies : iterable of (int, UserMessage)
        As they came; others than those asked are ignored.
    phase : str
    round_id : bytes
    message_type : type
        What a reply must be.
    check : callable
        ``check(user, message)`` returns the content or raises a :class:`FlowerCodedError`, which costs the
        user its place. It must bound the length of what it is given before it converts anything.

    Returns
    -------
    contents : dict
        By user, ascending.
    reports : list of Misbehavior
        About all others that were asked; none of them is evidence of a lie.
    """
    received: Mapping[int, list[UserMessage]] = {user: [] for user in sorted(asked)}
    for user, message in replies:
        if user in received:
            received[user].append(message)
    contents: dict[int, ContentT] = {}
    reports = []
    for user, messages in received.items():
        if not messages:
            reports.append(Misbehavior(user, phase, "no answer", Grade.SILENT))
            continue
        reason = _reason_to_refuse(user, messages, round_id, message_type)
        if not reason:
            try:
                contents[user] = check(user, messages[0])  # type: ignore[arg-type]
            except FlowerCodedError as error:
                reason = str(error)
        if reason:
            reports.append(Misbehavior(user, phase, reason, Grade.MALFORMED))
    return contents, reports


def _reason_to_refuse(
    user: int, messages: list[UserMessage], round_id: bytes, message_type: type[UserMessage]
) -> str:
    first = messages[0]
    if len(messages) > 1:
        return f"{len(messages)} messages where one is due"
    if isinstance(first, Malformed):
        return first.reason
    if type(first) is not message_type:
        return f"sent {type(first).__name__} where {message_type.__name__} is due"
    if first.round_id != round_id:
        return "the message belongs to another round"
    if type(first.user) is not int or first.user != user:
        return "the message calls itself one of another user"
    return ""
