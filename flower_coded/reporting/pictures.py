"""Pictures: a matrix cell by cell (a code, a confusion matrix, distances) and rows of small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.reporting.figures import COLORS, add_color_key, figure_of, label_axes, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_images", "draw_matrix"]


def draw_matrix(
    matrix: NDArray[Any],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    show_values: bool = False,
    highlight_columns: Sequence[int] = (),
    highlight_name: str = "attackers",
    limits: tuple[float, float] | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw a matrix cell by cell: a code matrix (bool), a confusion matrix, a map of distances.

    Parameters
    ----------
    matrix : ndarray of shape (rows, columns)
        Bool or numbers; dark is large.
    title, x_label, y_label : str
        Words of the plot.
    show_values : bool
        Print the numbers into the cells.
    highlight_columns : sequence of int
        Columns drawn in another color, with a legend: attackers, liars.
    highlight_name : str
        What they are, for the legend.
    limits : (float, float), optional
        Values of the lightest and the darkest cell; the matrix's own range by default.
    axes : Axes, optional
        Where to draw; a new figure sized to the matrix by default.
    """
    values = np.asarray(matrix, dtype=float)
    if values.ndim != 2 or values.size == 0:
        raise ParameterError("matrix", "must have two axes and at least one cell", values.shape)
    rows, columns = values.shape
    legend_width = 1.1 if highlight_columns else 0.0
    size = (max(3.2, 0.34 * columns + 1.4) + legend_width, max(2.2, 0.34 * rows + 1.2))
    drawn = axes if axes is not None else new_figure(size=size).axes[0]
    low, high = limits or (min(0.0, float(np.nanmin(values))), float(np.nanmax(values)) or 1.0)
    shade = np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
    drawn.imshow(_colored(shade, set(highlight_columns)), aspect="equal", interpolation="nearest")
    drawn.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    drawn.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    drawn.grid(visible=False, which="major")
    drawn.grid(visible=True, which="minor", color="white", linewidth=1.5)
    drawn.tick_params(which="both", length=0)
    drawn.set_xticks(range(columns))
    drawn.set_yticks(range(rows))
    if max(rows, columns) > 20:
        from matplotlib.ticker import MaxNLocator

        drawn.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
        drawn.yaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    for spine in drawn.spines.values():
        spine.set_visible(False)
    if show_values:
        for (row, column), value in np.ndenumerate(values):
            ink = "white" if shade[row, column] > 0.55 else "#1d2733"
            drawn.text(column, row, f"{value:g}", ha="center", va="center", color=ink, fontsize="small")
    label_axes(drawn, title=title, x_label=x_label, y_label=y_label)
    if highlight_columns:
        add_color_key(drawn, {highlight_name: COLORS[1], "others": COLORS[0]})
    return figure_of(drawn)


def draw_images(
    images: NDArray[Any], *, titles: Sequence[str] = (), num_columns: int = 6, title: str = ""
) -> Figure:
    """Draw images of shape ``(N, C, H, W)`` in [0, 1] (one or three channels) in rows of ``num_columns``.

    Examples
    --------
    >>> draw_images(np.zeros((3, 1, 8, 8)), titles=["a", "b", "c"]).axes[1].get_title()
    'b'
    """
    if images.ndim != 4 or images.shape[1] not in {1, 3} or len(images) == 0:
        raise ParameterError(
            "images", "must have the shape (N, 1 or 3, H, W) with N at least 1", images.shape
        )
    columns = min(num_columns, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(
        rows, columns, size=(1.25 * columns, (1.25 + 0.3 * bool(titles)) * rows + 0.4 * bool(title))
    )
    for index, axes in enumerate(figure.axes):
        axes.set_axis_off()
        if index < len(images):
            image = np.clip(np.moveaxis(images[index], 0, -1), 0.0, 1.0)
            axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
            axes.set_title(
                titles[index] if index < len(titles) else "", fontsize="small", fontweight="normal"
            )
    if title:
        figure.suptitle(title, fontsize="medium", fontweight="bold")
    return figure


def _colored(shade: NDArray[np.float64], highlighted: set[int]) -> NDArray[np.float64]:
    from matplotlib.colors import to_rgb

    light, blue, vermilion = (np.array(to_rgb(c)) for c in ("#eef2f5", COLORS[0], COLORS[1]))
    dark = np.array([vermilion if column in highlighted else blue for column in range(shade.shape[1])])
    colored: NDArray[np.float64] = light + shade[:, :, None] * (dark[None, :, :] - light)
    return colored
