"""Training loops of contrastive output codes on small data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from flower_coded.errors import ParameterError
from flower_coded.learning.code_book import code_book_from_sums
from flower_coded.learning.codeword_losses import maximum_cosine
from flower_coded.learning.contrastive_training import (
    ContrastiveSettings,
    class_word_sums,
    fine_tune,
    pretrain,
    simclr_augmentation,
)
from flower_coded.learning.output_code_head import without_head
from flower_coded.learning.output_code_network import OutputCodeNetwork, build_output_code_network
from flower_coded.learning.training import TrainSettings

SETTINGS = ContrastiveSettings()
TRAINING = TrainSettings(epochs=8, batch_size=20, learning_rate=5e-3, seed=3)


def stripes(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four classes of 8x8 images: a bright stripe in row 1, 3, 5 or 7, with noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, num_images)
    images = generator.uniform(0, 0.4, (num_images, 1, 8, 8)).astype(np.float32)
    images[np.arange(num_images), 0, 2 * labels + 1] += 0.5
    return images, labels.astype(np.int64)


def small_network(seed: int = 0) -> OutputCodeNetwork:
    torch.manual_seed(seed)
    return OutputCodeNetwork(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU()), 32, num_bits=12)


def decode(network: OutputCodeNetwork, images: np.ndarray, book: np.ndarray) -> np.ndarray:
    from flower_coded.codes.output_code import OutputCode
    from flower_coded.learning.training import predict_logits

    return OutputCode(book).decode(predict_logits(network, images))


@pytest.mark.parametrize("update_code_book", [False, True])
def test_fine_tuning_learns_the_classes(update_code_book: bool) -> None:
    images, labels = stripes(200, 0)
    test_images, test_labels = stripes(100, 1)
    network = small_network()
    book = code_book_from_sums(*class_word_sums(network, images, labels, 4))
    before = (decode(network, test_images, book) == test_labels).mean()
    fine_tune(
        network,
        images,
        labels,
        book,
        training=TRAINING,
        settings=SETTINGS,
        update_code_book=update_code_book,
    )
    book = code_book_from_sums(*class_word_sums(network, images, labels, 4))
    after = (decode(network, test_images, book) == test_labels).mean()
    assert after > 0.95
    assert after > before


def test_a_fixed_code_book_stays_and_a_following_one_spreads() -> None:
    images, labels = stripes(200, 0)
    book = code_book_from_sums(*class_word_sums(small_network(), images, labels, 4))
    fixed, _ = fine_tune(
        small_network(), images, labels, book, training=TRAINING, settings=SETTINGS, update_code_book=False
    )
    moved, _ = fine_tune(
        small_network(), images, labels, book, training=TRAINING, settings=SETTINGS, update_code_book=True
    )
    np.testing.assert_allclose(fixed, book, atol=1e-6)
    assert float(maximum_cosine(torch.tensor(moved))) < float(maximum_cosine(torch.tensor(book))) - 0.3


def test_a_class_missing_from_every_batch_keeps_its_codeword() -> None:
    images, labels = stripes(60, 2)
    book = code_book_from_sums(*class_word_sums(small_network(), images, labels, 4))
    present = labels != 2
    moved, _ = fine_tune(
        small_network(),
        images[present],
        labels[present],
        book,
        training=TRAINING,
        settings=SETTINGS,
        update_code_book=True,
    )
    np.testing.assert_allclose(moved[2], book[2], atol=1e-6)
    assert not np.allclose(moved[0], book[0], atol=1e-3)


def test_pretraining_decorrelates_the_bits_without_labels() -> None:
    from flower_coded.learning.codeword_losses import column_separation

    images, _ = stripes(120, 3)
    network = small_network()

    def correlation() -> float:
        with torch.no_grad():
            return float(column_separation(network(torch.tensor(images))))

    before = correlation()
    augment = simclr_augmentation((1, 8, 8), flip=False, images_per_draw=20)
    report = pretrain(network, images, training=TRAINING, settings=SETTINGS, augment=augment)
    assert report.num_examples == 120
    assert correlation() < 0.5 * before


def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_generator_alone() -> None:
    images, _ = stripes(40, 4)
    augment = simclr_augmentation((1, 8, 8), flip=False, images_per_draw=10)
    weights = []
    state = torch.get_rng_state()
    for _ in range(2):
        torch.set_rng_state(state)
        network = build_output_code_network("small-cnn", (1, 8, 8), 8, seed=5)
        pretrain(network, images, training=TrainSettings(seed=1), settings=SETTINGS, augment=augment)
        weights.append(network.encoder.weight.detach().clone())
        assert (torch.get_rng_state() == state).all()
    assert (weights[0] == weights[1]).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), num_users=st.integers(1, 5))
def test_the_federated_code_book_is_the_central_one_for_any_split(seed: int, num_users: int) -> None:
    images, labels = stripes(60, 5)
    labels[:4] = range(4)
    network = small_network()
    central = code_book_from_sums(*class_word_sums(network, images, labels, 4))
    owner = np.random.default_rng(seed).integers(0, num_users, 60)
    parts = [
        class_word_sums(network, images[owner == user], labels[owner == user], 4)
        for user in range(num_users)
        if (owner == user).any()
    ]
    federated = code_book_from_sums(sum(s for s, _ in parts), sum(c for _, c in parts))
    np.testing.assert_allclose(federated, central, atol=1e-6)


def test_color_views_keep_shape_and_range() -> None:
    images = torch.rand(9, 3, 32, 32)
    views = simclr_augmentation((3, 32, 32), flip=True)(images)
    assert views.shape == images.shape
    assert views.min() >= 0
    assert views.max() <= 1
    assert not torch.equal(views, images)


def test_any_classifier_gives_a_feature_extractor() -> None:
    from flower_coded.learning.models import build_model

    for name, shape, width in (
        ("small-cnn", (1, 8, 8), 64),
        ("cnn4", (1, 28, 28), 128),
        ("resnet18", (3, 32, 32), 512),
    ):
        features, num_features = without_head(build_model(name, shape, 10))
        assert num_features == width
        assert features(torch.rand(2, *shape)).shape == (2, width)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ContrastiveSettings(temperature=0), "temperature must be positive; received 0"),
        (lambda: ContrastiveSettings(column_weight=-1), "column_weight must not be negative"),
        (lambda: ContrastiveSettings(margin=2), "margin must be a cosine"),
        (lambda: ContrastiveSettings(code_book_momentum=1), r"code_book_momentum must lie in \[0, 1\)"),
        (lambda: OutputCodeNetwork(nn.Flatten(), 4, 0), "num_bits must be at least 1; received 0"),
        (lambda: without_head(nn.Flatten()), "must end in a linear layer"),
        (lambda: without_head(nn.Linear(3, 2)), "must have layers before"),
        (lambda: simclr_augmentation((1, 8, 8), flip=False, images_per_draw=0), "images_per_draw"),
        (
            lambda: fine_tune(
                small_network(),
                *stripes(4, 0),
                np.zeros((4, 3)),
                training=TRAINING,
                settings=SETTINGS,
                update_code_book=True,
            ),
            r"code_book must have shape \(num_classes, 12\)",
        ),
    ],
)
def test_refuses_with_the_reason(build: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build()  # type: ignore[operator]
