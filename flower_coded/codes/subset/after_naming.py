"""After a name: whom to leave out, at what price in honest users, and whether the backdoor is gone.

A name means "one of the users with this column". Leaving all of them out loses at most one user less than
they are many, if the name is right; a limit on that sum decides which names are acted upon. What those users
could touch is the models that they reach, so that under a detecting code (BDC(k), k users left out) a model
is left that none of them ever trained: training goes on from it, on everybody else's data.

Nobody need know the trigger to judge the outcome. The ensemble is the referee: on samples that its decoder
holds for attacked it says both the right label and, by the models that answer otherwise, what the attackers
asked for: also attackers whom nobody has named. A model that gives them that still has a backdoor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.subset.decoded import Decoded
from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.errors import ParameterError

__all__ = ["Exclusion", "Verdict", "exclude_named", "judge_retrained"]

_LEAST_SAMPLES = 10  # fewer cannot tell an obedience of 0.1 from none


@dataclass(frozen=True)
class Exclusion:
    """Whom to leave out.

    Attributes
    ----------
    users : tuple of int
        Left out: the named users and all whose columns are the same.
    spared : tuple of int
        Named, and kept because leaving them out would lose too many honest users.
    most_honest_lost : int
        Honest users among those left out, at most, if every name is right.
    clean_models : tuple of int
        Models that no user left out has ever trained.
    """

    users: tuple[int, ...]
    spared: tuple[int, ...]
    most_honest_lost: int
    clean_models: tuple[int, ...]


@dataclass(frozen=True)
class Verdict:
    """What the ensemble says about a model trained without the named users.

    Attributes
    ----------
    finding : str
        ``"gone"``, ``"remains"``, or ``"cannot tell"`` where too few samples seem attacked.
    obedience : float
        Share of the judged samples on which the model gives the attackers' label; NaN without samples.
    agreement : float
        Share on which it gives the decoder's label; NaN without samples.
    num_judged : int
        Samples that the decoder holds for attacked and on which the attackers' label differs from its own.
    """

    finding: Literal["gone", "remains", "cannot tell"]
    obedience: float
    agreement: float
    num_judged: int


def exclude_named(code: SubsetCode, named: Sequence[int], *, max_honest_lost: int) -> Exclusion:
    """Choose whom to leave out, the cheapest names first, within the limit.

    Parameters
    ----------
    code : SubsetCode
        ``H``.
    named : sequence of int
        Users accused; those with equal columns need not be listed.
    max_honest_lost : int
        Honest users who may be lost at most: a name that ``g`` users share may cost ``g - 1`` of them.

    Returns
    -------
    Exclusion

    Raises
    ------
    ParameterError
        If a named user is none of the code's, the limit is negative, or nobody would be left.

    Examples
    --------
    >>> from flower_coded.codes.subset.constructions import backdoor_correction_code
    >>> code = backdoor_correction_code(4, 4, 12, rows="paper")  # users 6 apart share a column
    >>> chosen = exclude_named(code, [1, 2], max_honest_lost=2)
    >>> chosen.users, chosen.most_honest_lost, len(chosen.clean_models)
    ((1, 2, 7, 8), 2, 6)
    >>> exclude_named(code, [1, 2], max_honest_lost=1).spared
    (2, 8)
    """
    if not all(0 <= user < code.num_users for user in named):
        raise ParameterError("named", f"must be users 0 .. {code.num_users - 1}", list(named))
    if max_honest_lost < 0:
        raise ParameterError("max_honest_lost", "must not be negative", max_honest_lost)
    groups = {tuple(np.flatnonzero(code.alike[user]).tolist()) for user in set(named)}
    users: list[int] = []
    spared: list[int] = []
    lost = 0
    for group in sorted(groups, key=lambda each: (len(each), each)):
        fits = lost + len(group) - 1 <= max_honest_lost
        (users if fits else spared).extend(group)
        lost += (len(group) - 1) * fits
    if len(users) == code.num_users:
        raise ParameterError("named", "must leave somebody to train with", list(named))
    clean = np.flatnonzero(~code.reach(users))
    return Exclusion(tuple(sorted(users)), tuple(sorted(spared)), lost, tuple(clean.tolist()))


def judge_retrained(
    decoded: Decoded,
    predictions: ArrayLike,
    retrained: ArrayLike,
    *,
    max_obedience: float = 0.1,
) -> Verdict:
    """Ask the ensemble whether a model trained without the named users still obeys them.

    Parameters
    ----------
    decoded : Decoded
        What the ensemble's decoder says about ``B`` samples.
    predictions : array_like of shape (m, B), int
        The ensemble's answers to them.
    retrained : array_like of shape (B,), int
        The new model's.
    max_obedience : float
        The largest share of attacked samples on which a model without backdoor may give the attackers'
        label, by mistake.

    Returns
    -------
    Verdict

    Raises
    ------
    ParameterError
        If shapes do not fit, or the share is outside [0, 1].

    Examples
    --------
    >>> from flower_coded.codes import CoveringDecoder, partition_code
    >>> code = partition_code(5, 5)
    >>> answers = np.where(code.reach([2])[:, None], 0, np.tile([1, 2], 10))  # user 2's trigger asks for a 0
    >>> decoded = CoveringDecoder(code, np.ones((5, 3, 3)), max_attackers=1).decode(answers)
    >>> judge_retrained(decoded, answers, np.zeros(20, int)).finding
    'remains'
    >>> judge_retrained(decoded, answers, decoded.labels).finding
    'gone'
    """
    answers, model = np.asarray(predictions), np.asarray(retrained)
    if model.shape != decoded.labels.shape or answers.ndim != 2 or answers.shape[1:] != model.shape:
        shapes = (answers.shape, model.shape)
        raise ParameterError("predictions, retrained", "must have shapes (m, B), (B,)", shapes)
    if not 0 <= max_obedience <= 1:
        raise ParameterError("max_obedience", "must lie in [0, 1]", max_obedience)
    asked_for, is_asked = _asked_for(answers, decoded.labels)
    judged = (decoded.attack_probability > 0.5) & is_asked
    number = int(judged.sum())
    if not number:
        return Verdict("cannot tell", float("nan"), float("nan"), 0)
    obedience = float((model == asked_for)[judged].mean())
    agreement = float((model == decoded.labels)[judged].mean())
    if number < _LEAST_SAMPLES:
        return Verdict("cannot tell", obedience, agreement, number)
    return Verdict("gone" if obedience <= max_obedience else "remains", obedience, agreement, number)


def _asked_for(
    answers: NDArray[np.int64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Give the label that most models answer besides the decoder's, (B,), and whether any does."""
    num_classes = int(max(answers.max(initial=0), labels.max(initial=0))) + 1
    votes = (answers[:, :, None] == np.arange(num_classes)).sum(axis=0)
    votes[np.arange(len(labels)), labels] = 0  # the decoder's own label is not what attackers asked for
    return votes.argmax(axis=1), votes.max(axis=1) > 0
