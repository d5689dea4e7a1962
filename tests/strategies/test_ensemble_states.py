"""Expanding, selecting and averaging stacked states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.errors import ParameterError
from flower_coded.strategies.ensemble_states import expand_initial, select_models, weighted_average

ONE = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "count": np.array(3)}
STACKED = {"w": np.arange(24, dtype=np.float32).reshape(4, 2, 3), "count": np.arange(4)}


def test_expand_initial__copies_one_model() -> None:
    expanded = expand_initial(ONE, 4)
    assert {name: each.shape for name, each in expanded.items()} == {"w": (4, 2, 3), "count": (4,)}
    for model in range(4):
        np.testing.assert_array_equal(select_models(expanded, model)["w"], ONE["w"])


def test_expand_initial__takes_a_stacked_state_as_it_is() -> None:
    expanded = expand_initial(STACKED, 4)
    np.testing.assert_array_equal(expanded["w"], STACKED["w"])
    expanded["w"][0] = -1
    assert STACKED["w"][0, 0, 0] == 0, "the given arrays are not modified"


def test_expand_initial__can_be_told_what_a_look_alike_is() -> None:
    linear = {"weight": np.zeros((4, 9)), "bias": np.zeros(4)}
    assert expand_initial(linear, 4)["bias"].shape == (4, 4), "by itself it is one model"
    assert expand_initial(linear, 4, kind="stacked")["bias"].shape == (4,)
    assert expand_initial(linear, 4, kind="single")["bias"].shape == (4, 4)
    with pytest.raises(ParameterError, match="leading axis of 4"):
        expand_initial(ONE, 4, kind="stacked")


def test_expand_initial__prefers_own_initializations_to_copies() -> None:
    np.testing.assert_array_equal(expand_initial(ONE, 4, own_states=STACKED)["w"], STACKED["w"])
    trained = {name: each + 1 for name, each in STACKED.items()}
    np.testing.assert_array_equal(expand_initial(trained, 4, own_states=STACKED)["w"], trained["w"])


@pytest.mark.parametrize(
    "given_state", [{}, {"w": np.zeros((5, 2, 3)), "count": np.zeros(5)}, {"v": np.zeros(1)}]
)
def test_expand_initial__refuses_what_fits_neither(given_state: dict[str, np.ndarray]) -> None:
    with pytest.raises(ParameterError, match="initial_arrays"):
        expand_initial(given_state, 4, own_states=STACKED)


def test_weighted_average__sums_in_float64_and_keeps_types() -> None:
    """In float32, 2**24 + 1 is 2**24: the mean of 2**24 and 2 with weights 1 and 1 would lose the 2."""
    states = [{"w": np.float32([2**24]), "n": np.array(3)}, {"w": np.float32([2]), "n": np.array(4)}]
    average = weighted_average(states, [1, 1])
    assert average["w"].dtype == np.float32
    assert average["w"][0] == (2**24 + 2) / 2
    assert average["n"].dtype == states[0]["n"].dtype
    assert average["n"] == 4  # 3.5 is rounded to even


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6),
    data=st.data(),
)
def test_weighted_average__is_the_weighted_mean(values: list[float], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(0.01, 1e6), min_size=len(values), max_size=len(values)))
    average = weighted_average([{"w": np.array([value])} for value in values], weights)
    np.testing.assert_allclose(average["w"], np.average(values, weights=weights), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(("count", "weights"), [(0, []), (2, [1.0]), (2, [1.0, 0.0]), (1, [-1.0])])
def test_weighted_average__refuses_weights_that_make_no_mean(count: int, weights: list[float]) -> None:
    with pytest.raises(ParameterError, match="weights"):
        weighted_average([{"w": np.zeros(1)}] * count, weights)
