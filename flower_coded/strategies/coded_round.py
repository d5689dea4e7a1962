"""One round of coded subset aggregation: which models a user is sent, and the average of what came back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from flower_coded.codes import SubsetCode
from flower_coded.strategies.ensemble_states import select_models, weighted_average
from flower_coded.strategies.federation import Assignment
from flower_coded.strategies.model_labels import ModelLabels
from flower_coded.strategies.rounds import RoundRecord
from flower_coded.wire.array_reading import ArrayTemplate
from flower_coded.wire.keys import MODEL_KEY, MODELS_KEY
from flower_coded.wire.model_state import State, to_array_record
from flower_coded.wire.validation import Accepted, Update

__all__ = [
    "CodedRound",
    "assignments_of",
    "average_models",
    "coded_contents",
    "template_for",
    "turn_of_round",
]


@dataclass(frozen=True, kw_only=True)
class CodedRound(RoundRecord):
    """One round of training an ensemble.

    Parameters
    ----------
    assignments : tuple of Assignment
        (user, model) of every reply used; the model is None for a stacked reply.
    unchanged_models : tuple of int
        Models that got no usable reply and kept their state.
    """

    assignments: tuple[Assignment, ...] = ()
    unchanged_models: tuple[int, ...] = ()

    @property
    def num_accepted(self) -> int:
        """Replies that were used."""
        return len(self.assignments)

    def metrics(self) -> MetricRecord:
        """Add which models stayed as they were."""
        metrics = super().metrics()
        if self.unchanged_models:
            metrics["unchanged-models"] = list(self.unchanged_models)
        return metrics


def assignments_of(
    code: SubsetCode, users: Iterable[int], labels: ModelLabels, *, stacked: bool
) -> list[Assignment]:
    """Return every (user, model) that is asked; one per user, with no model, where models are stacked.

    Examples
    --------
    >>> code = SubsetCode([[True, True], [False, True]])
    >>> labels = ModelLabels(code, 0, told=True)
    >>> [tuple(each) for each in assignments_of(code, [0, 1], labels, stacked=False)]
    [(0, 0), (1, 0), (1, 1)]
    """
    if stacked:
        return [Assignment(user) for user in users if code.matrix[:, user].any()]
    return [
        Assignment(user, model)
        for user in users
        for model in labels.ordered(user, code.models_of(user).tolist())
    ]


def turn_of_round(code: SubsetCode, server_round: int) -> SubsetCode:
    """Return the code of one round in which every model visits just one of its users, another one each round.

    Models start at different users, so that no round has one user train everything.

    Parameters
    ----------
    code : SubsetCode
    server_round : int
        From 1 on.

    Returns
    -------
    SubsetCode
        One 1 in every row; over as many rounds as a row has ones it visits all its users.

    Examples
    --------
    >>> code = SubsetCode([[True, True], [True, True]])
    >>> [turn_of_round(code, round).matrix.astype(int).tolist() for round in (1, 2)]
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]
    """
    matrix = np.zeros_like(code.matrix)
    for model in range(code.num_models):
        users = code.users_of(model)
        matrix[model, users[(server_round - 1 + model) % len(users)]] = True
    return SubsetCode(matrix, name=f"{code.name}, round {server_round}")


def coded_contents(
    code: SubsetCode,
    states: Mapping[str, NDArray[Any]],
    configs: Mapping[Assignment, Mapping[str, Any]],
    keys: tuple[str, str],
    labels: ModelLabels,
) -> dict[Assignment, RecordDict]:
    """Make what is sent: a user's models under one key, its config and the models' labels under the other.

    Parameters
    ----------
    code : SubsetCode
    states : mapping of str to ndarray of shape (m, ...)
        The ensemble.
    configs : mapping of Assignment to mapping
        Every user's config, without the models.
    keys : (str, str)
        Names of the ArrayRecord and the ConfigRecord.
    labels : ModelLabels
        What users are told of their models.
    """
    records: dict[int, ArrayRecord] = {}
    contents = {}
    for assignment, config in configs.items():
        user, model = assignment
        if model is None:
            models = labels.ordered(user, code.models_of(user).tolist())
            record = to_array_record(select_models(states, models))
            named: dict[str, Any] = {MODELS_KEY: labels.of(user, models)}
        else:
            if model not in records:  # one record serves all users of a model
                records[model] = to_array_record(select_models(states, model))
            record, named = records[model], {MODEL_KEY: labels.of(user, [model])[0]}
        contents[assignment] = RecordDict({keys[0]: record, keys[1]: ConfigRecord({**config, **named})})
    return contents


def template_for(
    code: SubsetCode, states: Mapping[str, NDArray[Any]], assignment: Assignment
) -> dict[str, ArrayTemplate]:
    """Return what the arrays of a reply must look like."""
    user, model = assignment
    stack = () if model is not None else (len(code.models_of(user)),)
    return {
        name: ArrayTemplate((*stack, *array.shape[1:]), array.dtype, same_kind=True)
        for name, array in states.items()
    }


def average_models(
    code: SubsetCode,
    states: Mapping[str, NDArray[Any]],
    accepted: Sequence[Accepted[Update]],
    weights: Sequence[float],
    labels: ModelLabels,
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
        One per reply; a reply that weighs nothing is no part of the average.
    labels : ModelLabels
        Knows the order of stacked models.

    Returns
    -------
    states : dict of str to ndarray of shape (m, ...)
        The ensemble after; models nobody sent are as they were.
    unchanged : list of int
        Those models.
    """
    received: list[list[tuple[State, float]]] = [[] for _ in range(code.num_models)]
    for reply, weight in zip(accepted, weights, strict=True):
        for model, state in _states_by_model(code, reply, labels) if weight > 0 else ():
            received[model].append((state, weight))
    averaged = {name: each.copy() for name, each in states.items()}
    for model, contributions in enumerate(received):
        if contributions:
            average = weighted_average([state for state, _ in contributions], [w for _, w in contributions])
            for name, values in average.items():
                averaged[name][model] = values
    return averaged, [model for model, contributions in enumerate(received) if not contributions]


def _states_by_model(
    code: SubsetCode, reply: Accepted[Update], labels: ModelLabels
) -> list[tuple[int, State]]:
    if reply.model is not None:
        return [(reply.model, reply.content.state)]
    models = labels.ordered(reply.participant, code.models_of(reply.participant).tolist())
    return [(model, select_models(reply.content.state, row)) for row, model in enumerate(models)]
