"""Output-code heads: a classifier like any other, with a code book that nobody can move."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flower_coded.codes.output_code import OutputCode
from flower_coded.errors import ParameterError
from flower_coded.learning.models import build_model, get_state, initial_states
from flower_coded.learning.output_code_head import OutputCodeHead
from flower_coded.learning.stacked import predict_stacked, train_stacked
from flower_coded.learning.training import predict_labels, train


def stripes(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, num_images)
    images = generator.uniform(0, 0.4, (num_images, 1, 8, 8)).astype(np.float32)
    images[np.arange(num_images), 0, 2 * labels + 1] += 0.5
    return images, labels.astype(np.int64)


def test_scores_rank_classes_as_the_nearest_codeword_does() -> None:
    code = OutputCode.hadamard(10)
    head = OutputCodeHead(20, code, temperature=0.5)
    features = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    words = torch.tanh(head.encoder(features)).detach().numpy()
    assert head(features).argmax(dim=1).tolist() == code.decode(words, metric="cosine").tolist()
    assert float(head(features).detach().abs().max()) <= 1 / 0.5 + 1e-5


def test_a_model_with_an_output_code_trains_like_any_other() -> None:
    model = build_model("small-cnn+hadamard", (1, 8, 8), 4, seed=1)
    train(model, *stripes(200, 0), epochs=5, batch_size=20, learning_rate=5e-3, seed=2)
    images, labels = stripes(100, 1)
    assert (predict_labels(model, images) == labels).mean() > 0.95


def test_models_with_an_output_code_train_stacked() -> None:
    name, shape = "small-cnn+hadamard", (1, 8, 8)
    stacked = initial_states(name, shape, 4, 3, seed=0)
    model = build_model(name, shape, 4, seed=0)
    trained, _ = train_stacked(
        model, stacked, *stripes(100, 0), epochs=2, batch_size=20, learning_rate=5e-3, seed=1
    )
    images, _ = stripes(20, 1)
    assert predict_stacked(model, trained, images).shape == (3, 20)


def test_the_code_book_does_not_travel() -> None:
    state = get_state(build_model("small-cnn+hadamard", (1, 8, 8), 10))
    assert not [key for key in state if "directions" in key]


def test_refuses_with_the_reason() -> None:
    with pytest.raises(ParameterError, match=r"model must be a known model; received 'small-cnn\+golay'"):
        build_model("small-cnn+golay", (1, 8, 8), 10)
    with pytest.raises(ParameterError, match="temperature must be positive"):
        OutputCodeHead(3, OutputCode.hadamard(4), temperature=0)
    with pytest.raises(ParameterError, match="num_features must be at least 1"):
        OutputCodeHead(0, OutputCode.hadamard(4))
