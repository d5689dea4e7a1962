"""Majority vote over an ensemble, with its certificate.

The baseline decoder of Levine and Feizi (2020) and Jia et al. (2020). A poisoned model can at worst move
its vote from the winner to the runner-up, so ``e`` poisoned models change a lead by at most ``2 e``: a lead
of ``2 e + 1`` withstands them. Under a partition one attacker poisons one model, and a lead of ``2 k + 1``
withstands ``k`` attackers; under an overlapping code one attacker poisons every model that accepts it,
which :func:`certified_against` takes into account.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.attack_patterns import attack_patterns
from flower_coded.codes.subset_code import SubsetCode
from flower_coded.errors import ParameterError

__all__ = ["MajorityVote", "certified_against", "majority_vote"]


@dataclass(frozen=True)
class MajorityVote:
    """The votes on ``B`` samples.

    Parameters
    ----------
    labels : ndarray of shape (B,), int64
        The class with most votes; the smallest one of equals.
    votes : ndarray of shape (B, c), int64
        Votes for each class.
    margin : ndarray of shape (B,), int64
        Votes of the winner minus votes of the runner-up.
    certified : ndarray of shape (B,), int64
        The most poisoned models under which the label cannot change: the largest ``e`` with
        ``margin >= 2 e + 1``, and 0 for a tie.
    """

    labels: NDArray[np.int64]
    votes: NDArray[np.int64]
    margin: NDArray[np.int64]
    certified: NDArray[np.int64]


def majority_vote(predictions: ArrayLike, num_classes: int) -> MajorityVote:
    """Take the class that most models answer.

    Parameters
    ----------
    predictions : array_like of shape (m, B), int
        Answers in ``0 .. c - 1``.
    num_classes : int
        ``c``.

    Returns
    -------
    MajorityVote
        Labels, votes, margins and certificates.

    Raises
    ------
    ParameterError
        If the predictions are not a two-dimensional array of classes.

    Examples
    --------
    >>> vote = majority_vote([[1, 0], [1, 0], [1, 2], [0, 2]], num_classes=3)
    >>> vote.labels.tolist(), vote.margin.tolist(), vote.certified.tolist()
    ([1, 0], [2, 0], [0, 0])
    """
    answers = np.asarray(predictions)
    if answers.ndim != 2 or not len(answers) or not np.issubdtype(answers.dtype, np.integer):
        raise ParameterError("predictions", "must be whole numbers of shape (models, samples)", answers.shape)
    if answers.size and (answers.min() < 0 or answers.max() >= num_classes):
        raise ParameterError("predictions", f"must lie in 0 .. {num_classes - 1}", int(answers.max()))
    cells = np.arange(answers.shape[1]) * num_classes + answers
    votes = np.bincount(cells.ravel(), minlength=answers.shape[1] * num_classes)
    votes = votes.reshape(answers.shape[1], num_classes).astype(np.int64)
    ranked = np.sort(votes, axis=1)
    margin = ranked[:, -1] - (ranked[:, -2] if num_classes > 1 else 0)
    return MajorityVote(votes.argmax(axis=1), votes, margin, np.maximum(margin - 1, 0) // 2)


def certified_against(
    predictions: ArrayLike, num_classes: int, code: SubsetCode, num_attackers: int
) -> NDArray[np.bool_]:
    """Tell for which samples no set of colluding users could have changed, or can change, the majority label.

    Exact: every set of up to ``k`` users is tried with every target, moving the votes of all models it
    reaches. A tie counts as changed.

    Parameters
    ----------
    predictions : array_like of shape (m, B), int
        Answers in ``0 .. c - 1``.
    num_classes : int
        ``c``.
    code : SubsetCode
        Which model accepts whom; ``m`` models.
    num_attackers : int
        ``k``, the most colluding users.

    Returns
    -------
    ndarray of shape (B,), bool
        Whether the label is certain.

    Raises
    ------
    ParameterError
        If the predictions do not fit the code.

    Examples
    --------
    >>> from flower_coded.codes.constructions import partition_code
    >>> certified_against([[1, 0], [1, 0], [1, 2]], 3, partition_code(3, 3), num_attackers=1).tolist()
    [True, False]
    """
    answers = np.asarray(predictions)
    vote = majority_vote(answers, num_classes)
    if len(answers) != code.num_models:
        raise ParameterError("predictions", f"must have {code.num_models} rows, one per model", len(answers))
    sizes = min(num_attackers, code.num_users) + 1
    reached = attack_patterns(code, [1 / sizes] * sizes).models.astype(np.int64)
    one_hot = answers[:, :, None] == np.arange(num_classes)
    certain = np.ones(answers.shape[1], dtype=bool)
    samples = np.arange(answers.shape[1])
    for pattern in reached:
        lost = np.tensordot(pattern, one_hot.astype(np.int64), axes=1)  # (B, c): votes each class loses
        kept = vote.votes - lost
        strongest = kept + pattern.sum()
        strongest[samples, vote.labels] = -1  # the target is another class
        certain &= kept[samples, vote.labels] > strongest.max(axis=1)
    return certain
