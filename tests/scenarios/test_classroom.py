"""The lecture: its mod alone, all acts in this process, and once through a real `flwr run`."""

from __future__ import annotations

import csv
import logging
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_coded.cli.running import run_scenario
from flower_coded.cli.scenario import find_scenario
from flower_coded.crypto.srs_cache import CACHE_VARIABLE
from flower_coded.errors import ParameterError
from flower_coded.testing import InProcessGrid

SCENARIO = Path(__file__).parents[2] / "scenarios" / "classroom"
SHORT = {
    "num-server-rounds": 1,
    "secret-rounds": 1,
    "local-epochs": 1,
    "samples-per-user": 20,
}
TRAININGS = [
    "FedAvg, nobody attacks",
    "FedAvg, poisoned",
    "FedAvg, signs flipped",
    "multi-Krum, signs flipped",
    "multi-Krum, a little is enough",
    "multi-Krum, unlike users, nobody attacks",
    "multi-Krum, unlike users, a little is enough",
    "coded ensemble, poisoned",
    "secret-shared multi-Krum, signs flipped",
]


@pytest.fixture(autouse=True)
def scenario_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(SCENARIO))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    yield
    logging.getLogger("flwr").setLevel(logging.INFO)
    for name in [name for name in sys.modules if name.split(".")[0] == "classroom"]:
        del sys.modules[name]


def config_with(**changes: Any) -> dict[str, Any]:
    defaults = tomllib.loads((SCENARIO / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert set(changes) <= set(defaults)
    return {**defaults, **changes}


def run_in_process(out: Path, **changes: Any) -> None:
    from classroom.client_app import app
    from classroom.server_app import main

    config = config_with(**SHORT | {"out": str(out)} | changes)
    grid = InProcessGrid(app, config["num-clients"], config, wire=False)
    main(grid, Context(1, 1, {}, RecordDict(), config))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.experiment
def test_the_whole_lecture_leaves_pictures_tables_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_in_process(tmp_path / "out")
    summary = rows_of(tmp_path / "out" / "summary.csv")
    assert [row["training"] for row in summary] == TRAININGS
    attackers = {row["training"]: row["attackers"].split() for row in summary}
    assert [len(attackers[name]) for name in TRAININGS[1:5]] == [2, 3, 3, 3]
    assert set(attackers["FedAvg, poisoned"]) < set(attackers["FedAvg, signs flipped"])
    assert attackers["coded ensemble, poisoned"] == attackers["FedAvg, poisoned"]
    pictures = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert {"prologue_accuracy", "act_1_triggered", "act_2_scores", "act_3_suspicion"} < pictures
    assert {"act_2_selected", "act_3_code", "act_4_shares", "act_4_selected"} < pictures
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<img") == len(pictures)
    places = [page.index(f"<h2>Act {number}: ") for number in (1, 2, 3, 4)]
    assert places == sorted(places)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("progress: ")]
    assert sum("Act" in line for line in told) == 4


def test_act_2__krum_leaves_flipped_signs_out_and_lets_the_little_ones_in(tmp_path: Path) -> None:
    from classroom.acts import KRUM_FLIPPED, KRUM_LITTLE
    from classroom.client_app import app
    from classroom.lecture import Lecture
    from classroom.trainings import play

    config = config_with(**SHORT | {"samples-per-user": 100})
    lecture = Lecture(config)
    grid = InProcessGrid(app, config["num-clients"], config, wire=False)
    flipped, little = (play(lecture, grid, training) for training in (KRUM_FLIPPED, KRUM_LITTLE))
    assert not set(flipped.selected[0]) & set(flipped.attackers)
    assert set(little.selected[0]) & set(little.attackers)
    worst = sorted(flipped.scores, key=lambda user: flipped.scores[user])[-3:]
    assert sorted(worst) == sorted(flipped.attackers)


def test_the_page_names_every_attack_of_an_act_with_its_attackers() -> None:
    from classroom.acts import CLEAN, KRUM_FLIPPED, KRUM_LITTLE, POISONED
    from classroom.report import _who
    from classroom.trainings import Played

    def played(training: Any, *attackers: int) -> Any:
        return Played(training, 12, attackers, None)  # type: ignore[arg-type]

    assert _who([played(CLEAN)]) == "Attackers: nobody."
    both = [played(CLEAN), played(KRUM_FLIPPED, 1, 2, 5), played(KRUM_LITTLE, 1, 2, 5)]
    assert _who(both).endswith("seed: users 1, 2, 5 (`sign-flip`, then `little-is-enough`).")
    assert _who([*both, played(POISONED, 1, 2)]).endswith("); users 1, 2 (`pixel-trigger`).")


def test_act_mod__replaces_settings_for_one_message_and_shares_the_state() -> None:
    from classroom.client_app import act_mod

    app = ClientApp(mods=[act_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        context.state["memory"] = MetricRecord({"calls": 1})
        seen = {"flips": int(context.run_config["attack"] == "sign-flip"), "seed": context.run_config["seed"]}
        return Message(RecordDict({"seen": MetricRecord(seen)}), reply_to=message)

    config = {"attack": "none", "seed": 7}
    grid = InProcessGrid(app, 1, config)
    for entries, flips in (({"act-attack": "sign-flip"}, 1), ({"lr": 0.1}, 0)):
        content = RecordDict({"config": ConfigRecord(entries)})
        (reply,) = grid.send_and_receive([Message(content, grid.node_ids[0], "train")], timeout=5)
        assert dict(reply.content["seen"]) == {"flips": flips, "seed": 7}
    assert grid.contexts[0].state["memory"]["calls"] == 1
    assert grid.contexts[0].run_config == config


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": "perfect"},
        {"poison-rate": 0.0},
        {"num-clients": 8},  # 8 < 2 * 3 + 3: Krum promises nothing
        {"secret-rounds": 0},
        {"row-weight": 12},
        {"acts": "5"},
        {"attackers": "13"},
        {"pause-seconds": -1.0},
    ],
)
def test_a_bad_setting_is_refused_before_training(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        run_in_process(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("acts", "attackers", "sections", "number"),
    [("1", "4", ["Act 1"], 4), ("prologue,1", "0", ["Prologue", "Act 1"], 0), ("1", "7,", ["Act 1"], 1)],
)
def test_acts_on_their_own_with_any_attackers(
    acts: str, attackers: str, sections: list[str], number: int, tmp_path: Path
) -> None:
    run_in_process(tmp_path / "out", acts=acts, attackers=attackers)
    page = (tmp_path / "out" / "report.html").read_text()
    told = ["Prologue", "Act 1", "Act 2", "Act 3", "Act 4"]
    assert [name for name in told if f"<h2>{name}:" in page] == sections
    summary = {row["training"]: row for row in rows_of(tmp_path / "out" / "summary.csv")}
    attacked = summary["FedAvg, poisoned"]
    assert len([user for user in attacked["attackers"].split() if user != "none"]) == number
    assert ("Nobody attacks in this run" in page) is (number == 0)


def test_the_page_reloads_itself_while_more_is_to_come(tmp_path: Path) -> None:
    from classroom.acts import ACTS, CLEAN
    from classroom.client_app import app
    from classroom.lecture import Lecture
    from classroom.report import LecturePage
    from classroom.trainings import play

    config = config_with(**SHORT | {"out": str(tmp_path), "acts": "prologue"})
    lecture = Lecture(config)
    page = LecturePage(lecture.run_directory("classroom"), lecture)
    stage = {CLEAN: play(lecture, InProcessGrid(app, 12, config, wire=False), CLEAN)}
    page.add_act(ACTS[0], stage)
    assert 'http-equiv="refresh"' in (tmp_path / "report.html").read_text()
    page.conclude(stage)
    assert 'http-equiv="refresh"' not in (tmp_path / "report.html").read_text()


def test_a_pause_ends_by_itself_or_by_a_file(tmp_path: Path) -> None:
    from classroom.server_app import GO_ON, _wait

    started = time.monotonic()
    _wait(0.3, tmp_path / GO_ON)
    assert time.monotonic() - started >= 0.3
    (tmp_path / GO_ON).touch()
    _wait(600.0, tmp_path / GO_ON)
    assert time.monotonic() - started < 300
    assert not (tmp_path / GO_ON).exists()


def test_what_to_look_at_follows_what_has_happened() -> None:
    from classroom.acts import CLEAN, POISONED
    from classroom.looks import LOOKS, QUESTIONS
    from classroom.trainings import Played

    def stage(accuracy: float, obeyed: float) -> Any:
        rounds = {CLEAN: (0.95, 0.02), POISONED: (accuracy, obeyed)}
        return {
            training: Played(
                training,
                12,
                (1, 2),
                None,
                [{"round": 5, "accuracy": a, "trigger obeyed": o}],  # type: ignore[arg-type]
            )
            for training, (a, o) in rounds.items()
        }

    told = [LOOKS["act_1"](None, stage(*case)) for case in ((0.95, 0.9), (0.7, 0.9), (0.95, 0.1))]  # type: ignore[arg-type]
    assert ["nobody notices" in text for text in told] == [True, False, False]
    assert ["clumsily" in text for text in told] == [False, True, False]
    assert ["has not taken: 10 %" in text for text in told] == [False, False, True]
    answers = [QUESTIONS["act_1"](None, stage(*case))[1] for case in ((0.94, 0.9), (0.7, 0.9))]  # type: ignore[arg-type]
    assert [answer.endswith("yes.") for answer in answers] == [False, True]


@pytest.mark.slow
def test_scenario__plays_all_acts_through_flwr_run(tmp_path: Path) -> None:
    settings = [f"{key}={value}" for key, value in SHORT.items()]
    scenario = find_scenario(str(SCENARIO))
    outcome, run = run_scenario(scenario, settings, results=tmp_path, timeout=900, verbose=False)
    log = (run.path / "log.txt").read_text()
    assert outcome.exit_status == 0, log[-3000:]
    assert [record["training"] for record in run.metrics("summary").records()] == TRAININGS
    assert "What the server did learn" in (run.path / "report.html").read_text()
