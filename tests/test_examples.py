"""Projects before and after: what differs is a few lines, both learn, and two liars ruin only the first."""

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

from flower_coded.crypto.srs_cache import CACHE_VARIABLE
from flower_coded.learning import CodedEnsemble
from flower_coded.testing import InProcessGrid

EXAMPLES = Path(__file__).parents[1] / "examples"
CONFIG = {"num-server-rounds": 2, "local-epochs": 4, "learning-rate": 0.05}


@contextmanager
def project(name: str) -> Iterator[SimpleNamespace]:
    """Import a project's modules as Flower does, and forget them afterwards: both have the same package."""
    sys.path.insert(0, str(EXAMPLES / name))
    try:
        package = "_".join(name.split("-")[:2])
        names = ("client_app", "server_app", "task")
        yield SimpleNamespace(**{each: importlib.import_module(f"{package}.{each}") for each in names})
    finally:
        sys.path.remove(str(EXAMPLES / name))
        for module in [module for module in sys.modules if module.split(".")[0] == package]:
            del sys.modules[module]


def run(apps: SimpleNamespace, model_path: Path, num_nodes: int = 8, **changes: Any) -> None:
    settings = {key.replace("_", "-"): value for key, value in changes.items()}
    config: dict[str, Any] = {**CONFIG, "model-path": str(model_path), **settings}
    grid = InProcessGrid(apps.client_app.app, num_nodes=num_nodes, run_config=config)
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
@pytest.mark.parametrize(
    "name", ["drop-in-before", "drop-in-after", "fine-tuning-before", "fine-tuning-after"]
)
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


def test_fine_tuning_differs_in_four_lines_of_code_and_one_dependency() -> None:
    before, after = EXAMPLES / "fine-tuning-before", EXAMPLES / "fine-tuning-after"
    added: dict[str, list[str]] = {}
    for path in sorted(before.rglob("*.py")):
        old = path.read_text().splitlines()
        new = (after / path.relative_to(before)).read_text().splitlines()
        own = [line for line in new if line not in old and not line.startswith('"""')]
        if own:
            added[path.name] = own
    assert {name: len(lines) for name, lines in added.items()} == {"client_app.py": 2, "server_app.py": 2}
    assert not any("flower_coded" in path.read_text() for path in before.rglob("*.py"))
    changed = set((after / "pyproject.toml").read_text().splitlines())
    assert len(changed - set((before / "pyproject.toml").read_text().splitlines())) == 3


def with_two_liars(apps: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the users 3 and 8 send ten times the opposite of what they learned."""
    load, train = apps.client_app.load_partition, apps.client_app.train
    liars: list[Any] = []

    def load_partition(partition_id: int, num_partitions: int) -> Any:
        batches = load(partition_id, num_partitions)
        liars.extend([batches] if partition_id in {3, 8} else [])
        return batches

    def train_and_lie(model: Any, batches: Any, *options: Any) -> float:
        trained = [each for each in model.parameters() if each.requires_grad]
        before = [each.detach().clone() for each in trained]
        loss: float = train(model, batches, *options)
        if any(batches is each for each in liars):
            for each, start in zip(trained, before, strict=True):
                each.data = start - 10 * (each.data - start)
        return loss

    monkeypatch.setattr(apps.client_app, "load_partition", load_partition)
    monkeypatch.setattr(apps.client_app, "train", train_and_lie)


def accuracy_of_fine_tuning(name: str, path: Path, patch: pytest.MonkeyPatch | None = None) -> float:
    import torch

    with project(name) as apps:
        if patch:
            with_two_liars(apps, patch)
        torch.manual_seed(0)
        run(apps, path, num_nodes=12, learning_rate=0.01)
        server = apps.server_app
        model = server.get_model()
        trained = torch.load(path, weights_only=True)
        assert sum(each.numel() for each in trained.values()) < 0.4 * sum(
            each.numel() for each in model.parameters()
        )
        server.set_peft_model_state_dict(model, trained)
        measured: float = server.measure(model, *server.load_test())
    return measured


def test_fine_tuning_before_learns_without_peft_and_two_liars_ruin_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # as where it is not installed
    assert accuracy_of_fine_tuning("fine-tuning-before", tmp_path / "a.pt") > 0.8
    assert accuracy_of_fine_tuning("fine-tuning-before", tmp_path / "b.pt", monkeypatch) < 0.6


def test_fine_tuning_before_learns_with_peft(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs the extra: pip install 'flower-coded[peft]'")
    assert accuracy_of_fine_tuning("fine-tuning-before", tmp_path / "a.pt") > 0.8


@pytest.mark.slow
def test_fine_tuning_after_learns_beside_two_liars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    assert accuracy_of_fine_tuning("fine-tuning-after", tmp_path / "a.pt", monkeypatch) > 0.8
