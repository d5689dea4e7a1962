"""The scenario and its comparison in this process, and once through a real `flwr run`."""

from __future__ import annotations

import csv
import logging
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from flower_coded.cli.running import run_scenario
from flower_coded.cli.scenario import find_scenario
from flower_coded.reporting import RunDirectory
from flower_coded.testing import InProcessGrid

SCENARIO = Path(__file__).parents[2] / "scenarios" / "contrastive_ecoc"
SHORT = {
    "num-clients": 4,
    "samples-per-user": 60,
    "pretrain-rounds": 1,
    "fine-tune-rounds": 1,
    "retrain-rounds": 1,
    "local-epochs": 1,
    "num-bits": 12,
    "num-attacked": 12,
    "num-steps": 3,
    "num-restarts": 1,
}


@pytest.fixture(autouse=True)
def scenario_on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(SCENARIO))
    logging.getLogger("flwr").setLevel(logging.ERROR)
    yield
    logging.getLogger("flwr").setLevel(logging.INFO)
    for name in [name for name in sys.modules if name.split(".")[0] == "contrastive_ecoc"]:
        del sys.modules[name]


def config_with(**changes: Any) -> dict[str, Any]:
    defaults = tomllib.loads((SCENARIO / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert set(changes) <= set(defaults)
    return {**defaults, **SHORT, **changes}


def run_in_process(out: Path, **changes: Any) -> None:
    from contrastive_ecoc.client_app import app
    from contrastive_ecoc.server_app import main

    config = config_with(out=str(out), **changes)
    grid = InProcessGrid(app, config["num-clients"], config, wire=False)
    main(grid, Context(1, 1, {}, RecordDict(), config))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("variant", ["tfc", "fixed"])
def test_a_run_leaves_tables_pictures_the_code_book_and_a_report(tmp_path: Path, variant: str) -> None:
    run_in_process(tmp_path, variant=variant)
    methods = [row["method"] for row in rows_of(tmp_path / "summary.csv")]
    assert methods == ["softmax", f"output code ({variant})"]
    assert {path.stem for path in tmp_path.glob("*.png")} == {"accuracy", "code-book", "robustness"}
    assert "pgd-surrogate" in rows_of(tmp_path / "summary.csv")[1]
    assert np.load(tmp_path / "code-book.npz")["codewords"].shape == (10, 12)
    page = (tmp_path / "report.html").read_text()
    assert "epsilon 0.1, step 0.02, 3 steps, 1 restarts" in page


@pytest.mark.parametrize(("dataset", "classes"), [("cifar10", 10), ("gtsrb", 43)])
def test_colour_images_and_traffic_signs_run_too(tmp_path: Path, dataset: str, classes: int) -> None:
    directory = os.environ.get("FLOWER_CODED_DATA", "")
    if not directory or not (Path(directory) / dataset).is_dir():
        pytest.skip(f"needs {dataset} in the directory that FLOWER_CODED_DATA names")
    # Fixed code: forty-three classes need not all occur among a few images.
    changes = {"num-clients": 3, "pretrain-rounds": 0, "num-bits": 32}
    run_in_process(tmp_path, dataset=dataset, variant="fixed", **changes)
    assert np.load(tmp_path / "code-book.npz")["codewords"].shape == (classes, 32)
    assert {row["method"] for row in rows_of(tmp_path / "summary.csv")} == {"softmax", "output code (fixed)"}


def test_the_comparison_trains_five_models_in_both_places_and_goes_on(tmp_path: Path) -> None:
    from contrastive_ecoc.comparison import METHODS, Group, run_group
    from contrastive_ecoc.comparison_report import write_comparison

    config, run = config_with(), RunDirectory.create(tmp_path, "comparison", name="run")
    found = [run_group(Group(place, 1), config) for place in ("central", "federated")]
    for place, each in zip(("central", "federated"), found, strict=True):
        assert [record["method"] for record in each.records] == list(METHODS)
        np.savez(run.path / f"code_book_{place}_1.npz", **each.code_books)  # type: ignore[arg-type]
        worst = {record["method"]: record["worst"] for record in each.records}
        assert all(record["worst"] <= record["pgd"] for record in each.records), worst
        # TFC's code book is CFPC's; PF's was made before fine-tuning.
        np.testing.assert_array_equal(each.code_books["ACL-CFPC"], each.code_books["ACL-TFC"])
        assert not np.array_equal(each.code_books["ACL-CFPC"], each.code_books["ACL-PF"])
    run.write_metrics([record for each in found for record in each.records])
    run.write_metrics([record for each in found for record in each.curve], name="robustness")
    table = write_comparison(run, config)
    assert "epsilon 0.1, step 0.02, 3 steps, 1 restarts" in table
    assert {path.stem for path in run.path.glob("*.png")} >= {"accuracies", "robustness"}
    assert len(rows_of(run.path / "summary.csv")) == len(rows_of(run.path / "masking.csv")) == 10
    assert "AutoAttack" in run.report_path.read_text()


@pytest.mark.slow
def test_a_real_run_ends_with_a_report(tmp_path: Path) -> None:
    settings = [f"{key}={value}" for key, value in SHORT.items()]
    outcome, run = run_scenario(
        find_scenario(str(SCENARIO)), settings, results=tmp_path, timeout=600, verbose=False
    )
    log = (run.path / "log.txt").read_text()
    assert outcome.exit_status == 0, log[-3000:]
    assert {record["method"] for record in run.metrics("summary").records()} == {
        "softmax",
        "output code (cfpc)",
    }
    assert run.report_path.stat().st_size > 10_000
