"""3DFed's three disguises, and what it reads from the next global model."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks import ThreeDFed
from flower_coded.attacks.three_d_fed import MASK_SHARE
from flower_coded.errors import ParameterError

SIZE = 200


def known_updates() -> np.ndarray:
    known = np.random.default_rng(2).normal(size=(4, SIZE))
    known[:, :40] = 0.0  # coordinates that nobody moves, as behind a dead unit
    return known


def sent(rank: int, num_attackers: int = 3, *, own: np.ndarray | None = None, **options: float) -> np.ndarray:
    update = np.zeros(SIZE) if own is None else own
    attack = ThreeDFed(num_attackers, rank, **options)
    return attack.craft(update, known_updates(), np.random.default_rng(5))


def test_a_short_update_is_lengthened_to_the_honest_norm_but_not_by_more_than_allowed() -> None:
    honest = np.linalg.norm(known_updates(), axis=1).mean()
    own = np.zeros(SIZE)
    own[100] = honest / 2
    assert sent(0, 1, own=own)[100] == pytest.approx(honest)
    assert sent(0, 1, own=own / 10)[100] == pytest.approx(honest / 4)  # 5 times
    assert sent(0, 1, own=3 * own)[100] == pytest.approx(1.5 * honest)  # never shortened


def test_masks_add_up_to_zero_on_quiet_coordinates_and_have_the_size_of_least_loss() -> None:
    honest = np.linalg.norm(known_updates(), axis=1).mean()
    for strength in (0.2, 0.5, 0.8):
        masks = np.stack([sent(rank, strength=strength) for rank in range(3)])
        masks[[0, 1, 2], [0, 1, 2]] = 0.0  # the indicators
        assert not masks[:, 40:].any()
        np.testing.assert_allclose(masks.sum(axis=0)[3:], 0.0, atol=1e-12)
        size = np.sqrt((np.linalg.norm(masks, axis=1) ** 2).mean()) / (MASK_SHARE * honest)
        grid = np.geomspace(0.1, 10, 2000)
        best = grid[np.argmin(strength / grid + (1 - strength) * grid)]
        assert size == pytest.approx(best, rel=0.15)  # the indicators took three of twenty coordinates' noise


def test_every_colluder_has_an_indicator_of_its_own_where_nobody_moves() -> None:
    largest = np.abs(known_updates()).max()
    for rank in range(3):
        assert sent(rank)[rank] == largest
        assert (np.delete(sent(rank), rank) < largest).all()


@pytest.mark.parametrize(
    ("weights", "is_kept"),
    [
        ((1 / 12, 1 / 12, 1 / 12), True),  # all averaged
        ((0.0, 0.0, 0.0), False),  # all rejected
        ((1 / 12, 1 / 12, 0.03), False),  # one clipped: two of three are fewer than four of five
    ],
)
def test_the_strength_is_drawn_anew_when_too_few_were_accepted(
    weights: tuple[float, float, float], is_kept: bool
) -> None:
    attack = ThreeDFed(3, 0, strength=0.3)
    known, model = known_updates(), np.zeros(SIZE)
    _, memory = attack.craft_with_memory(model, known, model, {}, np.random.default_rng(5))
    memory["strength"][0] = 0.6
    moved = model.copy()
    moved[memory["places"].astype(int)] = np.array(weights) * memory["value"]
    _, after = attack.craft_with_memory(model, known, moved, memory, np.random.default_rng(6))
    redrawn = np.random.default_rng(6).uniform(0.3, 1.0)
    assert after["strength"][0] == (0.6 if is_kept else redrawn)


@pytest.mark.parametrize("weight", [-0.1, 1.2])
def test_an_answer_that_no_average_gives_switches_the_tuning_off(weight: float) -> None:
    attack = ThreeDFed(1, 0, strength=0.3)
    known, model = known_updates(), np.zeros(SIZE)
    _, memory = attack.craft_with_memory(model, known, model, {}, np.random.default_rng(5))
    memory["strength"][0] = 0.6
    moved = model.copy()
    moved[memory["places"].astype(int)] = weight * memory["value"]
    _, after = attack.craft_with_memory(model, known, moved, memory, np.random.default_rng(6))
    assert after["strength"][0] == 0.3


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"rank": 1}, "rank"),
        ({"rank": -1}, "rank"),
        ({"strength": 1.0}, "strength"),
        ({"longest_stretch": 0.5}, "longest_stretch"),
    ],
)
def test_numbers_outside_their_range_are_refused(parameters: dict[str, float], name: str) -> None:
    with pytest.raises(ParameterError, match=name):
        ThreeDFed(**parameters)
