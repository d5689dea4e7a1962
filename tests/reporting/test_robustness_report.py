"""The robustness report: cells against arithmetic, what is missing said so, one page with everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flower_coded.errors import ParameterError
from flower_coded.reporting.heat_map import draw_cells, draw_heat_map
from flower_coded.reporting.robustness_report import (
    RobustnessResults,
    draw_robustness,
    robustness_report,
    write_robustness_report,
)
from flower_coded.reporting.run_directory import RunDirectory


def record(defense: str, attack: str, seed: int, accuracy: float, **found: Any) -> dict[str, Any]:
    attackers = 2 * (attack != "none")
    known = {"defense": defense, "attack": attack, "seed": seed, "attackers": attackers, "alpha": "iid"}
    return {**known, "status": "done", "accuracy": accuracy, "megabytes-per-round": 3.0, **found}


RECORDS = [
    record("fedavg", "none", 1, 0.9),
    record("fedavg", "none", 2, 0.8),
    record(
        "fedavg", "sign-flip", 1, 0.3, **{"accuracy-loss": 0.6, "true-positives": 0, "false-negatives": 6}
    ),
    record(
        "fedavg", "sign-flip", 2, 0.1, **{"accuracy-loss": 0.7, "true-positives": 2, "false-negatives": 4}
    ),
    record("fedavg", "pixel-trigger", 1, 0.9, **{"attack-success": 0.75, "accuracy-loss": 0.0}),
    record("fedavg", "pixel-trigger", 2, 0.8, **{"attack-success": 0.55, "accuracy-loss": 0.0}),
    record("median", "pixel-trigger", 2, 0.8, **{"attack-success": 0.1, "accuracy-loss": 0.05}),
    record("median", "none", 1, 0.85, **{"false-positives": 3, "certified-accuracy": 0.5}),
    record("median", "none", 2, 0.85, **{"false-positives": 5, "certified-accuracy": 0.5}),
    record("median", "sign-flip", 1, 0.95, **{"accuracy-loss": -0.10}),
    record("median", "sign-flip", 2, 0.81, **{"accuracy-loss": 0.04}),
    {**record("median", "pixel-trigger", 1, 0.0), "status": "failed", "error": "ValueError: <no>"},
]


def the_results() -> RobustnessResults:
    [part] = RobustnessResults.split(RECORDS)
    return part


def test_cells_are_means_over_seeds_and_missing_ones_are_not_a_number() -> None:
    part = the_results()
    assert part.attacks == ["none", "pixel-trigger", "sign-flip"], "clean, backdoors, others"
    np.testing.assert_allclose(part.accuracy(), [[0.85, 0.85, 0.2], [0.85, np.nan, 0.88]])
    # Losses of -0.10 and 0.04 are -0.03 on average: no harm, rather than half of the second.
    np.testing.assert_allclose(part.harm(), [[0.65, 0.65], [np.nan, 0.0]], err_msg="no harm below zero")


def test_detection_is_counted_over_all_attacks_together() -> None:
    precision, recall, f1 = the_results().detection("fedavg")  # 2 named, both rightly; 2 of 12
    assert (precision, recall, f1) == (1.0, pytest.approx(2 / 12), pytest.approx(4 / 14))
    assert all(np.isnan(value) for value in the_results().detection("median"))


def test_every_class_mix_and_number_of_attackers_has_a_report_of_its_own() -> None:
    more = [{**r, "alpha": "0.5"} for r in RECORDS] + [
        {**r, "attackers": 4} for r in RECORDS if r["attack"] == "sign-flip"
    ]
    parts = RobustnessResults.split([*RECORDS, *more])
    assert [(s.alpha, s.attackers) for s in parts] == [("iid", 2), ("0.5", 2), ("iid", 4)]
    assert parts[2].attacks == ["none", "sign-flip"]


def test_the_picture_says_every_number_and_what_there_is_not() -> None:
    accuracy, harm, properties = draw_robustness(the_results(), title="T").axes
    texts = [text.get_text() for text in accuracy.texts]
    assert texts.count("n/a") == 2, "the cell, and the worst of its row, which is not known"
    assert "0.20" in texts
    assert [label.get_text() for label in harm.get_xticklabels()] == [
        "pixel-trigger\n(success)".replace("-t", "-\nt"),
        "sign-flip\n(accuracy lost)",
        "worst",
    ]
    assert harm.get_xlim() == accuracy.get_xlim(), "columns stand in line"
    assert "0.50" in [text.get_text() for text in properties.texts]


def test_the_page_holds_pictures_tables_and_failures_and_no_outside_resource(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    written = write_robustness_report(run, RECORDS, title="The <report>")
    assert [path.name for path in written] == ["robustness.png", "report.html"]
    page = run.report_path.read_text()
    assert "The &lt;report&gt;" in page
    assert "ValueError: &lt;no&gt;" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("<table>") == 3


def test_a_grid_of_clean_runs_only_has_a_report_too() -> None:
    clean = [r for r in RECORDS if r["attack"] == "none"]
    [part] = RobustnessResults.split(clean)
    assert len(draw_robustness(part, title="T").axes) == 2
    assert "Accuracy" in robustness_report([part], clean, title="T").to_html()


def test_heat_map__names_the_worst_of_each_row() -> None:
    values = np.array([[0.9, 0.1], [0.5, 0.6]])
    for worst, expected in (("min", ["0.10", "0.50"]), ("max", ["0.90", "0.60"])):
        figure = draw_heat_map(values, ["a", "b"], ["x", "y"], title="T", worst=worst)  # type: ignore[arg-type]
        texts = [text for text in figure.axes[0].texts if text.get_fontweight() == "bold"]
        assert [text.get_text() for text in texts] == expected


def test_heat_map__refuses_names_that_do_not_fit() -> None:
    with pytest.raises(ParameterError, match="values must have shape"):
        draw_heat_map(np.zeros((2, 2)), ["a"], ["x", "y"], title="T", worst="min")


def test_cells__say_so_where_there_is_nothing() -> None:
    figure = draw_cells([["1", ""]], ["a"], ["x", "y"], title="T")
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "–"]


def test_a_sweep_that_is_not_complete_says_so_first() -> None:
    parts = RobustnessResults.split(RECORDS)
    page = robustness_report(parts, RECORDS, title="T", num_planned=216).to_html()
    assert page.index(f"{len(RECORDS)} of 216 runs") < page.index("Every cell is a mean")
    assert (
        "Not complete" not in robustness_report(parts, RECORDS, title="T", num_planned=len(RECORDS)).to_html()
    )
