"""Certificates: how many users an ensemble's answers withstand, sample by sample and together.

All hold against *selective* attackers: a model that accepts one of them answers whatever they like, another
answer for every sample. Against ``k`` users the answers of the models in ``Hx`` are arbitrary and all others
stay, so what is certified depends on the code, not on how the models were trained.

*Per sample.* :func:`vote_certificates` for the majority vote; with a partition as the code this is
FLCert-D [1]_. :func:`covering_certificates` for the covering decoder, which takes the label whose
opposing models are covered by the fewest users: ``k`` users change that number by at most ``k``, for
every label, so a lead of ``2 k + 1`` withstands them. Overlapping codes, of which the vote certifies
little, gain most.

*Together.* Attackers are the same people for all samples, so they can rarely break at once what they can
break each. :func:`collective_certificate` is the integer program of [2]_ for the vote over any code,
solved with HiGHS.

*At random.* :func:`flcert_random` is FLCert-P [1]_: a vote over all subsets of ``r`` users, of which a
sample was trained; it holds with a stated probability, where the others always do.

References
----------
.. [1] Cao, Zhang, Jia, Gong, "FLCert: Provably Secure Federated Learning against Poisoning Attacks",
   IEEE TIFS 2022, Theorems 1 and 2.
.. [2] Chen et al., "On Collective Robustness of Bagging Against Data Poisoning", ICML 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.subset.attack_patterns import attack_patterns
from flower_coded.codes.subset.majority import certified_against, majority_vote
from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.errors import ParameterError

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

__all__ = [
    "CollectiveCertificate",
    "CoveringCertificates",
    "collective_certificate",
    "covering_certificates",
    "flcert_random",
    "vote_certificates",
]


@dataclass(frozen=True)
class CoveringCertificates:
    """What the covering decoder answers and certifies for ``B`` samples.

    Parameters
    ----------
    labels : ndarray of shape (B,), int64
        The label whose opposing models the fewest users cover; of equals the one with most votes.
    users : ndarray of shape (B,), int64
        Those users' number: 0 where all models agree.
    certified : ndarray of shape (B,), int64
        The most selective attackers under which the label cannot change: -1 for a tie.
    """

    labels: NDArray[np.int64]
    users: NDArray[np.int64]
    certified: NDArray[np.int64]


@dataclass(frozen=True)
class CollectiveCertificate:
    """How many right answers ``k`` users can spoil together.

    Parameters
    ----------
    num_correct : int
        Samples answered rightly without an attack.
    most_broken : int
        No ``k`` users change more of them.
    certified_accuracy : float
        The share of samples that stay right whichever ``k`` users attack.
    is_exact : bool
        Whether some ``k`` users do break so many; otherwise HiGHS stopped at a bound.
    users : tuple of int
        Those users.
    """

    num_correct: int
    most_broken: int
    certified_accuracy: float
    is_exact: bool
    users: tuple[int, ...]


def vote_certificates(
    predictions: ArrayLike, num_classes: int, code: SubsetCode, max_attackers: int
) -> NDArray[np.int64]:
    """Count the selective attackers that the majority vote withstands, sample by sample.

    Parameters
    ----------
    predictions : array_like of shape (m, B), int
        Answers in ``0 .. c - 1``.
    num_classes : int
        ``c``.
    code : SubsetCode
        ``m`` models.
    max_attackers : int
        Where to stop counting.

    Returns
    -------
    ndarray of shape (B,), int64
        From -1, a tie, to ``max_attackers``.

    Raises
    ------
    ParameterError
        If the predictions do not fit the code.

    Examples
    --------
    >>> from flower_coded.codes.subset.constructions import partition_code
    >>> vote_certificates([[1, 0], [1, 0], [1, 2]], 3, partition_code(3, 3), 3).tolist()
    [1, 0]
    """
    vote = majority_vote(predictions, num_classes)
    certified = np.where(vote.margin > 0, 0, -1)
    for num_attackers in range(1, max_attackers + 1):
        stays = (certified == num_attackers - 1) & certified_against(
            predictions, num_classes, code, num_attackers
        )
        certified[stays] = num_attackers
    return certified.astype(np.int64)


def covering_certificates(predictions: ArrayLike, num_classes: int, code: SubsetCode) -> CoveringCertificates:
    """Decode by covering and count the selective attackers that the label withstands, sample by sample.

    Parameters
    ----------
    predictions : array_like of shape (m, B), int
        Answers in ``0 .. c - 1``.
    num_classes : int
        ``c``.
    code : SubsetCode
        ``m`` models.

    Returns
    -------
    CoveringCertificates

    Raises
    ------
    ParameterError
        If the predictions do not fit the code, or it has too many sets of users to enumerate.

    Examples
    --------
    >>> from flower_coded.codes.subset.constructions import backdoor_correction_code
    >>> code = backdoor_correction_code(4, 4, 12, rows="paper")
    >>> found = covering_certificates(np.zeros((code.num_models, 1), dtype=int), 10, code)
    >>> found.labels.tolist(), found.certified.tolist()
    ([0], [2])
    """
    answers = _fitting(predictions, code)
    vote = majority_vote(answers, num_classes)
    reach, sizes = _reached(code)
    users = np.stack([_fewest_users(answers != label, reach, sizes) for label in range(num_classes)], axis=1)
    # Votes break ties: they are worth less than a user.
    cost = users - vote.votes / (code.num_models + 1)
    labels = cost.argmin(axis=1)
    samples = np.arange(answers.shape[1])
    own = users[samples, labels]
    others = users.copy()
    others[samples, labels] = np.iinfo(np.int64).max
    lead = others.min(axis=1) - own if num_classes > 1 else np.full(len(own), 2 * code.num_users + 1)
    return CoveringCertificates(labels.astype(np.int64), own, np.where(lead > 0, (lead - 1) // 2, -1))


def collective_certificate(
    predictions: ArrayLike,
    labels: ArrayLike,
    num_classes: int,
    code: SubsetCode,
    num_attackers: int,
    *,
    time_limit: float = 60.0,
) -> CollectiveCertificate:
    """Bound how many right majority votes the same ``k`` selective attackers can change.

    With ``u_j`` for users, ``a_i`` for models and ``z_bt`` for "sample ``b`` becomes ``t``",

        maximize ``sum z_bt``  subject to  ``sum u_j <= k``,  ``a_i <= sum_j H[i, j] u_j``,
        ``sum_i a_i ([y_ib = l_b] + [y_ib != t]) >= (v_bl - v_bt) z_bt``,  ``sum_t z_bt <= 1``:

    a poisoned model takes its vote from ``l`` and gives it to ``t``. A tie counts as changed. Samples
    with the same answers and label are one variable with their number as weight; those that no ``k``
    users can change alone are left out.

    Parameters
    ----------
    predictions : array_like of shape (m, B), int
        Answers in ``0 .. c - 1``.
    labels : array_like of shape (B,), int
        True classes.
    num_classes : int
        ``c``.
    code : SubsetCode
        ``m`` models.
    num_attackers : int
        ``k``.
    time_limit : float
        Seconds; HiGHS's bound at that time holds too.

    Returns
    -------
    CollectiveCertificate

    Raises
    ------
    ParameterError
        If the arguments do not fit together.

    Examples
    --------
    >>> from flower_coded.codes.subset.constructions import partition_code
    >>> answers = [[0, 1, 1], [0, 1, 0], [1, 1, 0]]  # each sample has one dissenter or none
    >>> found = collective_certificate(answers, [0, 1, 0], 2, partition_code(3, 3), 1)
    >>> found.most_broken, found.users
    (2, (1,))
    """
    answers, truth = _fitting(predictions, code), np.asarray(labels)
    if truth.shape != (answers.shape[1],):
        raise ParameterError("labels", f"must have shape ({answers.shape[1]},)", truth.shape)
    vote = majority_vote(answers, num_classes)
    right = (vote.labels == truth) & (vote.margin > 0)
    num_correct, num_samples = int(right.sum()), max(answers.shape[1], 1)
    if num_attackers == 0:
        return CollectiveCertificate(num_correct, 0, num_correct / num_samples, True, ())
    open_ = right & ~certified_against(answers, num_classes, code, num_attackers)
    if not open_.any():
        return CollectiveCertificate(num_correct, 0, num_correct / num_samples, True, ())
    kinds, counts = np.unique(np.vstack([answers[:, open_], truth[open_]]), axis=1, return_counts=True)
    solved = _solve(kinds[:-1], kinds[-1], counts, num_classes, code, num_attackers, time_limit)
    most = min(int(np.floor(-solved.mip_dual_bound + 1e-6)), int(open_.sum()))
    found = 0 if solved.x is None else round(-solved.fun)
    users = () if solved.x is None else np.flatnonzero(solved.x[: code.num_users] > 0.5).tolist()
    return CollectiveCertificate(
        num_correct, most, (num_correct - most) / num_samples, found == most, tuple(users)
    )


def flcert_random(
    predictions: ArrayLike, num_classes: int, num_users: int, row_weight: int, *, error_rate: float = 0.001
) -> NDArray[np.int64]:
    """Count the attackers that FLCert-P certifies: a vote over all subsets of ``r`` of ``n`` users.

    The shares of subsets that answer the winner and the runner-up are bounded from a random sample
    (Clopper and Pearson, ``error_rate`` shared out over classes and samples); ``k`` users are in ``1 -
    C(n - k, r) / C(n, r)`` of all subsets. The vote of the *sample* is not certified: another sample may
    answer otherwise.

    Parameters
    ----------
    predictions : array_like of shape (m, B), int
        Answers of the models of ``m`` subsets drawn independently, as by
        :func:`~flower_coded.codes.subset.constructions.random_code`.
    num_classes : int
        ``c``.
    num_users, row_weight : int
        ``n`` and ``r``.
    error_rate : float
        Probability that any certificate of the batch is wrong.

    Returns
    -------
    ndarray of shape (B,), int64
        The most attackers; -1 where not even the winner is certain.

    Raises
    ------
    ParameterError
        If a parameter is out of its range.

    Examples
    --------
    >>> flcert_random(np.zeros((500, 1), dtype=int), 10, 12, 4).tolist()
    [1]
    """
    if not 0 < error_rate < 1:
        raise ParameterError("error_rate", "must lie in (0, 1)", error_rate, hint="0.001")
    if not 1 <= row_weight <= num_users:
        raise ParameterError("row_weight", f"must lie in 1 .. {num_users}", row_weight)
    vote = majority_vote(predictions, num_classes)
    m, level = len(np.asarray(predictions)), error_rate / max(1, vote.votes.size)
    winner = vote.votes.max(axis=1)
    others = vote.votes.copy()
    others[np.arange(len(others)), vote.labels] = 0
    second = others.max(axis=1)
    from scipy.stats import beta  # slow to load

    least = np.where(winner > 0, beta.ppf(level, winner, m - winner + 1), 0.0)
    most = np.where(second < m, beta.ppf(1 - level, second + 1, m - second), 1.0)
    most = np.minimum(most, 1 - least)  # the shares of all classes are at most one together
    certified = np.full(len(winner), -1, dtype=np.int64)
    for k in range(num_users - row_weight + 1):
        moved = 1 - comb(num_users - k, row_weight) / comb(num_users, row_weight)
        certified[(certified == k - 1) & (least - moved > most + moved)] = k
    return certified


def _fitting(predictions: ArrayLike, code: SubsetCode) -> NDArray[np.int64]:
    answers = np.asarray(predictions)
    if answers.ndim != 2 or len(answers) != code.num_models:
        raise ParameterError("predictions", f"must have shape ({code.num_models}, samples)", answers.shape)
    return answers.astype(np.int64)


def _reached(code: SubsetCode) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Patterns of models that some users reach and the fewest users for each, until they reach all models."""
    most = min(code.guarantees.detected + 1, code.num_users)
    patterns = attack_patterns(code, [1 / (most + 1)] * (most + 1))
    order = np.argsort(patterns.num_users, kind="stable")
    return patterns.models[order].astype(np.float32), patterns.num_users[order]


def _fewest_users(
    opposing: NDArray[np.bool_], reach: NDArray[np.float32], sizes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Fewest users that reach all the given models, column by column of an array (m, B)."""
    # Products of 0 and 1 summed to at most m: exact in float32.
    left = (1 - reach) @ opposing.astype(np.float32)
    return np.asarray(sizes[(left == 0).argmax(axis=0)])  # patterns come by size, all models last


def _solve(
    answers: NDArray[np.int64],
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
    num_classes: int,
    code: SubsetCode,
    num_attackers: int,
    time_limit: float,
) -> OptimizeResult:
    """Set up and solve the integer program of :func:`collective_certificate`."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # slow to load
    from scipy.sparse import csr_matrix, lil_matrix

    n, m = code.num_users, code.num_models
    votes = majority_vote(answers, num_classes).votes
    pairs = [(b, t) for b in range(len(labels)) for t in range(num_classes) if t != labels[b]]
    rows = lil_matrix((1 + m + len(pairs) + len(labels), n + m + len(pairs)))
    lower = np.full(rows.shape[0], -np.inf)
    upper = np.zeros(rows.shape[0])
    rows[0, :n], upper[0] = 1, num_attackers
    for model in range(m):  # a_i - sum_j H[i, j] u_j <= 0
        rows[1 + model, n + model] = 1
        rows[1 + model, np.flatnonzero(code.matrix[model])] = -1
    for index, (b, t) in enumerate(pairs):  # gap z - sum_i a_i gain_i <= 0
        gain = (answers[:, b] == labels[b]).astype(float) + (answers[:, b] != t)
        rows[1 + m + index, n : n + m] = -gain
        rows[1 + m + index, n + m + index] = votes[b, labels[b]] - votes[b, t]
        rows[1 + m + len(pairs) + b, n + m + index] = 1
    upper[1 + m + len(pairs) :] = 1
    weight = np.concatenate([np.zeros(n + m), [-float(counts[b]) for b, _ in pairs]])
    return milp(
        weight,
        constraints=LinearConstraint(csr_matrix(rows), lower, upper),
        # Only users need be whole by themselves: models and samples follow them, but help the search.
        integrality=np.ones(len(weight)),
        bounds=Bounds(0, 1),
        # With presolve HiGHS has solutions to mend, and prints that it does.
        options={"time_limit": time_limit, "presolve": False},
    )
