"""Federated averaging with another rule in place of the average: one vector per user in, one vector out.

An update is a user's model minus the global one, its floating-point entries in one row, array after array; a
rule of :mod:`flower_coded.aggregation` (or anything with its ``aggregate``) makes one row of all of them,
which is added to the global model. Working on updates keeps the rules' arithmetic away from the much larger
weights. Every update counts once: an example count is a claim nobody can check. Integer arrays (counters of
batches) stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from logging import INFO, WARNING
from typing import Any, Protocol

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from flower_coded.aggregation import AggregationRule, mean
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.strategies.base import Accepted, Update, log_rejections, rejection_metrics
from flower_coded.strategies.client_metrics import aggregate_client_metrics
from flower_coded.strategies.ensemble_states import State, to_array_record
from flower_coded.strategies.ramp_krum_updates import add_to_state, update_length
from flower_coded.strategies.validated import Questions, ValidatedRound

__all__ = ["RuleAggregation"]


class _Rule(Protocol):
    def aggregate(self, updates: Any, generator: np.random.Generator | None = None) -> Any: ...


class RuleAggregation(FedAvg):
    """FedAvg with an aggregation rule in place of the average.

    Parameters
    ----------
    rule : AggregationRule
        Made by :func:`flower_coded.aggregation.get_aggregation_rule`, or anything with
        ``aggregate(updates of shape (n, d), generator) -> (d,)`` that raises ``ParameterError`` or
        ``DecodingError`` where it is given too few.
    seed : int
        Draws what a rule draws (buckets): a generator of its own for every round.
    **fedavg_options
        As for FedAvg. Metrics that clients report are averaged over the replies that report the same.

    Attributes
    ----------
    history : list of ValidatedRound
        One per round of training, with the reason for every rejection.

    Notes
    -----
    Metrics: those of the clients, ``accepted-replies``, the rejections (see
    :func:`~flower_coded.strategies.base.rejection_metrics`) and ``refused-rounds``, 1 where the rule refused
    what was left and the old model stays; for rules that select rows (``AggregationRule.select``: Krum,
    multi-Krum) ``unselected-nodes``.

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

    def __init__(self, rule: _Rule, *, seed: int = 0, **fedavg_options: Any) -> None:
        super().__init__(**fedavg_options)
        if not callable(getattr(rule, "aggregate", None)):
            raise ParameterError(
                "rule", "must have a method aggregate", rule, hint='get_aggregation_rule("median")'
            )
        if seed < 0:
            raise ParameterError("seed", "must not be negative", seed)
        self.rule, self.seed = rule, seed
        self.history: list[ValidatedRound] = []
        self._questions = Questions()
        self._state: State = {}

    def summary(self) -> None:
        """Log the rule, then FedAvg's own settings."""
        log(INFO, "\t├──> Aggregation of updates by %r", self.rule)
        super().summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask as FedAvg does, and remember the model that was sent."""
        messages = list(super().configure_train(server_round, arrays, config, grid))
        self._state = {name: array.numpy() for name, array in arrays.items()}
        self._questions = Questions.of(messages)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Judge every reply, apply the rule to the updates; after a refusal give back the old arrays."""
        key = self.weighted_by_key
        accepted, rejected = self._questions.judge(replies, weighted_by_key=key, is_train=True)
        if not self._questions.templates:
            return None, None
        following = self._state
        unselected: tuple[int, ...] = ()
        refusal = ""
        try:
            following, unselected = self._aggregate(server_round, accepted)
        except (ParameterError, DecodingError) as error:
            refusal = str(error)
        nodes = tuple(each.node_id for each in accepted)
        record = ValidatedRound(server_round, "train", nodes, tuple(rejected), refusal, unselected)
        self._conclude(record)
        metrics = self._metrics(accepted, record)
        return to_array_record(following), metrics

    def _aggregate(
        self, server_round: int, accepted: Sequence[Accepted[Update]]
    ) -> tuple[State, tuple[int, ...]]:
        """Return the new model, and the nodes whose updates were left out."""
        if not accepted:
            raise DecodingError("no reply could be used", received=0, needed=1)
        updates = _updates(self._state, accepted)
        selected = self.rule.select(updates) if isinstance(self.rule, AggregationRule) else None
        if selected is None:
            generator = np.random.default_rng([self.seed, server_round])
            aggregate = np.asarray(self.rule.aggregate(updates, generator), dtype=np.float64)
            unselected: tuple[int, ...] = ()
        else:
            aggregate = np.asarray(mean(updates[selected]), dtype=np.float64)
            left_out = np.setdiff1d(np.arange(len(accepted)), selected)
            unselected = tuple(accepted[row].node_id for row in left_out)
        if not np.isfinite(aggregate).all():
            raise DecodingError("the aggregate is not finite")
        return add_to_state(self._state, aggregate), unselected

    def _conclude(self, record: ValidatedRound) -> None:
        log_rejections(record.server_round, record.rejected)
        if record.refusal:
            log(WARNING, "round %d: %s; the old model stays", record.server_round, record.refusal)
        self.history.append(record)

    def _metrics(self, accepted: Sequence[Accepted[Update]], record: ValidatedRound) -> MetricRecord:
        updates, key = [each.content for each in accepted], self.weighted_by_key
        metrics, _ = aggregate_client_metrics(updates, [1.0] * len(updates), key, self.train_metrics_aggr_fn)
        metrics["accepted-replies"] = len(accepted)
        metrics.update(rejection_metrics(record.rejected))
        if record.unselected:
            metrics["unselected-nodes"] = sorted(record.unselected)
        if record.refusal:
            metrics["refused-rounds"] = 1
        return metrics


def _updates(before: State, accepted: Sequence[Accepted[Update]]) -> NDArray[np.floating[Any]]:
    """Rows of model minus global model, in the widest of the arrays' own floating types."""
    floats = {name: array for name, array in before.items() if array.dtype.kind == "f"}
    dtype = np.result_type(*floats.values()) if floats else np.dtype(np.float64)
    rows = np.empty((len(accepted), update_length(before)), dtype)
    for row, each in zip(rows, accepted, strict=True):
        start = 0
        for name, sent in floats.items():
            np.subtract(each.content.state[name].ravel(), sent.ravel(), out=row[start : start + sent.size])
            start += sent.size
    return rows
