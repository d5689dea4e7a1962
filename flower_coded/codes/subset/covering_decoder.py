"""The covering decoder: the label that the fewest lies explain, with a certificate for every sample.

Attackers ``x`` poison *any* subset of the models they reach. Label ``l`` is explained by ``x`` and ``e``
mistakes if all but ``e`` of the models that do not answer ``l`` are in the reach of ``x``. With models that
never err the true label is explained by the attackers and no mistake; another label is so only if its own
``k'`` users and the attackers together reach all models, which no ``2 k'`` users do
(``SubsetCode.guarantees.corrected_selective``). So up to ``k'`` selective attackers are always decoded
rightly, where the paper's posterior can be told any lie.

Real models err. The label of least *cost* is taken, ``mistakes + attacker_cost * users`` with up to ``k'``
users. Below the bound that the constructor checks, this leaves the guarantee as it is.

The certificate is about truth, not only about stability as that of a vote is: if at most ``clean_mistakes``
of the models that were not poisoned err, and at most ``certified`` users attack, the label is the true one.
It speaks for codes with overlapping rows, of which a vote certifies nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.subset.accusation import named_users
from flower_coded.codes.subset.attacker_sets import attacker_sets
from flower_coded.codes.subset.confusion import checked_predictions, distinct_answers
from flower_coded.codes.subset.decoded import NOTHING_CERTIFIED, Decoded, EnsembleDecoder
from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.errors import ParameterError

__all__ = ["CoveringDecoder"]

_TIE = 1e-9


class CoveringDecoder(EnsembleDecoder):
    """Decode to the label that the fewest attackers and mistakes explain.

    Parameters
    ----------
    code : SubsetCode
        ``H``.
    confusion : array_like of shape (m, c, c)
        Tells the number of classes; nothing else of it is used.
    max_attackers : int, optional
        The most users who explain a label; the code's ``k'``, at least 1, if not given.
    clean_mistakes : int
        ``e``, for the certificate: how many models may err without having been poisoned.
    attacker_cost : float, optional
        What an attacker costs in mistakes, above 0. By default 1, or half of the largest value that keeps the
        guarantee where that is less.

    Attributes
    ----------
    exact_below : float
        With an ``attacker_cost`` below this, ``max_attackers`` selective attackers are decoded rightly if
        models never err; 0 where no cost does that.

    Raises
    ------
    ParameterError
        If a parameter is out of its range, or there are too many sets of users.

    Examples
    --------
    >>> from flower_coded.codes.subset.constructions import backdoor_correction_code
    >>> code = backdoor_correction_code(4, 4, 12, rows="paper")
    >>> decoder = CoveringDecoder(code, np.ones((15, 10, 10)))
    >>> answers = np.full((15, 2), 3)
    >>> answers[code.reach([2, 7]), 0] = 8  # two users poison all of their models: 9 of 15
    >>> decoded = decoder.decode(answers)
    >>> decoded.labels.tolist(), decoded.certified.tolist()
    ([3, 3], [2, 4])
    """

    def __init__(
        self,
        code: SubsetCode,
        confusion: ArrayLike,
        *,
        max_attackers: int | None = None,
        clean_mistakes: int = 0,
        attacker_cost: float | None = None,
    ) -> None:
        shape = np.shape(confusion)
        if len(shape) != 3 or shape[0] != code.num_models or shape[1] != shape[2] or not shape[1]:
            raise ParameterError("confusion", f"must have shape ({code.num_models}, c, c)", shape)
        if not 0 <= clean_mistakes < code.num_models:
            raise ParameterError(
                "clean_mistakes", f"must lie in 0 .. {code.num_models - 1}", clean_mistakes, hint="0 or 1"
            )
        promised = code.guarantees
        self.code, self.num_classes, self.clean_mistakes = code, int(shape[1]), clean_mistakes
        self.max_attackers = max(promised.corrected_selective, 1) if max_attackers is None else max_attackers
        if not 1 <= self.max_attackers <= code.num_users:
            raise ParameterError("max_attackers", f"must lie in 1 .. {code.num_users}", self.max_attackers)
        # One user more than are always detected reaches all models and so explains anything.
        self._most = min(max(promised.detected + 1, self.max_attackers), code.num_users)
        self._sets = attacker_sets(code, self._most)
        self._spared = (~self._sets.reach).T.astype(np.float32)  # (m, E): models a set does not reach
        sizes = np.arange(self._most + 1)
        self._starts = np.searchsorted(self._sets.size, sizes[sizes <= self._sets.size.max()])
        self.exact_below = self._largest_cost()
        if attacker_cost is None:
            attacker_cost = min(1.0, self.exact_below / 2) or 1.0
        if not (np.isfinite(attacker_cost) and attacker_cost > 0):
            raise ParameterError("attacker_cost", "must be finite and above 0", attacker_cost, hint="1")
        self.attacker_cost = float(attacker_cost)

    def decode(self, predictions: ArrayLike, memory: Any = None) -> Decoded:
        """Decode a batch, every sample for itself; see :meth:`EnsembleDecoder.decode`."""
        del memory
        answers = checked_predictions(predictions, self.code.num_models, self.num_classes)
        vectors, inverse, _ = distinct_answers(answers, self.num_classes)
        mistakes = self._mistakes_by_label(vectors)
        labels, certified = self._best_labels(vectors, mistakes)
        suspects, named, alternatives, is_attacked = self._accuse(vectors, labels, certified)
        probabilities = np.zeros((len(vectors), self.num_classes))
        probabilities[np.arange(len(vectors)), labels] = 1.0
        return Decoded(
            labels=labels[inverse],
            label_probabilities=probabilities[inverse],
            attack_probability=is_attacked.astype(np.float64)[inverse],
            suspects=suspects[inverse],
            num_alternatives=alternatives[inverse],
            named=named[inverse],
            certified=certified[inverse],
        )

    def __repr__(self) -> str:
        return (
            f"CoveringDecoder({self.code.name}, {self.num_classes} classes, "
            f"max_attackers={self.max_attackers}, clean_mistakes={self.clean_mistakes}, "
            f"attacker_cost={self.attacker_cost})"
        )

    def _fewest_mistakes(self, disagree: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Fewest models of a row (V, m) that at most 0, 1, ... users leave unexplained: (V, sizes)."""
        # Products of 0 and 1 summed to at most m: exact in float32.
        left = disagree.astype(np.float32) @ self._spared
        by_size = np.minimum.reduceat(left, self._starts, axis=1)
        fewest: NDArray[np.int64] = np.minimum.accumulate(by_size, axis=1).astype(np.int64)
        return fewest

    def _mistakes_by_label(self, vectors: NDArray[np.int64]) -> NDArray[np.int64]:
        """Fewest mistakes by vector, label and number of users, (V, c, sizes)."""
        # A label that no model answers needs every model explained, whichever label it is.
        nobody = self._fewest_mistakes(np.ones((1, self.code.num_models), dtype=bool))
        mistakes = np.broadcast_to(nobody, (len(vectors), self.num_classes, nobody.shape[1])).copy()
        for label in range(self.num_classes):
            disagree = vectors != label
            index = np.flatnonzero(~disagree.all(axis=1))
            mistakes[index, label] = self._fewest_mistakes(disagree[index])
        return mistakes

    def _best_labels(
        self, vectors: NDArray[np.int64], mistakes: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        sizes = np.arange(mistakes.shape[2])
        allowed = sizes <= self.max_attackers
        cost = (mistakes[:, :, allowed] + self.attacker_cost * sizes[allowed]).min(axis=2)
        votes = (vectors[:, :, None] == np.arange(self.num_classes)).sum(axis=1)
        # Of equal costs the label with most votes wins: a vote is less than the smallest difference of costs.
        labels = (cost - _TIE * votes).argmin(axis=1)
        rows = np.arange(len(vectors))
        is_explained = mistakes <= self.clean_mistakes
        # The fewest users who explain a label; more than were enumerated where none of them does.
        users = np.where(is_explained.any(axis=2), is_explained.argmax(axis=2), len(sizes))
        own = users[rows, labels]
        users[rows, labels] = len(sizes)
        certified = users.min(axis=1, initial=len(sizes)) - 1
        certified = np.where(own <= certified, certified, NOTHING_CERTIFIED)
        return labels.astype(np.int64), certified.astype(np.int64)

    def _accuse(
        self,
        vectors: NDArray[np.int64],
        labels: NDArray[np.int64],
        certified: NDArray[np.int64],
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]:
        """Smallest explanation of the label, the users whom all explanations share, how many are smallest."""
        able = np.flatnonzero(self._sets.size <= self.max_attackers)
        disagree = (vectors != labels[:, None]).astype(np.float32)
        explains = disagree @ self._spared[:, able] <= self.clean_mistakes
        is_explained = explains.any(axis=1)
        first = explains.argmax(axis=1)  # sets come in order of their size
        size = self._sets.size[able]
        is_smallest = explains & (size == size[first][:, None])
        suspects = self._sets.users[able][first] & is_explained[:, None]
        weights = explains / np.maximum(explains.sum(axis=1, keepdims=True), 1)
        is_proved = is_explained & (certified >= self.max_attackers)
        # Every explanation, by any subset of anybody's models, has to hold the user: no posterior here.
        in_all = named_users(weights, self._sets.members[able], 1 - 1e-9) & is_proved[:, None]
        is_attacked = ~explains[:, 0]
        return suspects, in_all, np.maximum(is_smallest.sum(axis=1), 1).astype(np.float64), is_attacked

    def _largest_cost(self) -> float:
        """Bound of the cost below which no explanation by fewer users and some mistakes beats the truth."""
        everything = self._fewest_mistakes(np.ones((1, self.code.num_models), dtype=bool))[0]
        k = self.max_attackers
        if 2 * k >= len(everything) or everything[2 * k] == 0:
            return 0.0
        # j users fewer than the attackers, 2 k - j together, leave everything[2 k - j] models that speak up.
        return float(min(everything[2 * k - fewer] / fewer for fewer in range(1, k + 1)))
