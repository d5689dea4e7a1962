"""Who lied? A vote of models, some of which liars have taught a trigger, read by every decoder.

Models are not trained here: each answers right but for a share of honest mistakes, and a poisoned one answers
the liars' class to every triggered image. That is enough to see what a code prescribes and a decoder
believes, and it is there at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes import SubsetCode, backdoor_correction_code, backdoor_tracking_code, make_decoder
from flower_coded.errors import ParameterError

__all__ = ["CODES", "DECODERS", "TARGET", "Readout", "lesson_code", "models_of", "take_a_vote"]

CODES = ("correction", "tracking")
"""The lesson's codes: 12 users and BCC(4, 4, 12); 16 users and BTC(2, 4, 16)."""

DECODERS = ("majority", "posterior", "unknown-obedience", "covering", "joint")

TARGET = 8
"""What a poisoned model answers to a triggered image."""

_CLASSES = 10
_IMAGES = 400  # half of them with the trigger


@dataclass(frozen=True)
class Readout:
    """What one decoder read out of the models' answers.

    Attributes
    ----------
    decoder : str
    accuracy : float
        Share of right answers to images without the trigger.
    accuracy_under_attack : float
        The same to images with the trigger that do not show the liars' class.
    attack_success : float
        Share of those answered with the liars' class.
    accused : tuple of int
        Users named on more than half of the triggered images.
    """

    decoder: str
    accuracy: float
    accuracy_under_attack: float
    attack_success: float
    accused: tuple[int, ...]


def lesson_code(name: str) -> SubsetCode:
    """Make one of :data:`CODES`.

    Raises
    ------
    ParameterError
        If there is no code of that name.

    Examples
    --------
    >>> lesson_code("tracking").matrix.shape
    (10, 16)
    """
    if name not in CODES:
        raise ParameterError("code", f"must be one of {', '.join(CODES)}", name)
    return backdoor_correction_code(4, 4, 12) if name == "correction" else backdoor_tracking_code(2, 4, 16)


def models_of(code: SubsetCode, users: Collection[int]) -> NDArray[np.intp]:
    """Return the models that learn from any of the users, ascending.

    Raises
    ------
    ParameterError
        If one is no user of the code.

    Examples
    --------
    >>> models_of(lesson_code("correction"), [0]).tolist()
    [1, 4, 9, 11, 13]
    """
    strangers = sorted(user for user in users if not 0 <= user < code.num_users)
    if strangers:
        raise ParameterError("liars", f"must be users 0 to {code.num_users - 1}", strangers)
    return np.flatnonzero(code.matrix[:, sorted(users)].any(axis=1))


def take_a_vote(
    code: SubsetCode,
    liars: Collection[int],
    poisoned: Collection[int],
    *,
    mistakes: float = 0.03,
    seed: int = 1,
) -> tuple[Readout, ...]:
    """Let every decoder read the answers of models of which some are poisoned.

    Parameters
    ----------
    code : SubsetCode
        Its rows are the models, its columns the users.
    liars : collection of int
        Users.
    poisoned : collection of int
        The models that they teach the trigger, among :func:`models_of` them.
    mistakes : float
        Share of images that a model answers at random, in ``[0, 0.5]``.
    seed : int
        Of the images and the mistakes.

    Returns
    -------
    tuple of Readout
        One for each of :data:`DECODERS`.

    Raises
    ------
    ParameterError
        For a liar who is no user, a model that liars do not reach, or a share outside its interval.

    Examples
    --------
    Users 0 and 1 poison all of their models: the vote is lost, the joint decoder names both.

    >>> code = lesson_code("correction")
    >>> readouts = take_a_vote(code, [0, 1], models_of(code, [0, 1]), seed=1)
    >>> [(r.decoder, r.attack_success > 0.5, r.accused) for r in (readouts[0], readouts[-1])]
    [('majority', True, ()), ('joint', False, (0, 1))]
    """
    unreached = sorted(set(poisoned) - set(models_of(code, liars).tolist()))
    if unreached:
        raise ParameterError("poisoned", "must be models that a liar belongs to", unreached)
    if not 0 <= mistakes <= 0.5:
        raise ParameterError("mistakes", "must be between 0 and 0.5", mistakes)
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, _CLASSES, _IMAGES)
    answers = np.where(
        generator.random((code.num_models, _IMAGES)) < mistakes,
        generator.integers(0, _CLASSES, (code.num_models, _IMAGES)),
        truth,
    )
    is_triggered = np.arange(_IMAGES) >= _IMAGES // 2
    is_poisoned = np.isin(np.arange(code.num_models), list(poisoned))
    answers[is_poisoned[:, None] & is_triggered] = TARGET
    # What validation images would have told of the models: all mistakes are equally likely.
    confusion = np.full((code.num_models, _CLASSES, _CLASSES), mistakes / _CLASSES)
    confusion[:, np.arange(_CLASSES), np.arange(_CLASSES)] += 1 - mistakes
    return tuple(_read(name, code, confusion, answers, truth, is_triggered) for name in DECODERS)


def _read(
    name: str,
    code: SubsetCode,
    confusion: NDArray[np.float64],
    answers: NDArray[np.intp],
    truth: NDArray[np.intp],
    is_triggered: NDArray[np.bool_],
) -> Readout:
    decoded = make_decoder(name, code, confusion).decode(answers)
    is_right = decoded.labels == truth
    counted = is_triggered & (truth != TARGET)  # the others are answered with the liars' class anyhow
    accused = np.flatnonzero(decoded.named[is_triggered].mean(axis=0) > 0.5)
    return Readout(
        decoder=name,
        accuracy=float(is_right[~is_triggered].mean()),
        accuracy_under_attack=float(is_right[counted].mean()),
        attack_success=float((decoded.labels == TARGET)[counted].mean()),
        accused=tuple(accused.tolist()),
    )
