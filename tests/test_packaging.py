"""What is shipped: every scenario is a publishable Flower app, and the wheel runs what the checkout runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import flower_coded

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


def test_the_conda_recipe_asks_for_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())
    other_names = {
        "torch": "pytorch",
        "matplotlib": "matplotlib-base",
        "flwr[simulation]": "flwr",
        "py_ecc": "py-ecc",
    }
    wanted = set()
    for dependency in project["dependencies"]:
        name, bound = dependency.split(">=")
        wanted.add(f"{other_names.get(name, name)} >={bound}")
    # Flower's extra for simulations is Ray, which conda-forge knows as a package of its own.
    assert set(recipe["requirements"]["run"]) - wanted == {"python >=3.11", "ray-core"}
    assert wanted <= set(recipe["requirements"]["run"])
    assert recipe["context"]["version"] == flower_coded.__version__


def test_version_and_date_are_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+) \((\S+)\)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest.groups() == (flower_coded.__version__, str(citation["date-released"]))
    assert citation["version"] == flower_coded.__version__


@pytest.mark.slow
def test_the_wheel_installs_into_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies are those of the tests, through a path file: torch need not be downloaded again."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True, cwd=tmp_path)
    # An old setuptools, which venv puts there on Python 3.11, would hide the one that torch asks for.
    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "setuptools"], check=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(python), *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "No broken requirements found" in run("-m", "pip", "check")
    where = run("-c", "import flower_coded; print(flower_coded.__version__, flower_coded.__file__)")
    assert where.split() == [flower_coded.__version__, str(site / "flower_coded" / "__init__.py")]
    licenses = [path.name for path in site.glob("flower_coded-*.dist-info/licenses/*")]
    assert licenses == ["LICENSE"]
    assert "coded-backdoor" in run("-m", "flower_coded", "scenarios")
