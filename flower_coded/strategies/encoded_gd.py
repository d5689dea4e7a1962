"""Encoded gradient descent as a Flower strategy: the server holds the data, the nodes multiply.

Each round of Flower is one iteration. In the first, every node gets its encoded share, once; from then on
a round sends ``[w; 1]`` to all nodes, decodes ``X w - y`` from whatever comes back, sends the residuals,
and decodes the gradient (Data, Song and Diggavi, "Data encoding for Byzantine-resilient distributed
gradient descent", Allerton 2018). The messages are sent from
:meth:`EncodedGradientDescent.aggregate_train`, because the second depends on the answers to the first;
:meth:`configure_train` sends nothing itself.

Stragglers: a product waits for all but ``s`` usable answers, or for the timeout, whichever comes first; a
node that still owes an answer is not asked anew until it has given it. Every reply is judged alone; a
malformed one is an erasure and named in the metrics, a wrong one is located by the code. If more nodes
fail than the code corrects, the round keeps the old weights and says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from logging import INFO, WARNING
from typing import Any, Literal

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from flower_coded.codes import RealErrorLocatingCode
from flower_coded.codes.real_tables import as_real_matrix, as_real_vector
from flower_coded.errors import DecodingError, MalformedReplyError, ParameterError
from flower_coded.protocols.encoded_gradient import (
    Answer,
    CodedEvaluator,
    DecodedRound,
    DescentState,
    EncodedGradientMaster,
    Objective,
    Product,
    StepSizeRule,
    StochasticStep,
    Table,
    Verification,
    set_up_descent,
)
from flower_coded.strategies.base import (
    Accepted,
    ArrayTemplate,
    Rejected,
    Roster,
    assemble_roster,
    judge,
    judge_arrays,
    log_rejections,
    rejection_metrics,
    the_only_record,
)
from flower_coded.strategies.collecting import collect_replies
from flower_coded.strategies.quorum import ask_until
from flower_coded.wire.encoded_gd import (
    APPEND_MESSAGE_TYPE,
    MULTIPLY_MESSAGE_TYPE,
    SHARE_MESSAGE_TYPE,
    STORED_KEY,
    appended_content,
    product_content,
    share_content,
)

__all__ = ["EncodedGradientDescent", "GradientRound"]

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class GradientRound:
    """What happened in one iteration; ``EncodedGradientDescent.history`` keeps them all.

    Parameters
    ----------
    server_round : int
        From 1.
    located : tuple of tuple of int
        For each product, the workers whose answer was wrong.
    rejected : tuple of Rejected
        Missing and malformed answers.
    objective : float
        Smooth part of the objective at the last point evaluated.
    waiting_seconds, decoding_seconds : float
        Spent on the nodes, and by the master on decoding.
    is_decoded : bool
        False where too many nodes failed and the weights stayed as they were.
    """

    server_round: int
    located: tuple[tuple[int, ...], ...]
    rejected: tuple[Rejected, ...]
    objective: float
    waiting_seconds: float
    decoding_seconds: float
    is_decoded: bool

    @property
    def all_located(self) -> tuple[int, ...]:
        """Workers located in any product of the round, ascending."""
        return tuple(sorted({worker for each in self.located for worker in each}))

    def metrics(self) -> MetricRecord:
        """Summarize for Flower's history."""
        metrics = rejection_metrics(self.rejected)
        metrics["objective"] = self.objective
        metrics["products"] = len(self.located)
        metrics["decoded"] = int(self.is_decoded)
        metrics["waiting-seconds"] = self.waiting_seconds
        metrics["decoding-seconds"] = self.decoding_seconds
        if self.all_located:
            metrics["located-workers"] = list(self.all_located)
        return metrics


class EncodedGradientDescent(Strategy):
    """Exact gradients from ``m`` nodes of which ``t`` may lie and ``s`` may be missing.

    The arrays that travel through ``start()`` hold one array, ``weights``; :meth:`initial_arrays` makes
    them. Nodes run :func:`flower_coded.clients.encoded_gd.encoded_gd_client_app`.

    Parameters
    ----------
    code : RealErrorLocatingCode
        One worker per node; its sizes count, the basis or the order is drawn anew (``verification``).
    features : array-like of shape (n, d)
        ``X``, any table of numbers; referred to, not copied. Add a column of ones for an intercept.
    targets : array-like of shape (n,)
        ``y``.
    objective : Objective
    step_size_rule : StepSizeRule
        Without a step of its own it gets one for this table, on scaled columns, anew after every append.
    verification : {"keys", "code"}
        Keys verify every worker alone: ``t`` liars and ``s`` missing need ``t + s <= 2 num_errors +
        num_erasures`` of the code. The paper's decoder needs ``2 t + s``.
    accuracy : float
        A product whose error bound exceeds this part of its terms is refused: the round changes nothing.
    precision : {"float64", "float32"}
        Of the shares; float32 halves memory and traffic and needs an ``accuracy`` of 0.01.
    device : str
        Where shares are encoded: "" for NumPy, or a torch device.
    reply_timeout : float
        Seconds to wait for the answers to one product.
    setup_timeout : float
        Seconds to wait for the nodes to connect, and again for them to store their shares.

    Attributes
    ----------
    history : list of GradientRound
    weights_history : list of ndarray of shape (d,), float64
        Weights after each round; the start first.

    Raises
    ------
    ParameterError
        If the data do not fit the objective or are not finite, or a timeout is not positive.

    Examples
    --------
    >>> from flower_coded.clients.encoded_gd import encoded_gd_client_app
    >>> from flower_coded.protocols.encoded_gradient import ConstantStep, LeastSquares
    >>> from flower_coded.testing import InProcessGrid
    >>> grid = InProcessGrid(encoded_gd_client_app(), 5, {"attack": "reversed", "attackers": "0,3"})
    >>> strategy = EncodedGradientDescent(
    ...     RealErrorLocatingCode(5, 2), np.eye(3), np.arange(1.0, 4.0), LeastSquares(), ConstantStep(1.0)
    ... )
    >>> result = strategy.start(grid, strategy.initial_arrays(), num_rounds=1)
    >>> result.arrays["weights"].numpy().round(9), strategy.history[0].all_located
    (array([1., 2., 3.]), (0, 3))
    """

    def __init__(
        self,
        code: RealErrorLocatingCode,
        features: Any,
        targets: Any,
        objective: Objective,
        step_size_rule: StepSizeRule,
        *,
        verification: Verification = "keys",
        accuracy: float = 1e-6,
        precision: Literal["float64", "float32"] = "float64",
        device: str = "",
        reply_timeout: float = 30.0,
        setup_timeout: float = 300.0,
    ) -> None:
        for name, value in (("reply_timeout", reply_timeout), ("setup_timeout", setup_timeout)):
            if not value > 0:
                raise ParameterError(name, "must be positive", value)
        self.objective, self.step_size_rule = objective, step_size_rule
        self.reply_timeout, self.setup_timeout = reply_timeout, setup_timeout
        self._table = Table(features, targets)
        self._scaled, self._rule = set_up_descent(self._table, objective, step_size_rule)
        rule = step_size_rule
        self._master = EncodedGradientMaster(
            code,
            self._table,
            verification=verification,
            accuracy=accuracy,
            num_batches=rule.num_batches if isinstance(rule, StochasticStep) else 1,
            precision=precision,
            device=device,
        )
        self.code = self._master.code
        self._evaluator = CodedEvaluator(self._scaled, self._table.targets, self._master.batches)
        self._state = DescentState(np.zeros(self._table.num_columns))
        self._roster: Roster | None = None
        self._grid: Grid | None = None
        self._without_share = set(range(code.num_workers))
        self._busy: dict[int, str] = {}
        self._to_append: list[tuple[Reals, Reals]] = []
        self.history: list[GradientRound] = []
        self.weights_history: list[Reals] = [self._state.weights]

    def initial_arrays(self) -> ArrayRecord:
        """Zero weights to start from."""
        return ArrayRecord({"weights": Array(np.zeros(self._table.num_columns))})

    def append(self, features: Reals, targets: Reals) -> None:
        """Add data points; they are encoded and sent at the start of the next round.

        Parameters
        ----------
        features : array-like of shape (b, d)
        targets : array-like of shape (b,)

        Raises
        ------
        ParameterError
            If they do not fit the table or the objective.
        """
        rows, values = as_real_matrix(features, "features"), as_real_vector(targets, "targets")
        if rows.shape != (len(values), self._table.num_columns):
            raise ParameterError("features", f"must have shape (b, {self._table.num_columns})", rows.shape)
        self.objective.check_targets(values)
        self._to_append.append((rows, values))

    def summary(self) -> None:
        """Log the code and what it tolerates."""
        code = self.code
        log(INFO, "\t├──> %r: blocks of %d rows", code, code.block_size)
        log(
            INFO,
            "\t└──> %d samples, %d weights, %r",
            self._table.num_rows,
            self._table.num_columns,
            self.objective,
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Prepare the round: roster and shares, where they are missing; the products are sent later."""
        del config
        self._grid = grid
        weights = np.asarray(arrays["weights"].numpy(), dtype=np.float64)
        if not np.array_equal(weights, self.weights_history[-1]):
            self._state = DescentState(self._table.scaling.to_scaled(weights))
            self.weights_history = [weights]
        if self._roster is None:
            self._roster = assemble_roster(grid, self.code.num_workers, self.setup_timeout)
        self._send_appended(server_round)
        self._send_shares(server_round)
        return []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Run one iteration: two message rounds, more if the rule needs values."""
        del replies
        record, state = self._iterate(server_round)
        self.history.append(record)
        log_rejections(server_round, record.rejected)
        if record.all_located:
            log(WARNING, "round %d: wrong answers from workers %s", server_round, list(record.all_located))
        if state is None:
            self.weights_history.append(self.weights_history[-1])
            return None, record.metrics()
        self._state = state
        self.weights_history.append(self._table.scaling.to_original(state.weights))
        return ArrayRecord({"weights": Array(self.weights_history[-1])}), record.metrics()

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nodes hold coded data only: there is nothing for them to evaluate."""
        del server_round, arrays, config, grid
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Nothing was asked."""
        del server_round, replies
        return None

    def _iterate(self, server_round: int) -> tuple[GradientRound, DescentState | None]:
        rejected: list[Rejected] = []
        rounds: list[DecodedRound] = []
        waiting = decoding = 0.0
        state: DescentState | None = None
        products = self._evaluator.step(self._rule, self._state)
        try:
            product = next(products)
            while True:
                started = time.perf_counter()
                answers, refused = self._ask(product, server_round)
                rejected += refused
                asked = time.perf_counter()
                rounds.append(self._master.decode(product, answers))
                waiting, decoding = waiting + asked - started, decoding + time.perf_counter() - asked
                product = products.send(rounds[-1].values)
        except StopIteration as finished:
            state = finished.value
        except DecodingError as error:
            log(WARNING, "round %d: weights kept: %s", server_round, error)
        record = GradientRound(
            server_round,
            tuple(each.located for each in rounds),
            tuple(rejected),
            self._evaluator.value,
            waiting,
            decoding,
            state is not None,
        )
        return record, state

    def _ask(self, product: Product, server_round: int) -> tuple[list[Answer], list[Rejected]]:
        """Send one product to every node that is not busy; judge what comes back."""
        template = {"values": ArrayTemplate((self._master.answer_length(product),), self._master.precision)}
        content = product_content(product, server_round)
        self._free_those_who_answered()
        workers = [w for w in range(self.code.num_workers) if self._node(w) not in self._busy]
        messages = [
            Message(content, self._node(w), MULTIPLY_MESSAGE_TYPE, group_id=f"{server_round}/{product.which}")
            for w in workers
        ]
        enough = self.code.num_workers - self.code.num_erasures
        replies, outstanding = ask_until(
            self._the_grid(), messages, lambda got: _num_usable(got) >= enough, timeout=self.reply_timeout
        )
        self._busy |= outstanding
        accepted, rejected = collect_replies(
            replies,
            self._the_roster(),
            workers,
            lambda message, user: judge_arrays(message, template, user=user, weighted_by_key=None),
        )
        rejected += [
            Rejected(self._node(w), w, "still busy with an earlier message", "no-reply")
            for w in range(self.code.num_workers)
            if w not in workers
        ]
        answers = [
            Answer(each.user, np.asarray(each.content.state["values"]))
            for each in accepted
            if each.user is not None
        ]
        return answers, rejected

    def _send_shares(self, server_round: int) -> None:
        """Send shares to the workers that have none, one after the other: no two are in memory."""
        for worker in sorted(self._without_share):
            share = self._master.deal(worker)
            self._without_share -= self._confirmed(
                SHARE_MESSAGE_TYPE, {worker: share_content(share)}, {worker: share.num_numbers}, server_round
            )

    def _send_appended(self, server_round: int) -> None:
        """Encode waiting data points and send them, all in one message, to the workers that hold a share."""
        if not self._to_append:
            return
        rows = np.concatenate([each for each, _ in self._to_append])
        appended = self._master.append(rows, np.concatenate([each for _, each in self._to_append]))
        self._to_append = []
        holders = [w for w in range(self.code.num_workers) if w not in self._without_share]
        first, second = self._master.first, self._master.second
        total = first.num_blocks * first.num_columns + second.num_blocks * second.num_columns
        confirmed = self._confirmed(
            APPEND_MESSAGE_TYPE,
            {w: appended_content(appended[w]) for w in holders},
            dict.fromkeys(holders, total),
            server_round,
        )
        self._without_share |= set(holders) - confirmed
        self._evaluator = CodedEvaluator(self._scaled, self._table.targets, self._master.batches)
        # A step that suited the shorter table may diverge on the longer one: chosen again, or checked.
        self._rule = self.step_size_rule.chosen_for(self._table.smoothness(self._scaled))

    def _confirmed(
        self, message_type: str, contents: dict[int, Any], expected: dict[int, int], server_round: int
    ) -> set[int]:
        """Send one message to each worker; return those who store as many numbers as they should."""
        messages = [
            Message(content, self._node(w), message_type, group_id=f"{server_round}/share")
            for w, content in contents.items()
            if self._node(w) not in self._busy
        ]
        enough = len(messages)
        replies, outstanding = ask_until(
            self._the_grid(), messages, lambda got: len(got) >= enough, timeout=self.setup_timeout
        )
        self._busy |= outstanding

        def judge_one(message: Message, user: int) -> Accepted[int] | Rejected:
            def check(content: Any) -> int:
                stored = the_only_record(content.metric_records, "MetricRecord").get(STORED_KEY)
                if stored != expected[user]:
                    raise MalformedReplyError("metrics", f"stores {stored!r}, expected {expected[user]}")
                return int(expected[user])

            return judge(message, check, user=user)

        accepted, rejected = collect_replies(replies, self._the_roster(), list(contents), judge_one)
        log_rejections(server_round, rejected)
        return {each.user for each in accepted if each.user is not None}

    def _free_those_who_answered(self) -> None:
        """Take late answers off the list; they are of an earlier product and not used."""
        if self._busy:
            replies = self._the_grid().pull_messages(list(self._busy.values()))
            answered = {reply.metadata.reply_to_message_id for reply in replies}
            self._busy = {node: message for node, message in self._busy.items() if message not in answered}

    def _the_grid(self) -> Grid:
        assert self._grid is not None, "configure_train comes first"
        return self._grid

    def _the_roster(self) -> Roster:
        assert self._roster is not None, "configure_train comes first"
        return self._roster

    def _node(self, worker: int) -> int:
        return self._the_roster().node_of(worker)


def _num_usable(replies: list[Message]) -> int:
    return sum(reply.has_content() for reply in replies)
