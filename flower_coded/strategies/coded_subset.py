"""Coded subset aggregation as a Flower strategy: an ensemble that k colluding users cannot backdoor.

A binary code ``H`` says which of ``m`` models learns from which of ``n`` users. Every round user ``j`` gets
one train message per model ``i`` with ``H[i, j] = 1`` (or, ``stacked``, one message with all of them), and
each model is averaged over its own users, weighted by their examples. Any FedAvg-style ClientApp will do.
Every reply is validated alone; one that cannot be used costs its sender the place in that model and round.

What it leaves out: users are never excluded for good, and a client that keeps a state must keep one per model
(:func:`flower_coded.clients.separate_models_mod`), or an honest user carries what an attacker planted in one
model over to the others. Which users poisoned the ensemble is for the decoder to say, see
:mod:`~flower_coded.strategies.ensemble_evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from logging import INFO
from typing import TYPE_CHECKING, Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result
from numpy.typing import NDArray

from flower_coded.codes import SubsetCode
from flower_coded.errors import ParameterError
from flower_coded.strategies.averaging import FederatedAveraging, Stage, participants_of
from flower_coded.strategies.coded_round import (
    CodedRound,
    assignments_of,
    average_models,
    coded_contents,
    template_for,
    turn_of_round,
)
from flower_coded.strategies.ensemble_evaluation import EnsembleEvaluator
from flower_coded.strategies.ensemble_states import expand_initial
from flower_coded.strategies.federation import Assignment
from flower_coded.strategies.model_labels import ModelLabels
from flower_coded.strategies.rounds import nothing_usable
from flower_coded.wire.keys import SEED_KEY, SERVER_ROUND_KEY, USER_KEY
from flower_coded.wire.model_state import State, check_parameters, read_state, to_array_record
from flower_coded.wire.validation import Accepted, Update, read_update

if TYPE_CHECKING:
    from torch import nn

    from flower_coded.learning.ensemble import CodedEnsemble

__all__ = ["CodedSubsetAggregation", "decoded_evaluate_fn"]

_NOT_SAVED = {"device"}  # where to decode is chosen anew when an ensemble is loaded


class CodedSubsetAggregation(FederatedAveraging):
    """Train the ensemble that a subset code prescribes, with any FedAvg-style ClientApp.

    ``start(initial_arrays=...)`` takes one model's arrays, as FedAvg does, or a stacked ensemble. What comes
    back in ``Result.arrays``, and what ``evaluate_fn`` gets in every round from 0 on, is always stacked:
    every array with a leading axis of ``m`` models, so that loading it into a single model fails loudly.
    :func:`decoded_evaluate_fn` makes an ``evaluate_fn`` of an evaluator.

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
        Send every user one message with all its models stacked (``coded-models`` holds a label for each)
        instead of one message per model; for a ClientApp that trains them together.
    cyclic : bool
        In every round each model visits one of its users, another one each round, instead of all of them at
        once. Nothing is averaged, as in the paper, so a backdoor is not diluted, and a round costs ``m``
        trainings; one pass through all data takes as many rounds as models have users.
    tell_models : bool
        Tell clients the numbers of their models, in ascending order, instead of labels that say nothing
        (:mod:`~flower_coded.strategies.model_labels`): for experiments with attackers who know them.
    evaluator : EnsembleEvaluator, optional
        Measures the decoded ensemble on the server; its metrics join the round's train metrics.
    evaluate_every : int
        Rounds between two measurements, at least 1.
    max_claim_ratio : float
        A client's ``num-examples`` counts at most this many times the round's median.
    **options
        ``seed`` (draws who takes part in a round and the ``coded-seed`` of every message),
        ``connect_timeout`` (seconds to wait for ``n`` nodes before the first round), and everything Flower's
        FedAvg takes: ``fraction_train``, ``fraction_evaluate`` (of users), ``weighted_by_key``,
        ``arrayrecord_key``, ``train_metrics_aggr_fn``, ...

    Attributes
    ----------
    history : list of CodedRound
        One per stage and round, with the reason for every rejection.
    federation : Federation or None
        Which node is which user; None before the first round.
    states : dict of str to ndarray of shape (m, ...)
        The ensemble as it stands.

    Raises
    ------
    ParameterError
        If a parameter is out of its range.
    NodesMissingError
        From ``start``, if fewer than ``n`` nodes connect within ``connect_timeout``.
    NoRoundSucceededError
        From ``start``, if no round changed any model.

    Examples
    --------
    >>> import numpy as np
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
        cyclic: bool = False,
        tell_models: bool = False,
        evaluator: EnsembleEvaluator | None = None,
        evaluate_every: int = 1,
        max_claim_ratio: float = 10.0,
        **options: Any,
    ) -> None:
        _check_parameters(code, initial_arrays, evaluate_every)
        super().__init__(num_participants=code.num_users, max_claim_ratio=max_claim_ratio, **options)
        if evaluator is not None and evaluator.code != code:
            raise ParameterError("evaluator", "must be made for the same code", evaluator.code)
        self.code, self.stacked, self.cyclic, self.tell_models = code, stacked, cyclic, tell_models
        self._labels = ModelLabels(code, self.seed, told=tell_models)
        self._asked = code  # who trains what in this round
        self.initial_states = None if initial_states is None else dict(initial_states)
        self.initial_arrays = initial_arrays
        self.evaluator, self.evaluate_every = evaluator, evaluate_every
        self.states: State = {}
        self._issued: ArrayRecord | None = None  # the arrays whose decoded form is self.states

    def summary(self) -> None:
        """Log the code and the settings, then FedAvg's own."""
        messages = self.code.num_users if self.stacked else int(self.code.matrix.sum())
        log(INFO, "\t├──> Coded subset aggregation:")
        log(INFO, "\t│\t├──Code: %r", self.code)
        log(INFO, "\t│\t├──Messages per round, all users taking part: %d", messages)
        if not self.stacked:
            log(INFO, "\t│\t├──ClientApps that keep a state need flower_coded.clients.separate_models_mod")
        log(INFO, "\t│\t└──Seed: %d; counts capped at %g x median", self.seed, self.max_claim_ratio)
        super().summary()

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run the rounds, from one model's arrays or an ensemble's; ``evaluate_fn`` gets an ensemble's."""
        return super().start(
            grid,
            self._adopt(initial_arrays),
            num_rounds,
            timeout,
            train_config,
            evaluate_config,
            evaluate_fn,
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send every sampled user its models."""
        return super().configure_train(server_round, self._adopt(arrays), config, grid)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send every sampled user its models, to be evaluated on its own data."""
        return super().configure_evaluate(server_round, self._adopt(arrays), config, grid)

    def contents(
        self,
        stage: Stage,
        server_round: int,
        participants: Sequence[int],
        arrays: ArrayRecord,
        config: ConfigRecord,
    ) -> Mapping[Assignment, RecordDict]:
        """Return each user's models with its seed, one message per model or one for all."""
        del arrays
        self._asked = code = (
            turn_of_round(self.code, server_round) if self.cyclic and stage == "train" else self.code
        )
        assert self.federation is not None, "configure_... joins it"
        seeds = {user: self.federation.seed_of(server_round, user) for user in participants}
        configs = {
            each: {
                **config,
                SERVER_ROUND_KEY: server_round,
                USER_KEY: each.participant,
                SEED_KEY: seeds[each.participant],
            }
            for each in assignments_of(code, participants, self._labels, stacked=self.stacked)
        }
        keys = (self.arrayrecord_key, self.configrecord_key)
        return coded_contents(code, self.states, configs, keys, self._labels)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Validate every reply, average every model over its users, measure the ensemble."""
        if self.requests is None:
            return None, None
        accepted, rejected = self.requests.validate(
            replies,
            lambda content, each: read_update(
                content, template_for(self._asked, self.states, each), weighted_by_key=self.count_key
            ),
        )
        following, unchanged = average_models(
            self._asked, self.states, accepted, self.weights(accepted), self._labels
        )
        metrics = self.train_metrics(accepted)
        refusal = ""
        if len(unchanged) == self.code.num_models:
            refusal = nothing_usable(rejected)
        else:
            self.states, self._issued = following, to_array_record(following)
        if self.evaluator is not None and server_round % self.evaluate_every == 0:
            metrics.update(self.evaluator.evaluate(self.states).metrics)
        record = self.record_of(
            accepted,
            server_round=server_round,
            rejected=tuple(rejected),
            refusal=refusal,
            unchanged_models=tuple(unchanged),
        )
        return self._issued, self.conclude(record, metrics)

    def record_of(self, accepted: Sequence[Accepted[Update]], **fields: Any) -> CodedRound:
        """Say which user's reply was used for which model."""
        assignments = tuple(Assignment(each.participant, each.model) for each in accepted)
        return CodedRound(accepted=participants_of(accepted), assignments=assignments, **fields)

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
            With confusion matrices from the evaluator's calibration half, and its decoder.

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
        confusion, options = self.evaluator.calibrated(self.states)
        return CodedEnsemble(
            self.code,
            self.states,
            confusion,
            self.evaluator.image_shape,
            model_name,
            model,
            decoder_name=self.evaluator.decoder,
            decoder_options={name: value for name, value in options.items() if name not in _NOT_SAVED},
        )

    def _adopt(self, arrays: ArrayRecord) -> ArrayRecord:
        """Return stacked arrays; decode and expand those that are not the ones we handed out last."""
        if arrays is not self._issued:
            given = read_state(arrays)
            check_parameters(given, needs_floating=True)
            self.states = expand_initial(
                given, self.code.num_models, kind=self.initial_arrays, own_states=self.initial_states
            )
            self._issued = to_array_record(self.states)
            is_one = {name: each.shape for name, each in given.items()} != {
                name: each.shape for name, each in self.states.items()
            }
            log(INFO, "the arrays given are %s", "one model's" if is_one else "a stacked ensemble's")
        return self._issued


def decoded_evaluate_fn(evaluator: EnsembleEvaluator) -> Callable[[int, ArrayRecord], MetricRecord]:
    """Make an ``evaluate_fn`` for ``start`` that decodes the ensemble it is given.

    Parameters
    ----------
    evaluator : EnsembleEvaluator
        Decodes and measures; any data, also other than the strategy's own evaluator has.

    Returns
    -------
    callable
        ``(server_round, stacked arrays) -> MetricRecord``, for the initial arrays (round 0) as for any other.
    """

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        del server_round
        return MetricRecord(dict(evaluator.evaluate(read_state(arrays)).metrics))

    return evaluate


def _check_parameters(code: SubsetCode, initial_arrays: str, evaluate_every: int) -> None:
    if not isinstance(code, SubsetCode):
        raise ParameterError(
            "code", "must be a SubsetCode", code, hint="flower_coded.codes.backdoor_correction_code(4, 4, 12)"
        )
    if initial_arrays not in {"auto", "single", "stacked"}:
        raise ParameterError("initial_arrays", 'must be "auto", "single" or "stacked"', initial_arrays)
    if evaluate_every < 1:
        raise ParameterError("evaluate_every", "must be at least 1", evaluate_every)
