"""The federated code book: exact without liars, hardly moved by one with a robust rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.attacks.code_book_poisoning import CodeBookPoisoning
from flower_coded.errors import MissingClassError, ParameterError
from flower_coded.learning.code_book import aggregate_code_book, check_contribution, code_book_from_sums

ROBUST_RULES = ("median", "trimmed-mean", "multi-krum")


def reports(seed: int, num_clients: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Clients whose mean codewords scatter by 0.1 around common ones, with unequal counts."""
    generator = np.random.default_rng(seed)
    book = np.tanh(2 * generator.normal(size=(5, 24)))
    means = np.clip(book + 0.1 * generator.normal(size=(num_clients, 5, 24)), -1, 1)
    counts = generator.integers(5, 40, size=(num_clients, 5))
    return means * counts[:, :, None], counts


@pytest.mark.parametrize("rule", ROBUST_RULES)
@pytest.mark.parametrize("kind", ["negate", "swap", "collapse"])
@pytest.mark.parametrize("claimed_count", [None, 10**6])
def test_one_liar_of_ten_moves_robust_rules_by_less_than_a_tenth_of_the_mean(
    rule: str, kind: str, claimed_count: int | None
) -> None:
    ratios = []
    for seed in range(5):
        sums, counts = reports(seed)
        poisoned_sums, poisoned_counts = sums.copy(), counts.copy()
        attack = CodeBookPoisoning(kind, claimed_count)  # type: ignore[arg-type]
        poisoned_sums[3], poisoned_counts[3] = attack.craft(sums[3], counts[3])

        def movement(rule: str, before: tuple, after: tuple) -> float:
            first = aggregate_code_book(*before, rule=rule, num_byzantine=1)
            return float(np.linalg.norm(aggregate_code_book(*after, rule=rule, num_byzantine=1) - first))

        before, after = (sums, counts), (poisoned_sums, poisoned_counts)
        ratios.append(movement(rule, before, after) / movement("mean", before, after))
    # Believing the claims, the mean goes wherever the liar wants; with honest counts it goes a tenth of the
    # way, and the robust rules at most a tenth of that where clients agree to 0.1.
    assert max(ratios) < (0.1 if claimed_count else 0.35)


@pytest.mark.parametrize("rule", ["mean", *ROBUST_RULES])
@given(seed=st.integers(0, 10_000))
def test_the_order_of_clients_does_not_matter(rule: str, seed: int) -> None:
    sums, counts = reports(seed)
    order = np.random.default_rng(seed).permutation(len(sums))
    np.testing.assert_allclose(
        aggregate_code_book(sums, counts, rule=rule, num_byzantine=1),
        aggregate_code_book(sums[order], counts[order], rule=rule, num_byzantine=1),
        atol=1e-12,
    )


def test_clients_without_a_class_are_not_asked_about_it() -> None:
    sums = np.array([[[1.0]], [[0.0]], [[0.0]], [[2.0]]])
    counts = np.array([[2], [0], [0], [2]])
    assert aggregate_code_book(sums, counts, rule="median") == pytest.approx(0.75)  # between 1/2 and 2/2


def test_classes_reported_by_too_few_are_named() -> None:
    sums, counts = reports(0)
    counts[3:, 2] = 0
    with pytest.raises(MissingClassError, match=r"classes \[2\] are reported by fewer than 5 clients"):
        aggregate_code_book(sums, counts, rule="median", num_byzantine=2)
    counts[:, 2] = 0
    with pytest.raises(MissingClassError, match=r"classes \[2\] have no sample at any client"):
        aggregate_code_book(sums, counts)


def test_the_sum_of_huge_counts_does_not_wrap() -> None:
    # Two counts of 2**62 add up to 2**63, which is negative in int64.
    sums, counts = np.full((2, 1, 1), 2.0**61), np.full((2, 1), 2**62)
    assert aggregate_code_book(sums, counts) == 0.5


def test_a_class_that_nobody_has_is_named() -> None:
    with pytest.raises(MissingClassError, match=r"classes \[1, 3\] have no sample"):
        code_book_from_sums(np.zeros((4, 2)), np.array([1, 0, 5, 0]))


@pytest.mark.parametrize(
    ("sums", "counts", "reason"),
    [
        ([[np.nan]], [1], "the sums hold NaN or infinity"),
        ([[0.0]], [-1], "the count of class 0 is negative"),
        ([[0.0]], [2**63 - 1], "the count of class 0 is 9223372036854775807, beyond 1e+12"),
        ([[-2.5]], [2], r"the sum of class 0 reaches 2.5, beyond its count of 2"),
    ],
)
def test_malformed_reports_are_described(sums: list, counts: list, reason: str) -> None:
    assert check_contribution(np.array(sums), np.array(counts)) == reason


def test_oversize_sums_are_malformed_and_honest_ones_are_not() -> None:
    sums, counts = reports(1)
    assert check_contribution(sums[0], counts[0]) is None
    assert "beyond its count" in str(
        check_contribution(*CodeBookPoisoning("oversize").craft(sums[0], counts[0]))
    )


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ParameterError, match="rule must be one of"):
        aggregate_code_book(*reports(0), rule="mode")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="num_byzantine must not be negative"):
        aggregate_code_book(*reports(0), rule="median", num_byzantine=-1)
