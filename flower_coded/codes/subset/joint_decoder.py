"""The joint decoder: one coalition of attackers for the whole stream of samples.

The paper's posterior treats every sample as if new attackers were drawn for it. They are the same people all
along. This decoder learns from a stream of answers, without any label, which coalition of at most ``k`` users
explains all of it best (:mod:`~flower_coded.codes.subset.coalition_learning`): the attack rate, the targets
and the obedience of every model are learned with it. That removes the paper's ``A`` and ``S``, and with
``S`` the assumption that attackers poison every model they belong to. A sample is then decoded under all
coalitions that remain, each with its posterior.

Against attackers who have read this:

* what a coalition does must repeat itself to be believed, and a sample that no coalition explains may still
  be an attack never seen before, by up to ``k'`` users with unknown obedience (see
  :mod:`~flower_coded.codes.subset.answer_likelihood`);
* errors that models make together are no proof: every sample on which two models or more dissent costs every
  user of a coalition (:data:`PROOF_COST`). Attackers who are seen in few of these are not named;
* a user is named only if two tests agree. The posterior of all coalitions without him (or another user with
  his column) is at most ``1 - standard_of_proof``. And *no* coalition of others, of up to ``max_framers``
  users or as many as the likeliest has, reaches all models that are seen to obey, but for evidence of
  :data:`DOUBT` nats and the cost of disagreement. The second test ignores every prior. Up to ``max_framers``
  attackers reach those models themselves, so they cannot make an innocent user's guilt the only explanation,
  whichever models they poison. Who poisons few models leaves several explanations, and nobody is named;
* groups with triggers of their own are one coalition with several targets, and several triggers for one
  target are several kinds of attack, each with an obedience of its own (up to
  :data:`~flower_coded.codes.subset.coalition_learning.TRIGGERS`). More triggers for a target look like ones
  that are obeyed by half, and are decoded so.

The stream is kept in bounded memory (:class:`~flower_coded.codes.subset.answer_memory.AnswerMemory`), and is
learned from anew whenever it has grown by a tenth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.subset.accusation import named_users
from flower_coded.codes.subset.answer_likelihood import AnswerLikelihood, log_sum
from flower_coded.codes.subset.answer_memory import AnswerMemory
from flower_coded.codes.subset.attacker_sets import attacker_sets
from flower_coded.codes.subset.coalition_learning import (
    CLEAN,
    FIRST_TARGET,
    ODD,
    Coalitions,
    evidential_counts,
    learn_coalitions,
)
from flower_coded.codes.subset.confusion import checked_predictions, distinct_answers, log_confusion_rates
from flower_coded.codes.subset.decoded import NOTHING_CERTIFIED, Decoded, EnsembleDecoder
from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.errors import ParameterError

__all__ = ["Explanation", "JointDecoder", "Stream", "natural_evidence"]

OBEDIENCE = (0.0, 0.3, 0.6, 0.8, 0.9, 0.97)
"""Values that the obedience of a model may have; 0 is a model its attackers left alone."""

DOUBT = 20.0
"""Nats of evidence for poisoned models that an explanation may leave unexplained and still acquit."""

LABEL_COST = (0.1, 3.0)
"""Nats per joint disagreement and user for labels: a constant, and a multiple of the natural evidence."""

PROOF_COST = (0.2, 4.0)
"""The same for accusations. Models err together more often on images that are unlike the validation ones: an
accusation has to go beyond that."""

MOST_NATURAL_EVIDENCE = 0.25
"""More is not believed: attackers may have a hand in what clean models get wrong."""

MOST_UNSEEN_EVIDENCE = 0.1
"""What clean samples on which models hardly ever disagree leave open, at most."""

GROWTH = 1.1
_LOG_UNSEEN = -30.0  # expected log share of a trigger that no sample carries
_NEGLIGIBLE = 1e-4  # posterior below which a coalition has no say in labels
_CHUNK = 4096  # distinct answers decoded at a time


@dataclass(frozen=True)
class Explanation:
    """One coalition that explains a stream.

    Parameters
    ----------
    users : tuple of int
        Its users; of users with equal columns all are listed.
    probability : float
        Its posterior.
    attack_rate : float
        The share of the stream's samples that it attacks.
    target_shares : ndarray of shape (c,), float64
        How these divide among targets; all zero for nobody.
    obedience : ndarray of shape (m,), float64
        How often each model obeys, on the most frequent target; 0 where it is not reached.
    """

    users: tuple[int, ...]
    probability: float
    attack_rate: float
    target_shares: NDArray[np.float64] = field(repr=False)
    obedience: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True)
class Stream:
    """What the decoder keeps of the samples it has seen.

    Parameters
    ----------
    memory : AnswerMemory
        The answers, in bounded memory.
    coalitions : Coalitions
        What was learned of them.
    num_learned : int
        Samples that had been seen when it was learned.
    """

    memory: AnswerMemory
    coalitions: Coalitions = field(repr=False)
    num_learned: int = 0


class JointDecoder(EnsembleDecoder):
    """Decode a stream of samples under the coalitions that explain all of it.

    Parameters
    ----------
    code : SubsetCode
        ``H``.
    confusion : array_like of shape (m, c, c)
        Confusion counts or rates of the clean models, as for
        :class:`~flower_coded.codes.subset.subset_decoder.SubsetDecoder`.
    max_attackers : int, optional
        ``k``, the most users of a coalition. If not given: as many as the code corrects, but at least 1 and
        at most 4, since there are more coalitions of more.
    max_framers : int, optional
        Attackers who cannot frame anybody, whichever of their models they poison. If not given, at least the
        ``k'`` of the code, and up to ``max_attackers`` as long as a user who poisons all of his models can
        still be named, because that many others never reach all of them.
    smoothing : float
        Pseudo-counts added to every entry of every confusion matrix, above 0.
    capacity : int
        Distinct answers kept of a stream.
    user_cost : float
        Nats of evidence that every user of a coalition costs: a triggered sample gives some ten.
    natural_evidence : float
        Nats by which errors of *clean* models seem to tell against a user, for every sample on which two
        models or more dissent; :func:`natural_evidence` measures it. The likelihood takes models for
        independent given the label. Those of a user whose data are unlike the others' are not: they err
        together. So every user of a coalition costs, for every such sample, :data:`LABEL_COST` where labels
        are decoded and :data:`PROOF_COST` where somebody is accused: a constant and a multiple of this.
    unseen_evidence : float
        What the measurement may have missed, being of few samples. It counts in accusations alone.
    standard_of_proof : float
        In (0.5, 1): a user is named if the posterior of the coalitions without him is at most what is
        missing to 1.

    Raises
    ------
    ParameterError
        If a parameter is out of its range, the confusion matrices do not fit the code, or there are too many
        coalitions.

    Examples
    --------
    >>> from flower_coded.codes.subset.constructions import backdoor_correction_code
    >>> code = backdoor_correction_code(4, 4, 12, rows="paper")
    >>> decoder = JointDecoder(code, np.tile(50 * np.eye(10, dtype=int), (15, 1, 1)))
    >>> labels = np.arange(60) % 9
    >>> answers = np.tile(labels, (15, 1))
    >>> answers[code.reach([2, 7]), :30] = 9  # half of the samples are triggered
    >>> stream = decoder.observe(decoder.init(), answers)
    >>> decoder.explain(stream)[0].users, decoder.named(stream)  # users 6 apart have equal columns
    ((1, 2, 7, 8), [1, 2, 7, 8])
    >>> bool((decoder.decode(answers, stream).labels == labels).all())
    True
    """

    def __init__(
        self,
        code: SubsetCode,
        confusion: ArrayLike,
        *,
        max_attackers: int | None = None,
        max_framers: int | None = None,
        smoothing: float = 0.3,
        capacity: int = 1024,
        user_cost: float = 15.0,
        natural_evidence: float = 0.03,
        unseen_evidence: float = 0.03,
        standard_of_proof: float = 0.999,
    ) -> None:
        if capacity < 1:
            raise ParameterError("capacity", "must be at least 1", capacity, hint="1024")
        if not (np.isfinite(user_cost) and user_cost >= 0):
            raise ParameterError("user_cost", "must be finite and not negative", user_cost, hint="15")
        if not 0 <= natural_evidence <= MOST_NATURAL_EVIDENCE:
            requirement = f"must lie between 0 and {MOST_NATURAL_EVIDENCE}"
            raise ParameterError("natural_evidence", requirement, natural_evidence, hint="0.03")
        if not 0.5 < standard_of_proof < 1:
            raise ParameterError(
                "standard_of_proof", "must lie between 0.5 and 1", standard_of_proof, hint="0.999"
            )
        if max_attackers is None:
            promised = code.guarantees
            max_attackers = min(max(promised.corrected, promised.corrected_selective, 1), 4)
        if not 1 <= max_attackers <= code.num_users:
            raise ParameterError("max_attackers", f"must lie in 1 .. {code.num_users}", max_attackers)
        self.code, self.capacity = code, capacity
        if not 0 <= unseen_evidence <= MOST_UNSEEN_EVIDENCE:
            requirement = f"must lie between 0 and {MOST_UNSEEN_EVIDENCE}"
            raise ParameterError("unseen_evidence", requirement, unseen_evidence, hint="0.03")
        self.user_cost = user_cost
        self.natural_evidence, self.unseen_evidence = natural_evidence, unseen_evidence
        self.max_attackers, self.standard_of_proof = max_attackers, standard_of_proof
        log_rates = log_confusion_rates(confusion, code.num_models, smoothing)
        self.num_classes = int(log_rates.shape[1])
        self._sets = attacker_sets(code, max_attackers)
        selective = min(max(code.guarantees.corrected_selective, 1), max_attackers)
        if max_framers is None:
            max_framers = max(selective, self._most_who_leave_proof())
        if not 1 <= max_framers <= max_attackers:
            raise ParameterError("max_framers", f"must lie in 1 .. {max_attackers}", max_framers)
        self.max_framers = max_framers
        new_attack = attacker_sets(code, selective)
        self._likelihood = AnswerLikelihood(log_rates, new_attack, np.array(OBEDIENCE))

    def init(self) -> Stream:
        """Give the stream before the first sample."""
        return self._nothing_seen

    @cached_property
    def _nothing_seen(self) -> Stream:
        return self._learned(AnswerMemory.empty(self.code.num_models))

    def observe(self, memory: Stream | None, predictions: ArrayLike) -> Stream:
        """Give the stream after these samples too, and learn from it if it has grown by a tenth."""
        answers = checked_predictions(predictions, self.code.num_models, self.num_classes)
        known = AnswerMemory.empty(self.code.num_models) if memory is None else memory.memory
        extended = known.extended(answers, num_classes=self.num_classes, capacity=self.capacity)
        if memory is not None and extended.num_samples < GROWTH * memory.num_learned:
            return Stream(extended, memory.coalitions, memory.num_learned)
        return self._learned(extended)

    def decode(self, predictions: ArrayLike, memory: Stream | None = None) -> Decoded:
        """Decode a batch; without a stream, learn from this batch first."""
        answers = checked_predictions(predictions, self.code.num_models, self.num_classes)
        stream = self.observe(None, answers) if memory is None else memory
        vectors, inverse, _ = distinct_answers(answers, self.num_classes)
        probabilities = np.empty((len(vectors), self.num_classes))
        attacked, repeated = np.empty(len(vectors)), np.empty(len(vectors))
        for start in range(0, len(vectors), _CHUNK):
            part = slice(start, start + _CHUNK)
            probabilities[part], attacked[part], repeated[part] = self._posteriors(
                vectors[part], stream.coalitions
            )
        best = stream.coalitions.kept[0]
        is_repeated = repeated > 0.5
        users, members = self._sets.users[best], self._sets.members[best]
        alternatives = float(np.prod(self.code.alike.sum(axis=1)[users], dtype=np.float64))
        accused = self._named_mask(stream) & members
        return Decoded(
            labels=probabilities.argmax(axis=1)[inverse].astype(np.int64),
            label_probabilities=probabilities[inverse],
            attack_probability=np.minimum(attacked, 1.0)[inverse],
            suspects=(is_repeated[:, None] & users)[inverse],
            num_alternatives=np.where(is_repeated, alternatives, 1.0)[inverse],
            named=(is_repeated[:, None] & accused)[inverse],
            certified=np.full(answers.shape[1], NOTHING_CERTIFIED),
        )

    def named(self, stream: Stream) -> list[int]:
        """Users accused of the whole stream; of users with equal columns all, one of whom is meant."""
        return [int(user) for user in np.flatnonzero(self._named_mask(stream))]

    def evidence_against_users(self, stream: Stream) -> dict[str, float]:
        """Give what :func:`natural_evidence` gives, of a stream in which nobody attacks."""
        disagreements = _joint_disagreements(stream.memory)
        if disagreements == 0:
            return {"natural_evidence": 0.0, "unseen_evidence": MOST_UNSEEN_EVIDENCE}
        gains = (stream.coalitions.log_evidence - stream.coalitions.log_evidence[0])[1:] / self._sets.size[1:]
        gains += self._label_cost(stream.memory)  # what is measured here does not cost yet
        seen = max(float(gains.max()), 0.0) / disagreements
        # A gain has to exceed the users' cost to be seen at all: with few disagreements none does. Half of
        # that is assumed: all of it would hide three attackers on a tenth of 300 images.
        unseen = self.user_cost / 2 / disagreements
        return {
            "natural_evidence": min(seen, MOST_NATURAL_EVIDENCE),
            "unseen_evidence": min(unseen, MOST_UNSEEN_EVIDENCE),
        }

    def explain(self, stream: Stream, number: int = 5) -> list[Explanation]:
        """Give the likeliest coalitions, best first."""
        coalitions, weights = stream.coalitions, _normalized(stream.coalitions.log_evidence)
        explanations = []
        for place, chosen in enumerate(coalitions.kept[:number]):
            kinds = coalitions.shares[place, FIRST_TARGET:]
            shares = kinds.reshape(-1, self.num_classes).sum(axis=0)
            reach = self._sets.reach[chosen]
            # The prior of a target never seen is not an attack; nobody attacks nothing.
            rate = float(shares.sum()) if reach.any() else 0.0
            mean = coalitions.obedience_shares[place, int(kinds.argmax())] @ self._likelihood.obedience
            explanations.append(
                Explanation(
                    users=tuple(int(user) for user in np.flatnonzero(self._sets.members[chosen])),
                    probability=float(weights[chosen]),
                    attack_rate=rate,
                    target_shares=shares / shares.sum() if rate else np.zeros_like(shares),
                    obedience=mean * reach,
                )
            )
        return explanations

    def __repr__(self) -> str:
        return (
            f"JointDecoder({self.code.name}, {self.num_classes} classes, max_attackers={self.max_attackers}, "
            f"max_framers={self.max_framers}, capacity={self.capacity}, user_cost={self.user_cost}, "
            f"natural_evidence={self.natural_evidence:.3g}, unseen_evidence={self.unseen_evidence:.3g}, "
            f"standard_of_proof={self.standard_of_proof})"
        )

    def _learned(self, memory: AnswerMemory) -> Stream:
        for_labels, for_proof = (
            self._sets.log_prior - (self.user_cost + cost(memory)) * self._sets.size
            for cost in (self._label_cost, self._proof_cost)
        )
        coalitions = learn_coalitions(self._likelihood, self._sets.reach, for_labels, for_proof, memory)
        return Stream(memory, coalitions, memory.num_samples)

    def _label_cost(self, memory: AnswerMemory) -> float:
        constant, multiple = LABEL_COST
        return (constant + multiple * self.natural_evidence) * _joint_disagreements(memory)

    def _proof_cost(self, memory: AnswerMemory) -> float:
        constant, multiple = PROOF_COST
        assumed = self.natural_evidence + self.unseen_evidence
        return (constant + multiple * assumed) * _joint_disagreements(memory)

    def _most_who_leave_proof(self) -> int:
        """Most users, up to ``max_attackers``, who never reach all models of another user (of his column)."""
        missed = (~self._sets.reach).astype(np.float32) @ self.code.matrix.astype(np.float32)
        covers = (missed == 0) & ~self._sets.members
        sizes = self._sets.size[covers.any(axis=1)]
        return int(sizes.min()) - 1 if len(sizes) else self.max_attackers

    def _named_mask(self, stream: Stream) -> NDArray[np.bool_]:
        coalitions = stream.coalitions
        weights = _normalized(coalitions.log_proof)
        named = named_users(weights[None, :], self._sets.members, self.standard_of_proof)[0]
        # Selective attackers: any coalition that reaches the models seen to obey may have done it.
        place = int(np.argmax(coalitions.log_proof[coalitions.kept]))
        best = coalitions.kept[place]
        unexplained = (~self._sets.reach).astype(np.float64) @ coalitions.model_evidence[place]
        is_heard = self._sets.size <= max(self.max_framers, int(self._sets.size[best]))
        explains = is_heard & (unexplained <= DOUBT + self._proof_cost(stream.memory))
        return np.asarray(named & self._sets.members[explains].all(axis=0))

    def _posteriors(
        self, vectors: NDArray[np.int64], coalitions: Coalitions
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Posterior of the label (V, c), of any attack (V,) and of one that the stream repeats (V,)."""
        weights = _normalized(coalitions.log_evidence)[coalitions.kept]
        heard = np.flatnonzero(weights >= _NEGLIGIBLE)
        weights = weights[heard] / weights[heard].sum()
        log_clean = self._likelihood.log_clean(vectors)
        blocks = self._likelihood.blocks(vectors, log_clean)
        log_hard, log_new = self._likelihood.log_odd(blocks, len(vectors))
        reach = self._sets.reach[coalitions.kept[heard]]
        log_shares = coalitions.log_shares[heard]
        # One array (V, K, c) for all attacks of a coalition, target by target.
        log_attack = np.full((len(vectors), len(heard), self.num_classes), -np.inf)
        is_able = np.where(reach.any(axis=1), 0.0, -np.inf)
        is_seen = log_shares[:, FIRST_TARGET:].max(axis=0, initial=-np.inf) > _LOG_UNSEEN
        for kind in np.flatnonzero(is_seen).tolist():
            target = kind % self.num_classes
            block = blocks[target]
            obedience = coalitions.obedience_shares[heard, kind].transpose(1, 2, 0)
            (of_labels,) = self._likelihood.attack_terms(
                block, target, reach.astype(np.float64), obedience[None]
            )
            terms = of_labels.transpose(1, 2, 0) + (log_shares[:, FIRST_TARGET + kind] + is_able)[:, None]
            log_attack[block.index] = np.logaddexp(log_attack[block.index], terms)
        log_honest = log_clean[:, None, :] + log_shares[None, :, CLEAN, None]
        log_honest = np.logaddexp(log_honest, log_hard[:, None, :] + log_shares[None, :, ODD, None])
        log_novel = log_new[:, None, :] + log_shares[None, :, ODD, None]
        log_labels = np.logaddexp(np.logaddexp(log_honest, log_novel), log_attack)
        log_total = log_sum(log_labels, axis=2)
        labels = np.exp(log_labels - log_total[:, :, None])
        repeated = np.exp(log_sum(log_attack, axis=2) - log_total)
        attacked = repeated + np.exp(log_sum(log_novel, axis=2) - log_total)
        mixed = np.einsum("vkc,k->vc", labels, weights)
        return mixed / mixed.sum(axis=1, keepdims=True), attacked @ weights, repeated @ weights


def natural_evidence(
    code: SubsetCode, confusion: ArrayLike, predictions: ArrayLike, **options: Any
) -> dict[str, float]:
    """Measure on clean samples how much the models' own errors tell against users, as it seems.

    Parameters
    ----------
    code : SubsetCode
        ``H``.
    confusion : array_like of shape (m, c, c)
        As for :class:`JointDecoder`.
    predictions : array_like of shape (m, B), int
        The models' answers to clean samples, such as those that ``confusion`` was counted on.
    **options
        Of the decoder.

    Returns
    -------
    dict of str to float
        Two options of the decoder. ``natural_evidence``: the largest gain in log evidence of a coalition over
        nobody, beyond what its users cost anyhow, for each of them and each sample on which two models or
        more dissent, up to :data:`MOST_NATURAL_EVIDENCE`. ``unseen_evidence``: a gain below that cost is not
        seen, and few samples give no other; so half the cost of a user, for each of those samples, up to
        :data:`MOST_UNSEEN_EVIDENCE`.

    Examples
    --------
    >>> from flower_coded.codes.subset.constructions import backdoor_correction_code
    >>> code, labels = backdoor_correction_code(1, 2, 3), np.arange(40) % 4
    >>> natural_evidence(code, np.tile(10 * np.eye(4, dtype=int), (3, 1, 1)), np.tile(labels, (3, 1)))
    {'natural_evidence': 0.0, 'unseen_evidence': 0.1}
    """
    decoder = JointDecoder(code, confusion, **(options | {"natural_evidence": 0.0, "unseen_evidence": 0.0}))
    return decoder.evidence_against_users(decoder.observe(None, predictions))


def _joint_disagreements(memory: AnswerMemory) -> float:
    """Count the samples on which two models or more answer other than most: one alone errs by itself."""
    values = memory.vectors[:, :, None] == memory.vectors[:, None, :]
    most = values.sum(axis=2).max(axis=1, initial=0)
    is_joint = memory.vectors.shape[1] - most >= 2
    return float(evidential_counts(memory)[is_joint].sum())


def _normalized(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(log_weights - log_weights.max())
    return np.asarray(weights / weights.sum())
