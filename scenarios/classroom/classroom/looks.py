"""What to look at in an act, and one question with its answer: both follow from what has happened.

Other seeds, other attackers and other settings end otherwise than the lecture as it was written. A sentence
here is chosen by the figures that it speaks of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from classroom.acts import (
    CLEAN,
    ENSEMBLE,
    EXPECTED_ATTACKERS,
    FLIPPED,
    KRUM_FLIPPED,
    KRUM_LITTLE,
    KRUM_UNLIKE,
    KRUM_UNLIKE_LITTLE,
    POISONED,
    SHARED,
    Training,
)
from classroom.lecture import Lecture
from classroom.trainings import Played, captured
from flower_coded.strategies import RampSharedMultiKrum

__all__ = ["LOOKS", "QUESTIONS"]

Stage = Mapping[Training, Played]

_FEW_POINTS = 0.05  # of accuracy: what nobody would notice


def _prologue(lecture: Lecture, stage: Stage) -> str:
    reached = next((r["round"] for r in stage[CLEAN].rounds if r["accuracy"] >= 0.9), None)
    learned = f"Nine of ten images after {reached} rounds" if reached else "How far it comes in these rounds"
    return (
        f"{learned}, though nobody showed anybody an image. And what the server did: it averaged what came."
    )


def _act_1(lecture: Lecture, stage: Stage) -> str:
    clean, poisoned = stage[CLEAN].last, stage[POISONED].last
    if not stage[POISONED].attackers:
        return "Nobody attacks in this run: both curves are the same training, twice."
    if poisoned["trigger obeyed"] < 0.5:
        return (
            f"The backdoor has not taken: {_percent(poisoned['trigger obeyed'])} of the triggered images get "
            "the "
            "attackers' label. Too few attackers, too few poisoned images, or too few rounds."
        )
    if clean["accuracy"] - poisoned["accuracy"] > _FEW_POINTS:
        return (
            "The backdoor has taken, and clumsily: on clean images the poisoned model is worse too, which a "
            "server "
            "with test images would notice."
        )
    return (
        "On clean images nobody notices anything: the two curves are alike. On images with the trigger the "
        "poisoned model says what the attackers want, whatever the image shows."
    )


def _act_2(lecture: Lecture, stage: Stage) -> str:
    clean, flipped, krum = (stage[each].last["accuracy"] for each in (CLEAN, FLIPPED, KRUM_FLIPPED))
    if not stage[FLIPPED].attackers:
        return "Nobody attacks in this run: the five trainings show what Krum itself costs."
    if captured(stage[KRUM_FLIPPED]) < 0.1:
        why = "the attackers' bars are the highest."
    else:
        why = (
            f"more attackers than the {EXPECTED_ATTACKERS} that Krum was told of are each other's neighbors."
        )
    crude = f"The crude attack costs FedAvg {_percent(clean - flipped)} of accuracy and Krum "
    told = [f"{crude}{_percent(clean - krum)}: {why}"]
    if captured(stage[KRUM_LITTLE]) > 0.5:
        told.append(
            "The clever one makes them the lowest: equal vectors near the middle are each other's best "
            "neighbors, and Krum takes the attackers."
        )
    else:
        told.append("The clever one does not get the attackers selected here.")
    alike = stage[KRUM_FLIPPED].last["accuracy"] - stage[KRUM_LITTLE].last["accuracy"]
    unlike = stage[KRUM_UNLIKE].last["accuracy"] - stage[KRUM_UNLIKE_LITTLE].last["accuracy"]
    if alike < _FEW_POINTS < unlike:
        told.append(
            "While users are alike there is little room around the middle, and accuracy hardly suffers. "
            "Where "
            "users differ there is more."
        )
    else:
        told.append(f"Among users who are alike it costs {_percent(alike)}, among others {_percent(unlike)}.")
    return " ".join(told)


def _act_3(lecture: Lecture, stage: Stage) -> str:
    played = stage[ENSEMBLE]
    if not played.attackers:
        return "Nobody attacks in this run: whom does the decoder suspect all the same?"
    k = lecture.code.num_attackers
    if len(played.attackers) > k:
        return (
            f"{len(played.attackers)} attackers, and the code was made for {k}: nothing is promised. The "
            "curve on "
            "images with the trigger beside that of act 1, and the bars, show what is left."
        )
    return (
        "The curve on images with the trigger, beside that of act 1. Then the bars: the decoder was told "
        "neither "
        "who attacks nor how many."
    )


def _act_4(lecture: Lecture, stage: Stage) -> str:
    shared, clear = stage[SHARED], stage[KRUM_FLIPPED]
    same = abs(captured(shared) - captured(clear)) < 0.1
    return (
        f"The selection is {'as good as' if same else 'another than'} that of act 2 under the same attack. "
        "Then the "
        "four small pictures: what a user has, what another user gets of it, what enough shares rebuild, and "
        "a "
        "different image that fits the same share just as well."
    )


def _question_1(lecture: Lecture, stage: Stage) -> tuple[str, str]:
    apart = stage[CLEAN].last["accuracy"] - stage[POISONED].last["accuracy"]
    answer = f"The two models differ by {_percent(abs(apart))} on clean images: "
    answer += (
        "no, only with the trigger, which is the attackers' secret." if abs(apart) <= _FEW_POINTS else "yes."
    )
    return "Could the server have found the attack on test images?", answer


def _question_2(lecture: Lecture, stage: Stage) -> tuple[str, str]:
    number, users = len(stage[FLIPPED].attackers), stage[FLIPPED].num_users
    total = users - number - 5 * number
    runs = "backwards" if total < 0 else "slower" if total else "nowhere"
    answer = (
        f"It moves as far as its longest summand. {users - number} honest updates u and {number} of -5u sum "
        "up "
        f"to {total}u: training runs {runs}."
    )
    return f"{number} users of {users}: why does an average move so far?", answer


def _question_3(lecture: Lecture, stage: Stage) -> tuple[str, str]:
    cost = lecture.code.training_cost
    loss = stage[CLEAN].last["accuracy"] - stage[ENSEMBLE].last["accuracy"]
    answer = (
        f"A user trains {cost:.1f} models instead of one, and the ensemble is {_percent(max(loss, 0.0))} "
        "worse "
        "on clean images than one model of everybody: each model sees fewer users."
    )
    return "What does it cost?", answer


def _question_4(lecture: Lecture, stage: Stage) -> tuple[str, str]:
    strategy = stage[SHARED].strategy
    assert isinstance(strategy, RampSharedMultiKrum)
    shares = strategy.sharing.num_shares_needed
    return (
        "How many users would have to put their shares together to read an update?",
        f"{shares} of {stage[SHARED].num_users}; one fewer of the secret's T know nothing at all.",
    )


LOOKS: dict[str, Callable[[Lecture, Stage], str]] = {
    "prologue": _prologue,
    "act_1": _act_1,
    "act_2": _act_2,
    "act_3": _act_3,
    "act_4": _act_4,
}
"""What to look at, by act."""

QUESTIONS: dict[str, Callable[[Lecture, Stage], tuple[str, str]]] = {
    "act_1": _question_1,
    "act_2": _question_2,
    "act_3": _question_3,
    "act_4": _question_4,
}
"""A question for the class and its answer, by act."""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
