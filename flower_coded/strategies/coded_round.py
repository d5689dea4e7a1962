"""One exchange of coded subset aggregation: who is asked about which model, what came back, the averages.

An exchange is fixed when its messages are made and knows everything about them that a reply is compared
with; :class:`~flower_coded.strategies.coded_subset.CodedSubsetAggregation` makes one per stage and round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from flower_coded.codes import SubsetCode
from flower_coded.strategies.base import Accepted, ArrayTemplate, Rejected, Roster, Update, template_of
from flower_coded.strategies.ensemble_states import select_models, weighted_average
from flower_coded.wire.keys import (
    MODEL_KEY,
    MODELS_KEY,
    SEED_KEY,
    SERVER_ROUND_KEY,
    USER_KEY,
)
from flower_coded.wire.model_state import State, to_array_record

__all__ = ["Exchange", "Place", "RoundRecord", "average_models"]

Place = tuple[int, int | None]
"""(user, model); None for all models of the user, stacked."""

Verdict = Accepted[Update] | Rejected


@dataclass(frozen=True)
class RoundRecord:
    """What happened in one round of training; ``CodedSubsetAggregation.history`` keeps them all.

    Parameters
    ----------
    server_round : int
        From 1.
    accepted : tuple of (int, int or None)
        (user, model) of every reply used; None for a stacked reply.
    rejected : tuple of Rejected
        Everything that was asked for and not used, or came without being asked for, with the reason.
    unchanged_models : tuple of int
        Models that got no usable reply and kept their state.
    metrics : dict
        What went into the round's MetricRecord.
    """

    server_round: int
    accepted: tuple[Place, ...]
    rejected: tuple[Rejected, ...]
    unchanged_models: tuple[int, ...]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Exchange:
    """The messages of one stage of one round, and the judgment of their replies.

    Parameters
    ----------
    code : SubsetCode
        Which model hears whom.
    roster : Roster
        Which node is which user.
    users : tuple of int
        Who is asked, ascending.
    server_round, seed : int
        The round, from 1, and the run's seed; every user's ``coded-seed`` is drawn from both and its number.
    stacked : bool
        One message per user instead of one per user and model.
    """

    code: SubsetCode
    roster: Roster
    users: tuple[int, ...]
    server_round: int
    seed: int
    stacked: bool

    @property
    def places(self) -> list[Place]:
        """Every (user, model) asked, in the order in which replies are used."""
        if self.stacked:
            return [(user, None) for user in self.users]
        return [(user, model) for user in self.users for model in self.code.models_of(user).tolist()]

    def messages(
        self,
        message_type: str,
        states: Mapping[str, NDArray[Any]],
        config: ConfigRecord,
        arrayrecord_key: str,
        configrecord_key: str,
    ) -> list[Message]:
        """Make the messages: arrays under one key, the user's config and our own entries under the other."""
        records: dict[int, ArrayRecord] = {}
        messages = []
        for user, model in self.places:
            if model is None:
                record = to_array_record(select_models(states, self.code.models_of(user).tolist()))
            else:
                if model not in records:
                    records[model] = to_array_record(select_models(states, model))
                record = records[model]
            own_config = ConfigRecord({**config, **self._config_entries(user, model)})
            content = RecordDict({arrayrecord_key: record, configrecord_key: own_config})
            node_id, group_id = self.roster.node_of(user), self._group_id(model)
            messages.append(Message(content, node_id, message_type, group_id=group_id))
        return messages

    def templates(self, states: Mapping[str, NDArray[Any]]) -> dict[Place, dict[str, ArrayTemplate]]:
        """Return what the arrays of each reply must look like."""
        if not self.stacked:
            template = template_of(select_models(states, 0), same_kind=True)
            return dict.fromkeys(self.places, template)
        return {
            place: template_of(select_models(states, self.code.models_of(place[0]).tolist()), same_kind=True)
            for place in self.places
        }

    def judge_all(
        self, replies: Iterable[Message], judge_reply: Callable[[Message, Place], Verdict]
    ) -> tuple[list[Accepted[Update]], list[Rejected]]:
        """Judge replies singly.

        Parameters
        ----------
        replies : iterable of Message
            In any order.
        judge_reply : callable
            ``(message, place) -> Accepted or Rejected`` for a reply that has a place.

        Returns
        -------
        accepted, rejected : lists
            Both in the order of :attr:`places`, whatever the order of arrival; then, rejected, what had no
            place: replies of nodes that were not asked, and second replies to one message.
        """
        model_of_group = {self._group_id(model): model for _, model in self.places}
        places = set(self.places)
        verdicts: dict[Place, Verdict] = {}
        without_place: list[Rejected] = []
        for message in replies:
            node_id, group_id = message.metadata.src_node_id, message.metadata.group_id
            user, model = self.roster.user_of(node_id), model_of_group.get(group_id)
            if user is None or group_id not in model_of_group or (user, model) not in places:
                reason = "a reply that was not asked for"
                without_place.append(Rejected(node_id, user, reason, "unexpected", model))
            elif (user, model) in verdicts:
                reason = "a second reply to the same message"
                without_place.append(Rejected(node_id, user, reason, "duplicate", model))
            else:
                verdicts[user, model] = judge_reply(message, (user, model))
        without_place.sort(
            key=lambda each: (each.user is None, each.user or 0, each.model or 0, each.node_id)
        )
        ordered = [verdicts.get(place) or self._silent(*place) for place in self.places]
        accepted = [each for each in ordered if isinstance(each, Accepted)]
        return accepted, [each for each in ordered if isinstance(each, Rejected)] + without_place

    def _config_entries(self, user: int, model: int | None) -> dict[str, int | list[int]]:
        own_seed = np.random.SeedSequence([self.seed, self.server_round, user]).generate_state(1)[0]
        entries: dict[str, int | list[int]] = {
            SERVER_ROUND_KEY: self.server_round,
            USER_KEY: user,
            SEED_KEY: int(own_seed),
        }
        named = {MODELS_KEY: self.code.models_of(user).tolist()} if model is None else {MODEL_KEY: model}
        return entries | named

    def _group_id(self, model: int | None) -> str:
        return f"{self.server_round}" if model is None else f"{self.server_round}/{model}"

    def _silent(self, user: int, model: int | None) -> Rejected:
        node_id = self.roster.node_of(user)
        return Rejected(node_id, user, "no reply before the timeout", "no-reply", model)


def average_models(
    code: SubsetCode,
    states: Mapping[str, NDArray[Any]],
    accepted: Sequence[Accepted[Update]],
    weights: Sequence[float],
) -> tuple[State, list[int]]:
    """Average every model over the replies that hold it.

    Parameters
    ----------
    code : SubsetCode
        Names the models of a stacked reply.
    states : mapping of str to ndarray of shape (m, ...)
        The ensemble before; not modified.
    accepted : sequence of Accepted
        Replies, in canonical order.
    weights : sequence of float
        One per reply.

    Returns
    -------
    states : dict of str to ndarray of shape (m, ...)
        The ensemble after; models nobody sent are as they were.
    unchanged : list of int
        Those models.
    """
    received: list[list[tuple[State, float]]] = [[] for _ in range(code.num_models)]
    for reply, weight in zip(accepted, weights, strict=True):
        for model, state in _states_by_model(code, reply):
            received[model].append((state, weight))
    averaged = {name: each.copy() for name, each in states.items()}
    for model, contributions in enumerate(received):
        if contributions:
            average = weighted_average([state for state, _ in contributions], [w for _, w in contributions])
            for name, values in average.items():
                averaged[name][model] = values
    return averaged, [model for model, contributions in enumerate(received) if not contributions]


def _states_by_model(code: SubsetCode, reply: Accepted[Update]) -> list[tuple[int, State]]:
    if reply.model is not None:
        return [(reply.model, reply.content.state)]
    assert reply.user is not None, "judge_all only accepts replies of users"
    models = code.models_of(reply.user).tolist()
    return [(model, select_models(reply.content.state, row)) for row, model in enumerate(models)]
