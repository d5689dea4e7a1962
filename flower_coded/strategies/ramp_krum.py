"""Ramp-shared multi-Krum as a Flower strategy: FedAvg's place, and no update is ever seen.

On the server ``RampSharedMultiKrum(num_users=12, num_byzantine=2)`` takes FedAvg's place; on the client
``ClientApp(mods=[ramp_krum_mod])`` is added (:mod:`flower_coded.clients.ramp_krum`). A round trains once and
then runs the phases of :mod:`flower_coded.protocols.ramp_krum`, all of them as train messages from
:meth:`aggregate_train`: five message rounds, six if somebody complains, one more if sums are missing, one to
close. The result is the old model plus the mean of the m selected users' updates, each counted once whatever
number of examples it claims (a claim nobody can check, and a lever for liars).

A user that falls silent or sends nonsense in a phase loses its place in the round and is named; one that lied
is not asked again (``bans_liars``). If a round cannot end with a result that is known to be right, it is
refused with an error that says what was exceeded, and the old model stays. Metrics that clients report
besides their update (losses, numbers of examples) travel in the clear, as with FedAvg.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from logging import INFO, WARNING
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing, largest_num_parts
from flower_coded.crypto.srs import ReferenceString
from flower_coded.crypto.srs_cache import cached_reference_string
from flower_coded.errors import MalformedReplyError, ParameterError, RoundRefusedError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.loads import message_load
from flower_coded.protocols.ramp_krum.messages import (
    Closed,
    Complaints,
    Dealing,
    Evaluations,
    Malformed,
    Misbehavior,
    Openings,
    PublicKey,
    Request,
    ShareSum,
    UserMessage,
)
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters, largest_num_selected
from flower_coded.protocols.ramp_krum.round import RoundReport, run_server
from flower_coded.protocols.ramp_krum.status import Reply
from flower_coded.strategies.base import Roster, Update, assemble_roster, read_weight, the_only_record
from flower_coded.strategies.base_metrics import aggregate_client_metrics
from flower_coded.wire.keys import SEED_KEY, SERVER_ROUND_KEY
from flower_coded.wire.model_state import add_to_state, update_length
from flower_coded.wire.ramp_krum import (
    SETTINGS_RECORD,
    message_to_records,
    parameters_to_settings,
    records_to_message,
    reference_size,
)

__all__ = ["RampKrumRound", "RampSharedMultiKrum"]

_REPLY_KINDS: dict[str, type[UserMessage]] = {
    "keys": PublicKey,
    "shares": Dealing,
    "complaints": Complaints,
    "openings": Openings,
    "evaluations": Evaluations,
    "sums": ShareSum,
    "close": Closed,
}


@dataclass
class RampKrumRound:
    """What happened in one round; ``RampSharedMultiKrum.history`` keeps them all.

    Parameters
    ----------
    server_round : int
        From 1.
    report : RoundReport
        What was sent, by phase and user; how long the server's steps took; the outcome.
    phase_seconds : dict of str to float
        From sending a phase's requests to having the last reply.
    misbehavior : tuple of Misbehavior
        Who fell silent or lied, and at what.
    refusal : str
        Why there is no result; empty if there is one.
    """

    server_round: int
    report: RoundReport = field(default_factory=RoundReport)
    phase_seconds: dict[str, float] = field(default_factory=dict)
    misbehavior: tuple[Misbehavior, ...] = ()
    refusal: str = ""

    @property
    def selected(self) -> tuple[int, ...]:
        """The selected users; none if the round was refused."""
        return self.report.outcome.selection.users if self.report.outcome else ()

    def bytes_by_phase(self) -> dict[str, int]:
        """Bytes that all users sent, by phase."""
        return {phase: sum(x.num_bytes for x in loads.values()) for phase, loads in self.report.sent.items()}

    def metrics(self) -> MetricRecord:
        """Summarize for Flower's history."""
        metrics = MetricRecord({"refused": int(bool(self.refusal))})
        for name, users in (
            ("selected-users", self.selected),
            ("lying-users", tuple(sorted({each.user for each in self.misbehavior if each.is_lie}))),
            ("silent-users", tuple(sorted({each.user for each in self.misbehavior if not each.is_lie}))),
        ):
            if users:
                metrics[name] = list(users)
        for phase, num_bytes in self.bytes_by_phase().items():
            metrics[f"bytes-{phase}"] = num_bytes
            metrics[f"seconds-{phase}"] = self.phase_seconds.get(phase, 0.0)
        return metrics


class RampSharedMultiKrum(FedAvg):
    """Multi-Krum on updates that stay secret-shared among the users.

    Parameters
    ----------
    num_users : int
        N; exactly so many nodes take part.
    num_byzantine : int
        A, users that may lie.
    num_dropouts : int
        D, users that may fall silent.
    num_colluders : int or None
        T, users that may put together what they see without learning an update; None takes the least that is
        safe, A.
    num_parts : int or None
        K; None takes the largest that works.
    num_selected : int or None
        m; None takes the largest that works.
    clipping : float
        Entries of an update are clipped to ``[-clipping, clipping]``; choose it just above what training
        moves a weight in a round (the metric ``clipped`` would be of no help: nobody sees the updates).
    num_bits : int
        Bits per entry.
    chunk_size, is_blinded, hides_products, soundness_bits, block_columns, block_norm, waives_colluder_bound
        As in :class:`RampKrumParameters`.
    reference : ReferenceString or None
        Of the commitments; None takes the cached one of the right size, and makes it if there is none.
    bans_liars : bool
        Whether a user that lied is left out of later rounds.
    reply_timeout : float
        Seconds to wait for each phase; the first includes training.
    seed : int
        Draws the seeds that clients' train functions and rounding may use.
    **fedavg
        As for FedAvg; ``fraction_train`` and ``min_train_nodes`` must not be given, all users train.

    Raises
    ------
    ParameterError
        If a bound is broken, with the inequality, the numbers, and what would do.

    Examples
    --------
    >>> strategy = RampSharedMultiKrum(num_users=12, num_byzantine=2)
    >>> strategy.sharing.num_parts, strategy.num_selected
    (2, 4)
    >>> RampSharedMultiKrum(num_users=6, num_byzantine=2)
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: num_parts must satisfy 1 <= K <= (N - D + 1)/2 - A - T = ...
    """

    def __init__(
        self,
        num_users: int,
        num_byzantine: int,
        *,
        num_dropouts: int = 1,
        num_colluders: int | None = None,
        num_parts: int | None = None,
        num_selected: int | None = None,
        clipping: float = 1.0,
        num_bits: int = 16,
        chunk_size: int | None = 4096,
        is_blinded: bool = True,
        hides_products: bool = True,
        soundness_bits: int = 40,
        block_columns: int | None = None,
        block_norm: float | None = None,
        waives_colluder_bound: bool = False,
        reference: ReferenceString | None = None,
        bans_liars: bool = True,
        reply_timeout: float = 600.0,
        seed: int = 0,
        **fedavg: Any,
    ) -> None:
        reserved = {"fraction_train", "min_train_nodes", "min_available_nodes"} & set(fedavg)
        if reserved:
            raise ParameterError("FedAvg arguments", "must leave out what all users decide", sorted(reserved))
        super().__init__(min_train_nodes=num_users, min_available_nodes=num_users, **fedavg)
        sizes = {"num_users": num_users, "num_attackers": num_byzantine, "num_dropouts": num_dropouts}
        if num_colluders is None:
            num_colluders = max(num_byzantine, 1)
        if num_parts is None:
            num_parts = max(largest_num_parts(num_colluders=num_colluders, **sizes), 1)
        self.sharing = RampSharing(num_parts=num_parts, num_colluders=num_colluders, **sizes)
        self.num_selected = largest_num_selected(**sizes) if num_selected is None else num_selected
        self.fixed_point = FixedPoint(num_bits, clipping)
        self.options: dict[str, Any] = {
            "chunk_size": chunk_size,
            "is_blinded": is_blinded,
            "hides_products": hides_products,
            "soundness_bits": soundness_bits,
            "block_columns": block_columns,
            "block_norm": block_norm,
            "waives_colluder_bound": waives_colluder_bound,
        }
        self._parameters(length=1)  # refuses what cannot be, whatever the model
        self.reference, self.bans_liars = reference, bans_liars
        self.reply_timeout, self.seed = reply_timeout, seed
        self.history: list[RampKrumRound] = []
        self.banned: set[int] = set()
        self._roster: Roster | None = None
        self._schemes: Schemes | None = None
        self._grid: Grid | None = None
        self._arrays, self._config = ArrayRecord(), ConfigRecord()

    @property
    def parameters(self) -> RampKrumParameters:
        """Parameters of the rounds, known once the first has begun: the model's length is among them."""
        if self._schemes is None:
            raise ParameterError("strategy", "must have begun its first round", "none")
        return self._schemes.parameters

    def summary(self) -> None:
        """Log what the strategy tolerates."""
        sharing = self.sharing
        log(
            INFO,
            "\t├──> ramp-shared multi-Krum: %d users, %d may lie, %d fall silent, %d collude; %d parts, "
            "%d users selected",
            sharing.num_users,
            sharing.num_attackers,
            sharing.num_dropouts,
            sharing.num_colluders,
            sharing.num_parts,
            self.num_selected,
        )
        super().summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Keep what the round needs; its messages are sent by :meth:`aggregate_train`."""
        config[SERVER_ROUND_KEY] = server_round
        self._grid, self._arrays, self._config = grid, arrays, config
        if self._roster is None:
            self._roster = assemble_roster(grid, self.sharing.num_users)
        length = update_length({name: array.numpy() for name, array in arrays.items()})
        if self._schemes is None or self._schemes.parameters.length != length:
            parameters = self._parameters(length)
            reference = self.reference or cached_reference_string(reference_size(parameters))
            self._schemes = Schemes.create(parameters, reference)
        return []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Run the round's phases; None keeps the old arrays."""
        del replies
        assert self._schemes is not None
        record = RampKrumRound(server_round)
        transport = _FlowerTransport(self, record)
        try:
            outcome = run_server(self._schemes, transport, known_liars=self.banned)
        except RoundRefusedError as error:
            record.refusal, record.misbehavior = str(error), error.misbehavior
        else:
            record.report.outcome, record.misbehavior = outcome, outcome.status.misbehavior
        self._conclude(record)
        metrics = record.metrics()
        if transport.trained:
            weights = [update.weight for update in transport.trained]
            trained, _ = aggregate_client_metrics(
                transport.trained, weights, self.weighted_by_key, self.train_metrics_aggr_fn
            )
            metrics.update(trained)
        if record.report.outcome is None:
            return None, metrics
        state = {name: array.numpy() for name, array in self._arrays.items()}
        following = add_to_state(state, record.report.outcome.mean)
        return ArrayRecord({name: Array(array) for name, array in following.items()}), metrics

    def _parameters(self, length: int) -> RampKrumParameters:
        return RampKrumParameters(
            self.sharing,
            num_selected=self.num_selected,
            length=length,
            fixed_point=self.fixed_point,
            **self.options,
        )

    def _conclude(self, record: RampKrumRound) -> None:
        """Log and remember what happened."""
        self.history.append(record)
        for each in record.misbehavior:
            if each.user not in self.banned:
                log(
                    WARNING,
                    "round %d: user %d, phase %s, %s: %s",
                    record.server_round,
                    each.user,
                    each.phase,
                    each.grade,
                    each.reason,
                )
        if record.refusal:
            log(WARNING, "round %d: %s; the old model stays", record.server_round, record.refusal)
        else:
            log(INFO, "round %d: selected users %s", record.server_round, list(record.selected))
        if self.bans_liars:
            self.banned |= {each.user for each in record.misbehavior if each.is_lie}


class _FlowerTransport:
    """Delivers requests as train messages, and reads the replies."""

    def __init__(self, strategy: RampSharedMultiKrum, record: RampKrumRound) -> None:
        assert strategy._grid is not None
        assert strategy._roster is not None
        assert strategy._schemes is not None
        self.strategy, self.record = strategy, record
        self.grid, self.roster, self.schemes = strategy._grid, strategy._roster, strategy._schemes
        self.digest = self.schemes.by_family["update"].reference.digest
        self.trained: list[Update] = []
        self.left_at, self.last_phase = time.perf_counter(), ""

    def __call__(self, phase: str, requests: Mapping[int, Request]) -> list[Reply]:
        started = time.perf_counter()
        if self.last_phase:
            spent = self.record.report.server_seconds
            spent[self.last_phase] = spent.get(self.last_phase, 0.0) + started - self.left_at
        messages = [self._message(phase, user, request) for user, request in requests.items()]
        received = self.grid.send_and_receive(messages, timeout=self.strategy.reply_timeout)
        replies = [reply for message in received if (reply := self._read(phase, message)) is not None]
        sent = self.record.report.sent.setdefault(phase, {})
        for user, message in replies:
            load = message_load(message)
            sent[user] = sent[user] + load if user in sent else load
        self.left_at, self.last_phase = time.perf_counter(), phase
        seconds = self.record.phase_seconds
        seconds[phase] = seconds.get(phase, 0.0) + self.left_at - started
        return sorted(replies, key=lambda reply: reply[0])

    def _message(self, phase: str, user: int, request: Request) -> Message:
        settings = parameters_to_settings(self.schemes.parameters, user=user, digest=self.digest)
        settings[SERVER_ROUND_KEY] = self.record.server_round
        content = RecordDict({**message_to_records(request), SETTINGS_RECORD: settings})
        if phase == "keys":
            entropy = [self.strategy.seed, self.record.server_round, user]
            seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
            content[self.strategy.arrayrecord_key] = self.strategy._arrays
            config = ConfigRecord(dict(self.strategy._config) | {SEED_KEY: seed})
            content[self.strategy.configrecord_key] = config
        group = f"{self.record.server_round}/{phase}"
        return Message(content, self.roster.node_of(user), MessageType.TRAIN, group_id=group)

    def _read(self, phase: str, message: Message) -> Reply | None:
        user = self.roster.user_of(message.metadata.src_node_id)
        if user is None or not message.has_content():
            return None
        round_id = b""
        try:
            content = records_to_message(message.content, [_REPLY_KINDS[phase]])
            if phase == "keys":
                self._keep_metrics(message.content)
        except MalformedReplyError as error:
            return user, Malformed(round_id, user, str(error))
        return user, content

    def _keep_metrics(self, content: RecordDict) -> None:
        metrics = the_only_record(content.metric_records, "MetricRecord")
        weight = read_weight(metrics, self.strategy.weighted_by_key)
        self.trained.append(Update({}, weight, metrics))
