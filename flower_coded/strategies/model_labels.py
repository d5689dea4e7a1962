"""What clients are told of the models they train: nothing that says which rows of the code these are.

The code is public. A user who knows which of its models a message carries can poison the rows that serve it
best and spare the others, so nobody is told where nothing needs it. A client still has to recognize a model
that it had before (:func:`~flower_coded.clients.separate_models_mod`), for which a label does: drawn by the
server for one user and one model, the same in all rounds of a run. Models also come in an order of the
server's own, since a user knows its rows and would count.

This is a hurdle, not a promise. The order is drawn from the run's seed, so that a client that draws random
numbers along a stack draws the same in the next run: who knows the seed knows the order. Who keeps what it
was sent tells its models apart by their weights, and colluders find out what they share. The guarantees of
a code hold against users who know everything.
"""

from __future__ import annotations

import secrets

import numpy as np

from flower_coded.codes import SubsetCode

__all__ = ["ModelLabels"]

_LABEL_BYTES = 8


class ModelLabels:
    """Labels of a run's models from the system's source of randomness, and their order from the seed.

    Parameters
    ----------
    code : SubsetCode
        ``H``.
    seed : int
        The run's.
    told : bool
        Whether clients are told the models' numbers instead, in ascending order: for experiments with
        attackers who are supposed to have found out.

    Examples
    --------
    >>> code = SubsetCode([[True, True], [False, True]])
    >>> ModelLabels(code, 0, told=True).of(1, [1, 0]), ModelLabels(code, 0, told=True).ordered(1, [1, 0])
    ([1, 0], [0, 1])
    >>> labels = ModelLabels(code, 0, told=False)
    >>> len(labels.of(1, [0])[0]), sorted(labels.ordered(1, [0, 1]))
    (16, [0, 1])
    """

    def __init__(self, code: SubsetCode, seed: int, *, told: bool) -> None:
        self._labels: list[dict[int, int | str]] = []  # of every user, in the order of its messages
        for user in range(code.num_users):
            models = code.models_of(user).tolist()
            if not told:
                models = np.random.default_rng([seed, user, 0x0DE5]).permutation(models).tolist()
            self._labels.append(
                {model: model if told else secrets.token_hex(_LABEL_BYTES) for model in models}
            )

    def of(self, user: int, models: list[int]) -> list[int | str]:
        """Give the labels of some of a user's models."""
        return [self._labels[user][model] for model in models]

    def ordered(self, user: int, models: list[int]) -> list[int]:
        """Put some of a user's models into the order in which the user gets them."""
        wanted = set(models)
        return [model for model in self._labels[user] if model in wanted]
