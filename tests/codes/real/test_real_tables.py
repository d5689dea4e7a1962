"""What users call a table: every kind gives the same float64 numbers, the rest a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from flower_coded.codes.real.real_tables import as_real_matrix, as_real_vector
from flower_coded.errors import ParameterError

WHOLE = np.array([[0, 1], [2, 200]])


class Frame:
    """As much of a pandas frame as matters here."""

    def to_numpy(self) -> np.ndarray:
        return WHOLE.astype(object)


@pytest.mark.parametrize(
    "value",
    [
        WHOLE,
        WHOLE.astype(np.uint8),
        WHOLE.astype(np.float32),
        WHOLE.astype(">f8"),
        WHOLE.tolist(),
        np.asmatrix(WHOLE),
        scipy.sparse.csr_matrix(WHOLE),
        scipy.sparse.coo_array(WHOLE),
        torch.tensor(WHOLE),
        torch.tensor(WHOLE, dtype=torch.bfloat16),
        torch.tensor(WHOLE.astype(float), requires_grad=True),
        Frame(),
    ],
    ids=lambda value: f"{type(value).__module__.split('.')[0]}-{getattr(value, 'dtype', '')}",
)
def test_as_real_matrix__gives_the_same_numbers_whatever_holds_them(value) -> None:
    converted = as_real_matrix(value, "table")
    assert type(converted) is np.ndarray
    assert converted.dtype == np.float64
    assert converted.dtype.isnative
    assert np.array_equal(converted, WHOLE)


def test_as_real_vector__of_unsigned_and_boolean_targets_can_be_negated() -> None:
    assert (-as_real_vector(np.array([1, 255], np.uint8), "target")).tolist() == [-1.0, -255.0]
    assert (-as_real_vector(np.array([[True], [False]]), "target")).tolist() == [-1.0, 0.0]


def test_as_real_matrix__of_a_memory_map_copies_nothing(tmp_path) -> None:
    mapped = np.memmap(tmp_path / "table", dtype=np.float64, mode="w+", shape=(4, 3))
    assert np.shares_memory(as_real_matrix(mapped, "table"), mapped)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones((2, 2)) * 1j, "real numbers"),
        (np.array([["a", "b"]]), "real numbers"),
        (np.array([["a", 1]], dtype=object), "real numbers"),
        ([[1, 2], [3]], "gaps"),
        (np.ones(3), "rows, columns"),
        (np.ones((0, 3)), "rows, columns"),
        (np.array([[np.nan]]), "finite"),
        (np.array([[2**60 + 1]]), "2\\^53"),
        (None, "rows, columns"),
    ],
)
def test_as_real_matrix__refuses_the_rest_by_name(value, message) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        as_real_matrix(value, "table")
    assert caught.value.name == "table"
