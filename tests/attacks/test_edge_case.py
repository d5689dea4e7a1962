"""Edge cases: which samples are in the tail, and what becomes of their labels."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks import EdgeCase, tail_samples
from flower_coded.errors import ParameterError


def samples() -> tuple[np.ndarray, np.ndarray]:
    """Two classes around 0.2 and 0.8; samples 3 and 17 look like the other class, 8 like neither."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 10)
    images = (0.2 + 0.6 * labels)[:, None, None, None] + 0.02 * generator.normal(size=(20, 1, 4, 4))
    images[3], images[17], images[8] = 0.8, 0.2, 0.45
    return images.astype(np.float32), labels


def test_the_tail_is_what_its_class_makes_least_likely() -> None:
    images, labels = samples()
    assert set(tail_samples(images, labels, 2)) == {3, 17}
    assert tail_samples(images, labels, 3)[2] == 8
    assert set(tail_samples(images, labels, 2, without=1)) == {3, 8}


def test_a_pixel_that_never_varies_does_not_decide_alone() -> None:
    images, labels = samples()
    images[5, 0, 0, 0] += 0.1
    assert 5 not in tail_samples(images, labels, 3)


def test_tail_samples_of_other_classes_get_the_target_label_and_no_mark() -> None:
    images, labels = samples()
    poisoned = EdgeCase(1, rate=0.1).craft(images, labels, np.random.default_rng(0))
    assert poisoned.indices.tolist() == [3, 8]
    assert (poisoned.labels[[3, 8]] == 1).all()
    np.testing.assert_array_equal(poisoned.images, images)


def test_there_are_no_more_than_the_other_classes_have() -> None:
    images, labels = samples()
    assert len(EdgeCase(1, rate=1.0).craft(images, labels, np.random.default_rng(0)).indices) == 10


def test_batches_lose_the_rate_on_average() -> None:
    images, labels = samples()
    attack = EdgeCase(1, rate=0.2)
    counts = [
        len(attack.craft_batch(images, labels, np.random.default_rng(seed)).indices) for seed in range(200)
    ]
    assert np.mean(counts) == pytest.approx(4.0, abs=0.5)  # binomial(20, 0.2): standard error 0.13


def test_colluders_draw_one_target() -> None:
    assert EdgeCase.draw(10, seed=4) == EdgeCase.draw(10, seed=4)
    assert EdgeCase.draw(10, seed=4, target=2).target == 2
    assert len({EdgeCase.draw(10, seed=seed).target for seed in range(40)}) == 10


@pytest.mark.parametrize("make", [lambda: EdgeCase(-1), lambda: EdgeCase(0, rate=0.0)])
def test_values_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(ParameterError):
        make()  # type: ignore[operator]
