"""Base matrices and errors of the four attacks on analog Lagrange coded computing."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks.analog_collusion import (
    ConstraintLengthAware,
    FullNoise,
    StrongCollusion,
    WeakCollusion,
    weak_collusion_probability,
)
from flower_coded.errors import ParameterError

ATTACKS = [FullNoise(), StrongCollusion(), WeakCollusion(), ConstraintLengthAware()]


def test_weak_collusion_probability__minimizes_the_papers_objective() -> None:
    assert weak_collusion_probability(8) == pytest.approx(0.257, abs=5e-4)
    grid = np.linspace(0.001, 0.999, 9981)
    for attackers in (2, 3, 8):
        best = grid[np.argmin(grid + (1 - grid) ** attackers)]
        assert weak_collusion_probability(attackers) == pytest.approx(best, abs=2e-4)


def test_strong_collusion__has_one_full_row_and_one_zero_at_random_in_the_others() -> None:
    base = StrongCollusion().base_matrix((400, 25, 8), np.random.default_rng(0))
    assert base[:, 0].all()
    assert (base[:, 1:].sum(axis=-1) == 7).all()
    # Each attacker rests in one row in eight: 9600 rows, standard deviation 32.
    rests = (~base[:, 1:]).sum(axis=(0, 1))
    assert abs(rests - 1200).max() < 5 * 33


def test_weak_collusion__zeroes_entries_independently_with_the_probability_it_was_given() -> None:
    base = WeakCollusion(zero_probability=0.4).base_matrix((100, 25, 8), np.random.default_rng(0))
    assert base.mean() == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_craft__gives_every_colluder_the_same_array_from_one_seed(attack) -> None:
    first, second = (attack.craft((3, 8, 25), np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape == (3, 8, 25)
    assert first.dtype == np.complex128


def test_craft__draws_errors_of_the_mean_and_variance_it_was_given() -> None:
    errors = FullNoise(mean=10.0, variance=100.0).craft((200, 8, 25), np.random.default_rng(0))
    assert errors.mean() == pytest.approx(10.0, abs=0.3)
    assert (abs(errors - 10) ** 2).mean() == pytest.approx(100.0, rel=0.05)


def test_constraint_length_aware__makes_more_decoys_for_a_decoder_that_looks_at_more() -> None:
    counts = [
        ConstraintLengthAware(num_workers=31, constraint_length=length).num_decoys(8)
        for length in (8, 14, 20, 26)
    ]
    assert counts == sorted(counts)
    assert 0 < counts[0] < counts[-1]
    # A decoder that looks at everybody cannot be misled this way.
    assert ConstraintLengthAware(num_workers=31, constraint_length=31).num_decoys(8) == 0


def test_constraint_length_aware__keeps_the_first_row_full_and_its_decoys_small() -> None:
    attack = ConstraintLengthAware(num_workers=31, constraint_length=12, noise_variance=1e-6)
    errors = attack.craft((50, 8, 25), np.random.default_rng(0))
    largest = abs(errors).max(axis=1)
    assert ((largest < 0.01).sum(axis=-1) == attack.num_decoys(8)).all()
    assert (largest[:, 0] > 1).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: FullNoise(mean=float("nan")),
        lambda: FullNoise(variance=-1.0),
        lambda: WeakCollusion(zero_probability=1.5),
        lambda: StrongCollusion(num_ones=9).base_matrix((25, 8), np.random.default_rng(0)),
        lambda: ConstraintLengthAware(constraint_length=0),
        lambda: ConstraintLengthAware(noise_variance=0.0),
        lambda: ConstraintLengthAware(survival_probability=1.0),
        lambda: FullNoise().craft((25,), np.random.default_rng(0)),
        lambda: weak_collusion_probability(1),
    ],
)
def test_attacks__refuse_parameters_out_of_range(call) -> None:
    with pytest.raises(ParameterError):
        call()
