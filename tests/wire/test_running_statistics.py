"""Statistics of any size pass through a bound meant for weights; weights pass as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flower_coded.wire.running_statistics import from_bounded_units, is_weight, to_bounded_units

STATE = {
    "conv.weight": np.zeros(2, np.float32),
    "bn.running_mean": np.array([0.0, 3.0, -70.0]),
    "bn.running_var": np.array([1.0, 0.25, 900.0]),
    "bn.num_batches_tracked": np.array(7),
    "head.bias": np.zeros(1),
}
WEIGHTS = [True, True, False, False, False, False, False, False, True]


def test_statistics_are_told_from_weights_and_counters_take_no_place() -> None:
    assert is_weight(STATE).tolist() == WEIGHTS


@given(
    arrays(np.float64, 3, elements=st.floats(-500, 500)),
    arrays(np.float64, 3, elements=st.floats(0, 2000)),
    st.floats(1e-4, 10),
)
def test_what_is_rewritten_is_within_the_bound_and_comes_back(
    means: np.ndarray, variances: np.ndarray, bound: float
) -> None:
    update = np.concatenate(
        [[0.5, -3.0], means - STATE["bn.running_mean"], variances - STATE["bn.running_var"], [2.0]]
    )
    units = to_bounded_units(update, STATE, bound)
    np.testing.assert_array_equal(units[WEIGHTS], update[WEIGHTS])
    back = from_bounded_units(units, STATE, bound)
    np.testing.assert_allclose(back, update, atol=1e-9 * 2000, rtol=1e-9)


def test_an_ordinary_round_on_inputs_that_nobody_normalized_stays_within_the_bound() -> None:
    """Bytes of pixels: a mean of 128 and a variance of 5,000 where 0 and 1 were; a step of .1 toward them."""
    state = {"running_mean": np.zeros(4), "running_var": np.ones(4)}
    update = np.concatenate([np.full(4, 12.8), np.full(4, 499.9)])
    assert np.abs(to_bounded_units(update, state, 0.05)).max() < 0.05


@pytest.mark.parametrize("entry", [-1.0, 1.0])
def test_the_worst_that_fits_the_bound_leaves_a_variance_that_is_one(entry: float) -> None:
    """A liar may send the bound itself, every round; no variance becomes negative or infinite."""
    state = {name: array.astype(float) for name, array in STATE.items() if "bn.running" in name}
    for _ in range(50):
        moved = from_bounded_units(np.full(6, entry), state, 1.0)
        state = {
            "bn.running_mean": state["bn.running_mean"] + moved[:3],
            "bn.running_var": state["bn.running_var"] + moved[3:],
        }
    assert (state["bn.running_var"] >= 0).all()
    assert np.isfinite(state["bn.running_var"]).all()


def test_a_mean_over_users_is_geometric_for_variances() -> None:
    state = {"running_var": np.ones(1)}
    units = [to_bounded_units(np.array([v - 1.0]), state, 1.0) for v in (4.0, 16.0)]
    mean = from_bounded_units(np.mean(units, axis=0), state, 1.0)
    np.testing.assert_allclose(mean + 1.0, 8.0, rtol=1e-4)
