from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.crypto.field_products import inner_products
from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    from_ints,
    from_signed_int64,
    random_elements,
    to_ints,
    zeros,
)
from flower_coded.crypto.ramp_sharing import (
    RampSharing,
    evaluation_points,
    largest_num_parts,
    power_matrix,
)
from flower_coded.crypto.reed_solomon import ReedSolomonCode
from flower_coded.errors import DecodingError, ParameterError

SHARINGS = [
    RampSharing(num_users=5, num_parts=1, num_colluders=2),
    RampSharing(num_users=9, num_parts=3, num_colluders=2),
    RampSharing(num_users=20, num_parts=5, num_colluders=2, num_attackers=2, num_dropouts=2),
]


def determinant(matrix: list[list[int]]) -> int:
    """Leibniz's formula over the integers."""
    size = range(len(matrix))
    total = 0
    for order in itertools.permutations(size):
        inversions = sum(order[i] > order[j] for i in size for j in size if i < j)
        total += (-1) ** inversions * math.prod(matrix[i][order[i]] for i in size)
    return total


def naive_shares(
    exponents: tuple[int, ...], rows: list[list[int]], points: tuple[int, ...]
) -> list[list[int]]:
    return [
        [
            sum(
                row[j] * pow(point, exponent, FIELD_MODULUS)
                for row, exponent in zip(rows, exponents, strict=True)
            )
            % FIELD_MODULUS
            for j in range(len(rows[0]))
        ]
        for point in points
    ]


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("is_second", [False, True])
def test_share__evaluates_the_polynomials_of_the_paper(sharing: RampSharing, is_second: bool) -> None:
    k, t = sharing.num_parts, sharing.num_colluders
    powers = [*range(k - 1, -1, -1), *range(k, k + t)] if is_second else list(range(k + t))
    parts, masks = random_elements(k, 3), sharing.draw_masks(3)
    shares = (sharing.share_reversed if is_second else sharing.share)(parts, masks)
    rows = [to_ints(row) for row in np.concatenate([parts, masks])]
    assert [to_ints(share) for share in shares] == naive_shares(tuple(powers), rows, sharing.points)


@pytest.mark.parametrize("sharing", SHARINGS)
@given(length=st.integers(1, 30), data=st.data())
def test_reconstruct__rebuilds_from_any_k_plus_t_shares(
    sharing: RampSharing, length: int, data: st.DataObject
) -> None:
    vector = random_elements(length)
    parts = sharing.split(vector)
    shares = sharing.share(parts, sharing.draw_masks(parts.shape[1]))
    users = data.draw(
        st.permutations(range(sharing.num_users)).map(lambda order: order[: sharing.num_shares_needed])
    )
    rebuilt = sharing.join(sharing.reconstruct(shares[list(users)], users=users), length=length)
    assert (rebuilt == vector).all()


def test_reconstruct__refuses_too_few_shares_and_repeated_users() -> None:
    sharing = RampSharing(num_users=5, num_parts=2, num_colluders=1)
    shares = sharing.share(zeros(2, 4), sharing.draw_masks(4))
    with pytest.raises(DecodingError, match="received 2, needed 3"):
        sharing.reconstruct(shares[:2], users=[0, 1])
    with pytest.raises(ParameterError, match="a different user for every share"):
        sharing.reconstruct(shares[:3], users=[0, 1, 1])
    with pytest.raises(ParameterError, match="a different user for every share"):
        sharing.reconstruct(shares[:3], users=[0, 1, 5])


@pytest.mark.parametrize("sharing", SHARINGS)
def test_product_of_the_embeddings__holds_the_squared_norm_at_x_to_the_k_minus_1(
    sharing: RampSharing,
) -> None:
    vector = np.random.default_rng(1).integers(-1000, 1000, size=12)
    parts = sharing.split(from_signed_int64(vector))
    masks = sharing.draw_masks(parts.shape[1])
    first = sharing.share(parts, masks)
    second = (
        first if sharing.num_parts == 1 else sharing.share_reversed(parts, sharing.draw_masks(parts.shape[1]))
    )
    size = sharing.num_product_coefficients
    if sharing.num_users < size:
        pytest.skip("too few users to decode a product")
    values = to_ints(inner_products(first, second))[:size]
    product = ReedSolomonCode(sharing.points[:size], size).decode_word(values).coefficients
    assert product[sharing.num_parts - 1] == int((vector**2).sum())


@pytest.mark.parametrize("sharing", SHARINGS)
def test_any_t_shares__are_a_bijection_of_the_masks_and_hence_independent_of_the_secret(
    sharing: RampSharing,
) -> None:
    # The shares of T users are (fixed matrix) * parts + (square matrix) * masks: uniform for every secret
    # exactly when the square matrix is invertible modulo r, whatever r.
    for users in itertools.combinations(range(sharing.num_users), sharing.num_colluders):
        points = [sharing.points[user] for user in users]
        assert determinant(power_matrix(points, sharing.mask_exponents)) % FIELD_MODULUS


@pytest.mark.parametrize("is_second", [False, True])
@pytest.mark.parametrize(("prime", "k", "t"), [(7, 2, 1), (7, 1, 2), (5, 2, 2), (11, 3, 1)])
def test_any_t_shares__have_one_distribution_for_every_secret_by_enumeration(
    prime: int, k: int, t: int, is_second: bool
) -> None:
    sharing = RampSharing(num_users=2 * (k + t) - 1, num_parts=k, num_colluders=t)
    exponents = sharing.second_exponents if is_second else sharing.first_exponents
    points = [point % prime for point in sharing.points if point % prime][: prime - 1]
    points = list(dict.fromkeys(points))
    for users in itertools.combinations(points, t):
        views = set()
        for parts in itertools.product(range(prime), repeat=k):
            counts: Counter[tuple[int, ...]] = Counter(
                tuple(
                    sum(c * point**e for c, e in zip((*parts, *masks), exponents, strict=True)) % prime
                    for point in users
                )
                for masks in itertools.product(range(prime), repeat=t)
            )
            views.add(frozenset(counts.items()))
        assert len(views) == 1
        assert len(next(iter(views))) == prime**t  # and that one distribution is uniform


def test_shares__look_uniform_over_the_field_whatever_the_secret() -> None:
    # 64 equal bins of [0, r) over 8192 shares of the zero vector: chi-squared with 63 degrees of freedom
    # exceeds 120 with probability 2e-5.
    sharing = RampSharing(num_users=9, num_parts=3, num_colluders=1)
    shares = sharing.share(zeros(3, 8192), sharing.draw_masks(8192))
    bins = np.floor(shares[4, :, 3].astype(np.float64) / (FIELD_MODULUS / 2**192) * 64).astype(int)
    counts = np.bincount(bins, minlength=64)
    assert len(counts) == 64
    assert ((counts - 128) ** 2 / 128).sum() < 120


def test_split__fills_with_zeros_and_join_removes_them() -> None:
    sharing = RampSharing(num_users=7, num_parts=3, num_colluders=1)
    parts = sharing.split(from_ints([1, 2, 3, 4]))
    assert [to_ints(part) for part in parts] == [[1, 2], [3, 4], [0, 0]]
    assert to_ints(sharing.join(parts, length=4)) == [1, 2, 3, 4]


def test_share__refuses_the_wrong_number_of_parts() -> None:
    sharing = RampSharing(num_users=7, num_parts=3, num_colluders=1)
    with pytest.raises(ParameterError, match=r"must number 3 and 1; received \(2, 1\)"):
        sharing.share(zeros(2, 4), zeros(1, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"num_users": 20, "num_parts": 6, "num_colluders": 2, "num_attackers": 2, "num_dropouts": 2},
            (
                r"1 <= K <= \(N - D \+ 1\)/2 - A - T = \(20 - 2 \+ 1\)/2 - 2 - 2 = 5.5; received 6 "
                r"\(the largest that works is 5\)"
            ),
        ),
        (
            {"num_users": 6, "num_parts": 1, "num_colluders": 2, "num_attackers": 1},
            "no K works below 7 users",
        ),
        ({"num_users": 9, "num_parts": 0, "num_colluders": 1}, r"received 0 \(the largest that works is 4\)"),
        ({"num_users": 9, "num_parts": 1, "num_colluders": 0}, "num_colluders must be at least 1"),
        ({"num_users": 9, "num_parts": 1, "num_colluders": 1, "num_attackers": -1}, "must not be negative"),
    ],
)
def test_ramp_sharing__refuses_parameters_with_the_inequality_and_the_numbers(
    arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        RampSharing(**arguments)


@given(st.integers(5, 60), st.integers(1, 5), st.integers(0, 5), st.integers(0, 5))
def test_largest_num_parts__is_accepted_and_one_more_is_not(n: int, t: int, a: int, d: int) -> None:
    sizes = {"num_users": n, "num_colluders": t, "num_attackers": a, "num_dropouts": d}
    largest = largest_num_parts(**sizes)
    if largest >= 1:
        sharing = RampSharing(num_parts=largest, **sizes)
        assert n - d >= sharing.num_products
    with pytest.raises(ParameterError):
        RampSharing(num_parts=max(largest, 0) + 1, **sizes)


@given(st.integers(1, 200))
def test_evaluation_points__are_distinct_not_zero_and_small(num_users: int) -> None:
    points = evaluation_points(num_users)
    assert len(set(points)) == num_users
    assert 0 not in points
    assert max(map(abs, points)) <= (num_users + 1) // 2
