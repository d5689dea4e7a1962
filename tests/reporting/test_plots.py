"""Charts and pictures: what is drawn is what the records say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flower_coded.errors import ParameterError
from flower_coded.reporting import (
    COLORS,
    draw_bars,
    draw_images,
    draw_lines,
    draw_matrix,
    mark_bars,
    new_figure,
    save_figure,
)

RECORDS = [
    {"attackers": attackers, "accuracy": accuracy + shift, "method": method}
    for method, accuracies in {"FedAvg": [0.9, 0.5], "BCC": [0.8, 0.8]}.items()
    for attackers, accuracy in enumerate(accuracies)
    for shift in (0.0, 0.1)
]


def test_draw_lines__draws_the_mean_of_repetitions() -> None:
    axes = draw_lines(RECORDS, x="attackers", y="accuracy", group="method").axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(drawn["FedAvg"], [0.95, 0.55])
    np.testing.assert_allclose(drawn["BCC"], [0.85, 0.85])


def test_draw_lines__leaves_out_what_is_not_finite() -> None:
    records = [
        {"x": 0, "y": 1.0, "g": "a"},
        {"x": 1, "y": float("nan"), "g": "a"},
        {"x": 2, "y": None, "g": "a"},
    ]
    axes = draw_lines(records, x="x", y="y", group="g").axes[0]
    assert list(axes.lines[0].get_xdata()) == [0]


def test_a_fixed_color_is_kept_from_the_others() -> None:
    axes = draw_lines(RECORDS, x="attackers", y="accuracy", group="method", colors={"BCC": COLORS[0]}).axes[0]
    assert [line.get_color() for line in axes.lines] == [COLORS[1], COLORS[0]]


def test_draw_bars__stands_groups_side_by_side() -> None:
    axes = draw_bars(RECORDS, x="attackers", y="accuracy", group="method").axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, [0.95, 0.55, 0.85, 0.85])
    assert len({round(bar.get_x(), 6) for bar in axes.patches}) == 4


def test_draw_bars__needs_no_group() -> None:
    axes = draw_bars([{"u": "a", "v": 1.0}, {"u": "b", "v": 2.0}], x="u", y="v").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert axes.get_legend() is None


def test_draw_matrix__shades_ones_and_marks_columns() -> None:
    axes = draw_matrix(np.array([[True, False], [True, True]]), highlight_columns=[1]).axes[0]
    image = np.asarray(axes.images[0].get_array())
    blue, vermilion = (np.array([int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for c in COLORS[:2])
    np.testing.assert_allclose(image[0, 0], blue)
    np.testing.assert_allclose(image[1, 1], vermilion)
    assert image[0, 1].min() > 0.9  # no entry: close to white
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["attackers", "others"]


def test_a_method_has_the_same_color_wherever_it_stands() -> None:
    for names in (["FedAvg", "krum", "BCC(4,4,12), decoder"], ["BCC(2,6,12), decoder", "new", "FedAvg"]):
        records = [{"x": 0, "y": 0.5, "g": name} for name in names]
        lines = draw_lines(records, x="x", y="y", group="g").axes[0].lines
        colors = dict(zip(names, (line.get_color() for line in lines), strict=True))
        assert colors["FedAvg"] == COLORS[1]
        assert next(color for name, color in colors.items() if "decoder" in name) == COLORS[0]
        assert len(set(colors.values())) == 3


def test_mark_bars__says_whose_bars_have_which_color() -> None:
    figure = draw_bars([{"u": u, "v": 1.0} for u in "abc"], x="u", y="v")
    mark_bars(figure.axes[0], [False, True, False], name="attackers", others="honest")
    colors = [bar.get_facecolor()[:3] for bar in figure.axes[0].patches]
    assert colors[0] == colors[2] != colors[1]
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == {"attackers", "honest"}


def test_draw_matrix__refuses_what_is_no_matrix() -> None:
    with pytest.raises(ParameterError, match="two axes"):
        draw_matrix(np.zeros(3))


@pytest.mark.parametrize("channels", [1, 3])
def test_draw_images__shows_each_image_once(channels: int) -> None:
    figure = draw_images(np.full((5, channels, 4, 4), 0.5), titles=list("abcde"), num_columns=3, title="all")
    assert [axes.get_title() for axes in figure.axes if axes.images] == list("abcde")
    assert len(figure.axes) == 6


def test_draw_images__refuses_a_batch_without_channels() -> None:
    with pytest.raises(ParameterError, match="shape"):
        draw_images(np.zeros((5, 4, 4)))


def test_plots_stand_side_by_side_in_one_figure() -> None:
    figure = new_figure(1, 2)
    draw_lines(RECORDS, x="attackers", y="accuracy", group="method", axes=figure.axes[0])
    assert draw_matrix(np.eye(2), axes=figure.axes[1]) is figure


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_save_figure__writes_the_kind_its_name_says_and_the_same_bytes_twice(
    tmp_path: Path, ending: str, start: bytes
) -> None:
    contents = [save_figure(draw_matrix(np.eye(2)), tmp_path / f"{i}.{ending}").read_bytes() for i in (1, 2)]
    assert contents[0].startswith(start)
    assert contents[0] == contents[1]


def test_save_figure__refuses_another_ending(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"\.png or \.svg"):
        save_figure(draw_matrix(np.eye(2)), tmp_path / "x.jpg")


def test_draw_lines__draws_the_lower_of_two_equal_curves_wider() -> None:
    points = {"encoded": [3.0, 1.0], "repetition": [3.0, 1.001], "plain": [9.0, 9.0]}
    records = [{"m": m, "x": x, "y": y} for m, ys in points.items() for x, y in enumerate(ys)]
    encoded, repetition, plain = draw_lines(records, x="x", y="y", group="m").axes[0].get_lines()
    assert encoded.get_linewidth() > 2 * repetition.get_linewidth()
    assert repetition.get_linewidth() == plain.get_linewidth()


def test_draw_lines__on_a_logarithmic_scale_leaves_out_zero_and_widens_only_what_is_covered_there() -> None:
    curves = {"a": (1e-6, 1e-3), "b": (1e-6, 1e-3), "c": (1e2, 1e4), "d": (1e-3, 1e-6)}
    records = [{"x": i, "y": y, "g": name} for name, ys in curves.items() for i, y in enumerate((*ys, 0.0))]
    axes = draw_lines(records, x="x", y="y", group="g", y_scale="log").axes[0]
    assert axes.get_yscale() == "log"
    assert [len(line.get_xdata()) for line in axes.lines] == [2, 2, 2, 2]
    widths = [line.get_linewidth() for line in axes.lines]
    assert widths[0] > widths[1] == widths[2] == widths[3]
