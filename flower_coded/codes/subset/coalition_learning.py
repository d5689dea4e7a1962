"""Which one coalition of users explains a whole stream of answers: variational Bayes over all coalitions.

For one coalition ``x`` every sample of the stream is clean, or odd (hard, or an attack never seen before),
or an attack of ``x`` on target ``t`` (:mod:`~flower_coded.codes.subset.answer_likelihood`). Unknown are the
shares of these kinds (a Dirichlet prior), and for every target the obedience of every model that ``x``
reaches (a prior over a few values, zero among them). Attackers may plant another trigger for the same target
in other models, so every target has up to :data:`TRIGGERS` kinds of attack, each with an obedience of its
own. Coordinate ascent on the evidence lower bound (Bishop 2006, Sec. 10.2) gives their posterior, and the
bound says how well ``x`` explains the stream. All coalitions climb at once; after a few steps only the best
go on.

The ascent starts twice: with one trigger for every target, and with several, whose first obediences are the
centers of clusters of the answers that no clean ensemble explains. The start that explains more is kept.

Two choices make the answer hold:

* a model pays a few nats for its obedience, at most :data:`_PRIOR_SPARED` allows, however many samples there
  are. Coalitions of fewer users, who reach fewer models, are preferred however many models they poison;
* "odd" is at hand for every sample. A coalition can only win by *repeating* itself; single odd
  samples, of which every ensemble has some, cannot accuse anybody. Nor can one odd image that is shown again
  and again: while it is learned who attacks, equal answers count three times at most.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.answer_likelihood import AnswerLikelihood, TargetBlock
from flower_coded.codes.subset.answer_memory import AnswerMemory

__all__ = ["Coalitions", "learn_coalitions"]

_Floats = NDArray[np.float64]

SCREENING_STEPS, FURTHER_STEPS, NUM_KEPT = 4, 10, 16
CLEAN, ODD, FIRST_TARGET = 0, 1, 2
TRIGGERS = 3
"""Kinds of attack for every target, each with an obedience of its own."""
_PRIOR_CLEAN, _PRIOR_ODD, _PRIOR_TARGET = 1.0, 0.5, 0.01  # Dirichlet parameters of the shares
# A target that is attacked at all costs some -log 0.01 nats: a coalition cannot live on a few odd samples of
# each of many classes.
_MOST_REPEATS = 3.0
_PRIOR_SPARED = 0.02
"""Prior that a coalition spares a model it reaches. It is low, so that of two coalitions that explain the
poisoned models the one that reaches no others is believed."""
_CLUSTER_WIDTH, _CLUSTER_STEPS = 0.2, 5
_BLOCK_ENTRIES = 1 << 23  # of all (vectors, coalitions, labels) arrays of a step: 64 MiB


@dataclass(frozen=True)
class Coalitions:
    """The posterior over coalitions, and what was learned of each of the best ones.

    Parameters
    ----------
    log_evidence : ndarray of shape (E,), float64
        Lower bound of the log evidence of every coalition, its prior included.
    kept : ndarray of shape (K,), int64
        The best of them, best first.
    log_shares : ndarray of shape (K, 2 + TRIGGERS c), float64
        Expected log share of clean samples, odd samples, and attacks with each trigger on each target: all
        targets with the first trigger, then all with the next.
    shares : ndarray of shape (K, 2 + TRIGGERS c), float64
        Expected shares.
    obedience_shares : ndarray of shape (K, TRIGGERS c, m, g), float64
        Posterior of every obedience.
    model_evidence : ndarray of shape (K, m), float64
        Nats by which "obeys as often as fits best" explains each model's answers better than "does not obey",
        over all targets; whether the coalition reaches the model or not.
    """

    log_evidence: _Floats
    kept: NDArray[np.int64]
    log_shares: _Floats
    shares: _Floats
    obedience_shares: _Floats
    model_evidence: _Floats


@dataclass
class _Climb:
    """Where the coordinate ascent of some coalitions stands."""

    concentration: _Floats  # (E, 2 + TRIGGERS c)
    obedience_shares: _Floats  # (E, TRIGGERS c, m, g)
    evidence: _Floats  # (E,)
    model_evidence: _Floats  # (E, m)

    def of(self, chosen: NDArray[np.int64]) -> _Climb:
        return _Climb(
            self.concentration[chosen],
            self.obedience_shares[chosen],
            self.evidence[chosen],
            self.model_evidence[chosen],
        )


def learn_coalitions(
    likelihood: AnswerLikelihood,
    reach: NDArray[np.bool_],
    log_prior: _Floats,
    memory: AnswerMemory,
) -> Coalitions:
    """Learn from a stream which coalitions explain it, and how they attack.

    Parameters
    ----------
    likelihood : AnswerLikelihood
        Of the ensemble.
    reach : ndarray of shape (E, m), bool
        The models each coalition can poison; the first coalition is nobody.
    log_prior : ndarray of shape (E,), float64
        Log prior of each.
    memory : AnswerMemory
        The stream.

    Returns
    -------
    Coalitions
    """
    stream = _Stream(likelihood, memory)
    climbs = []
    step = stream.coalitions_at_once()
    for start in range(0, len(reach), step):
        own = reach[start : start + step].astype(np.float64)
        tried = []
        for first, num_triggers in ((stream.start(own), 1), (stream.start_with_clusters(own), TRIGGERS)):
            climb = first
            for _ in range(SCREENING_STEPS):
                climb = stream.step(climb, own, num_triggers)
            tried.append(climb)
        climbs.append(_better_of(*tried))
    climb = _Climb(
        np.concatenate([each.concentration for each in climbs]),
        np.concatenate([each.obedience_shares for each in climbs]),
        np.concatenate([each.evidence for each in climbs]),
        np.concatenate([each.model_evidence for each in climbs]),
    )
    kept = np.argsort(-(climb.evidence + log_prior), kind="stable")[:NUM_KEPT]
    kept = kept if (kept == 0).any() else np.append(kept[:-1], 0)  # "nobody" is always heard
    best, own = climb.of(kept), reach[kept].astype(np.float64)
    for _ in range(FURTHER_STEPS):
        best = stream.step(best, own)
    # Who attacks, and how, is settled. How often is a matter of all samples, repeated ones included.
    shares = stream.counting(memory.counts).step(best, own).concentration
    best = _Climb(shares, best.obedience_shares, best.evidence, best.model_evidence)
    log_evidence = climb.evidence + log_prior
    log_evidence[kept] = best.evidence + log_prior[kept]
    order = np.argsort(-log_evidence[kept], kind="stable")
    best, kept = best.of(order), kept[order]
    from scipy.special import digamma

    total = best.concentration.sum(axis=1, keepdims=True)
    return Coalitions(
        log_evidence,
        kept,
        digamma(best.concentration) - digamma(total),
        best.concentration / total,
        best.obedience_shares,
        best.model_evidence,
    )


class _Stream:
    """A stream's vectors, prepared for every step."""

    def __init__(self, likelihood: AnswerLikelihood, memory: AnswerMemory) -> None:
        self.likelihood, self.counts = likelihood, np.minimum(memory.counts, _MOST_REPEATS)
        self.num_unanimous = float(memory.num_unanimous)
        log_clean = likelihood.log_clean(memory.vectors)
        # Everything is relative to the clean likelihood of a vector: its size does not matter to anybody.
        self.reference = np.logaddexp.reduce(log_clean, axis=1) if len(log_clean) else np.empty(0)
        self.blocks = likelihood.blocks(memory.vectors, log_clean)
        odd = np.logaddexp(*likelihood.log_odd(self.blocks, len(memory.vectors)))
        self.log_odd = np.logaddexp.reduce(odd, axis=1) - self.reference if len(odd) else np.empty(0)

    def counting(self, counts: _Floats) -> _Stream:
        """Give the same stream with other counts of its vectors."""
        other = copy.copy(self)
        other.counts = counts
        return other

    def coalitions_at_once(self) -> int:
        entries = TRIGGERS * sum(len(block.index) for block in self.blocks) * self.likelihood.num_classes
        return max(1, int(_BLOCK_ENTRIES // max(entries, 1)))

    def start(self, reach: _Floats) -> _Climb:
        c, m, g = self.likelihood.num_classes, self.likelihood.num_models, len(self.likelihood.obedience)
        total = self.num_unanimous + self.counts.sum()
        guess = np.concatenate([[0.85, 0.05], np.full(c, 0.1 / c), np.zeros((TRIGGERS - 1) * c)]) * total
        # Begin with models that obey: from "nobody obeys" the ascent would never leave.
        is_positive = (self.likelihood.obedience > 0).astype(np.float64)
        shares = np.broadcast_to(np.exp(self._log_obedience_prior()), (TRIGGERS * c, m, g)).copy()
        shares[:c] = is_positive / is_positive.sum()
        return _Climb(
            np.tile(guess + self._prior(), (len(reach), 1)),
            np.broadcast_to(shares, (len(reach), *shares.shape)),
            np.empty(0),
            np.zeros((len(reach), m)),
        )

    def start_with_clusters(self, reach: _Floats) -> _Climb:
        """Begin with a cluster of answers for every trigger: alike ones would stay alike for ever."""
        c, m = self.likelihood.num_classes, self.likelihood.num_models
        total = self.num_unanimous + self.counts.sum()
        kinds = np.full(TRIGGERS * c, 0.1 / (TRIGGERS * c))
        guess = np.concatenate([[0.85, 0.05], kinds]) * total
        is_odd = 1 / (1 + np.exp(-np.clip(self.log_odd, -50, 50)))
        centers = np.empty((TRIGGERS, c, m))
        for target, block in enumerate(self.blocks):
            weights = self.counts[block.index] * is_odd[block.index]
            centers[:, target] = _cluster_centers(block.hits, weights)
        distance = centers.reshape(TRIGGERS * c, m)[:, :, None] - self.likelihood.obedience
        shares = np.exp(-((distance / _CLUSTER_WIDTH) ** 2)) + 1e-3
        shares /= shares.sum(axis=2, keepdims=True)
        return _Climb(
            np.tile(guess + self._prior(), (len(reach), 1)),
            np.broadcast_to(shares, (len(reach), *shares.shape)),
            np.empty(0),
            np.zeros((len(reach), m)),
        )

    def step(self, climb: _Climb, reach: _Floats, num_triggers: int = TRIGGERS) -> _Climb:
        """One round of coordinate ascent; the evidence is that of the parameters it was given.

        Only the first triggers are considered; the others stay as the prior has them.
        """
        from scipy.special import digamma

        log_shares = digamma(climb.concentration) - digamma(climb.concentration.sum(axis=1, keepdims=True))
        num_vectors, num_sets = len(self.counts), len(reach)
        kinds = [*enumerate(self.blocks)] * num_triggers  # target and block of every kind of attack
        masses = np.full((num_vectors, num_sets, FIRST_TARGET + len(kinds)), -np.inf)
        masses[:, :, CLEAN] = log_shares[:, CLEAN]
        masses[:, :, ODD] = self.log_odd[:, None] + log_shares[:, ODD]
        terms = [
            self._label_shares(masses, block, (kind, target), climb, reach, log_shares)
            for kind, (target, block) in enumerate(kinds)
        ]
        peak = masses.max(axis=2, initial=-np.inf, keepdims=True)
        np.exp(masses - peak, out=masses)
        total = masses.sum(axis=2, keepdims=True)
        log_total = (np.log(total) + peak)[:, :, 0] + self.reference[:, None]
        masses *= self.counts[:, None, None] / total  # responsibilities, in samples
        clean_of_unanimous = log_shares[:, CLEAN] - np.log(self.likelihood.num_classes)
        evidence = self.counts @ log_total + self.num_unanimous * clean_of_unanimous
        evidence -= _dirichlet_divergence(climb.concentration, self._prior())
        evidence -= self._obedience_divergence(climb.obedience_shares, reach)
        concentration = np.tile(self._prior(), (num_sets, 1))
        concentration[:, : masses.shape[2]] += masses.sum(axis=0)
        concentration[:, CLEAN] += self.num_unanimous
        posteriors = [
            self._obedience_posterior(masses, block, (kind, target), label_shares)
            for kind, ((target, block), label_shares) in enumerate(zip(kinds, terms, strict=True))
        ]
        obedience = np.concatenate(
            [np.stack([each for each, _ in posteriors], axis=1), climb.obedience_shares[:, len(kinds) :]],
            axis=1,
        )
        # All triggers for a target together: among samples chosen by what a model answers it always "obeys".
        c = self.likelihood.num_classes
        pooled = [np.sum([gains for _, gains in posteriors[target::c]], axis=0) for target in range(c)]
        # An obedience of 0 changes no likelihood, so the largest gain is that over it.
        model_evidence = np.sum([np.maximum(gains.max(axis=2), 0.0) for gains in pooled], axis=0)
        return _Climb(concentration, obedience, evidence, model_evidence)

    def _label_shares(
        self,
        masses: _Floats,
        block: TargetBlock,
        kind_and_target: tuple[int, int],
        climb: _Climb,
        reach: _Floats,
        log_shares: _Floats,
    ) -> _Floats:
        """Enter the log mass of attacks on one target; return how it divides among labels, (V_t, E, c)."""
        kind, target = kind_and_target
        terms = self.likelihood.attack_terms(block, target, reach, climb.obedience_shares[:, kind])
        peak = terms.max(axis=2, initial=-np.inf, keepdims=True)
        peak = np.where(np.isfinite(peak), peak, 0.0)
        terms -= peak
        np.exp(terms, out=terms)
        total = terms.sum(axis=2, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_mass = np.log(total[:, :, 0]) + peak[:, :, 0]
            terms /= np.where(total > 0, total, 1.0)
        # A coalition that reaches nobody does not attack.
        is_able = np.where(reach.any(axis=1), 0.0, -np.inf)
        shared = log_shares[:, FIRST_TARGET + kind] + is_able
        masses[block.index, :, FIRST_TARGET + kind] = log_mass + shared - self.reference[block.index, None]
        return terms

    def _obedience_posterior(
        self, masses: _Floats, block: TargetBlock, kind_and_target: tuple[int, int], label_shares: _Floats
    ) -> tuple[_Floats, _Floats]:
        """Posterior of the obedience to one kind of attack, and the gain of each over none, (E, m, g)."""
        kind, target = kind_and_target
        weights = label_shares * masses[block.index, :, FIRST_TARGET + kind][:, :, None]
        num_sets, num_labels = weights.shape[1:]
        flat = weights.reshape(len(weights), num_sets * num_labels)
        hits = (block.hits.T @ flat).reshape(self.likelihood.num_models, num_sets, num_labels)
        misses = weights.sum(axis=(0, 2))[None, :] - hits.sum(axis=2)  # (m, E)
        gains = np.einsum("mel,gml->emg", hits, self.likelihood.log_hit[..., target])
        gains += misses.T[:, :, None] * self.likelihood.log_miss
        log_posterior = gains + self._log_obedience_prior()
        posterior = np.exp(log_posterior - log_posterior.max(axis=2, keepdims=True))
        return posterior / posterior.sum(axis=2, keepdims=True), gains

    def _prior(self) -> _Floats:
        targets = np.full(TRIGGERS * self.likelihood.num_classes, _PRIOR_TARGET)
        return np.concatenate([[_PRIOR_CLEAN, _PRIOR_ODD], targets])

    def _log_obedience_prior(self) -> _Floats:
        is_spared = self.likelihood.obedience == 0
        others = (1 - _PRIOR_SPARED) / max(int((~is_spared).sum()), 1)
        return np.log(np.where(is_spared, _PRIOR_SPARED, others))

    def _obedience_divergence(self, shares: _Floats, reach: _Floats) -> _Floats:
        """KL divergence of every reached model's obedience from its prior, summed: (E,)."""
        logs = np.log(np.where(shares > 0, shares, 1.0)) - self._log_obedience_prior()
        return np.asarray(((shares * logs).sum(axis=3) * reach[:, None, :]).sum(axis=(1, 2)))


def _better_of(one: _Climb, other: _Climb) -> _Climb:
    """Take of every coalition the ascent that explains more."""
    is_other = other.evidence > one.evidence

    def chosen(first: _Floats, second: _Floats) -> _Floats:
        return np.where(is_other.reshape(-1, *[1] * (first.ndim - 1)), second, first)

    return _Climb(
        chosen(one.concentration, other.concentration),
        chosen(one.obedience_shares, other.obedience_shares),
        chosen(one.evidence, other.evidence),
        chosen(one.model_evidence, other.model_evidence),
    )


def _cluster_centers(hits: _Floats, weights: _Floats) -> _Floats:
    """Centers (TRIGGERS, m) of weighted clusters of vectors (V, m), from far apart ones on (Lloyd 1982)."""
    if not len(hits):
        return np.zeros((TRIGGERS, hits.shape[1]))
    centers = hits[[int(np.argmax(weights))]]
    while len(centers) < TRIGGERS:
        distances = ((hits[:, None] - centers[None]) ** 2).sum(axis=2).min(axis=1)
        centers = np.vstack([centers, hits[int(np.argmax(weights * distances))]])
    for _ in range(_CLUSTER_STEPS):
        own = ((hits[:, None] - centers[None]) ** 2).sum(axis=2).argmin(axis=1)
        shares = weights[:, None] * (own[:, None] == np.arange(TRIGGERS))
        mass = shares.sum(axis=0)
        means = shares.T @ hits / np.where(mass > 0, mass, 1.0)[:, None]
        centers = np.where(mass[:, None] > 0, means, centers)
    return centers


def _dirichlet_divergence(concentration: _Floats, prior: _Floats) -> _Floats:
    """KL divergence of Dirichlet(concentration) from Dirichlet(prior), (E,)."""
    total = concentration.sum(axis=1)
    from scipy.special import digamma, gammaln

    log_shares = digamma(concentration) - digamma(total)[:, None]
    return np.asarray(
        gammaln(total)
        - gammaln(concentration).sum(axis=1)
        - gammaln(prior.sum())
        + gammaln(prior).sum()
        + ((concentration - prior) * log_shares).sum(axis=1)
    )
