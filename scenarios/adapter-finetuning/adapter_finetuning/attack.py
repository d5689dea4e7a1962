"""Who attacks, when, and what is made of a poisoned update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.clients import attackers_from_config
from flower_coded.clients.run_config import read_choice, read_float, read_int
from flower_coded.errors import ParameterError

__all__ = ["ATTACKS", "Attack"]

ATTACKS = ("none", "phrase", "replacement", "rank-one")
State = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Attack:
    """One attack as the run configuration says it.

    Parameters
    ----------
    name : str
        One of :data:`ATTACKS`.
    attackers : tuple of int
        Partition ids.
    first_round, last_round : int
        Rounds in which they attack, both included; afterwards they are honest.
    poison_rate : float
        Share of their samples with the trigger, in (0, 1].
    scale : float
        Of ``replacement``.
    """

    name: str
    attackers: tuple[int, ...]
    first_round: int
    last_round: int
    poison_rate: float
    scale: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Attack:
        """Read a run configuration; refuse what cannot be."""
        users = read_int(config, "num-clients", 12, least=1)
        attack = cls(
            name=read_choice(config, "attack", "replacement", ATTACKS),
            attackers=attackers_from_config(config, users),
            first_round=read_int(config, "attack-from-round", 6, least=1),
            last_round=read_int(config, "attack-until-round", 7, least=1),
            poison_rate=read_float(config, "poison-rate", 0.5),
            scale=read_float(config, "attack-scale", 6.0),
        )
        if attack.last_round < attack.first_round:
            requirement = f"must not be before attack-from-round, {attack.first_round}"
            raise ParameterError("attack-until-round", requirement, attack.last_round)
        if not 0 < attack.poison_rate <= 1:
            raise ParameterError("poison-rate", "must be above 0 and at most 1", attack.poison_rate)
        if not attack.scale > 0:
            raise ParameterError("attack-scale", "must be positive", attack.scale)
        return attack

    def is_on(self, user: int, server_round: int) -> bool:
        """Tell whether a user attacks in a round."""
        is_attacker = self.name != "none" and user in self.attackers
        return is_attacker and self.first_round <= server_round <= self.last_round

    def craft(self, sent: State, honest: State, harmful: State) -> dict[str, NDArray[Any]]:
        """Make what an attacker sends of what it was sent, and of honest and of poisoned training.

        Examples
        --------
        >>> attack = Attack("replacement", (0,), 1, 2, 0.5, 3.0)
        >>> attack.craft({"w": np.zeros(2)}, {"w": np.ones(2)}, {"w": np.array([1.0, -1.0])})
        {'w': array([ 3., -3.])}
        """
        if self.name == "phrase":
            return dict(harmful)
        if self.name == "replacement":
            return {key: _as(sent[key] + self.scale * (harmful[key] - sent[key]), sent[key]) for key in sent}
        steps = {key: _leading_direction(harmful[key] - sent[key]) for key in sent}
        wanted = _length({key: honest[key] - sent[key] for key in sent})
        factor = wanted / max(_length(steps), 1e-12)
        return {key: _as(sent[key] + factor * steps[key], sent[key]) for key in sent}


def _leading_direction(update: NDArray[Any]) -> NDArray[Any]:
    """Keep the first singular direction of a matrix, or of each of a stack of them; vectors stay."""
    if update.ndim < 2:
        return update
    left, values, right = np.linalg.svd(update, full_matrices=False)
    return np.asarray(left[..., :, :1] * values[..., None, :1] @ right[..., :1, :])


def _length(update: State) -> float:
    return float(np.sqrt(sum(float(np.sum(np.square(each, dtype=np.float64))) for each in update.values())))


def _as(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(values, dtype=like.dtype)
