"""Robust analog Lagrange coded computing as a Flower strategy: the server's table, computed on by strangers.

The server holds a table, centers and scales it, hides it in one share per node, and asks all nodes for a
polynomial of their share: a Gram matrix, both sides of the normal equations, a gradient of least squares, a
product of two private matrices, or a polynomial of the user's. A share is sent once, with the first request,
and kept by the node; one round of Flower is one request. The nodes never see the table; any ``t`` of them,
liars included, learn together no more than :func:`flower_coded.codes.real.analog_privacy.worst_leakage`
says; and ``A`` liars are named and ``s`` silent nodes survived as long as ``A + s ≤ N - K`` (``2A + s``
where the code alone decides).

Every reply is judged alone: a malformed one is missing and named in the metrics, a wrong one is named by its
key. Every result has a bound on its error. If that is above the accuracy asked for, or too few results are
right, the round keeps the old arrays and says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from logging import INFO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from flower_coded.codes.real.analog_lagrange import AnalogLagrangeCode
from flower_coded.codes.real.real_tables import as_real_matrix
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
from flower_coded.strategies.rounds import FederatedStrategy, RoundRecord, describe_rejections
from flower_coded.wire.array_reading import ArrayTemplate
from flower_coded.wire.robust_alcc import COMPUTE_MESSAGE_TYPE, request_content
from flower_coded.wire.validation import Rejected, read_arrays

__all__ = ["ComputationRound", "RobustALCC"]

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False, kw_only=True)
class ComputationRound(RoundRecord):
    """What happened in one round; ``RobustALCC.history`` keeps them all.

    Parameters
    ----------
    outcome : Outcome or None
        Values, liars and error bound, in the units of ``RobustALCC.scaled_table``; None where nothing could
        be trusted.
    waiting_seconds, decoding_seconds : float
        Spent on the nodes, and by the server on decoding.
    **others
        See :class:`~flower_coded.strategies.rounds.RoundRecord`. A wrong result is rejected like a malformed
        one, with the code ``located``.
    """

    outcome: Outcome | None
    waiting_seconds: float
    decoding_seconds: float

    def metrics(self) -> MetricRecord:
        """Summarize for Flower's result."""
        metrics = super().metrics()
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


class RobustALCC(FederatedStrategy, Strategy):
    """A polynomial of a private table, from ``N`` nodes of which some lie.

    The arrays that travel through ``start()`` hold one array, ``result`` (or, for ``"gradient"``,
    ``weights``, which each round moves one step down); :meth:`initial_arrays` makes them. Nodes run
    :func:`flower_coded.clients.robust_alcc.robust_alcc_client_app`.

    Parameters
    ----------
    code : AnalogLagrangeCode
        One worker per node; see :func:`flower_coded.protocols.analog_computing.plan_computation`.
    table : array-like of shape (n, d)
        The private data: anything :func:`flower_coded.codes.real.real_tables.as_real_matrix` takes. For
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
        Which share each worker gets (:func:`flower_coded.codes.real.index_assignment.evaluation_order`); a
        secret random order if absent.
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
        super().__init__(connect_timeout=connect_timeout)
        for name, value in (("step_size", step_size), ("reply_timeout", reply_timeout)):
            if not value > 0:
                raise ParameterError(name, "must be positive", value)
        chosen = get_function(function)
        if not chosen.is_sum_over_rows:
            raise ParameterError(
                "function", "must add up rows, so that blocks of rows do", function, hint="use AnalogMaster"
            )
        self.code, self.function, self.step_size = code, function, step_size
        self.num_stragglers, self.accuracy = num_stragglers, accuracy
        self.reply_timeout = reply_timeout
        self.scaled_table = ScaledTable.of(table)
        values: np.ndarray[Any, Any] = self.scaled_table.values
        num_columns = values.shape[1]
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
        first = self._request(np.zeros(num_columns - 1))
        self.promised_accuracy = self._master.require_accuracy(first)
        self._result_shape = self._master.precision(first).noise_std.shape
        self._holders: dict[int, int] = {}  # by worker: the node that has its share
        self._arrays = self.initial_arrays()

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
            return ArrayRecord({"weights": Array(np.zeros(self.scaled_table.values.shape[1] - 1))})
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
            *self.scaled_table.values.shape,
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
        """Look who is there; requests are sent in :meth:`aggregate_train`, which need not wait for all."""
        del config
        if server_round == 1:
            self._holders.clear()
        self._arrays = arrays
        num_workers = self.code.num_workers
        self.join(
            grid,
            server_round,
            num_participants=num_workers,
            at_least=num_workers - self.num_stragglers,
        )
        return []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Ask, validate every reply, name liars, decode."""
        del replies
        request = self._request(self._arrays["weights"].numpy() if self._is_descent else None)
        started = time.perf_counter()
        results, rejected = self._ask(request, server_round)
        asked = time.perf_counter()
        outcome, refusal = None, ""
        try:
            outcome = self._master.decode(request, results)
            wrong = self._wrong_results(outcome)
        except DecodingError as error:
            wrong = self._located(dict.fromkeys(error.culprits, "its result is wrong: told by the keys"))
            refusal = "; ".join([str(error), *filter(None, [describe_rejections(rejected)])])
        record = ComputationRound(
            server_round=server_round,
            accepted=tuple(sorted(set(results) - {each.participant for each in wrong})),
            rejected=(*rejected, *wrong),
            refusal=refusal,
            outcome=outcome,
            waiting_seconds=asked - started,
            decoding_seconds=time.perf_counter() - asked,
        )
        return self._arrays if outcome is None else self._updated(outcome), self.conclude(record)

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

    def _content_for(self, worker: int, request: Request, server_round: int) -> RecordDict:
        """Write to one worker; a share is made when it is sent, and its key with it."""
        assert self.federation is not None
        node_id = self.federation.participants.node_of(worker)
        if self._holders.get(worker) == node_id:
            return request_content(request, server_round, None)
        share = self._master.share_of(worker)
        self._master.make_key(worker, request, share)
        return request_content(request, server_round, share)

    def _ask(
        self, request: Request, server_round: int
    ) -> tuple[dict[int, np.ndarray[Any, Any]], list[Rejected]]:
        """Send the request to every worker, with its share if its node has not shown that it has it."""
        federation = self.federation
        assert federation is not None, "configure_train comes first"
        template = {"values": ArrayTemplate(self._result_shape, np.dtype(np.complex128))}
        results: dict[int, np.ndarray[Any, Any]] = {}
        rejected: list[Rejected] = []
        workers = list(federation.participants)
        for _ in range(2):  # once more for nodes that have lost their share
            contents = {worker: self._content_for(worker, request, server_round) for worker in workers}
            requests = federation.requests(server_round, COMPUTE_MESSAGE_TYPE, contents)
            wanted = self.code.num_workers - self.num_stragglers - len(results)
            replies = federation.ask(requests, timeout=self.reply_timeout, is_enough=_has_answers(wanted))
            accepted, refused = requests.validate(replies, lambda content, _: read_arrays(content, template))
            for each in accepted:
                results[each.participant] = np.asarray(each.content["values"])
                self._holders[each.participant] = each.node_id
            workers = [
                each.participant
                for each in refused
                if each.code == "state-missing" and each.participant in self._holders
            ]
            rejected += [each for each in refused if each.participant not in workers]
            for worker in workers:
                del self._holders[worker]
            if not workers:
                break
        return results, rejected

    def _wrong_results(self, outcome: Outcome) -> list[Rejected]:
        """Name liars, and who sent something odd, as all strategies do."""
        reasons = dict.fromkeys(outcome.liars, f"its result is wrong: told by the {outcome.vouched_by}")
        return self._located(reasons | {each.worker: each.reason for each in outcome.refused})

    def _located(self, reasons: dict[int, str]) -> list[Rejected]:
        assert self.federation is not None
        node_of = self.federation.participants.node_of
        return [Rejected(node_of(who), who, why, "located") for who, why in sorted(reasons.items())]

    def _updated(self, outcome: Outcome) -> ArrayRecord:
        """Undo the scaling, and move the weights one step where they descend."""
        weights = self._arrays["weights"].numpy() if self._is_descent else None
        request = self._request(weights)
        form = get_function(self.function).quadratic_form(
            self.scaled_table.values.shape[1], request.parameters
        )
        total = outcome.total if form is None else self.scaled_table.restore(form, outcome.total, weights)
        if weights is None:
            return ArrayRecord({"result": Array(total)})
        step = self.step_size * total[:, 0] / len(self.scaled_table.values)
        return ArrayRecord({"weights": Array(weights - step)})


def _has_answers(wanted: int) -> Callable[[list[Message]], bool]:
    return lambda replies: sum(not each.has_error() for each in replies) >= wanted
