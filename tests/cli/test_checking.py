"""Wrong settings of every scenario are refused before anything starts: the value, and what would do."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flower_coded.cli import app
from flower_coded.cli.checking import check_settings
from flower_coded.cli.exit_codes import REFUSED
from flower_coded.cli.scenario import find_scenario

WRONG = {
    "coded-backdoor": [
        ("dataset=mist", "mnist"),
        ("attack=pixeltriger", "pixel-trigger"),
        ("attackers=20", "20"),
        ("num-clients=3", "3"),
        ("device=cuda:7", "cuda:7"),
        ("model=small-cn", "small-cnn"),
        ("samples-per-user=10000", "10000"),
        ("alpha=abc", "abc"),
        ("num-server-rounds=0", "0"),
        ("decoder=majorty", "majority"),
        ("baseline=fedagv", "fedavg"),
        ("poison-rate=1.5", "1.5"),
        ("optimizer=adm", "adam"),
        ("code=corection", "correction"),
        ("batch-size=0", "0"),
    ],
    "contrastive-ecoc": [
        ("dataset=digit", "digits"),
        ("num-attacked=0", "0"),
        ("variant=ptf", "tfc"),
        ("epsilon=-1.0", "-1"),
        ("num-bits=0", "0"),
    ],
    "classroom": [
        ("acts=1,9", "prologue"),
        ("num-clients=4", "4"),
        ("secret-rounds=0", "0"),
        ("dataset=mist", "mnist"),
    ],
    "adapter-finetuning": [
        ("strategies=fedavg,krumm", "multi-krum"),
        ("attack=replacment", "replacement"),
        ("modality=pictures", "images"),
        ("num-attackers=9", "9"),
        ("attack-until-round=2", "attack-from-round"),
        ("poison-rate=0.0", "0"),
        ("sides=down", "up"),
        ("network=vit_b_16", "words"),
    ],
    "secure-krum": [
        ("num-attackers=9", "9"),
        ("num-parts=40", "40"),
        ("clipping=-1.0", "-1"),
        ("deviations=9:bad-share-to-on", "bad-share-to-one"),
        ("server-optimizer=fedyogy", "fedyogi"),
        ("server-learning-rate=0.5", "fedavgm"),
    ],
    "encoded-regression": [
        ("data=/no/such/file.csv", "/no/such/file.csv"),
        ("num-errors=20", "20"),
        ("attack=reversd", "reversed"),
        ("num-server-rounds=0", "0"),
    ],
    "private-regression": [
        ("data=/no/such/file.csv", "/no/such/file.csv"),
        ("num-colluders=40", "40"),
        ("verification=key", "keys"),
        ("accuracy=0.0", "0"),
    ],
}


@pytest.mark.parametrize(
    ("scenario", "setting", "said"), [(name, *row) for name, rows in WRONG.items() for row in rows]
)
def test_a_wrong_value_is_refused_in_a_sentence_before_anything_starts(
    scenario: str, setting: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "flower_coded.cli.simulation.FlowerSession.__enter__", lambda *_: pytest.fail("Flower was started")
    )
    command = ["run", scenario, setting, "--results", str(tmp_path / "results")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == REFUSED, result.output
    assert said in result.output
    assert "Traceback" not in result.output
    assert len(result.output) < 1500
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("scenario", WRONG)
def test_the_defaults_of_every_scenario_pass_its_check(scenario: str) -> None:
    found = find_scenario(scenario)
    assert found.check
    check_settings(found, {})
