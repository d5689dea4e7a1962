"""Adapters of the package peft under every strategy that averages models; skipped where there is no peft."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from averaging_strategies import STRATEGIES, Averaging
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from flower_coded.clients import register_identity
from flower_coded.crypto.srs_cache import CACHE_VARIABLE
from flower_coded.errors import NoRoundSucceededError
from flower_coded.learning import federated_names, frozen_state, get_state, set_state
from flower_coded.testing import InProcessGrid
from flower_coded.wire.frozen import FROZEN_DIGEST_KEY, check_frozen, state_digest

WHY = "needs the extra: pip install 'flower-coded[peft]'"
peft = pytest.importorskip("peft", reason=WHY)
transformers = pytest.importorskip("transformers", reason=WHY)
# What the two packages warn each other of is not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning"),
]

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def bert(seed: int, num_words: int = 500) -> Any:
    torch.manual_seed(seed)
    config = transformers.BertConfig(vocab_size=num_words, max_position_embeddings=32, **SIZES)
    return transformers.BertForSequenceClassification(config)


def bert_of_many_words(seed: int) -> Any:
    return bert(seed, num_words=20_000)


def vit(seed: int) -> Any:
    torch.manual_seed(seed)
    config = transformers.ViTConfig(image_size=16, patch_size=2, num_channels=3, **SIZES)
    return transformers.ViTForImageClassification(config)


BASES = [bert, vit]
each_base = pytest.mark.parametrize("base", BASES, ids=lambda each: each.__name__)
each_strategy = pytest.mark.parametrize("averaging", STRATEGIES, ids=lambda each: each.name)
INPUTS: dict[Callable[..., Any], dict[str, torch.Tensor]] = {
    bert: {"input_ids": torch.arange(24).reshape(4, 6), "labels": torch.tensor([0, 1, 0, 1])},
    vit: {
        "pixel_values": torch.linspace(-1, 1, 4 * 3 * 16 * 16).reshape(4, 3, 16, 16),
        "labels": torch.tensor([0, 1, 0, 1]),
    },
}


def adapted(base: Callable[[int], Any], seed: int = 0) -> nn.Module:
    """Make the base network, frozen, with adapters of rank 1 and a trained head; nothing is downloaded."""
    names = (
        ["query", "value"] if base is bert else r".*\.(query|value|q_proj|v_proj)"
    )  # of old and new versions
    config = peft.LoraConfig(r=1, lora_alpha=2, target_modules=names, modules_to_save=["classifier"])
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = peft.get_peft_model(base(seed), config)
    return model


def finetuning_app(base: Callable[[int], Any], spy: Any, mods: tuple[Any, ...], seed: int = 0) -> ClientApp:
    """Train one step of the adapters and answer with peft's state dict, as fine-tuning projects do."""
    app = register_identity(ClientApp(mods=[spy, *mods]))
    inputs = INPUTS[vit if base is vit else bert]

    @app.train()
    def train(message: Message, context: Context) -> Message:
        model = adapted(base, seed)
        check_frozen(message.content, frozen_state(model))
        peft.set_peft_model_state_dict(model, message.content["arrays"].to_torch_state_dict())
        optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.5)
        loss = model.eval()(**inputs).loss
        loss.backward()
        optimizer.step()
        metrics = MetricRecord({"train_loss": loss.item(), "num-examples": 4})
        arrays = ArrayRecord(peft.get_peft_model_state_dict(model))
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return app


def run(
    averaging: Averaging, base: Callable[[int], Any], *, seed_of_users: int = 0, **options: Any
) -> tuple[Any, list[int]]:
    """Train one round; return the result, and the bytes of the arrays in every message and reply."""
    sizes: list[int] = []

    def weigh(message: Message) -> None:
        if message.has_content():
            records = message.content.array_records.values()
            sizes.append(sum(len(array.data) for record in records for array in record.values()))

    def spy(message: Message, context: Context, call_next: Any) -> Message:
        weigh(message)
        reply: Message = call_next(message, context)
        weigh(reply)
        return reply

    app = finetuning_app(base, spy, averaging.mods, seed_of_users)
    grid = InProcessGrid(app, 7, {"ramp-krum-protections": False})
    strategy = averaging.make()
    strategy.fraction_evaluate = 0.0
    start = ArrayRecord(peft.get_peft_model_state_dict(adapted(base)))
    return strategy.start(grid, start, 1, timeout=60, **options), sizes


@pytest.fixture(scope="module", autouse=True)
def _keep_reference_strings_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("reference-strings")))
        yield


@functools.cache
def one_step(base: Callable[[int], Any]) -> dict[str, np.ndarray]:
    """What any honest user's step leads to: all have the same samples."""
    alone = finetuning_app(base, lambda message, context, call_next: call_next(message, context), ())
    grid = InProcessGrid(alone, 7, {})
    start = ArrayRecord(peft.get_peft_model_state_dict(adapted(base)))
    result = STRATEGIES[0].make().start(grid, start, 1, timeout=60)
    return {name: array.numpy() for name, array in result.arrays.items()}


@each_base
def test_what_the_package_federates_is_what_peft_saves(base: Callable[[int], Any]) -> None:
    model = adapted(base)
    saved = {name: each.clone() for name, each in peft.get_peft_model_state_dict(model).items()}
    own = get_state(model)
    assert sum(each.size for each in own.values()) == sum(each.numel() for each in saved.values())
    # Beside the adapter's name, "default", which peft leaves out, and "modules_to_save", names are the same.
    short = [name.replace(".default", "").replace(".modules_to_save", "") for name in federated_names(model)]
    assert sorted(short) == sorted(saved)
    set_state(model, {name: array + 1 for name, array in own.items()})
    for name, moved in peft.get_peft_model_state_dict(model).items():
        np.testing.assert_allclose(moved.numpy(), saved[name].numpy() + 1, atol=1e-6)


@each_base
@each_strategy
def test_a_peft_state_passes_through_as_one_step_of_training_leaves_it(
    averaging: Averaging, base: Callable[[int], Any]
) -> None:
    result, _ = run(averaging, base)
    model = adapted(base)
    start = {name: each.numpy() for name, each in peft.get_peft_model_state_dict(model).items()}
    assert list(result.arrays) == list(start)
    for name, stepped in one_step(base).items():
        moved = result.arrays[name].numpy()
        is_stacked = averaging.name == "coded subset"
        assert moved.shape == ((averaging.make().code.num_models,) if is_stacked else ()) + stepped.shape
        np.testing.assert_allclose(moved, np.broadcast_to(stepped, moved.shape), atol=2e-3)
    assert any(np.abs(one_step(base)[name] - array).max() > 0.01 for name, array in start.items())
    single = {name: array.numpy() for name, array in result.arrays.items()}
    if averaging.name == "coded subset":
        single = {name: array[0] for name, array in single.items()}
    told = peft.set_peft_model_state_dict(
        model, {name: torch.tensor(array) for name, array in single.items()}
    )
    assert not told.unexpected_keys


@each_strategy
def test_messages_are_as_long_whatever_is_frozen(averaging: Averaging) -> None:
    _, small = run(averaging, bert)
    _, large = run(averaging, bert_of_many_words)
    # Points of a curve are compressed, and masks are drawn: a share's length may differ by a byte or two.
    np.testing.assert_allclose(large, small, atol=64)
    assert 0 < max(large) < 20_000 * SIZES["hidden_size"]


@each_strategy
def test_a_node_with_another_base_network_is_left_out_with_the_reason(averaging: Averaging) -> None:
    config = ConfigRecord({FROZEN_DIGEST_KEY: state_digest(frozen_state(adapted(bert)))})
    run(averaging, bert, train_config=config)  # the right one passes
    with pytest.raises(NoRoundSucceededError, match="same pretrained network"):
        run(averaging, bert, seed_of_users=5, train_config=config)
