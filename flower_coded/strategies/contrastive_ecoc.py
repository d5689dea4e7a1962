"""Contrastive output codes as a Flower strategy: pretrain, make a code book, fine-tune, perhaps retrain.

The paper (Chou & Chen, 2025) trains centrally. Here every phase runs over clients whose images stay with
them: the rounds of a run are divided into phases, each round averages the clients' networks, and wherever the
paper computes a code book the strategy asks all clients for per-class sums and counts of predicted codewords
and puts them together (eq. 3). Liars are limited twice: every reply is judged alone, and network and code
book can be combined by a robust rule. What it leaves out: clients that join after the first round take no
part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from logging import INFO, WARNING
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
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
from flower_coded.strategies.base import (
    Accepted,
    ArrayTemplate,
    Rejected,
    Roster,
    Update,
    assemble_roster,
    judge,
    judge_arrays,
    judge_metrics,
    log_rejections,
    read_array_record,
    rejection_metrics,
    template_of,
    the_only_record,
)
from flower_coded.strategies.base_metrics import aggregate_client_metrics, capped_weights
from flower_coded.strategies.collecting import collect_replies
from flower_coded.strategies.ensemble_states import weighted_average
from flower_coded.wire.contrastive_ecoc import (
    CODE_BOOK_KEY,
    CODE_BOOK_MESSAGE_TYPE,
    CODEWORDS_KEY,
    FOLLOW_KEY,
    PHASE_KEY,
)
from flower_coded.wire.keys import SEED_KEY, SERVER_ROUND_KEY, USER_KEY
from flower_coded.wire.model_state import State, to_array_record

__all__ = [
    "ContrastiveECOC",
    "Phase",
    "Variant",
    "load_code_book",
]

Phase = Literal["pretrain", "fine-tune", "retrain"]
Variant = Literal["pf", "cfpc", "tfc", "fixed"]

_TRAIN, _EVALUATE = 0, 1
Evaluator = Callable[[State, NDArray[np.float64] | None], Mapping[str, float]]


@dataclass(frozen=True)
class _Report:
    """One client's class sums."""

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]


class ContrastiveECOC(FedAvg):
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
    seed : int
        Draws who takes part in a round and the ``coded-seed`` of every message.
    max_claim_ratio : float
        A client's ``num-examples`` counts at most this many times the round's median claim.
    node_timeout, stage_timeout : float
        Seconds to wait for the nodes before the first round, and for class sums.
    **fedavg_options
        Everything Flower's FedAvg takes.

    Attributes
    ----------
    code_book : ndarray of shape (num_classes, num_bits) or None
        As it stands.
    state : dict of str to ndarray
        The network as it stands.
    rejections : list of (int, Rejected)
        Every reply not used, with its round.
    refused_code_books : list of (int, str)
        Every round whose new code book was not used, with the reason: a class was missing, or two classes
        had one codeword. The code book before it stayed.

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
        seed: int = 0,
        max_claim_ratio: float = 10.0,
        node_timeout: float = 120.0,
        stage_timeout: float = 600.0,
        **fedavg_options: Any,
    ) -> None:
        super().__init__(**fedavg_options)
        for name, value, least in (
            ("num_classes", num_classes, 2),
            ("num_bits", num_bits, 1),
            ("num_users", num_users, 1),
            ("pretrain_rounds", pretrain_rounds, 0),
            ("fine_tune_rounds", fine_tune_rounds, 1),
            ("retrain_rounds", retrain_rounds, 1 if variant == "tfc" else 0),
            ("num_byzantine", num_byzantine, 0),
            ("seed", seed, 0),
        ):
            if value < least:
                raise ParameterError(name, f"must be at least {least}", value)
        for name, rule in (("model_rule", model_rule), ("code_book_rule", code_book_rule)):
            if num_clients_needed(rule, num_byzantine) > num_users:
                raise ParameterError(
                    "num_byzantine", f"must leave {name} {rule!r} enough of {num_users} users", num_byzantine
                )
        if not max_claim_ratio >= 1.0:
            raise ParameterError("max_claim_ratio", "must be at least 1", max_claim_ratio)
        _check_variant(variant, retrain_rounds, retrain_arrays, code_book, (num_classes, num_bits))
        self.num_classes, self.num_bits, self.num_users = num_classes, num_bits, num_users
        self.variant, self.seed, self.num_byzantine = variant, seed, num_byzantine
        self.model_rule, self.code_book_rule = model_rule, code_book_rule
        self.evaluator, self.max_claim_ratio = evaluator, max_claim_ratio
        self.node_timeout, self.stage_timeout = node_timeout, stage_timeout
        rounds = zip(get_args(Phase), (pretrain_rounds, fine_tune_rounds, retrain_rounds), strict=True)
        self.schedule: tuple[Phase, ...] = tuple(phase for phase, count in rounds for _ in range(count))
        self.retrain_arrays = None if retrain_arrays is None else dict(retrain_arrays)
        self.code_book = None if code_book is None else np.asarray(code_book, dtype=np.float64)
        self.state: State = {}
        self.roster: Roster | None = None
        self.rejections: list[tuple[int, Rejected]] = []
        self.refused_code_books: list[tuple[int, str]] = []
        self._grid: Grid | None = None
        self._asked: list[int] = []

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
        log(
            INFO,
            "\t│\t└──Rules: %s (network), %s (code book), against %d liars",
            self.model_rule,
            self.code_book_rule,
            self.num_byzantine,
        )
        super().summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the sampled clients the network, the phase and, once there is one, the code book."""
        if self.roster is None or grid is not self._grid:
            self.roster, self._grid = assemble_roster(grid, self.num_users, self.node_timeout), grid
        self.state = {name: each.numpy() for name, each in arrays.items()}
        phase = self.phase_of(server_round)
        if phase == "retrain" and self.phase_of(server_round - 1) != "retrain":
            assert self.retrain_arrays is not None, "checked when the strategy was made"
            self.state = {name: np.array(each) for name, each in self.retrain_arrays.items()}
        if phase != "pretrain" and self.code_book is None:
            self._renew_code_book(server_round)
        self._asked = self._sample(self.fraction_train, self.min_train_nodes, (_TRAIN, server_round))
        return self._messages(MessageType.TRAIN, self._asked, server_round, config)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Judge every reply, combine the networks, renew the code book where the variant says so."""
        assert self.roster is not None, "configure_train assembles it"
        template = template_of(self.state, same_kind=True)

        def judge_reply(message: Message, user: int) -> Accepted[Update] | Rejected:
            return judge_arrays(message, template, user=user, weighted_by_key=self.weighted_by_key)

        accepted, rejected = collect_replies(replies, self.roster, self._asked, judge_reply)
        updates = [each.content for each in accepted]
        weights = capped_weights([each.weight for each in updates], self.max_claim_ratio)
        needed = num_clients_needed(self.model_rule, self.num_byzantine)
        if len(updates) >= needed:
            self.state = self._combine([each.state for each in updates], weights)
        else:
            log(
                WARNING,
                "round %d: %d usable replies, %d needed; the network stays",
                server_round,
                len(updates),
                needed,
            )
        metrics, _ = aggregate_client_metrics(
            updates, weights, self.weighted_by_key, self.train_metrics_aggr_fn
        )
        metrics.update(rejection_metrics(self._record(server_round, rejected)))
        metrics["accepted-replies"] = len(accepted)
        if self.phase_of(server_round) == "fine-tune" and self.variant in {"cfpc", "tfc"}:
            self._renew_code_book(server_round)
        if self.evaluator is not None:
            metrics.update(
                {key: float(each) for key, each in self.evaluator(self.state, self.code_book).items()}
            )
        return to_array_record(self.state), metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send network and code book, once there is one, for evaluation on the clients' own data."""
        self._asked = []
        if (
            self.fraction_evaluate > 0.0
            and self.code_book is not None
            and self.phase_of(server_round) != "pretrain"
        ):
            self._asked = self._sample(
                self.fraction_evaluate, self.min_evaluate_nodes, (_EVALUATE, server_round)
            )
        return self._messages(MessageType.EVALUATE, self._asked, server_round, config)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Judge every reply and average the metrics."""
        if not self._asked:
            return None
        assert self.roster is not None

        def judge_reply(message: Message, user: int) -> Accepted[Update] | Rejected:
            return judge_metrics(message, user=user, weighted_by_key=self.weighted_by_key)

        accepted, rejected = collect_replies(replies, self.roster, self._asked, judge_reply)
        updates = [each.content for each in accepted]
        weights = capped_weights([each.weight for each in updates], self.max_claim_ratio)
        metrics, _ = aggregate_client_metrics(
            updates, weights, self.weighted_by_key, self.evaluate_metrics_aggr_fn
        )
        metrics.update(rejection_metrics(self._record(server_round, rejected)))
        return metrics

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

    def _sample(self, fraction: float, least: int, stage_and_round: tuple[int, int]) -> list[int]:
        size = min(self.num_users, max(int(self.num_users * fraction), least))
        generator = np.random.default_rng([self.seed, *stage_and_round])
        return sorted(generator.choice(self.num_users, size, replace=False).tolist())

    def _messages(
        self, message_type: str, users: Iterable[int], server_round: int, config: Mapping[str, Any]
    ) -> list[Message]:
        assert self.roster is not None
        phase = self.phase_of(server_round)
        records: dict[str, ArrayRecord] = {self.arrayrecord_key: to_array_record(self.state)}
        if phase != "pretrain" and self.code_book is not None and message_type != CODE_BOOK_MESSAGE_TYPE:
            records[CODE_BOOK_KEY] = ArrayRecord({CODEWORDS_KEY: Array(self.code_book)})
        messages = []
        for user in users:
            seed = int(np.random.SeedSequence([self.seed, server_round, user]).generate_state(1)[0])
            extra = {
                SERVER_ROUND_KEY: server_round,
                USER_KEY: user,
                SEED_KEY: seed,
                PHASE_KEY: phase,
                FOLLOW_KEY: phase == "fine-tune" and self.variant in {"cfpc", "tfc"},
            }
            content = RecordDict({**records, self.configrecord_key: ConfigRecord({**config, **extra})})
            node_id = self.roster.node_of(user)
            messages.append(Message(content, node_id, message_type, group_id=str(server_round)))
        return messages

    def _combine(self, states: list[State], weights: list[float]) -> State:
        if self.model_rule == "mean":
            return weighted_average(states, weights)
        combine = robust_combination(self.model_rule, self.num_byzantine)
        vectors = np.stack([np.concatenate([each.ravel() for each in state.values()]) for state in states])
        combined, start, result = combine(vectors.astype(np.float64)), 0, {}
        for name, array in states[0].items():
            result[name] = combined[start : start + array.size].reshape(array.shape).astype(array.dtype)
            start += array.size
        return result

    def _renew_code_book(self, server_round: int) -> None:
        """Ask all clients for class sums; where they give no code book that decodes, the old one stays."""
        assert self.roster is not None
        assert self._grid is not None
        everyone = list(range(self.num_users))
        messages = self._messages(CODE_BOOK_MESSAGE_TYPE, everyone, server_round, {})
        replies = self._grid.send_and_receive(messages, timeout=self.stage_timeout)
        accepted, rejected = collect_replies(replies, self.roster, everyone, self._judge_report)
        self._record(server_round, rejected)
        try:
            self.code_book = self._combine_reports([each.content for each in accepted])
        except (MissingClassError, UndecodableCodeBookError) as error:
            if self.code_book is None:
                raise
            reason = error.reason if isinstance(error, UndecodableCodeBookError) else str(error)
            log(WARNING, "round %d: %s; the code book stays", server_round, reason)
            self.refused_code_books.append((server_round, reason))

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

    def _judge_report(self, message: Message, user: int) -> Accepted[_Report] | Rejected:
        template = {
            "sums": ArrayTemplate((self.num_classes, self.num_bits), np.dtype(np.float64)),
            "counts": ArrayTemplate((self.num_classes,), np.dtype(np.int64)),
        }

        def check(content: RecordDict) -> _Report:
            arrays = read_array_record(the_only_record(content.array_records, "ArrayRecord"), template)
            fault = check_contribution(arrays["sums"], arrays["counts"])
            if fault is not None:
                raise MalformedReplyError("protocol", fault)
            return _Report(arrays["sums"], arrays["counts"])

        return judge(message, check, user=user)

    def _record(self, server_round: int, rejected: list[Rejected]) -> list[Rejected]:
        log_rejections(server_round, rejected)
        self.rejections += [(server_round, each) for each in rejected]
        return rejected


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
