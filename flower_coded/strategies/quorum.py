"""Ask many, go on with enough: stragglers cost nothing once the answers that arrived suffice.

Flower's ``send_and_receive`` waits for everybody or for the timeout, so a single node that never answers
costs the whole timeout in every stage. :func:`ask_until` stops as soon as a caller's test says that the
replies suffice, and says which messages are still out, so that a busy node need not be asked again before
it has answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from flwr.app import Message
from flwr.serverapp import Grid

__all__ = ["ask_until"]


def ask_until(
    grid: Grid,
    messages: Iterable[Message],
    is_enough: Callable[[list[Message]], bool],
    *,
    timeout: float,
    poll_interval: float = 0.05,
) -> tuple[list[Message], dict[int, str]]:
    """Send messages and collect replies until they suffice, all are there, or time is up.

    Parameters
    ----------
    grid : Grid
    messages : iterable of Message
        At most one per node.
    is_enough : callable
        Gets the replies so far; asked after every look.
    timeout : float
        Seconds to wait at most.
    poll_interval : float
        Seconds between two looks.

    Returns
    -------
    replies : list of Message
        In the order of arrival; error replies included.
    outstanding : dict of int to str
        Message id of each node that has not answered. Pass it to ``grid.pull_messages`` later.

    Examples
    --------
    >>> from flwr.app import RecordDict
    >>> from flwr.clientapp import ClientApp
    >>> from flower_coded.testing import InProcessGrid
    >>> app = ClientApp()
    >>> @app.query()
    ... def answer(message, context):
    ...     return Message(RecordDict(), reply_to=message)
    >>> grid = InProcessGrid(app, 3, drop=lambda partition_id, message: partition_id == 1)
    >>> questions = [Message(RecordDict(), node_id, "query") for node_id in grid.node_ids]
    >>> replies, outstanding = ask_until(grid, questions, lambda replies: len(replies) >= 2, timeout=5)
    >>> len(replies), list(outstanding) == [grid.node_ids[1]]
    (2, True)
    """
    listed = list(messages)
    deadline = time.monotonic() + timeout
    message_ids = list(grid.push_messages(listed))
    waiting = dict(zip(message_ids, (each.metadata.dst_node_id for each in listed), strict=True))
    asked = set(waiting.values())
    replies: list[Message] = []
    while waiting:
        for reply in grid.pull_messages(list(waiting)):
            waiting.pop(reply.metadata.reply_to_message_id, None)
            # Flower reports a node that is gone in a message of its own: nobody's reply, and none will come.
            if reply.metadata.src_node_id in asked or not reply.has_error():
                replies.append(reply)
        if is_enough(replies) or time.monotonic() >= deadline:
            break
        if waiting:
            time.sleep(poll_interval)
    return replies, {node_id: message_id for message_id, node_id in waiting.items()}
