"""Coded subset aggregation as a Flower strategy: an ensemble that k colluding users cannot backdoor.

A binary code ``H`` says which of ``m`` models learns from which of ``n`` users. Every round user ``j`` gets
one train message per model ``i`` with ``H[i, j] = 1`` (or, ``stacked``, one message with all of them), and
each model is averaged over its own users, weighted by their examples. Any FedAvg-style ClientApp will do.
Every reply is judged alone; one that cannot be used costs its sender the place in that model and round.

What it leaves out: nodes that join after the first round take no part, and users are never excluded for
good. Which users poisoned the ensemble is for the decoder to say, see
:mod:`~flower_coded.strategies.ensemble_evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from logging import INFO
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from flower_coded.codes import SubsetCode
from flower_coded.errors import ParameterError
from flower_coded.strategies.base import (
    Accepted,
    Rejected,
    Roster,
    Update,
    assemble_roster,
    judge_arrays,
    judge_metrics,
    log_rejections,
    rejection_metrics,
)
from flower_coded.strategies.base_metrics import aggregate_client_metrics, capped_weights
from flower_coded.strategies.coded_round import Exchange, Place, RoundRecord, average_models
from flower_coded.strategies.ensemble_evaluation import EnsembleEvaluator
from flower_coded.strategies.ensemble_states import expand_initial
from flower_coded.wire.model_state import State, to_array_record

if TYPE_CHECKING:
    from torch import nn

    from flower_coded.learning.ensemble import CodedEnsemble

__all__ = ["CodedSubsetAggregation"]

_TRAIN, _EVALUATE = 0, 1  # stages, in the seeds
_NOT_SAVED = {"device"}  # where to decode is chosen anew when an ensemble is loaded


class CodedSubsetAggregation(FedAvg):
    """Train the ensemble that a subset code prescribes, with any FedAvg-style ClientApp.

    ``start(initial_arrays=...)`` takes one model's arrays, as FedAvg does, or a stacked ensemble; what comes
    back in ``Result.arrays`` is always stacked: every array with a leading axis of ``m`` models, so that
    loading it into a single model by mistake fails loudly.

    Parameters
    ----------
    code : SubsetCode
        ``H``; its ``n`` users are the nodes, in the order of their partition ids.
    initial_states : mapping of str to ndarray of shape (m, ...), optional
        An initialization of its own for every model; the arrays given to ``start`` then only have to match
        in names and shapes. Without it all models start from the arrays given to ``start``.
    initial_arrays : {"auto", "single", "stacked"}
        What ``start`` is given; see :func:`~flower_coded.strategies.ensemble_states.expand_initial`.
    stacked : bool
        Send every user one message with all its models stacked (``coded-models`` names them) instead of one
        message per model; for a ClientApp that trains them together.
    evaluator : EnsembleEvaluator, optional
        Measures the decoded ensemble on the server; its metrics join the round's train metrics.
    evaluate_every : int
        Rounds between two measurements, at least 1.
    seed : int
        Draws who takes part in a round and the ``coded-seed`` of every message.
    max_claim_ratio : float
        A client's ``num-examples`` counts at most this many times the round's median claim.
    node_timeout : float
        Seconds to wait for ``n`` nodes before the first round, and at most as long for their partition ids.
    **fedavg_options
        Everything Flower's FedAvg takes: ``fraction_train``, ``fraction_evaluate`` (of users),
        ``weighted_by_key``, ``arrayrecord_key``, ``train_metrics_aggr_fn``, ...

    Attributes
    ----------
    history : list of RoundRecord
        One per round of training, with the reason for every rejection.
    roster : Roster or None
        Which node is which user; None before the first round.
    states : dict of str to ndarray of shape (m, ...)
        The ensemble as it stands.

    Raises
    ------
    ParameterError
        If a parameter is out of its range.
    NodesMissingError
        From ``start``, if fewer than ``n`` nodes connect within ``node_timeout``.

    Examples
    --------
    >>> from flower_coded.codes import partition_code
    >>> from flower_coded.testing import InProcessGrid
    >>> from flwr.clientapp import ClientApp
    >>> app = ClientApp()
    >>> @app.train()
    ... def train(message, context):  # "training" adds the partition id
    ...     arrays = {k: v.numpy() + context.node_config["partition-id"]
    ...               for k, v in message.content["arrays"].items()}
    ...     metrics = MetricRecord({"num-examples": 10})
    ...     content = RecordDict({"arrays": to_array_record(arrays), "metrics": metrics})
    ...     return Message(content, reply_to=message)
    >>> strategy = CodedSubsetAggregation(partition_code(2, 4), fraction_evaluate=0.0)
    >>> grid = InProcessGrid(app, 4)
    >>> result = strategy.start(grid, to_array_record({"w": np.zeros(1)}), num_rounds=1)
    >>> result.arrays["w"].numpy().shape
    (2, 1)
    """

    def __init__(
        self,
        code: SubsetCode,
        *,
        initial_states: Mapping[str, NDArray[Any]] | None = None,
        initial_arrays: str = "auto",
        stacked: bool = False,
        evaluator: EnsembleEvaluator | None = None,
        evaluate_every: int = 1,
        seed: int = 0,
        max_claim_ratio: float = 10.0,
        node_timeout: float = 120.0,
        **fedavg_options: Any,
    ) -> None:
        super().__init__(**fedavg_options)
        _check_parameters(code, initial_arrays, evaluate_every, seed, max_claim_ratio, node_timeout)
        if evaluator is not None and evaluator.code != code:
            raise ParameterError("evaluator", "must be made for the same code", evaluator.code)
        self.code, self.stacked, self.seed = code, stacked, seed
        self.initial_states = None if initial_states is None else dict(initial_states)
        self.initial_arrays, self.max_claim_ratio, self.node_timeout = (
            initial_arrays,
            max_claim_ratio,
            node_timeout,
        )
        self.evaluator, self.evaluate_every = evaluator, evaluate_every
        self.history: list[RoundRecord] = []
        self.roster: Roster | None = None
        self.states: State = {}
        self._grid: Grid | None = None
        self._issued: ArrayRecord | None = None  # the arrays whose decoded form is self.states
        self._exchange: Exchange | None = None

    def summary(self) -> None:
        """Log the code and the settings, then FedAvg's own."""
        messages = self.code.num_users if self.stacked else int(self.code.matrix.sum())
        log(INFO, "\t├──> Coded subset aggregation:")
        log(INFO, "\t│\t├──Code: %r", self.code)
        log(INFO, "\t│\t├──Messages per round, all users taking part: %d", messages)
        log(INFO, "\t│\t└──Seed: %d; claims capped at %g x median", self.seed, self.max_claim_ratio)
        super().summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send every sampled user its models."""
        self._exchange = None
        if self.fraction_train == 0.0:
            return []
        users = self._sample_users(grid, self.fraction_train, self.min_train_nodes, (_TRAIN, server_round))
        return self._ask(MessageType.TRAIN, users, server_round, arrays, config)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Judge every reply, average every model over its users, measure the ensemble."""
        if self._exchange is None:
            return None, None
        templates = self._exchange.templates(self.states)

        def judge_reply(message: Message, place: Place) -> Accepted[Update] | Rejected:
            user, model = place
            key = self.weighted_by_key
            return judge_arrays(message, templates[place], user=user, model=model, weighted_by_key=key)

        accepted, rejected = self._exchange.judge_all(replies, judge_reply)
        weights = self._weights(accepted)
        self.states, unchanged = average_models(self.code, self.states, accepted, weights)
        metrics = self._metrics(accepted, rejected, weights, self.train_metrics_aggr_fn)
        if unchanged:
            metrics["unchanged-models"] = unchanged
        if self.evaluator is not None and server_round % self.evaluate_every == 0:
            metrics.update(self.evaluator.evaluate(self.states).metrics)
        log_rejections(server_round, rejected)
        used = tuple((each.user, each.model) for each in accepted if each.user is not None)
        self.history.append(RoundRecord(server_round, used, tuple(rejected), tuple(unchanged), dict(metrics)))
        self._issued = to_array_record(self.states)
        return self._issued, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send every sampled user its models, to be evaluated on its own data."""
        self._exchange = None
        if self.fraction_evaluate == 0.0:
            return []
        stage = (_EVALUATE, server_round)
        users = self._sample_users(grid, self.fraction_evaluate, self.min_evaluate_nodes, stage)
        return self._ask(MessageType.EVALUATE, users, server_round, arrays, config)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Judge every reply and average the metrics over (user, model) pairs."""
        if self._exchange is None:
            return None

        def judge_reply(message: Message, place: Place) -> Accepted[Update] | Rejected:
            user, model = place
            return judge_metrics(message, user=user, model=model, weighted_by_key=self.weighted_by_key)

        accepted, rejected = self._exchange.judge_all(replies, judge_reply)
        log_rejections(server_round, rejected)
        return self._metrics(accepted, rejected, self._weights(accepted), self.evaluate_metrics_aggr_fn)

    def ensemble(self, *, model_name: str = "", model: nn.Module | None = None) -> CodedEnsemble:
        """Make a classifier of the ensemble as it stands; its ``save`` writes one file.

        Parameters
        ----------
        model_name : str
            A name that :func:`flower_coded.learning.build_model` knows, or empty with ``model`` given.
        model : torch.nn.Module, optional
            The architecture, where it has no name there.

        Returns
        -------
        CodedEnsemble
            With confusion matrices from the evaluator's calibration half and its decoder's options.

        Raises
        ------
        ParameterError
            If there is no evaluator, or no round was run yet.
        """
        from flower_coded.learning.ensemble import CodedEnsemble

        if self.evaluator is None:
            raise ParameterError("evaluator", "must be given: it estimates the confusion matrices", None)
        if not self.states:
            raise ParameterError("states", "must be there", self.states, hint="run start() first")
        options = {
            name: value for name, value in self.evaluator.decoder_options.items() if name not in _NOT_SAVED
        }
        return CodedEnsemble(
            self.code,
            self.states,
            self.evaluator.confusion(self.states),
            self.evaluator.image_shape,
            model_name,
            model,
            **options,
        )

    def _sample_users(
        self, grid: Grid, fraction: float, min_users: int, stage_and_round: tuple[int, int]
    ) -> list[int]:
        num_users = self.code.num_users
        if self.roster is None or grid is not self._grid:
            self.roster, self._grid = assemble_roster(grid, num_users, self.node_timeout), grid
        size = min(num_users, max(int(num_users * fraction), min_users))
        generator = np.random.default_rng([self.seed, *stage_and_round])
        users: list[int] = sorted(generator.choice(num_users, size, replace=False).tolist())
        log(INFO, "users %s take part (of %d)", users, num_users)
        return users

    def _ask(
        self,
        message_type: str,
        users: Iterable[int],
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
    ) -> list[Message]:
        assert self.roster is not None, "_sample_users assembles it"
        self._adopt(arrays)
        self._exchange = Exchange(self.code, self.roster, tuple(users), server_round, self.seed, self.stacked)
        return self._exchange.messages(
            message_type, self.states, config, self.arrayrecord_key, self.configrecord_key
        )

    def _adopt(self, arrays: ArrayRecord) -> None:
        """Decode arrays that are not the ones we handed out last: those a run starts from."""
        if arrays is self._issued:
            return
        self.states = expand_initial(
            {name: each.numpy() for name, each in arrays.items()},
            self.code.num_models,
            kind=self.initial_arrays,
            own_states=self.initial_states,
        )
        self._issued = arrays

    def _weights(self, accepted: Sequence[Accepted[Update]]) -> list[float]:
        return capped_weights([each.content.weight for each in accepted], self.max_claim_ratio)

    def _metrics(
        self,
        accepted: Sequence[Accepted[Update]],
        rejected: Sequence[Rejected],
        weights: Sequence[float],
        aggregate: Callable[[list[RecordDict], str], MetricRecord],
    ) -> MetricRecord:
        updates = [each.content for each in accepted]
        metrics, num_left_out = aggregate_client_metrics(updates, weights, self.weighted_by_key, aggregate)
        if num_left_out:
            metrics["metrics-left-out"] = num_left_out
        metrics["accepted-replies"] = len(accepted)
        metrics.update(rejection_metrics(rejected))
        return metrics


def _check_parameters(
    code: SubsetCode,
    initial_arrays: str,
    evaluate_every: int,
    seed: int,
    max_claim_ratio: float,
    node_timeout: float,
) -> None:
    if not isinstance(code, SubsetCode):
        raise ParameterError(
            "code", "must be a SubsetCode", code, hint="flower_coded.codes.backdoor_correction_code(4, 4, 12)"
        )
    if initial_arrays not in {"auto", "single", "stacked"}:
        raise ParameterError("initial_arrays", 'must be "auto", "single" or "stacked"', initial_arrays)
    if evaluate_every < 1:
        raise ParameterError("evaluate_every", "must be at least 1", evaluate_every)
    if seed < 0:
        raise ParameterError("seed", "must not be negative", seed)
    if not max_claim_ratio >= 1:
        raise ParameterError("max_claim_ratio", "must be at least 1", max_claim_ratio)
    if not node_timeout >= 0:
        raise ParameterError("node_timeout", "must not be negative", node_timeout)
