"""The scenario private_regression: in this process, its figures in small, the whole through ``flwr run``."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from flower_coded.errors import NoRoundSucceededError, ParameterError
from flower_coded.reporting import Report, RunDirectory
from flower_coded.testing import InProcessGrid

SCENARIO = Path(__file__).parents[2] / "scenarios" / "private-regression"
CONFIG = tomllib.loads((SCENARIO / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCENARIO))


def run_in_process(out: Path, **settings: object) -> dict[str, float]:
    from private_regression_app.client_app import app as client_app
    from private_regression_app.server_app import app as server_app

    settings = {"sweep_repetitions": 0} | settings
    config = CONFIG | {"out": str(out)} | {key.replace("_", "-"): value for key, value in settings.items()}
    grid = InProcessGrid(client_app, int(config["num-clients"]), config, wire=False)
    server_app(grid, Context(1, 1, {}, RecordDict(), config))
    [metrics] = json.loads((out / "metrics.json").read_text())
    return metrics


@pytest.mark.parametrize("attack", ["strong-collusion", "constraint-length"])
def test_regression__equals_scikit_learns_within_the_promise_while_four_lie(tmp_path, attack) -> None:
    metrics = run_in_process(tmp_path, attack=attack)
    assert metrics["promised"] <= CONFIG["accuracy"]
    assert metrics["relative error"] <= metrics["error bound"] <= metrics["promised"]
    assert metrics["error bound"] <= 100 * metrics["relative error"]
    assert metrics["bits leaked at most"] <= CONFIG["max-bits"]
    assert CONFIG["num-colluders"] >= CONFIG["num-byzantine"] == int(CONFIG["attackers"])
    assert (metrics["liars named"], metrics["liars"], metrics["silent"]) == (4, 4, 2)
    for each in json.loads((tmp_path / "coefficients.json").read_text()):
        assert each["outsourced"] == pytest.approx(each["scikit-learn"], rel=1e-3)
    page = (tmp_path / "report.html").read_text()
    assert "The promise was kept; exactly the liars were named" in page


def test_regression__on_a_real_table_is_within_the_promise(tmp_path, data_directory) -> None:
    table = (data_directory / "tables" / "airfoil_self_noise.csv").resolve()
    if not table.is_file():
        pytest.skip(f"no table at {table}")
    metrics = run_in_process(tmp_path, data=str(table))
    assert metrics["relative error"] <= metrics["error bound"] <= metrics["promised"] <= CONFIG["accuracy"]


def test_too_many_liars__are_reported_instead_of_coefficients(tmp_path) -> None:
    with pytest.raises(NoRoundSucceededError, match="too few right results"):
        run_in_process(tmp_path, attackers="23", attack="full-noise")
    assert json.loads((tmp_path / "metrics.json").read_text()) == [{"decoded": 0}]
    assert "Nothing could be trusted" in (tmp_path / "report.html").read_text()


def test_accuracy__that_cannot_be_promised_is_refused_before_anything_is_sent(tmp_path) -> None:
    with pytest.raises(ParameterError, match="accuracy must be at least"):
        run_in_process(tmp_path, max_bits=1e-6)


def test_privacy_table__pays_for_bits_with_precision(tmp_path) -> None:
    run_in_process(tmp_path)
    rows = json.loads((tmp_path / "privacy.json").read_text())
    assert [row["bits per position"] for row in rows] == pytest.approx([1, 0.1, 0.01, 1e-3, 1e-4], rel=1e-3)
    errors = [row["equations promised"] for row in rows]
    assert errors == sorted(errors)


def test_task__refuses_tables_it_cannot_scale_or_find(tmp_path) -> None:
    from private_regression_app.task import Task

    with pytest.raises(ParameterError, match="absolute path"):
        Task.load("table.csv")
    path = tmp_path / "constant.csv"
    path.write_text("a,b\n1,2\n1,2\n")
    with pytest.raises(ParameterError, match="column that varies"):
        Task.load(str(path))


def test_sweeps__have_the_shapes_of_the_papers_figures(tmp_path, monkeypatch) -> None:
    """A small version of the 1000 repetitions; differences of several dB survive it."""
    from private_regression_app import figures
    from private_regression_app.figures import add_figures, index_sets, sweep

    monkeypatch.setattr(figures, "NOISE_VARIANCES", (0.1,))
    swept = {"localization": sweep("localization", 6, 7), "assignment": sweep("assignment", 20, 7)}
    errors = {
        (each["noise variance"], each["liars"], each["decoder"]): each["average relative error, dB"]
        for each in swept["localization"]
    }
    for liars in range(9):
        subspace = errors[0.1, liars, "subspace"]
        assert subspace == pytest.approx(errors[0.1, liars, "oracle"], abs=0.5)
        assert errors[0.1, liars, "keys"] == pytest.approx(errors[0.1, liars, "oracle"], abs=0.1)
        assert subspace <= errors[0.1, liars, "joint"] + 0.5
        if liars:
            assert subspace < errors[0.1, liars, "plain"] - 5
    assert errors[0.1, 16, "keys"] == pytest.approx(errors[0.1, 16, "oracle"], abs=0.1)
    located = {
        (each["noise variance"], each["indices"], each["decoder"]): each["exactly located"]
        for each in swept["assignment"]
    }
    assert located[1.0, "chord distance", "independent"] > located[1.0, "contiguous", "independent"] + 0.1
    assert index_sets(1.0)["index distance"] == (0, 2, 5, 8, 10)
    swept["collusion"] = [
        {
            "attack": attack,
            "value": value,
            "decoder": "joint",
            "average relative error, dB": value,
            "exactly located": 1.0,
        }
        for attack in ("strong, ones in a row", "weak, probability of a zero", "constraint length aware, v'")
        for value in (1.0, 2.0)
    ]
    add_figures(Report("Figures"), RunDirectory(tmp_path), swept, "Six repetitions.")
    assert len(list(tmp_path.glob("figure_*.png"))) == 6


@pytest.mark.experiment
def test_figure_6__colluders_hurt_a_decoder_that_looks_at_random_suspects(tmp_path) -> None:
    from private_regression_app.figures import sweep

    found = {
        (each["attack"].split(",")[0], each["value"], each["decoder"]): each["average relative error, dB"]
        for each in sweep("collusion", 200, 7)
    }
    random, voted = "joint, v' = 8, chance", "joint, v' = 8, votes"
    full = found["strong", 8, random]
    assert found["strong", 7, random] > full + 0.5
    assert found["weak", 0.257, random] > full + 0.3
    assert found["strong", 7, voted] < full - 2
    assert np.ptp([value for (_, _, name), value in found.items() if name == "subspace"]) < 1


@pytest.mark.slow
def test_flwr_run__ends_well_and_writes_the_report(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "flower-coded"
    done = subprocess.run(
        [command, "run", str(SCENARIO), "sweep-repetitions=0", "--results", str(tmp_path), "--name", "test"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [page] = tmp_path.rglob("report.html")
    assert "exactly the liars were named" in page.read_text()
