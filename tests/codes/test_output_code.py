"""Output codes: code books, decoding, separation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances_argmin

from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import ParameterError

BOOKS = {
    "one-hot": lambda: OutputCode.one_hot(10),
    "random": lambda: OutputCode.random(10, 20, np.random.default_rng(0)),
    "hadamard": lambda: OutputCode.hadamard(10),
    "bch": lambda: OutputCode.bch(10, 15),
    "exhaustive": lambda: OutputCode.exhaustive(5),
    "learned": lambda: OutputCode(np.random.default_rng(1).normal(size=(10, 16)), "learned"),
}


@pytest.mark.parametrize("name", BOOKS)
def test_codewords_decode_to_their_own_class_under_every_metric(name: str) -> None:
    code = BOOKS[name]()
    for metric in ("cosine", "hamming", "euclidean"):
        assert code.decode(code.codewords, metric=metric).tolist() == list(range(code.num_classes))


@pytest.mark.parametrize("name", ["random", "hadamard", "bch", "exhaustive"])
@given(data=st.data())
def test_hamming_decoding_corrects_up_to_half_the_minimum_distance(name: str, data: st.DataObject) -> None:
    code = BOOKS[name]()
    label = data.draw(st.integers(0, code.num_classes - 1))
    num_wrong = code.separation().num_correctable_bits
    wrong = data.draw(st.lists(st.integers(0, code.num_bits - 1), max_size=num_wrong, unique=True))
    word = code.codewords[label].copy()
    word[wrong] *= -1
    assert code.decode(word[None], metric="hamming").tolist() == [label]


def test_hadamard_rows_differ_in_half_the_places() -> None:
    code = OutputCode.hadamard(16)  # order 16: any two rows differ in 16 / 2 places
    assert code.num_bits == 15
    assert code.separation().minimum_hamming == code.separation().mean_hamming == 8


def test_bch_keeps_the_design_distance() -> None:
    # The (15, 5) BCH code has distance 7 and the (15, 1) repetition code is too small for ten classes.
    assert OutputCode.bch(10, 15).separation().minimum_hamming >= 7
    # The (31, 6) BCH code has distance 15.
    assert OutputCode.bch(43, 31).separation().minimum_hamming >= 15


def test_exhaustive_code_has_every_split_once() -> None:
    code = OutputCode.exhaustive(5)
    assert code.num_bits == 15  # 2**4 - 1
    assert len({tuple(column) for column in code.codewords.T}) == 15
    assert (code.codewords[0] == 1).all()
    assert code.separation().minimum_hamming == 8  # 2**(K - 2)


def test_euclidean_decoding_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    code = OutputCode.random(7, 11, generator)
    words = generator.normal(size=(500, 11))
    assert (code.decode(words, metric="euclidean") == pairwise_distances_argmin(words, code.codewords)).all()


def test_decodes_as_scikit_learns_output_code_classifier() -> None:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OutputCodeClassifier

    features, labels = load_iris(return_X_y=True)
    model = OutputCodeClassifier(LogisticRegression(max_iter=500), code_size=3, random_state=2).fit(
        features, labels
    )
    words = np.array([estimator.decision_function(features) for estimator in model.estimators_]).T
    code = OutputCode(model.code_book_, "scikit-learn")
    assert (code.decode(words, metric="euclidean") == model.predict(features)).all()


def test_separation_counts_by_hand() -> None:
    # Rows (+ + -) (+ - -) (- - +): distances 1, 3, 2. The last column is minus the first: correlation 1.
    code = OutputCode([[1, 1, -1], [1, -1, -1], [-1, -1, 1]])
    found = code.separation()
    assert (found.minimum_hamming, found.mean_hamming, found.num_correctable_bits) == (1, 2, 0)
    assert found.maximum_cosine == pytest.approx(1 / 3)
    assert found.maximum_column_correlation == pytest.approx(1)


def test_separation_reports_constant_columns() -> None:
    found = OutputCode([[1, 1], [1, -1]]).separation()
    assert (found.num_constant_columns, found.maximum_column_correlation) == (1, 1)


def test_zero_words_and_huge_words_have_finite_distances() -> None:
    code = OutputCode.hadamard(4)
    words = np.vstack([np.zeros(3), np.full(3, 1e300), np.full(3, 1e-300)])
    assert np.isfinite(code.distances(words, metric="cosine")).all()


def test_random_code_is_the_same_for_the_same_seed() -> None:
    first, second = (OutputCode.random(10, 20, np.random.default_rng(5)) for _ in range(2))
    assert (first.codewords == second.codewords).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: OutputCode([[1, 1], [1, 1]]), "classes 0 and 1 share one codeword"),
        (lambda: OutputCode([[1, np.nan], [1, 1]]), r"rows of classes \[0\]"),
        (lambda: OutputCode([1, 2, 3]), "must have shape"),
        (lambda: OutputCode.one_hot(1), "num_classes must be at least 2; received 1"),
        (lambda: OutputCode.random(10, 3, np.random.default_rng(0)), "num_bits must be at least 4"),
        (lambda: OutputCode.bch(10, 16), "7, 15, 31, 63"),
        (lambda: OutputCode.exhaustive(40), "doubles with every class"),
        (lambda: OutputCode.hadamard(4).decode(np.zeros((2, 5))), r"shape \(batch, 3\)"),
        (lambda: OutputCode.hadamard(4).decode([[np.inf, 0, 0]]), "must be finite"),
        (
            lambda: OutputCode.hadamard(4).decode(np.zeros((1, 3)), metric="manhattan"),
            "metric must be one of",
        ),
    ],
)
def test_refuses_with_the_reason(build: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build()  # type: ignore[operator]
