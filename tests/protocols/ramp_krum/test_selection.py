from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.errors import ParameterError, RoundRefusedError
from flower_coded.protocols.ramp_krum.selection import plain_multi_krum, select_users


@given(n=st.integers(5, 12), data=st.data())
def test_plain_multi_krum__agrees_with_the_definition(n: int, data: st.DataObject) -> None:
    a = data.draw(st.integers(0, (n - 5) // 2))
    m = data.draw(st.integers(1, n - 2 * a - 3))
    rows = data.draw(st.lists(st.lists(st.integers(-50, 50), min_size=3, max_size=3), min_size=n, max_size=n))
    updates = {user: np.array(row) for user, row in enumerate(rows)}
    selection, total = plain_multi_krum(updates, num_attackers=a, num_selected=m)
    scores = []
    for i in range(n):
        others = sorted(
            sum((x - y) ** 2 for x, y in zip(rows[i], rows[j], strict=True)) for j in range(n) if j != i
        )
        scores.append(sum(others[: n - a - 2]))
    assert selection.scores == dict(enumerate(scores))
    best = sorted(sorted(range(n), key=lambda user: (scores[user], user))[:m])
    assert list(selection.users) == best
    assert total.tolist() == [sum(rows[user][axis] for user in best) for axis in range(3)]


def test_select_users__refuses_too_few_with_the_numbers() -> None:
    distances = {(i, j): 1 for i in range(6) for j in range(i + 1, 6)}
    with pytest.raises(RoundRefusedError, match="too few updates for multi-Krum: received 6, needed 7"):
        select_users(distances, num_attackers=1, num_selected=2)


def test_select_users__refuses_missing_pairs() -> None:
    distances = {(i, j): 1 for i in range(5) for j in range(i + 1, 5)}
    del distances[1, 3]
    with pytest.raises(ParameterError, match="must hold every pair; received '3 of user 1'"):
        select_users(distances, num_attackers=0, num_selected=1)


def test_select_users__is_exact_where_floats_are_not() -> None:
    # 2**60 and 2**60 + 1 are one double; user 0 is nearer by one.
    distances = {(i, j): 2**60 + 1 for i in range(5) for j in range(i + 1, 5)}
    distances |= {(1, j): 2**60 for j in range(2, 5)}
    assert select_users(distances, num_attackers=0, num_selected=1).users == (1,)
