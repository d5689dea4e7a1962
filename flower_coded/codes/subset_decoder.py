"""The posterior decoder of coded subset aggregation: from ``m`` predictions to label, attack and attackers.

Section 5 and the appendix of the paper: with confusion matrices ``C`` of the clean models, attack rate
``A``, success rate ``S`` and a prior ``Q`` on the number of attackers, the joint probability of attackers
``x``, predictions ``y``, attack target ``t`` and true label ``l`` is, up to constants,

``p(x, y, t, l) = Q(|x|) / C(n, |x|) * prod_i (S [y_i = t] + (1 - S) C_i[l, y_i]  if (Hx)_i  else  C_i[l,
y_i])``.

The paper evaluates it in a loop of ``n^k m c^2`` steps per sample. Here, exactly and in the log domain:

* sets ``x`` with one pattern ``Hx`` are one term (:mod:`flower_coded.codes.attack_patterns`);
* a model's factor depends on ``t`` only where ``y_i = t``, so targets nobody predicts share one closed
  form, and the sum over models is a matrix product of (sample, target, label) rows with pattern columns;
* equal prediction vectors are decoded once, and samples run in blocks that fit the cache (or the GPU).

Left out, as in the paper: dependence between models' mistakes beyond the label, and non-uniform classes or
targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.attack_patterns import attack_patterns
from flower_coded.codes.subset_code import SubsetCode
from flower_coded.errors import ParameterError

__all__ = ["Decoded", "SubsetDecoder", "confusion_counts"]

RATE_SAMPLES = 1000
"""Samples per class that a confusion matrix of rates is taken to rest on when it is smoothed."""

_BLOCK_ENTRIES = {"cpu": 1 << 18, "cuda": 1 << 25}
_TIE = 1e-9  # log posteriors closer than this are a tie, which fewer attackers win


@dataclass(frozen=True)
class Decoded:
    """What the decoder says about ``B`` samples.

    Parameters
    ----------
    labels : ndarray of shape (B,), int64
        The likeliest true label; the smallest one of equals.
    label_probabilities : ndarray of shape (B, c), float64
        Posterior of the true label, rows summing to one.
    attack_probability : ndarray of shape (B,), float64
        Posterior probability that the sample carries a trigger.
    suspects : ndarray of shape (B, n), bool
        The likeliest set of attackers, supposing that there is an attack; of equally likely sets the
        smallest, then the first in lexicographic order. All-false where "nobody succeeded" explains the
        predictions best.
    num_alternatives : ndarray of shape (B,), float64
        Equally likely sets of the same size that reach the same models, the named one included. Above 1 the
        code cannot tell them apart (repeated columns, or more attackers than it tracks).
    """

    labels: NDArray[np.int64]
    label_probabilities: NDArray[np.float64]
    attack_probability: NDArray[np.float64]
    suspects: NDArray[np.bool_]
    num_alternatives: NDArray[np.float64]


class SubsetDecoder:
    """Decode the predictions of an ensemble trained under a subset code.

    Parameters
    ----------
    code : SubsetCode
        ``H``, with ``m`` models and ``n`` users.
    confusion : array_like of shape (m, c, c)
        ``C``: entry ``[i, l, y]`` says how often model ``i`` answers ``y`` to a clean sample of class
        ``l``. Whole numbers are counts (:func:`confusion_counts`). Fractional entries whose rows sum to one
        are rates, taken to rest on 1000 samples per class.
    attack_rate : float
        ``A`` in [0, 1], the prior probability that a sample carries a trigger.
    success_rate : float
        ``S`` in [0, 1), the probability that a poisoned model obeys the trigger.
    attacker_prior : sequence of float, optional
        ``Q(0), Q(1), ...`` for each number of attackers; normalized here. Uniform on 0..3 if not given.
    smoothing : float
        Pseudo-counts added to every entry of every confusion matrix, above 0: no answer is ever impossible,
        and a
        class without samples becomes uniform.
    device : str, optional
        A torch device such as ``"cuda"`` or ``"cpu"``; NumPy if not given. Results agree up to rounding.

    Raises
    ------
    ParameterError
        If a parameter is out of its range, or the confusion matrices do not fit the code.

    Examples
    --------
    >>> from flower_coded.codes.constructions import backdoor_correction_code
    >>> code = backdoor_correction_code(1, 2, 3)  # user 0 feeds models 0 and 1, but not model 2
    >>> confusion = np.tile(100 * np.eye(10, dtype=int), (3, 1, 1))
    >>> decoder = SubsetDecoder(code, confusion, attacker_prior=[0, 1])
    >>> decoded = decoder.decode(np.array([[0, 2], [0, 2], [0, 1]]))
    >>> decoded.labels.tolist(), decoded.attack_probability.round(2).tolist()
    ([0, 1], [0.11, 0.81])
    >>> decoded.suspects[1].astype(int).tolist()
    [1, 0, 0]
    """

    def __init__(
        self,
        code: SubsetCode,
        confusion: ArrayLike,
        *,
        attack_rate: float = 0.5,
        success_rate: float = 0.99,
        attacker_prior: Sequence[float] | None = None,
        smoothing: float = 1.0,
        device: str | None = None,
    ) -> None:
        if not 0 <= attack_rate <= 1:
            raise ParameterError("attack_rate", "must lie in [0, 1]", attack_rate)
        if not 0 <= success_rate < 1:
            raise ParameterError(
                "success_rate", "must lie in [0, 1)", success_rate, hint="the paper's is 0.99"
            )
        self.code, self.attack_rate, self.success_rate = code, attack_rate, success_rate
        self.attacker_prior = _normalized_prior(attacker_prior, code.num_users)
        log_rates = _smoothed_log_rates(np.asarray(confusion), code.num_models, smoothing)
        self.confusion_rates = np.exp(log_rates)
        self.num_classes = int(log_rates.shape[1])
        self.device = device
        self._patterns = attack_patterns(code, self.attacker_prior)
        self._prepare_tables(log_rates)

    def decode(self, predictions: ArrayLike) -> Decoded:
        """Decode one batch.

        Parameters
        ----------
        predictions : array_like of shape (m, B), int
            ``y``: the class that each model answers to each sample, in ``0 .. c - 1``.

        Returns
        -------
        Decoded
            Labels, posteriors and suspects of every sample.

        Raises
        ------
        ParameterError
            If the shape does not fit the code or an entry is not a class.
        """
        answers = _checked_predictions(predictions, self.code.num_models, self.num_classes)
        distinct, inverse = np.unique(answers.T, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)
        log_attacked, log_patterns = self._attack_masses(distinct)
        with np.errstate(divide="ignore"):
            log_rate, log_rest = np.log(self.attack_rate), np.log1p(-self.attack_rate)
        log_attacked = log_attacked + log_rate
        log_clean = self._log_clean(distinct) + np.log(self.num_classes) + log_rest
        log_labels = np.logaddexp(log_attacked, log_clean)
        total = _logsumexp(log_labels)
        probabilities = np.exp(log_labels - total[:, None])
        best = _first_largest(log_patterns)
        return Decoded(
            labels=probabilities.argmax(axis=1)[inverse].astype(np.int64),
            label_probabilities=probabilities[inverse],
            attack_probability=np.minimum(np.exp(_logsumexp(log_attacked) - total), 1.0)[inverse],
            suspects=self._patterns.users[best][inverse],
            num_alternatives=self._patterns.num_alternatives[best][inverse],
        )

    def __repr__(self) -> str:
        return (
            f"SubsetDecoder({self.code.name}, {self.num_classes} classes, attack_rate={self.attack_rate}, "
            f"success_rate={self.success_rate}, attacker_prior={self.attacker_prior}, device={self.device!r})"
        )

    def _prepare_tables(self, log_rates: NDArray[np.float64]) -> None:
        """Tabulate the logs of what clean models answer, and what poisoning adds to them."""
        with np.errstate(divide="ignore"):
            log_success, log_failure = np.log(self.success_rate), np.log1p(-self.success_rate)
        self._log_rates = np.ascontiguousarray(log_rates.transpose(0, 2, 1))  # (m, answer, label)
        # A poisoned model contributes log_failure if it misses the target, and this on top if it hits it.
        self._log_gain = (
            np.logaddexp(log_success, log_failure + self._log_rates) - log_failure - self._log_rates
        )
        reached = self._patterns.models
        self._log_missed = log_failure * reached.sum(axis=1)
        # The last two rows add the log-likelihood of the clean answers and the pattern's own terms.
        own = self._log_missed + self._patterns.log_prior
        self._columns = np.vstack([reached.T.astype(np.float64), np.ones((1, len(own))), own[None, :]])
        self._namespace, self._device_columns = _namespace(self.device, self._columns)

    def _log_clean(self, answers: NDArray[np.int64]) -> NDArray[np.float64]:
        """``log prod_i C_i[l, y_i]`` of shape (B, c)."""
        models = np.arange(self.code.num_models)
        total: NDArray[np.float64] = self._log_rates[models[None, :], answers].sum(axis=1)
        return total

    def _attack_masses(self, answers: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute log ``sum_{x,t} p`` per label and log ``max_x sum_{t,l} p`` per pattern."""
        log_labels = np.empty((len(answers), self.num_classes))
        log_patterns = np.empty((len(answers), len(self._log_missed)))
        ordered = np.sort(answers, axis=1)
        num_targets = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
        kind = "cpu" if self.device is None or self.device.startswith("cpu") else "cuda"
        for count in np.unique(num_targets):
            samples = np.flatnonzero(num_targets == count)
            entries = int(count) * self.num_classes * len(self._log_missed)
            step = max(1, _BLOCK_ENTRIES[kind] // entries)
            for start in range(0, len(samples), step):
                block = samples[start : start + step]
                log_labels[block], log_patterns[block] = self._block_masses(answers[block], int(count))
        best = self._patterns.log_best_prior - self._patterns.log_prior
        return log_labels, log_patterns + best

    def _block_masses(
        self, answers: NDArray[np.int64], num_targets: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Do the same for samples that all have this many distinct answers."""
        num_samples, num_models = answers.shape
        targets = _distinct_answers(answers, num_targets).T
        clean = self._log_clean(answers)
        rows = np.empty((num_targets, self.num_classes, num_samples, num_models + 2))
        hits = answers[None, None, :, :] == targets[:, None, :, None]
        gain = self._log_gain[np.arange(num_models)[None, :], answers].transpose(2, 0, 1)
        np.multiply(hits, gain[None], out=rows[..., :num_models])
        rows[..., num_models] = clean.T
        rows[..., num_models + 1] = 1.0
        log_labels, log_patterns = _sum_terms(self._namespace, rows, self._device_columns)
        absent = self.num_classes - num_targets
        if absent:
            own = self._columns[-1]
            missed_by_all = float(_logsumexp(own[None, :])[0]) + np.log(absent)
            log_labels = np.logaddexp(log_labels, clean + missed_by_all)
            log_patterns = np.logaddexp(log_patterns, _logsumexp(clean)[:, None] + own + np.log(absent))
        return log_labels, log_patterns


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
    answers = _checked_predictions(predictions, None, num_classes)
    if truth.shape != answers.shape[1:]:
        raise ParameterError("labels", f"must have shape {answers.shape[1:]}", truth.shape)
    truth = _checked_predictions(truth[None, :], 1, num_classes, name="labels")[0]
    cells = (np.arange(len(answers))[:, None] * num_classes + truth) * num_classes + answers
    counts = np.bincount(cells.ravel(), minlength=len(answers) * num_classes**2)
    return counts.reshape(len(answers), num_classes, num_classes).astype(np.int64)


def _sum_terms(
    xp: ModuleType, rows: NDArray[np.float64], columns: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-sums of ``exp(rows @ columns)`` over (target, pattern) and over (target, label); NumPy or torch.

    ``rows`` has shape (targets, labels, B, m + 2). The largest term of a sample is taken out first, so a sum
    can underflow to log 0 only beside a term that outweighs it beyond double precision.
    """
    num_targets, num_classes, num_samples, depth = rows.shape
    num_patterns = columns.shape[1]
    flat = rows.reshape(-1, depth)
    terms = (flat if xp is np else xp.as_tensor(flat, device=columns.device)) @ columns
    terms = terms.reshape(num_targets * num_classes, num_samples, num_patterns)
    peak = xp.amax(xp.amax(terms, axis=0), axis=1)[:, None]
    terms -= peak
    xp.exp(terms, out=terms)
    by_pattern = terms.sum(axis=0)
    by_label = terms.reshape(-1, num_patterns) @ xp.ones_like(columns[0])
    by_label = by_label.reshape(num_targets, num_classes, num_samples).sum(axis=0).T
    if xp is not np:
        by_label, by_pattern, peak = (part.cpu().numpy() for part in (by_label, by_pattern, peak))
    with np.errstate(divide="ignore"):
        return np.log(by_label) + peak, np.log(by_pattern) + peak


def _namespace(device: str | None, columns: NDArray[np.float64]) -> tuple[ModuleType, Any]:
    if device is None:
        return np, columns
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ParameterError("device", "must be available", device, hint="leave it out to compute with NumPy")
    return torch, torch.as_tensor(columns, device=device)


def _distinct_answers(answers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Each row's distinct entries; every row has exactly ``count`` of them."""
    ordered = np.sort(answers, axis=1)
    is_first = np.ones(ordered.shape, dtype=bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return ordered[is_first].reshape(len(answers), count)


def _first_largest(log_values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of each row's first entry that ties with the largest; patterns are in order of size."""
    is_largest = log_values >= log_values.max(axis=1, keepdims=True) - _TIE
    return np.asarray(is_largest.argmax(axis=1))


def _logsumexp(log_values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.logaddexp.reduce(log_values, axis=1))


def _normalized_prior(attacker_prior: Sequence[float] | None, num_users: int) -> list[float]:
    prior = np.asarray(
        [1.0] * min(4, num_users + 1) if attacker_prior is None else attacker_prior, dtype=float
    )
    if prior.ndim != 1 or not 1 <= len(prior) <= num_users + 1:
        raise ParameterError("attacker_prior", f"must list Q(0), ..., at most Q({num_users})", attacker_prior)
    if not (np.isfinite(prior).all() and (prior >= 0).all() and prior.sum() > 0):
        raise ParameterError("attacker_prior", "must be non-negative with a positive sum", attacker_prior)
    return [float(share) for share in prior / prior.sum()]


def _smoothed_log_rates(confusion: NDArray[Any], num_models: int, smoothing: float) -> NDArray[np.float64]:
    if confusion.ndim != 3 or len(confusion) != num_models or confusion.shape[1] != confusion.shape[2]:
        raise ParameterError("confusion", f"must have shape ({num_models}, c, c)", confusion.shape)
    if confusion.shape[1] < 1:
        raise ParameterError("confusion", "must have at least one class", confusion.shape)
    counts = confusion.astype(np.float64)
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ParameterError("confusion", "must be finite and non-negative", float(counts.min()))
    if not (np.isfinite(smoothing) and smoothing > 0):
        raise ParameterError(
            "smoothing", "must be above 0, or an unseen answer would be impossible", smoothing
        )
    if (counts != np.floor(counts)).any() and np.allclose(counts.sum(axis=2)[counts.any(axis=2)], 1.0):
        counts *= RATE_SAMPLES
    log_counts = np.log(counts + smoothing)
    log_rates: NDArray[np.float64] = log_counts - np.logaddexp.reduce(log_counts, axis=2, keepdims=True)
    return log_rates


def _checked_predictions(
    predictions: ArrayLike, num_models: int | None, num_classes: int, *, name: str = "predictions"
) -> NDArray[np.int64]:
    answers = np.asarray(predictions)
    if answers.ndim != 2 or (num_models is not None and len(answers) != num_models):
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
