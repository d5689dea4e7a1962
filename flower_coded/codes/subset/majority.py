"""Majority vote over an ensemble, with its certificate.

The baseline decoder of Levine and Feizi (2020) and Jia et al. (2020). A poisoned model can at worst move
its vote from the winner to the runner-up, so ``e`` poisoned models change a lead by at most ``2 e``: a lead
of ``2 e + 1`` withstands them. Under a partition one attacker poisons one model, and a lead of ``2 k + 1``
withstands ``k`` attackers; under an overlapping code one attacker poisons every model that accepts it,
which :func:`certified_against` takes into account.

Attackers who poison only some of their models change no certificate: moving every vote they can is the worst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.subset.attacker_sets import attacker_sets
from flower_coded.codes.subset.confusion import checked_predictions, distinct_answers
from flower_coded.codes.subset.decoded import Decoded, EnsembleDecoder
from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.errors import ParameterError

__all__ = ["MajorityDecoder", "MajorityVote", "certified_against", "majority_vote"]


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
    # Counted by the machine's own integers: where those have 32 bits, bincount takes no longer ones.
    votes = np.bincount(cells.ravel().astype(np.intp), minlength=answers.shape[1] * num_classes)
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
    >>> from flower_coded.codes.subset.constructions import partition_code
    >>> certified_against([[1, 0], [1, 0], [1, 2]], 3, partition_code(3, 3), num_attackers=1).tolist()
    [True, False]
    """
    answers = np.asarray(predictions)
    vote = majority_vote(answers, num_classes)
    if len(answers) != code.num_models:
        raise ParameterError("predictions", f"must have {code.num_models} rows, one per model", len(answers))
    reach = attacker_sets(code, min(num_attackers, code.num_users)).reach
    return np.asarray(~_changed_by(answers.T, vote, reach).any(axis=1))


class MajorityDecoder(EnsembleDecoder):
    """The majority vote as a decoder: it names nobody, and certifies a label against users.

    ``certified`` is the most users who, poisoning all or some of their models, cannot have changed the
    vote's label and cannot change it.

    Parameters
    ----------
    code : SubsetCode
        Which model accepts whom.
    confusion : array_like of shape (m, c, c)
        Tells the number of classes; nothing else of it is used.
    max_certified : int, optional
        The most users to certify against; if not given, as many as always leave a model clean.

    Raises
    ------
    ParameterError
        If the confusion matrices do not fit the code, or there are too many sets of users.

    Examples
    --------
    >>> from flower_coded.codes.subset.constructions import partition_code
    >>> decoder = MajorityDecoder(partition_code(5, 5), np.ones((5, 3, 3)))
    >>> decoder.decode([[1, 0], [1, 0], [1, 2], [1, 0], [1, 0]]).certified.tolist()
    [2, 1]
    """

    def __init__(self, code: SubsetCode, confusion: ArrayLike, *, max_certified: int | None = None) -> None:
        shape = np.shape(confusion)
        if len(shape) != 3 or shape[0] != code.num_models or shape[1] != shape[2] or not shape[1]:
            raise ParameterError("confusion", f"must have shape ({code.num_models}, c, c)", shape)
        self.code, self.num_classes = code, int(shape[1])
        # More than half of the models would have to change, and one user changes at least one.
        most = min(code.guarantees.detected, code.num_models // 2)
        self.max_certified = most if max_certified is None else max_certified
        self._sets = attacker_sets(code, self.max_certified)

    def decode(self, predictions: ArrayLike, memory: Any = None) -> Decoded:
        """Decode a batch, every sample for itself; see :meth:`EnsembleDecoder.decode`."""
        del memory
        answers = checked_predictions(predictions, self.code.num_models, self.num_classes)
        vectors, inverse, _ = distinct_answers(answers, self.num_classes)
        vote = majority_vote(vectors.T, self.num_classes)
        changed = _changed_by(vectors, vote, self._sets.reach)
        # Sets come by size: the first that changes the label says how many users it takes.
        overturning = self._sets.size[changed.argmax(axis=1)]
        fewest = np.where(changed.any(axis=1), overturning, self.max_certified + 1)
        nobody = np.zeros((answers.shape[1], self.code.num_users), dtype=bool)
        return Decoded(
            labels=vote.labels[inverse].astype(np.int64),
            label_probabilities=(vote.votes / self.code.num_models)[inverse],
            attack_probability=np.zeros(answers.shape[1]),
            suspects=nobody,
            num_alternatives=np.ones(answers.shape[1]),
            named=nobody.copy(),
            certified=(fewest - 1)[inverse].astype(np.int64),
        )

    def __repr__(self) -> str:
        return (
            f"MajorityDecoder({self.code.name}, {self.num_classes} classes, "
            f"max_certified={self.max_certified})"
        )


def _changed_by(
    vectors: NDArray[np.int64], vote: MajorityVote, reach: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Tell for vectors (V, m) which sets of models (E, m) can overturn the vote, a tie included: (V, E)."""
    rows = np.arange(len(vectors))
    changed = np.empty((len(vectors), len(reach)), dtype=bool)
    one_hot = (vectors[:, :, None] == np.arange(vote.votes.shape[1])).astype(np.float32)
    for index, pattern in enumerate(reach):
        # Votes that each class loses, (V, c).
        lost = np.tensordot(one_hot, pattern.astype(np.float32), axes=(1, 0))
        kept = vote.votes - lost
        strongest = kept + pattern.sum()
        strongest[rows, vote.labels] = -1  # the target is another class
        changed[:, index] = kept[rows, vote.labels] <= strongest.max(axis=1)
    return changed
