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
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.answer_likelihood import AnswerLikelihood, TargetBlock
from flower_coded.codes.subset.answer_memory import AnswerMemory

__all__ = ["Coalitions", "evidential_counts", "learn_coalitions"]

_Floats = NDArray[np.float64]
_Singles = NDArray[np.floating]  # float32 in a stream, see there

SCREENING_STEPS, FURTHER_STEPS, NUM_KEPT = 4, 10, 16
_KEPT_FOR_PROOF = 4  # of these, for the prior that accusations are weighed with
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
_TINY = 1e-300  # instead of 0, where a log is taken
_CLUSTER_WIDTH, _CLUSTER_STEPS = 0.2, 5
_BLOCK_ENTRIES = 1 << 23  # of all (labels, vectors, coalitions) arrays of a step: 32 MiB


@dataclass(frozen=True)
class Coalitions:
    """The posterior over coalitions, and what was learned of each of the best ones.

    Parameters
    ----------
    log_evidence : ndarray of shape (E,), float64
        Lower bound of the log evidence of every coalition, the prior for labels included.
    log_proof : ndarray of shape (E,), float64
        The same with the prior for accusations.
    kept : ndarray of shape (K,), int64
        The best of them by either, and nobody; best for labels first.
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
    log_proof: _Floats
    kept: NDArray[np.int64]
    log_shares: _Floats
    shares: _Floats
    obedience_shares: _Floats
    model_evidence: _Floats


@dataclass
class _Climb:
    """Where the coordinate ascent of some coalitions stands.

    Coalitions are the last axis everywhere: every sum of a step then runs along rows of them, not within.
    """

    concentration: _Floats  # (2 + TRIGGERS c, E)
    obedience_shares: _Floats  # (TRIGGERS, c, m, g, E)
    obedience_divergence: _Floats  # (E,), KL from the prior, of all reached models
    evidence: _Floats  # (E,)
    model_evidence: _Floats  # (m, E)

    def of(self, chosen: NDArray[np.int64]) -> _Climb:
        return _Climb(*(each[..., chosen] for each in self.arrays))

    def joined(self, other: _Climb) -> _Climb:
        return _Climb(
            *(np.concatenate(pair, axis=-1) for pair in zip(self.arrays, other.arrays, strict=True))
        )

    @property
    def arrays(self) -> tuple[_Floats, ...]:
        return (
            self.concentration,
            self.obedience_shares,
            self.obedience_divergence,
            self.evidence,
            self.model_evidence,
        )


def evidential_counts(memory: AnswerMemory) -> _Floats:
    """Return how often each distinct answer of a stream counts while it is learned who attacks, (V,)."""
    return np.minimum(memory.counts, _MOST_REPEATS)


def learn_coalitions(
    likelihood: AnswerLikelihood,
    reach: NDArray[np.bool_],
    log_prior: _Floats,
    log_proof_prior: _Floats,
    memory: AnswerMemory,
) -> Coalitions:
    """Learn from a stream which coalitions explain it, and how they attack.

    Parameters
    ----------
    likelihood : AnswerLikelihood
        Of the ensemble.
    reach : ndarray of shape (E, m), bool
        The models each coalition can poison; the first coalition is nobody.
    log_prior, log_proof_prior : ndarray of shape (E,), float64
        Log prior of each, for labels and for accusations.
    memory : AnswerMemory
        The stream.

    Returns
    -------
    Coalitions
    """
    stream = _Stream(likelihood, memory)
    evidence = np.empty(len(reach))

    def is_heard(coalitions: NDArray[np.int64]) -> NDArray[np.bool_]:
        by_prior = (evidence[coalitions] + prior[coalitions] for prior in (log_prior, log_proof_prior))
        return np.isin(coalitions, _best(coalitions, *by_prior))

    kept, best = np.empty(0, dtype=np.int64), None
    step = stream.coalitions_at_once()
    for start in range(0, len(reach), step):
        part = np.arange(start, min(start + step, len(reach)))
        own = reach[part].astype(np.float64)
        climb = stream.screened(own)
        evidence[part] = climb.evidence
        # How they attack is kept of the best so far: all would be 20 kB for each of up to 100,000.
        is_best = is_heard(part)
        climb, heard = climb.of(np.flatnonzero(is_best)), np.append(kept, part[is_best])
        climb = climb if best is None else best.joined(climb)
        is_best = is_heard(heard)
        kept, best = heard[is_best], climb.of(np.flatnonzero(is_best))
    assert best is not None, "nobody is a coalition"
    own = reach[kept].astype(np.float64)
    for _ in range(FURTHER_STEPS):
        best = stream.step(best, own)
    # Who attacks, and how, is settled. How often is a matter of all samples, repeated ones included.
    shares = stream.counting(memory.counts).step(best, own).concentration
    best = replace(best, concentration=shares)
    evidence[kept] = best.evidence
    log_evidence = evidence + log_prior
    order = np.argsort(-log_evidence[kept], kind="stable")
    best, kept = best.of(order), kept[order]
    from scipy.special import digamma

    concentration, num_models = best.concentration.T, reach.shape[1]
    total = concentration.sum(axis=1, keepdims=True)
    by_coalition = np.moveaxis(best.obedience_shares, -1, 0)
    return Coalitions(
        log_evidence,
        evidence + log_proof_prior,
        kept,
        digamma(concentration) - digamma(total),
        concentration / total,
        by_coalition.reshape(len(kept), -1, num_models, by_coalition.shape[-1]),
        best.model_evidence.T,
    )


class _Stream:
    """A stream's vectors, prepared for every step."""

    def __init__(self, likelihood: AnswerLikelihood, memory: AnswerMemory) -> None:
        self.likelihood, self.counts = likelihood, evidential_counts(memory)
        self.num_unanimous = float(memory.num_unanimous)
        log_clean = likelihood.log_clean(memory.vectors)
        # Everything is relative to the clean likelihood of a vector: its size does not matter to anybody.
        self.reference = np.logaddexp.reduce(log_clean, axis=1) if len(log_clean) else np.empty(0)
        blocks = likelihood.blocks(memory.vectors, log_clean)
        odd = np.logaddexp(*likelihood.log_odd(blocks, len(memory.vectors)))
        # The large arrays, with an axis of labels, are in single precision, at half the time: relative errors
        # of 1e-6 in sums over 1,000 vectors are nothing beside the nats that a user costs. What is common
        # to all goes first: the clean likelihood of many models is a large number.
        self.blocks = [
            replace(block, log_clean=block.log_clean - self.reference[block.index, None]).astype(np.float32)
            for block in blocks
        ]
        self.log_odd = np.logaddexp.reduce(odd, axis=1) - self.reference if len(odd) else np.empty(0)

    def counting(self, counts: _Floats) -> _Stream:
        """Give the same stream with other counts of its vectors."""
        other = copy.copy(self)
        other.counts = counts
        return other

    def coalitions_at_once(self) -> int:
        # Where vectors are few the obedience is what is large, in double precision and some six copies.
        obedience = 12 * self.likelihood.num_models * len(self.likelihood.obedience)
        rows = max(sum(len(block.index) for block in self.blocks), obedience)
        return max(1, int(_BLOCK_ENTRIES // (TRIGGERS * rows * self.likelihood.num_classes)))

    def screened(self, reach: _Floats) -> _Climb:
        """Climb a few steps from either start; of every coalition what explains more."""
        one, several = self.start(reach), self.start_with_clusters(reach)
        for _ in range(SCREENING_STEPS):
            one, several = self.step(one, reach, 1), self.step(several, reach)
        is_several = several.evidence > one.evidence
        pairs = zip(one.arrays, several.arrays, strict=True)
        return _Climb(*(np.where(is_several, b, a) for a, b in pairs))

    def start(self, reach: _Floats) -> _Climb:
        c, m, g = self.likelihood.num_classes, self.likelihood.num_models, len(self.likelihood.obedience)
        total = self.num_unanimous + self.counts.sum()
        guess = np.concatenate([[0.85, 0.05], np.full(c, 0.1 / c), np.zeros((TRIGGERS - 1) * c)]) * total
        # Begin with models that obey: from "nobody obeys" the ascent would never leave.
        is_positive = np.where(self.likelihood.obedience > 0, 1.0, _TINY)
        shares = np.broadcast_to(np.exp(self._log_obedience_prior()), (TRIGGERS, c, m, g)).copy()
        shares[0] = is_positive / is_positive.sum()
        return self._same_for_all(reach, guess, shares)

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
            centers[:, target] = _cluster_centers(block.hits.astype(np.float64), weights)
        distance = centers[..., None] - self.likelihood.obedience
        shares = np.exp(-((distance / _CLUSTER_WIDTH) ** 2)) + 1e-3
        return self._same_for_all(reach, guess, shares / shares.sum(axis=3, keepdims=True))

    def _same_for_all(self, reach: _Floats, guess: _Floats, obedience_shares: _Floats) -> _Climb:
        """Let every coalition begin with these shares, in samples, and this obedience (TRIGGERS, c, m, g)."""
        num_sets, num_models = reach.shape
        divergences = obedience_shares * (np.log(obedience_shares) - self._log_obedience_prior())
        return _Climb(
            np.repeat((guess + self._prior())[:, None], num_sets, axis=1),
            np.repeat(obedience_shares[..., None], num_sets, axis=-1),
            reach @ divergences.sum(axis=(0, 1, 3)),
            np.empty(0),
            np.zeros((num_models, num_sets)),
        )

    def step(self, climb: _Climb, reach: _Floats, num_triggers: int = TRIGGERS) -> _Climb:
        """One round of coordinate ascent; the evidence is that of the parameters it was given.

        Only the first triggers are considered; the others stay as the prior has them.
        """
        from scipy.special import digamma

        log_shares = digamma(climb.concentration) - digamma(climb.concentration.sum(axis=0))
        c = self.likelihood.num_classes
        kinds = [FIRST_TARGET + target + c * np.arange(num_triggers) for target in range(c)]
        clean = np.repeat(log_shares[None, CLEAN], len(self.counts), axis=0)  # (V, E)
        odd = self.log_odd[:, None] + log_shares[ODD]
        peak = np.maximum(clean, odd)
        attacks, labels = [], []
        for target, block in enumerate(self.blocks):
            attack, of_labels = self._attacks(
                target, block, climb.obedience_shares[:num_triggers, target], reach
            )
            attack += log_shares[kinds[target], None]
            peak[block.index] = np.maximum(peak[block.index], attack.max(axis=0))
            attacks.append(attack)
            labels.append(of_labels)
        clean, odd = (np.exp(each - peak) for each in (clean, odd))
        total = clean + odd
        for target, block in enumerate(self.blocks):
            attacks[target] = np.exp(attacks[target] - peak[block.index])
            total[block.index] += attacks[target].sum(axis=0)
        log_total = np.log(total) + peak + self.reference[:, None]
        samples = self.counts[:, None] / total  # times a mass: responsibility, in samples
        clean_of_unanimous = log_shares[CLEAN] - np.log(c)
        evidence = self.counts @ log_total + self.num_unanimous * clean_of_unanimous
        evidence -= _dirichlet_divergence(climb.concentration, self._prior())
        evidence -= climb.obedience_divergence
        concentration = np.repeat(self._prior()[:, None], len(reach), axis=1)
        concentration[CLEAN] += (clean * samples).sum(axis=0) + self.num_unanimous
        concentration[ODD] += (odd * samples).sum(axis=0)
        obedience = np.empty_like(climb.obedience_shares)
        obedience[num_triggers:] = climb.obedience_shares[num_triggers:]
        divergences, model_evidence = np.zeros(reach.T.shape), np.zeros(reach.T.shape)
        for target, block in enumerate(self.blocks):
            responsible = attacks[target] * samples[block.index]
            concentration[kinds[target]] += responsible.sum(axis=1)
            gains = self._gains(responsible, target, block, labels[target])
            obedience[:num_triggers, target], of_models = self._obedience_posterior(gains)
            divergences += of_models
            # All triggers for a target together: among samples chosen by what a model answers it always
            # "obeys". An obedience of 0 changes no likelihood, so the largest gain is that over it.
            model_evidence += np.maximum(gains.sum(axis=0).max(axis=1), 0.0)
        divergence = (divergences * reach.T).sum(axis=0)
        return _Climb(concentration, obedience, divergence, evidence, model_evidence)

    def _attacks(
        self, target: int, block: TargetBlock, obedience_shares: _Floats, reach: _Floats
    ) -> tuple[_Floats, _Singles]:
        """Log ratio of attacks on one target to clean, (T, V_t, E), and labels' shares, (T, c, V_t, E)."""
        terms = self.likelihood.attack_terms(block, target, reach, obedience_shares)
        peak = terms.max(axis=1)
        peak = np.where(np.isfinite(peak), peak, 0.0)
        terms -= peak[:, None]
        np.exp(terms, out=terms)
        total = terms.sum(axis=1)
        with np.errstate(divide="ignore"):
            log_likelihood = np.log(total, dtype=np.float64) + peak
        terms /= np.where(total > 0, total, 1.0)[:, None]
        # A coalition that reaches nobody does not attack.
        is_able = np.where(reach.any(axis=1), 0.0, -np.inf)
        return log_likelihood + is_able, terms

    def _gains(
        self, responsible: _Floats, target: int, block: TargetBlock, label_shares: _Singles
    ) -> _Floats:
        """Nats by which each obedience explains a model's answers better than none, (T, m, g, E)."""
        weights = label_shares  # used up
        weights *= responsible[:, None].astype(weights.dtype)
        hits = np.matmul(block.hits.T, weights).transpose(0, 2, 1, 3)  # (T, m, c, E)
        # A vector's label shares sum to 1. Of what is left after the hits rounding must not make a negative.
        misses = np.maximum(responsible.sum(axis=1)[:, None] - hits.sum(axis=2), 0.0)  # (T, m, E)
        gains = np.matmul(self.likelihood.log_hit[target].transpose(0, 2, 1), hits)
        gains += misses[:, :, None] * self.likelihood.log_miss[:, None]
        return np.asarray(gains)

    def _obedience_posterior(self, gains: _Floats) -> tuple[_Floats, _Floats]:
        """Posterior of every obedience, and its divergence from the prior over all triggers, (m, E)."""
        posterior = gains + self._log_obedience_prior()[:, None]
        peak = posterior.max(axis=2)
        posterior -= peak[:, :, None]
        np.exp(posterior, out=posterior)
        total = posterior.sum(axis=2)
        posterior /= total[:, :, None]
        # The posterior is the prior times exp(gain), over this sum: its log ratio to the prior is known.
        divergence = (posterior * gains).sum(axis=2) - peak - np.log(total)
        return posterior, divergence.sum(axis=0)

    def _prior(self) -> _Floats:
        targets = np.full(TRIGGERS * self.likelihood.num_classes, _PRIOR_TARGET)
        return np.concatenate([[_PRIOR_CLEAN, _PRIOR_ODD], targets])

    def _log_obedience_prior(self) -> _Floats:
        is_spared = self.likelihood.obedience == 0
        others = (1 - _PRIOR_SPARED) / max(int((~is_spared).sum()), 1)
        return np.log(np.where(is_spared, _PRIOR_SPARED, others))


def _best(coalitions: NDArray[np.int64], for_labels: _Floats, for_proof: _Floats) -> NDArray[np.int64]:
    """Choose who is heard by either evidence, of coalitions in order; "nobody", the first, always is."""
    by_labels, by_proof = (coalitions[np.argsort(-each, kind="stable")] for each in (for_labels, for_proof))
    return np.concatenate([by_labels[: NUM_KEPT - _KEPT_FOR_PROOF], by_proof[:_KEPT_FOR_PROOF], [0]])


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
    total = concentration.sum(axis=0)
    from scipy.special import digamma, gammaln

    log_shares = digamma(concentration) - digamma(total)
    return np.asarray(
        gammaln(total)
        - gammaln(concentration).sum(axis=0)
        - gammaln(prior.sum())
        + gammaln(prior).sum()
        + ((concentration - prior[:, None]) * log_shares).sum(axis=0)
    )
