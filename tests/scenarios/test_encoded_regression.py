"""The scenario encoded_regression: its parts in this process, and the whole through ``flwr run``."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from sklearn.linear_model import LinearRegression

from flower_coded.attacks.worker_errors import Scaled
from flower_coded.codes import RealErrorLocatingCode
from flower_coded.errors import ParameterError
from flower_coded.protocols.encoded_gradient import AcceleratedStep, Faults, run_encoded, smoothness
from flower_coded.testing import InProcessGrid

SCENARIO = Path(__file__).parents[2] / "scenarios" / "encoded-regression"
CONFIG = tomllib.loads((SCENARIO / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCENARIO))


def run_in_process(out: Path, **settings: object) -> Path:
    from encoded_regression_app.client_app import app as client_app
    from encoded_regression_app.server_app import app as server_app

    config = CONFIG | {"out": str(out)} | {key.replace("_", "-"): value for key, value in settings.items()}
    grid = InProcessGrid(client_app, int(config["num-clients"]), config, wire=False)
    server_app(grid, Context(1, 1, {}, RecordDict(), config))
    return out


@pytest.mark.parametrize("data", ["diabetes", "breast-cancer"])
def test_scenario__is_exact_under_attack_and_names_the_liars(tmp_path: Path, data: str) -> None:
    out = run_in_process(tmp_path, data=data, num_server_rounds=8, attackers="0,3,6,9,12", stragglers="1,2")
    final = {each["method"]: each["distance"] for each in json.loads((out / "metrics.json").read_text())}
    # The same descent but for a step chosen to one part in a thousand.
    assert final["encoded"] == pytest.approx(final["repetition"], rel=1e-3)
    assert final["plain"] > 1.05 * final["encoded"]
    assert set(final) == {"encoded", "plain", "repetition", "median", "trimmed-mean", "krum"}
    workers = json.loads((out / "workers.json").read_text())
    assert [each["worker"] for each in workers if each["rounds located"] == 8] == [0, 3, 6, 9, 12]
    assert [each["worker"] for each in workers if each["rounds missing"] == 8] == [1, 2]
    costs = json.loads((out / "costs.json").read_text())
    for each in costs:
        assert each["numbers per worker, formula"] == each["numbers per worker, stored"]
    assert "Who was located" in (out / "report.html").read_text()
    assert (out / "distance.png").is_file()


def test_scenario__goes_on_without_a_method_that_gives_up(tmp_path: Path) -> None:
    # Six Gaussian liars among fifteen: past repetition's five, not past the code of t = 6.
    run_in_process(
        tmp_path,
        num_server_rounds=2,
        num_errors=6,
        num_erasures=0,
        attack="gaussian",
        attackers="6",
        stragglers="0",
    )
    methods = {each["method"] for each in json.loads((tmp_path / "metrics.json").read_text())}
    assert {"encoded", "plain", "krum"} <= methods


@pytest.mark.parametrize(
    "settings",
    [
        {"lasso": 50.0, "ridge": 0.0},
        {"ridge": 0.0},
        {"step-size-rule": "backtracking"},
        {"objective": "poisson", "step-size-rule": "backtracking"},
    ],
)
def test_task__runs_every_objective(tmp_path: Path, settings: dict[str, object]) -> None:
    out = run_in_process(tmp_path, num_server_rounds=3, **settings)
    final = {each["method"]: each["distance"] for each in json.loads((out / "metrics.json").read_text())}
    assert np.isfinite(final["encoded"])


def test_real_table__gives_scikit_learn_s_optimum_to_1e_6_under_attack(data_directory: Path) -> None:
    from encoded_regression_app.task import load_task

    table = (data_directory / "tables" / "airfoil_self_noise.csv").resolve()
    if not table.is_file():
        pytest.skip(f"no table at {table}")
    task = load_task(CONFIG | {"data": str(table), "ridge": 0.0})
    assert task.features.shape == (1503, 6)
    check_optimum(task)


def test_unseen_table__gives_scikit_learn_s_optimum_to_1e_6_under_attack(tmp_path: Path) -> None:
    from encoded_regression_app.task import load_task

    generator = np.random.default_rng(0)
    table = np.column_stack([generator.gamma(2.0, 5.0, (300, 4)), generator.standard_normal(300) * 100])
    path = tmp_path / "table.csv"
    np.savetxt(path, table, delimiter=",", header="a,b,y,c,d", comments="")
    task = load_task(CONFIG | {"data": str(path), "target": "y", "ridge": 0.0})
    np.testing.assert_allclose(task.targets, table[:, 2])
    check_optimum(task)


def check_optimum(task: object) -> None:
    rule = AcceleratedStep(1 / smoothness(task.objective, task.features))
    descent = run_encoded(
        RealErrorLocatingCode(15, 5, 2),
        task.features,
        task.targets,
        objective=task.objective,
        step_size_rule=rule,
        num_iterations=300,
        faults=Faults(dict.fromkeys((0, 2, 5, 8, 11), Scaled()), frozenset({3, 4})),
    )
    reference = LinearRegression().fit(task.features[:, :-1], task.targets)
    expected = np.append(reference.coef_, reference.intercept_)
    np.testing.assert_allclose(descent.weights[-1], expected, rtol=0, atol=1e-6 * np.linalg.norm(expected))
    np.testing.assert_allclose(task.optimum(), expected, rtol=1e-8)


def test_data__must_be_known_or_an_absolute_path(tmp_path: Path) -> None:
    from encoded_regression_app.task import load_task

    with pytest.raises(ParameterError, match="absolute path"):
        load_task(CONFIG | {"data": "table.csv"})
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(ParameterError, match="one of a, b"):
        load_task(CONFIG | {"data": str(tmp_path / "t.csv"), "target": "c"})


@pytest.mark.slow
def test_flwr_run__ends_well_and_writes_the_report(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "flower-coded"
    done = subprocess.run(
        [command, "run", str(SCENARIO), "num-server-rounds=3", "--results", str(tmp_path), "--name", "test"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [page] = tmp_path.rglob("report.html")
    assert "Regression while workers lie" in page.read_text()
