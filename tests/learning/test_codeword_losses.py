"""Losses of contrastive output codes against a slow NumPy reference, by hand, and on degenerate batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flower_coded.errors import ParameterError
from flower_coded.learning import codeword_losses as losses


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / math.sqrt((first @ first) * (second @ second)))


def naive_info_nce(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    both, batch = np.vstack([first, second]), len(first)
    total = 0.0
    for i in range(2 * batch):
        others = [math.exp(similarity(both[i], both[k]) / temperature) for k in range(2 * batch) if k != i]
        total -= math.log(
            math.exp(similarity(both[i], both[(i + batch) % (2 * batch)]) / temperature) / sum(others)
        )
    return total / (2 * batch)


def naive_row_separation(
    words: np.ndarray, labels: np.ndarray, book: np.ndarray, temperature: float
) -> float:
    per_sample = []
    for i, word in enumerate(words):
        below = sum(math.exp(similarity(word, row) / temperature) for row in book)
        draws = [
            -math.log(math.exp(similarity(word, words[j]) / temperature) / below)
            for j in range(len(words))
            if j != i and labels[j] == labels[i]
        ]
        if draws:
            per_sample.append(sum(draws) / len(draws))
    return sum(per_sample) / len(per_sample) if per_sample else 0.0


def naive_cross_entropy(words: np.ndarray, labels: np.ndarray, book: np.ndarray) -> float:
    total = 0.0
    for word, label in zip(words, labels, strict=True):
        scores = [math.exp(similarity(word, row)) for row in book]
        total -= math.log(scores[label] / sum(scores))
    return total / len(words)


@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 9), num_bits=st.integers(2, 7))
def test_losses_equal_the_slow_reference(seed: int, batch: int, num_bits: int) -> None:
    generator = np.random.default_rng(seed)
    words, others = generator.normal(size=(2, batch, num_bits)) + 0.1
    book = generator.normal(size=(4, num_bits)) + 0.1
    labels = generator.integers(0, 4, size=batch)
    w, o, b, y = map(torch.from_numpy, (words, others, book, labels))
    expected_squares = expected_signed = 0.0
    for j in range(num_bits):
        for k in range(j + 1, num_bits):
            expected_squares += similarity(words[:, j], words[:, k]) ** 2
            expected_signed += similarity(words[:, j], words[:, k])
    hinge = np.mean([max(0.5 - similarity(x, book[c]), 0.0) for x, c in zip(words, labels, strict=True)])
    worst = max(similarity(book[i], book[j]) for i in range(4) for j in range(i))
    for computed, expected in (
        (losses.info_nce(w, o, temperature=0.5), naive_info_nce(words, others, 0.5)),
        (losses.column_separation(w), expected_squares),
        (losses.column_separation(w, signed=True), expected_signed),
        (losses.row_separation(w, y, b, temperature=0.3), naive_row_separation(words, labels, book, 0.3)),
        (losses.codeword_cross_entropy(w, y, b), naive_cross_entropy(words, labels, book)),
        (losses.codeword_hinge(w, y, b), hinge),
        (losses.maximum_cosine(b), worst),
    ):
        assert float(computed) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_two_samples_by_hand() -> None:
    # Words (1, 0) and (0, 1), code book the same: similarities 1 and 0, so eq. 5 gives e / (e + 1) to the own
    # class.
    words = torch.eye(2, dtype=torch.float64)
    labels = torch.tensor([0, 1])
    entropy = losses.codeword_cross_entropy(words, labels, words)
    assert float(entropy) == pytest.approx(math.log(1 + math.exp(-1)))
    assert float(losses.codeword_hinge(words, labels, words)) == 0.0
    assert float(losses.codeword_hinge(words, labels.flip(0), words)) == pytest.approx(0.5)
    assert float(losses.maximum_cosine(words)) == pytest.approx(0.0)
    # Columns (1, 1) and (1, -1) are orthogonal.
    assert float(losses.column_separation(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))) == pytest.approx(0.0)
    # Columns (1, 1) and (-1, -1) are opposite: -1 as printed, +1 squared.
    opposite = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    assert float(losses.column_separation(opposite, signed=True)) == pytest.approx(-1.0)
    assert float(losses.column_separation(opposite)) == pytest.approx(1.0)


def test_info_nce_by_hand() -> None:
    # Both augmentations are the two unit vectors: each projection has its partner at 1 and two others at 0.
    eye = torch.eye(2, dtype=torch.float64)
    assert float(losses.info_nce(eye, eye, temperature=1.0)) == pytest.approx(math.log(1 + 2 * math.exp(-1)))


def test_gradients_pass_the_numerical_check() -> None:
    generator = torch.Generator().manual_seed(4)
    words, others, book = (torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    labels = torch.tensor([0, 0, 1, 1, 4])
    for tensor in (words, others, book):
        tensor.requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda a, b: losses.info_nce(a, b, temperature=0.5), (words, others))
    assert check(losses.column_separation, (words,))
    assert check(lambda a, b: losses.row_separation(a, labels, b, temperature=0.5), (words, book))
    assert check(lambda a, b: losses.codeword_cross_entropy(a, labels, b), (words, book))
    assert check(lambda a, b: losses.codeword_hinge(a, labels, b), (words, book))
    assert check(losses.maximum_cosine, (book,))


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (torch.ones(1, 3), torch.tensor([1])),  # one sample
        (torch.ones(4, 3), torch.tensor([1, 1, 1, 1])),  # one class, equal words
        (torch.zeros(4, 3), torch.tensor([0, 1, 1, 0])),  # zero codewords
    ],
)
def test_degenerate_batches_have_finite_losses_and_gradients(
    words: torch.Tensor, labels: torch.Tensor
) -> None:
    words = words.clone().requires_grad_()
    book = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], requires_grad=True)
    total = (
        losses.info_nce(words, words.flip(1), temperature=0.1)
        + losses.column_separation(words)
        + losses.row_separation(words, labels, book, temperature=0.1)
        + losses.codeword_cross_entropy(words, labels, book)
        + losses.codeword_hinge(words, labels, book)
        + losses.maximum_cosine(book)
    )
    total.backward()
    assert torch.isfinite(total)
    assert words.grad is not None
    assert torch.isfinite(words.grad).all()
    assert book.grad is not None
    assert torch.isfinite(book.grad).all()


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 12))
def test_codeword_sums_of_parts_add_up_to_the_whole(seed: int, cut: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    words = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (12,), generator=generator)
    whole_sum, whole_count = losses.codeword_sums(words, labels, 4)
    parts = [losses.codeword_sums(words[p], labels[p], 4) for p in (slice(None, cut), slice(cut, None))]
    torch.testing.assert_close(parts[0][0] + parts[1][0], whole_sum)
    assert (parts[0][1] + parts[1][1] == whole_count).all()


def test_refuses_with_the_reason() -> None:
    words, labels = torch.ones(2, 3), torch.tensor([0, 5])
    with pytest.raises(ParameterError, match="temperature must be positive; received 0"):
        losses.info_nce(words, words, temperature=0)
    with pytest.raises(ParameterError, match=r"labels must lie in 0 \.\. 1; received \[0, 5\]"):
        losses.codeword_hinge(words, labels, torch.ones(2, 3))
    with pytest.raises(ParameterError, match=r"labels must have shape \(2,\)"):
        losses.codeword_sums(words, labels[:1], 2)
    with pytest.raises(ParameterError, match="shape of first"):
        losses.info_nce(words, words[:1], temperature=1.0)
