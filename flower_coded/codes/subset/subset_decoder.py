"""The posterior decoder of coded subset aggregation: from ``m`` predictions to label, attack and attackers.

Section 5 and the appendix of the paper: with confusion matrices ``C`` of the clean models, attack rate
``A``, success rate ``S`` and a prior ``Q`` on the number of attackers, the joint probability of attackers
``x``, predictions ``y``, attack target ``t`` and true label ``l`` is, up to constants,

``p(x, y, t, l) = Q(|x|) / C(n, |x|) * prod_i (S [y_i = t] + (1 - S) C_i[l, y_i]  if (Hx)_i  else  C_i[l,
y_i])``.

The paper evaluates it in a loop of ``n^k m c^2`` steps per sample. Here, exactly and in the log domain:

* sets ``x`` with one pattern ``Hx`` are one term (:mod:`flower_coded.codes.subset.attack_patterns`);
* a model's factor depends on ``t`` only where ``y_i = t``, so targets nobody predicts share one closed
  form, and the sum over models is a matrix product of (sample, target, label) rows with pattern columns;
* equal prediction vectors are decoded once, and samples run in blocks that fit the cache (or the GPU).

Left out, as in the paper: dependence between models' mistakes beyond the label, and non-uniform classes or
targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.subset.accusation import named_users
from flower_coded.codes.subset.attack_patterns import attack_patterns
from flower_coded.codes.subset.confusion import checked_predictions, distinct_answers, log_confusion_rates
from flower_coded.codes.subset.decoded import NOTHING_CERTIFIED, Decoded, EnsembleDecoder
from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.errors import ParameterError

__all__ = ["SubsetDecoder"]

_BLOCK_ENTRIES = {"cpu": 1 << 18, "cuda": 1 << 25}
_TIE = 1e-9  # log posteriors closer than this are a tie, which fewer attackers win


class SubsetDecoder(EnsembleDecoder):
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
        ``Q(0), Q(1), ...`` for each number of attackers; normalized here. If not given, uniform on 0..k for
        the ``k`` that the code corrects.
    smoothing : float
        Pseudo-counts added to every entry of every confusion matrix, above 0: no answer is ever impossible,
        and a
        class without samples becomes uniform.
    standard_of_proof : float
        In (0.5, 1): a user is named for a sample if the posterior of all explanations without him, "no
        attack" among them, is at most what is missing to 1.
    device : str, optional
        A torch device such as ``"cuda"`` or ``"cpu"``; NumPy if not given. Results agree up to rounding.

    Raises
    ------
    ParameterError
        If a parameter is out of its range, or the confusion matrices do not fit the code.

    Examples
    --------
    >>> from flower_coded.codes.subset.constructions import backdoor_correction_code
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
        standard_of_proof: float = 0.99,
        device: str | None = None,
    ) -> None:
        if not 0 <= attack_rate <= 1:
            raise ParameterError("attack_rate", "must lie in [0, 1]", attack_rate)
        if not 0 <= success_rate < 1:
            raise ParameterError(
                "success_rate", "must lie in [0, 1)", success_rate, hint="the paper's is 0.99"
            )
        if not 0.5 < standard_of_proof < 1:
            raise ParameterError(
                "standard_of_proof", "must lie between 0.5 and 1", standard_of_proof, hint="0.99"
            )
        self.code, self.attack_rate, self.success_rate = code, attack_rate, success_rate
        self.standard_of_proof = standard_of_proof
        self.attacker_prior = _normalized_prior(attacker_prior, code)
        log_rates = log_confusion_rates(confusion, code.num_models, smoothing)
        self.confusion_rates = np.exp(log_rates)
        self.num_classes = int(log_rates.shape[1])
        self.device = device
        self._patterns = attack_patterns(code, self.attacker_prior)
        self._prepare_tables(log_rates)

    def decode(self, predictions: ArrayLike, memory: Any = None) -> Decoded:
        """Decode a batch, every sample for itself; see :meth:`EnsembleDecoder.decode`."""
        del memory
        answers = checked_predictions(predictions, self.code.num_models, self.num_classes)
        distinct, inverse, _ = distinct_answers(answers, self.num_classes)
        log_attacked, log_patterns = self._attack_masses(distinct)
        with np.errstate(divide="ignore"):
            log_rate, log_rest = np.log(self.attack_rate), np.log1p(-self.attack_rate)
        log_attacked = log_attacked + log_rate
        log_clean = self._log_clean(distinct) + np.log(self.num_classes) + log_rest
        log_labels = np.logaddexp(log_attacked, log_clean)
        total = _logsumexp(log_labels)
        probabilities = np.exp(log_labels - total[:, None])
        # A pattern's mass is that of all its sets; the suspects are the likeliest single one.
        best = _first_largest(log_patterns + self._patterns.log_best_prior - self._patterns.log_prior)
        attacked = np.minimum(np.exp(_logsumexp(log_attacked) - total), 1.0)
        return Decoded(
            labels=probabilities.argmax(axis=1)[inverse].astype(np.int64),
            label_probabilities=probabilities[inverse],
            attack_probability=attacked[inverse],
            suspects=self._patterns.users[best][inverse],
            num_alternatives=self._patterns.num_alternatives[best][inverse],
            named=self._named(log_patterns, attacked)[inverse],
            certified=np.full(answers.shape[1], NOTHING_CERTIFIED),
        )

    def _named(self, log_patterns: NDArray[np.float64], attacked: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Name whom "no attack" and the patterns without him leave too little room: (V, n)."""
        weights = np.exp(log_patterns - _logsumexp(log_patterns)[:, None]) * attacked[:, None]
        # "No attack" is one more explanation, which contains nobody.
        weights = np.column_stack([1 - attacked, weights])
        nobody = np.zeros((1, self.code.num_users), dtype=bool)
        members = np.vstack([nobody, self._patterns.common])
        return named_users(weights, members, self.standard_of_proof)

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
        """Compute log ``sum_{x,t} p`` per label and log ``sum_{x,t,l} p`` per pattern."""
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
        return log_labels, log_patterns

    def _block_masses(
        self, answers: NDArray[np.int64], num_targets: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Do the same for samples that all have this many distinct answers."""
        num_samples, num_models = answers.shape
        targets = _answers_of_each(answers, num_targets).T
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


def _answers_of_each(answers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
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


def _normalized_prior(attacker_prior: Sequence[float] | None, code: SubsetCode) -> list[float]:
    num_users = code.num_users
    if attacker_prior is None:
        promised = code.guarantees
        attacker_prior = [1.0] * (1 + max(promised.corrected, promised.corrected_selective, 1))
    prior = np.asarray(attacker_prior, dtype=float)
    if prior.ndim != 1 or not 1 <= len(prior) <= num_users + 1:
        raise ParameterError("attacker_prior", f"must list Q(0), ..., at most Q({num_users})", attacker_prior)
    if not (np.isfinite(prior).all() and (prior >= 0).all() and prior.sum() > 0):
        raise ParameterError("attacker_prior", "must be non-negative with a positive sum", attacker_prior)
    return [float(share) for share in prior / prior.sum()]
