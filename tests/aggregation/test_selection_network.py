"""Networks that select the middle values, checked on all inputs of zeros and ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flower_coded.aggregation import blocks, selection_network
from flower_coded.aggregation.selection_network import middle_mean
from flower_coded.errors import ParameterError


@pytest.mark.parametrize("num_rows", range(1, 11))
def test_networks_select_on_all_inputs_of_zeros_and_ones(num_rows: int) -> None:
    # Compare-exchange networks that are right on these are right on all inputs (Knuth, volume 3, 5.3.4).
    columns = (np.arange(2**num_rows)[None] >> np.arange(num_rows)[:, None] & 1).astype(np.float32)
    ranked = np.sort(columns, axis=0)
    for first in range(num_rows):
        for last in range(first + 1, num_rows + 1):
            expected = ranked[first:last].mean(axis=0, dtype=np.float64)
            np.testing.assert_allclose(middle_mean(columns, first, last), expected, rtol=1e-15)


@given(
    arrays(np.float64, st.tuples(st.integers(1, 40), st.just(5)), elements=st.floats(-1e9, 1e9)), st.data()
)
def test_middle_mean_is_the_mean_of_the_sorted_middle(vectors: np.ndarray, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(vectors) - 1))
    last = data.draw(st.integers(first + 1, len(vectors)))
    expected = np.sort(vectors, axis=0)[first:last].mean(axis=0)
    np.testing.assert_allclose(middle_mean(vectors, first, last), expected, rtol=1e-12, atol=1e-6)


@pytest.mark.parametrize("num_rows", [20, selection_network.MOST_NETWORK_ROWS + 1])
def test_blocks_join_without_a_seam(num_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1)  # the narrowest blocks: 256 columns
    vectors = np.random.default_rng(0).normal(size=(num_rows, 1001)).astype(np.float32)
    expected = np.sort(vectors, axis=0)[7:12].mean(axis=0, dtype=np.float64)
    for num_threads in (1, 3):
        np.testing.assert_allclose(middle_mean(vectors, 7, 12, num_threads=num_threads), expected, rtol=1e-14)


def test_a_network_for_the_whole_mean_compares_nothing() -> None:
    assert selection_network.selection_network(9, 0, 9) == ()


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (2, 2), (0, 6)])
def test_ranks_outside_the_rows_are_refused(first: int, last: int) -> None:
    with pytest.raises(ParameterError, match="first, last"):
        selection_network.selection_network(5, first, last)
