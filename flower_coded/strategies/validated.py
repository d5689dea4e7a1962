"""Run any Flower strategy with each reply judged alone, so that one malformed reply never ends the run.

Flower's own strategies compare all replies with each other and raise on the first odd one; a negative
``num-examples`` divides by zero; arrays in another order are compared entry by entry with the wrong ones.
:class:`ValidatedReplies` stands between: it asks what the wrapped strategy asks, judges what comes back
(:mod:`flower_coded.strategies.judging`), rebuilds every reply that passes in the names, order and types that
were sent, and hands on only those. Who was turned away, and why, is in the log, the metrics and the history.
If the wrapped strategy cannot do anything with what is left, the old model stays.

What it leaves out: strategies whose replies do not look like what was sent (gradient-boosted trees), and
whether a well-formed update is honest, which is the wrapped strategy's business.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from logging import INFO, WARNING
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.exception import AggregationError, InconsistentMessageReplies
from flwr.serverapp.strategy import Strategy

from flower_coded.errors import FlowerCodedError, ParameterError
from flower_coded.strategies.base import log_rejections, rejection_metrics
from flower_coded.strategies.base_metrics import capped_weights
from flower_coded.strategies.judging import Accepted, Rejected, Update, judge_arrays, judge_metrics
from flower_coded.wire.array_reading import ArrayTemplate, template_of
from flower_coded.wire.model_state import to_array_record

__all__ = ["Questions", "ValidatedReplies", "ValidatedRound"]

# What aggregation code raises on replies it cannot use: Flower's own refusals, ours, and arithmetic. (Not
# among them: a privacy budget that is spent, which must end the run.)
_REFUSALS = (
    AggregationError,
    InconsistentMessageReplies,
    FlowerCodedError,
    ArithmeticError,
    LookupError,
    ValueError,
)


@dataclass(frozen=True)
class ValidatedRound:
    """What happened in one stage of one round.

    Parameters
    ----------
    server_round : int
        From 1.
    stage : str
        ``"train"`` or ``"evaluate"``.
    accepted : tuple of int
        Node ids of the replies handed on.
    rejected : tuple of Rejected
        The others, silent nodes included.
    refusal : str
        Why there is no result; empty if there is one.
    unselected : tuple of int
        Node ids of accepted replies that a selecting rule, which said so, left out.
    """

    server_round: int
    stage: str
    accepted: tuple[int, ...]
    rejected: tuple[Rejected, ...]
    refusal: str = ""
    unselected: tuple[int, ...] = ()


@dataclass
class Questions:
    """The messages of one stage, and the judgment of their replies.

    Parameters
    ----------
    templates : dict of int to dict
        What each node's arrays must look like, by node id; empty for an evaluation.
    """

    templates: dict[int, dict[str, ArrayTemplate]] = field(default_factory=dict)

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Questions:
        """Note who is asked, and that arrays must come back as they were sent.

        Raises
        ------
        ParameterError
            If a node gets two messages in one stage, or a message does not hold one ArrayRecord.
        """
        questions, seen = cls(), dict[int, dict[str, ArrayTemplate]]()
        for message in messages:
            node_id, records = message.metadata.dst_node_id, message.content.array_records
            if node_id in questions.templates or len(records) != 1:
                raise ParameterError(
                    "strategy",
                    "must send every node one message with one ArrayRecord",
                    f"{len(records)} ArrayRecords to node {node_id}",
                    hint="strategies with stages of their own judge replies themselves",
                )
            record = next(iter(records.values()))
            if id(record) not in seen:  # most strategies send one record to everybody
                seen[id(record)] = template_of(record, same_kind=True)
            questions.templates[node_id] = seen[id(record)]
        return questions

    def judge(
        self, replies: Iterable[Message], *, weighted_by_key: str, is_train: bool
    ) -> tuple[list[Accepted[Update]], list[Rejected]]:
        """Judge replies singly.

        Parameters
        ----------
        replies : iterable of Message
            In any order.
        weighted_by_key : str
            Where the metrics hold the number of examples.
        is_train : bool
            Whether arrays are expected.

        Returns
        -------
        accepted, rejected : lists
            Both by node id, whatever the order of arrival, so that sums do not depend on it.
        """
        verdicts: dict[int, Accepted[Update] | Rejected] = {}
        out_of_place: list[Rejected] = []
        for message in replies:
            node_id = message.metadata.src_node_id
            if node_id not in self.templates:
                out_of_place.append(Rejected(node_id, None, "a reply that was not asked for", "unexpected"))
            elif node_id in verdicts:
                reason = "a second reply to the same message"
                out_of_place.append(Rejected(node_id, None, reason, "duplicate"))
            elif is_train:
                template = self.templates[node_id]
                verdicts[node_id] = judge_arrays(message, template, weighted_by_key=weighted_by_key)
            else:
                verdicts[node_id] = judge_metrics(message, weighted_by_key=weighted_by_key)
        silence = "no reply before the timeout"
        ordered = [
            verdicts.get(node_id) or Rejected(node_id, None, silence, "no-reply")
            for node_id in sorted(self.templates)
        ]
        accepted = [each for each in ordered if isinstance(each, Accepted)]
        return accepted, [each for each in ordered if isinstance(each, Rejected)] + out_of_place


class ValidatedReplies(Strategy):
    """Any FedAvg-shaped Flower strategy, with each reply judged alone.

    Parameters
    ----------
    strategy : Strategy
        The strategy to run: FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum, Bulyan, FedAdam, ... or a
        wrapper around one of them, as for differential privacy.
    weighted_by_key : str, optional
        Where replies hold their number of examples; the wrapped strategy's own by default.
    max_claim_ratio : float
        A client's number of examples counts at most this many times the round's median claim.

    Attributes
    ----------
    history : list of ValidatedRound
        One per stage and round.

    Raises
    ------
    ParameterError
        If a parameter is out of its range; from ``start``, if the strategy sends a node several messages.

    Notes
    -----
    Metrics beside the wrapped strategy's own: ``accepted-replies``; ``rejected-replies``, ``rejected-nodes``
    and ``rejected-<code>``, see :func:`~flower_coded.strategies.base.rejection_metrics`; and
    ``refused-rounds``, 1 where replies were left but the old model stays. A reply must report the metrics
    that most replies report, in finite numbers: Flower averages them by name. Metrics beyond them are
    dropped.

    Examples
    --------
    >>> from flwr.app import Array
    >>> from flwr.clientapp import ClientApp
    >>> from flwr.serverapp.strategy import FedMedian
    >>> from flower_coded.testing import InProcessGrid
    >>> app = ClientApp()
    >>> @app.train()
    ... def train(message, context):  # node 2 answers in another shape
    ...     shape = (9,) if context.node_config["partition-id"] == 2 else (1,)
    ...     arrays = ArrayRecord({"w": Array(np.ones(shape))})
    ...     metrics = MetricRecord({"num-examples": 10})
    ...     return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
    >>> strategy = ValidatedReplies(FedMedian(fraction_evaluate=0.0, min_train_nodes=3))
    >>> result = strategy.start(InProcessGrid(app, 3), ArrayRecord({"w": Array(np.zeros(1))}), num_rounds=1)
    >>> result.arrays["w"].numpy(), strategy.history[0].rejected[0].reason
    (array([1.]), "'w' has shape (9,), expected (1,)")
    """

    def __init__(
        self, strategy: Strategy, *, weighted_by_key: str | None = None, max_claim_ratio: float = 10.0
    ) -> None:
        if not isinstance(strategy, Strategy):
            raise ParameterError("strategy", "must be a Strategy of flwr.serverapp.strategy", strategy)
        if not max_claim_ratio >= 1:
            raise ParameterError("max_claim_ratio", "must be at least 1", max_claim_ratio)
        self.strategy, self.max_claim_ratio = strategy, max_claim_ratio
        self.weighted_by_key = weighted_by_key or _weighted_by_key(strategy)
        self.history: list[ValidatedRound] = []
        self._questions = Questions()
        self._arrays: ArrayRecord | None = None

    def summary(self) -> None:
        """Log that replies are judged singly, then the wrapped strategy's own settings."""
        log(INFO, "\t├──> Every reply is judged alone before %s sees it", type(self.strategy).__name__)
        self.strategy.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask what the wrapped strategy asks."""
        messages = list(self.strategy.configure_train(server_round, arrays, config, grid))
        self._arrays = arrays
        self._questions = Questions.of(messages)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Hand on the replies that pass; after a refusal give back the old arrays."""
        (accepted, messages, rejected), num_asked = self._passing(replies, is_train=True)
        if not num_asked:
            return self.strategy.aggregate_train(server_round, [])
        arrays, metrics, refusal = None, None, ""
        if messages:
            try:
                with np.errstate(all="ignore"):  # huge finite values may overflow in a rule; checked below
                    arrays, metrics = self.strategy.aggregate_train(server_round, messages)
            except _REFUSALS as error:
                refusal = f"{type(error).__name__}: {error}"
            else:
                refusal = _unusable(arrays)
        else:
            refusal = "no reply could be used"
        record = self._conclude(server_round, "train", accepted, rejected, refusal)
        return (self._arrays if refusal else arrays), self._metrics(metrics, record)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask what the wrapped strategy asks."""
        messages = list(self.strategy.configure_evaluate(server_round, arrays, config, grid))
        self._questions = Questions.of(messages)
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Hand on the replies that pass."""
        (accepted, messages, rejected), num_asked = self._passing(replies, is_train=False)
        if not num_asked:
            return None
        metrics, refusal = None, ""
        try:
            metrics = self.strategy.aggregate_evaluate(server_round, messages)
        except _REFUSALS as error:
            refusal = f"{type(error).__name__}: {error}"
        record = self._conclude(server_round, "evaluate", accepted, rejected, refusal)
        return self._metrics(metrics, record)

    def _passing(
        self, replies: Iterable[Message], *, is_train: bool
    ) -> tuple[tuple[list[Accepted[Update]], list[Message], list[Rejected]], int]:
        """Judge the replies; give what is handed on, what is not, and how many nodes were asked."""
        originals = list(replies)
        key = self.weighted_by_key
        accepted, rejected = self._questions.judge(originals, weighted_by_key=key, is_train=is_train)
        reported = _common_metrics([_finite_lengths(each.content.metrics) for each in accepted])
        accepted, lacking = _part_by_metrics(accepted, reported)
        rejected += lacking
        weights = capped_weights([each.content.weight for each in accepted], self.max_claim_ratio)
        first = {each.metadata.src_node_id: each for each in reversed(originals)}
        messages = [
            _rebuilt(first[each.node_id], each.content, reported, key, weight)
            for each, weight in zip(accepted, weights, strict=True)
        ]
        return (accepted, messages, rejected), len(self._questions.templates)

    def _conclude(
        self,
        server_round: int,
        stage: str,
        accepted: Sequence[Accepted[Update]],
        rejected: Sequence[Rejected],
        refusal: str,
    ) -> ValidatedRound:
        log_rejections(server_round, rejected)
        if refusal:
            kept = "; the old model stays" if stage == "train" else ""
            log(WARNING, "round %d (%s): %s%s", server_round, stage, refusal, kept)
        nodes = tuple(each.node_id for each in accepted)
        record = ValidatedRound(server_round, stage, nodes, tuple(rejected), refusal)
        self.history.append(record)
        return record

    @staticmethod
    def _metrics(own: MetricRecord | None, record: ValidatedRound) -> MetricRecord:
        metrics = MetricRecord(dict(own or {}))
        metrics["accepted-replies"] = len(record.accepted)
        metrics.update(rejection_metrics(record.rejected))
        if record.refusal:
            metrics["refused-rounds"] = 1
        return metrics


def _weighted_by_key(strategy: Any) -> str:
    """Look for the key in the strategy, or in the one it wraps."""
    while not hasattr(strategy, "weighted_by_key") and hasattr(strategy, "strategy"):
        strategy = strategy.strategy
    return str(getattr(strategy, "weighted_by_key", "num-examples"))


def _rebuilt(
    message: Message, update: Update, reported: Iterable[str], weighted_by_key: str, weight: float
) -> Message:
    """Make the reply that an honest node would have sent with this content: our names, order and types."""
    arrays, metrics = message.content.array_records, message.content.metric_records
    values = {name: update.metrics[name] for name in reported} | {weighted_by_key: weight}
    content = RecordDict({name: MetricRecord(values) for name in metrics})
    for name in arrays if update.state else ():
        content[name] = to_array_record(update.state)
    message.content = content
    return message


def _finite_lengths(metrics: MetricRecord) -> dict[str, int]:
    """Lengths (-1 for a single number) of the metrics whose values are all finite."""
    lengths = {}
    for name, value in metrics.items():
        if all(math.isfinite(each) for each in (value if isinstance(value, list) else [value])):
            lengths[name] = len(value) if isinstance(value, list) else -1
    return lengths


def _common_metrics(reports: Sequence[dict[str, int]]) -> dict[str, int]:
    """Names and lengths that most replies report; of equals, those of the first."""
    counts = Counter(tuple(sorted(each.items())) for each in reports)
    return dict(counts.most_common(1)[0][0]) if counts else {}


def _part_by_metrics(
    accepted: Sequence[Accepted[Update]], reported: dict[str, int]
) -> tuple[list[Accepted[Update]], list[Rejected]]:
    keeping: list[Accepted[Update]] = []
    lacking: list[Rejected] = []
    for each in accepted:
        own = _finite_lengths(each.content.metrics)
        missing = sorted(name for name, length in reported.items() if own.get(name) != length)
        if missing:
            reason = f"the metrics lack {missing[:3]}, which most replies report"
            lacking.append(Rejected(each.node_id, each.user, reason, "metrics"))
        else:
            keeping.append(each)
    return keeping, lacking


def _unusable(arrays: ArrayRecord | None) -> str:
    if arrays is None:
        return "the rule refuses the replies that are left"
    if not all(np.isfinite(array.numpy()).all() for array in arrays.values()):
        return "the aggregate is not finite"
    return ""
