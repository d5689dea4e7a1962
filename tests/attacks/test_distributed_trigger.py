"""The distributed trigger: its parts, who trains with which, and their union."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks import Backdoor, DistributedTrigger, PixelTrigger, draw_backdoor
from flower_coded.errors import ParameterError

BLACK = np.zeros((3, 1, 8, 8), np.float32)


def trigger(shape: tuple[int, int, int] = (1, 8, 8), num_parts: int = 4) -> DistributedTrigger:
    return DistributedTrigger.draw(shape, np.random.default_rng(5), num_parts=num_parts)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_four_bars_stand_apart_with_a_gap_of_one_pixel(shape: tuple[int, int, int]) -> None:
    parts = trigger(shape).parts
    length = shape[2] // 4
    assert all(part.pattern.shape == (shape[0], 1, length) for part in parts)
    corner = parts[0]
    offsets = [(part.row - corner.row, part.column - corner.column) for part in parts]
    assert offsets == [(0, 0), (0, length + 1), (2, 0), (2, length + 1)]


@pytest.mark.parametrize("num_colluders", range(1, 8))
def test_the_parts_of_all_colluders_make_up_the_trigger(num_colluders: int) -> None:
    whole = trigger()
    parts = [whole.of_colluder(rank, num_colluders).apply(BLACK) for rank in range(num_colluders)]
    np.testing.assert_array_equal(np.max(parts, axis=0), whole.apply(BLACK))
    if 1 < num_colluders <= 4:
        assert np.sum(parts, axis=0).max() == 1  # no pixel is trained by two
        assert all(part.sum() < whole.apply(BLACK).sum() for part in parts)


def test_each_of_four_colluders_trains_with_one_bar() -> None:
    whole = trigger()
    for rank in range(4):
        np.testing.assert_array_equal(whole.of_colluder(rank, 4).apply(BLACK), whole.parts[rank].apply(BLACK))
    assert whole.of_colluder(5, 6).parts == (whole.parts[1],)


def test_training_marks_a_part_and_the_test_the_union() -> None:
    backdoors = [
        draw_backdoor(DistributedTrigger, (1, 8, 8), 10, seed=3, rate=1.0, colluder=(rank, 4))
        for rank in range(4)
    ]
    union = backdoors[0].trigger.apply(BLACK)
    trained = [
        each.craft(BLACK, np.zeros(3, np.int64), np.random.default_rng(0)).images for each in backdoors
    ]
    assert len({each.target for each in backdoors}) == 1
    for each, images in zip(backdoors, trained, strict=True):
        np.testing.assert_array_equal(each.trigger.apply(BLACK), union)
        assert 0 < images.sum() < union.sum()
    np.testing.assert_array_equal(np.max(trained, axis=0), union)
    in_batches = backdoors[1].craft_batch(BLACK, np.zeros(3, np.int64), np.random.default_rng(0)).images
    np.testing.assert_array_equal(in_batches, trained[1])


def test_places_are_drawn() -> None:
    corners = {
        (drawn.parts[0].row, drawn.parts[0].column)
        for drawn in (DistributedTrigger.draw((1, 8, 8), np.random.default_rng(seed)) for seed in range(200))
    }
    assert len(corners) == 6 * 4  # rows 0 to 5 for a height of 3, columns 0 to 3 for a width of 5


def test_parts_that_overlap_or_do_not_fit_are_refused() -> None:
    patch = PixelTrigger(np.ones((1, 2, 2), np.float32), 0, 0)
    with pytest.raises(ParameterError, match="overlap"):
        DistributedTrigger((patch, PixelTrigger(np.ones((1, 1, 1), np.float32), 1, 1)))
    with pytest.raises(ParameterError, match="at least one"):
        DistributedTrigger(())
    for num_parts in (0, 9):
        with pytest.raises(ParameterError, match="num_parts"):
            trigger(num_parts=num_parts)
    with pytest.raises(ParameterError, match="rank"):
        trigger().of_colluder(2, 2)


def test_other_triggers_have_no_part() -> None:
    assert isinstance(
        backdoor := draw_backdoor(PixelTrigger, (1, 8, 8), 10, seed=0, colluder=(1, 3)), Backdoor
    )
    assert backdoor.part is None
