"""Parts as values: what is read, what T shares say, and what an opponent who knows the points could try."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flower_coded.crypto.field_products import inner_products, matmul_constant
from flower_coded.crypto.field_vectors import (
    FIELD_MODULUS,
    FieldArray,
    from_signed_int64,
    random_elements,
    to_ints,
)
from flower_coded.crypto.ramp_embedding import (
    RampEmbedding,
    coefficient_embedding,
    evaluation_matrix,
    part_points,
    value_embedding,
)
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.crypto.reed_solomon import ReedSolomonCode

SHARINGS = [
    RampSharing(num_users=5, num_parts=1, num_colluders=2),
    RampSharing(num_users=12, num_parts=2, num_colluders=2, num_attackers=2, num_dropouts=1),
    RampSharing(num_users=9, num_parts=3, num_colluders=2),
    RampSharing(num_users=20, num_parts=5, num_colluders=2, num_attackers=2, num_dropouts=2),
    RampSharing(num_users=50, num_parts=12, num_colluders=5, num_attackers=5, num_dropouts=5),
]


def share(embedding: RampEmbedding, sharing: RampSharing, parts: FieldArray) -> FieldArray:
    basis = (*embedding.parts, *embedding.masks)
    rows = np.concatenate([parts, sharing.draw_masks(parts.shape[1])])
    return matmul_constant(evaluation_matrix(basis, sharing.points), rows)


def rank(matrix: list[list[int]]) -> int:
    """Gaussian elimination modulo r."""
    rows, found = [list(row) for row in matrix], 0
    for column in range(len(rows[0])):
        pivot = next((i for i in range(found, len(rows)) if rows[i][column] % FIELD_MODULUS), None)
        if pivot is None:
            continue
        rows[found], rows[pivot] = rows[pivot], rows[found]
        inverse = pow(rows[found][column], -1, FIELD_MODULUS)
        for other in range(found + 1, len(rows)):
            factor = rows[other][column] * inverse
            rows[other] = [
                (x - factor * y) % FIELD_MODULUS for x, y in zip(rows[other], rows[found], strict=True)
            ]
        found += 1
    return found


@pytest.mark.parametrize("sharing", SHARINGS)
def test_value_embedding__has_the_parts_as_values_times_the_product_of_the_points_differences(
    sharing: RampSharing,
) -> None:
    embedding, betas = value_embedding(sharing), part_points(sharing)
    values = evaluation_matrix((*embedding.parts, *embedding.masks), betas)
    k, t = sharing.num_parts, sharing.num_colluders
    for row, beta in enumerate(betas):
        scale = math.prod(beta - other for other in betas if other != beta)
        assert values[row] == [scale * (column == row) for column in range(k)] + [0] * t


@pytest.mark.parametrize("sharing", SHARINGS)
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_value_embedding__rebuilds_parts_from_any_k_plus_t_shares(
    sharing: RampSharing, seed: int, data: st.DataObject
) -> None:
    embedding = value_embedding(sharing)
    parts = random_elements(sharing.num_parts, 3, random_bytes=np.random.default_rng(seed).bytes)
    shares = share(embedding, sharing, parts)
    order = data.draw(st.permutations(range(sharing.num_users)))
    users = list(order[: sharing.num_shares_needed])
    readers = embedding.part_readers
    assert (sharing.reconstruct(shares[users], users=users, readers=readers) == parts).all()
    code = ReedSolomonCode(sharing.points, sharing.num_shares_needed)
    assert (embedding.read_parts(code.decode(shares).coefficients) == parts).all()


@pytest.mark.parametrize("sharing", SHARINGS)
def test_value_embedding__reads_the_squared_norm_from_products_of_one_share_with_itself(
    sharing: RampSharing,
) -> None:
    vector = np.random.default_rng(1).integers(-1000, 1000, size=31)
    shares = share(value_embedding(sharing), sharing, sharing.split(from_signed_int64(vector)))
    size = sharing.num_product_coefficients
    code = ReedSolomonCode(sharing.points[:size], size)
    product = code.decode(inner_products(shares, shares)[:size, np.newaxis]).coefficients
    assert to_ints(value_embedding(sharing).read_products(product)) == [int((vector**2).sum())]


@pytest.mark.parametrize("form", [value_embedding, coefficient_embedding])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_hiding_polynomials__change_no_distance_and_hide_all_else(form: type, sharing: RampSharing) -> None:
    # An opponent's mask must not move what is read, and no part of a product beside it may stay bare.
    embedding: RampEmbedding = form(sharing)
    size = sharing.num_product_coefficients
    rows = [[*polynomial, *[0] * (size - len(polynomial))] for polynomial in embedding.hiding]
    for row in rows:
        assert sum(x * y for x, y in zip(row, embedding.product_reader, strict=True)) % FIELD_MODULUS == 0
    assert rank(rows) == size - 1


@pytest.mark.parametrize("num_parts", range(1, 24))
def test_part_points__are_no_users_points(num_parts: int) -> None:
    # A share at a part's point would be that part, times a known number.
    for num_users in range(2 * num_parts + 1, 60):
        sharing = RampSharing(num_users, num_parts, 1)
        points = (*sharing.points, *part_points(sharing))
        assert len({point % FIELD_MODULUS for point in points}) == num_users + num_parts


@pytest.mark.parametrize("sharing", SHARINGS[:4])
def test_any_t_shares__are_a_bijection_of_the_masks_and_hence_independent_of_the_secret(
    sharing: RampSharing,
) -> None:
    # The shares of T users are (fixed matrix) * parts + (square matrix) * masks: uniform for every secret
    # exactly when the square matrix is invertible modulo r.
    masks = value_embedding(sharing).masks
    for users in itertools.combinations(sharing.points, sharing.num_colluders):
        assert rank(evaluation_matrix(masks, users)) == sharing.num_colluders


@pytest.mark.parametrize(("prime", "k", "t"), [(7, 2, 1), (7, 1, 2), (5, 2, 2), (11, 3, 1)])
def test_any_t_shares__have_one_distribution_for_every_secret_by_enumeration(
    prime: int, k: int, t: int
) -> None:
    sharing = RampSharing(num_users=2 * (k + t) - 1, num_parts=k, num_colluders=t)
    embedding = value_embedding(sharing)
    taken = {beta % prime for beta in part_points(sharing)}
    assert len(taken) == k
    points = list(dict.fromkeys(point % prime for point in sharing.points if point % prime not in taken))
    assert len(points) >= t
    for users in itertools.combinations(points, t):
        matrix = evaluation_matrix((*embedding.parts, *embedding.masks), users)
        views = set()
        for parts in itertools.product(range(prime), repeat=k):
            counts: Counter[tuple[int, ...]] = Counter(
                tuple(
                    sum(c * v for c, v in zip(row, (*parts, *masks), strict=True)) % prime for row in matrix
                )
                for masks in itertools.product(range(prime), repeat=t)
            )
            views.add(frozenset(counts.items()))
        assert len(views) == 1


def test_t_plus_1_shares__say_something() -> None:
    # The test above can fail: one share more has another distribution for another secret.
    sharing = RampSharing(num_users=5, num_parts=2, num_colluders=1)
    embedding, prime = value_embedding(sharing), 11
    matrix = evaluation_matrix((*embedding.parts, *embedding.masks), sharing.points[:2])
    views = {
        frozenset(
            tuple(sum(c * v for c, v in zip(row, (*parts, mask), strict=True)) % prime for row in matrix)
            for mask in range(prime)
        )
        for parts in ((0, 0), (1, 0))
    }
    assert len(views) == 2
