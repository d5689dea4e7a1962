"""What is shipped: every scenario is a publishable Flower app, and the wheel runs what the checkout runs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APPS = sorted(path.parent for path in (ROOT / "scenarios").glob("*/pyproject.toml"))


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # of Flower's own builder
@pytest.mark.parametrize("app", APPS, ids=lambda path: path.name)
def test_every_scenario_is_a_publishable_flower_app(app: Path) -> None:
    from flwr.cli.build import build_fab_from_disk
    from flwr.cli.utils import validate_project_name

    validate_project_name(app.name, "directory")
    bundle = build_fab_from_disk(app)
    assert len(bundle) < 10 * 2**20
    assert (app / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    readme = (app / "README.md").read_text()
    front_matter = readme.split("---")[1]
    assert {line.split(":")[0] for line in front_matter.strip().splitlines()} == {
        "tags",
        "dataset",
        "framework",
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, which is built from the checkout: both have to be whole."""
    directory = tmp_path_factory.mktemp("dist")
    for target, source in (("sdist", ROOT), ("wheel", directory / "unpacked")):
        if target == "wheel":
            [archive] = directory.glob("*.tar.gz")
            subprocess.run(["tar", "xzf", archive, "-C", directory], check=True)
            source = directory / archive.name.removesuffix(".tar.gz")  # noqa: PLW2901
        command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(directory)]
        subprocess.run(command, cwd=source, check=True, capture_output=True)
    [built] = directory.glob("*.whl")
    return built


def test_the_wheel_runs_its_scenarios_from_an_empty_directory(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", "from flower_coded.cli import app; app()"]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*command, *arguments], cwd=empty, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = run("scenarios")
    assert all(app.name in listed for app in APPS)
    run("new", "coded-backdoor", "mine")
    assert _files(empty / "mine") == _files(ROOT / "scenarios" / "coded-backdoor")


def _files(directory: Path) -> set[str]:
    paths = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return {
        str(path) for path in paths if not any(part.startswith((".", "__pycache__")) for part in path.parts)
    }
