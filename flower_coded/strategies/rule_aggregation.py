"""Federated averaging with another rule in place of the average: one vector per user in, one vector out.

An update is a user's model minus the global one, its floating-point entries in one row, array after array; a
rule of :mod:`flower_coded.aggregation` (or anything with its ``aggregate``) makes one row of all of them,
which is added to the global model. Working on updates keeps the rules' arithmetic away from the much larger
weights. Every update counts once: a count of examples is a claim nobody can check, and none is asked
for. Integer arrays (counters of batches) stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from logging import INFO
from typing import Any, Protocol

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid

from flower_coded.aggregation import AggregationRule, RoundContext, ServerOptimizer, mean
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.strategies.averaging import FederatedAveraging, participants_of
from flower_coded.strategies.rounds import RoundRecord, nothing_usable
from flower_coded.strategies.server_steps import ServerSteps
from flower_coded.wire.array_reading import template_of
from flower_coded.wire.model_state import (
    State,
    check_parameters,
    read_state,
    to_array_record,
    update_rows,
)
from flower_coded.wire.validation import Accepted, Update, read_update

__all__ = ["RuleAggregation", "RuleRound"]


@dataclass(frozen=True, kw_only=True)
class RuleRound(RoundRecord):
    """One round of training.

    Parameters
    ----------
    unselected : tuple of int
        Accepted participants whose update a selecting rule left out.
    """

    unselected: tuple[int, ...] = ()

    def metrics(self) -> MetricRecord:
        """Add who was left out."""
        metrics = super().metrics()
        if self.unselected:
            metrics["unselected-participants"] = list(self.unselected)
        return metrics


class _Rule(Protocol):
    def aggregate(self, updates: Any, generator: np.random.Generator | None = None) -> Any: ...


class RuleAggregation(FederatedAveraging):
    """FedAvg with an aggregation rule in place of the average.

    Parameters
    ----------
    rule : AggregationRule
        Made by :func:`flower_coded.aggregation.get_aggregation_rule`, or anything with
        ``aggregate(updates of shape (n, d), generator) -> (d,)`` that raises ``ParameterError`` or
        ``DecodingError`` where it is given too few.
    server_optimizer : ServerOptimizer or None
        What makes the step from the rule's aggregate (:func:`flower_coded.aggregation.get_server_optimizer`:
        FedAvgM, FedAdagrad, FedAdam, FedYogi); None adds the aggregate itself.
    train_on_root : callable or None
        ``train_on_root(server_round, arrays)`` trains the global model on data of the server's own and
        returns the trained ``ArrayRecord``: what :class:`~flower_coded.aggregation.FLTrust` measures updates
        by. It is called once per round, when the replies are there.
    **options
        ``seed`` (draws who takes part, and what a rule draws: buckets), ``connect_timeout``, and everything
        that FedAvg takes. Metrics that clients report are averaged over the replies that report the same.

    Attributes
    ----------
    history : list of RuleRound
        One per stage and round, with the reason for every rejection.

    Raises
    ------
    ParameterError
        If the rule has no ``aggregate``; from ``start``, if no array holds floating-point numbers.
    NoRoundSucceededError
        From ``start``, if the rule refused every round.

    Notes
    -----
    Metrics: those of the clients, those of every :class:`~flower_coded.strategies.rounds.RoundRecord`, and
    for rules that select rows (``AggregationRule.select``: Krum, multi-Krum) ``unselected-participants``.

    Examples
    --------
    >>> from flwr.app import Array, RecordDict
    >>> from flwr.clientapp import ClientApp
    >>> from flower_coded.aggregation import get_aggregation_rule
    >>> from flower_coded.testing import InProcessGrid
    >>> app = ClientApp()
    >>> @app.train()
    ... def train(message, context):  # one user of three goes very far
    ...     step = [1.0, 2.0, 1e6][context.node_config["partition-id"]]
    ...     arrays = ArrayRecord({"w": Array(message.content["arrays"]["w"].numpy() + step)})
    ...     metrics = MetricRecord({"num-examples": 10})
    ...     return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
    >>> strategy = RuleAggregation(get_aggregation_rule("median"), fraction_evaluate=0.0, min_train_nodes=3)
    >>> result = strategy.start(InProcessGrid(app, 3), ArrayRecord({"w": Array(np.zeros(2))}), num_rounds=1)
    >>> result.arrays["w"].numpy()
    array([2., 2.])
    """

    def __init__(
        self,
        rule: _Rule,
        *,
        server_optimizer: ServerOptimizer | None = None,
        train_on_root: Callable[[int, ArrayRecord], ArrayRecord] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not callable(getattr(rule, "aggregate", None)):
            raise ParameterError(
                "rule", "must have a method aggregate", rule, hint='get_aggregation_rule("median")'
            )
        self.rule, self.steps, self.train_on_root = rule, ServerSteps(server_optimizer), train_on_root
        self._state: State = {}
        self._memory: Mapping[str, Any] = {}  # what the rule remembers of this run

    def summary(self) -> None:
        """Log the rule, then FedAvg's own settings."""
        log(INFO, "\t├──> Aggregation of updates by %r", self.rule)
        if self.steps.optimizer is not None:
            log(INFO, "\t├──> Steps of the server by %r", self.steps.optimizer)
        super().summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask as FedAvg does, and remember the model that was sent."""
        self._state = read_state(arrays)
        check_parameters(self._state, needs_floating=True)
        messages = super().configure_train(server_round, arrays, config, grid)
        if not self.history:  # a new run
            self.steps.restart()
            self._memory = {}
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Validate every reply, apply the rule to the updates; a refused round gives back the old arrays."""
        if self.requests is None:
            return None, None
        template, following = template_of(self._state, same_kind=True), self._state
        accepted, rejected = self.requests.validate(
            replies, lambda content, _: read_update(content, template, weighted_by_key=self.count_key)
        )
        unselected: tuple[int, ...] = ()
        refusal = ""
        if not accepted:
            refusal = nothing_usable(rejected)
        else:
            try:
                with np.errstate(over="ignore", invalid="ignore"):  # checked: what overflows is refused
                    following, unselected = self._aggregate(server_round, accepted)
            except (ParameterError, DecodingError) as error:
                refusal = str(error)
        metrics = self.train_metrics(accepted)
        record = RuleRound(
            server_round=server_round,
            accepted=participants_of(accepted),
            rejected=tuple(rejected),
            refusal=refusal,
            unselected=unselected,
        )
        return to_array_record(following), self.conclude(record, metrics)

    def _aggregate(
        self, server_round: int, accepted: Sequence[Accepted[Update]]
    ) -> tuple[State, tuple[int, ...]]:
        """Return the new model, and the participants whose updates were left out."""
        updates = update_rows([each.content.state for each in accepted], self._state)
        selected = self.rule.select(updates) if isinstance(self.rule, AggregationRule) else None
        memory: Mapping[str, Any] = {}
        unselected: tuple[int, ...] = ()
        if selected is None:
            change, memory = self._by_rule(updates, server_round, accepted)
        else:
            change = mean(updates[selected])
            left_out = np.setdiff1d(np.arange(len(accepted)), selected)
            unselected = tuple(accepted[row].participant for row in left_out)
        following = self.steps.applied(self._state, np.asarray(change, dtype=np.float64), server_round)
        self._memory = memory
        return following, unselected

    def _by_rule(
        self, updates: Any, server_round: int, accepted: Sequence[Accepted[Update]]
    ) -> tuple[Any, Mapping[str, Any]]:
        generator = np.random.default_rng([self.seed, server_round])
        if not isinstance(self.rule, AggregationRule):
            return self.rule.aggregate(updates, generator), {}
        context = RoundContext(
            generator=generator,
            participants=tuple(each.participant for each in accepted),
            root_update=self._root_update(server_round),
            memory=self._memory,
        )
        return self.rule.aggregate_in_round(updates, context)

    def _root_update(self, server_round: int) -> Any:
        if self.train_on_root is None:
            return None
        trained = read_state(self.train_on_root(server_round, to_array_record(self._state)))
        shapes = {name: array.shape for name, array in self._state.items()}
        if {name: array.shape for name, array in trained.items()} != shapes:
            raise ParameterError("train_on_root", f"must return arrays of shapes {shapes}", list(trained))
        return update_rows([trained], self._state)[0]
