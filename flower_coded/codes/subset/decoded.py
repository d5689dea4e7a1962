"""What every decoder of a coded ensemble gives back, and the interface they share.

A decoder is made from a code and what is known of the clean models (confusion matrices). It then reads the
answers of ``m`` models to ``B`` samples. Some decoders learn from the samples they have seen: their memory
is a value that :meth:`EnsembleDecoder.init` makes and :meth:`EnsembleDecoder.observe` extends, so that a
decoder itself never changes. Decoders without memory take ``None`` in its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.codes.subset.subset_code import SubsetCode

__all__ = ["NOTHING_CERTIFIED", "Decoded", "EnsembleDecoder"]

NOTHING_CERTIFIED = -1
"""The certificate of a label of which a decoder promises nothing, not even without attackers."""


@dataclass(frozen=True)
class Decoded:
    """What a decoder says about ``B`` samples.

    Parameters
    ----------
    labels : ndarray of shape (B,), int64
        The label read off; the smallest one of equals.
    label_probabilities : ndarray of shape (B, c), float64
        How much speaks for each label, rows summing to one: the posterior where the decoder has one, else
        the share of votes (majority), or all on the label (covering).
    attack_probability : ndarray of shape (B,), float64
        Posterior probability that the sample carries a trigger; 0 or 1 where the decoder only says whether
        the answers are explained without attackers.
    suspects : ndarray of shape (B, n), bool
        A smallest likeliest set of attackers, supposing an attack: a guess, of which nothing is proved.
    num_alternatives : ndarray of shape (B,), float64
        Equally likely sets of the same size, the named one included. Above 1 the code cannot tell them
        apart (repeated columns, or more attackers than it tracks).
    named : ndarray of shape (B, n), bool
        The users who are accused: every explanation that the decoder's standard of proof admits contains
        them. Users with equal columns are marked together, and one of them is meant. A row without a mark
        says "nobody, or cannot tell".
    certified : ndarray of shape (B,), int64
        The most attackers for which the decoder's certificate holds; :data:`NOTHING_CERTIFIED` for none.
        What it promises is in the decoder's documentation.
    """

    labels: NDArray[np.int64]
    label_probabilities: NDArray[np.float64]
    attack_probability: NDArray[np.float64]
    suspects: NDArray[np.bool_]
    num_alternatives: NDArray[np.float64]
    named: NDArray[np.bool_]
    certified: NDArray[np.int64]


class EnsembleDecoder(ABC):
    """Reads the label, and what speaks for an attack, off the answers of an ensemble.

    Attributes
    ----------
    code : SubsetCode
        ``H``, with ``m`` models and ``n`` users.
    num_classes : int
        ``c``.
    """

    code: SubsetCode
    num_classes: int

    def init(self) -> Any:
        """Give the memory before the first sample; ``None`` for a decoder that keeps none."""
        return None

    def observe(self, memory: Any, predictions: ArrayLike) -> Any:
        """Give the memory after these samples too; the one given is not changed.

        Parameters
        ----------
        memory : object
            From :meth:`init` or an earlier call.
        predictions : array_like of shape (m, B), int
            Answers in ``0 .. c - 1``.
        """
        del predictions
        return memory

    @abstractmethod
    def decode(self, predictions: ArrayLike, memory: Any = None) -> Decoded:
        """Decode a batch.

        Parameters
        ----------
        predictions : array_like of shape (m, B), int
            The class that each model answers to each sample, in ``0 .. c - 1``.
        memory : object, optional
            What was learned from samples seen before. Without it, a decoder that learns takes these samples
            as all there is, and learns from them first.

        Returns
        -------
        Decoded

        Raises
        ------
        ParameterError
            If the shape does not fit the code or an entry is not a class.
        """
