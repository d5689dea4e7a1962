"""Contrastive output codes as a Flower strategy: pretrain, make a code book, fine-tune, perhaps retrain.

The paper (Chou & Chen, 2025) trains centrally. Here every phase runs over clients whose images stay with
them: the rounds of a run are divided into phases, each round averages the clients' networks, and wherever the
paper computes a code book the strategy asks all clients for per-class sums and counts of predicted codewords
and puts them together (eq. 3). Liars are limited twice: every reply is validated alone, and network and code
book can be combined by a robust rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from logging import INFO, WARNING
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from numpy.typing import NDArray

from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import (
    MalformedReplyError,
    MissingClassError,
    ParameterError,
    UndecodableCodeBookError,
)
from flower_coded.learning.code_book import (
    CodeBookRule,
    aggregate_code_book,
    check_contribution,
    num_clients_needed,
    robust_combination,
)
from flower_coded.strategies.averaging import FederatedAveraging, Stage, participants_of
from flower_coded.strategies.ensemble_states import weighted_average
from flower_coded.strategies.federation import Assignment
from flower_coded.strategies.rounds import RoundRecord, nothing_usable
from flower_coded.wire.array_reading import ArrayTemplate, template_of
from flower_coded.wire.contrastive_ecoc import (
    CODE_BOOK_KEY,
    CODE_BOOK_MESSAGE_TYPE,
    CODEWORDS_KEY,
    COUNT_NAME_KEY,
    COUNTS_KEY,
    FOLLOW_KEY,
    PHASE_KEY,
    SUMS_KEY,
)
from flower_coded.wire.keys import SEED_KEY, SERVER_ROUND_KEY, USER_KEY
from flower_coded.wire.model_state import (
    State,
    add_to_state,
    check_parameters,
    read_state,
    to_array_record,
    update_rows,
)
from flower_coded.wire.validation import Accepted, Rejected, Update, read_arrays, read_update

__all__ = ["CodeBookRound", "ContrastiveECOC", "Phase", "Variant", "load_code_book"]

Phase = Literal["pretrain", "fine-tune", "retrain"]
Variant = Literal["pf", "cfpc", "tfc", "fixed"]

Evaluator = Callable[[State, NDArray[np.float64] | None], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class CodeBookRound(RoundRecord):
    """One round of training.

    Parameters
    ----------
    phase : str
        What the clients did.
    code_book_refusal : str
        Why a new code book was not used; empty where none was asked for, or it was used.
    """

    phase: str = ""
    code_book_refusal: str = ""


@dataclass(frozen=True)
class _Report:
    """One client's class sums."""

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]


class ContrastiveECOC(FederatedAveraging):
    """Learn an output code and a network for it, across clients.

    Parameters
    ----------
    num_classes, num_bits : int
        Shape of the code book.
    num_users : int
        Nodes that take part, in the order of their partition ids.
    variant : {"pf", "cfpc", "tfc", "fixed"}
        The paper's three models; ``fixed`` fine-tunes against ``code_book`` (a Hadamard code, say).
    pretrain_rounds, fine_tune_rounds, retrain_rounds : int
        Rounds per phase; their sum is :attr:`num_rounds`, which ``start`` must be given. Only ``tfc``
        retrains.
    retrain_arrays : mapping of str to ndarray, optional
        New weights from which ``tfc`` retrains; required there.
    code_book : ndarray of shape (num_classes, num_bits), optional
        Required by ``fixed``, refused otherwise.
    model_rule, code_book_rule : {"mean", "median", "trimmed-mean", "multi-krum"}
        How networks, and class sums, of the clients are combined. ``mean`` is FedAvg's, and eq. 3.
    num_byzantine : int
        f, how many clients the robust rules are to withstand.
    evaluator : callable, optional
        ``evaluator(state, code_book)`` after every round; its numbers join the round's train metrics.
    max_claim_ratio : float
        A client's count of examples counts at most this many times the round's median, under ``mean``; the
        robust rules ask for no count.
    reply_timeout : float
        Seconds to wait for class sums.
    **options
        ``seed`` (draws who takes part in a round and the ``coded-seed`` of every message),
        ``connect_timeout`` (seconds to wait for the nodes before the first round), and everything Flower's
        FedAvg takes.

    Attributes
    ----------
    code_book : ndarray of shape (num_classes, num_bits) or None
        As it stands.
    state : dict of str to ndarray
        The network as it stands.
    history : list of CodeBookRound
        One per stage and round: every reply not used, networks and class sums, and why a new code book was
        not used (a class was missing, or two classes had one codeword): then the one before it stayed.

    Raises
    ------
    ParameterError
        If a parameter is out of its range or does not fit the variant, or two classes share a codeword of
        ``code_book``.
    MissingClassError
        From ``start``, if the first code book cannot be made because a class is reported by no client, or by
        too few for ``code_book_rule``: there is no code book before it to keep.
    UndecodableCodeBookError
        From ``start``, if the first code book gives two classes one codeword.

    Examples
    --------
    >>> strategy = ContrastiveECOC(10, 32, 12, pretrain_rounds=2, fine_tune_rounds=3)
    >>> strategy.num_rounds, [strategy.phase_of(server_round) for server_round in (1, 3)]
    (5, ['pretrain', 'fine-tune'])
    """

    def __init__(
        self,
        num_classes: int,
        num_bits: int,
        num_users: int,
        *,
        variant: Variant = "cfpc",
        pretrain_rounds: int = 5,
        fine_tune_rounds: int = 10,
        retrain_rounds: int = 0,
        retrain_arrays: Mapping[str, NDArray[Any]] | None = None,
        code_book: NDArray[np.float64] | None = None,
        model_rule: CodeBookRule = "mean",
        code_book_rule: CodeBookRule = "mean",
        num_byzantine: int = 0,
        evaluator: Evaluator | None = None,
        max_claim_ratio: float = 10.0,
        reply_timeout: float = 600.0,
        **options: Any,
    ) -> None:
        for name, value, least in (
            ("num_classes", num_classes, 2),
            ("num_bits", num_bits, 1),
            ("num_users", num_users, 1),
            ("pretrain_rounds", pretrain_rounds, 0),
            ("fine_tune_rounds", fine_tune_rounds, 1),
            ("retrain_rounds", retrain_rounds, 1 if variant == "tfc" else 0),
            ("num_byzantine", num_byzantine, 0),
        ):
            if value < least:
                raise ParameterError(name, f"must be at least {least}", value)
        for name, rule in (("model_rule", model_rule), ("code_book_rule", code_book_rule)):
            if num_clients_needed(rule, num_byzantine) > num_users:
                raise ParameterError(
                    "num_byzantine", f"must leave {name} {rule!r} enough of {num_users} users", num_byzantine
                )
        if not reply_timeout > 0:
            raise ParameterError("reply_timeout", "must be positive", reply_timeout)
        ratio = max_claim_ratio if model_rule == "mean" else None
        super().__init__(num_participants=num_users, max_claim_ratio=ratio, **options)
        _check_variant(variant, retrain_rounds, retrain_arrays, code_book, (num_classes, num_bits))
        self.num_classes, self.num_bits, self.num_users = num_classes, num_bits, num_users
        self.variant, self.num_byzantine = variant, num_byzantine
        self.model_rule, self.code_book_rule = model_rule, code_book_rule
        self.evaluator, self.reply_timeout = evaluator, reply_timeout
        rounds = zip(get_args(Phase), (pretrain_rounds, fine_tune_rounds, retrain_rounds), strict=True)
        self.schedule: tuple[Phase, ...] = tuple(phase for phase, count in rounds for _ in range(count))
        self.retrain_arrays = None if retrain_arrays is None else dict(retrain_arrays)
        self.code_book = None if code_book is None else np.asarray(code_book, dtype=np.float64)
        self.state: State = {}
        self._of_code_book: tuple[list[Rejected], str] = ([], "")  # since the last record

    @property
    def num_rounds(self) -> int:
        """Rounds of all phases together: what ``start`` is to be given."""
        return len(self.schedule)

    def phase_of(self, server_round: int) -> Phase:
        """Phase of a round, from 1; rounds beyond the schedule go on with its last phase."""
        return self.schedule[min(server_round, self.num_rounds) - 1]

    def summary(self) -> None:
        """Log variant, phases and rules, then FedAvg's own settings."""
        log(INFO, "\t├──> Contrastive output codes:")
        log(INFO, "\t│\t├──Variant %s, %d classes, %d bits", self.variant, self.num_classes, self.num_bits)
        log(INFO, "\t│\t├──Phases: %s", {phase: self.schedule.count(phase) for phase in get_args(Phase)})
        rules = (self.model_rule, self.code_book_rule, self.num_byzantine)
        log(INFO, "\t│\t└──Rules: %s (network), %s (code book), against %d liars", *rules)
        super().summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the sampled clients the network, the phase and, once there is one, the code book."""
        self.state = read_state(arrays)
        check_parameters(self.state, needs_floating=True)
        phase = self.phase_of(server_round)
        if server_round == 1 and self.variant != "fixed":
            self.code_book = None
        if phase == "retrain" and self.phase_of(server_round - 1) != "retrain":
            assert self.retrain_arrays is not None, "checked when the strategy was made"
            self.state = {name: np.array(each) for name, each in self.retrain_arrays.items()}
        if phase != "pretrain" and self.code_book is None:
            self.join(grid, server_round, num_participants=self.num_users)
            self._renew_code_book(server_round)
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Validate every reply, combine the networks, renew the code book where the variant says so."""
        if self.requests is None:
            return None, None
        template = template_of(self.state, same_kind=True)
        accepted, rejected = self.requests.validate(
            replies, lambda content, _: read_update(content, template, weighted_by_key=self.count_key)
        )
        needed, refusal = num_clients_needed(self.model_rule, self.num_byzantine), ""
        if not any(weight > 0 for weight in self.weights(accepted)):
            refusal = nothing_usable(rejected)
        elif len(accepted) < needed:
            refusal = f"{len(accepted)} usable replies, {needed} needed: {nothing_usable(rejected)}"
        else:
            self.state = self._combine(accepted)
        metrics = self.train_metrics(accepted)
        if self.phase_of(server_round) == "fine-tune" and self.variant in {"cfpc", "tfc"}:
            self._renew_code_book(server_round)
        if self.evaluator is not None:
            measured = self.evaluator(self.state, self.code_book)
            metrics.update({key: float(each) for key, each in measured.items()})
        (of_code_book, code_book_refusal), self._of_code_book = self._of_code_book, ([], "")
        record = CodeBookRound(
            server_round=server_round,
            accepted=participants_of(accepted),
            rejected=(*rejected, *of_code_book),
            refusal=refusal,
            phase=self.phase_of(server_round),
            code_book_refusal=code_book_refusal,
        )
        return to_array_record(self.state), self.conclude(record, metrics)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send network and code book, once there is one, for evaluation on the clients' own data."""
        if self.code_book is None or self.phase_of(server_round) == "pretrain":
            self.requests = None
            return []
        return super().configure_evaluate(server_round, arrays, config, grid)

    def contents(
        self,
        stage: Stage | Literal["code-book"],
        server_round: int,
        participants: Sequence[int],
        arrays: ArrayRecord,
        config: ConfigRecord,
    ) -> Mapping[int, RecordDict]:
        """Return the network, the phase and the code book, with each user's seed."""
        assert self.federation is not None, "configure_... joins it"
        del arrays  # retraining starts from others
        phase = self.phase_of(server_round)
        records: dict[str, ArrayRecord] = {self.arrayrecord_key: to_array_record(self.state)}
        if phase != "pretrain" and self.code_book is not None and stage != "code-book":
            records[CODE_BOOK_KEY] = ArrayRecord({CODEWORDS_KEY: Array(self.code_book)})
        contents = {}
        for user in participants:
            extra = {
                SERVER_ROUND_KEY: server_round,
                USER_KEY: user,
                SEED_KEY: self.federation.seed_of(server_round, user),
                PHASE_KEY: phase,
                FOLLOW_KEY: phase == "fine-tune" and self.variant in {"cfpc", "tfc"},
                COUNT_NAME_KEY: self.weighted_by_key,
            }
            contents[user] = RecordDict({**records, self.configrecord_key: ConfigRecord({**config, **extra})})
        return contents

    def save_code_book(self, path: str | Path) -> None:
        """Write the code book to one ``.npz`` file; :func:`load_code_book` reads it.

        Raises
        ------
        ParameterError
            If there is no code book yet.
        """
        if self.code_book is None:
            raise ParameterError(
                "code_book", "must have been made", None, hint="run at least one fine-tuning round"
            )
        np.savez(path, codewords=self.code_book)

    def _combine(self, accepted: Sequence[Accepted[Update]]) -> State:
        states = [each.content.state for each in accepted]
        if self.model_rule == "mean":
            pairs = [pair for pair in zip(states, self.weights(accepted), strict=True) if pair[1] > 0]
            return weighted_average(*zip(*pairs, strict=True))
        combine = robust_combination(self.model_rule, self.num_byzantine)
        # Differences, not weights: a rule's distances would drown in the weights' common part.
        return add_to_state(self.state, combine(update_rows(states, self.state).astype(np.float64)))

    def _renew_code_book(self, server_round: int) -> None:
        """Ask all clients for class sums; where they give no code book that decodes, the old one stays."""
        assert self.federation is not None, "configure_train joins it"
        everyone = list(self.federation.participants)
        contents = self.contents("code-book", server_round, everyone, ArrayRecord(), ConfigRecord())
        requests = self.federation.requests(server_round, CODE_BOOK_MESSAGE_TYPE, contents)
        replies = self.federation.ask(requests, timeout=self.reply_timeout)
        accepted, rejected = requests.validate(replies, self._read_report)
        reason = ""
        try:
            self.code_book = self._combine_reports([each.content for each in accepted])
        except (MissingClassError, UndecodableCodeBookError) as error:
            if self.code_book is None:
                for each in rejected:  # the run ends here, and with it the record they would stand in
                    log(WARNING, "round %d: rejected %s", server_round, each)
                raise
            reason = error.reason if isinstance(error, UndecodableCodeBookError) else str(error)
            log(WARNING, "round %d: the code book stays: %s", server_round, reason)
        self._of_code_book = (self._of_code_book[0] + rejected, reason)

    def _combine_reports(self, reports: list[_Report]) -> NDArray[np.float64]:
        shape = (len(reports), self.num_classes, self.num_bits)
        code_book = aggregate_code_book(
            np.array([each.sums for each in reports]).reshape(shape),
            np.array([each.counts for each in reports], dtype=np.int64).reshape(shape[:2]),
            rule=self.code_book_rule,
            num_byzantine=self.num_byzantine,
        )
        try:
            OutputCode(code_book)
        except ParameterError as refusal:
            raise UndecodableCodeBookError(str(refusal.value)) from refusal
        return code_book

    def _read_report(self, content: RecordDict, _: Assignment) -> _Report:
        template = {
            SUMS_KEY: ArrayTemplate((self.num_classes, self.num_bits), np.dtype(np.float64)),
            COUNTS_KEY: ArrayTemplate((self.num_classes,), np.dtype(np.int64)),
        }
        arrays = read_arrays(content, template)
        report = _Report(np.asarray(arrays[SUMS_KEY], np.float64), np.asarray(arrays[COUNTS_KEY], np.int64))
        fault = check_contribution(report.sums, report.counts)
        if fault is not None:
            raise MalformedReplyError("protocol", fault)
        return report


def load_code_book(path: str | Path) -> NDArray[np.float64]:
    """Read what :meth:`ContrastiveECOC.save_code_book` wrote: (num_classes, num_bits), float64."""
    with np.load(path, allow_pickle=False) as file:
        code_book: NDArray[np.float64] = file["codewords"]
    return code_book


def _check_variant(
    variant: Variant,
    retrain_rounds: int,
    retrain_arrays: Mapping[str, NDArray[Any]] | None,
    code_book: NDArray[np.float64] | None,
    shape: tuple[int, int],
) -> None:
    if variant not in get_args(Variant):
        raise ParameterError("variant", f"must be one of {list(get_args(Variant))}", variant)
    if variant != "tfc" and (retrain_rounds or retrain_arrays is not None):
        raise ParameterError(
            "retrain_rounds", f"must be 0 for variant {variant!r}", retrain_rounds, hint="use 'tfc'"
        )
    if variant == "tfc" and retrain_arrays is None:
        raise ParameterError(
            "retrain_arrays", "must be given for variant 'tfc'", None, hint="a new network's state"
        )
    if (variant == "fixed") != (code_book is not None):
        raise ParameterError("code_book", "must be given for variant 'fixed', and only there", code_book)
    if code_book is not None and np.shape(code_book) != shape:
        raise ParameterError("code_book", f"must have shape {shape}", np.shape(code_book))
    if code_book is not None:
        try:
            OutputCode(code_book)
        except ParameterError as refusal:
            hint = "take more bits" if np.isfinite(code_book).all() else ""
            raise ParameterError("code_book", refusal.requirement, refusal.value, hint=hint) from refusal
