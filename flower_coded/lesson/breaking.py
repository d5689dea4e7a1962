"""Break a code: every subset of the liars' models, tried against every decoder, with models that never err.

The paper's decoder believes that a liar spoils *every* model that he belongs to. Whoever has read it spoils
only some of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes import SubsetCode, make_decoder
from flower_coded.errors import ParameterError
from flower_coded.lesson.vote import TARGET, models_of

__all__ = ["MOST_MODELS", "TRIED_DECODERS", "Broken", "break_a_code"]

TRIED_DECODERS = ("majority", "posterior", "unknown-obedience", "covering")

MOST_MODELS = 12
"""Most models that the liars may reach together: 4,095 subsets of them are tried."""


@dataclass(frozen=True)
class Broken:
    """What all ways of poisoning some of the liars' models come to.

    Attributes
    ----------
    num_subsets : int
        Ways tried: non-empty subsets of the models that the liars reach.
    fooled : dict of str to int
        For each decoder the subsets that make it answer with the liars' class.
    example : tuple of int
        The smallest subset that fools the paper's decoder; empty if there is none.
    blamed : tuple of int
        Whom the paper's decoder then believes to be the attackers.
    """

    num_subsets: int
    fooled: dict[str, int]
    example: tuple[int, ...]
    blamed: tuple[int, ...]


def break_a_code(code: SubsetCode, liars: Collection[int]) -> Broken:
    """Try all subsets of the liars' models.

    Parameters
    ----------
    code : SubsetCode
    liars : collection of int
        Users who together reach at most :data:`MOST_MODELS` models.

    Raises
    ------
    ParameterError
        If there is no liar, one is no user, or they reach more models.

    Examples
    --------
    >>> from flower_coded.lesson.vote import lesson_code
    >>> broken = break_a_code(lesson_code("correction"), [0, 1])
    >>> broken.num_subsets, broken.fooled["covering"], broken.fooled["posterior"] > 0
    (511, 0, True)
    """
    reached = models_of(code, liars)
    if not 1 <= len(reached) <= MOST_MODELS:
        requirement = f"must reach 1 to {MOST_MODELS} of the {code.num_models} models together"
        raise ParameterError("liars", requirement, sorted(liars), hint=f"they reach {len(reached)}")
    subsets = [
        chosen
        for size in range(1, len(reached) + 1)
        for chosen in itertools.combinations(reached.tolist(), size)
    ]
    is_poisoned = np.zeros((code.num_models, len(subsets)), dtype=bool)
    for column, chosen in enumerate(subsets):
        is_poisoned[list(chosen), column] = True
    answers: NDArray[np.intp] = np.where(is_poisoned, TARGET, 0)  # the truth is 0
    sure = np.tile(np.eye(10), (code.num_models, 1, 1))
    decoded = {name: make_decoder(name, code, sure).decode(answers) for name in TRIED_DECODERS}
    is_fooled = {name: found.labels == TARGET for name, found in decoded.items()}
    example: tuple[int, ...] = ()
    blamed: tuple[int, ...] = ()
    if is_fooled["posterior"].any():
        first = int(np.argmax(is_fooled["posterior"]))  # subsets come in order of size
        example = subsets[first]
        blamed = tuple(np.flatnonzero(decoded["posterior"].suspects[first]).tolist())
    return Broken(
        num_subsets=len(subsets),
        fooled={name: int(hits.sum()) for name, hits in is_fooled.items()},
        example=example,
        blamed=blamed,
    )
