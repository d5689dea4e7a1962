"""Poisoned class sums."""

from __future__ import annotations

import numpy as np
import pytest

from flower_coded.attacks.code_book_poisoning import CodeBookPoisoning
from flower_coded.errors import ParameterError

SUMS = np.array([[1.5, -0.5], [-2.0, 1.0], [0.0, 0.0]])
COUNTS = np.array([2, 3, 0])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("negate", [[-1, 1], [1, -1], [-1, -1]]),
        ("swap", [[1, 1], [1, -1], [-1, 1]]),
        ("collapse", [[1, -1], [1, -1], [1, -1]]),
        ("oversize", [[100, -100], [-100, 100], [100, 100]]),
    ],
)
def test_each_kind_sends_its_codewords(kind: str, expected: list[list[int]]) -> None:
    sums_before, counts_before = SUMS.copy(), COUNTS.copy()
    sums, counts = CodeBookPoisoning(kind).craft(SUMS, COUNTS)  # type: ignore[arg-type]
    assert counts.tolist() == [2, 3, 1]
    np.testing.assert_array_equal(sums / counts[:, None], expected)
    np.testing.assert_array_equal(SUMS, sums_before)
    np.testing.assert_array_equal(COUNTS, counts_before)


def test_claims_are_believed_by_the_attack_alone() -> None:
    sums, counts = CodeBookPoisoning("negate", claimed_count=10**9).craft(SUMS, COUNTS)
    assert counts.tolist() == [10**9] * 3
    assert (np.abs(sums) <= counts[:, None]).all()


def test_refuses_with_the_reason() -> None:
    with pytest.raises(ParameterError, match=r"kind must be one of .* received 'melt'"):
        CodeBookPoisoning("melt")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="claimed_count must be at least 1; received 0"):
        CodeBookPoisoning(claimed_count=0)
