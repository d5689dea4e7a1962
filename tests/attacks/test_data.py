"""Triggers and poisoned samples."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks import Backdoor, BlendedTrigger, LabelFlip, PixelTrigger, draw_backdoor, poison
from flower_coded.errors import ParameterError


def samples(count: int = 40, shape: tuple[int, int, int] = (1, 8, 8)) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return generator.random((count, *shape), dtype=np.float32), generator.integers(0, 10, count)


def test_grey_trigger_is_a_permutation_of_five_ones_and_four_zeros() -> None:
    patterns = [PixelTrigger.draw((1, 28, 28), np.random.default_rng(seed)).pattern for seed in range(20)]
    assert all(np.bincount(pattern.astype(int).ravel()).tolist() == [4, 5] for pattern in patterns)
    assert len({pattern.tobytes() for pattern in patterns}) > 10


def test_color_trigger_is_27_clipped_gaussian_values() -> None:
    values = np.stack(
        [PixelTrigger.draw((3, 32, 32), np.random.default_rng(seed)).pattern for seed in range(200)]
    )
    assert values.shape == (200, 3, 3, 3)
    # Mean 1/2 and standard deviation 1/2: each end is clipped with probability Phi(-1) = 0.1587.
    assert values.mean() == pytest.approx(0.5, abs=0.02)
    assert (values == 0).mean() == pytest.approx(0.1587, abs=0.02)
    assert (values == 1).mean() == pytest.approx(0.1587, abs=0.02)


def test_places_reach_every_corner() -> None:
    triggers = [PixelTrigger.draw((1, 5, 4), np.random.default_rng(seed)) for seed in range(200)]
    assert {(each.row, each.column) for each in triggers} == {
        (row, column) for row in range(3) for column in range(2)
    }


def test_pixel_trigger_changes_its_patch_only() -> None:
    images, _ = samples()
    trigger = PixelTrigger(np.ones((1, 2, 3), np.float32), row=4, column=5)
    marked = trigger.apply(images)
    assert (marked[:, :, 4:6, 5:8] == 1).all()
    marked[:, :, 4:6, 5:8] = images[:, :, 4:6, 5:8]
    np.testing.assert_array_equal(marked, images)


def test_blended_trigger_is_the_weighted_mean() -> None:
    trigger = BlendedTrigger(np.full((1, 2, 2), 1.0, np.float32), strength=0.25)
    marked = trigger.apply(np.full((3, 1, 2, 2), 0.4, np.float32))
    np.testing.assert_allclose(marked, 0.75 * 0.4 + 0.25)


@pytest.mark.parametrize(("rate", "count"), [(0.05, 2), (0.001, 1), (1.0, 40), (0.1, 4)])
def test_poison__marks_the_rounded_share_and_at_least_one(rate: float, count: int) -> None:
    images, labels = samples()
    trigger = PixelTrigger(np.full((1, 3, 3), 0.5, np.float32), 0, 0)
    poisoned = poison(images, labels, trigger, 7, rate, np.random.default_rng(0))
    assert len(poisoned.indices) == count
    assert (poisoned.labels[poisoned.indices] == 7).all()
    np.testing.assert_array_equal(poisoned.images[poisoned.indices], trigger.apply(images)[poisoned.indices])
    untouched = np.setdiff1d(np.arange(40), poisoned.indices)
    np.testing.assert_array_equal(poisoned.images[untouched], images[untouched])
    np.testing.assert_array_equal(poisoned.labels[untouched], labels[untouched])


def test_colluders_draw_one_backdoor_and_seeds_differ() -> None:
    first, again = (draw_backdoor(PixelTrigger, (1, 8, 8), 10, seed=3) for _ in range(2))
    images, _ = samples()
    np.testing.assert_array_equal(first.trigger.apply(images), again.trigger.apply(images))
    assert first.target == again.target
    assert len({draw_backdoor(PixelTrigger, (1, 8, 8), 10, seed=seed).target for seed in range(40)}) == 10


def test_a_given_target_does_not_move_the_trigger() -> None:
    images, _ = samples()
    drawn, given = (draw_backdoor(PixelTrigger, (1, 8, 8), 10, seed=3, target=target) for target in (None, 4))
    assert given.target == 4
    np.testing.assert_array_equal(drawn.trigger.apply(images), given.trigger.apply(images))


def test_craft_batch__poisons_with_the_rate_as_probability() -> None:
    images, labels = samples(2000)
    backdoor = draw_backdoor(BlendedTrigger, (1, 8, 8), 10, seed=0, rate=0.1)
    poisoned = backdoor.craft_batch(images, labels, np.random.default_rng(0))
    assert 150 <= len(poisoned.indices) <= 250  # binomial: mean 200, standard deviation 13


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        (LabelFlip(10), [9, 8, 5, 0]),
        (LabelFlip(10, source=4, target=1), [0, 1, 1, 9]),
    ],
)
def test_label_flip_follows_its_definition(attack: LabelFlip, expected: list[int]) -> None:
    labels = np.array([0, 1, 4, 9])
    flipped = attack.craft(np.zeros((4, 1, 8, 8), np.float32), labels, np.random.default_rng(0))
    assert flipped.labels.tolist() == expected
    np.testing.assert_array_equal(flipped.indices, np.flatnonzero(np.array(expected) != labels))


def test_random_label_flip_never_keeps_a_label_and_reaches_all_others() -> None:
    labels = np.full(500, 3)
    attack = LabelFlip(10, random_labels=True)
    flipped = attack.craft(np.zeros((500, 1, 8, 8), np.float32), labels, np.random.default_rng(0)).labels
    assert set(flipped) == set(range(10)) - {3}


@pytest.mark.parametrize(
    "make",
    [
        lambda: PixelTrigger.draw((1, 2, 2), np.random.default_rng(0)),
        lambda: PixelTrigger(np.full((1, 3, 3), 1.5, np.float32), 0, 0),
        lambda: PixelTrigger(np.ones((1, 3, 3), np.float32), -1, 0),
        lambda: BlendedTrigger(np.ones((1, 3, 3), np.float32), 0.0),
        lambda: Backdoor(PixelTrigger(np.ones((1, 3, 3), np.float32), 0, 0), 0, rate=0.0),
        lambda: Backdoor(PixelTrigger(np.ones((1, 3, 3), np.float32), 0, 0), -1),
        lambda: LabelFlip(1),
        lambda: LabelFlip(10, source=3),
        lambda: LabelFlip(10, source=3, target=10),
        lambda: LabelFlip(10, source=3, target=4, random_labels=True),
        lambda: draw_backdoor(PixelTrigger, (1, 8, 8), 10, seed=0, target=10),
    ],
)
def test_values_outside_their_range_are_refused(make: object) -> None:
    with pytest.raises(ParameterError):
        make()  # type: ignore[operator]


def test_a_patch_that_does_not_fit_is_refused() -> None:
    images, _ = samples()
    with pytest.raises(ParameterError, match="room"):
        PixelTrigger(np.ones((1, 3, 3), np.float32), 6, 0).apply(images)
    with pytest.raises(ParameterError, match="images"):
        PixelTrigger(np.ones((3, 3, 3), np.float32), 0, 0).apply(images)
    with pytest.raises(ParameterError, match="image shape"):
        BlendedTrigger(np.ones((1, 7, 7), np.float32)).apply(images)
