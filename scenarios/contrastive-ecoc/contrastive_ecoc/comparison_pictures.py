"""Pictures of a comparison: accuracies under each attack, robust accuracy against the radius, code books."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from contrastive_ecoc.comparison import Group
from contrastive_ecoc.report import code_book_picture
from contrastive_ecoc.trainers import TRAINERS
from flower_coded.codes.output_code import OutputCode
from flower_coded.learning.adversarial import AttackBudget
from flower_coded.reporting import COLORS, RunDirectory, draw_lines, new_figure

ATTACKS = (
    "clean",
    "fgsm",
    "pgd",
    "pgd-margin",
    "pgd-surrogate",
    "transfer",
    "adaptive",
    "ensemble",
    "worst",
)


def comparison_figures(
    run: RunDirectory, groups: Sequence[Group], records: list[dict[str, Any]], curve: list[dict[str, Any]]
) -> dict[str, tuple[Figure, str]]:
    """Every picture and its caption by name."""
    figures = {
        "accuracies": (
            _bars(records),
            f"Accuracy under each attack, mean and deviation over seeds. {budget_words(records[0])}.",
        ),
        "robustness": (
            _curves(curve),
            _about_curve(records[0]),
        ),
    }
    for group in sorted(groups, key=lambda each: (each.place, each.seed)):
        place, seed = group.place, group.seed
        with np.load(run.path / f"code_book_{place}_{seed}.npz", allow_pickle=False) as file:
            for method in file.files:
                name = f"code_book_{place}_{method}"
                if name not in figures:
                    code = OutputCode(file[method])
                    caption = (
                        f"{place}, {method}, seed {seed}: codewords as an image, and their cosine matrix. "
                        f"{_separation_words(code)}"
                    )
                    figures[name] = (code_book_picture(code), caption)
    return figures


def methods_of(records: list[dict[str, Any]]) -> list[str]:
    """Name the methods in the order in which they were trained."""
    return list(dict.fromkeys(record["method"] for record in records))


def budget_words(record: dict[str, Any]) -> str:
    """Say what the attacks of a record were allowed."""
    keys = ("epsilon", "step_size", "num_steps", "num_restarts")
    return f"White-box, maximum norm: {AttackBudget(*(record[key] for key in keys))}"


def _separation_words(code: OutputCode) -> str:
    found = code.separation()
    return (
        f"Largest cosine of two classes {found.maximum_cosine:.2f}, mean {found.mean_cosine:.2f}; smallest "
        f"Hamming distance of signs {found.minimum_hamming:.0f} of {code.num_bits}; mean correlation of two "
        f"bits {found.mean_column_correlation:.2f}."
    )


def _bars(records: list[dict[str, Any]]) -> Figure:
    places = [place for place in TRAINERS if any(r["place"] == place for r in records)]
    shown = [attack for attack in ATTACKS if any(r.get(attack) is not None for r in records)]
    figure = new_figure(len(places), 1, size=(9.5, 3.3 * len(places)))
    methods, palette = methods_of(records), _palette(records)
    width = 0.8 / len(methods)
    for axes, place in zip(figure.axes, places, strict=True):
        for index, method in enumerate(methods):
            own = [r for r in records if (r["place"], r["method"]) == (place, method)]
            found = [[r[attack] for r in own if r.get(attack) is not None] for attack in shown]
            kept = [i for i, values in enumerate(found) if values]
            axes.bar(
                [i + (index - (len(methods) - 1) / 2) * width for i in kept],
                [float(np.mean(found[i])) for i in kept],
                0.92 * width,
                yerr=[float(np.std(found[i], ddof=1)) for i in kept] if len(own) > 1 else None,
                color=palette[method],
                label=method,
                error_kw={"elinewidth": 1.0, "capsize": 1.5},
            )
        axes.set_xticks(range(len(shown)), shown)
        axes.set_ylim(0, 1.03)
        axes.grid(visible=False, axis="x")
        axes.set_axisbelow(True)
        axes.set_ylabel("accuracy")
        axes.set_title(place.capitalize(), loc="left", fontweight="bold")
    figure.axes[0].legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _curves(curve: list[dict[str, Any]]) -> Figure:
    places = [place for place in TRAINERS if any(r["place"] == place for r in curve)]
    figure = new_figure(1, len(places), size=(5.2 * len(places) + 1.2, 3.6))
    for axes, place in zip(figure.axes, places, strict=True):
        draw_lines(
            [r for r in curve if r["place"] == place],
            x="epsilon",
            y="worst",
            group="method",
            title=place.capitalize(),
            x_label="radius, in units of the pixel range",
            y_label="robust accuracy",
            y_limits=(0, 1),
            colors=_palette(curve),
            axes=axes,
        )
    for axes in figure.axes[:-1]:
        if (legend := axes.get_legend()) is not None:
            legend.remove()
    return figure


def _palette(records: list[dict[str, Any]]) -> dict[str, str]:
    methods = methods_of(records)
    return {method: COLORS[number % len(COLORS)] for number, method in enumerate(methods)}


def _about_curve(record: dict[str, Any]) -> str:
    return (
        "Worst case over FGSM and all PGD attacks against the radius; a third of the attacked images, one "
        f"start, {record['num_steps']} steps of {record['step_size'] / record['epsilon']:.2g} of the radius."
    )
