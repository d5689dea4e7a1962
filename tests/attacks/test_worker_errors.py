"""Attacks of lying workers: what each sends, and that colluders agree without talking."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks.worker_errors import WORKER_ERRORS, Call, Proportional, get_worker_error
from flower_coded.errors import ParameterError

HONEST = np.linspace(-1.0, 2.0, 12)


@pytest.mark.parametrize("name", WORKER_ERRORS)
def test_attacks__are_reproducible_and_leave_the_honest_answer_alone(name: str) -> None:
    before = HONEST.copy()
    sent = [get_worker_error(name).craft(HONEST, Call(3, 5, 2, seed=1)) for _ in range(2)]
    np.testing.assert_array_equal(HONEST, before)
    if sent[0] is None:
        assert sent[1] is None
    else:
        np.testing.assert_array_equal(*sent)
        assert sent[0].shape != HONEST.shape or not np.array_equal(sent[0], HONEST)


def test_attacks__have_the_size_their_name_says() -> None:
    size = np.linalg.norm(HONEST)
    for name, factor in (("huge", 1e12), ("tiny", 1e-3), ("gaussian", 1.0)):
        error = np.linalg.norm(get_worker_error(name).craft(HONEST, Call(0, 0, 1)) - HONEST)
        assert 0.3 * factor < error / size < 3 * factor


def test_proportional__errors_of_all_colluders_have_rank_one() -> None:
    errors = np.stack([Proportional().craft(HONEST, Call(worker, 4, 1, 9)) - HONEST for worker in range(5)])
    sizes = np.linalg.svd(errors, compute_uv=False)
    assert sizes[1] < 1e-12 * sizes[0]
    assert len(np.unique(errors[:, 0])) == 5


def test_one_block__spoils_the_same_single_entry_at_all_colluders() -> None:
    places = {
        tuple(np.flatnonzero(get_worker_error("one-block").craft(HONEST, Call(worker, 4, 1)) != HONEST))
        for worker in range(5)
    }
    assert len(places) == 1
    assert len(places.pop()) == 1


def test_honest_first__lies_in_the_second_product_only() -> None:
    attack = get_worker_error("honest-first")
    np.testing.assert_array_equal(attack.craft(HONEST, Call(0, 0, 1)), HONEST)
    np.testing.assert_array_equal(attack.craft(HONEST, Call(0, 0, 2)), -HONEST)


def test_get_worker_error__refuses_unknown_names_and_parameters() -> None:
    with pytest.raises(ParameterError, match="just-above-noise"):
        get_worker_error("polite")
    with pytest.raises(ParameterError, match="must suit the attack 'reversed'"):
        get_worker_error("reversed", size=3.0)
