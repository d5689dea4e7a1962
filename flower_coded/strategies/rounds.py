"""What happened in a round, written once: one log line per fault, the round's metrics, ``history``.

:class:`FederatedStrategy` is what all strategies of this package share. Its ``start`` is Flower's, and raises
where a run ends without one round of training that changed anything: Flower would call such a run completed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from logging import INFO, WARNING
from typing import Any, NoReturn

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from flower_coded.errors import NoRoundSucceededError, ParameterError
from flower_coded.strategies.federation import Federation
from flower_coded.strategies.older_flower import refuse_older_options, refuse_older_server
from flower_coded.wire.validation import Rejected

__all__ = ["FederatedStrategy", "RoundRecord", "describe_rejections", "nothing_usable", "rejection_metrics"]


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """What happened in one stage of one round; ``history`` keeps them all.

    Parameters
    ----------
    server_round : int
        From 1.
    stage : {"train", "evaluate"}
    accepted : tuple of int
        Participants whose replies were used.
    rejected : tuple of Rejected
        Everything that was asked for and not used, or came without being asked for, with the reason.
    refusal : str
        Why the round changed nothing; empty if it did what it should.
    reported : mapping
        What went into Flower's result: these numbers, the strategy's own, and the clients'.

    Examples
    --------
    >>> record = RoundRecord(server_round=1, accepted=(0, 2), rejected=(Rejected(9, 1, "nan", "not-finite"),))
    >>> record.is_unchanged, record.metrics()["rejected-participants"]
    (False, [1])
    """

    server_round: int
    stage: str = "train"
    accepted: tuple[int, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    refusal: str = ""
    reported: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_unchanged(self) -> bool:
        """Whether the round changed nothing."""
        return bool(self.refusal)

    @property
    def num_accepted(self) -> int:
        """Replies that were used."""
        return len(self.accepted)

    def metrics(self) -> MetricRecord:
        """Summarize for Flower's result; a subclass adds its own."""
        metrics = MetricRecord({"accepted-replies": self.num_accepted})
        metrics.update(rejection_metrics(self.rejected))
        metrics["unchanged"] = int(self.is_unchanged)
        return metrics


def rejection_metrics(rejected: Sequence[Rejected]) -> MetricRecord:
    """Summarize rejections as numbers, which is all a MetricRecord holds.

    Parameters
    ----------
    rejected : sequence of Rejected
        Of one stage of one round.

    Returns
    -------
    MetricRecord
        ``rejected-replies`` (count), ``rejected-participants`` (sorted indices, each once) or, for senders
        without an index, ``rejected-nodes``; and ``rejected-<code>`` (count) per kind of fault. Lists that
        would be empty are left out.

    Examples
    --------
    >>> rejection_metrics([Rejected(9, 2, "nan", "not-finite"), Rejected(9, 2, "silent", "no-reply")])
    {'rejected-replies': 2, 'rejected-participants': [2], 'rejected-no-reply': 1, 'rejected-not-finite': 1}
    """
    participants = sorted({each.participant for each in rejected if each.participant is not None})
    nodes = sorted({each.node_id for each in rejected if each.participant is None})
    counts = Counter(each.code for each in rejected)
    metrics = MetricRecord({"rejected-replies": len(rejected)})
    if participants:
        metrics["rejected-participants"] = participants
    if nodes:
        metrics["rejected-nodes"] = nodes
    for code in sorted(counts):
        metrics[f"rejected-{code}"] = counts[code]
    return metrics


def describe_rejections(rejected: Iterable[Rejected], most: int = 3) -> str:
    """Name the commonest reasons and how often each was given, in one line.

    Examples
    --------
    >>> describe_rejections([Rejected(7, 0, "OSError: no file", "error-reply")] * 2)
    '2 x OSError: no file [error-reply]'
    """
    counts = Counter(f"{each.reason} [{each.code}]" for each in rejected)
    listed = [f"{number} x {reason}" for reason, number in counts.most_common(most)]
    return "; ".join(listed + (["..."] if len(counts) > most else []))


def nothing_usable(rejected: Iterable[Rejected]) -> str:
    """Say that no reply could be used, and the commonest reasons.

    Examples
    --------
    >>> nothing_usable([])
    'no reply could be used: nobody reports examples'
    """
    return f"no reply could be used: {describe_rejections(rejected) or 'nobody reports examples'}"


class FederatedStrategy(Strategy):
    """What all strategies of this package share; a mixin to be named before FedAvg or Strategy.

    Parameters
    ----------
    seed : int
        Draws who takes part in a round and the seeds of messages.
    connect_timeout : float
        Seconds to wait for nodes to connect, and for their partition ids.
    **options
        For the next class.

    Attributes
    ----------
    history : list of RoundRecord
        One per stage and round of the latest run, with the reason for every rejection.
    federation : Federation or None
        The nodes behind the latest grid; None before the first round.
    """

    def __init__(self, *, seed: int = 0, connect_timeout: float = 120.0, **options: Any) -> None:
        refuse_older_options(options)
        super().__init__(**options)
        if seed < 0:
            raise ParameterError("seed", "must not be negative", seed)
        if not connect_timeout > 0:
            raise ParameterError("connect_timeout", "must be positive", connect_timeout)
        self.seed, self.connect_timeout = seed, connect_timeout
        self.history: list[Any] = []
        self.federation: Federation | None = None
        self._is_own_master = False

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
        """Run the rounds as Flower does.

        Raises
        ------
        ParameterError
            If there is no timeout: nothing here waits without end.
        NodesMissingError
            If too few nodes connect for the first round.
        NoRoundSucceededError
            If rounds of training were run and none of them changed anything.
        """
        if timeout is None or not timeout > 0:  # Flower takes None for no limit
            raise ParameterError("timeout", "must be a number of seconds above 0", timeout)
        log(INFO, "each stage waits at most %g s for its replies", timeout)
        self._take_charge(True)
        try:
            result = super().start(
                grid, initial_arrays, num_rounds, timeout, train_config, evaluate_config, evaluate_fn
            )
        finally:
            self._take_charge(False)  # an object that has run by itself may be wrapped afterwards
        trained = [each for each in self.history if each.stage == "train"]
        if trained and all(each.is_unchanged for each in trained):
            reasons = list(dict.fromkeys(each.refusal for each in trained))
            raise NoRoundSucceededError(len(trained), reasons)
        return result

    def _take_charge(self, is_on: bool) -> None:
        """Note that the rounds that follow are this object's own, and no wrapper's around it."""
        self._is_own_master = is_on

    def initialize_parameters(self, client_manager: object) -> NoReturn:
        """Refuse a server of Flower's older interface, which calls this first."""
        del client_manager
        refuse_older_server(self)

    def join(
        self,
        grid: Grid,
        server_round: int,
        stage: str = "train",
        *,
        num_participants: int | None = None,
        at_least: int = 1,
    ) -> Federation:
        """Return the grid's federation, with who is there now; call it first in every ``configure_...``.

        On another grid, and in a stage that the history already holds, a new run begins and the history
        starts afresh; a strategy that keeps more from round to round looks at ``server_round == 1``.
        """
        if not self._is_own_master:
            # Flower's wrappers for differential privacy scale their noise to a mean over all clients, with
            # one vote each. A median, a selection or an ensemble has another sensitivity, and what is
            # secret-shared never passes through them.
            raise ParameterError(
                "strategy",
                "must be started itself: no wrapper knows how much one client moves its result",
                type(self).__name__,
                hint="ValidatedReplies(DifferentialPrivacy...(FedAvg(...))), or noise at the clients "
                "(flwr.clientapp.mod.LocalDpMod)",
            )
        if self.federation is None or self.federation.grid is not grid:
            self.federation = Federation(
                grid,
                num_participants=num_participants,
                connect_timeout=self.connect_timeout,
                seed=self.seed,
            )
            self.history = []
        elif any(each.stage == stage and each.server_round >= server_round for each in self.history):
            self.history = []
        self.federation.refresh(at_least)
        return self.federation

    def conclude(self, record: RoundRecord, metrics: MetricRecord | None = None) -> MetricRecord:
        """Log what went wrong, remember the record, and return the round's metrics.

        Parameters
        ----------
        record : RoundRecord
            Of this stage.
        metrics : MetricRecord, optional
            The strategy's own, or what clients reported; the record's are added and win.
        """
        which = f"round {record.server_round}" + (" (evaluation)" if record.stage == "evaluate" else "")
        for each in record.rejected:
            log(WARNING, "%s: rejected %s", which, each)
        if record.is_unchanged:
            log(WARNING, "%s changed nothing: %s", which, record.refusal)
        combined = MetricRecord(dict(metrics or {}))
        combined.update(record.metrics())
        self.history.append(replace(record, reported=dict(combined)))
        return combined
