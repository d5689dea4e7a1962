"""The pictures of a run: the code, the triggered images, who was suspected, what the decoder believes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flower_coded.codes import Reliability, SubsetCode
from flower_coded.experiment import Experiment
from flower_coded.learning import ModelState
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def code_matrix(code: SubsetCode, attackers: Sequence[int]) -> Figure:
    title = f"{code.name}: who trains which model"
    return draw_matrix(code.matrix, title=title, x_label="user", y_label="model", highlight_columns=attackers)


def accuracy_by_round(rounds: list[dict[str, Any]]) -> Figure:
    titles = {"accuracy": "On clean images", "accuracy under attack": "On triggered images"}
    keys = [key for key in titles if rounds[0][key] is not None]
    figure = new_figure(1, len(keys), size=(5.5 * len(keys), 3.6))
    for axes, key in zip(figure.axes, keys, strict=True):
        shared: dict[str, Any] = {"x": "round", "y": key, "group": "method"}
        draw_lines(rounds, **shared, title=titles[key], y_label="accuracy", y_limits=(0, 1), axes=axes)
    for axes in figure.axes[:-1]:
        if (legend := axes.get_legend()) is not None:
            legend.remove()
    return figure


def under_attack(records: list[dict[str, Any]]) -> Figure:
    """Three rows: right labels, the attackers' labels, innocents named; a bar for every decoder."""
    shown = {
        "accuracy under attack": "Triggered images that get their true label (higher is better)",
        "attack success": "Triggered images that get the attackers' label (lower is better)",
        "innocents named": "Images for which an innocent user is accused (lower is better)",
    }
    figure = new_figure(3, 1, size=(12, 8.4))  # eight attacks' names side by side
    for axes, (key, title) in zip(figure.axes, shown.items(), strict=True):
        draw_bars(
            records,
            x="attack",
            y=key,
            group="decoder",
            title=title,
            y_label="share",
            y_limits=(0, 1),
            axes=axes,
        )
    return figure


def triggered_images(
    experiment: Experiment, ensemble: CodedEnsemble, single: ModelState | None, memory: object = None
) -> Figure:
    """Six images with the trigger, and what each side says they are, the ensemble as the run reads it out."""
    backdoor, data = experiment.backdoor, experiment.data
    assert backdoor is not None
    others = np.flatnonzero(data.test_labels != backdoor.target)
    chosen = others[:: max(1, len(others) // 6)][:6]
    clean, labels = data.test_images[chosen], data.test_labels[chosen]
    triggered = backdoor.trigger.apply(clean)
    says = [f"coded: {label}" for label in ensemble.predict(triggered, memory)]
    if single is not None:
        fedavg = experiment.predict(single, triggered)[0]
        says = [f"FedAvg: {label}\n{text}" for label, text in zip(fedavg, says, strict=True)]
    titles = [f"a {label}" for label in labels] + says
    return draw_images(np.concatenate([clean, triggered]), titles=titles, num_columns=len(chosen))


def suspicion(code: SubsetCode, rates: Sequence[float], attackers: Sequence[int]) -> Figure:
    """One bar for all users of one column, whom the code cannot tell apart."""
    columns: dict[bytes, list[int]] = {}
    for user in range(code.num_users):
        columns.setdefault(code.matrix[:, user].tobytes(), []).append(user)
    records = [
        {"user": " or ".join(map(str, users)), "share": sum(rates[user] for user in users)}
        for users in columns.values()
    ]
    figure = new_figure(size=(7, 3))
    axes = figure.axes[0]
    label = "share of images held for attacked"
    draw_bars(
        records,
        x="user",
        y="share",
        title="Suspected by the decoder",
        y_label=label,
        y_limits=(0, 1),
        axes=axes,
    )
    marked = [bool(set(users) & set(attackers)) for users in columns.values()]
    mark_bars(axes, marked, name="an attacker", others="honest")
    return figure


def reliability_diagram(found: Mapping[str, Reliability]) -> Figure:
    """Draw what came true against what was told: on the diagonal it is what it says."""
    figure = new_figure(size=(5, 4))
    axes = figure.axes[0]
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="as told")
    for (name, each), color in zip(found.items(), COLORS, strict=False):
        told = f"{name}: error {each.calibration_error:.3f}"
        axes.plot(each.confidence, each.frequency, color=color, linewidth=1)
        sizes = 20 + 180 * each.counts / each.counts.sum()
        axes.scatter(each.confidence, each.frequency, s=sizes, color=color, label=told, zorder=3)
    axes.set_title("Do probabilities mean what they say?", loc="left", fontweight="bold")
    axes.set_xlabel("probability told")
    axes.set_ylabel("share that came true")
    axes.legend(frameon=False, markerscale=0.5)
    return figure


def attack_probabilities(clean: np.ndarray, triggered: np.ndarray) -> Figure:
    figure = new_figure(size=(7, 3))
    axes = figure.axes[0]
    bins = np.linspace(0, 1, 21)
    for values, color, name in (
        (clean, COLORS[0], "clean images"),
        (triggered, COLORS[1], "triggered images"),
    ):
        shares = np.full(len(values), 1 / len(values))
        axes.hist(values, list(bins), weights=shares, color=color, alpha=0.75, label=name)
    axes.set_title("Is this image an attack?", loc="left", fontweight="bold")
    axes.set_xlabel("posterior probability of an attack")
    axes.set_ylabel("share of images")
    axes.legend(frameon=False)
    return figure
