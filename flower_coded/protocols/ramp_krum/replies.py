"""Judging what users send: each message alone, a bad one at its sender's cost, and how many users remain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from flower_coded.errors import FlowerCodedError, RoundRefusedError
from flower_coded.protocols.ramp_krum.messages import Malformed, UserMessage, Verdict
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

__all__ = ["Reply", "Standing", "judge_replies"]

Reply = tuple[int, UserMessage]
"""A message and the user from whose connection it came, against which its own claim is checked."""

MessageT = TypeVar("MessageT", bound=UserMessage)
ContentT = TypeVar("ContentT")


@dataclass(frozen=True)
class Standing:
    """Who is still asked, whose update still counts, and what was found out.

    Parameters
    ----------
    participants : tuple of int
        Users that answered everything so far, ascending.
    dealers : tuple of int
        Users whose update takes part; one who fell silent after dealing remains.
    verdicts : tuple of Verdict
    """

    participants: tuple[int, ...]
    dealers: tuple[int, ...]
    verdicts: tuple[Verdict, ...] = ()

    @property
    def liars(self) -> tuple[int, ...]:
        """Users who were found lying, ascending."""
        return tuple(sorted({verdict.user for verdict in self.verdicts if verdict.is_liar}))

    def after(self, verdicts: Iterable[Verdict]) -> Standing:
        """Return the standing after some verdicts: liars lose both roles, silent users only the first."""
        found = tuple(verdicts)
        gone = {verdict.user for verdict in found}
        liars = {verdict.user for verdict in found if verdict.is_liar}
        return Standing(
            tuple(user for user in self.participants if user not in gone),
            tuple(user for user in self.dealers if user not in liars),
            self.verdicts + found,
        )

    def num_attackers_left(self, parameters: RampKrumParameters) -> int:
        """Return how many liars may still be undetected, A minus those found."""
        return max(parameters.sharing.num_attackers - len(self.liars), 0)

    def check_enough(self, parameters: RampKrumParameters, phase: str) -> None:
        """Refuse the round if what comes can no longer be decoded or selected from.

        Raises
        ------
        RoundRefusedError
            Naming what was exceeded.
        """
        sharing, left = parameters.sharing, self.num_attackers_left(parameters)
        if len(self.liars) > sharing.num_attackers:
            raise RoundRefusedError(
                phase,
                f"{len(self.liars)} users lied ({', '.join(map(str, self.liars))}), more than "
                f"num_attackers = {sharing.num_attackers}",
                verdicts=self.verdicts,
            )
        needed = sharing.num_product_coefficients + 2 * left
        if len(self.participants) < needed:
            raise RoundRefusedError(
                phase,
                f"too few users are left to decode distances with {left} of them lying; more than "
                f"num_dropouts = {sharing.num_dropouts} fell silent",
                received=len(self.participants),
                needed=needed,
                verdicts=self.verdicts,
            )
        needed = 2 * left + parameters.num_selected + 3
        if len(self.dealers) < needed:
            raise RoundRefusedError(
                phase,
                f"too few updates are left for multi-Krum with {left} liars among them",
                received=len(self.dealers),
                needed=needed,
                verdicts=self.verdicts,
            )


def judge_replies(
    asked: Iterable[int],
    replies: Iterable[Reply],
    *,
    phase: str,
    round_id: bytes,
    message_type: type[MessageT],
    check: Callable[[int, MessageT], ContentT],
) -> tuple[dict[int, ContentT], list[Verdict]]:
    """Judge the replies of one phase.

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
        user its place.

    Returns
    -------
    contents : dict
        By user, ascending.
    verdicts : list of Verdict
        About all others that were asked.
    """
    received: Mapping[int, list[UserMessage]] = {user: [] for user in sorted(asked)}
    for user, message in replies:
        if user in received:
            received[user].append(message)
    contents: dict[int, ContentT] = {}
    verdicts = []
    for user, messages in received.items():
        if not messages:
            verdicts.append(Verdict(user, phase, "no answer", is_liar=False))
            continue
        reason = _reason_to_refuse(user, messages, round_id, message_type)
        if not reason:
            try:
                contents[user] = check(user, messages[0])  # type: ignore[arg-type]
            except FlowerCodedError as error:
                reason = str(error)
        if reason:
            verdicts.append(Verdict(user, phase, reason, is_liar=True))
    return contents, verdicts


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
    if first.user != user:
        return f"the message calls itself one of user {first.user}"
    return ""
