"""Robust analog Lagrange coded computing as a Flower strategy: the server's table, computed on by strangers.

The server holds a table, centers and scales it, hides it in one share per node, and asks all nodes for a
polynomial of their share: a Gram matrix, both sides of the normal equations, a gradient of least squares, a
product of two private matrices, or a polynomial of the user's. A share is sent once, with the first request,
and kept by the node; one round of Flower is one request. The nodes never see the table; any ``t`` of them,
liars included, learn together no more than :func:`flower_coded.codes.analog_privacy.worst_leakage` says; and
``A`` liars are named and ``s`` silent nodes survived as long as ``A + s ≤ N - K`` (``2A + s`` where the code
alone decides).

Every reply is judged alone: a malformed one is missing and named in the metrics, a wrong one is named by its
key. Every result has a bound on its error. If that is above the accuracy asked for, or too few results are
right, the round keeps the old arrays and says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from logging import INFO, WARNING
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from flower_coded.codes.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.real_tables import as_real_matrix
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.protocols.analog_computing import (
    AnalogMaster,
    Outcome,
    Request,
    ScaledTable,
    Verification,
    get_function,
    pack_factors,
    split_rows,
)
from flower_coded.strategies.base import (
    ArrayTemplate,
    Rejected,
    Roster,
    assemble_roster,
    judge_arrays,
    log_rejections,
    rejection_metrics,
)
from flower_coded.strategies.collecting import collect_replies
from flower_coded.strategies.quorum import ask_until
from flower_coded.wire.robust_alcc import COMPUTE_MESSAGE_TYPE, request_content

__all__ = ["ComputationRound", "RobustALCC"]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class ComputationRound:
    """What happened in one round; ``RobustALCC.history`` keeps them all.

    Parameters
    ----------
    server_round : int
        From 1.
    outcome : Outcome or None
        Values, liars and stated error; None where nothing could be trusted.
    rejected : tuple of Rejected
        Missing and malformed replies.
    waiting_seconds, decoding_seconds : float
        Spent on the nodes, and by the server on decoding.
    """

    server_round: int
    outcome: Outcome | None
    rejected: tuple[Rejected, ...]
    waiting_seconds: float
    decoding_seconds: float

    def metrics(self) -> MetricRecord:
        """Summarize for Flower's history."""
        metrics = rejection_metrics(self.rejected)
        metrics["unchanged"] = int(self.is_unchanged)
        metrics["waiting-seconds"] = self.waiting_seconds
        metrics["decoding-seconds"] = self.decoding_seconds
        if self.outcome is not None:
            metrics["residual"] = self.outcome.residual
            metrics["error-bound"] = self.outcome.total_error_bound
            metrics["relative-error-bound"] = self.outcome.relative_error_bound
            metrics["vouched-by-keys"] = int(self.outcome.vouched_by == "keys")
            if self.outcome.liars:
                metrics["misbehaving-participants"] = list(self.outcome.liars)
        return metrics

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing could be trusted, so that the arrays stayed as they were."""
        return self.outcome is None


class RobustALCC(Strategy):
    """A polynomial of a private table, from ``N`` nodes of which some lie.

    The arrays that travel through ``start()`` hold one array, ``result`` (or, for ``"gradient"``,
    ``weights``, which each round moves one step down); :meth:`initial_arrays` makes them. Nodes run
    :func:`flower_coded.clients.robust_alcc.robust_alcc_client_app`.

    Parameters
    ----------
    code : AnalogLagrangeCode
        One worker per node; see :func:`flower_coded.protocols.analog_computing.plan_computation`.
    table : array-like of shape (n, d)
        The private data: anything :func:`flower_coded.codes.real_tables.as_real_matrix` takes. For
        ``"normal-equations"`` and ``"gradient"`` the last column is the target; for ``"product"`` the first
        ``left_columns`` are the left factor.
    function : str
        A function that adds up rows; see :func:`flower_coded.protocols.analog_computing.get_function`.
    left_columns : int, optional
        For ``"product"``.
    step_size : float
        For ``"gradient"``: ``w ← w - step_size · gradient / n``.
    num_byzantine : int, optional
        ``A``, the liars to be survived, at most ``t``: they may pool their shares. As many as can be if
        absent.
    num_stragglers : int
        ``s``: a round goes on when only so many replies are outstanding.
    verification : "keys" or "code"
        Who tells liars: secret keys of the shares, or the paper's decoder.
    accuracy : float
        Largest error bound, as a part of ``‖X_l‖ ‖X R‖`` of the centered and scaled table
        (:class:`flower_coded.protocols.analog_computing.QuadraticForm`); a worse result is refused, and so is
        a set-up that cannot promise it.
    evaluation_order : ndarray of shape (N,), int, optional
        Which share each worker gets (:func:`flower_coded.codes.index_assignment.evaluation_order`); a secret
        random order if absent.
    unreliable : ndarray of shape (N,), bool, optional
        Workers that may lie; all if absent. For ``verification="code"``.
    device : str
        Where shares are made: ``"cpu"`` is NumPy, anything else a torch device.
    reply_timeout : float
        Seconds to wait for the replies of a round.
    connect_timeout : float
        Seconds to wait for the nodes to connect.

    Attributes
    ----------
    history : list of ComputationRound
    scaled_table : ScaledTable
        The table as it is hidden; ``outcome`` of a round is in its units.

    Raises
    ------
    ParameterError
        If the table is no table of finite real numbers or too small, the function does not add up rows or
        has too large a degree, more may lie than pool shares or than there are spare results, the accuracy
        cannot be promised, or a timeout is not positive.

    Examples
    --------
    >>> from flower_coded.clients.robust_alcc import robust_alcc_client_app
    >>> from flower_coded.testing import InProcessGrid
    >>> code = AnalogLagrangeCode(num_workers=9, num_blocks=1, num_colluders=2, noise_scale=100.0)
    >>> grid = InProcessGrid(robust_alcc_client_app(), 9, {"attack": "full-noise", "attackers": "0,4"})
    >>> strategy = RobustALCC(code, [[0, 1], [2, 3], [4, 5]], "gram", num_byzantine=2)
    >>> result = strategy.start(grid, strategy.initial_arrays(), num_rounds=1)
    >>> result.arrays["result"].numpy().round(6)
    array([[20., 26.],
           [26., 35.]])
    >>> strategy.history[0].outcome.liars
    (0, 4)
    """

    def __init__(
        self,
        code: AnalogLagrangeCode,
        table: Any,
        function: str = "normal-equations",
        *,
        left_columns: int | None = None,
        step_size: float = 1.0,
        num_byzantine: int | None = None,
        num_stragglers: int = 0,
        verification: Verification = "keys",
        accuracy: float = 1e-2,
        evaluation_order: IntArray | None = None,
        unreliable: BoolArray | None = None,
        device: str = "cpu",
        reply_timeout: float = 60.0,
        connect_timeout: float = 300.0,
    ) -> None:
        for name, value in (
            ("step_size", step_size),
            ("reply_timeout", reply_timeout),
            ("connect_timeout", connect_timeout),
        ):
            if not value > 0:
                raise ParameterError(name, "must be positive", value)
        chosen = get_function(function)
        if not chosen.is_sum_over_rows:
            raise ParameterError(
                "function", "must add up rows, so that blocks of rows do", function, hint="use AnalogMaster"
            )
        self.code, self.function, self.step_size = code, function, step_size
        self.num_stragglers, self.accuracy = num_stragglers, accuracy
        self.reply_timeout, self.connect_timeout = reply_timeout, connect_timeout
        self.scaled_table = ScaledTable.of(table)
        values: np.ndarray[Any, Any] = self.scaled_table.values
        self._num_rows, self._num_columns = values.shape
        self._left_columns = left_columns
        if chosen.form is None:
            # Nobody knows how a user's polynomial changes with the units of its columns.
            values = as_real_matrix(table, "table")
        elif function == "product":
            values = pack_factors(values, left_columns or 0)
        blocks = split_rows(values, code.num_blocks)
        self._master = AnalogMaster(
            code,
            (blocks.shape[1], blocks.shape[2]),
            verification,
            self._agreed_liars(num_byzantine, verification if chosen.form else "code"),
            num_stragglers,
            accuracy,
            evaluation_order=evaluation_order,
            unreliable=unreliable,
            device=device,
        )
        self.num_byzantine = self._master.num_byzantine
        self._master.deal(blocks)
        first = self._request(np.zeros(self._num_columns - 1))
        self.promised_accuracy = self._master.require_accuracy(first)
        self._result_shape = self._master.precision(first).noise_std.shape
        self._lacking = set(range(code.num_workers))
        self._roster: Roster | None = None
        self._grid: Grid | None = None
        self._arrays = self.initial_arrays()
        self.history: list[ComputationRound] = []

    def _agreed_liars(self, num_byzantine: int | None, verification: Verification) -> int:
        """Give ``A``: as told, or as many as spare results and privacy allow."""
        if num_byzantine is None:
            spare = max(self.code.num_spare - self.num_stragglers, 0)
            return min(self.code.num_colluders, spare if verification == "keys" else spare // 2)
        # A code without noise hides nothing from anybody, and nobody expects it to.
        if self.code.num_colluders:
            self.code.check_pooling(num_byzantine)
        return num_byzantine

    def initial_arrays(self) -> ArrayRecord:
        """Zeros to start from: the result, or the weights."""
        if self._is_descent:
            return ArrayRecord({"weights": Array(np.zeros(self._num_columns - 1))})
        return ArrayRecord({"result": Array(np.zeros(self._result_shape))})

    def summary(self) -> None:
        """Log the code and what it tolerates."""
        code = self.code
        log(INFO, "\t├──> %s", code)
        log(
            INFO,
            "\t└──> %s of %d rows, %d columns; %d results needed, %d liars and %d silent survived (by %s); "
            "hidden from any %d, given away by %d",
            self.function,
            self._num_rows,
            self._num_columns,
            code.dimension,
            self.num_byzantine,
            self.num_stragglers,
            self._master.verification,
            code.num_colluders,
            code.privacy_cliff,
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Seat the nodes; the request is sent in :meth:`aggregate_train`, which need not wait for all."""
        del server_round, config
        self._grid, self._arrays = grid, arrays
        if self._roster is None:
            self._roster = assemble_roster(grid, self.code.num_workers, self.connect_timeout)
        return []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Ask, judge every reply, locate liars, decode."""
        del replies
        request = self._request(self._arrays["weights"].numpy() if self._is_descent else None)
        started = time.perf_counter()
        results, rejected = self._ask(request, server_round)
        asked = time.perf_counter()
        outcome = self._decode(request, results, server_round)
        record = ComputationRound(
            server_round, outcome, tuple(rejected), asked - started, time.perf_counter() - asked
        )
        self.history.append(record)
        log_rejections(server_round, rejected)
        if outcome is None:
            return None, record.metrics()
        if outcome.liars:
            log(WARNING, "round %d: wrong results from workers %s", server_round, list(outcome.liars))
        return self._updated(outcome), record.metrics()

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nodes hold shares only: there is nothing for them to evaluate."""
        del server_round, arrays, config, grid
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Nothing was asked."""
        del server_round, replies
        return None

    @property
    def _is_descent(self) -> bool:
        return self.function == "gradient"

    def _request(self, weights: FloatArray | None) -> Request:
        if self._is_descent:
            assert weights is not None
            return Request(self.function, self.scaled_table.scaled_weights(weights))
        if self.function == "product":
            return Request(self.function, np.array([float(self._left_columns or 0)]))
        return Request(self.function)

    def _message_to(self, worker: int, request: Request, server_round: int) -> Message:
        """Write to one worker; a share is made when it is sent, and its key with it."""
        assert self._roster is not None
        share = self._master.share_of(worker) if worker in self._lacking else None
        if share is not None:
            self._master.make_key(worker, request, share)
        return Message(
            request_content(request, server_round, share),
            self._roster.node_of(worker),
            COMPUTE_MESSAGE_TYPE,
            group_id=str(server_round),
        )

    def _ask(
        self, request: Request, server_round: int
    ) -> tuple[dict[int, np.ndarray[Any, Any]], list[Rejected]]:
        """Send the request to every worker, with its share if none of its replies has come yet."""
        assert self._grid is not None, "configure_train comes first"
        assert self._roster is not None, "configure_train comes first"
        workers = range(self.code.num_workers)
        messages = [self._message_to(worker, request, server_round) for worker in workers]
        enough = self.code.num_workers - self.num_stragglers
        received, _ = ask_until(
            self._grid,
            messages,
            lambda got: sum(not message.has_error() for message in got) >= enough,
            timeout=self.reply_timeout,
        )
        template = {"values": ArrayTemplate(self._result_shape, np.dtype(np.complex128))}
        accepted, rejected = collect_replies(
            received,
            self._roster,
            workers,
            lambda message, user: judge_arrays(message, template, user=user, weighted_by_key=None),
        )
        results = {
            each.user: np.asarray(each.content.state["values"]) for each in accepted if each.user is not None
        }
        self._lacking -= set(results)
        return results, rejected

    def _decode(
        self, request: Request, results: dict[int, np.ndarray[Any, Any]], server_round: int
    ) -> Outcome | None:
        try:
            return self._master.decode(request, results)
        except DecodingError as error:
            log(WARNING, "round %d: the arrays stay as they were: %s", server_round, error)
            return None

    def _updated(self, outcome: Outcome) -> ArrayRecord:
        """Undo the scaling, and move the weights one step where they descend."""
        weights = self._arrays["weights"].numpy() if self._is_descent else None
        request = self._request(weights)
        form = get_function(self.function).quadratic_form(self._num_columns, request.parameters)
        total = outcome.total if form is None else self.scaled_table.restore(form, outcome.total, weights)
        if weights is None:
            return ArrayRecord({"result": Array(total)})
        return ArrayRecord({"weights": Array(weights - self.step_size * total[:, 0] / self._num_rows)})
