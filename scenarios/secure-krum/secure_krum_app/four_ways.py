"""Four ways of adding up updates, against a harmful update and against a curious server."""

from __future__ import annotations

from typing import Any

from flower_coded.reporting.figures import label_axes, method_color, new_figure

__all__ = ["compare_ways", "draw_ways"]

Record = dict[str, Any]


def compare_ways(final: dict[str, float], num_users: int, num_selected: int) -> list[Record]:
    """Return one row per way, with the run's own accuracies.

    Parameters
    ----------
    final : dict of str to float
        Accuracy after the last round, by method.
    num_users, num_selected : int
        N and m.
    """
    ours = "ramp-shared multi-Krum"
    rows = (
        ("plain mean", "FedAvg", num_users, "every update"),
        ("multi-Krum in the clear", "multi-Krum, in the clear", num_users, "every update"),
        # Masks that cancel in the sum change who sees an update and not what is added up.
        ("masking alone", "FedAvg", 0, f"the mean of all {num_users}"),
        (ours, ours, 0, f"the mean of {num_selected}, and all distances"),
    )
    return [
        {"way": way, "accuracy": final[method], "updates the server reads": read, "the server sees": sees}
        for way, method, read, sees in rows
    ]


def draw_ways(ways: list[Record]) -> Any:
    """Draw accuracy over the number of updates that the server reads: up and to the left is better."""
    figure = new_figure(1, 1, size=(6, 3.5))
    axes = figure.axes[0]
    for way, marker in zip(ways, "osD^", strict=True):
        place = ([way["updates the server reads"]], [way["accuracy"]])
        color = method_color(way["way"].replace(" in the", ", in the"))
        axes.scatter(*place, s=60, label=way["way"], marker=marker, color=color or "#555555")
    label_axes(
        axes,
        title="Secure and robust",
        x_label="updates that a curious server reads",
        y_label="accuracy under the run's attack",
        y_limits=(0, 1),
    )
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize="small")
    return figure
