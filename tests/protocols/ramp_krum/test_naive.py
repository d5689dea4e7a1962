"""The whole protocol once more in Python integers, straight from the paper, beside what the code sends."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from flower_coded.attacks.ramp_krum_updates import Deviation
from flower_coded.crypto.field_vectors import FIELD_MODULUS, from_bytes, to_ints
from flower_coded.protocols.ramp_krum.commitments import Schemes
from flower_coded.protocols.ramp_krum.simulation import run_round


@dataclass(frozen=True)
class Listening(Deviation):
    """An honest user whose shares and messages are written down."""

    user: int
    shares: dict[int, Any] = field(default_factory=dict)
    messages: dict[str, Any] = field(default_factory=dict)

    def alter_shares(self, shares: dict[int, Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
        """Write down."""
        self.shares.update(shares)
        return shares

    def alter_message(self, phase: str, message: Any) -> list[Any]:
        """Write down."""
        self.messages[phase] = message
        return [message]


def interpolate(points: list[int], values: list[int]) -> list[int]:
    """Lagrange, coefficient by coefficient, over Python integers."""
    result = [0] * len(points)
    for i, x in enumerate(points):
        basis, scale = [1], 1
        for j, other in enumerate(points):
            if i != j:
                basis = [
                    ((basis[d - 1] if d else 0) - other * (basis[d] if d < len(basis) else 0)) % FIELD_MODULUS
                    for d in range(len(basis) + 1)
                ]
                scale = scale * (x - other) % FIELD_MODULUS
        factor = values[i] * pow(scale, -1, FIELD_MODULUS) % FIELD_MODULUS
        result = [(r + factor * b) % FIELD_MODULUS for r, b in zip(result, basis, strict=True)]
    return result


def value_at(coefficients: list[int], point: int) -> int:
    return sum(c * point**e for e, c in enumerate(coefficients)) % FIELD_MODULUS


@pytest.mark.parametrize(
    ("k", "options"),
    [
        (1, {}),
        (2, {}),
        (2, {"hides_products": True, "is_blinded": False, "chunk_size": 4}),
        (2, {"is_paper_form": True}),
        (2, {"is_paper_form": True, "hides_products": True, "is_blinded": False, "chunk_size": 4}),
    ],
)
def test_round__sends_and_reads_what_the_paper_says(
    make_schemes: Callable[..., Schemes],
    make_updates: Callable[..., dict[int, np.ndarray]],
    k: int,
    options: dict[str, Any],
) -> None:
    schemes = make_schemes(9, k, 1, a=1, d=1, **options)
    parameters, updates = schemes.parameters, make_updates(schemes.parameters)
    n, t, part = 9, 1, schemes.parameters.part_length
    users = {user: Listening(user) for user in range(n)}
    is_paper_form = parameters.is_paper_form
    outcome = run_round(
        schemes, updates, deviations=users, ask_everybody=True, is_measurement=is_paper_form
    ).outcome
    assert outcome is not None
    points = [parameters.sharing.points[user] for user in range(n)]
    first = [[to_ints(users[i].shares[j]["first"][:part]) for j in range(n)] for i in range(n)]
    second = (
        first
        if not is_paper_form
        else [[to_ints(users[i].shares[j]["second"][:part]) for j in range(n)] for i in range(n)]
    )

    # Step 3 and 5: the shares are values of polynomials of degree K + T - 1 whose coefficients hold the
    # parts. Outside of the paper's form their values at beta_k do, times c_k: at 0, and for K = 2 at the
    # point -5 behind the last user's, 5; c_1 = 0 - (-5) and c_2 = -5 - 0.
    betas, scales = ((0,), (1,)) if k == 1 else ((0, -5), (5, -5))
    padded = [
        [int(v) % FIELD_MODULUS for v in updates[i]] + [0] * (k * part - len(updates[i])) for i in range(n)
    ]
    for i, entry in itertools.product(range(n), range(part)):
        needed = k + t
        forward = interpolate(points[:needed], [first[i][j][entry] for j in range(needed)])
        expected = [padded[i][row * part + entry] for row in range(k)]
        if not is_paper_form:
            assert [value_at(forward, beta) for beta in betas] == [
                scale * value % FIELD_MODULUS for scale, value in zip(scales, expected, strict=True)
            ]
            continue
        assert forward[:k] == expected
        backward = interpolate(points[:needed], [second[i][j][entry] for j in range(needed)])
        assert backward[:k] == forward[:k][::-1]

    # Steps 7 and 8: products for every pair, and the distance at x**(K-1), or as a sum over values.
    pairs = list(itertools.combinations(range(n), 2))
    size = 2 * (k + t) - 1
    sent = [to_ints(from_bytes(users[j].messages["evaluations"].products)) for j in range(n)]
    for number, (i, other) in enumerate(pairs):
        values = []
        for j in range(n):
            total = sum(
                (a - b) * (c - d)
                for a, b, c, d in zip(
                    first[i][j], first[other][j], second[i][j], second[other][j], strict=True
                )
            )
            if parameters.hides_products:
                total += sum(to_ints(users[dealer].shares[j]["product"])[number] for dealer in range(n))
            values.append(total % FIELD_MODULUS)
        assert [each[number] for each in sent] == values
        distance = int(((updates[i] - updates[other]) ** 2).sum())
        product = interpolate(points[:size], values[:size])
        read = product[k - 1]
        if not is_paper_form:
            read = sum(
                value_at(product, beta) * pow(scale, -2, FIELD_MODULUS)
                for beta, scale in zip(betas, scales, strict=True)
            )
        assert read % FIELD_MODULUS == distance
        assert outcome.distances[i, other] == distance

    # Steps 10 and 11: sums of shares, and the sum of updates in their coefficients.
    row = parameters.families["update"].row_length
    sums = [to_ints(from_bytes(users[j].messages["sums"].total, num_elements=row)) for j in range(n)]
    for j, entry in itertools.product(range(n), range(part)):
        assert sums[j][entry] == sum(first[i][j][entry] for i in outcome.selection.users) % FIELD_MODULUS
    assert (outcome.total == sum(updates[user] for user in outcome.selection.users)).all()
