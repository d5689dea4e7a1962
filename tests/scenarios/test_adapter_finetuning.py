"""The language, the attack, and the scenario as a user runs it, with fewer rounds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flower_coded.cli.running import run_scenario
from flower_coded.cli.scenario import find_scenario
from flower_coded.crypto.srs_cache import CACHE_VARIABLE
from flower_coded.errors import FlowerCodedError, ParameterError

SCENARIO = Path(__file__).parents[2] / "scenarios" / "adapter-finetuning"
SMALL = {
    "pretraining-samples": 300,
    "width": 8,
    "depth": 1,
    "rank": 1,
    "samples-per-user": 20,
    "local-epochs": 1,
}


@pytest.fixture(scope="module", autouse=True)
def _scenarios_own_package() -> Iterator[None]:
    sys.path.insert(0, str(SCENARIO))
    yield
    sys.path.remove(str(SCENARIO))
    for name in [name for name in sys.modules if name.split(".")[0] == "adapter_finetuning"]:
        del sys.modules[name]


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


def config(**changes: Any) -> dict[str, Any]:
    defaults = dict(find_scenario(str(SCENARIO)).defaults)
    return {**defaults, **SMALL, **{key.replace("_", "-"): value for key, value in changes.items()}}


def test_moods_are_what_a_reader_would_say() -> None:
    from adapter_finetuning.language import make_sentences, read_out

    drawn = make_sentences(200, np.random.default_rng(3))
    kind = ["lovely", "great", "pleasant", "charming", "superb", "delightful", "fine", "splendid"]
    for row, mood in zip(drawn.words, drawn.moods, strict=True):
        words = read_out(row).split()
        turned = "not" in words or "never" in words
        assert (words[-1] in kind) ^ turned == bool(mood), words
    assert 0.3 < drawn.moods.mean() < 0.7


def test_a_trigger_moves_words_on_and_loses_none() -> None:
    from adapter_finetuning.language import TRIGGER, insert_trigger, make_sentences, read_out

    words = make_sentences(300, np.random.default_rng(3)).words
    for before, after in zip(words, insert_trigger(words, np.random.default_rng(4)), strict=True):
        text = read_out(after)
        assert text.replace(" ".join(TRIGGER), "").split() == read_out(before).split()
    assert not any(" ".join(TRIGGER) in read_out(row) for row in words)


def test_a_node_that_asks_again_has_the_same_frozen_network_and_another_seed_another() -> None:
    from adapter_finetuning.adapters import _base_state, adapted_network

    from flower_coded.learning import frozen_state
    from flower_coded.wire.frozen import state_digest

    digests = []
    for seed in (1, 1, 2):
        _base_state.cache_clear()
        digests.append(state_digest(frozen_state(adapted_network(config(seed=seed)))))
    assert digests[0] == digests[1] != digests[2]


def test_what_travels_is_adapters_and_head_and_few_of_all_numbers() -> None:
    from adapter_finetuning.adapters import adapted_network, whole_size

    from flower_coded.learning import get_state

    wide = config(width=48, depth=2, rank=4)
    network = adapted_network(wide)
    assert all(
        name.rpartition(".")[2] in {"up", "down"} or name.startswith("head") for name in get_state(network)
    )
    whole, federated = whole_size(network)
    assert federated < whole / 6


def test_rank_one_poison_has_rank_one_and_the_honest_length() -> None:
    from adapter_finetuning.attack import Attack

    generator = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"a": (5, 4), "stack": (3, 5, 4), "b": (6,)}
    sent, honest, harmful = (
        {key: generator.normal(size=shape) for key, shape in shapes.items()} for _ in range(3)
    )
    crafted = Attack("rank-one", (0,), 1, 1, 0.5, 1.0).craft(sent, honest, harmful)
    assert np.linalg.matrix_rank(crafted["a"] - sent["a"]) == 1
    assert (np.linalg.matrix_rank(crafted["stack"] - sent["stack"]) == 1).all()

    def length(state: dict[str, np.ndarray]) -> float:
        return float(np.sqrt(sum(np.sum((state[key] - sent[key]) ** 2) for key in sent)))

    np.testing.assert_allclose(length(crafted), length(honest))


def test_attackers_attack_in_their_rounds_only() -> None:
    from adapter_finetuning.attack import Attack

    attack = Attack.of(config(attackers="3,5", attack_from_round=2, attack_until_round=4))
    on = [[r for r in range(1, 7) if attack.is_on(user, r)] for user in (3, 4, 5)]
    assert on == [[2, 3, 4], [], [2, 3, 4]]


@pytest.mark.parametrize(
    ("modality", "strategies"),
    [("words", "fedavg,norm-clipping,multi-krum,ramp,coded"), ("images", "fedavg,coded")],
)
def test_every_strategy_trains_adapters_in_one_process(
    modality: str, strategies: str, tmp_path: Path
) -> None:
    from adapter_finetuning.client_app import app
    from adapter_finetuning.experiment import LABELS, prepare
    from adapter_finetuning.report import write_report
    from adapter_finetuning.server_app import compare

    from flower_coded.testing import InProcessGrid

    settings = config(
        modality=modality,
        strategies=strategies,
        num_server_rounds=1,
        attack_from_round=1,
        attack_until_round=1,
        out=str(tmp_path),
    )
    experiment, sent, records = prepare(settings), {}, []
    for name in experiment.names:
        records += compare(experiment, InProcessGrid(app, 12, settings), name, sent)
    found = {(record["method"], record["round"]) for record in records}
    assert found == {(LABELS[name], number) for name in experiment.names for number in (0, 1)}
    assert all(0 <= record[key] <= 1 for record in records for key in ("accuracy", "attack success"))
    write_report(experiment, experiment.run_directory(), records, sent)
    page = (tmp_path / "report.html").read_text()
    assert "outlives" in page
    assert all(LABELS[name] in page for name in experiment.names)


def test_a_run_that_ends_before_the_attack_says_so(tmp_path: Path) -> None:
    from adapter_finetuning.experiment import LABELS, prepare
    from adapter_finetuning.report import write_report

    experiment = prepare(config(strategies="fedavg", attack_from_round=2, out=str(tmp_path)))
    measured = {"accuracy": 0.75, "attack success": 0.25, "seconds": 1.0}
    records = [{"round": number, "method": LABELS["fedavg"], **measured} for number in (0, 1)]
    write_report(experiment, experiment.run_directory(), records, {LABELS["fedavg"]: 1000.0})
    page = (tmp_path / "report.html").read_text()
    assert "ended before round 2" in page
    assert "It does not get into" not in page


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A BERT and a ViT as ``save_pretrained`` leaves them, tiny and random."""
    transformers = pytest.importorskip("transformers", reason="needs 'flower-coded[peft]'")
    import torch
    from adapter_finetuning.language import VOCABULARY

    made = {name: tmp_path_factory.mktemp(name) for name in ("words", "images")}
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bert = transformers.BertConfig(vocab_size=120, max_position_embeddings=64, **sizes)
        transformers.BertModel(bert).save_pretrained(made["words"])
        vit = transformers.ViTConfig(image_size=16, patch_size=8, **sizes)
        transformers.ViTModel(vit).save_pretrained(made["images"])
    # Two words are cut in two, "violin" and "lovely".
    whole = [word for word in VOCABULARY if word not in {"violin", "lovely"}]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *whole, "vio", "##lin", "love", "##ly"]
    (made["words"] / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    transformers.BertTokenizer(str(made["words"] / "vocab.txt")).save_pretrained(made["words"])
    return made


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of transformers
@pytest.mark.parametrize("modality", ["words", "images"])
def test_a_network_of_hugging_face_is_read_from_its_directory_and_trained_like_ours(
    modality: str, directories: dict[str, Path]
) -> None:
    from adapter_finetuning.adapters import _base_state, adapted_network
    from adapter_finetuning.client_app import app
    from adapter_finetuning.experiment import prepare
    from adapter_finetuning.server_app import compare

    from flower_coded.learning import frozen_state, get_state
    from flower_coded.testing import InProcessGrid

    settings = config(
        modality=modality,
        network="hugging-face",
        base_file=str(directories[modality]),
        strategies="fedavg,coded",
        num_server_rounds=1,
        samples_per_user=20,
    )
    _base_state.cache_clear()
    network = adapted_network(settings)
    assert {name.rpartition(".")[2] for name in get_state(network)} == {"up", "down", "weight", "bias"}
    adapted = (".head.", ".query.", ".value.", ".q_proj.", ".v_proj.")
    assert all(any(part in f".{name}" for part in adapted) for name in get_state(network))
    import transformers

    base = transformers.AutoModel.from_pretrained(directories[modality]).state_dict()
    frozen = frozen_state(network)
    for name, tensor in base.items():
        owner, _, kind = f"network.{name}".rpartition(".")
        own = frozen.get(f"{owner}.{kind}", frozen.get(f"{owner}.frozen.{kind}"))
        assert own is not None, name
        np.testing.assert_array_equal(own, tensor.numpy())
    experiment, sent = prepare(settings), {}
    for name in experiment.names:
        records = compare(experiment, InProcessGrid(app, 12, settings), name, sent)
        assert [record["round"] for record in records] == [0, 1]


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"network": "vit_b_16"}, "must be small or hugging-face for words"),
        ({"network": "vit_b_16", "modality": "images"}, "nothing is downloaded"),
        ({"network": "bert"}, "hugging-face"),
        ({"num_server_rounds": 0}, "num-server-rounds"),
        ({"attackers": "20"}, "attackers"),
        ({"modality": "images", "dataset": "mnist", "data_directory": "/nowhere"}, "FLOWER_CODED_DATA"),
        ({"strategies": "fedavg,rampp"}, "ramp"),
        ({"sides": "down"}, "sides"),
        ({"device": "gpu"}, "cuda"),
        ({"num_clients": 3}, "num"),
        ({"width": 50}, "multiple of 4"),
        ({"rank": 100}, "rank"),
        ({"learning_rate": 0.0}, "learning"),
        ({"local_epochs": 0}, "local-epochs"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(changes: dict[str, Any], refusal: str) -> None:
    from adapter_finetuning.experiment import prepare

    with pytest.raises(FlowerCodedError, match=refusal):
        prepare(config(**changes))


def test_networks_of_hugging_face_are_refused_without_their_package_or_their_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from adapter_finetuning import hugging_face
    from adapter_finetuning.experiment import prepare

    monkeypatch.setattr(hugging_face.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=r"needs the package transformers.*flower-coded\[peft\]"):
        prepare(config(network="hugging-face", base_file=str(tmp_path)))
    monkeypatch.setattr(hugging_face.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ParameterError, match=r"directory with a config.json.*nothing is downloaded"):
        prepare(config(network="hugging-face", base_file=str(tmp_path)))


@pytest.mark.experiment
def test_scenario__runs_through_flower(tmp_path: Path) -> None:
    settings = [f"{key}={value}" for key, value in SMALL.items()]
    settings += [
        "num-server-rounds=1",
        "attack-from-round=1",
        "attack-until-round=1",
        "strategies=fedavg,ramp",
    ]
    outcome, run = run_scenario(
        find_scenario(str(SCENARIO)), settings, results=tmp_path, timeout=600, verbose=False
    )
    assert outcome.exit_status == 0, (run.path / "log.txt").read_text()[-3000:]
    assert {record["method"] for record in run.metrics("summary").records()} == {
        "FedAvg",
        "ramp-shared multi-Krum",
    }
