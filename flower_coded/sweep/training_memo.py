"""Train once what a round trains several times: attackers who know others' updates train on others' data.

An attack that knows all honest updates has every attacker repeat everybody's training, bit by bit the same,
since a round's training depends on model, user, round and configuration only. In one process the answer can
be kept: the same reply, for a tenth of the time. Placed inside the attacker's behavior, it never sees a
crafted update; training on poisoned data and honest training of the same user are two trainings.
"""

from __future__ import annotations

import copy
import hashlib

from flwr.app import Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from flower_coded.clients.attack_mod import attack_in, server_round_of

__all__ = ["TrainingMemo"]


class TrainingMemo:
    """A Flower mod for one run; keeps the replies of one round.

    Attributes
    ----------
    num_trained, num_recalled : int
        Answers that were trained, and answers that were known.
    """

    def __init__(self) -> None:
        self.num_trained = self.num_recalled = 0
        self._round = -1
        self._known: dict[bytes, RecordDict] = {}

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """Train, or recall what the same training gave."""
        server_round = server_round_of(message)
        if server_round != self._round:
            self._round = server_round
            self._known.clear()
        key = _digest(message, context)
        if key in self._known:
            self.num_recalled += 1
            return Message(copy.deepcopy(self._known[key]), reply_to=message)
        reply = call_next(message, context)
        self.num_trained += 1
        if reply.has_content():
            self._known[key] = copy.deepcopy(reply.content)
        return reply


def _digest(message: Message, context: Context) -> bytes:
    """Digest of all that training depends on; the run's configuration, one per run, but for the attack."""
    digest = hashlib.blake2b(repr(sorted(context.node_config.items())).encode())
    digest.update(repr(_is_poisoned(message, context)).encode())
    for record in message.content.config_records.values():
        digest.update(repr(sorted(record.items())).encode())
    for arrays in message.content.array_records.values():
        for name, array in arrays.items():
            digest.update(name.encode())
            digest.update(array.data)
    return digest.digest()


def _is_poisoned(message: Message, context: Context) -> bool:
    attack = attack_in(message, context)
    return attack is not None and "data" in attack.row.acts_on
