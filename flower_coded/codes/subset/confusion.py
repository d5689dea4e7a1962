"""How clean models err: confusion counts, their smoothed log rates, and the check of what models answered."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.errors import ParameterError

__all__ = ["checked_predictions", "confusion_counts", "distinct_answers", "log_confusion_rates"]

RATE_SAMPLES = 1000
"""Samples per class that a confusion matrix of rates is taken to rest on when it is smoothed."""


def confusion_counts(predictions: ArrayLike, labels: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Count how often each model answers each class, by true class.

    Parameters
    ----------
    predictions : array_like of shape (m, B), int
        Answers of ``m`` models to clean held-out samples.
    labels : array_like of shape (B,), int
        Their true classes.
    num_classes : int
        ``c``; entries lie in ``0 .. c - 1``.

    Returns
    -------
    ndarray of shape (m, c, c), int64
        Entry ``[i, l, y]``: samples of class ``l`` to which model ``i`` answers ``y``.

    Raises
    ------
    ParameterError
        If the shapes do not fit or an entry is not a class.

    Examples
    --------
    >>> confusion_counts([[0, 1, 1]], [0, 0, 1], 2).tolist()
    [[[1, 1], [0, 1]]]
    """
    truth = np.asarray(labels)
    answers = checked_predictions(predictions, None, num_classes)
    if truth.shape != answers.shape[1:]:
        raise ParameterError("labels", f"must have shape {answers.shape[1:]}", truth.shape)
    truth = checked_predictions(truth[None, :], 1, num_classes, name="labels")[0]
    # One number per (model, truth, answer): a single bincount instead of a loop over models.
    cells = (np.arange(len(answers))[:, None] * num_classes + truth) * num_classes + answers
    counts = np.bincount(cells.ravel().astype(np.intp), minlength=len(answers) * num_classes**2)
    return counts.reshape(len(answers), num_classes, num_classes).astype(np.int64)


def log_confusion_rates(confusion: ArrayLike, num_models: int, smoothing: float) -> NDArray[np.float64]:
    """Turn confusion counts or rates into smoothed log rates.

    Parameters
    ----------
    confusion : array_like of shape (m, c, c)
        Whole numbers are counts. Floating-point entries whose rows sum to one are rates, taken to rest on
        :data:`RATE_SAMPLES` samples per class.
    num_models : int
        ``m``.
    smoothing : float
        Pseudo-counts added to every entry, above 0: no answer is ever impossible, and a class without
        samples becomes uniform.

    Returns
    -------
    ndarray of shape (m, c, c), float64
        ``log C_i[l, y]``.

    Raises
    ------
    ParameterError
        If the matrices do not fit or hold anything but finite non-negative numbers, or are neither counts nor
        rates.

    Examples
    --------
    >>> np.exp(log_confusion_rates([[[7, 1], [0, 0]]], 1, 1.0)).round(3).tolist()
    [[[0.8, 0.2], [0.5, 0.5]]]
    """
    given = np.asarray(confusion)
    if given.ndim != 3 or len(given) != num_models or given.shape[1] != given.shape[2]:
        raise ParameterError("confusion", f"must have shape ({num_models}, c, c)", given.shape)
    if given.shape[1] < 1:
        raise ParameterError("confusion", "must have at least one class", given.shape)
    counts = given.astype(np.float64)
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ParameterError("confusion", "must be finite and non-negative", float(counts.min()))
    if not (np.isfinite(smoothing) and smoothing > 0):
        raise ParameterError(
            "smoothing", "must be above 0, or an unseen answer would be impossible", smoothing
        )
    # Empty rows sum to 0: a class without samples must not make rates look like counts.
    row_sums = counts.sum(axis=2)[counts.any(axis=2)]
    if given.dtype.kind == "f" and np.allclose(row_sums, 1.0):
        counts *= RATE_SAMPLES
    elif (counts != np.floor(counts)).any():
        # Fractions that sum to something else would pass for a handful of samples, and smoothing drown them.
        raise ParameterError(
            "confusion",
            "must hold whole counts, or rates whose rows sum to one",
            f"rows that sum to {row_sums.min():g} .. {row_sums.max():g}",
            hint="divide each row by its sum",
        )
    log_counts = np.log(counts + smoothing)
    log_rates: NDArray[np.float64] = log_counts - np.logaddexp.reduce(log_counts, axis=2, keepdims=True)
    return log_rates


def checked_predictions(
    predictions: ArrayLike, num_models: int | None, num_classes: int, *, name: str = "predictions"
) -> NDArray[np.int64]:
    """Check that predictions are classes of shape (m, B), and give them as int64.

    Examples
    --------
    >>> checked_predictions([[0, 1]], 1, 2)
    array([[0, 1]])
    """
    answers = np.asarray(predictions)
    if answers.ndim != 2 or not len(answers) or (num_models is not None and len(answers) != num_models):
        expected = "(models, samples)" if num_models is None else f"({num_models}, samples)"
        raise ParameterError(name, f"must have shape {expected}", answers.shape)
    if not np.issubdtype(answers.dtype, np.integer):
        raise ParameterError(
            name, "must be whole numbers", str(answers.dtype), hint="take the argmax of scores"
        )
    if answers.size and (answers.min() < 0 or answers.max() >= num_classes):
        outside = int(answers.min() if answers.min() < 0 else answers.max())
        raise ParameterError(name, f"must lie in 0 .. {num_classes - 1}", outside)
    return answers.astype(np.int64)


def distinct_answers(
    answers: NDArray[np.int64], num_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find the distinct columns of answers: most samples of a good ensemble share a few.

    Parameters
    ----------
    answers : ndarray of shape (m, B), int64
        Classes below ``num_classes``.
    num_classes : int
        ``c``.

    Returns
    -------
    vectors : ndarray of shape (V, m), int64
        The distinct columns, as rows.
    inverse : ndarray of shape (B,), int64
        Which of them each sample is.
    counts : ndarray of shape (V,), int64
        How many samples each of them is.

    Examples
    --------
    >>> vectors, inverse, counts = distinct_answers(np.array([[0, 1, 0], [2, 1, 2]]), 3)
    >>> vectors.tolist(), inverse.tolist(), counts.tolist()
    ([[0, 2], [1, 1]], [0, 1, 0], [2, 1])
    """
    # One sortable key per sample: bytes if a class fits one (lexicographic, as a sort of rows), else rows.
    if num_classes <= 256:
        packed = np.ascontiguousarray(answers.T.astype(np.uint8))
        keys = packed.view(np.dtype((np.void, packed.shape[1]))).reshape(-1)
        _, first, inverse, counts = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        return answers.T[first], inverse.reshape(-1), counts
    vectors, inverse, counts = np.unique(answers.T, axis=0, return_inverse=True, return_counts=True)
    return vectors, inverse.reshape(-1), counts
