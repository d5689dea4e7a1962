"""FedAvg's place in a federation: sampling, sending, and evaluation, for strategies that keep its options.

A strategy says what it sends (:meth:`FederatedAveraging.contents`) and what it makes of the updates. Asking,
validating and evaluating are done here: an evaluation reply is validated like a training reply.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from logging import INFO
from typing import Any, Literal

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from flower_coded.errors import ParameterError
from flower_coded.strategies.client_metrics import aggregate_client_metrics, capped_weights, noting_left_out
from flower_coded.strategies.federation import Assignment, RoundRequests
from flower_coded.strategies.rounds import FederatedStrategy, RoundRecord, nothing_usable
from flower_coded.wire.keys import SERVER_ROUND_KEY
from flower_coded.wire.validation import Accepted, Rejected, Update, read_report

__all__ = ["FederatedAveraging", "Stage", "participants_of"]

Stage = Literal["train", "evaluate"]

_NUMBERS = {"train": 0, "evaluate": 1}  # of the stages, in the seeds of samples


class FederatedAveraging(FederatedStrategy, FedAvg):
    """FedAvg with its options, without its waits and its trust in replies.

    Parameters
    ----------
    num_participants : int or None
        How many take part, exactly; None for whoever is connected, and then FedAvg's ``min_available_nodes``
        are waited for, at most ``connect_timeout``.
    max_claim_ratio : float or None
        A reported count of examples counts at most this many times the round's median; None where every
        reply counts once and no count is asked for.
    **options
        Of :class:`~flower_coded.strategies.rounds.FederatedStrategy` and of FedAvg.
    """

    def __init__(
        self, *, num_participants: int | None = None, max_claim_ratio: float | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if max_claim_ratio is not None and not max_claim_ratio >= 1:
            raise ParameterError("max_claim_ratio", "must be at least 1", max_claim_ratio)
        self.num_participants, self.max_claim_ratio = num_participants, max_claim_ratio
        self.requests: RoundRequests | None = None

    @property
    def count_key(self) -> str | None:
        """Where replies hold the count of examples; None where examples do not count."""
        return None if self.max_claim_ratio is None else self.weighted_by_key

    def contents(
        self,
        stage: Stage,
        server_round: int,
        participants: Sequence[int],
        arrays: ArrayRecord,
        config: ConfigRecord,
    ) -> Mapping[int, RecordDict] | Mapping[Assignment, RecordDict]:
        """Return what each participant is sent; here FedAvg's own message, one for all."""
        del stage
        config = ConfigRecord({**config, SERVER_ROUND_KEY: server_round})
        content = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
        return dict.fromkeys(participants, content)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the arrays to a sample of the participants."""
        return self._configure("train", server_round, arrays, config, grid)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the arrays to a sample of the participants, to be evaluated on their own data."""
        return self._configure("evaluate", server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Validate every reply and aggregate the metrics of those that report what most report."""
        if self.requests is None:
            return None
        key = self.count_key
        accepted, rejected = self.requests.validate(
            replies, lambda content, _: read_report(content, weighted_by_key=key)
        )
        metrics, left_out = aggregate_client_metrics(
            accepted, self.weights(accepted), self.weighted_by_key, self.evaluate_metrics_aggr_fn
        )
        # Metrics are all that an evaluation reply has: who reports others than most is not used.
        unused = {(each.participant, each.model) for each in left_out}
        used = [each for each in accepted if (each.participant, each.model) not in unused]
        rejected += left_out
        refusal = "" if used else nothing_usable(rejected)
        record = self.record_of(
            used, server_round=server_round, stage="evaluate", rejected=tuple(rejected), refusal=refusal
        )
        return self.conclude(record, metrics)

    def record_of(self, accepted: Sequence[Accepted[Update]], **fields: Any) -> RoundRecord:
        """Make the record of a stage; a strategy that asks about several models says which."""
        return RoundRecord(accepted=participants_of(accepted), **fields)

    def weights(self, accepted: Sequence[Accepted[Update]]) -> list[float]:
        """Return what each reply counts: its capped count of examples, or 1."""
        if self.max_claim_ratio is None:
            return [1.0] * len(accepted)
        return capped_weights([each.content.weight for each in accepted], self.max_claim_ratio)

    def train_metrics(
        self, accepted: Sequence[Accepted[Update]], unreadable: Sequence[Rejected] = ()
    ) -> MetricRecord:
        """Aggregate what clients report of their training; odd metrics cost the metrics and no place."""
        metrics, left_out = aggregate_client_metrics(
            accepted, self.weights(accepted), self.weighted_by_key, self.train_metrics_aggr_fn
        )
        return noting_left_out(metrics, [*unreadable, *left_out])

    def _configure(
        self, stage: Stage, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        is_train = stage == "train"
        fraction = self.fraction_train if is_train else self.fraction_evaluate
        least = self.min_train_nodes if is_train else self.min_evaluate_nodes
        self.requests = None
        if fraction == 0.0:
            return []
        at_least = max(self.min_available_nodes, least) if self.num_participants is None else 1
        federation = self.join(
            grid, server_round, stage, num_participants=self.num_participants, at_least=at_least
        )
        sampled = federation.sample(fraction, least, (_NUMBERS[stage], server_round))
        log(
            INFO,
            "round %d (%s): participants %s of %d",
            server_round,
            stage,
            sampled,
            len(federation.participants),
        )
        contents = self.contents(stage, server_round, sampled, arrays, config)
        self.requests = federation.requests(server_round, stage, contents)
        return list(self.requests.messages.values())


def participants_of(accepted: Iterable[Accepted[Any]]) -> tuple[int, ...]:
    """Return the participants with at least one accepted reply, ascending."""
    return tuple(sorted({each.participant for each in accepted}))
