"""The project before and after: what differs is one file, both learn, and two liars ruin only the first."""

from __future__ import annotations

import filecmp
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from flower_coded.learning import CodedEnsemble
from flower_coded.testing import InProcessGrid

EXAMPLES = Path(__file__).parents[1] / "examples"
CONFIG = {"num-server-rounds": 2, "local-epochs": 4, "learning-rate": 0.05}


@contextmanager
def project(name: str) -> Iterator[SimpleNamespace]:
    """Import a project's modules as Flower does, and forget them afterwards: both have the same package."""
    sys.path.insert(0, str(EXAMPLES / name))
    try:
        names = ("client_app", "server_app", "task")
        yield SimpleNamespace(**{each: importlib.import_module(f"drop_in.{each}") for each in names})
    finally:
        sys.path.remove(str(EXAMPLES / name))
        for module in [module for module in sys.modules if module.split(".")[0] == "drop_in"]:
            del sys.modules[module]


def run(apps: SimpleNamespace, model_path: Path) -> None:
    config: dict[str, Any] = {**CONFIG, "model-path": str(model_path)}
    grid = InProcessGrid(apps.client_app.app, num_nodes=8, run_config=config)
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=config)
    apps.server_app.app(grid, context)


def test_one_file_and_one_dependency_differ() -> None:
    before, after = EXAMPLES / "drop-in-before", EXAMPLES / "drop-in-after"
    for path in (path for path in before.rglob("*") if path.is_file() and path.suffix in {".py", ""}):
        same = filecmp.cmp(path, after / path.relative_to(before), shallow=False)
        assert same is (path.name != "server_app.py"), path
    changed = set((after / "pyproject.toml").read_text().splitlines())
    assert len(changed - set((before / "pyproject.toml").read_text().splitlines())) == 4


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # of Flower's own builder
@pytest.mark.parametrize("name", ["drop-in-before", "drop-in-after"])
def test_an_example_is_a_publishable_app(name: str) -> None:
    from flwr.cli.build import build_fab_from_disk

    assert build_fab_from_disk(EXAMPLES / name)


def test_the_project_before_learns(tmp_path: Path) -> None:
    import torch

    with project("drop-in-before") as apps:
        run(apps, tmp_path / "model.pt")
        net = apps.task.Net()
        net.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
        _, accuracy = apps.task.measure(net, *apps.task.load_test())
    assert accuracy > 0.5


def test_the_project_after_leaves_an_ensemble_that_its_readme_can_read(tmp_path: Path) -> None:
    with project("drop-in-after") as apps:
        run(apps, tmp_path / "ensemble.npz")
        ensemble = CodedEnsemble.load(tmp_path / "ensemble.npz", apps.task.Net())
        images, labels = (tensor.numpy() for tensor in apps.task.load_test())
        assert np.mean(ensemble.predict(images) == labels) > 0.5
        assert 0 <= ensemble.attack_probability(images).max() <= 1
