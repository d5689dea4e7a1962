"""The pictures of the acts; attackers have one color in all of them, and a legend says which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from classroom.acts import (
    CLEAN,
    CODED,
    ENSEMBLE,
    FLIPPED,
    KRUM_FLIPPED,
    KRUM_LITTLE,
    KRUM_UNLIKE,
    KRUM_UNLIKE_LITTLE,
    POISONED,
    SHARED,
)
from classroom.lecture import Lecture
from classroom.trainings import Played
from flower_coded.clients import user_data
from flower_coded.codes import SubsetCode
from flower_coded.learning.ensemble import CodedEnsemble
from flower_coded.reporting import (
    COLORS,
    draw_bars,
    draw_images,
    draw_lines,
    draw_matrix,
    mark_bars,
    new_figure,
)
from flower_coded.strategies import CodedSubsetAggregation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, PURPLE, ORANGE = COLORS[:5]
LINES = {  # a training keeps its color; an average that attackers spoil has theirs
    CLEAN.label: BLUE,
    POISONED.label: VERMILION,
    FLIPPED.label: VERMILION,
    KRUM_FLIPPED.label: GREEN,
    KRUM_LITTLE.label: PURPLE,
    KRUM_UNLIKE.label: BLUE,
    KRUM_UNLIKE_LITTLE.label: PURPLE,
    ENSEMBLE.label: GREEN,
    SHARED.label: ORANGE,
}
_SHOWN = 6


def some_images(lecture: Lecture) -> Figure:
    """Draw six images of each of the first three users."""
    owned = [user_data(lecture.settings, user, lecture.num_users) for user in range(3)]
    images = np.concatenate([images[:_SHOWN] for images, _ in owned])
    titles = [f"user {user}: {label}" for user, (_, labels) in enumerate(owned) for label in labels[:_SHOWN]]
    return draw_images(images, titles=titles, num_columns=_SHOWN)


def accuracies(trainings: Sequence[Played], *keys: str) -> Figure:
    """Accuracy by round, a panel per key; trainings of different length are cut to the shortest."""
    titles = {"accuracy": "On clean images", "with the trigger": "On images with the trigger"}
    num_rounds = min(len(played.rounds) for played in trainings)
    records = [record for played in trainings for record in played.rounds[:num_rounds]]
    figure = new_figure(1, len(keys), size=(4.2 * len(keys) + 3.2, 3.4))
    for axes, key in zip(figure.axes, keys, strict=True):
        words: dict[str, Any] = {"title": titles[key], "y_label": "accuracy"}
        shared: dict[str, Any] = {
            "x": "round",
            "y": key,
            "group": "training",
            "colors": LINES,
            "y_limits": (0, 1),
        }
        draw_lines(records, **shared, **words, axes=axes)
    for axes in figure.axes[:-1]:
        if (legend := axes.get_legend()) is not None:
            legend.remove()
    return figure


def triggered_images(lecture: Lecture, *trainings: Played) -> Figure:
    """Six images, clean and with the trigger, and what each model says the second row is."""
    data, backdoor = lecture.data, lecture.backdoor
    assert backdoor is not None
    others = np.flatnonzero(data.test_labels != backdoor.target)
    chosen = others[:: max(1, len(others) // _SHOWN)][:_SHOWN]
    clean, labels = data.test_images[chosen], data.test_labels[chosen]
    triggered = backdoor.trigger.apply(clean)
    answers = {_short(played): _answers(lecture, played, triggered) for played in trainings}
    says = ["\n".join(f"{name}: {each[i]}" for name, each in answers.items()) for i in range(len(chosen))]
    titles = [f"a {label}" for label in labels] + says
    return draw_images(np.concatenate([clean, triggered]), titles=titles, num_columns=len(chosen))


def selections(*trainings: Played) -> Figure:
    """Who was averaged in which round, one matrix per training."""
    rows = max(len(played.selected) for played in trainings)
    figure = new_figure(1, len(trainings), size=(4.6 * len(trainings), 0.3 * rows + 1.4))
    for axes, played in zip(figure.axes, trainings, strict=True):
        draw_matrix(
            _was_selected(played),
            title=played.training.label,
            x_label="user",
            y_label="round",
            highlight_columns=played.attackers,
            limits=(0, 1),
            axes=axes,
        )
        axes.set_yticks(range(len(played.selected)), [str(1 + i) for i in range(len(played.selected))])
    return figure


def scores(*trainings: Played) -> Figure:
    """Multi-Krum's score of every user in the last round; small is good."""
    figure = new_figure(1, len(trainings), size=(4.6 * len(trainings), 2.8))
    for axes, played in zip(figure.axes, trainings, strict=True):
        records = [{"user": user, "score": score} for user, score in sorted(played.scores.items())]
        words: dict[str, Any] = {"title": played.training.label, "y_label": "Krum's score"}
        draw_bars(records, x="user", y="score", **words, axes=axes)
        marked = [record["user"] in played.attackers for record in records]
        mark_bars(axes, marked, name="attackers", others="honest")
    return figure


def code_matrix(code: SubsetCode, attackers: Sequence[int]) -> Figure:
    """Which user trains which model."""
    words: dict[str, Any] = {
        "title": f"{code.name}: who trains which model",
        "x_label": "user",
        "y_label": "model",
    }
    return draw_matrix(code.matrix, **words, highlight_columns=attackers)


def suspicion(played: Played) -> Figure:
    """How often each user is suspected; users whom the code cannot tell apart share a bar."""
    assert isinstance(played.strategy, CodedSubsetAggregation)
    code, rates = played.strategy.code, played.strategy.history[-1].reported["suspect-rates"]
    columns: dict[bytes, list[int]] = {}
    for user in range(code.num_users):
        columns.setdefault(code.matrix[:, user].tobytes(), []).append(user)
    groups = list(columns.values())
    records = [
        {"user": " or ".join(map(str, users)), "share": sum(rates[user] for user in users)}
        for users in groups
    ]
    figure = new_figure(size=(7, 3))
    axes = figure.axes[0]
    words: dict[str, Any] = {
        "title": "Suspected by the decoder",
        "y_label": "share of images held for attacked",
    }
    draw_bars(records, x="user", y="share", **words, y_limits=(0, 1), axes=axes)
    marked = [bool(set(users) & set(played.attackers)) for users in groups]
    mark_bars(axes, marked, name="an attacker", others="honest")
    return figure


def _was_selected(played: Played) -> np.ndarray:
    matrix = np.zeros((len(played.selected), played.num_users))
    for row, users in zip(matrix, played.selected, strict=True):
        row[list(users)] = 1
    return matrix


def _answers(lecture: Lecture, played: Played, images: np.ndarray) -> np.ndarray:
    strategy = played.strategy
    if isinstance(strategy, CodedSubsetAggregation):
        ensemble: CodedEnsemble = strategy.ensemble(model_name=lecture.settings.model)
        return ensemble.predict(images)
    answers: np.ndarray = lecture.predict(played.state, images)[0]
    return answers


def _short(played: Played) -> str:
    if not played.attackers:
        return "clean"
    return "coded" if played.training.method == CODED else "poisoned"
