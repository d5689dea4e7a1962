"""How every figure of this package looks, and how it becomes a file.

Figures are made as objects (``matplotlib.figure.Figure``), never through ``pyplot``: no global state, no
window, safe in threads and in Flower's worker processes. matplotlib takes a third of a second to import, and
comes with the first figure: settings are refused before. Every ``draw_…`` takes plain records or arrays and
returns a figure; given ``axes`` it draws there and returns the figure that holds them, so that plots stand
side by side. Colors are those of Okabe and Ito, which color-blind readers tell apart, and each group has a
marker of its own too.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from flower_coded.errors import ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLORS",
    "MARKERS",
    "add_color_key",
    "describe_figure",
    "figure_bytes",
    "figure_of",
    "label_axes",
    "method_color",
    "new_figure",
    "save_figure",
]

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#b8a900")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# A method has its color in every report: an average that nobody defends is vermilion, what this package adds
# is blue, what others have done against it takes the other hues.
_METHOD_COLORS = {
    COLORS[0]: ("encoded", "joint", "ramp-shared multi-Krum", "keys"),
    COLORS[1]: ("FedAvg", "plain", "plain mean"),
    COLORS[2]: ("multi-Krum, in the clear", "MultiKrum", "krum", "covering"),
    COLORS[3]: ("median", "unknown-obedience"),
    COLORS[4]: ("repetition", "posterior"),
    COLORS[5]: ("trimmed-mean",),
    COLORS[6]: ("majority",),
}
_ENDINGS = {", decoder": COLORS[0], ", majority vote": COLORS[6]}
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#8a949e",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "font.size": 10,
    "grid.color": "#e3e8ec",
    "legend.frameon": False,
    "svg.hashsalt": "flower-coded",
}


def method_color(method: str) -> str | None:
    """Give the color that a method, or a way of reading an ensemble out, has in every report.

    Examples
    --------
    >>> method_color("FedAvg"), method_color("BCC(4,4,12), decoder"), method_color("something new")
    ('#d55e00', '#0072b2', None)
    """
    for color, methods in _METHOD_COLORS.items():
        if method in methods:
            return color
    return next((color for ending, color in _ENDINGS.items() if method.endswith(ending)), None)


def new_figure(num_rows: int = 1, num_columns: int = 1, *, size: tuple[float, float] | None = None) -> Figure:
    """Make a figure with ``num_rows x num_columns`` axes; ``size`` in inches, 6.4 x 4 per axes by default."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size or (6.4 * num_columns, 4.0 * num_rows), layout="constrained")
        figure.subplots(num_rows, num_columns)
    return figure


def figure_bytes(figure: Figure, *, kind: Literal["png", "svg"] = "png") -> bytes:
    """Render a figure; the same figure gives the same bytes."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    metadata: dict[str, Any] = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a PNG or SVG file, by the name's ending, and return the path."""
    target = Path(path)
    kinds: dict[str, Literal["png", "svg"]] = {".png": "png", ".svg": "svg"}
    if target.suffix not in kinds:
        raise ParameterError("path", "must end in .png or .svg", str(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(figure_bytes(figure, kind=kinds[target.suffix]))
    return target


def describe_figure(figure: Figure) -> str:
    """Say what a chart shows, for readers who cannot see it: titles, and how each line runs.

    Examples
    --------
    >>> figure = new_figure()
    >>> _ = figure.axes[0].plot([0, 3], [0.97, 0.081], label="FedAvg")
    >>> label_axes(figure.axes[0], title="Accuracy", x_label="attackers", y_label="accuracy")
    >>> describe_figure(figure)
    'Accuracy: accuracy by attackers; FedAvg from 0.97 at 0 to 0.081 at 3.'
    """
    return " ".join(filter(None, (_describe_axes(axes) for axes in figure.axes)))


def _describe_axes(axes: Axes) -> str:
    lines = []
    for line in axes.get_lines():
        label, points = str(line.get_label()), np.asarray(line.get_xydata(), dtype=np.float64)
        if label.startswith("_") or not len(points):
            continue
        (first_x, first_y), (last_x, last_y) = points[0], points[-1]
        lines.append(f"{label} from {first_y:.3g} at {first_x:.3g} to {last_y:.3g} at {last_x:.3g}")
    title = axes.get_title(loc="left") or axes.get_title()
    by = " by ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))
    head = ": ".join(filter(None, (title, by)))
    return "; ".join(filter(None, [head, *lines])) + "." if head or lines else ""


def label_axes(
    axes: Axes, *, title: str, x_label: str, y_label: str, y_limits: tuple[float, float] | None = None
) -> None:
    """Write title and axis labels, and fix the vertical range with a little air around it."""
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_axisbelow(True)
    if y_limits is not None:
        margin = 0.03 * (y_limits[1] - y_limits[0])
        axes.set_ylim(y_limits[0] - margin, y_limits[1] + margin)


def add_color_key(axes: Axes, colors: Mapping[str, str]) -> None:
    """Say beside the axes what each color stands for, where no line or bar carries a name of its own."""
    from matplotlib.patches import Patch

    axes.legend(
        handles=[Patch(color=color, label=name) for name, color in colors.items()],
        fontsize="small",
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
    )


def figure_of(axes: Axes) -> Figure:
    """Give the figure that holds these axes, sub-figures aside."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure
