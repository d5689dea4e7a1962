"""One row per attack, the same checks for all: a new attack is a class and a row here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch.utils.data import DataLoader, TensorDataset

from flower_coded.attacks import (
    ATTACKS,
    AdversarialTrigger,
    ALittleIsEnough,
    AttackRow,
    Backdoor,
    BlendedTrigger,
    Colluders,
    DataAttack,
    DataTask,
    DistributedTrigger,
    EdgeCase,
    GaussianNoise,
    InnerProductManipulation,
    KrumAttack,
    LabelFlip,
    Memory,
    Mimic,
    MinMax,
    MinSum,
    ModelReplacement,
    Neurotoxin,
    NormProjection,
    NotANumber,
    OptimizedInnerProduct,
    OptimizedLittleIsEnough,
    PixelTrigger,
    SignFlip,
    StatefulAttack,
    TailoredPerturbation,
    ThreeDFed,
    Trigger,
    TrimmedMeanAttack,
    UpdateAttack,
    draw_backdoor,
)
from flower_coded.attacks.options import Option
from flower_coded.clients import attack_mod, separate_models_mod
from flower_coded.errors import ParameterError
from flower_coded.testing import InProcessGrid

IMAGE_SHAPE = (3, 9, 9)

UPDATE_ROWS: dict[str, UpdateAttack] = {
    "sign-flip": SignFlip(2.0),
    "sign-flip of the mean": SignFlip(2.0, of_mean=True),
    "gaussian": GaussianNoise(3.0),
    "inner-product": InnerProductManipulation(0.5),
    "little-is-enough": ALittleIsEnough(20, 8),
    "nan": NotANumber(),
    "min-max": MinMax(),
    "min-max by sign": MinMax("sign"),
    "min-sum": MinSum("unit"),
    "optimized-little-is-enough": OptimizedLittleIsEnough(7, 2, "krum"),
    "optimized-inner-product": OptimizedInnerProduct(7, 2, "trimmed-mean"),
    "optimized-inner-product, few known": OptimizedInnerProduct(12, 2, "bucketing+median"),
    "tailored-perturbation": TailoredPerturbation(5, 1, "multi-krum", attackers=(2,)),
    "tailored-perturbation of a mixing rule": TailoredPerturbation(7, 2, "median", perturbation="sign"),
    "krum-attack": KrumAttack(7, 2),
    "trimmed-mean-attack": TrimmedMeanAttack(),
    "mimic": Mimic(),
    "model-replacement": ModelReplacement(5.0),
    "model-replacement within a norm": ModelReplacement(5.0, norm_bound=2.0),
    "neurotoxin": Neurotoxin(0.3),
    "edge-case": NormProjection(0.5),
    "3dfed": ThreeDFed(3, 1),
    "3dfed of one": ThreeDFed(),
}
REMEMBERING = {name: each for name, each in UPDATE_ROWS.items() if isinstance(each, StatefulAttack)}
DATA_ROWS: dict[str, DataAttack] = {
    "pixel-trigger": Backdoor(PixelTrigger.draw(IMAGE_SHAPE, np.random.default_rng(0)), 3, rate=0.2),
    "blended-trigger": Backdoor(BlendedTrigger.draw(IMAGE_SHAPE, np.random.default_rng(0)), 3, rate=0.2),
    "distributed-trigger": Backdoor(
        trigger := DistributedTrigger.draw(IMAGE_SHAPE, np.random.default_rng(0)),
        3,
        rate=0.2,
        part=trigger.of_colluder(1, 2),
    ),
    "a3fl": Backdoor(AdversarialTrigger.draw(IMAGE_SHAPE, np.random.default_rng(0)), 3, rate=0.2),
    "edge-case": EdgeCase(3, rate=0.2),
    "label-flip": LabelFlip(10),
    "label-flip of one class": LabelFlip(10, source=1, target=2),
    "label-flip at random": LabelFlip(10, random_labels=True),
}

update_attacks = pytest.mark.parametrize("attack", UPDATE_ROWS.values(), ids=UPDATE_ROWS.keys())
data_attacks = pytest.mark.parametrize("attack", DATA_ROWS.values(), ids=DATA_ROWS.keys())


def updates(dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(7).normal(size=(5, 11)).astype(dtype)


def samples() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    return generator.random((30, *IMAGE_SHAPE), dtype=np.float32), generator.integers(0, 10, 30)


def test_every_attack_has_a_row() -> None:
    kinds = {part.kind for row in ATTACKS.values() for part in (row.data, row.updates) if part is not None}
    triggers = {type(attack.trigger) for attack in DATA_ROWS.values() if isinstance(attack, Backdoor)}
    made = {type(attack) for attack in (*UPDATE_ROWS.values(), *DATA_ROWS.values())}
    assert kinds == (made - {Backdoor}) | triggers


@pytest.mark.parametrize("row", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_row_makes_its_attacks_and_its_options_reach_them_within_their_bounds(row: AttackRow) -> None:
    for part, circumstances in (
        (row.data, DataTask(IMAGE_SHAPE, 10, seed=1)),
        (row.updates, Colluders(20, 8)),
        (row.replies, None),
    ):
        if part is None:
            continue
        plain = part.made(circumstances, {})
        for option in part.options:
            value = option.choices[-1] if option.choices else option.read(_within(option))
            assert _dug_out(part.made(circumstances, {option.key: value}), option.parameter) == value
            # The default of the key says the same as the default of the class.
            assert repr(part.made(circumstances, {option.key: option.unset})) == repr(plain)
            for outside in [option.above, option.below] if option.kind is not str else ["nonsense"]:
                if outside != option.unset and (isinstance(outside, str) or np.isfinite(outside)):
                    with pytest.raises(ParameterError, match=option.key):
                        option.read(outside)


def _within(option: Option) -> float | int:
    least, most = option.above, min(option.most, option.below, option.above + 4)
    return int(least + 2) if option.kind is int else (least + most) / 2


def _dug_out(attack: Any, parameter: str) -> Any:
    holder = attack if hasattr(attack, parameter) else attack.trigger
    return getattr(holder, parameter)


@update_attacks
def test_update_attacks_modify_no_input(attack: UpdateAttack) -> None:
    known = updates()
    own = known[2].copy()
    attack.craft(own, known, np.random.default_rng(0))
    np.testing.assert_array_equal(known, updates())
    np.testing.assert_array_equal(own, updates()[2])


@update_attacks
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_update_attacks_keep_shape_and_type(attack: UpdateAttack, dtype: str) -> None:
    known = updates(dtype)
    crafted = attack.craft(known[0], known, np.random.default_rng(0))
    assert crafted.shape == known[0].shape
    assert crafted.dtype == known.dtype
    assert not np.shares_memory(crafted, known)


@update_attacks
def test_update_attacks_give_the_same_for_the_same_seed(attack: UpdateAttack) -> None:
    known = updates()
    first, again = (attack.craft(known[0], known, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@update_attacks
def test_update_attacks_change_the_update(attack: UpdateAttack) -> None:
    known = updates()
    assert not np.array_equal(attack.craft(known[0], known, np.random.default_rng(0)), known[0])


@update_attacks
def test_the_representation_of_an_update_attack_rebuilds_it(attack: UpdateAttack) -> None:
    names = {row.updates.kind.__name__: row.updates.kind for row in ATTACKS.values() if row.updates}
    assert eval(repr(attack), names) == attack


@update_attacks
@pytest.mark.parametrize(
    ("own_shape", "known_shape"), [((11,), (5, 10)), ((11,), (0, 11)), ((11,), (11,)), ((1, 11), (5, 11))]
)
def test_update_attacks_refuse_sizes_that_do_not_fit(
    attack: UpdateAttack, own_shape: tuple[int, ...], known_shape: tuple[int, ...]
) -> None:
    with pytest.raises(ParameterError):
        attack.craft(np.ones(own_shape), np.ones(known_shape), np.random.default_rng(0))


@update_attacks
def test_update_attacks_refuse_integers(attack: UpdateAttack) -> None:
    with pytest.raises(ParameterError, match="floating"):
        attack.craft(np.ones(3, int), np.ones((2, 3), int), np.random.default_rng(0))


@pytest.mark.parametrize("attack", REMEMBERING.values(), ids=REMEMBERING.keys())
def test_attacks_that_remember_are_reproducible_over_rounds(attack: StatefulAttack) -> None:
    def run() -> tuple[list[np.ndarray], Memory]:
        memory: Memory = {}
        sent = []
        for server_round in range(4):
            known = updates() + server_round
            given = {key: value.copy() for key, value in memory.items()}
            model = np.full(11, float(server_round**2))
            crafted, new_memory = attack.craft_with_memory(
                known[1], known, model, memory, np.random.default_rng([1, server_round])
            )
            assert all(np.array_equal(memory[key], given[key]) for key in given)
            assert all(value.dtype == np.float64 for value in new_memory.values())
            sent.append(crafted)
            memory = new_memory
        return sent, memory

    (first, memory), (again, same) = run(), run()
    np.testing.assert_array_equal(np.stack(first), np.stack(again))
    assert memory.keys() == same.keys()
    np.testing.assert_array_equal(
        attack.craft(first[0], updates(), np.random.default_rng(0)),
        attack.craft_with_memory(first[0], updates(), np.zeros(11), {}, np.random.default_rng(0))[0],
    )


@data_attacks
def test_data_attacks_modify_no_input(attack: DataAttack) -> None:
    images, labels = samples()
    attack.craft(images, labels, np.random.default_rng(0))
    for given, fresh in zip((images, labels), samples(), strict=True):
        np.testing.assert_array_equal(given, fresh)


@data_attacks
def test_data_attacks_keep_shapes_types_and_the_pixel_range(attack: DataAttack) -> None:
    images, labels = samples()
    poisoned = attack.craft(images, labels, np.random.default_rng(0))
    assert (poisoned.images.shape, poisoned.images.dtype) == (images.shape, images.dtype)
    assert (poisoned.labels.shape, poisoned.labels.dtype) == (labels.shape, labels.dtype)
    assert poisoned.images.min() >= 0
    assert poisoned.images.max() <= 1
    assert 0 <= poisoned.labels.min() <= poisoned.labels.max() < 10


@data_attacks
def test_data_attacks_name_the_samples_they_change_and_change_no_other(attack: DataAttack) -> None:
    images, labels = samples()
    poisoned = attack.craft(images, labels, np.random.default_rng(0))
    differing = np.flatnonzero((poisoned.images != images).any(axis=(1, 2, 3)) | (poisoned.labels != labels))
    np.testing.assert_array_equal(differing, poisoned.indices)
    assert len(differing) > 0


@data_attacks
def test_data_attacks_give_the_same_for_the_same_seed(attack: DataAttack) -> None:
    images, labels = samples()
    first, again = (attack.craft(images, labels, np.random.default_rng(3)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


@data_attacks
def test_data_attacks_refuse_sizes_that_do_not_fit(attack: DataAttack) -> None:
    images, labels = samples()
    for wrong_images, wrong_labels in ((images, labels[1:]), (images[0], labels), (images[:0], labels)):
        with pytest.raises(ParameterError):
            attack.craft(wrong_images, wrong_labels, np.random.default_rng(0))


@data_attacks
def test_data_attacks_find_nothing_where_there_is_nothing(attack: DataAttack) -> None:
    images, labels = samples()
    for craft in (attack.craft, attack.craft_batch):
        poisoned = craft(images[:0], labels[:0], np.random.default_rng(0))
        assert (poisoned.images.shape, poisoned.labels.shape) == ((0, *IMAGE_SHAPE), (0,))
        assert poisoned.indices.size == 0


@pytest.mark.parametrize("kind", [PixelTrigger, BlendedTrigger, DistributedTrigger, AdversarialTrigger])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_triggers_mark_a_copy_and_keep_shape_type_and_range(
    kind: type[Trigger], shape: tuple[int, int, int]
) -> None:
    images = np.random.default_rng(0).random((4, *shape), dtype=np.float32)
    given = images.copy()
    marked = draw_backdoor(kind, shape, 10, seed=1).trigger.apply(images)
    np.testing.assert_array_equal(images, given)
    assert (marked.shape, marked.dtype) == (images.shape, images.dtype)
    assert (marked != images).any(axis=(1, 2, 3)).all()
    assert 0 <= marked.min() <= marked.max() <= 1


MODEL = {
    "w": np.array([[1.0, -2.0]], np.float32),
    "scale": np.array(0.5, np.float32),
    "half": np.array([0.25, 100.0], np.float16),
    "none": np.zeros((0, 3), np.float32),
    "count": np.array(7, np.int64),
    "bytes": np.array([3, 250], np.uint8),
    "mask": np.array([True, False]),
}


def odd_app(batches: str) -> ClientApp:
    """An app with a model of every kind of array, whose loader now and then gives no sample, or no batch."""
    app = ClientApp(mods=[separate_models_mod, attack_mod])

    def collate(samples: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        # Every second batch is empty, as under Poisson sampling; no labels have a type of their own.
        if samples[0][1] == 1:
            return torch.zeros(0, 1, 8, 8), torch.zeros(0)
        images, labels = zip(*samples, strict=True)
        return torch.stack(images).to(torch.bfloat16), torch.stack(labels)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        images, labels = torch.zeros(6, 1, 8, 8), torch.arange(6) % 2
        options = {"batch_size": 9, "drop_last": True} if batches == "none" else {"collate_fn": collate}
        assert sum(len(y) for _, y in DataLoader(TensorDataset(images, labels), **options)) in {0, 3}
        user = int(context.node_config["partition-id"])
        sent = {key: array.numpy() for key, array in message.content["arrays"].items()}
        step = {key: np.asarray(value + value.dtype.type(user + 1)) for key, value in sent.items()}
        arrays = ArrayRecord({key: Array(value) for key, value in step.items()})
        metrics = MetricRecord({"num-examples": 0})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return app


@pytest.mark.parametrize("stack", [None, 2], ids=["one model", "two stacked"])
@pytest.mark.parametrize("batches", ["some empty", "none"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_works_around_odd_models_and_empty_batches(
    attack: str, batches: str, stack: int | None
) -> None:
    config = {"attack": attack, "attackers": "0,1,2", "seed": 1}
    config |= {"attack-scale": 0.001} if attack == "late" else {}
    grid = InProcessGrid(odd_app(batches), 9, config)  # Krum needs 2 f + 3
    model = {key: value if stack is None else np.stack([value] * stack) for key, value in MODEL.items()}
    entries: dict[str, Any] = {"server-round": 1} | ({} if stack is None else {"coded-models": [4, 8]})
    content = RecordDict(
        {
            "arrays": ArrayRecord({key: Array(value) for key, value in model.items()}),
            "config": ConfigRecord(entries),
        }
    )
    [*replies] = grid.send_and_receive([Message(content, grid.node_ids[1], "train")], timeout=60)
    if attack == "no-reply":
        assert not replies
        return
    if attack in {"silence", "exception"}:
        assert "on purpose" in replies[0].error.reason
        return
    if ATTACKS[attack].trains_itself:  # nothing that a mod could change: refused by name
        assert attack in replies[0].error.reason
        assert "training_client_app" in replies[0].error.reason
        return
    got = {key: array.numpy() for key, array in replies[0].content["arrays"].items()}
    assert [array.dtype for array in got.values()] == [array.dtype for array in model.values()]
    if attack not in {"wrong-shape", "wrong-keys"}:
        assert [array.shape for array in got.values()] == [array.shape for array in model.values()]
        if attack != "huge":  # arrays that are no part of an update are as they were trained
            for key in ("count", "bytes", "mask"):
                np.testing.assert_array_equal(got[key], model[key] + model[key].dtype.type(2))
    if attack not in {"nan", "infinite"}:
        assert all(np.isfinite(array).all() for array in got.values())


def test_an_update_attack_on_a_model_without_floating_point_arrays_is_refused_by_name() -> None:
    grid = InProcessGrid(odd_app("some empty"), 8, {"attack": "sign-flip", "attackers": "1,"})
    content = RecordDict({"arrays": ArrayRecord({"bytes": Array(MODEL["bytes"])})})
    [reply] = grid.send_and_receive([Message(content, grid.node_ids[1], "train")], timeout=60)
    assert "floating-point arrays" in reply.error.reason
