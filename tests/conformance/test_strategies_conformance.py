"""What every strategy of this package keeps, whatever it computes.

To add a strategy, add a row: how to make it, an honest ClientApp for it, how many nodes, the arrays a run
starts from, and what it has no business noticing (a wrong ``num-examples`` where examples do not count).
Every fault is applied to the answers of one node, in training and in evaluation.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, FedMedian, MultiKrum, Strategy

from flower_coded.aggregation import get_aggregation_rule
from flower_coded.clients.encoded_gd import encoded_gd_client_app
from flower_coded.clients.identity import register_identity
from flower_coded.clients.ramp_krum import ramp_krum_mod
from flower_coded.clients.robust_alcc import robust_alcc_client_app
from flower_coded.codes import AnalogLagrangeCode, RealErrorLocatingCode, backdoor_correction_code
from flower_coded.crypto.srs_cache import CACHE_VARIABLE
from flower_coded.errors import NodesMissingError, NoRoundSucceededError, ParameterError
from flower_coded.protocols.encoded_gradient import ConstantStep, LeastSquares
from flower_coded.strategies import (
    CodedSubsetAggregation,
    ContrastiveECOC,
    EncodedGradientDescent,
    RampSharedMultiKrum,
    RobustALCC,
    RuleAggregation,
    ValidatedReplies,
)
from flower_coded.testing import InProcessGrid
from flower_coded.wire.contrastive_ecoc import CODE_BOOK_MESSAGE_TYPE

CULPRIT = 1
ROUNDS = 2
CONNECT_TIMEOUT = 0.3


@dataclass(frozen=True)
class Row:
    """One strategy of the table.

    ``make_strategy`` takes FedAvg's options where ``has_options``, else it is called with none; only a
    strategy with options evaluates on its clients.
    """

    name: str
    make_strategy: Callable[..., Any]
    make_app: Callable[[], ClientApp]
    num_nodes: int
    arrays: dict[str, np.ndarray]
    tolerates: frozenset[str] = frozenset()
    has_options: bool = True
    tolerance: float = 0.0  # of two results that should be the same
    run_config: tuple[tuple[str, Any], ...] = ()
    refuses: frozenset[str] = frozenset()  # options that it decides itself
    is_costly: bool = False
    does_not_apply: frozenset[str] = frozenset()  # where bytes travel, in records with names

    def grid(self, **options: Any) -> InProcessGrid:
        """Its nodes."""
        grid_class = options.pop("grid_class", InProcessGrid)
        num_nodes = options.pop("num_nodes", self.num_nodes)
        return grid_class(self.make_app(), num_nodes, dict(self.run_config), **options)


def answer_with(message: Message, context: Context) -> Message:
    """Add a constant of its own to every entry; records are found by their kind, whatever their names."""
    step = 0.1 * (1 + int(context.node_config["partition-id"]))
    [sent] = [each for name, each in message.content.array_records.items() if name != "code-book"]
    arrays = ArrayRecord(
        {name: Array(np.asarray(each.numpy() + step, each.numpy().dtype)) for name, each in sent.items()}
    )
    metrics = MetricRecord({"num-examples": 10, "weight": 10, "loss": step})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


def drifting_app(*mods: Any) -> ClientApp:
    """A FedAvg-style client."""
    app = ClientApp(mods=list(mods))
    app.train()(answer_with)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        loss = 0.1 * (1 + int(context.node_config["partition-id"]))
        metrics = MetricRecord({"num-examples": 10, "weight": 10, "loss": loss})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return register_identity(app)


def code_book_app() -> ClientApp:
    """A client of contrastive output codes that learns nothing and knows every class."""
    app = drifting_app()

    @app.query(CODE_BOOK_MESSAGE_TYPE.split(".")[1])
    def report(message: Message, context: Context) -> Message:
        words = np.sign(np.random.default_rng(3).normal(size=(3, 8)))
        record = ArrayRecord({"sums": Array(0.9 * 20 * words), "counts": Array(np.full(3, 20))})
        return Message(RecordDict({"report": record}), reply_to=message)

    return app


ONE_MODEL = {"weight": np.ones((4, 3), np.float32), "bias": np.zeros(4, np.float32)}
CODE = backdoor_correction_code(2, 2, 6)
NO_COUNT = frozenset(
    {
        "negative num-examples",
        "NaN num-examples",
        "huge num-examples",
        "list of num-examples",
        "missing metrics",
        "two metric records",
    }
)
TIMEOUT = {"connect_timeout": CONNECT_TIMEOUT}


def everybody(options: dict[str, Any], num_nodes: int) -> dict[str, Any]:
    """Options of a strategy that takes whoever is there: all of these, unless the test says otherwise."""
    least = dict.fromkeys(("min_train_nodes", "min_evaluate_nodes", "min_available_nodes"), num_nodes)
    return least | options


def rule_row(name: str) -> Row:
    def make(**options: Any) -> RuleAggregation:
        rule = get_aggregation_rule(name, num_byzantine=1)
        return RuleAggregation(rule, **TIMEOUT, **everybody(options, 6))

    return Row(f"rule {name}", make, drifting_app, 6, ONE_MODEL, NO_COUNT)


def validated_row(name: str, make_inner: Callable[..., Strategy]) -> Row:
    def make(**options: Any) -> ValidatedReplies:
        return ValidatedReplies(make_inner(**everybody(options, 6)), **TIMEOUT)

    return Row(f"validated {name}", make, drifting_app, 6, ONE_MODEL)


def ecoc_row(rule: Any) -> Row:
    def make(**options: Any) -> ContrastiveECOC:
        plan = {"pretrain_rounds": 0, "fine_tune_rounds": ROUNDS, "model_rule": rule, "num_byzantine": 1}
        return ContrastiveECOC(3, 8, 6, variant="pf", **plan, **TIMEOUT, **options)

    tolerates = NO_COUNT if rule != "mean" else frozenset[str]()
    return Row(f"contrastive ECOC, {rule}", make, code_book_app, 6, ONE_MODEL, tolerates)


def encoded_gd(**options: Any) -> EncodedGradientDescent:
    code = RealErrorLocatingCode(7, 2, 1)
    rule = ConstantStep(0.1)
    data = np.arange(12.0).reshape(6, 2) / 12, np.arange(6.0) / 6
    return EncodedGradientDescent(code, *data, LeastSquares(), rule, reply_timeout=2.0, **TIMEOUT, **options)


def robust_alcc(**options: Any) -> RobustALCC:
    code = AnalogLagrangeCode(num_workers=9, num_blocks=1, num_colluders=2, noise_scale=100.0)
    table = np.arange(6.0).reshape(3, 2)
    return RobustALCC(code, table, "gram", num_stragglers=1, reply_timeout=2.0, **TIMEOUT, **options)


def ramp_krum(**options: Any) -> RampSharedMultiKrum:
    sizes = {"num_colluders": 1, "num_parts": 2, "num_selected": 2, "num_bits": 12}
    plain = {"is_blinded": False, "hides_products": False}
    return RampSharedMultiKrum(9, 1, **sizes, **plain, **TIMEOUT, **options)


def initial(strategy: Any) -> dict[str, np.ndarray]:
    return {name: each.numpy() for name, each in strategy.initial_arrays().items()}


ROWS = [
    Row("coded subset", lambda **o: CodedSubsetAggregation(CODE, **TIMEOUT, **o), drifting_app, 6, ONE_MODEL),
    Row(
        "coded subset, stacked",
        lambda **o: CodedSubsetAggregation(CODE, stacked=True, **TIMEOUT, **o),
        drifting_app,
        6,
        ONE_MODEL,
    ),
    *(rule_row(name) for name in ("mean", "median", "krum", "bucketing+median")),
    validated_row("FedAvg", FedAvg),
    validated_row("FedMedian", FedMedian),
    validated_row("MultiKrum", lambda **o: MultiKrum(num_malicious_nodes=1, num_nodes_to_select=3, **o)),
    *(ecoc_row(rule) for rule in ("mean", "median")),
    Row(
        "ramp-shared multi-Krum",
        ramp_krum,
        lambda: drifting_app(ramp_krum_mod),
        9,
        ONE_MODEL,
        NO_COUNT,
        run_config=(("ramp-krum-protections", False),),
        refuses=frozenset({"fraction_train"}),
        does_not_apply=frozenset({"NaN", "infinity", "renamed records"}),
        is_costly=True,
    ),
    Row(
        "encoded gradient descent",
        encoded_gd,
        encoded_gd_client_app,
        7,
        initial(encoded_gd()),
        NO_COUNT,
        has_options=False,
        tolerance=1e-9,
    ),
    Row(
        "robust ALCC",
        robust_alcc,
        robust_alcc_client_app,
        9,
        initial(robust_alcc()),
        NO_COUNT,
        has_options=False,
        tolerance=1e-2,
    ),
]


def on_arrays(change: Callable[[dict[str, Array]], dict[str, Array]]) -> Callable[[Message], Message]:
    """Apply ``change`` to the first ArrayRecord of a reply."""

    def tamper(reply: Message) -> Message:
        name, arrays = next(iter(reply.content.array_records.items()))
        reply.content[name] = ArrayRecord(change(dict(arrays)))
        return reply

    return tamper


def on_first(change: Callable[[np.ndarray], np.ndarray | Array]) -> Callable[[Message], Message]:
    """Apply ``change`` to the first array of the first ArrayRecord."""

    def change_record(arrays: dict[str, Array]) -> dict[str, Array]:
        name = next(iter(arrays))
        changed = change(arrays[name].numpy().copy())
        return arrays | {name: changed if isinstance(changed, Array) else Array(changed)}

    return on_arrays(change_record)


def on_metrics(**changes: Any) -> Callable[[Message], Message]:
    """Set metrics, or with None remove them."""

    def tamper(reply: Message) -> Message:
        for name, metrics in list(reply.content.metric_records.items()):
            changed = dict(metrics) | {key.replace("_", "-"): value for key, value in changes.items()}
            reply.content[name] = MetricRecord({k: v for k, v in changed.items() if v is not None})
        return reply

    return tamper


def without_metrics(reply: Message) -> Message:
    for name in list(reply.content.metric_records):
        del reply.content[name]
    return reply


def two_metrics(reply: Message) -> Message:
    reply.content["more"] = MetricRecord({"num-examples": 3})
    reply.content["still more"] = MetricRecord({"num-examples": 3})
    return reply


def emptied(reply: Message) -> Message:
    for name in list(reply.content):
        del reply.content[name]
    return reply


Fault = Callable[[Message], Message | list[Message] | Error | None]

ARRAY_FAULTS: dict[str, Fault] = {
    "missing key": on_arrays(lambda arrays: dict(list(arrays.items())[1:])),
    "extra key": on_arrays(lambda arrays: arrays | {"surplus": Array(np.zeros(1))}),
    "renamed key": on_arrays(lambda arrays: {f"{name}-": each for name, each in arrays.items()}),
    "wrong shape": on_first(lambda values: np.concatenate([values, values])),
    "wrong dtype": on_first(lambda values: values.astype(np.complex64)),
    "text": on_first(lambda values: np.full(values.shape, "x")),
    "NaN": on_first(lambda values: np.full_like(values, np.nan)),
    "infinity": on_first(lambda values: np.full_like(values, -np.inf)),
    "garbage bytes": on_first(lambda values: Array("float32", values.shape, "numpy.ndarray", b"garbage")),
    "truncated bytes": on_first(
        lambda values: Array(str(values.dtype), values.shape, "numpy.ndarray", Array(values).data[:-1])
    ),
    "unknown stype": on_first(lambda values: Array("float32", values.shape, "pickle", b"cos\nsystem")),
}
FAULTS: dict[str, Fault] = {
    "negative num-examples": on_metrics(num_examples=-3),
    "NaN num-examples": on_metrics(num_examples=float("nan")),
    "huge num-examples": on_metrics(num_examples=2**62),
    "list of num-examples": on_metrics(num_examples=[1, 2, 3]),
    "missing metrics": without_metrics,
    "two metric records": two_metrics,
    "nothing": emptied,
    "error reply": lambda reply: Error(1000, "the battery is empty"),
    "silence": lambda reply: None,
}
EVALUATION_FAULTS: dict[str, Fault] = FAULTS | {
    "NaN loss": on_metrics(loss=float("nan")),
    "a list for a loss": on_metrics(loss=[1.0]),
    "no loss": on_metrics(loss=None),
}
# In an evaluation the metrics are the reply: there they count where examples do not.
COUNTS_IN_EVALUATION = frozenset({"missing metrics", "two metric records"})


def of_culprit(stage: str, fault: Fault) -> Callable[[int, Message], Any]:
    """Apply a fault to the culprit's answers in a stage (not to its confirmation of a share)."""

    def tamper(partition_id: int, reply: Message) -> Any:
        is_answer = reply.metadata.message_type.split(".")[0] == stage
        if stage == "train":
            is_answer = is_answer and reply.has_content() and bool(reply.content.array_records)
        return fault(reply) if partition_id == CULPRIT and is_answer else reply

    return tamper


def start(strategy: Any, grid: InProcessGrid, arrays: dict[str, np.ndarray]) -> Any:
    record = ArrayRecord({name: Array(each) for name, each in arrays.items()})
    return strategy.start(grid, record, num_rounds=ROUNDS, timeout=30)


def run(row: Row, tamper: Any = None, *, evaluates: bool = False, **options: Any) -> Any:
    own = {"fraction_evaluate": float(evaluates)} if row.has_options else {}
    strategy = row.make_strategy(**own)
    return strategy, start(strategy, row.grid(tamper=tamper, **options), row.arrays)


def state_of(result: Any) -> dict[str, np.ndarray]:
    return {name: each.numpy() for name, each in result.arrays.items()}


def assert_same(row: Row, first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    for name, each in first.items():
        if row.tolerance:
            np.testing.assert_allclose(second[name], each, rtol=row.tolerance, atol=row.tolerance)
        else:
            np.testing.assert_array_equal(second[name], each)


FEDAVG_OPTIONS: dict[str, Any] = {
    "fraction_train": 0.5,
    "fraction_evaluate": 0.5,
    "min_train_nodes": 3,
    "min_evaluate_nodes": 3,
    "min_available_nodes": 3,
    "weighted_by_key": "weight",
    "arrayrecord_key": "model",
    "configrecord_key": "settings",
    "train_metrics_aggr_fn": lambda contents, key: MetricRecord({"seen": len(contents)}),
    "evaluate_metrics_aggr_fn": lambda contents, key: MetricRecord({"seen": len(contents)}),
}


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


WITH_OPTIONS = [row for row in ROWS if row.has_options]
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
each_row_with_options = pytest.mark.parametrize("row", WITH_OPTIONS, ids=lambda row: row.name)


def with_costly_rows_apart(rows: list[Row]) -> Any:
    """Rows for the tests that run once per fault or option; those of a costly strategy are experiments."""
    marks = {True: [pytest.mark.experiment], False: []}
    listed = [pytest.param(row, id=row.name, marks=marks[row.is_costly]) for row in rows]
    return pytest.mark.parametrize("row", listed)


@each_row
def test_start_takes_what_flowers_takes(row: Row) -> None:
    own, flowers = (inspect.signature(each.start) for each in (type(row.make_strategy()), Strategy))
    assert list(own.parameters) == list(flowers.parameters)
    assert [each.default for each in own.parameters.values()] == [
        each.default for each in flowers.parameters.values()
    ]


def test_the_options_of_fedavg_are_all_in_the_table() -> None:
    assert list(FEDAVG_OPTIONS) == list(inspect.signature(FedAvg.__init__).parameters)[1:]


@with_costly_rows_apart(WITH_OPTIONS)
@pytest.mark.parametrize("option", FEDAVG_OPTIONS)
def test_every_option_of_fedavg_works(row: Row, option: str) -> None:
    """Its clients find records by their kind; nobody is turned away, and the option does what it says."""
    if option in row.refuses:
        with pytest.raises(ParameterError, match=option):
            row.make_strategy(**{option: FEDAVG_OPTIONS[option]})
        return
    strategy = row.make_strategy(**{option: FEDAVG_OPTIONS[option]})
    result = start(strategy, row.grid(), row.arrays)
    assert all(each.rejected == () and not each.is_unchanged for each in strategy.history)
    stage = option.split("_", maxsplit=1)[0]
    if option.endswith("_aggr_fn"):
        all_metrics = (
            result.train_metrics_clientapp if stage == "train" else result.evaluate_metrics_clientapp
        )
        last = list(all_metrics.values())[-1]
        assert last["seen"] == (row.num_nodes if row.is_costly else last["accepted-replies"])
    if option == "weighted_by_key":
        assert all("weight" not in each for each in result.evaluate_metrics_clientapp.values())


@with_costly_rows_apart(WITH_OPTIONS)
def test_messages_have_the_names_and_the_round_that_fedavgs_have(row: Row) -> None:
    seen: set[tuple[str, int]] = set()

    def note(partition_id: int, message: Message) -> bool:
        if message.metadata.message_type in {"train", "evaluate"}:
            if "settings" not in message.content:  # a later phase of a system's own
                return False
            assert "model" in message.content.array_records
            assert message.content["settings"]["lr"] == 0.5
            seen.add((message.metadata.message_type, message.content["settings"]["server-round"]))
        return False

    strategy = row.make_strategy(arrayrecord_key="model", configrecord_key="settings")
    record = ArrayRecord({name: Array(each) for name, each in row.arrays.items()})
    grid = row.grid(drop=note)
    own = ConfigRecord({"lr": 0.5})
    strategy.start(grid, record, num_rounds=ROUNDS, timeout=30, train_config=own, evaluate_config=own)
    assert seen == {(stage, number) for stage in ("train", "evaluate") for number in (1, 2)}


@each_row
def test_honest_nodes_are_never_rejected(row: Row) -> None:
    strategy, result = run(row, evaluates=True)
    assert len(result.train_metrics_clientapp) == ROUNDS
    metrics = [*result.train_metrics_clientapp.values(), *result.evaluate_metrics_clientapp.values()]
    for each in metrics:
        assert (each["rejected-replies"], each["unchanged"]) == (0, 0)
        assert each["accepted-replies"] > 0
        assert "rejected-participants" not in each
    assert all(not each.is_unchanged and each.accepted for each in strategy.history)
    assert bool(result.evaluate_metrics_clientapp) == row.has_options
    assert any(not np.array_equal(state_of(result)[k], row.arrays[k]) for k in row.arrays)


def check_named(row: Row, stage: str, tolerated: bool, strategy: Any, result: Any, lines: list[str]) -> None:
    """Compare log, metrics and history: the culprit stands in all three, or in none."""
    all_metrics = result.train_metrics_clientapp if stage == "train" else result.evaluate_metrics_clientapp
    expected = set() if tolerated else {CULPRIT}
    assert all_metrics
    for metrics in all_metrics.values():
        assert set(metrics.get("rejected-participants", [])) == expected
        assert metrics["unchanged"] == 0
    for record in strategy.history:
        named = {each.participant for each in record.rejected}
        assert named == (expected if record.stage == stage else set())
        assert all(each.reason and each.code for each in record.rejected)
    said = [line for line in lines if f"rejected participant {CULPRIT} " in line]
    assert bool(said) == bool(expected)
    assert not [line for line in lines if "rejected" in line and line not in said]


def run_and_listen(
    row: Row, tamper: Any, caplog: pytest.LogCaptureFixture, **options: Any
) -> tuple[Any, Any, list[str]]:
    logger = logging.getLogger("flwr")
    logger.addHandler(caplog.handler)
    try:
        strategy, result = run(row, tamper, **options)
    finally:
        logger.removeHandler(caplog.handler)
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    return strategy, result, lines


@with_costly_rows_apart(ROWS)
@pytest.mark.parametrize("fault", [*ARRAY_FAULTS, *FAULTS])
def test_a_malformed_reply_costs_its_sender_the_place_and_never_the_run(
    row: Row, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    if fault in row.does_not_apply:
        pytest.skip("its replies hold bytes")
    tamper = of_culprit("train", (ARRAY_FAULTS | FAULTS)[fault])
    strategy, result, lines = run_and_listen(row, tamper, caplog, wire=False)
    assert len(result.train_metrics_clientapp) == ROUNDS
    assert all(np.isfinite(each).all() for each in state_of(result).values())
    check_named(row, "train", fault in row.tolerates, strategy, result, lines)


@with_costly_rows_apart(WITH_OPTIONS)
@pytest.mark.parametrize("fault", EVALUATION_FAULTS)
def test_a_malformed_evaluation_costs_its_sender_the_place_and_never_the_run(
    row: Row, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    tamper = of_culprit("evaluate", EVALUATION_FAULTS[fault])
    strategy, result, lines = run_and_listen(row, tamper, caplog, evaluates=True, wire=False)
    tolerated = fault in row.tolerates - COUNTS_IN_EVALUATION and not row.is_costly
    check_named(row, "evaluate", tolerated, strategy, result, lines)
    assert all(np.isfinite(each["loss"]) for each in result.evaluate_metrics_clientapp.values())


@with_costly_rows_apart(WITH_OPTIONS)
@pytest.mark.parametrize("fault", ["NaN loss", "a list for a loss", "no loss", "no examples"])
def test_odd_metrics_of_training_never_cost_the_place(row: Row, fault: str) -> None:
    faults = EVALUATION_FAULTS | {"no examples": on_metrics(num_examples=0)}
    strategy, result = run(row, of_culprit("train", faults[fault]))
    assert all(each.rejected == () and not each.is_unchanged for each in strategy.history)
    if not row.is_costly:  # there the accepted are those whom a rule selected
        assert all(CULPRIT in each.accepted for each in strategy.history)
    assert all(np.isfinite(each["loss"]) for each in result.train_metrics_clientapp.values())


@each_row
def test_a_reply_is_used_whatever_its_records_are_called(row: Row) -> None:
    if "renamed records" in row.does_not_apply:
        pytest.skip("the messages of its protocol name their records")

    def renamed(partition_id: int, reply: Message) -> Message:
        if partition_id == CULPRIT and not reply.metadata.message_type.startswith("query"):
            records = [each for each in reply.content.values() if not isinstance(each, ConfigRecord)]
            reply.content = RecordDict({f"record {i}": each for i, each in enumerate(records)})
        return reply

    plain, other = run(row, evaluates=True), run(row, renamed, evaluates=True)
    assert_same(row, state_of(plain[1]), state_of(other[1]))
    assert all(each.rejected == () for each in other[0].history)


TYPES = {
    "weight": np.full((4, 3), 0.5, np.float32),
    "half": np.full(3, 0.5, np.float16),
    "double": np.ones(3),
    "num_batches_tracked": np.array(5),
    "mask": np.array([True, False]),
    "codes": np.array([250, 3], np.uint8),
    "temperature": np.array(0.5, np.float32),
}


@each_row_with_options
def test_every_array_keeps_its_type_and_the_floating_ones_move(row: Row) -> None:
    def check(partition_id: int, message: Message) -> bool:
        if message.metadata.message_type in {"train", "evaluate"}:
            sent = message.content.array_records.get("arrays", dict[str, Any].fromkeys(()))
            if not sent:  # a later phase of a system's own
                return False
            assert {name: each.dtype for name, each in sent.items()} == dtypes
        return False

    dtypes = {name: str(each.dtype) for name, each in TYPES.items()}
    strategy = row.make_strategy()
    result = start(strategy, row.grid(drop=check), TYPES)
    assert {name: each.dtype for name, each in result.arrays.items()} == dtypes
    assert all(each.rejected == () and not each.is_unchanged for each in strategy.history)
    stack = result.arrays["weight"].numpy().ndim - 2
    for name, each in state_of(result).items():
        assert each.shape[stack:] == TYPES[name].shape
        if each.dtype.kind == "f":
            assert not np.array_equal(each, np.broadcast_to(TYPES[name], each.shape))


@each_row_with_options
@pytest.mark.parametrize("arrays", [{"w": np.zeros(2, np.complex64)}, {"w": np.full(2, "x")}])
def test_what_is_no_real_number_is_refused_by_name(row: Row, arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(ParameterError, match="must hold real numbers; received 'w' of type"):
        start(row.make_strategy(), row.grid(), arrays)


@with_costly_rows_apart(ROWS)
def test_a_malformed_reply_counts_as_much_as_none(row: Row) -> None:
    silent = run(row, of_culprit("train", FAULTS["silence"]))[1]
    broken = run(row, of_culprit("train", ARRAY_FAULTS["wrong shape"]))[1]
    assert_same(row, state_of(silent), state_of(broken))


@with_costly_rows_apart(ROWS)
def test_neither_the_order_of_replies_nor_node_ids_matter(row: Row) -> None:
    """Rows of a rule, samples and seeds go by partition id: the second grid draws other node ids."""
    states = [state_of(run(row, order=order, seed=seed)[1]) for order, seed in (("sent", 0), ("reversed", 1))]
    assert_same(row, *states)


@each_row
def test_a_second_start_on_another_grid_starts_afresh(row: Row) -> None:
    strategy, first = run(row)
    again = start(strategy, row.grid(seed=5), row.arrays)
    assert_same(row, state_of(first), state_of(again))
    assert [each.server_round for each in strategy.history if each.stage == "train"] == [1, 2]
    assert all(each.rejected == () for each in strategy.history)


@with_costly_rows_apart(ROWS)
def test_a_second_start_on_the_same_grid_starts_afresh(row: Row) -> None:
    strategy = row.make_strategy()
    grid = row.grid()
    first, again = (state_of(start(strategy, grid, row.arrays)) for _ in range(2))
    assert_same(row, first, again)
    assert [each.server_round for each in strategy.history if each.stage == "train"] == [1, 2]


@each_row
def test_no_run_waits_without_end(row: Row) -> None:
    record = ArrayRecord({name: Array(each) for name, each in row.arrays.items()})
    with pytest.raises(ParameterError, match="timeout must be a number of seconds"):
        row.make_strategy().start(row.grid(), record, timeout=None)


@each_row
def test_too_few_nodes_are_an_error_not_a_hang(row: Row) -> None:
    with pytest.raises(NodesMissingError):
        run(row, num_nodes=row.num_nodes - 1)


class Leaving(InProcessGrid):
    """The culprit is gone for good after its first answer."""

    is_gone = False

    def get_node_ids(self) -> Iterable[int]:
        return [each for index, each in enumerate(self.node_ids) if not (self.is_gone and index == CULPRIT)]


@each_row
def test_a_node_that_leaves_after_its_first_answer_ends_nothing(row: Row) -> None:
    def leave(partition_id: int, reply: Message) -> Message:
        is_answer = reply.metadata.message_type.startswith("train") and bool(reply.content.array_records)
        grid.is_gone = grid.is_gone or (partition_id == CULPRIT and is_answer)
        return reply

    strategy = row.make_strategy(**({"fraction_evaluate": 1.0} if row.has_options else {}))
    grid = row.grid(tamper=leave, grid_class=Leaving)
    started = time.monotonic()
    result = start(strategy, grid, row.arrays)
    assert time.monotonic() - started < 20
    assert len(result.train_metrics_clientapp) == ROUNDS
    evaluations = [each for each in strategy.history if each.stage == "evaluate"]
    assert len(evaluations) == (ROUNDS if row.has_options else 0)
    for each in evaluations:  # the others' result, or why there is none
        assert CULPRIT not in each.accepted
        assert each.accepted or each.refusal


@each_row
def test_a_run_in_which_nobody_answers_ends_with_the_reasons(row: Row) -> None:
    def failing(partition_id: int, reply: Message) -> Any:
        is_answer = reply.metadata.message_type.startswith("train") and bool(reply.content.array_records)
        return Error(2, "Traceback ...\nOSError: no such file: data.csv") if is_answer else reply

    with pytest.raises(NoRoundSucceededError, match=r"OSError: no such file: data\.csv") as caught:
        run(row, failing)
    assert caught.value.num_rounds == ROUNDS
    assert len(str(caught.value)) < 3000
