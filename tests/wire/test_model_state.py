"""State, record and vector: one order, every type kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.errors import ParameterError
from flower_coded.wire.array_reading import read_array_record, template_of
from flower_coded.wire.model_state import (
    State,
    add_to_state,
    check_parameters,
    flatten_update,
    is_floating,
    read_state,
    to_array_record,
    update_length,
    update_rows,
)

DTYPES = [np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_]


@st.composite
def states(draw: st.DrawFn) -> State:
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    shapes = draw(st.lists(st.sampled_from([(), (1,), (3,), (2, 2), (0,)]), min_size=1, max_size=5))
    return {
        f"a{i}": generator.integers(0, 2, shape).astype(draw(st.sampled_from(DTYPES)))
        for i, shape in enumerate(shapes)
    }


@given(states())
def test_a_state_goes_through_a_record_unchanged(state: State) -> None:
    back = read_state(to_array_record(state))
    assert list(back) == list(state)
    for name, array in state.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back[name], array)
    read_array_record(to_array_record(state), template_of(state))


@given(states(), st.integers(0, 99))
def test_what_is_added_comes_out_as_the_update(state: State, seed: int) -> None:
    step = np.random.default_rng(seed).integers(-4, 5, update_length(state)).astype(float)  # exact in float16
    following = add_to_state(state, step)
    assert {k: (v.dtype, v.shape) for k, v in following.items()} == {
        k: (v.dtype, v.shape) for k, v in state.items()
    }
    [row] = update_rows([following], state)
    np.testing.assert_array_equal(row, step)
    np.testing.assert_array_equal(flatten_update(to_array_record(following), state), step)
    for name, array in state.items():
        if not is_floating(array.dtype):
            np.testing.assert_array_equal(following[name], array)


def test_rows_of_half_precision_are_wider_than_half() -> None:
    before = {"w": np.full(2, 1000, np.float16)}
    after = {"w": np.full(2, 1001, np.float16)}
    assert update_rows([after], before).dtype == np.float32


def test_check_parameters__wants_something_to_train() -> None:
    trees = {"0": np.frombuffer(b"{}", np.uint8)}
    check_parameters(trees)
    with pytest.raises(ParameterError, match="floating-point numbers to be trained"):
        check_parameters(trees, needs_floating=True)


@pytest.mark.parametrize("other", [{}, {"w": np.zeros(3)}, {"v": np.zeros(2)}])
def test_flatten_update__refuses_other_names_and_shapes(other: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        flatten_update(to_array_record(other), {"w": np.zeros(2)})


def test_bfloat16_is_read_by_the_name_that_travels_beside_the_bytes() -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    state = {"w": np.ones(2, bfloat16)}
    assert read_state(to_array_record(state))["w"].dtype == bfloat16
    assert read_array_record(to_array_record(state), template_of(state))["w"].dtype == bfloat16
    assert add_to_state(state, np.ones(2))["w"].dtype == bfloat16
