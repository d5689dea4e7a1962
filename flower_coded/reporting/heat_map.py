"""A heat map with named rows and columns: one number a cell, the worst of each row beside it.

Two scales of one hue each, light to dark, which every reader can order; the number is in the cell too, so
that color is never the only carrier. A cell without a value is hatched and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.reporting.figures import COLORS, figure_of, new_figure

__all__ = ["draw_cells", "draw_heat_map"]

_INK, _SOFT, _LIGHT = "#1d2733", "#5b6875", "#f2f5f7"
_GAP = 0.35  # between the last column and the worst
_DARK_FROM = 0.55  # shade from which ink is white


def draw_heat_map(
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    worst: Literal["min", "max"],
    limits: tuple[float, float] = (0.0, 1.0),
    num_blank: int = 0,
    axes: Axes | None = None,
) -> Figure:
    """Draw shares in [0, 1] as a heat map, with a column for the worst of each row.

    Parameters
    ----------
    values : ndarray of shape (rows, columns)
        NaN where there is no value.
    rows, columns : sequence of str
        Names; a line break in a column's name begins its second line.
    title : str
        What a cell says.
    worst : {"min", "max"}
        Which value is bad. Where small is bad, dark blue is good; where large is, dark vermilion is bad.
    limits : (float, float)
        Values of the lightest and the darkest cell.
    num_blank : int
        Columns left empty before the first, so that maps above each other have theirs in line.
    axes : Axes, optional
        Where to draw; a new figure sized to the map by default. The worst of a row that is not complete is
        not known.

    Examples
    --------
    >>> figure = draw_heat_map(np.array([[0.9, 0.1]]), ["FedAvg"], ["none", "nan"], title="A", worst="min")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['0.90', '0.10', '0.10']
    """
    values = np.asarray(values, dtype=float)
    if values.shape != (len(rows), len(columns)) or values.size == 0:
        raise ParameterError("values", f"must have shape {(len(rows), len(columns))}", values.shape)
    drawn = axes if axes is not None else _axes_for(len(rows), len(columns) + 1)
    hue = COLORS[0] if worst == "min" else COLORS[1]
    colors = LinearSegmentedColormap.from_list("shades", [_LIGHT, hue])
    extreme = values.min(axis=1) if worst == "min" else values.max(axis=1)  # NaN where a cell is
    shades = np.clip((np.column_stack([values, extreme]) - limits[0]) / (limits[1] - limits[0]), 0, 1)
    last = num_blank + len(columns)
    for (row, column), value in np.ndenumerate(values):
        _draw_cell(drawn, num_blank + column, row, value, float(shades[row, column]), colors)
    for row, value in enumerate(extreme):
        _draw_cell(drawn, last + _GAP, row, float(value), float(shades[row, -1]), colors, is_bold=True)
    places = [*range(num_blank, last), last + _GAP]
    _label(drawn, places, [*columns, "worst"], rows, title)
    return figure_of(drawn)


def draw_cells(
    cells: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    axes: Axes | None = None,
) -> Figure:
    """Draw words and numbers in the grid of a heat map, without color: what has no common scale.

    Parameters
    ----------
    cells : sequence of sequences of str
        One text per row and column; empty where there is nothing to say.
    rows, columns, title, axes
        As for :func:`draw_heat_map`.
    """
    drawn = axes if axes is not None else _axes_for(len(rows), len(columns))
    for row, line in enumerate(cells):
        for column, text in enumerate(line):
            drawn.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=_LIGHT, edgecolor="white", lw=2)
            )
            color = _INK if text else _SOFT
            drawn.text(column, row, text or "–", ha="center", va="center", color=color, fontsize="medium")
    _label(drawn, list(range(len(columns))), columns, rows, title)
    return figure_of(drawn)


def _axes_for(num_rows: int, num_columns: int) -> Axes:
    return new_figure(size=(2.4 + 1.15 * num_columns, 1.2 + 0.42 * num_rows)).axes[0]


def _draw_cell(
    axes: Axes,
    column: float,
    row: int,
    value: float,
    shade: float,
    colors: LinearSegmentedColormap,
    *,
    is_bold: bool = False,
) -> None:
    corner = (column - 0.5, row - 0.5)
    if np.isnan(value):
        patch = Rectangle(corner, 1, 1, facecolor="white", edgecolor="#c9d1d8", hatch="////", lw=0)
        axes.add_patch(patch)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(column, row, "n/a", ha="center", va="center", color=_SOFT, fontsize="small", bbox=box)
        return
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=colors(shade), edgecolor="white", lw=2))
    ink = "white" if shade > _DARK_FROM else _INK
    weight = "bold" if is_bold else "normal"
    text = f"{value:.2f}".replace("-0.00", "0.00")
    axes.text(column, row, text, ha="center", va="center", color=ink, fontweight=weight)


def _label(
    axes: Axes, places: Sequence[float], columns: Sequence[str], rows: Sequence[str], title: str
) -> None:
    axes.set_xlim(-0.5, max(places) + 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.set_xticks(places, columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=_INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    options: dict[str, Any] = {"loc": "left", "fontweight": "bold", "pad": 12}
    axes.set_title(title, **options)
