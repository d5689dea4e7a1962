"""Encoded gradient descent as a Flower strategy: the server holds the data, the nodes multiply.

Each round of Flower is one iteration. In the first, every node gets its encoded share, once; from then on
a round sends ``[w; 1]`` to all nodes, decodes ``X w - y`` from whatever comes back, sends the residuals,
and decodes the gradient (Data, Song and Diggavi, "Data encoding for Byzantine-resilient distributed
gradient descent", Allerton 2018). The messages are sent from
:meth:`EncodedGradientDescent.aggregate_train`, because the second depends on the answers to the first.

Every answer is validated alone. A malformed one is an erasure; a wrong one is named by its verification key,
or by the code where there are no keys. A product waits for all but ``s`` usable answers, or for the timeout,
whichever comes first. A node that comes late, or has lost its share, is dealt it (again). If more nodes fail
than can be tolerated, or a result could be further off than ``accuracy`` allows, the round changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from logging import INFO
from typing import Any, Literal

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from flower_coded.codes import RealErrorLocatingCode
from flower_coded.codes.real.real_tables import as_real_matrix, as_real_vector
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
from flower_coded.strategies.federation import Assignment, Federation
from flower_coded.strategies.rounds import FederatedStrategy, RoundRecord, describe_rejections
from flower_coded.wire.array_reading import ArrayTemplate
from flower_coded.wire.encoded_gd import (
    APPEND_MESSAGE_TYPE,
    MULTIPLY_MESSAGE_TYPE,
    SHARE_MESSAGE_TYPE,
    STORED_KEY,
    appended_content,
    product_content,
    share_content,
)
from flower_coded.wire.validation import Rejected, read_arrays, the_only_record

__all__ = ["EncodedGradientDescent", "GradientRound"]

Reals = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GradientRound(RoundRecord):
    """What happened in one iteration.

    Parameters
    ----------
    located : tuple of tuple of int
        For each product, the workers whose answer was wrong.
    verification : {"keys", "code"}
        What vouched for the products.
    error_bound : float
        Most by which the last product, the gradient, can be off in Euclidean norm, whatever the liars know;
        in the scaled weights.
    objective : float
        Smooth part of the objective at the last point evaluated.
    waiting_seconds, decoding_seconds : float
        Spent on the nodes, and by the master on decoding.
    """

    located: tuple[tuple[int, ...], ...]
    verification: Verification
    error_bound: float
    objective: float
    waiting_seconds: float
    decoding_seconds: float

    @property
    def all_located(self) -> tuple[int, ...]:
        """Workers whose answer was wrong in any product of the round, ascending."""
        return tuple(sorted({worker for each in self.located for worker in each}))

    def metrics(self) -> MetricRecord:
        """Summarize for Flower's history."""
        metrics = super().metrics()
        metrics["objective"] = self.objective
        metrics["products"] = len(self.located)
        metrics["error-bound"] = self.error_bound
        metrics["verified-by-keys"] = int(self.verification == "keys")
        metrics["waiting-seconds"] = self.waiting_seconds
        metrics["decoding-seconds"] = self.decoding_seconds
        return metrics


class EncodedGradientDescent(FederatedStrategy, Strategy):
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
        Where shares are encoded: "" for NumPy, or a torch device; nodes read ``device`` in their run config.
    num_key_rows : int
        Rows of the keys' secret: two check twice as fast and state bounds 800 times as large as four.
    connect_timeout : float
        Seconds to wait for the nodes to connect.
    reply_timeout : float
        Seconds to wait for the answers to one product.
    share_timeout : float
        Seconds to wait in a round for shares to be stored; each node that needs one has its part of them.

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
        num_key_rows: int = 4,
        connect_timeout: float = 300.0,
        reply_timeout: float = 30.0,
        share_timeout: float = 300.0,
    ) -> None:
        super().__init__(connect_timeout=connect_timeout)
        for name, value in (("reply_timeout", reply_timeout), ("share_timeout", share_timeout)):
            if not value > 0:
                raise ParameterError(name, "must be positive", value)
        self.objective, self.step_size_rule = objective, step_size_rule
        self.reply_timeout, self.share_timeout = reply_timeout, share_timeout
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
            num_key_rows=num_key_rows,
        )
        self._evaluator = CodedEvaluator(self._scaled, self._table.targets, self._master.batches)
        self._state = DescentState(np.zeros(self._table.num_columns))
        self._holders: dict[int, int] = {}  # worker to the node that has confirmed its share
        self._to_append: list[tuple[Reals, Reals]] = []
        self.weights_history: list[Reals] = [self._state.weights]

    @property
    def code(self) -> RealErrorLocatingCode:
        """The code in use; with keys one of a secret random basis."""
        return self._master.code

    def initial_arrays(self) -> ArrayRecord:
        """Zero weights to start from."""
        return ArrayRecord({"weights": Array(np.zeros(self._table.num_columns))})

    @property
    def verification(self) -> Verification:
        """What vouches for products."""
        return self._master.verification

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
        """Log the code and what vouches for results."""
        code = self.code
        log(INFO, "\t├──> %r, verified by %s", code, self._master.verification)
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
        """Prepare the round: who is there, and shares where they are missing; the products are sent later."""
        del config
        weights = np.asarray(arrays["weights"].numpy(), dtype=np.float64)
        if not np.array_equal(weights, self.weights_history[-1]):
            self._state = DescentState(self._table.scaling.to_scaled(weights))
            self.weights_history = [weights]
        before = self.federation
        federation = self.join(
            grid, server_round, num_participants=self.code.num_workers, at_least=self.code.block_size
        )
        if federation is not before:
            self._holders = {}
        self._rejected: list[Rejected] = []
        self._shares_until = time.monotonic() + self.share_timeout
        self._send_appended(federation, server_round)
        self._send_shares(federation, server_round, self._without_share(federation))
        return []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Run one iteration: two message rounds, more if the rule needs values."""
        del replies
        record, state = self._iterate(server_round)
        if state is not None:
            self._state = state
            self.weights_history.append(self._table.scaling.to_original(state.weights))
        else:
            self.weights_history.append(self.weights_history[-1])
        return ArrayRecord({"weights": Array(self.weights_history[-1])}), self.conclude(record)

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
        rounds: list[DecodedRound] = []
        waiting = decoding = 0.0
        state, refusal = None, ""
        accepted = set(range(self.code.num_workers))
        products = self._evaluator.step(self._rule, self._state)
        try:
            product = next(products)
            while True:
                started = time.perf_counter()
                answers = self._ask(product, server_round)
                accepted &= {each.worker for each in answers}
                asked = time.perf_counter()
                rounds.append(self._master.decode(product, answers))
                waiting, decoding = waiting + asked - started, decoding + time.perf_counter() - asked
                product = products.send(rounds[-1].values)
        except StopIteration as finished:
            state = finished.value
        except DecodingError as error:
            refusal = f"{error} ({describe_rejections(self._rejected)})" if self._rejected else str(error)
        located = tuple(each.located for each in rounds)
        wrong = sorted({worker for each in located for worker in each})
        vouched = self._master.verification
        self._rejected += [
            Rejected(self._node(w), w, f"its answer is wrong: found by the {vouched}", "located")
            for w in wrong
        ]
        record = GradientRound(
            server_round=server_round,
            accepted=tuple(sorted(accepted - set(wrong))),
            rejected=tuple(self._rejected),
            refusal=refusal,
            located=located,
            verification=vouched,
            error_bound=rounds[-1].error_bound if rounds else float("inf"),
            objective=self._evaluator.value,
            waiting_seconds=waiting,
            decoding_seconds=decoding,
        )
        return record, state

    def _ask(self, product: Product, server_round: int) -> list[Answer]:
        """Ask all nodes for one product; who has lost its share gets it again, before the next one."""
        federation = self._the_federation()
        template = {"values": ArrayTemplate((self._master.answer_length(product),), self._master.precision)}
        content = product_content(product, server_round)
        requests = federation.requests(
            server_round,
            MULTIPLY_MESSAGE_TYPE,
            {worker: content for worker in self._holders if worker in federation.participants},
            group=str(product.which),
        )
        enough = self.code.num_workers - self.code.num_erasures
        replies = federation.ask(
            requests, timeout=self.reply_timeout, is_enough=lambda got: _num_usable(got) >= enough
        )
        accepted, rejected = requests.validate(replies, lambda record, _: read_arrays(record, template))
        self._rejected += rejected
        forgetful = [
            each.participant
            for each in rejected
            if each.code == "state-missing" and each.participant in self._holders
        ]
        for worker in forgetful:
            del self._holders[worker]
        self._send_shares(federation, server_round, forgetful)
        return [Answer(each.participant, np.asarray(each.content["values"])) for each in accepted]

    def _without_share(self, federation: Federation) -> list[int]:
        """Name the connected workers whose node has not confirmed a share: new ones and forgetful ones."""
        return [
            worker
            for worker in federation.present
            if self._holders.get(worker) != federation.participants.node_of(worker)
        ]

    def _send_shares(self, federation: Federation, server_round: int, workers: list[int]) -> None:
        """Deal shares one after the other: no two are in memory at a time.

        All shares of a round have one deadline, and each has its part of the time left: a node that does not
        confirm, or claims again and again that it has lost its share, takes nobody else's.
        """
        for done, worker in enumerate(workers):
            share = self._master.deal(worker)
            left = (self._shares_until - time.monotonic()) / (len(workers) - done)
            left = max(left, min(1.0, self.share_timeout))
            contents = {worker: share_content(share)}
            self._confirm(federation, server_round, SHARE_MESSAGE_TYPE, contents, share.num_numbers, left)

    def _send_appended(self, federation: Federation, server_round: int) -> None:
        """Encode waiting data points and send them, all in one message, to the workers that hold a share."""
        if not self._to_append:
            return
        rows = np.concatenate([each for each, _ in self._to_append])
        appended = self._master.append(rows, np.concatenate([each for _, each in self._to_append]))
        self._to_append = []
        holders, self._holders = self._holders, {}  # who does not confirm is dealt a whole share
        contents = {
            worker: appended_content(appended[worker])
            for worker, node_id in holders.items()
            if worker in federation.present and node_id == federation.participants.node_of(worker)
        }
        stored = self._master.num_numbers
        self._confirm(federation, server_round, APPEND_MESSAGE_TYPE, contents, stored, self.share_timeout)
        self._evaluator = CodedEvaluator(self._scaled, self._table.targets, self._master.batches)
        # A step that suited the shorter table may diverge on the longer one: chosen again, or checked.
        self._rule = self.step_size_rule.chosen_for(self._table.smoothness(self._scaled))

    def _confirm(
        self,
        federation: Federation,
        server_round: int,
        message_type: str,
        contents: dict[int, RecordDict],
        stored: int,
        timeout: float,
    ) -> None:
        """Send something to be stored; note who says that he now holds as many numbers as he should."""

        def check(content: RecordDict, assignment: Assignment) -> int:
            claimed = the_only_record(content.metric_records, "MetricRecord").get(STORED_KEY)
            if claimed != stored:
                raise MalformedReplyError("metrics", f"stores {claimed!r}, expected {stored}")
            return federation.participants.node_of(assignment.participant)

        requests = federation.requests(server_round, message_type, contents, group="share")
        # Waiting until nothing is enough, so that who is still busy storing is not asked for more meanwhile.
        replies = federation.ask(requests, timeout=timeout, is_enough=lambda _: False)
        accepted, rejected = requests.validate(replies, check)
        self._rejected += rejected
        self._holders |= {each.participant: each.content for each in accepted}

    def _the_federation(self) -> Federation:
        assert self.federation is not None, "configure_train comes first"
        return self.federation

    def _node(self, worker: int) -> int:
        return self._the_federation().participants.node_of(worker)


def _num_usable(replies: list[Message]) -> int:
    return sum(reply.has_content() for reply in replies)
