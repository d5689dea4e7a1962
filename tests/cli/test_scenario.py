"""Settings are checked before anything starts, and a refusal says what would work."""

from __future__ import annotations

from pathlib import Path

import pytest

from flower_coded.cli.scenario import Scenario, copy_scenario, find_scenario
from flower_coded.errors import ParameterError

DEFAULTS = {"rounds": 3, "alpha": 0.5, "stacked": True, "attack": "pixel-trigger", "coding.users": 4}
SCENARIO = Scenario(Path("somewhere"), "somewhere", "", DEFAULTS)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("rounds=5", 5),
        ("alpha=1", 1.0),
        ("alpha=inf", float("inf")),
        ("stacked=false", False),
        ("attack=none", "none"),
        ("attack=", ""),
        ("attack=a=b", "a=b"),
        ("attack=3", "3"),
        ("coding.users=7", 7),
    ],
)
def test_a_value_takes_the_type_of_the_default(assignment: str, value: object) -> None:
    (found,) = SCENARIO.settings([assignment]).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("round=5", r"did you mean rounds\?"),
        ("atack=none", r"did you mean attack\?"),
        ("rounds", "key=value"),
        ("rounds=many", "must be a whole number; received 'many' .the default is 3"),
        ("rounds=2.5", "must be a whole number"),
        ("rounds=true", "must be a whole number"),
        ("alpha=true", "must be a number"),
        ("stacked=1", "must be true or false"),
    ],
)
def test_a_wrong_assignment_is_refused_with_what_would_work(assignment: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        SCENARIO.settings([assignment])


def test_a_scenario_is_found_by_path(endings: Scenario) -> None:
    assert endings.name == "endings"
    assert endings.num_clients == 3
    assert endings.defaults["ending"] == "complete"


def test_a_scenario_is_found_by_name_in_either_spelling(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = tmp_path / "scenarios" / "my_scenario"
    app.mkdir(parents=True)
    (app / "pyproject.toml").write_text(
        "[tool.flwr.app.config]\nseed = 1\n[tool.flwr.app.config.coding]\nk = 2\n"
    )
    monkeypatch.chdir(tmp_path)
    assert find_scenario("my-scenario").path == find_scenario("my_scenario").path == app
    assert find_scenario("my_scenario").defaults == {"seed": 1, "coding.k": 2}


def test_an_unknown_scenario_gets_the_nearest_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = tmp_path / "scenarios" / "my_scenario"
    app.mkdir(parents=True)
    (app / "pyproject.toml").write_text("[tool.flwr.app.config]\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=r"my-scenario.*did you mean my-scenario\?"):
        find_scenario("my_senario")


def test_a_copied_scenario_is_an_app_of_its_own_and_overwrites_nothing(tmp_path: Path) -> None:
    original = find_scenario("secure-krum")
    copy = copy_scenario(original, tmp_path / "deep" / "mine")
    assert find_scenario(str(copy)).defaults == original.defaults
    assert not list(copy.rglob("__pycache__"))
    with pytest.raises(ParameterError, match="must not exist yet"):
        copy_scenario(original, copy)


def test_a_directory_without_a_flower_app_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(ParameterError, match="Flower app"):
        find_scenario(str(tmp_path))
