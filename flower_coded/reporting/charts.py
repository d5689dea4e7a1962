"""Charts of tidy records: lines with their range over repetitions, and bars side by side.

Records without a finite value are left out of a chart; the table beside it says how many there were.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from flower_coded.reporting.figures import (
    COLORS,
    MARKERS,
    add_color_key,
    figure_of,
    label_axes,
    method_color,
    new_figure,
)
from flower_coded.reporting.tables import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_bars", "draw_lines", "mark_bars"]

_WIDTH = 1.6
_MOST_MARKERS = 12
_COINCIDING = 0.01  # of the vertical range: closer curves cover each other


def draw_lines(
    records: Iterable[Record],
    *,
    x: str,
    y: str,
    group: str,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    y_limits: tuple[float, float] | None = None,
    y_scale: Literal["linear", "log"] = "linear",
    colors: Mapping[str, str] | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw ``y`` against ``x``, one line per ``group``; several records at one ``x`` give mean and range.

    Parameters
    ----------
    records : iterable of mapping
        One observation each; records without a finite ``y`` are left out.
    x, y, group : str
        Keys of the records.
    title, x_label, y_label : str
        Words of the plot; axis labels default to the keys.
    y_limits : (float, float), optional
        Fixed range of the vertical axis, such as ``(0, 1)`` for accuracies.
    y_scale : str
        ``"linear"``; or ``"log"``, which leaves out what is not positive.
    colors : mapping from group to color, optional
        Fixed colors; other groups have their method's (:func:`~flower_coded.reporting.figures.method_color`),
        or take the next free one.
    axes : Axes, optional
        Where to draw; a new figure by default.
    """
    drawn = axes if axes is not None else new_figure().axes[0]
    palette = _palette(_groups(records := list(records), group), colors)
    if y_scale == "log":
        records = [record for record in records if (record.get(y) or 0) > 0]
        drawn.set_yscale("log")
    collected = {name: _collect(records, x=x, y=y, group=group, name=name) for name in palette}
    curves = {name: {p: float(np.mean(v)) for p, v in points.items()} for name, points in collected.items()}
    for index, (name, color) in enumerate(palette.items()):
        points = collected[name]
        if not points:
            continue
        places, means = list(points), list(curves[name].values())
        drawn.plot(
            places,
            means,
            color=color,
            label=name,
            linewidth=_WIDTH + 2.6 * _num_covering(curves, name, is_log=y_scale == "log"),
            marker=MARKERS[index % len(MARKERS)],
            markersize=5,
            # More than some dozen markers would be the line; curves that run together show theirs in turn.
            markevery=slice(index % _every(places), None, _every(places)),
        )
        if any(len(values) > 1 for values in points.values()):
            low, high = ([float(f(v)) for v in points.values()] for f in (np.min, np.max))
            drawn.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
    if all(isinstance(record[x], int | np.integer) for record in records):
        from matplotlib.ticker import MaxNLocator

        drawn.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_axes(drawn, title=title, x_label=x_label or x, y_label=y_label or y, y_limits=y_limits)
    if len(drawn.lines) > 1:
        drawn.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure_of(drawn)


def draw_bars(
    records: Iterable[Record],
    *,
    x: str,
    y: str,
    group: str | None = None,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    y_limits: tuple[float, float] | None = None,
    colors: Mapping[str, str] | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw one bar per value of ``x``, side by side for each ``group``; several records give their mean.

    Parameters are those of :func:`draw_lines`; without ``group`` all bars have one color.
    """
    drawn = axes if axes is not None else new_figure().axes[0]
    records = list(records)
    places = _groups(records, x)
    palette = _palette(_groups(records, group) if group else [""], colors)
    width = 0.8 / len(palette)
    for index, (name, color) in enumerate(palette.items()):
        points = _collect(records, x=x, y=y, group=group, name=name)
        means = {str(place): float(np.mean(values)) for place, values in points.items()}
        positions = [i + (index - (len(palette) - 1) / 2) * width for i, p in enumerate(places) if p in means]
        heights = [means[p] for p in places if p in means]
        drawn.bar(positions, heights, width=0.92 * width, color=color, label=name)
    drawn.set_xticks(range(len(places)), places)
    drawn.grid(visible=False, axis="x")
    label_axes(drawn, title=title, x_label=x_label or x, y_label=y_label or y, y_limits=y_limits)
    if group and len(palette) > 1:
        drawn.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure_of(drawn)


def mark_bars(axes: Axes, marked: Sequence[bool], *, name: str, others: str) -> None:
    """Color the bars of axes by who they are, and say so beside them: attackers and honest users.

    Parameters
    ----------
    axes : Axes
        With one bar per entry of ``marked``, as :func:`draw_bars` without ``group`` leaves them.
    marked : sequence of bool
        Which bars are ``name``'s.
    name, others : str
        Words of the legend; what does not occur is left out.
    """
    colors = {name: COLORS[1], others: COLORS[0]}
    for is_marked, bar in zip(marked, axes.patches, strict=True):
        bar.set_color(colors[name if is_marked else others])
    add_color_key(
        axes, {who: color for who, color in colors.items() if (who == name) in set(map(bool, marked))}
    )


def _every(places: Sequence[Any]) -> int:
    return max(1, len(places) // _MOST_MARKERS)


def _num_covering(curves: Mapping[str, Mapping[Any, float]], name: str, *, is_log: bool) -> int:
    """Count the curves drawn later that run where this one does: it is drawn wider, to be seen below them."""
    if is_log:
        curves = {each: {p: math.log(v) for p, v in curve.items()} for each, curve in curves.items()}
    everything = [value for curve in curves.values() for value in curve.values()]
    tolerance = _COINCIDING * (max(everything) - min(everything) or 1.0)
    own, later = curves[name], list(curves)[list(curves).index(name) + 1 :]
    return sum(
        own.keys() == curves[other].keys()
        and all(abs(own[place] - curves[other][place]) <= tolerance for place in own)
        for other in later
    )


def _groups(records: Sequence[Record], key: str) -> list[str]:
    return list(dict.fromkeys(str(record[key]) for record in records))


def _palette(groups: Sequence[str], colors: Mapping[str, str] | None) -> dict[str, str]:
    fixed = dict(colors or {})
    for group in groups:
        color = method_color(group)
        if color is not None and group not in fixed and color not in fixed.values():
            fixed[group] = color
    free = [color for color in COLORS if color not in fixed.values()] or list(COLORS)
    names = [group for group in groups if group not in fixed]
    taken = {group: free[i % len(free)] for i, group in enumerate(names)}
    return {group: fixed.get(group) or taken[group] for group in groups}


def _collect(
    records: Iterable[Record], *, x: str, y: str, group: str | None, name: str
) -> dict[Any, list[float]]:
    points: dict[Any, list[float]] = {}
    for record in records:
        value = record.get(y)
        belongs = group is None or str(record[group]) == name
        if belongs and value is not None and np.isfinite(value):
            points.setdefault(record[x], []).append(float(value))
    return points
