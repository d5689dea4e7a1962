"""Robust analog Lagrange coded computing as a Flower strategy: the server's table, computed on by strangers.

The server holds a table, hides it in one share per node, and asks all nodes for a polynomial of their share:
a Gram matrix, both sides of the normal equations, a gradient of least squares, or a polynomial of the user's.
A share is sent once, with the first request, and kept by the node; one round of Flower is one request. The
nodes never see the table, any ``t`` of them together learn no more than
:func:`flower_coded.codes.analog_privacy.worst_leakage` says, and ``A`` liars are located and ``s`` silent
nodes survived as long as ``2A + s ≤ N - K``.

Every reply is judged alone; a malformed one is missing and named in the metrics, a wrong one is located by
the code. If what came cannot be trusted the round keeps the old arrays and says so.
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
from flower_coded.errors import DecodingError, ParameterError
from flower_coded.protocols.analog_computing import (
    AnalogMaster,
    Outcome,
    Request,
    Share,
    get_function,
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
        metrics["decoded"] = int(self.outcome is not None)
        metrics["waiting-seconds"] = self.waiting_seconds
        metrics["decoding-seconds"] = self.decoding_seconds
        if self.outcome is not None:
            metrics["residual"] = self.outcome.residual
            metrics["error-std"] = float(self.outcome.error_std.max())
            if self.outcome.liars:
                metrics["located-workers"] = list(self.outcome.liars)
        return metrics


class RobustALCC(Strategy):
    """A polynomial of a private table, from ``N`` nodes of which some lie.

    The arrays that travel through ``start()`` hold one array, ``result`` (or, for ``"gradient"``,
    ``weights``, which each round moves one step down); :meth:`initial_arrays` makes them. Nodes run
    :func:`flower_coded.clients.robust_alcc.robust_alcc_client_app`.

    Parameters
    ----------
    code : AnalogLagrangeCode
        One worker per node; see :func:`flower_coded.protocols.analog_computing.plan_computation`.
    table : ndarray of shape (n, d), float64
        The private data, split by rows into the code's blocks. For ``"normal-equations"`` and ``"gradient"``
        the last column is the target.
    function : str
        A function that adds up rows; see :func:`flower_coded.protocols.analog_computing.get_function`.
    step_size : float
        For ``"gradient"``: ``w ← w - step_size · gradient / n``.
    num_missing : int
        ``s``: a round goes on when only so many replies are outstanding.
    evaluation_order : ndarray of shape (N,), int, optional
        Which share each worker gets (:func:`flower_coded.codes.index_assignment.evaluation_order`).
    unreliable : ndarray of shape (N,), bool, optional
        Workers that may lie; all if absent.
    reply_timeout : float
        Seconds to wait for the replies of a round.
    setup_timeout : float
        Seconds to wait for the nodes to connect.

    Attributes
    ----------
    history : list of ComputationRound

    Raises
    ------
    ParameterError
        If the table is not finite or too small, the function does not add up rows or has too large a degree,
        or a timeout is not positive.

    Examples
    --------
    >>> from flower_coded.clients.robust_alcc import robust_alcc_client_app
    >>> from flower_coded.testing import InProcessGrid
    >>> code = AnalogLagrangeCode(num_workers=9, num_blocks=1, num_colluders=2, noise_scale=100.0)
    >>> grid = InProcessGrid(robust_alcc_client_app(), 9, {"attack": "full-noise", "attackers": "0,4"})
    >>> strategy = RobustALCC(code, np.arange(6.0).reshape(3, 2), "gram")
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
        table: FloatArray,
        function: str = "normal-equations",
        *,
        step_size: float = 1.0,
        num_missing: int = 0,
        evaluation_order: IntArray | None = None,
        unreliable: BoolArray | None = None,
        reply_timeout: float = 60.0,
        setup_timeout: float = 300.0,
    ) -> None:
        for name, value in (
            ("step_size", step_size),
            ("reply_timeout", reply_timeout),
            ("setup_timeout", setup_timeout),
        ):
            if not value > 0:
                raise ParameterError(name, "must be positive", value)
        if not 0 <= num_missing <= code.num_workers - code.dimension:
            raise ParameterError(
                "num_missing", f"must be from 0 to N - K = {code.num_workers - code.dimension}", num_missing
            )
        if not get_function(function).is_sum_over_rows:
            raise ParameterError(
                "function", "must add up rows, so that blocks of rows do", function, hint="use AnalogMaster"
            )
        self.code, self.function, self.step_size = code, function, step_size
        self.num_missing = num_missing
        self.reply_timeout, self.setup_timeout = reply_timeout, setup_timeout
        table = np.asarray(table, dtype=np.float64)
        blocks = split_rows(table, code.num_blocks)
        self._num_rows, self._num_columns = table.shape
        self._master = AnalogMaster(
            code,
            (blocks.shape[1], blocks.shape[2]),
            data_scale=max(float(table.std()), np.finfo(np.float64).tiny),
            evaluation_order=evaluation_order,
            unreliable=unreliable,
        )
        self._result_shape = self._master.precision(
            self._request(np.zeros(self._num_columns - 1))
        ).noise_std.shape
        self._shares: dict[int, Share] = {share.worker: share for share in self._master.deal(blocks)}
        self._roster: Roster | None = None
        self._grid: Grid | None = None
        self._arrays = self.initial_arrays()
        self.history: list[ComputationRound] = []

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
            "\t└──> %s of %d rows, %d columns; %d results needed, %d liars corrected",
            self.function,
            self._num_rows,
            self._num_columns,
            code.dimension,
            (code.num_workers - code.dimension - self.num_missing) // 2,
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Seat the nodes; the request is sent in :meth:`aggregate_train`, which need not wait for all."""
        del server_round, config
        self._grid, self._arrays = grid, arrays
        if self._roster is None:
            self._roster = assemble_roster(grid, self.code.num_workers, self.setup_timeout)
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
        return get_function(self.function).needs_parameters

    def _request(self, weights: FloatArray | None) -> Request:
        return Request(self.function, weights if self._is_descent else None)

    def _ask(
        self, request: Request, server_round: int
    ) -> tuple[dict[int, np.ndarray[Any, Any]], list[Rejected]]:
        """Send the request to every worker, with its share if none of its replies has come yet."""
        assert self._grid is not None, "configure_train comes first"
        assert self._roster is not None, "configure_train comes first"
        workers = range(self.code.num_workers)
        messages = [
            Message(
                request_content(request, server_round, self._shares.get(worker)),
                self._roster.node_of(worker),
                COMPUTE_MESSAGE_TYPE,
                group_id=str(server_round),
            )
            for worker in workers
        ]
        enough = self.code.num_workers - self.num_missing
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
        for worker in results:
            self._shares.pop(worker, None)  # it has arrived; it is not kept any longer than needed
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
        if not self._is_descent:
            return ArrayRecord({"result": Array(outcome.total)})
        weights = self._arrays["weights"].numpy()
        return ArrayRecord(
            {"weights": Array(weights - self.step_size * outcome.total[:, 0] / self._num_rows)}
        )
