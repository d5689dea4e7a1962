"""Every version of every model of a coded ensemble that attackers can bring about, trained in one process.

Models of an ensemble never meet: model ``i`` depends on how *its own* attackers treat *it*, and on nothing
else. So all ensembles that selective attackers can choose from (two to the number of models they reach, or
more where they have several backdoors) are put together from a few trained models per row: an honest one
and, where attackers are among the row's users, one for each way to poison it. All versions are trained
stacked, user by user, as :class:`~flower_coded.strategies.CodedSubsetAggregation` does with everybody taking
part and equal counts.

Left out: attacks on updates, and users with different numbers of samples, whose averages would be weighted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from flower_coded.codes import SubsetCode
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
    ways : ndarray of shape (R,), int64
        How its attackers poisoned it, from 1; 0 where they did not.
    states : dict of str to ndarray of shape (R, ...)
        The versions, stacked.
    """

    code: SubsetCode
    attackers: tuple[int, ...]
    models: NDArray[np.int64]
    ways: NDArray[np.int64]
    states: ModelState = field(repr=False)

    def ensemble(self, ways: Mapping[int, int]) -> ModelState:
        """Stacked states (m, ...) in which attackers poison these models, each in its way, and no others.

        Models that they do not reach stay honest. ``versions.ensemble({})`` is the honest ensemble,
        ``versions.ensemble(dict.fromkeys(range(m), 1))`` the plain attack.
        """
        reached = self.code.reach(list(self.attackers))
        wanted = [ways.get(model, 0) if reached[model] else 0 for model in range(self.code.num_models)]
        rows = [
            int(np.flatnonzero((self.models == model) & (self.ways == way))[0])
            for model, way in enumerate(wanted)
        ]
        return {name: array[rows] for name, array in self.states.items()}


def train_versions(
    code: SubsetCode,
    attackers: Sequence[int],
    model: nn.Module,
    initial_states: Mapping[str, NDArray[Any]],
    honest: Callable[[int], Samples],
    poisoned: Sequence[Callable[[int], Samples]],
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
        Users.
    model : torch.nn.Module
        The architecture; its weights are overwritten.
    initial_states : mapping of str to ndarray of shape (m, ...)
        What every model starts from, in all of its versions.
    honest : callable
        Images and labels of a user.
    poisoned : sequence of callable
        The same of an attacker, for each way to poison a model.
    num_rounds : int
        Rounds of training and averaging.
    train_options : callable
        Keyword arguments of :func:`~flower_coded.learning.train_stacked` for a seed.
    seed : int
        Draws the seed of every user and round, as the strategy does.

    Returns
    -------
    ModelVersions
    """
    models, ways = _versions(code, attackers, len(poisoned))
    states: ModelState = {name: np.array(array)[models] for name, array in initial_states.items()}
    weights = code.matrix.sum(axis=1)[models]
    samples = {
        user: [honest(user), *(each(user) for each in poisoned if user in attackers)]
        for user in range(code.num_users)
    }
    for server_round in range(1, num_rounds + 1):
        totals = {name: np.zeros(array.shape) for name, array in states.items()}
        for user, of_ways in samples.items():
            entropy = [seed, server_round, user]
            options = train_options(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
            treated = ways if user in attackers else np.zeros_like(ways)
            for way, data in enumerate(of_ways):
                rows = np.flatnonzero(code.matrix[models, user] & (treated == way))
                if not len(rows):
                    continue
                chosen = {name: array[rows] for name, array in states.items()}
                trained, _ = train_stacked(model, chosen, *data, **options)
                for name, array in trained.items():
                    totals[name][rows] += np.asarray(array, dtype=np.float64)
        states = {
            name: (total / weights.reshape(-1, *[1] * (total.ndim - 1))).astype(states[name].dtype)
            for name, total in totals.items()
        }
    return ModelVersions(code, tuple(attackers), models, ways, states)


def _versions(
    code: SubsetCode, attackers: Sequence[int], num_ways: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Model and way of every version."""
    reached = np.flatnonzero(code.reach(list(attackers)))
    models = np.concatenate([np.arange(code.num_models), np.tile(reached, num_ways)])
    ways = np.concatenate([np.zeros(code.num_models), np.repeat(np.arange(1, num_ways + 1), len(reached))])
    return models, ways.astype(np.int64)
