"""What T users and the server can learn together, decided by enumeration over small fields.

The polynomials are those of the code, modulo a prime that is small enough to list all masks. A view is
everything that depends on two dealers' updates: the T users' shares of both, their shares of the polynomial
that hides products, and the coefficients of the product that the server decodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from flower_coded.crypto.fixed_point import FixedPoint
from flower_coded.crypto.ramp_embedding import IntegerPolynomial
from flower_coded.crypto.ramp_sharing import RampSharing
from flower_coded.protocols.ramp_krum.parameters import RampKrumParameters

Ints = NDArray[np.int64]


def all_tuples(prime: int, length: int) -> Ints:
    return np.array(list(itertools.product(range(prime), repeat=length)), dtype=np.int64).reshape(-1, length)


def multiply(left: Ints, right: Ints, prime: int) -> Ints:
    """Products of polynomials given by coefficients (cases, entries, degree + 1), added up over entries."""
    result = np.zeros((len(left), left.shape[2] + right.shape[2] - 1), dtype=np.int64)
    for i in range(left.shape[2]):
        for j in range(right.shape[2]):
            result[:, i + j] += (left[:, :, i] * right[:, :, j]).sum(axis=1)
    return result % prime


class SmallRound:
    """The code's polynomials, one user's point, and a field of a few elements."""

    def __init__(self, prime: int, k: int, num_entries: int, *, is_paper_form: bool) -> None:
        self.prime, self.k, self.num_entries = prime, k, num_entries
        # With 7 users the points of two parts, 0 and -4, and the first user's, 1, differ modulo 3, too.
        sharing = RampSharing(num_users=7, num_parts=k, num_colluders=1)
        parameters = RampKrumParameters(sharing, num_selected=2, length=k, is_paper_form=is_paper_form)
        self.sharing, self.point, self.embedding = sharing, sharing.points[0] % prime, parameters.embedding

    def views(self, secrets: tuple[Ints, Ints], *, is_masked: bool, with_shares: bool) -> Ints:
        """All equally likely views, one per row, for two dealers' parts of shape (K, entries)."""
        embedding = self.embedding
        num_masks = 2 * self.num_entries * (1 if embedding.second_parts is None else 2)
        hiding = embedding.hiding if is_masked else ()
        drawn = all_tuples(self.prime, num_masks + len(hiding))
        masks = drawn[:, :num_masks].reshape(len(drawn), 2, -1, self.num_entries)
        size = self.sharing.num_product_coefficients
        first = [self._polynomial(embedding.parts, s, masks[:, i, 0]) for i, s in enumerate(secrets)]
        second = first
        if embedding.second_parts is not None:
            second = [
                self._polynomial(embedding.second_parts, s, masks[:, i, 1]) for i, s in enumerate(secrets)
            ]
        product = multiply(first[0] - first[1], second[0] - second[1], self.prime)
        hidden = np.zeros((len(drawn), size), dtype=np.int64)
        for column, polynomial in enumerate(hiding):
            hidden[:, : len(polynomial)] += drawn[:, num_masks + column, np.newaxis] * np.array(polynomial)
        hidden %= self.prime
        columns = [(product + hidden) % self.prime]
        if with_shares:
            powers = self.point ** np.arange(size) % self.prime
            for shared in (*first, *second):
                columns.append(shared @ powers[: shared.shape[2]] % self.prime)
            columns.append((hidden @ powers % self.prime)[:, np.newaxis])
        return np.concatenate(columns, axis=1)

    def _polynomial(self, basis: Iterable[IntegerPolynomial], parts: Ints, mask: Ints) -> Ints:
        result = np.zeros((len(mask), self.num_entries, self.sharing.num_shares_needed), dtype=np.int64)
        for polynomial, row in zip((*basis, *self.embedding.masks), [*parts, mask], strict=True):
            for exponent, entry in enumerate(polynomial):
                result[:, :, exponent] += entry * row
        return result % self.prime

    def distributions(self, *, is_masked: bool, with_shares: bool) -> dict[tuple[bytes, bytes], bytes]:
        """The distribution of views for every pair of secrets, as canonical bytes."""
        secrets = [s.reshape(self.k, -1) for s in all_tuples(self.prime, self.k * self.num_entries)]
        result = {}
        for pair in itertools.product(secrets, repeat=2):
            views = self.views(pair, is_masked=is_masked, with_shares=with_shares)
            values, counts = np.unique(views, axis=0, return_counts=True)
            result[pair[0].tobytes(), pair[1].tobytes()] = values.tobytes() + counts.tobytes()
        return result

    def difference(self, pair: tuple[bytes, bytes]) -> Ints:
        left, right = (np.frombuffer(each, dtype=np.int64).reshape(self.k, -1) for each in pair)
        return (left - right) % self.prime

    def distance(self, pair: tuple[bytes, bytes]) -> int:
        return int((self.difference(pair) ** 2).sum() % self.prime)

    def low_coefficients(self, pair: tuple[bytes, bytes]) -> tuple[int, ...]:
        """The product's coefficients at x**0 .. x**(K-1), which contain no mask."""
        parts = self.difference(pair)
        k = self.k
        return tuple(
            int(
                sum((parts[i] * parts[k - 1 - j]).sum() for i in range(k) for j in range(k) if i + j == power)
                % self.prime
            )
            for power in range(k)
        )


CASES = [(3, 2, 1, False), (3, 1, 2, False), (3, 2, 1, True)]  # prime, K, entries of a part, paper's form


@pytest.mark.parametrize(("prime", "k", "num_entries", "is_paper_form"), CASES)
def test_hidden_products__tell_a_user_and_the_server_the_distance_and_nothing_else(
    prime: int, k: int, num_entries: int, is_paper_form: bool
) -> None:
    small = SmallRound(prime, k, num_entries, is_paper_form=is_paper_form)
    by_distance: dict[int, set[bytes]] = {}
    for pair, distribution in small.distributions(is_masked=True, with_shares=True).items():
        by_distance.setdefault(small.distance(pair), set()).add(distribution)
    assert len(by_distance) == prime
    assert all(len(distributions) == 1 for distributions in by_distance.values())
    assert len(set.union(*by_distance.values())) == prime  # and the distance they do tell


@pytest.mark.parametrize(("prime", "k", "num_entries", "is_paper_form"), CASES)
def test_bare_products__tell_a_user_and_the_server_more_than_the_distance(
    prime: int, k: int, num_entries: int, is_paper_form: bool
) -> None:
    small = SmallRound(prime, k, num_entries, is_paper_form=is_paper_form)
    by_distance: dict[int, set[bytes]] = {}
    for pair, distribution in small.distributions(is_masked=False, with_shares=True).items():
        by_distance.setdefault(small.distance(pair), set()).add(distribution)
    assert any(len(distributions) > 1 for distributions in by_distance.values())


def test_bare_products__tell_the_server_alone_the_distance_of_each_part() -> None:
    small = SmallRound(3, 2, 1, is_paper_form=False)
    by_distances: dict[bytes, set[bytes]] = {}
    for pair, distribution in small.distributions(is_masked=False, with_shares=False).items():
        distances = (small.difference(pair) ** 2).sum(axis=1) % small.prime
        by_distances.setdefault(distances.tobytes(), set()).add(distribution)
    views = [distribution for distributions in by_distances.values() for distribution in distributions]
    assert len(by_distances) == 4  # each part's is 0 or 1 modulo 3
    assert len(set(views)) == len(views)  # no view fits two pairs of distances


def test_bare_products__in_the_papers_form_tell_the_low_coefficients_and_nothing_else() -> None:
    small = SmallRound(3, 2, 1, is_paper_form=True)
    by_coefficients: dict[tuple[int, ...], set[bytes]] = {}
    distances: dict[int, set[bytes]] = {}
    for pair, distribution in small.distributions(is_masked=False, with_shares=False).items():
        by_coefficients.setdefault(small.low_coefficients(pair), set()).add(distribution)
        distances.setdefault(small.distance(pair), set()).add(distribution)
    assert all(len(distributions) == 1 for distributions in by_coefficients.values())
    assert any(len(distributions) > 1 for distributions in distances.values())  # more than distances


def test_range_masks__are_wide_enough_to_hide_and_narrow_enough_to_prove() -> None:
    for num_bits, length in ((8, 1000), (16, 131_072), (32, 1_000_000)):
        parameters = RampKrumParameters(
            RampSharing(20, 5, 2, 2, 2), num_selected=4, length=length, fixed_point=FixedPoint(num_bits)
        )
        honest = parameters.largest_subset_sum
        assert parameters.range_mask_bound >= honest << 40  # statistical distance of a sum at most 2**-40
        accepted = parameters.range_mask_bound + 2 * honest
        assert (
            length * (2 * accepted) ** 2 < 2**254
        )  # squared distances of accepted updates do not wrap around
