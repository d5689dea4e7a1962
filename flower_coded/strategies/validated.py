"""Run any Flower strategy with each reply validated alone, so that one malformed reply never ends the run.

Flower's own strategies compare all replies with each other and raise on the first odd one; a negative
``num-examples`` divides by zero; arrays in another order are compared entry by entry with the wrong ones; a
node that leaves makes them wait without end. :class:`ValidatedReplies` stands between. It asks what the
wrapped strategy asks, validates what comes back, and hands on only what passes, in participant order, as an
honest client would have sent it: our names, order and types, the reported count capped. Who was turned away,
and why, is in the log, the metrics and the history. If the wrapped strategy cannot do anything with what is
left, the old model stays.

The wrapped strategy computes in floating point, with no array of no dimension: integers, bools and half
precision are widened for it (:func:`widened`) and given back in the types and shapes that were sent, so that
a batch counter stays an integer and a float16 model stays one. What it leaves out: strategies whose replies
do not look like what was sent (gradient-boosted trees), and whether a well-formed update is honest, which is
the wrapped strategy's business.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging import INFO, WARNING
from typing import Any, cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.exception import AggregationError, InconsistentMessageReplies
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from flower_coded.errors import FlowerCodedError, NodesMissingError, ParameterError
from flower_coded.strategies.averaging import participants_of
from flower_coded.strategies.client_metrics import (
    aggregate_client_metrics,
    capped_weights,
    finite_lengths,
    most_common_lengths,
    noting_left_out,
)
from flower_coded.strategies.federation import Assignment, Federation, RoundRequests
from flower_coded.strategies.older_flower import OLDER_STRATEGY_HINT
from flower_coded.strategies.private_noise import adds_noise, noise_for, without_zero_updates
from flower_coded.strategies.rounds import FederatedStrategy, RoundRecord, nothing_usable
from flower_coded.wire.array_reading import ArrayTemplate, template_of
from flower_coded.wire.model_state import State, check_parameters, read_state, to_array_record
from flower_coded.wire.validation import Accepted, Rejected, Update, read_report, read_update

__all__ = ["ValidatedReplies", "narrowed", "widened"]

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


class ValidatedReplies(FederatedStrategy):
    """Any FedAvg-shaped Flower strategy, with each reply validated alone.

    Parameters
    ----------
    strategy : Strategy
        The strategy to run: FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum, Bulyan, FedAdam, ... or a
        wrapper around one of them, as for differential privacy.
    weighted_by_key : str, optional
        Where replies hold their number of examples; the wrapped strategy's own by default.
    max_claim_ratio : float
        A client's reported count of examples counts at most this many times the round's median.
    connect_timeout : float
        Seconds to wait for the nodes that the wrapped strategy wants to be connected. Too few in the first
        round end the run; in a later one the round changes nothing.

    Attributes
    ----------
    history : list of RoundRecord
        One per stage and round.

    Raises
    ------
    ParameterError
        If a parameter is out of its range; from ``start``, if the strategy sends a node several messages, an
        array holds complex numbers, or none holds floating-point numbers (the bytes of trees).
    NoRoundSucceededError
        From ``start``, if no round of training changed anything.

    Notes
    -----
    Methods and attributes that only the wrapped strategy has are reached through the wrapper, to be read or
    called. A ``start`` of its own is not run, and the log says so.

    Metrics beside the wrapped strategy's own are those of every
    :class:`~flower_coded.strategies.rounds.RoundRecord`. Metrics that most training replies report are
    aggregated over those that do; in an evaluation, whose metrics are all it has, the others are rejected.

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
        self,
        strategy: Strategy,
        *,
        weighted_by_key: str | None = None,
        max_claim_ratio: float = 10.0,
        connect_timeout: float = 120.0,
    ) -> None:
        super().__init__(connect_timeout=connect_timeout)
        given: object = strategy
        if not isinstance(given, Strategy):
            is_older = type(strategy).__module__.startswith("flwr.server.") or hasattr(
                strategy, "aggregate_fit"
            )
            raise ParameterError(
                "strategy",
                "must be a Strategy of flwr.serverapp.strategy",
                given,
                hint=OLDER_STRATEGY_HINT if is_older else "",
            )
        if not max_claim_ratio >= 1:
            raise ParameterError("max_claim_ratio", "must be at least 1", max_claim_ratio)
        self.strategy, self.max_claim_ratio = strategy, max_claim_ratio
        self.weighted_by_key = weighted_by_key or str(_attribute(strategy, "weighted_by_key", "num-examples"))
        self._arrays, self._state = ArrayRecord(), State()
        self._requests: RoundRequests | None = None
        self._templates: dict[int, Mapping[str, ArrayTemplate]] = {}
        self._refusal = ""  # why nobody was asked
        self._lacking_round = 0  # the latest round for which too few nodes were there

    def _take_charge(self, is_on: bool) -> None:
        super()._take_charge(is_on)
        if isinstance(self.strategy, FederatedStrategy):  # its start() is this one's
            self.strategy._take_charge(is_on)

    def __getattr__(self, name: str) -> Any:
        """Reach what only the wrapped strategy has: the methods and attributes of a project's own subclass.

        Called where ``name`` is not found here, so nothing of the wrapper is ever replaced. Private names are
        left alone: copying and pickling look for some before there is a wrapped strategy.
        """
        if name.startswith("_") or "strategy" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.strategy, name)

    def summary(self) -> None:
        """Log that replies are validated singly, then the wrapped strategy's own settings."""
        name = type(self.strategy).__name__
        log(INFO, "\t├──> Every reply is validated alone before %s sees it", name)
        if type(self.strategy).start not in (Strategy.start, FederatedStrategy.start):
            log(WARNING, "%s has a start() of its own, which is not run: the wrapper's is", name)
        self.strategy.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask what the wrapped strategy asks."""
        self._adopt(arrays)
        return self._ask(self.strategy.configure_train, "train", server_round, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Hand on the replies that pass; a refused round gives back the old arrays."""
        if self._requests is None:
            return self.strategy.aggregate_train(server_round, [])
        originals = list(replies)
        accepted, rejected = self._requests.validate(originals, self._read_update)
        refusal, metrics, state = self._refusal, MetricRecord(), self._state
        if adds_noise(self.strategy):
            accepted, still = without_zero_updates(accepted, self._state)
            rejected += still
            if not accepted:
                self.strategy.aggregate_train(server_round, [])  # an accountant forgets what it prepared
        if accepted:
            aggregated: ArrayRecord | None = None
            try:
                # Huge finite values may overflow in a rule; the result is checked.
                with (
                    np.errstate(all="ignore"),
                    noise_for(self.strategy, len(accepted)),
                    _without_hook(self.strategy, "train_metrics_aggr_fn") as hook,
                ):
                    aggregated, own = self.strategy.aggregate_train(
                        server_round, self._rebuilt(originals, accepted, "train")
                    )
                    state, refusal = self._usable(aggregated)
                reported = noting_left_out(*self._client_metrics(accepted, hook))
                metrics = MetricRecord({**reported, **(own or {})})
            except _REFUSALS as error:
                refusal = f"{type(error).__name__}: {error}"
        elif not refusal:
            refusal = nothing_usable(rejected)
        metrics = self._conclude("train", server_round, accepted, rejected, refusal, metrics)
        return (self._arrays if refusal else to_array_record(state)), metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask what the wrapped strategy asks."""
        self._adopt(arrays)
        return self._ask(self.strategy.configure_evaluate, "evaluate", server_round, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Hand on the replies that pass."""
        if self._requests is None:
            return None
        originals = list(replies)
        accepted, rejected = self._requests.validate(originals, self._read_report)
        refusal, metrics = self._refusal, MetricRecord()
        try:
            with _without_hook(self.strategy, "evaluate_metrics_aggr_fn") as hook:
                metrics, left_out = self._client_metrics(accepted, hook)
                unused = {each.participant for each in left_out}
                accepted = [each for each in accepted if each.participant not in unused]
                rejected += left_out
                if accepted:
                    messages = self._rebuilt(originals, accepted, "evaluate")
                    own = self.strategy.aggregate_evaluate(server_round, messages)
                    metrics = MetricRecord({**metrics, **(own or {})})
        except _REFUSALS as error:
            refusal = f"{type(error).__name__}: {error}"
        if not accepted and not refusal:
            refusal = nothing_usable(rejected)
        return self._conclude("evaluate", server_round, accepted, rejected, refusal, metrics)

    def _adopt(self, arrays: ArrayRecord) -> None:
        self._arrays, self._state = arrays, read_state(arrays)
        check_parameters(self._state, needs_floating=True)

    def _ask(
        self,
        configure: Callable[[int, ArrayRecord, ConfigRecord, Grid], Iterable[Message]],
        stage: str,
        server_round: int,
        config: ConfigRecord,
        grid: Grid,
    ) -> list[Message]:
        """Let the wrapped strategy make its messages, and put the arrays into them that nodes are to get."""
        self._requests, self._refusal = None, ""
        needed = max(_attribute(self.strategy, f"min_{which}_nodes", 1) for which in ("available", stage))
        is_known = self.federation is not None and self.federation.grid is grid
        federation = self.join(grid, server_round, stage, at_least=1 if is_known else needed)
        inner = to_array_record(widened(self._state))
        # What training has just waited for in vain, evaluation does not wait for again.
        timeout = 0.0 if self._lacking_round == server_round else self.connect_timeout
        patient = cast(Grid, _PatientGrid(federation, needed, timeout))
        try:
            messages = list(configure(server_round, inner, config, patient))
        except NodesMissingError as error:
            if not any(each.stage == "train" for each in self.history):
                raise
            self._lacking_round, self._refusal = server_round, str(error)
            self._requests = RoundRequests(federation.participants, server_round)
            return []
        if messages:
            self._requests = self._requests_of(messages, federation, server_round, inner)
        return messages

    def _requests_of(
        self, messages: Sequence[Message], federation: Federation, server_round: int, inner: ArrayRecord
    ) -> RoundRequests:
        """Note who is asked and what must come back."""
        requests = RoundRequests(federation.participants, server_round)
        self._templates = {}
        seen: dict[int, tuple[RecordDict, Mapping[str, ArrayTemplate]]] = {}
        for message in messages:
            index = federation.participants.index_of(message.metadata.dst_node_id)
            num_records = len(message.content.array_records)
            if index is None or Assignment(index) in requests.messages or num_records != 1:
                raise ParameterError(
                    "strategy",
                    "must send every node one message with one ArrayRecord",
                    f"{num_records} ArrayRecords to node {message.metadata.dst_node_id}",
                    hint="strategies with stages of their own validate replies themselves",
                )
            if id(message.content) not in seen:  # most strategies send one record to everybody
                seen[id(message.content)] = self._as_sent(message.content, inner)
            message.content, self._templates[index] = seen[id(message.content)]
            requests.messages[Assignment(index)] = message
        return requests

    def _as_sent(
        self, content: RecordDict, inner: ArrayRecord
    ) -> tuple[RecordDict, Mapping[str, ArrayTemplate]]:
        """Give a message's arrays their own types back; give also what a reply's must look like."""
        name, record = next(iter(content.array_records.items()))
        if record is inner:
            record = self._arrays
        else:  # a strategy may send others than it was given
            record = to_array_record(narrowed(read_state(record), self._state))
        return RecordDict({**content, name: record}), template_of(record, same_kind=True)

    def _read_update(self, content: RecordDict, assignment: Assignment) -> Update:
        template = self._templates[assignment.participant]
        return read_update(content, template, weighted_by_key=self.weighted_by_key)

    def _read_report(self, content: RecordDict, _: Assignment) -> Update:
        return read_report(content, weighted_by_key=self.weighted_by_key)

    def _rebuilt(
        self, originals: Sequence[Message], accepted: Sequence[Accepted[Update]], stage: str
    ) -> list[Message]:
        """Make the replies that honest clients would have sent with this content.

        Flower compares the names of all replies' metrics, and some strategies read one (QFedAvg its loss).
        Where a reply lacks a metric that most report it gets the others' mean, which moves no mean.
        """
        updates = [each.content for each in accepted]
        lengths = [finite_lengths(each.metrics, but=self.weighted_by_key) for each in updates]
        common = most_common_lengths(lengths)
        means = {
            name: _mean(
                [
                    each.metrics[name]
                    for each, own in zip(updates, lengths, strict=True)
                    if own.get(name) == length
                ]
            )
            for name, length in common.items()
        }
        first = {each.metadata.src_node_id: each for each in reversed(originals)}
        messages = []
        # Behind noise everybody counts alike: who claims more examples moves a weighted mean further.
        weights = [1.0] * len(accepted) if adds_noise(self.strategy) else self._weights(accepted)
        # A count of zero weighs nothing beside the others, and still divides where a rule picks it alone.
        least = 1e-12 * max(weights) or 1.0
        for reply, own, weight in zip(accepted, lengths, weights, strict=True):
            values = {
                name: reply.content.metrics[name] if own.get(name) == length else means[name]
                for name, length in common.items()
            }
            content = RecordDict({**reply.content.content.config_records})
            if stage == "train":
                content["arrays"] = to_array_record(widened(reply.content.state))
            content["metrics"] = MetricRecord({**values, self.weighted_by_key: weight or least})
            message = first[reply.node_id]
            message.content = content
            messages.append(message)
        return messages

    def _weights(self, accepted: Sequence[Accepted[Update]]) -> list[float]:
        return capped_weights([each.content.weight for each in accepted], self.max_claim_ratio)

    def _client_metrics(
        self,
        accepted: Sequence[Accepted[Update]],
        hook: Callable[[list[RecordDict], str], MetricRecord] | None,
    ) -> tuple[MetricRecord, list[Rejected]]:
        """Aggregate with the wrapped strategy's own function, on whole replies that agree."""
        aggregate = hook or (lambda contents, key: MetricRecord())
        return aggregate_client_metrics(accepted, self._weights(accepted), self.weighted_by_key, aggregate)

    def _usable(self, arrays: ArrayRecord | None) -> tuple[State, str]:
        """Give the new state in the types that were sent, or the old one and why."""
        if arrays is None:
            return self._state, "the rule refuses the replies that are left"
        state = narrowed(read_state(arrays), self._state)
        if not all(np.isfinite(array).all() for array in state.values()):
            return self._state, "the aggregate is not finite"
        return state, ""

    def _conclude(
        self,
        stage: str,
        server_round: int,
        accepted: Sequence[Accepted[Update]],
        rejected: Sequence[Rejected],
        refusal: str,
        metrics: MetricRecord,
    ) -> MetricRecord:
        record = RoundRecord(
            server_round=server_round,
            stage=stage,
            accepted=participants_of(accepted),
            rejected=tuple(rejected),
            refusal=refusal,
        )
        return self.conclude(record, metrics)


class _PatientGrid:
    """Flower's grid, whose nodes come in participant order and are not waited for without end.

    Flower's ``sample_nodes`` asks for the connected nodes again and again until there are enough; from here
    it gets an error when the time is up.
    """

    def __init__(self, federation: Federation, num_needed: int, timeout: float) -> None:
        self.federation, self.num_needed, self.timeout = federation, num_needed, timeout
        self.started, self.num_looks = time.monotonic(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.federation.grid, name)

    def get_node_ids(self) -> list[int]:
        # FedAvg looks twice at once; whoever looks a third time waits for somebody.
        self.num_looks += 1
        num_present = len(self.federation.present)
        if num_present < self.num_needed or self.num_looks > 2:
            if time.monotonic() - self.started >= self.timeout:
                needed = max(self.num_needed, num_present + 1)
                raise NodesMissingError(num_present, needed, self.timeout)
            self.federation.refresh()
        return [self.federation.participants.node_of(index) for index in self.federation.present]


def widened(state: Mapping[str, NDArray[Any]]) -> State:
    """Give every array a floating type of at least 32 bits and at least one dimension.

    Examples
    --------
    >>> widened({"count": np.array(3)})
    {'count': array([3.])}
    """
    return {name: np.atleast_1d(_widened(array)) for name, array in state.items()}


def narrowed(state: Mapping[str, NDArray[Any]], like: Mapping[str, NDArray[Any]]) -> State:
    """Give arrays the types and shapes of ``like`` back; integers are rounded to the nearest they can be.

    Examples
    --------
    >>> narrowed({"count": np.array([2.6])}, {"count": np.array(0, np.uint8)})
    {'count': array(3, dtype=uint8)}
    """
    return {name: _narrowed(array, like[name]) if name in like else array for name, array in state.items()}


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    return array if array.dtype.kind == "f" and array.dtype.itemsize >= 4 else array.astype(np.float32)


def _narrowed(array: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    if array.size == like.size:
        array = array.reshape(like.shape)
    if like.dtype.kind not in "biu":
        return array.astype(like.dtype)
    if not np.isfinite(array).all():
        return array  # no integer says that; the caller refuses it
    if like.dtype.kind == "b":
        return np.asarray(np.rint(array) != 0)
    limits = np.iinfo(like.dtype)
    most = float(limits.max)
    if int(most) > limits.max:  # 2**63 - 1 is no float; the next one up does not fit
        most = float(np.nextafter(most, 0))
    return np.asarray(np.clip(np.rint(array), float(limits.min), most)).astype(like.dtype)


def _attribute(strategy: Any, name: str, default: Any) -> Any:
    """Look for an attribute in the strategy, or in the one it wraps."""
    return getattr(_owner(strategy, name), name, default)


def _owner(strategy: Any, name: str) -> Any:
    """Return the strategy itself, or the one it wraps that has the attribute as its own."""
    # Not hasattr(strategy, name): a wrapper of ours answers that for the strategy inside.
    while not (name in vars(strategy) or hasattr(type(strategy), name)) and hasattr(strategy, "strategy"):
        strategy = strategy.strategy
    return strategy


@contextmanager
def _without_hook(
    strategy: Any, name: str
) -> Iterator[Callable[[list[RecordDict], str], MetricRecord] | None]:
    """Take a metrics function away from the wrapped strategy for one call, and give it to us.

    It would see every reply at once, and end the run on the first that lacks what it reads.
    """
    strategy = _owner(strategy, name)
    original = getattr(strategy, name, None)
    if original is None:
        yield None
        return
    setattr(strategy, name, lambda contents, key: MetricRecord())
    try:
        yield original
    finally:
        setattr(strategy, name, original)


def _mean(values: Sequence[Any]) -> float | list[float]:
    if isinstance(values[0], list):
        return [math.fsum(column) / len(values) for column in zip(*values, strict=True)]
    return math.fsum(values) / len(values)
