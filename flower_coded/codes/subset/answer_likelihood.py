"""How likely answers are under a clean model, an attack never seen before, and an attack that has a pattern.

For a vector ``y`` of ``m`` answers, a true label ``l``, a target ``t`` and a reach ``R`` of models:

* clean: ``prod_i C_i[l, y_i]``;
* attack with obedience ``o``: ``prod_{i in R} (o_i [y_i = t] + (1 - o_i) C_i[l, y_i]) prod_{i not in R}
  C_i[l, y_i]``, for ``t`` other than ``l`` and answered by some model. An attack that no model obeys, or one
  on images of its own target class, changes nothing and is called clean;
* attack never seen before: the mean of this over all sets of up to ``k'`` users and all targets with ``o_i =
  1/2``: whether a reached model obeys is anybody's guess. This holds against attackers who poison only some
  of their models, chosen to mislead;
* hard: the models err together, some of them and all alike. This is a mean over classes ``t`` and over rates
  ``h`` of the factors of an attack that reaches *every* model with ``o_i = h``. The rates are below 1/2: most
  models are right. Without it every hard image would look like an attack, since independent models hardly
  ever make the same mistake.

A sample that nothing else explains is *odd*: hard or a new attack. How often it is which cannot be learned
from answers alone, so :data:`HARD_PER_NEW` is fixed: lower holds better against attacks on single samples,
which nothing repeats, higher loses less on clean ones (``benchmarks/new_attack_prior.py``).

Everything is a log, relative to nothing, and includes the uniform prior of labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.attacker_sets import AttackerSets

__all__ = ["HARD_PER_NEW", "AnswerLikelihood", "TargetBlock", "log_sum"]

_Floats = NDArray[np.float64]

HARD_PER_NEW = 2.0
"""Hard samples for every sample that is an attack never seen before."""

_HARD_RATES = (0.1, 0.3)
_UNKNOWN_OBEDIENCE = 0.5
_CHUNK_ENTRIES = 1 << 22  # of a (vectors, sets, labels) array: 32 MiB


@dataclass(frozen=True)
class TargetBlock:
    """The vectors in which some model answers one class ``t``.

    Parameters
    ----------
    index : ndarray of shape (V_t,), int64
        Which vectors.
    hits : ndarray of shape (V_t, m), float64 or float32
        1 where the model answers ``t``.
    log_clean : ndarray of shape (V_t, c), of the same dtype
        Their clean log-likelihood by label, minus infinity for the label ``t``.
    """

    index: NDArray[np.int64]
    hits: NDArray[np.floating]
    log_clean: NDArray[np.floating]

    def astype(self, dtype: type[np.floating]) -> TargetBlock:
        """Give the same block in another precision, which its attack terms then have."""
        return TargetBlock(self.index, self.hits.astype(dtype), self.log_clean.astype(dtype))


class AnswerLikelihood:
    """Likelihoods of answers under the confusion matrices of an ensemble.

    Parameters
    ----------
    log_rates : ndarray of shape (m, c, c), float64
        ``log C_i[l, y]``.
    new_attack_sets : AttackerSets
        The sets of users that an attack never seen before may come from.
    obedience : ndarray of shape (g,), float64
        The values in [0, 1) that the obedience of a model may have.

    Examples
    --------
    >>> from flower_coded.codes.subset.attacker_sets import attacker_sets
    >>> from flower_coded.codes.subset.subset_code import SubsetCode
    >>> sets = attacker_sets(SubsetCode(["110", "101", "011"]), 1)
    >>> rates = np.tile(np.log([[0.9, 0.1], [0.1, 0.9]]), (3, 1, 1))
    >>> likelihood = AnswerLikelihood(rates, sets, np.array([0.0, 0.9]))
    >>> np.exp(likelihood.log_clean(np.array([[0, 0, 0]]))).round(4).tolist()  # half of 0.9^3 and of 0.1^3
    [[0.3645, 0.0005]]
    """

    def __init__(self, log_rates: _Floats, new_attack_sets: AttackerSets, obedience: _Floats) -> None:
        self.num_models, self.num_classes, _ = log_rates.shape
        self._log_rates = log_rates
        self.obedience = obedience
        self.log_miss = np.log1p(-obedience)
        # What a hit adds to the clean log-likelihood, if the model obeys so often: (target, m, label, g).
        by_value = self._log_hit(obedience[:, None, None, None])
        self.log_hit = np.ascontiguousarray(by_value.transpose(3, 1, 2, 0))
        reached = new_attack_sets.reach[new_attack_sets.size > 0]
        self._new_reach = reached.astype(np.float64)
        half = float(np.log1p(-_UNKNOWN_OBEDIENCE))
        # Every set alike; a reached model pays log 1/2 for a miss, and gets it back with interest for a hit.
        self._new_constant = half * reached.sum(axis=1) - np.log(len(reached))
        self._new_gain = self._log_hit(np.float64(_UNKNOWN_OBEDIENCE)) - half

    def _log_hit(self, obedience: NDArray[np.float64] | np.float64) -> _Floats:
        hit = np.log(obedience + (1 - obedience) * np.exp(self._log_rates)) - self._log_rates
        return np.asarray(hit, dtype=np.float64)

    def log_clean(self, vectors: NDArray[np.int64]) -> _Floats:
        """``log p(y, l | clean)`` of shape (V, c)."""
        models = np.arange(self.num_models)
        total: _Floats = self._log_rates[models, :, vectors].sum(axis=1)
        return np.asarray(total - np.log(self.num_classes))

    def blocks(self, vectors: NDArray[np.int64], log_clean: _Floats) -> list[TargetBlock]:
        """Sort vectors by the classes that are answered in them: one block per class."""
        blocks = []
        for target in range(self.num_classes):
            is_hit = vectors == target
            index = np.flatnonzero(is_hit.any(axis=1))
            clean = log_clean[index]
            clean[:, target] = -np.inf  # an attack changes the label
            blocks.append(TargetBlock(index, is_hit[index].astype(np.float64), clean))
        return blocks

    def log_new_attack(self, blocks: list[TargetBlock], num_vectors: int) -> _Floats:
        """``log p(y, l | an attack never seen before)`` of shape (V, c)."""
        total = np.full((num_vectors, self.num_classes), -np.inf)
        num_sets = len(self._new_reach)
        step = max(1, _CHUNK_ENTRIES // (num_sets * self.num_classes))
        for target, block in enumerate(blocks):
            # (m, sets, labels): what a hit of a model is worth to a set that reaches it.
            gain = self._new_reach.T[:, :, None] * self._new_gain[:, None, :, target]
            for start in range(0, len(block.index), step):
                part = slice(start, start + step)
                terms = (block.hits[part] @ gain.reshape(self.num_models, -1)).reshape(
                    -1, num_sets, self.num_classes
                )
                terms += self._new_constant[None, :, None]
                index = block.index[part]
                masses = log_sum(terms, axis=1) + block.log_clean[part]
                total[index] = np.logaddexp(total[index], masses)
        return np.asarray(total - np.log(max(self.num_classes - 1, 1)))

    def log_hard(self, blocks: list[TargetBlock], num_vectors: int) -> _Floats:
        """``log p(y, l | hard)`` of shape (V, c)."""
        total = np.full((num_vectors, self.num_classes), -np.inf)
        for rate in _HARD_RATES:
            miss = float(np.log1p(-rate))
            gain = self._log_hit(np.float64(rate)) - miss
            for target, block in enumerate(blocks):
                masses = block.hits @ gain[:, :, target] + self.num_models * miss + block.log_clean
                total[block.index] = np.logaddexp(total[block.index], masses)
        return np.asarray(total - np.log(max(self.num_classes - 1, 1) * len(_HARD_RATES)))

    def log_odd(self, blocks: list[TargetBlock], num_vectors: int) -> tuple[_Floats, _Floats]:
        """Split ``log p(y, l | odd)`` into its two summands, hard and new attack, each of shape (V, c)."""
        share_new = 1 / (1 + HARD_PER_NEW)
        hard = self.log_hard(blocks, num_vectors) + np.log1p(-share_new)
        return hard, self.log_new_attack(blocks, num_vectors) + np.log(share_new)

    def attack_terms(
        self, block: TargetBlock, target: int, reach: _Floats, obedience_shares: _Floats
    ) -> NDArray[np.floating]:
        """``E log p(y, l | attack of a set on this target)``, (T, c, V_t, E), in the block's precision.

        Parameters
        ----------
        block : TargetBlock
            The vectors that hold the target.
        target : int
            ``t``.
        reach : ndarray of shape (E, m), float64
            1 where the set reaches the model.
        obedience_shares : ndarray of shape (T, m, g, E), float64
            For each of ``T`` triggers, how probable each value of the obedience is; the mean is taken of the
            log.
        """
        missed = np.matmul(self.log_miss, obedience_shares)  # (T, m, E)
        gain = np.matmul(self.log_hit[target], obedience_shares)  # (T, m, labels, E)
        gain -= missed[:, :, None]
        gain *= reach.T[:, None]
        # Labels stand before vectors and sets: sums over labels then run along whole planes of these.
        dtype = block.hits.dtype
        terms = np.matmul(block.hits, gain.transpose(0, 2, 1, 3).astype(dtype, order="C"))
        terms += block.log_clean.T[:, :, None]
        terms += (missed * reach.T).sum(axis=1)[:, None, None].astype(dtype, copy=False)
        return np.asarray(terms)


def log_sum(log_values: _Floats, axis: int) -> _Floats:
    """``log sum exp`` along an axis; minus infinity where all are.

    Examples
    --------
    >>> log_sum(np.log([[1.0, 2.0], [3.0, 4.0]]), axis=1).round(4).tolist()
    [1.0986, 1.9459]
    """
    peak = log_values.max(axis=axis, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(log_values - peak).sum(axis=axis)) + peak.squeeze(axis))
