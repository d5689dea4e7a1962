"""Ramp-shared multi-Krum as a Flower strategy: FedAvg's place, and no update is ever seen.

On the server ``RampSharedMultiKrum(num_users=12, num_byzantine=2)`` takes FedAvg's place; on the client
``ClientApp(mods=[ramp_krum_mod])`` is added (:mod:`flower_coded.clients.ramp_krum`). A round trains once and
then runs the phases of :mod:`flower_coded.protocols.ramp_krum`, all of them as train messages from
:meth:`aggregate_train`: five message rounds, more if somebody complains, one more if sums are missing, one to
close. The result is the old model plus the mean of the m selected users' updates, each counted once whatever
number of examples it reports.

A user that falls silent or sends nonsense in a phase loses its place in the round and is named; one that
provably lied is not asked again for a while (``ban_rounds``). If a round cannot end with a result that is
known to be right, it changes nothing, and says why and because of whom. Metrics that clients report besides
their update (losses, counts of examples) travel in the clear, as with FedAvg; a reply without usable metrics
loses the metrics, not its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from logging import INFO
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid

from flower_coded.aggregation import ServerOptimizer
from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_sharing import RampSharing, largest_num_parts
from flower_coded.crypto.srs import ReferenceString
from flower_coded.crypto.srs_cache import cached_reference_string, load_reference_string
from flower_coded.errors import DecodingError, MalformedReplyError, ParameterError, RoundRefusedError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.messages import Grade, Misbehavior
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters, largest_num_selected
from flower_coded.protocols.ramp_krum.round import run_server
from flower_coded.strategies.averaging import FederatedAveraging
from flower_coded.strategies.clipping_agreement import AgreedClipping, agreement_or_bound
from flower_coded.strategies.ramp_krum_record import RampKrumRound
from flower_coded.strategies.ramp_krum_transport import FlowerTransport, MetricRecords, Waits
from flower_coded.strategies.rounds import describe_rejections
from flower_coded.strategies.server_steps import ServerSteps
from flower_coded.wire.keys import SEED_KEY, SERVER_ROUND_KEY
from flower_coded.wire.model_state import (
    check_parameters,
    read_state,
    to_array_record,
    update_length,
)
from flower_coded.wire.ramp_krum import reference_size
from flower_coded.wire.running_statistics import from_bounded_units
from flower_coded.wire.validation import Accepted, Rejected, Update, read_report

__all__ = ["RampKrumRound", "RampSharedMultiKrum"]

_MAX_CLAIM_RATIO = 10.0
_CODES = {Grade.SILENT: "no-reply", Grade.MALFORMED: "protocol", Grade.LIE: "misbehavior"}


class RampSharedMultiKrum(FederatedAveraging):
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
    clipping : float or AgreedClipping
        Entries of an update are clipped to ``[-clipping, clipping]``; choose it just above what training
        moves a weight in a round, or let the users agree on it, without anybody seeing an update
        (:class:`~flower_coded.strategies.clipping_agreement.AgreedClipping`). Each client reports the share
        of its weights that were cut, and the metric ``clipped-share`` is their mean: above some hundredths,
        training is cut short. Running means and variances of batch normalization have units of their own, in
        which they may grow 2,981 times.
    num_bits : int
        Bits per entry.
    chunk_size, is_blinded, hides_products, soundness_bits, block_columns, block_norm, waives_colluder_bound
        As in :class:`RampKrumParameters`.
    reference : ReferenceString, str or None
        Of the commitments; a digest names one of the cache (``flower-coded reference``), None takes the one
        of the right size and makes it if there is none.
    ban_rounds : int
        For how many rounds a user that provably lied is not asked; 0 asks it again at once.
    reply_timeout : float
        Seconds to wait for each phase at most; the first includes training. Once all but A + D have answered,
        the others have three times as long as these took, and ten seconds at least.
    server_optimizer : ServerOptimizer or None
        What makes the step from the selected users' mean
        (:func:`flower_coded.aggregation.get_server_optimizer`); None adds the mean itself.
    **options
        As for :class:`~flower_coded.strategies.averaging.FederatedAveraging` (``seed``, ``connect_timeout``)
        and FedAvg; all users train, so that ``fraction_train`` is 1.0 and ``min_train_nodes`` and
        ``min_available_nodes`` are at most N where they are given.

    Attributes
    ----------
    bans : dict of int to int
        By user, the last round in which it is not asked; :meth:`lift_ban` ends a ban.

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
        clipping: float | AgreedClipping = 1.0,
        num_bits: int = 16,
        chunk_size: int | None = 4096,
        is_blinded: bool = True,
        hides_products: bool = True,
        soundness_bits: int = 40,
        block_columns: int | None = None,
        block_norm: float | None = None,
        waives_colluder_bound: bool = False,
        reference: ReferenceString | str | None = None,
        ban_rounds: int = 10,
        reply_timeout: float = 600.0,
        server_optimizer: ServerOptimizer | None = None,
        **options: Any,
    ) -> None:
        _refuse_sampling(options, num_users)
        options = {"max_claim_ratio": _MAX_CLAIM_RATIO} | options
        super().__init__(
            num_participants=num_users, min_train_nodes=num_users, min_available_nodes=num_users, **options
        )
        if ban_rounds < 0:
            raise ParameterError("ban_rounds", "must not be negative", ban_rounds)
        if not reply_timeout > 0:
            raise ParameterError("reply_timeout", "must be positive", reply_timeout)
        sizes = {"num_users": num_users, "num_attackers": num_byzantine, "num_dropouts": num_dropouts}
        if num_colluders is None:
            num_colluders = max(num_byzantine, 1)
        if num_parts is None:
            num_parts = max(largest_num_parts(num_colluders=num_colluders, **sizes), 1)
        self.sharing = RampSharing(num_parts=num_parts, num_colluders=num_colluders, **sizes)
        self.num_selected = largest_num_selected(**sizes) if num_selected is None else num_selected
        self.agreement, bound = agreement_or_bound(clipping)
        self.fixed_point = FixedPoint(num_bits, bound)
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
        if self.agreement is not None:
            self.agreement.parameters(self.sharing, self.options)
        self.reference, self.ban_rounds, self.reply_timeout = reference, ban_rounds, reply_timeout
        self.steps = ServerSteps(server_optimizer)
        self.bans: dict[int, int] = {}
        self._holders: dict[int, int] = {}  # by user: the node that has the reference string
        self._schemes: Schemes | None = None
        self._arrays, self._config = ArrayRecord(), ConfigRecord()

    @property
    def parameters(self) -> RampKrumParameters:
        """Parameters of the rounds, known once the first has begun: the model's length is among them."""
        if self._schemes is None:
            raise ParameterError("strategy", "must have begun its first round", "none")
        return self._schemes.parameters

    def lift_ban(self, user: int) -> None:
        """Ask a user again from the next round on, whatever it did."""
        self.bans.pop(user, None)

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
        if self.steps.optimizer is not None:
            log(INFO, "\t├──> Steps of the server by %r", self.steps.optimizer)
        super().summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Keep what the round needs; its messages are sent by :meth:`aggregate_train`."""
        sharing = self.sharing
        self.join(
            grid,
            server_round,
            num_participants=sharing.num_users,
            at_least=sharing.num_users - sharing.num_dropouts,
        )
        if not self.history:  # a new run
            self.bans, self._holders = {}, {}
            if self.agreement is not None:
                self._schemes = None
            self.steps.restart()
        self._arrays = arrays
        self._config = ConfigRecord({**config, SERVER_ROUND_KEY: server_round})
        state = read_state(arrays)
        check_parameters(state, needs_floating=True)
        length = update_length(state)
        if self._schemes is None or self._schemes.parameters.length != length:
            parameters = self._parameters(length)
            self._schemes = Schemes.create(parameters, self._reference_for(parameters))
        return []

    def _ballots(self, server_round: int) -> Schemes | None:
        """Return the schemes of a round of ballots where the users are to agree on the clipping bound."""
        if self.agreement is None or self._schemes is None:
            return None
        last = max((each.server_round for each in self.history if each.ballots is not None), default=0)
        if not self.agreement.is_due(server_round, last=last):
            return None
        parameters = self.agreement.parameters(self.sharing, self.options)
        return Schemes.create(parameters, self._schemes.by_family["update"].reference)

    def _agree(
        self, ballots: Schemes, transport: FlowerTransport, known_liars: set[int]
    ) -> tuple[Misbehavior, ...]:
        """Let users agree on the clipping bound; return who lied."""
        assert self.agreement is not None
        assert self._schemes is not None
        outcome = run_server(ballots, transport, known_liars=known_liars)
        self.fixed_point = FixedPoint(self.fixed_point.num_bits, self.agreement.read(outcome))
        parameters = self._parameters(self._schemes.parameters.length)
        self._schemes = Schemes.create(parameters, self._schemes.by_family["update"].reference)
        log(INFO, "\t├──> users agreed to clip entries at %.3g", self.fixed_point.clipping)
        return tuple(each for each in outcome.status.misbehavior if each.is_lie)

    def _transport(self, schemes: Schemes, server_round: int) -> FlowerTransport:
        assert self.federation is not None
        spare = self.sharing.num_attackers + self.sharing.num_dropouts
        return FlowerTransport(
            self.federation,
            schemes,
            server_round,
            Waits(self.reply_timeout, spare),
            self._training_content(server_round),
            self._holders,
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Run the round's phases; a round that is refused returns the old arrays."""
        del replies
        assert self._schemes is not None
        assert self.federation is not None
        banned = {user for user, last in self.bans.items() if last >= server_round}
        arrays, outcome, refusal = self._arrays, None, ""
        lies: tuple[Misbehavior, ...] = ()
        ballots = self._ballots(server_round)
        transport = self._transport(ballots or self._schemes, server_round)
        voted = None
        try:
            if ballots is not None:
                lies, voted = self._agree(ballots, transport, banned), transport.report
                transport = self._transport(self._schemes, server_round)
            liars = {each.user for each in lies}
            outcome = run_server(self._schemes, transport, known_liars=banned | liars)
            misbehavior = (*lies, *(each for each in outcome.status.misbehavior if each.user not in liars))
            before = read_state(self._arrays)
            mean = from_bounded_units(outcome.mean, before, self.fixed_point.clipping)
            arrays = to_array_record(self.steps.applied(before, mean, server_round))
        except RoundRefusedError as error:
            refusal, misbehavior = str(error), (*lies, *error.misbehavior)
        except DecodingError as error:  # the step leaves the range of the model's own type
            refusal, outcome = str(error), None
        reported, unusable = self._reported(transport.trained)
        metrics = self.train_metrics(reported, unusable)
        new = tuple(each for each in misbehavior if each.user not in banned)
        rejected = self._rejections(transport, new)
        record = RampKrumRound(
            server_round=server_round,
            accepted=outcome.selection.users if outcome else (),
            rejected=tuple(rejected),
            refusal=refusal and f"{refusal}: {describe_rejections(rejected)}",
            selection=outcome.selection if outcome else None,
            distances=outcome.distances if outcome else {},
            misbehavior=misbehavior,
            report=transport.report,
            phase_seconds=transport.phase_seconds,
            clipping=self.fixed_point.clipping,
            ballots=voted,
        )
        self.bans |= {each.user: server_round + self.ban_rounds for each in new if each.is_lie}
        if outcome:
            log(INFO, "round %d: selected users %s", server_round, list(record.selected))
        return arrays, self.conclude(record, metrics)

    def _parameters(self, length: int) -> RampKrumParameters:
        return RampKrumParameters(
            self.sharing,
            num_selected=self.num_selected,
            length=length,
            fixed_point=self.fixed_point,
            **self.options,
        )

    def _reference_for(self, parameters: RampKrumParameters) -> ReferenceString:
        if self.reference is None:
            sizes = [reference_size(parameters)]
            if self.agreement is not None:  # one reference string for ballots and updates
                sizes.append(reference_size(self.agreement.parameters(self.sharing, self.options)))
            return cached_reference_string(max(sizes))
        if isinstance(self.reference, str):
            return load_reference_string(self.reference)
        return self.reference

    def _training_content(self, server_round: int) -> Any:
        """Return what makes an ordinary train message for a user."""
        assert self.federation is not None
        federation = self.federation

        def content(user: int) -> dict[str, ArrayRecord | ConfigRecord]:
            config = ConfigRecord({**self._config, SEED_KEY: federation.seed_of(server_round, user)})
            return {self.arrayrecord_key: self._arrays, self.configrecord_key: config}

        return content

    def _reported(
        self, trained: list[Accepted[MetricRecords]]
    ) -> tuple[list[Accepted[Update]], list[Rejected]]:
        """Read what clients report; what cannot be read costs the metrics and nothing else."""
        reported: list[Accepted[Update]] = []
        unusable: list[Rejected] = []
        for each in trained:
            content = RecordDict(dict(each.content))
            try:
                update = read_report(content, weighted_by_key=self.count_key)
                reported.append(Accepted(each.node_id, each.participant, update))
            except MalformedReplyError as error:
                reason = f"its metrics are not used: {error.reason}"
                unusable.append(Rejected(each.node_id, each.participant, reason, error.code))
        return reported, unusable

    def _rejections(self, transport: FlowerTransport, misbehavior: tuple[Misbehavior, ...]) -> list[Rejected]:
        """Write reports as rejections, those of silence with the client's own reason where there is one."""
        assert self.federation is not None
        found = []
        for each in misbehavior:
            node_id = self.federation.participants.nodes.get(each.user, 0)
            own = transport.rejected.get((each.phase, each.user))
            reason, code = f"{each.phase}: {each.reason}", _CODES[each.grade]
            if each.grade is Grade.SILENT and own is not None:
                reason, code = f"{each.phase}: {own.reason}", own.code
            found.append(Rejected(node_id, each.user, reason, code))
        return found


def _refuse_sampling(options: dict[str, Any], num_users: int) -> None:
    """Take out what FedAvg would sample by; refuse what contradicts that all users train in every round."""
    if "num_participants" in options:
        raise ParameterError("num_participants", "must be left out: it is num_users", num_users)
    fraction = options.pop("fraction_train", 1.0)
    if fraction != 1.0:
        # Shares, distances and bans belong to the N of a round: a sample of N would be another protocol.
        raise ParameterError(
            "fraction_train",
            f"must be 1.0: all {num_users} users train in every round",
            fraction,
            hint="make num_users the number that trains in a round; of a larger population call start() for "
            "a few rounds at a time, each time on a grid whose get_node_ids() shows num_users other nodes",
        )
    for name in ("min_train_nodes", "min_available_nodes"):
        least = options.pop(name, 0)
        if least > num_users:
            raise ParameterError(name, f"must be at most num_users, {num_users}", least)
