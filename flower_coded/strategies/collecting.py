"""Collect one reply per user: judge each alone, name who is silent, sends twice, or was never asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from flwr.app import Message

from flower_coded.strategies.judging import Accepted, Rejected
from flower_coded.strategies.roster import Roster

__all__ = ["collect_replies"]

T = TypeVar("T")


def collect_replies(
    replies: Iterable[Message],
    roster: Roster,
    asked: Sequence[int],
    judge_one: Callable[[Message, int], Accepted[T] | Rejected],
) -> tuple[list[Accepted[T]], list[Rejected]]:
    """Judge what arrived for one message per asked user.

    Parameters
    ----------
    replies : iterable of Message
        Everything that arrived, in any order.
    roster : Roster
        Users and nodes.
    asked : sequence of int
        Users who were sent a message.
    judge_one : callable
        ``judge_one(message, user)``: judges one reply; see :func:`~flower_coded.strategies.judging.judge`.

    Returns
    -------
    (list of Accepted, list of Rejected)
        Both in the order of ``asked``, whatever the order of arrival; replies that were not asked for come
        last.

    Examples
    --------
    >>> from flwr.app import RecordDict
    >>> from flwr.clientapp import ClientApp
    >>> from flower_coded.strategies.judging import judge
    >>> from flower_coded.testing import InProcessGrid
    >>> app = ClientApp()
    >>> @app.query()
    ... def answer(message, context):
    ...     return Message(RecordDict(), reply_to=message)
    >>> grid = InProcessGrid(app, 3, drop=lambda partition_id, message: partition_id == 1)
    >>> roster = Roster(tuple(grid.node_ids))
    >>> questions = [Message(RecordDict(), node_id, "query") for node_id in grid.node_ids]
    >>> replies = grid.send_and_receive(questions, timeout=1)
    >>> read = lambda message, user: judge(message, lambda content: "fine", user=user)
    >>> accepted, rejected = collect_replies(replies, roster, [0, 1, 2], read)
    >>> [each.user for each in accepted], [str(each).split(": ")[1] for each in rejected]
    ([0, 2], ['no reply before the timeout [no-reply]'])
    """
    verdicts: dict[int, Accepted[T] | Rejected] = {}
    out_of_place: list[Rejected] = []
    for message in replies:
        node_id = message.metadata.src_node_id
        user = roster.user_of(node_id)
        if user is None or user not in asked:
            out_of_place.append(Rejected(node_id, user, "a reply that was not asked for", "unexpected"))
        elif user in verdicts:
            out_of_place.append(Rejected(node_id, user, "a second reply to the same message", "duplicate"))
        else:
            verdicts[user] = judge_one(message, user)
    ordered = [verdicts.get(user) or _silent(roster, user) for user in asked]
    out_of_place.sort(key=lambda each: (each.user is None, each.user or 0, each.node_id))
    accepted = [each for each in ordered if isinstance(each, Accepted)]
    return accepted, [each for each in ordered if isinstance(each, Rejected)] + out_of_place


def _silent(roster: Roster, user: int) -> Rejected:
    return Rejected(roster.node_of(user), user, "no reply before the timeout", "no-reply")
