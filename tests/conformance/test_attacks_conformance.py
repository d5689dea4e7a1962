"""One row per attack, the same checks for all: a new attack is a class and a row here."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks import (
    POISONED_UPDATES,
    TRIGGER_NAMES,
    UPDATE_ATTACKS,
    ALittleIsEnough,
    Backdoor,
    BlendedTrigger,
    DataAttack,
    DistributedTrigger,
    EdgeCase,
    GaussianNoise,
    InnerProductManipulation,
    LabelFlip,
    Memory,
    Mimic,
    MinMax,
    MinSum,
    ModelReplacement,
    Neurotoxin,
    NormProjection,
    NotANumber,
    PixelTrigger,
    RememberingAttack,
    SignFlip,
    TrimmedMeanAttack,
    UpdateAttack,
    draw_backdoor,
)
from flower_coded.errors import ParameterError

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
    "trimmed-mean-attack": TrimmedMeanAttack(),
    "mimic": Mimic(),
    "model-replacement": ModelReplacement(5.0),
    "model-replacement within a norm": ModelReplacement(5.0, norm_bound=2.0),
    "neurotoxin": Neurotoxin(0.3),
    "edge-case": NormProjection(0.5),
}
REMEMBERING = {name: each for name, each in UPDATE_ROWS.items() if isinstance(each, RememberingAttack)}
DATA_ROWS: dict[str, DataAttack] = {
    "pixel-trigger": Backdoor(PixelTrigger.draw(IMAGE_SHAPE, np.random.default_rng(0)), 3, rate=0.2),
    "blended-trigger": Backdoor(BlendedTrigger.draw(IMAGE_SHAPE, np.random.default_rng(0)), 3, rate=0.2),
    "distributed-trigger": Backdoor(
        trigger := DistributedTrigger.draw(IMAGE_SHAPE, np.random.default_rng(0)),
        3,
        rate=0.2,
        part=trigger.of_colluder(1, 2),
    ),
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
    made = {type(attack) for attack in UPDATE_ROWS.values()}
    assert made == {*UPDATE_ATTACKS.values(), *POISONED_UPDATES.values()}
    assert set(TRIGGER_NAMES) <= set(DATA_ROWS)


@update_attacks
def test_update_attacks_modify_no_input(attack: UpdateAttack) -> None:
    known = updates()
    own = known[2].copy()
    attack.craft(own, known, np.random.default_rng(0))
    np.testing.assert_array_equal(known, updates())
    np.testing.assert_array_equal(own, updates()[2])


@update_attacks
@pytest.mark.parametrize("dtype", ["float32", "float64"])
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
    names = {each.__name__: each for each in (*UPDATE_ATTACKS.values(), *POISONED_UPDATES.values())}
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
def test_attacks_that_remember_are_reproducible_over_rounds(attack: RememberingAttack) -> None:
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
    for wrong_images, wrong_labels in ((images, labels[1:]), (images[0], labels), (images[:0], labels[:0])):
        with pytest.raises(ParameterError):
            attack.craft(wrong_images, wrong_labels, np.random.default_rng(0))


@pytest.mark.parametrize("name", TRIGGER_NAMES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_triggers_mark_a_copy_and_keep_shape_type_and_range(name: str, shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).random((4, *shape), dtype=np.float32)
    given = images.copy()
    marked = draw_backdoor(name, shape, 10, seed=1).trigger.apply(images)
    np.testing.assert_array_equal(images, given)
    assert (marked.shape, marked.dtype) == (images.shape, images.dtype)
    assert (marked != images).any(axis=(1, 2, 3)).all()
    assert 0 <= marked.min() <= marked.max() <= 1
