"""Code book of a federation: class means of predicted codewords, put together from what clients report.

Each client reports, per class, the sum of its predicted codewords and their number, never a single codeword.
Added up, they give eq. 3 of the contrastive output code paper exactly as a central computation would. That
mean is weighted by *claimed* counts, so one liar can move it at will; only a claim beyond
:data:`MAX_CLAIMED_COUNT` is refused. The robust rules take one mean codeword per client and class, all of
equal weight, and combine them class by class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation import coordinate_median, mean, multi_krum, trimmed_mean
from flower_coded.errors import MissingClassError, ParameterError

__all__ = [
    "MAX_CLAIMED_COUNT",
    "CodeBookRule",
    "aggregate_code_book",
    "check_contribution",
    "code_book_from_sums",
    "num_clients_needed",
    "robust_combination",
]

CodeBookRule = Literal["mean", "median", "trimmed-mean", "multi-krum"]
"""How clients' class means become one codeword per class."""

MAX_CLAIMED_COUNT = 10**12
"""More samples of a class than any client holds: a larger claim is no claim."""


def code_book_from_sums(
    sums: NDArray[np.float64], counts: NDArray[np.int64] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Eq. 3: the mean codeword of every class.

    Parameters
    ----------
    sums : ndarray of shape (num_classes, num_bits), float64
    counts : ndarray of shape (num_classes,), int64 or float64

    Returns
    -------
    ndarray of shape (num_classes, num_bits), float64

    Raises
    ------
    MissingClassError
        If a class has no sample; the message names it.

    Examples
    --------
    >>> code_book_from_sums(np.array([[2.0, -2.0]]), np.array([4]))
    array([[ 0.5, -0.5]])
    """
    absent = np.flatnonzero(np.asarray(counts) < 1).tolist()
    if absent:
        raise MissingClassError(absent)
    means: NDArray[np.float64] = np.asarray(sums, np.float64) / np.asarray(counts, np.float64)[:, None]
    return means


def check_contribution(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> str | None:
    """Say what is wrong with one client's report, or nothing.

    Parameters
    ----------
    sums : ndarray of shape (num_classes, num_bits), float64
    counts : ndarray of shape (num_classes,), int64

    Returns
    -------
    str or None
        Codewords end in ``tanh``, so no entry of a sum exceeds the count in magnitude; and no count exceeds
        :data:`MAX_CLAIMED_COUNT`.

    Examples
    --------
    >>> check_contribution(np.array([[0.5], [0.0]]), np.array([1, 0]))
    >>> check_contribution(np.array([[0.5], [7.0]]), np.array([1, 3]))
    'the sum of class 1 reaches 7, beyond its count of 3'
    """
    # First of all: NaN compares as false, and would pass the bound on the sums below.
    if not np.isfinite(sums).all():
        return "the sums hold NaN or infinity"
    if (counts < 0).any():
        return f"the count of class {int(np.argmax(counts < 0))} is negative"
    if (counts > MAX_CLAIMED_COUNT).any():
        greedy = int(np.argmax(counts > MAX_CLAIMED_COUNT))
        return f"the count of class {greedy} is {int(counts[greedy])}, beyond {MAX_CLAIMED_COUNT:.0e}"
    largest = np.abs(sums).max(axis=1)
    # A part in a million for the rounding of float32 words summed over thousands of samples.
    beyond = largest > counts * (1.0 + 1e-6)
    if beyond.any():
        worst = int(np.argmax(beyond))
        return (
            f"the sum of class {worst} reaches {largest[worst]:.6g}, beyond its count of {int(counts[worst])}"
        )
    return None


def aggregate_code_book(
    sums: NDArray[np.float64],
    counts: NDArray[np.int64],
    *,
    rule: CodeBookRule = "mean",
    num_byzantine: int = 0,
) -> NDArray[np.float64]:
    """Combine the reports of several clients.

    Parameters
    ----------
    sums : ndarray of shape (num_clients, num_classes, num_bits), float64
    counts : ndarray of shape (num_clients, num_classes), int64
        A count of 0 says that the client has nothing of the class; it is then not asked about it.
    rule : {"mean", "median", "trimmed-mean", "multi-krum"}
        ``mean`` is eq. 3, weighted by the counts. The others combine one mean codeword per client.
    num_byzantine : int
        f, how many of the clients may lie. For a class that c clients report, the median and the trimmed mean
        need ``c > 2 f``, multi-Krum ``c >= 2 f + 3``.

    Returns
    -------
    ndarray of shape (num_classes, num_bits), float64

    Raises
    ------
    ParameterError
        If the rule is unknown or f is negative.
    MissingClassError
        If a class is reported by no client, or by too few for the rule to hold against f liars; it is named.

    Examples
    --------
    Three clients agree on a codeword, one sends its opposite and claims a thousand samples:

    >>> sums = np.array([[[2.0, -2.0]], [[2.0, -2.0]], [[2.0, -2.0]], [[-1000.0, 1000.0]]])
    >>> counts = np.array([[2], [2], [2], [1000]])
    >>> aggregate_code_book(sums, counts).round(2)
    array([[-0.99,  0.99]])
    >>> aggregate_code_book(sums, counts, rule="median", num_byzantine=1)
    array([[ 1., -1.]])
    """
    needed = num_clients_needed(rule, num_byzantine)
    if num_byzantine < 0:
        raise ParameterError("num_byzantine", "must not be negative", num_byzantine)
    if rule == "mean":
        return code_book_from_sums(sums.sum(axis=0), counts.sum(axis=0, dtype=np.float64))
    short = np.flatnonzero((counts > 0).sum(axis=0) < needed).tolist()
    if short:
        raise MissingClassError(short, num_clients_needed=needed)
    combine = robust_combination(rule, num_byzantine)
    # One mean per client: a robust rule must not weigh by counts, which a liar would inflate.
    means = sums / np.maximum(counts, 1)[:, :, None]
    return np.stack([combine(means[counts[:, label] > 0, label]) for label in range(sums.shape[1])])


def num_clients_needed(rule: CodeBookRule, num_byzantine: int) -> int:
    """Fewest vectors with which a rule withstands that many liars.

    Raises
    ------
    ParameterError
        If the rule is unknown.

    Examples
    --------
    >>> num_clients_needed("mean", 2), num_clients_needed("median", 2), num_clients_needed("multi-krum", 2)
    (1, 5, 7)
    """
    if rule not in get_args(CodeBookRule):
        raise ParameterError("rule", f"must be one of {list(get_args(CodeBookRule))}", rule)
    return 1 if rule == "mean" else 2 * num_byzantine + (3 if rule == "multi-krum" else 1)


def robust_combination(
    rule: CodeBookRule, num_byzantine: int
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Give the function from vectors (n, d) to one vector (d,) of a rule; all vectors count alike.

    Examples
    --------
    >>> robust_combination("median", 1)(np.array([[0.0], [1.0], [50.0]]))
    array([1.])
    """
    if rule == "trimmed-mean":
        return lambda vectors: trimmed_mean(vectors, num_byzantine)
    if rule == "multi-krum":
        return lambda vectors: multi_krum(vectors, num_byzantine, len(vectors) - num_byzantine - 2)
    return {"mean": mean, "median": coordinate_median}[rule]
