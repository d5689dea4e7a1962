"""Output codes: one codeword per class, and the class whose codeword is nearest wins.

A classifier with an output code predicts a word of ``num_bits`` real numbers instead of one score per class;
the decoder compares it with the ``num_classes`` codewords of the code book C (Dietterich & Bakiri, "Solving
multiclass learning problems via error-correcting output codes", JAIR 1995). Codewords of binary codes are
written with -1 and +1. Rows that lie far apart correct more wrong bits; columns that are little correlated
make those bits go wrong independently: :meth:`OutputCode.separation` reports both.

How codewords are *learned* (class means of predicted words, contrastive training) is not here: a learned code
book enters through the constructor like any other matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.errors import ParameterError

__all__ = ["Metric", "OutputCode", "Separation"]

Metric = Literal["hamming", "cosine", "euclidean"]
"""How a predicted word is compared with a codeword."""

_MOST_EXHAUSTIVE_CLASSES = 13
_MOST_BCH_MESSAGE_BITS = 14


@dataclass(frozen=True)
class Separation:
    """How well the rows of a code book are separated and its columns decorrelated.

    Attributes
    ----------
    minimum_hamming, mean_hamming : float
        Over all pairs of classes, the number of positions in which the signs of the codewords differ.
    maximum_cosine, mean_cosine : float
        Over all pairs of classes, the cosine of the codewords (eq. 10 minimizes the maximum).
    maximum_column_correlation, mean_column_correlation : float
        Over all pairs of bits, the magnitude of the cosine of the centered columns. A constant column, which
        tells nothing, counts as correlated 1 with every other.
    num_constant_columns : int
        Bits that are the same for every class.
    """

    minimum_hamming: float
    mean_hamming: float
    maximum_cosine: float
    mean_cosine: float
    maximum_column_correlation: float
    mean_column_correlation: float
    num_constant_columns: int

    @property
    def num_correctable_bits(self) -> int:
        """Wrong signs that Hamming decoding always corrects: ``floor((d - 1) / 2)``."""
        return max(0, int(self.minimum_hamming - 1) // 2)


@dataclass(frozen=True, eq=False)
class OutputCode:
    """A code book with one codeword per class, and nearest-codeword decoding.

    Parameters
    ----------
    codewords : array-like of shape (num_classes, num_bits)
        C: row k is the codeword of class k. Finite, no two rows equal.
    name : str
        Where the code comes from, for reports.

    Raises
    ------
    ParameterError
        If the matrix is not two-dimensional with at least two rows, holds a value that is not finite, or
        gives two classes the same codeword; the message names the classes.

    Examples
    --------
    A Hadamard code for ten classes has 15 bits, and corrects any three wrong ones:

    >>> code = OutputCode.hadamard(10)
    >>> code.num_bits, code.separation().num_correctable_bits
    (15, 3)
    >>> word = code.codewords[7].copy()
    >>> word[[1, 4, 9]] *= -1
    >>> code.decode(word[None], metric="hamming")
    array([7])
    """

    codewords: NDArray[np.float64]
    name: str = "custom"
    _unit_codewords: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        codewords = np.array(self.codewords, dtype=np.float64)
        if codewords.ndim != 2 or codewords.shape[0] < 2 or codewords.shape[1] < 1:
            raise ParameterError(
                "codewords",
                "must have shape (num_classes >= 2, num_bits >= 1)",
                codewords.shape,
                hint="one row a class",
            )
        if not np.isfinite(codewords).all():
            bad = np.flatnonzero(~np.isfinite(codewords).all(axis=1)).tolist()
            raise ParameterError(
                "codewords", "must be finite", f"NaN or infinity in the rows of classes {bad}"
            )
        _, first_seen, which = np.unique(codewords, axis=0, return_index=True, return_inverse=True)
        repeated = np.flatnonzero(first_seen[which.reshape(-1)] != np.arange(len(codewords)))
        if repeated.size:
            later = int(repeated[0])
            earlier = int(first_seen[which.reshape(-1)[later]])
            raise ParameterError(
                "codewords",
                "must differ from class to class",
                f"classes {earlier} and {later} share one codeword",
            )
        codewords.setflags(write=False)
        object.__setattr__(self, "codewords", codewords)
        object.__setattr__(self, "_unit_codewords", _unit_rows(codewords))

    @classmethod
    def one_hot(cls, num_classes: int) -> OutputCode:
        """Bit k is +1 for class k alone; any two codewords differ in two places, so nothing is corrected."""
        _check_num_classes(num_classes)
        return cls(2.0 * np.eye(num_classes) - 1.0, "one-hot")

    @classmethod
    def random(
        cls, num_classes: int, num_bits: int, generator: np.random.Generator, *, num_trials: int = 200
    ) -> OutputCode:
        """Draw dense random signs; the best of ``num_trials`` draws by minimum Hamming distance is kept.

        Parameters
        ----------
        num_classes, num_bits : int
            Shape of the code book; ``2 ** num_bits >= num_classes``.
        generator : numpy.random.Generator
            Source of the draws.
        num_trials : int
            Draws to choose from (Allwein et al., JMLR 2000, choose among 10,000).

        Raises
        ------
        ParameterError
            If the shape is impossible, or every draw gave two classes the same word.
        """
        _check_num_classes(num_classes)
        if num_bits < 1 or num_bits < np.log2(num_classes):
            least = int(np.ceil(np.log2(num_classes)))
            raise ParameterError("num_bits", f"must be at least {least} for {num_classes} classes", num_bits)
        if num_trials < 1:
            raise ParameterError("num_trials", "must be at least 1", num_trials)
        signs = 2.0 * generator.integers(0, 2, size=(num_trials, num_classes, num_bits)) - 1.0
        # Of signs the product is agreements less disagreements: all distances from one product.
        gram = signs @ signs.transpose(0, 2, 1)
        above = np.triu_indices(num_classes, 1)
        smallest = ((num_bits - gram) / 2)[:, above[0], above[1]].min(axis=1)
        best = int(np.argmax(smallest))
        if smallest[best] == 0:
            raise ParameterError(
                "num_bits",
                f"is so small that {num_trials} draws all repeated a codeword",
                num_bits,
                hint="use more bits",
            )
        return cls(signs[best], f"random-{num_bits}")

    @classmethod
    def hadamard(cls, num_classes: int) -> OutputCode:
        """Rows of a Sylvester Hadamard matrix less its constant column: words differ in half their places."""
        from scipy.linalg import hadamard

        _check_num_classes(num_classes)
        order = max(4, 1 << int(num_classes - 1).bit_length())
        return cls(hadamard(order)[:num_classes, 1:].astype(np.float64), f"hadamard-{order}")

    @classmethod
    def bch(cls, num_classes: int, num_bits: int) -> OutputCode:
        """Codewords of the narrow-sense primitive BCH code with the largest distance that has enough of them.

        Of the code's words those are taken, one after the other, that keep the largest minimum distance and,
        among these, the most balanced columns.

        Parameters
        ----------
        num_classes : int
            Codewords to take.
        num_bits : int
            Length; ``2 ** s - 1`` for some s >= 3.

        Raises
        ------
        ParameterError
            If the length is not of that form, or the only code with enough words has too many to choose from.
        """
        import galois

        _check_num_classes(num_classes)
        if num_bits < 7 or (num_bits + 1) & num_bits:
            raise ParameterError(
                "num_bits", "must be 2**s - 1 with s >= 3", num_bits, hint="7, 15, 31, 63, ..."
            )
        needed = int(num_classes - 1).bit_length()
        best = None
        # Largest distance first: the first code with enough words corrects the most.
        for distance in range(num_bits, 2, -2):
            try:
                candidate = galois.BCH(num_bits, d=distance)
            except ValueError:  # galois: no BCH code of that length has that design distance
                continue
            if candidate.k >= needed:
                best = candidate
                break
        if best is None or best.k > _MOST_BCH_MESSAGE_BITS:
            raise ParameterError(
                "num_classes", f"has no BCH code of length {num_bits} to choose from", num_classes
            )
        messages = (np.arange(1 << best.k)[:, None] >> np.arange(best.k)[::-1]) & 1
        words = 2.0 * np.asarray(best.encode(messages.astype(np.uint8)), dtype=np.float64) - 1.0
        return cls(words[_spread_words(words, num_classes)], f"bch-{num_bits}-{best.k}")

    @classmethod
    def exhaustive(cls, num_classes: int) -> OutputCode:
        """Every split of the classes in two, once: ``2 ** (K - 1) - 1`` bits (Dietterich & Bakiri 1995)."""
        _check_num_classes(num_classes)
        if not 3 <= num_classes <= _MOST_EXHAUSTIVE_CLASSES:
            raise ParameterError(
                "num_classes",
                f"must be 3 to {_MOST_EXHAUSTIVE_CLASSES} for the exhaustive code",
                num_classes,
                hint="its length doubles with every class; use a random, Hadamard or BCH code",
            )
        # The first class stays on one side: a split and its complement ask the same.
        splits = np.arange(1, 1 << (num_classes - 1))
        in_second_part = (splits[None, :] >> np.arange(num_classes - 1)[:, None]) & 1
        signs = np.vstack([np.ones((1, splits.size)), 1.0 - 2.0 * in_second_part])
        return cls(signs, f"exhaustive-{num_classes}")

    @property
    def num_classes(self) -> int:
        """K, the number of codewords."""
        return int(self.codewords.shape[0])

    @property
    def num_bits(self) -> int:
        """Length of a codeword."""
        return int(self.codewords.shape[1])

    def distances(self, words: ArrayLike, *, metric: Metric = "cosine") -> NDArray[np.float64]:
        """Distance of every word from every codeword.

        Parameters
        ----------
        words : array-like of shape (batch, num_bits)
            Predicted words, real.
        metric : {"cosine", "hamming", "euclidean"}
            ``1 - cos``; number of positions whose signs differ (zero counts as positive); Euclidean distance.

        Returns
        -------
        ndarray of shape (batch, num_classes), float64

        Raises
        ------
        ParameterError
            If a word has the wrong length or is not finite, or the metric is unknown.
        """
        predicted = self._checked_words(words)
        if metric == "cosine":
            return 1.0 - _unit_rows(predicted) @ self._unit_codewords.T
        if metric == "hamming":
            agreement: NDArray[np.float64] = _signs(predicted) @ _signs(self.codewords).T
            return (self.num_bits - agreement) / 2.0
        if metric == "euclidean":
            # Centered first: the expanded square cancels badly for words far from 0 and near each other.
            center = self.codewords.mean(axis=0)
            shifted, centered = predicted - center, self.codewords - center
            squares = (
                (shifted**2).sum(axis=1)[:, None] - 2.0 * shifted @ centered.T + (centered**2).sum(axis=1)
            )
            # What cancels may end just below 0, and its root would be NaN.
            distances: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0.0))
            return distances
        raise ParameterError("metric", f"must be one of {list(get_args(Metric))}", metric)

    def decode(self, words: ArrayLike, *, metric: Metric = "cosine") -> NDArray[np.int64]:
        """Class of the nearest codeword; of equally near ones the first.

        Parameters
        ----------
        words : array-like of shape (batch, num_bits)
            Predicted words, real.
        metric : {"cosine", "hamming", "euclidean"}
            See :meth:`distances`.

        Returns
        -------
        ndarray of shape (batch,), int64
        """
        nearest: NDArray[np.int64] = np.argmin(self.distances(words, metric=metric), axis=1)
        return nearest

    def separation(self) -> Separation:
        """Row separation and column correlation of this code book."""
        rows = np.triu_indices(self.num_classes, 1)
        hamming = ((self.num_bits - _signs(self.codewords) @ _signs(self.codewords).T) / 2.0)[rows]
        cosine = (self._unit_codewords @ self._unit_codewords.T)[rows]
        columns = _unit_rows((self.codewords - self.codewords.mean(axis=0)).T)
        is_constant = ~columns.any(axis=1)
        correlation = np.abs(columns @ columns.T)
        correlation[is_constant] = correlation[:, is_constant] = 1.0
        pairs = correlation[np.triu_indices(self.num_bits, 1)] if self.num_bits > 1 else np.zeros(1)
        return Separation(
            minimum_hamming=float(hamming.min()),
            mean_hamming=float(hamming.mean()),
            maximum_cosine=float(cosine.max()),
            mean_cosine=float(cosine.mean()),
            maximum_column_correlation=float(pairs.max()),
            mean_column_correlation=float(pairs.mean()),
            num_constant_columns=int(is_constant.sum()),
        )

    def _checked_words(self, words: ArrayLike) -> NDArray[np.float64]:
        predicted = np.asarray(words, dtype=np.float64)
        if predicted.ndim != 2 or predicted.shape[1] != self.num_bits:
            raise ParameterError("words", f"must have shape (batch, {self.num_bits})", predicted.shape)
        if not np.isfinite(predicted).all():
            bad = np.flatnonzero(~np.isfinite(predicted).all(axis=1))
            raise ParameterError(
                "words", "must be finite", f"NaN or infinity in {bad.size} words, the first {bad[0]}"
            )
        return predicted


def _check_num_classes(num_classes: int) -> None:
    if num_classes < 2:
        raise ParameterError("num_classes", "must be at least 2", num_classes)


def _signs(words: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(words >= 0.0, 1.0, -1.0)


def _unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows scaled to length one; a zero row stays zero, so that its cosine with anything is 0.

    The largest entry is divided out first: squares of entries beyond 1e154 would overflow.
    """
    largest = np.abs(rows).max(axis=1, keepdims=True)
    scaled = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0.0)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(scaled, lengths, out=np.zeros_like(rows), where=lengths > 0.0)
    return unit


def _spread_words(words: NDArray[np.float64], num_classes: int) -> list[int]:
    """Greedy choice: largest distance from the words taken so far, then the most balanced columns."""
    # The code is linear: from every word the others are at the same distances, so any may be first.
    chosen = [0]
    nearest = (words.shape[1] - words @ words[0]) / 2.0
    column_sums = words[0].copy()
    while len(chosen) < num_classes:
        candidates = np.flatnonzero(nearest == nearest.max())
        imbalance = np.abs(column_sums + words[candidates]).sum(axis=1)
        pick = int(candidates[np.argmin(imbalance)])
        chosen.append(pick)
        column_sums += words[pick]
        nearest = np.minimum(nearest, (words.shape[1] - words @ words[pick]) / 2.0)
    return chosen
