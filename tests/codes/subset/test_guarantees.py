"""What a matrix promises, against the definitions word for word."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from flower_coded.codes import (
    SubsetCode,
    backdoor_correction_code,
    backdoor_tracking_code,
    partition_code,
)
from flower_coded.codes.subset import guarantees as module


@st.composite
def codes(draw: st.DrawFn) -> SubsetCode:
    models, users = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    bits = draw(st.lists(st.booleans(), min_size=models * users, max_size=models * users))
    matrix = np.array(bits).reshape(models, users)
    matrix[~matrix.any(axis=1), 0] = True
    return SubsetCode(matrix)


def most(code: SubsetCode, kind: str) -> int:
    """The largest ``k`` for which the exhaustive check of Definition 1 holds."""
    return max([k for k in range(1, code.num_users + 1) if code.verify(kind, k)], default=0)


def is_identified(matrix: NDArray[np.bool_], k: int) -> bool:
    """Whether ``k`` users' subsets of models can never be the models that answer truly to another ``k``."""
    reached = [matrix[:, chosen].any(axis=1) for chosen in combinations(range(matrix.shape[1]), k)]
    # Label a is answered on P, b elsewhere: explainable as b poisoned by one set and as a by another.
    return not any((one | other).all() for one in reached for other in reached)


@given(codes())
def test_guarantees__are_the_most_attackers_for_which_the_definition_holds(code: SubsetCode) -> None:
    found = code.guarantees
    assert found.detected == most(code, "detection")
    assert found.corrected == most(code, "correction")
    assert found.tracked == most(code, "tracking")
    assert found.is_exact


@given(codes())
def test_guarantees__against_selective_attackers_are_tight(code: SubsetCode) -> None:
    if not code.matrix.any(axis=0).all():
        return
    selective = code.guarantees.corrected_selective
    assert selective == 0 or is_identified(code.matrix, selective)
    if 2 * (selective + 1) <= code.num_users:
        assert not is_identified(code.matrix, selective + 1)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (backdoor_correction_code(4, 4, 12, rows="paper"), (4, 4, 2, 0)),
        (backdoor_correction_code(2, 6, 12), (2, 2, 1, 0)),
        (backdoor_tracking_code(2, 4, 16), (None, None, 1, 2)),
        (partition_code(12, 12), (11, 5, 5, 5)),  # the vote of twelve single users: a minority of five
        (partition_code(6, 12), (5, 2, 2, 0)),
    ],
)
def test_guarantees__of_the_papers_codes(code: SubsetCode, expected: tuple[int | None, ...]) -> None:
    found = code.guarantees
    numbers = (found.detected, found.corrected, found.corrected_selective, found.tracked)
    assert all(want is None or want == have for want, have in zip(expected, numbers, strict=True)), numbers


def test_guarantees__are_lower_bounds_where_sets_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WORDS", 100)
    found = partition_code(12, 12).guarantees
    assert not found.is_exact
    assert found.corrected_selective <= found.detected // 2 < 5


def test_guarantees__cross_word_boundaries() -> None:
    code = SubsetCode(~np.eye(70, dtype=bool))  # two users reach everything, one does not
    assert (code.guarantees.detected, code.guarantees.corrected) == (1, 1)
