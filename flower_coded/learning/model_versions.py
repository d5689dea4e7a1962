"""Every version of every model of a coded ensemble that attackers can bring about, trained in one process.

Models of an ensemble never meet: model ``i`` depends on which of *its own* attackers poison *it*, and on
nothing else. So all ensembles that selective attackers can choose from (two to the number of models they
reach) are put together from a few trained models per row: one for every subset of the attackers among the
row's users. All versions are trained stacked, user by user, as
:class:`~flower_coded.strategies.CodedSubsetAggregation` does with everybody taking part and equal counts.

Left out: attacks on updates, and users with different numbers of samples, whose averages would be weighted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from flower_coded.codes import SubsetCode
from flower_coded.errors import ParameterError
from flower_coded.learning.models import ModelState
from flower_coded.learning.stacked import train_stacked

__all__ = ["ModelVersions", "train_versions"]

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class ModelVersions:
    """Trained versions of the models of an ensemble.

    Attributes
    ----------
    code : SubsetCode
        Which user trains which model.
    attackers : tuple of int
        Who may poison.
    models : ndarray of shape (R,), int64
        The model that each version is of.
    poisoners : ndarray of shape (R, n), bool
        The attackers who poisoned it.
    states : dict of str to ndarray of shape (R, ...)
        The versions, stacked.
    """

    code: SubsetCode
    attackers: tuple[int, ...]
    models: NDArray[np.int64]
    poisoners: NDArray[np.bool_]
    states: ModelState = field(repr=False)

    def ensemble(self, models: Sequence[int]) -> ModelState:
        """Stacked states (m, ...) in which attackers poison exactly these models, wherever they belong.

        Examples
        --------
        ``versions.ensemble([])`` is the honest ensemble, ``versions.ensemble(range(m))`` the plain attack.
        """
        is_poisoned = np.isin(np.arange(self.code.num_models), list(models))
        attacks = np.zeros(self.code.num_users, dtype=bool)
        attacks[list(self.attackers)] = True
        wanted = self.code.matrix & is_poisoned[:, None] & attacks[None, :]
        rows = [
            int(np.flatnonzero((self.models == model) & (self.poisoners == wanted[model]).all(axis=1))[0])
            for model in range(self.code.num_models)
        ]
        return {name: array[rows] for name, array in self.states.items()}


def train_versions(
    code: SubsetCode,
    attackers: Sequence[int],
    model: nn.Module,
    initial_states: Mapping[str, NDArray[Any]],
    honest: Callable[[int], Samples],
    poisoned: Callable[[int], Samples],
    *,
    num_rounds: int,
    train_options: Callable[[int], Mapping[str, Any]],
    seed: int = 0,
) -> ModelVersions:
    """Train every version of every model.

    Parameters
    ----------
    code : SubsetCode
        ``m`` models, ``n`` users.
    attackers : sequence of int
        At most 4: a model of ``a`` attackers has ``2^a`` versions.
    model : torch.nn.Module
        The architecture; its weights are overwritten.
    initial_states : mapping of str to ndarray of shape (m, ...)
        What every model starts from, in all of its versions.
    honest, poisoned : callable
        Images and labels of a user, and of an attacker who poisons them.
    num_rounds : int
        Rounds of training and averaging.
    train_options : callable
        Keyword arguments of :func:`~flower_coded.learning.train_stacked` for a seed.
    seed : int
        Draws the seed of every user and round, as the strategy does.

    Returns
    -------
    ModelVersions

    Raises
    ------
    ParameterError
        If there are more than 4 attackers.
    """
    if len(attackers) > 4:
        raise ParameterError("attackers", "must be at most 4 to train every version", list(attackers))
    models, poisoners = _versions(code, attackers)
    states: ModelState = {name: np.array(array)[models] for name, array in initial_states.items()}
    weights = code.matrix.sum(axis=1)[models]
    samples = {
        user: (honest(user), poisoned(user) if user in attackers else None) for user in range(code.num_users)
    }
    for server_round in range(1, num_rounds + 1):
        totals = {name: np.zeros(array.shape) for name, array in states.items()}
        for user, (own, bad) in samples.items():
            entropy = [seed, server_round, user]
            options = train_options(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
            for data, is_bad in ((own, False), (bad, True)):
                rows = np.flatnonzero(code.matrix[models, user] & (poisoners[:, user] == is_bad))
                if data is None or not len(rows):
                    continue
                chosen = {name: array[rows] for name, array in states.items()}
                trained, _ = train_stacked(model, chosen, *data, **options)
                for name, array in trained.items():
                    totals[name][rows] += np.asarray(array, dtype=np.float64)
        states = {
            name: (total / weights.reshape(-1, *[1] * (total.ndim - 1))).astype(states[name].dtype)
            for name, total in totals.items()
        }
    return ModelVersions(code, tuple(attackers), models, poisoners, states)


def _versions(code: SubsetCode, attackers: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    models, poisoners = [], []
    for model in range(code.num_models):
        own = [user for user in attackers if code.matrix[model, user]]
        subsets = chain.from_iterable(combinations(own, size) for size in range(len(own) + 1))
        for subset in subsets:
            row = np.zeros(code.num_users, dtype=bool)
            row[list(subset)] = True
            models.append(model)
            poisoners.append(row)
    return np.array(models), np.stack(poisoners)
