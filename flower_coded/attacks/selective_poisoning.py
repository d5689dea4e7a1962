"""Attackers of a coded ensemble who poison only some of their own models, chosen with the public decoder.

The paper assumes that a backdoor enters every model its authors belong to. That is the attackers' choice.
Code, decoder and its options are public, and how well models do is easily guessed; so the attackers simulate
what each choice of models would make of the decoder, and take the one that serves their goal best:

* ``"label"``: triggered images get the target;
* ``"frame"``: innocent users are named, or held for the likeliest attackers; all, or one in particular;
* ``"both"``: the mean of the two.

Threat model: as a backdoor's, and the attackers know code, decoder and which model a message trains. They
have no data but their own, and see neither calibration nor test images. Few enough choices are tried all;
otherwise a random search with restarts climbs by adding and leaving out single models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes import EnsembleDecoder, SubsetCode
from flower_coded.errors import ParameterError

__all__ = ["GOALS", "SelectivePlan", "plan_selective_poisoning", "simulate_answers"]

GOALS = ("label", "frame", "both")

_TARGET = 0  # classes are alike in the simulation
_MAX_EXHAUSTIVE = 4096


@dataclass(frozen=True)
class SelectivePlan:
    """What attackers poison.

    Attributes
    ----------
    attackers : tuple of int
        Who they are.
    models : tuple of int
        Models that every attacker among their users poisons; the others of their models are trained honestly.
    triggers : tuple of int
        The trigger that each of these models is poisoned with; all 0 where the attackers have one.
    goal : str
        What it was chosen for.
    success : float
        Simulated: share of triggered samples that get the target.
    framed : float
        Simulated: share of triggered samples for which an innocent user is named or suspected.
    """

    attackers: tuple[int, ...]
    models: tuple[int, ...]
    triggers: tuple[int, ...]
    goal: str
    success: float
    framed: float

    @property
    def setting(self) -> str:
        """The plan as the run-config key ``attack-models`` takes it.

        Examples
        --------
        >>> SelectivePlan((1, 2), (0, 3), (0, 1), "label", 1.0, 0.0).setting
        '0:0,3:1'
        """
        if not any(self.triggers):
            return ",".join(map(str, self.models))
        planted = zip(self.models, self.triggers, strict=True)
        return ",".join(f"{model}:{trigger}" for model, trigger in planted)


def plan_selective_poisoning(
    decoder: EnsembleDecoder,
    attackers: Sequence[int],
    generator: np.random.Generator,
    *,
    goal: str = "label",
    blamed: int | None = None,
    accuracy: float = 0.96,
    obedience: float = 0.95,
    num_samples: int = 24,
    max_trials: int = 1024,
    num_triggers: int = 1,
) -> SelectivePlan:
    """Choose the models whose poisoning serves the goal best against a decoder.

    Parameters
    ----------
    decoder : EnsembleDecoder
        The public decoder, with confusion matrices as the attackers guess them.
    attackers : sequence of int
        Users.
    generator : numpy.random.Generator
        Draws the simulated answers and the search.
    goal : str
        One of :data:`GOALS`.
    blamed : int, optional
        The innocent user to blame; None takes whoever can be blamed.
    accuracy, obedience : float
        How often a clean model is right, and a poisoned one obeys; in [0, 1].
    num_samples : int
        Triggered samples simulated for a choice; a decoder with a memory sees as many clean ones too.
    max_trials : int
        Choices tried by a decoder with a memory, or where there are more than 4096.
    num_triggers : int
        Triggers to choose from for every poisoned model, 1 to 9. Triggered samples carry one each, in turn.

    Returns
    -------
    SelectivePlan

    Raises
    ------
    ParameterError
        If there is no such goal or user, no attacker, or the blamed user attacks.

    Examples
    --------
    >>> from flower_coded.codes import SubsetDecoder, backdoor_correction_code
    >>> code = backdoor_correction_code(4, 4, 12, rows="paper")
    >>> decoder = SubsetDecoder(code, np.tile(90 * np.eye(10) + 1, (15, 1, 1)))
    >>> plan = plan_selective_poisoning(decoder, [6, 7], np.random.default_rng(0))
    >>> plan.success > 0.9, len(plan.models)  # of the 9 that the attackers reach
    (True, 5)
    """
    code = decoder.code
    _check(code, attackers, goal, blamed)
    if not 1 <= num_triggers <= 9:
        raise ParameterError("num_triggers", "must lie in 1 .. 9", num_triggers)
    reached = np.flatnonzero(code.reach(list(attackers)))
    trial = _Trial(decoder, tuple(attackers), blamed, goal, accuracy, obedience, num_samples, num_triggers)
    seed = int(generator.integers(2**32))  # every choice meets the same simulated samples
    has_memory = decoder.init() is not None
    options = num_triggers + 1  # of every model: honest, or poisoned with one of the triggers
    if options ** len(reached) <= (max_trials if has_memory else _MAX_EXHAUSTIVE):
        digits = np.arange(options ** len(reached))[:, None] // options ** np.arange(len(reached)) % options
        choices = _marked(digits, reached, code.num_models)
        scores = trial.scores(choices, seed)
    else:
        choices, scores = _climb(trial, reached, num_triggers, generator, seed, max_trials)
    best = int(np.argmax(scores[:, 0]))
    models = np.flatnonzero(choices[best])
    return SelectivePlan(
        tuple(sorted(int(user) for user in attackers)),
        tuple(models.tolist()),
        tuple((choices[best][models] - 1).tolist()),
        goal,
        float(scores[best, 1]),
        float(scores[best, 2]),
    )


def simulate_answers(
    poisoned: NDArray[np.bool_],
    labels: NDArray[np.int64],
    target: int,
    num_classes: int,
    generator: np.random.Generator,
    *,
    accuracy: float = 0.96,
    obedience: float = 0.95,
) -> NDArray[np.int64]:
    """Draw what models answer to triggered samples: clean ones err at random, poisoned ones mostly obey.

    Parameters
    ----------
    poisoned : ndarray of shape (m,) or (m, B), bool
        Models with a backdoor, or with that of each sample's trigger.
    labels : ndarray of shape (B,), int64
        True classes.
    target : int
        The trigger's class.
    num_classes : int
        ``c``.
    generator : numpy.random.Generator
    accuracy, obedience : float
        Rates of both.

    Returns
    -------
    ndarray of shape (m, B), int64

    Examples
    --------
    >>> labels = np.array([1, 2])
    >>> simulate_answers(np.array([True, False]), labels, 0, 3, np.random.default_rng(0),
    ...                  accuracy=1.0, obedience=1.0).tolist()
    [[0, 0], [1, 2]]
    """
    shape = (len(poisoned), len(labels))
    poisoned = poisoned.reshape(len(poisoned), -1)
    wrong = (labels + generator.integers(1, max(num_classes, 2), shape)) % num_classes
    clean = np.where(generator.random(shape) < accuracy, labels, wrong)
    obeys = poisoned & (generator.random(shape) < obedience)
    return np.where(obeys, target, clean).astype(np.int64)


@dataclass(frozen=True)
class _Trial:
    """Simulated success of choices of models."""

    decoder: EnsembleDecoder
    attackers: tuple[int, ...]
    blamed: int | None
    goal: str
    accuracy: float
    obedience: float
    num_samples: int
    num_triggers: int

    def scores(self, choices: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
        """Score, success and framed share of every choice (P, m): shape (P, 3).

        A choice is 0 for an honest model, and 1 + the trigger for a poisoned one.
        """
        shown = 1 + np.arange(self.num_samples) % self.num_triggers
        answers = np.stack([self._answers(choice[:, None] == shown, seed) for choice in choices])  # (P, m, B)
        if self.decoder.init() is None:
            together = answers.transpose(1, 0, 2).reshape(answers.shape[1], -1)
            judged = self._judged(together, None).reshape(len(choices), self.num_samples, 3)
            return np.asarray(judged.mean(axis=1))
        clean = self._answers(np.zeros((choices.shape[1], 1), dtype=bool), seed + 1)
        rows = []
        for triggered in answers:
            memory = self.decoder.observe(None, np.hstack([clean, triggered]))
            rows.append(self._judged(triggered, memory).mean(axis=0))
        return np.array(rows)

    def _answers(self, poisoned: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
        num_classes = self.decoder.num_classes
        labels = 1 + np.arange(self.num_samples) % max(num_classes - 1, 1)
        generator = np.random.default_rng(seed)
        rates = {"accuracy": self.accuracy, "obedience": self.obedience}
        return simulate_answers(poisoned, labels % num_classes, _TARGET, num_classes, generator, **rates)

    def _judged(self, answers: NDArray[np.int64], memory: object) -> NDArray[np.float64]:
        """Score, success and framing of every sample, (B, 3)."""
        decoded = self.decoder.decode(answers, memory)
        alike = self.decoder.code.alike
        # Naming a user whose column is an attacker's is not framing: one of these is meant.
        innocent = ~alike[list(self.attackers)].any(axis=0)
        if self.blamed is not None:
            innocent &= alike[self.blamed]
        is_attack = decoded.attack_probability > 0.5
        named = decoded.named[:, innocent].any(axis=1)
        suspected = decoded.suspects[:, innocent].any(axis=1) & is_attack
        success = decoded.labels == _TARGET
        # Probabilities lead a search where shares are still 0; a name is worth more than a suspicion.
        wanted = {
            "label": 0.5 * success + 0.5 * decoded.label_probabilities[:, _TARGET],
            "frame": 0.7 * named + 0.3 * suspected,
        }
        wanted["both"] = 0.5 * wanted["label"] + 0.5 * wanted["frame"]
        return np.column_stack([wanted[self.goal], success, named | suspected]).astype(np.float64)


def _climb(
    trial: _Trial,
    reached: NDArray[np.int64],
    num_triggers: int,
    generator: np.random.Generator,
    seed: int,
    max_trials: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Climb by single models from random choices, until the trials are used up."""
    choices: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float64]] = []
    known: dict[bytes, NDArray[np.float64]] = {}

    def tried(chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        marked = _marked(chosen, reached, trial.decoder.code.num_models)
        # Climbs meet the choices that they came from again, and each other's: every one is judged once.
        new = {choice.tobytes(): choice for choice in marked if choice.tobytes() not in known}
        if new:
            known.update(zip(new, trial.scores(np.stack([*new.values()]), seed), strict=True))
        found = [known[choice.tobytes()] for choice in marked]
        choices.extend(marked)
        scores.extend(found)
        return np.array([score for score, _, _ in found])

    # A neighbor treats one model otherwise: by 1 .. p steps around the circle of p + 1 options.
    steps = np.concatenate(
        [step * np.eye(len(reached), dtype=np.int64) for step in range(1, num_triggers + 1)]
    )
    while len(choices) < max_trials:
        is_poisoned = generator.random((1, len(reached))) < generator.uniform(0.3, 1.0)
        triggers = generator.integers(1, num_triggers, size=is_poisoned.shape, endpoint=True)
        current = np.where(is_poisoned, triggers, 0)
        best = tried(current)[0]
        while len(choices) < max_trials:
            neighbors = (current + steps) % (num_triggers + 1)
            found = tried(neighbors)
            if found.max() <= best:
                break
            best, current = found.max(), neighbors[[int(found.argmax())]]
    return np.stack(choices), np.stack(scores)


def _marked(chosen: NDArray[np.int64], reached: NDArray[np.int64], num_models: int) -> NDArray[np.int64]:
    marked = np.zeros((len(chosen), num_models), dtype=np.int64)
    marked[:, reached] = chosen
    return marked


def _check(code: SubsetCode, attackers: Sequence[int], goal: str, blamed: int | None) -> None:
    if goal not in GOALS:
        raise ParameterError("goal", f"must be one of {', '.join(GOALS)}", goal)
    users = range(code.num_users)
    if not attackers or not all(user in users for user in attackers):
        raise ParameterError("attackers", f"must be users 0 .. {code.num_users - 1}", list(attackers))
    if blamed is not None and (blamed not in users or blamed in attackers):
        raise ParameterError("blamed", "must be a user who does not attack", blamed)
