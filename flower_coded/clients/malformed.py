"""Replies spoiled on purpose: an attack of :mod:`flower_coded.attacks.replies`, done to a Flower message."""

from __future__ import annotations

import time

from flwr.app import Error, Message, MetricRecord

from flower_coded.attacks.registry import ATTACKS
from flower_coded.attacks.replies import LateAnswer, MalformedArrays, MalformedMetrics, ReplyAttack
from flower_coded.errors import FlowerCodedError
from flower_coded.wire.keys import SILENCE_CODE
from flower_coded.wire.model_state import read_state, to_array_record

__all__ = ["MALFORMED", "DeliberateError", "spoil"]

MALFORMED: dict[str, ReplyAttack] = {
    row.name: row.replies.made(None, {})
    for row in ATTACKS.values()
    if row.replies is not None and row.replies.kind is not LateAnswer
}
"""Attacks by name whose reply is malformed, or none."""


class DeliberateError(FlowerCodedError):
    """Raised by a client whose attack is ``exception``."""


def spoil(attack: ReplyAttack, reply: Message, message: Message) -> Message | None:
    """Turn a well-formed reply into what the attack sends instead.

    Parameters
    ----------
    attack : ReplyAttack
        What to do.
    reply : Message
        The honest reply; changed in place where something of it is still used.
    message : Message
        The message that it answers.

    Returns
    -------
    Message or None
        None is no reply at all. A reply that is an error already stays as it is.

    Raises
    ------
    DeliberateError
        If the attack is to raise.
    """
    if reply.has_error():
        return reply
    if isinstance(attack, LateAnswer):
        time.sleep(attack.seconds)
    elif isinstance(attack, MalformedArrays):
        for name, arrays in list(reply.content.array_records.items()):
            reply.content[name] = to_array_record(attack.craft(read_state(arrays)))
    elif isinstance(attack, MalformedMetrics):
        for name, metrics in list(reply.content.metric_records.items()):
            reply.content[name] = MetricRecord(attack.craft(metrics))
    elif attack.fault == "exception":
        raise DeliberateError("raised on purpose by a client whose attack is 'exception'")
    elif attack.fault == "no-reply":
        return None
    else:
        return Message(Error(SILENCE_CODE, "silent on purpose"), reply_to=message)
    return reply
