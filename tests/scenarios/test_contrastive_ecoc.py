"""The scenario and its comparison in this process, and once through a real `flwr run`."""

from __future__ import annotations

import csv
import importlib.util
import logging
import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer
from flwr.app import Context, RecordDict

from flower_coded.cli.running import run_scenario
from flower_coded.cli.scenario import find_scenario
from flower_coded.errors import ParameterError
from flower_coded.learning.models import get_state
from flower_coded.reporting import RunDirectory, new_figure
from flower_coded.testing import InProcessGrid

SCENARIO = Path(__file__).parents[2] / "scenarios" / "contrastive-ecoc"
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
    "validation-images": 60,
    "adaptive-steps": 2,
    "adaptive-targets": 1,
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
def test_color_images_and_traffic_signs_run_too(tmp_path: Path, dataset: str, classes: int) -> None:
    directory = os.environ.get("FLOWER_CODED_DATA", "")
    if not directory or not (Path(directory) / dataset).is_dir():
        pytest.skip(f"needs {dataset} in the directory that FLOWER_CODED_DATA names")
    # Fixed code: forty-three classes need not all occur among a few images.
    changes = {"num-clients": 3, "pretrain-rounds": 0, "num-bits": 32}
    run_in_process(tmp_path, dataset=dataset, variant="fixed", **changes)
    assert np.load(tmp_path / "code-book.npz")["codewords"].shape == (classes, 32)
    assert {row["method"] for row in rows_of(tmp_path / "summary.csv")} == {"softmax", "output code (fixed)"}


def compare_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("contrastive_ecoc.compare", SCENARIO / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def choose_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("contrastive_ecoc.choose", SCENARIO / "choose.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings_of(**changes: Any) -> list[str]:
    return [f"{key}={value}" for key, value in (SHORT | changes).items()]


def test_the_comparison_trains_five_models_in_both_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contrastive_ecoc.comparison import Group, run_group
    from contrastive_ecoc.methods import METHODS

    compare, found = compare_script(), {}

    def in_this_process(
        groups: list[Group], config: dict, *, methods: tuple[str, ...], ensemble: bool, **_: object
    ) -> Iterator[Any]:
        for group in groups:
            found[group.place] = run_group(group, config, methods, ensemble)
            pictured = {"ACL-PF": found[group.place].code_books["ACL-PF"]}  # a picture takes a second
            yield group, replace(found[group.place], code_books=pictured)

    monkeypatch.setattr(compare, "run_groups", in_this_process)
    tiny = settings_of(**{"num-clients": 2, "num-attacked": 4, "num-steps": 2})
    compare.main(tiny, seeds="1", results=tmp_path, name="tiny")
    run = RunDirectory.open(tmp_path / "contrastive_ecoc_comparison" / "tiny")
    assert set(found) == {"central", "federated"}
    for each in found.values():
        assert [record["method"] for record in each.records] == list(METHODS)
        assert all(record["worst"] <= record["pgd"] for record in each.records)
        assert ["transfer" in record for record in each.records] == [False, True, True, True, True]
        # TFC's code book is CFPC's; PF's was made before fine-tuning.
        np.testing.assert_array_equal(each.code_books["ACL-CFPC"], each.code_books["ACL-TFC"])
        assert not np.array_equal(each.code_books["ACL-CFPC"], each.code_books["ACL-PF"])
    assert {path.stem for path in run.path.glob("*.png")} >= {
        "accuracies",
        "robustness",
        "code_book_central_ACL-PF",
    }
    assert len(rows_of(run.path / "summary.csv")) == len(rows_of(run.path / "masking.csv")) == 10
    page = run.report_path.read_text()
    assert "epsilon 0.1, step 0.02, 2 steps, 1 restarts" in page
    assert "AutoAttack" not in page, "it was not run"


def test_under_adversarial_training_codes_and_softmax_cost_the_same_and_a_sentence_says_who_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from contrastive_ecoc.comparison import run_group

    def in_this_process(
        groups: list[Any], config: dict, *, methods: tuple[str, ...], **_: Any
    ) -> Iterator[Any]:
        for group in groups:
            found = run_group(group, config, methods)
            yield group, replace(found, code_books={})

    compare = compare_script()
    monkeypatch.setattr(compare, "run_groups", in_this_process)
    tiny = settings_of(
        **{
            "num-clients": 2,
            "num-attacked": 8,
            "num-steps": 2,
            "adversarial-training": "trades",
            "adversarial-steps": 1,
            "adversarial-step-size": 0.1,
            "contrastive": "byol",
            "select-by": "robust",
            "fine-tune-rounds": 2,
        }
    )
    compare.main(tiny, seeds="1", places="federated", results=tmp_path, name="attacked")
    rows = {
        row["method"]: row for row in rows_of(tmp_path / "contrastive_ecoc_comparison/attacked/summary.csv")
    }
    assert list(rows) == [
        "Standard", "Standard + AT", "SimCLR + AT", "Hadamard + AT", "ACL-PF + AT", "ACL-CFPC + AT",
    ]  # fmt: skip
    # An epoch a round: two rounds at 3 passes, and BYOL's 8/3; softmax without it three rounds at 3 passes.
    passes = {name: int(row["passes"]) for name, row in rows.items()}
    assert passes["Standard + AT"] == passes["Hadamard + AT"] == passes["ACL-CFPC + AT"] == 9
    assert passes["Standard"] == 3
    assert "federated: no output code is beyond" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["central", "federated"])
def test_the_round_that_is_best_on_validation_images_is_judged(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    from contrastive_ecoc.experiment import ContrastiveExperiment
    from contrastive_ecoc.selection import Selection
    from contrastive_ecoc.trainers import TRAINERS

    offered: list[Any] = []
    invented_scores = iter([0.2, 0.9, 0.9, 0.1] * 2)

    def score(self: Any, state: Any, code_book: Any) -> float:
        offered.append({key: np.array(each) for key, each in state.items()})
        return next(invented_scores)

    monkeypatch.setattr(Selection, "_score", score)
    config = config_with(**{"select-by": "clean", "local-epochs": 2, "num-clients": 2})
    experiment = ContrastiveExperiment(config)
    trainer = TRAINERS[place](experiment)
    softmax = trainer.softmax(get_state(experiment.model()), 4)
    np.testing.assert_array_equal(softmax.state["1.weight"], offered[2]["1.weight"])  # the later of equals
    code = trainer.fine_tune(get_state(experiment.network()), 4, code_book=experiment.hadamard())
    assert len(offered) == 8
    np.testing.assert_array_equal(code.state["encoder.weight"], offered[6]["encoder.weight"])


def test_settings_are_chosen_without_a_look_at_the_test_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flower_coded.clients.client_settings import ClientSettings

    choose, loaded = choose_script(), ClientSettings.load

    def printed(name: str) -> str:
        choose.main(
            ["column-weight=1,5"],
            settings=settings_of(**{"num-clients": 2}),
            method="ACL-PF",
            place="central",
            seeds="1",
            by="worst",
            results=tmp_path,
            name=name,
        )
        return capsys.readouterr().out

    honest = printed("honest")
    assert "best by worst: column-weight=" in honest
    monkeypatch.setattr(choose, "run_group", lambda *_: pytest.fail("it was tried before"))
    assert printed("honest").splitlines()[-1] == honest.splitlines()[-1]
    monkeypatch.setattr(choose, "run_group", sys.modules["contrastive_ecoc.comparison"].run_group)

    def without_test(self: ClientSettings) -> Any:
        data = loaded(self)
        return replace(data, test_images=np.ones_like(data.test_images))

    monkeypatch.setattr(ClientSettings, "load", without_test)
    assert printed("blind") == honest


def test_a_verdict_needs_more_than_the_noise_of_seeds_or_images() -> None:
    from contrastive_ecoc.verdict import verdict

    def records(*worst: float, method: str, attacked: int = 200) -> list[dict]:
        labels = {"place": "central", "method": method, "attacked": attacked}
        return [labels | {"seed": seed, "worst": each} for seed, each in enumerate(worst)]

    softmax = records(0.5, 0.6, 0.7, method="Standard + AT") + records(0.9, 0.9, 0.9, method="ACL-PF")
    steady = softmax + records(0.53, 0.63, 0.74, method="ACL-CFPC + AT")
    assert verdict(steady) == (
        "central: beyond the best softmax model (Standard + AT, worst case 0.600) is ACL-CFPC + AT (+0.033)."
    )
    assert "no output code is beyond" in verdict(softmax + records(0.4, 0.6, 0.9, method="ACL-CFPC + AT"))
    # Two seeds, both better by 0.02 and 0.04: Student's quantile of one degree of freedom is 12.7.
    assert "no output code" in verdict(softmax[:2] + records(0.52, 0.64, method="ACL-CFPC + AT"))
    # One seed, 200 images: 1.96 standard errors of a difference are at most 0.098.
    one = records(0.5, method="Standard")
    assert "no output code" in verdict(one + records(0.59, method="ACL-PF"))
    assert "beyond the best softmax model (Standard" in verdict(one + records(0.61, method="ACL-PF"))
    assert "nothing to compare" in verdict(one)


def invented(place: str, seed: int, *, ensemble: bool) -> Any:
    from contrastive_ecoc.comparison import Found
    from contrastive_ecoc.methods import METHODS

    budget = {"epsilon": 0.1, "step_size": 0.02, "num_steps": 3, "num_restarts": 1}
    signs = ("one_step_beats_many", "black_box_beats_white_box")
    signs += ("unbounded_attack_survives", "noise_beats_gradient")
    attacks = {"clean": seed / 10, "worst": seed / 10} | ({"ensemble": 0.1} if ensemble else {})
    labels = [{"place": place, "method": method, "seed": seed} for method in METHODS]
    records = [each | attacks | dict.fromkeys(signs, False) | budget | {"seconds": 1.0} for each in labels]
    return Found(records, [each | {"epsilon": 0.1, "worst": seed / 10} for each in labels], {})


def test_a_comparison_goes_on_where_it_stopped_and_only_under_its_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compare, trained = compare_script(), []

    def counted(groups: list[Any], config: dict, *, ensemble: bool, **_: object) -> Iterator[Any]:
        for group in groups:
            trained.append((group.place, group.seed))
            yield group, invented(group.place, group.seed, ensemble=ensemble)

    monkeypatch.setattr(compare, "run_groups", counted)
    blank = {name: (new_figure(size=(1, 1)), "") for name in ("accuracies", "robustness")}
    monkeypatch.setattr("contrastive_ecoc.comparison_report.comparison_figures", lambda *_: blank)
    directory = tmp_path / "contrastive_ecoc_comparison" / "digits"

    def compared(*settings: str, **options: Any) -> list[str]:
        trained.clear()
        compare.main([*settings_of(), *settings], places="central", results=tmp_path, **options)
        rows = rows_of(directory / "summary.csv")
        return [row["clean"] for row in rows if row["method"] == "ACL-PF"]

    assert compared(seeds="1") == ["0.100"]
    assert trained == [("central", 1)]
    assert compared(seeds="1,3") == ["0.200 ± 0.141"]
    assert trained == [("central", 3)], "seed 1 was there"
    assert compared(seeds="3") == ["0.300"], "only what was asked for"
    assert trained == []
    before = (directory / "config.json").read_text()
    for settings, options, named in (
        (["num-bits=16"], {}, "num-bits"),
        ([], {"ensemble": True}, "ensemble"),
    ):
        with pytest.raises(typer.Exit):
            compared(*settings, seeds="1", **options)
        assert f"with another {named}; received 'digits' (give another name)" in capsys.readouterr().err
        assert trained == []
    assert (directory / "config.json").read_text() == before
    compared(seeds="1", ensemble=True, name="digits-ensemble")
    assert "AutoAttack" in (directory.parent / "digits-ensemble" / "report.html").read_text()


def test_a_new_softmax_model_takes_all_pretrained_features_and_no_head() -> None:
    from contrastive_ecoc.experiment import ContrastiveExperiment
    from contrastive_ecoc.methods import with_features

    experiment = ContrastiveExperiment(config_with())
    pretrained = {key: np.full_like(value, 7) for key, value in get_state(experiment.network()).items()}
    state = with_features(experiment, pretrained)
    assert [key for key, value in state.items() if not (value == 7).all()] == ["6.weight", "6.bias"]
    pretrained = {key: value for key, value in pretrained.items() if not key.startswith("features.1.")}
    with pytest.raises(AssertionError, match="one module is new"):
        with_features(experiment, pretrained)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"num-attacked": 0}, "num-attacked"),
        ({"variant": "acl"}, "variant"),
        ({"variant": "fixed", "num-bits": 7}, "code_book must differ from class to class"),
        ({"code-book-rule": "median", "num-byzantine": 2}, "num_byzantine"),
        ({"code-book-attack": "invert"}, "code-book-attack"),
        ({"code-book-attackers": "4"}, "code-book-attackers"),
        ({"attack": "sign-flop"}, "attack"),
        ({"attackers": "9,"}, "attackers"),
        ({"temperature": 0.0}, "temperature"),
        ({"flip": "no"}, "flip"),
        ({"contrastive": "moco"}, "contrastive"),
        ({"adversarial-training": "pgd"}, "adversarial-training"),
        ({"adversarial-training": "madry", "adversarial-step-size": 0.001}, "adversarial-step-size"),
        ({"select-by": "best"}, "select-by"),
        ({"validation-images": 0}, "validation-images"),
        ({"judge-on": "train"}, "judge-on"),
        ({"adaptive-restarts": 0}, "num_restarts"),
    ],
)
def test_a_bad_setting_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], named: str
) -> None:
    from contrastive_ecoc import server_app

    monkeypatch.setattr(server_app, "train_softmax", lambda *_: pytest.fail("training began"))
    with pytest.raises(ParameterError, match=f"^{named}\\b"):
        run_in_process(tmp_path, **wrong)


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
