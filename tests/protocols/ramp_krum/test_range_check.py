from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.crypto.field_vectors import FIELD_MODULUS, random_elements, to_ints, zeros
from flower_coded.errors import ParameterError
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.range_check import (
    draw_range_masks,
    is_in_range,
    random_subsets,
    subset_sums,
)


@given(st.integers(1, 4), st.integers(1, 30), st.integers(1, 5), st.integers(0, 2**32))
def test_subset_sums__add_up_what_is_in_each_subset(n: int, length: int, num_subsets: int, seed: int) -> None:
    subsets = np.random.default_rng(seed).random((num_subsets, length)) < 0.5
    vectors = random_elements(n, length)
    sums = subset_sums(vectors, subsets)
    for i in range(n):
        values = to_ints(vectors[i])
        expected = [
            sum(v for v, is_in in zip(values, s, strict=True) if is_in) % FIELD_MODULUS for s in subsets
        ]
        assert to_ints(sums[i]) == expected


def test_subset_sums__refuses_subsets_of_another_length() -> None:
    with pytest.raises(ParameterError, match="must have 3 columns"):
        subset_sums(zeros(1, 3), np.ones((2, 4), dtype=bool))


def test_random_subsets__are_the_same_everywhere_and_hold_about_half() -> None:
    subsets = random_subsets(b"x" * 32, num_subsets=40, length=1000)
    assert (subsets == random_subsets(b"x" * 32, num_subsets=40, length=1000)).all()
    assert (subsets != random_subsets(b"y" * 32, num_subsets=40, length=1000)).any()
    assert abs(subsets.mean() - 0.5) < 0.01  # 40,000 fair bits: standard deviation 0.0025


def test_is_in_range__accepts_every_honest_sum_and_its_edges_only(
    make_schemes: Callable[..., Schemes],
) -> None:
    parameters = make_schemes().parameters
    honest = parameters.largest_subset_sum
    bound = parameters.range_mask_bound
    assert is_in_range((-honest) % FIELD_MODULUS, parameters)
    assert not is_in_range((-honest - 1) % FIELD_MODULUS, parameters)
    assert is_in_range(bound + honest - 1, parameters)
    assert not is_in_range(bound + honest, parameters)


def test_draw_range_masks__fill_their_range(make_schemes: Callable[..., Schemes]) -> None:
    parameters = make_schemes().parameters
    masks = to_ints(draw_range_masks(parameters))
    assert max(masks) < parameters.range_mask_bound
    assert max(masks) > parameters.range_mask_bound * 0.85  # 82 uniform values: missed with probability 2e-6
    assert len(set(masks)) == 82  # 2 parts, 40 bits and one more for A = 2
