"""The trained ensemble as one classifier and one file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from flower_coded.attacks import PixelTrigger, draw_backdoor
from flower_coded.codes import SubsetDecoder, backdoor_correction_code, confusion_counts
from flower_coded.errors import ParameterError
from flower_coded.learning import (
    CodedEnsemble,
    ImageData,
    build_model,
    get_state,
    load_images,
    predict_stacked,
    stack_states,
    train,
)

CODE = backdoor_correction_code(1, 2, 3)  # three models of two users each
POISONER = 1
PRIOR = [0.5, 0.5]  # nobody or one: two attackers would reach all three models
PAPER = ("posterior", {"attacker_prior": PRIOR})


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_images("digits")


@pytest.fixture(scope="module")
def ensemble(data: ImageData) -> CodedEnsemble:
    """Three models, each trained on its users' images together; user 1 plants a backdoor."""
    parts = np.array_split(np.arange(len(data.train_labels)), 3)
    backdoor = draw_backdoor(PixelTrigger, data.image_shape, 10, seed=0, rate=0.3, target=0)
    users = [(data.train_images[part], data.train_labels[part]) for part in parts]
    poisoned = backdoor.craft(*users[POISONER], np.random.default_rng(0))
    users[POISONER] = (poisoned.images, poisoned.labels)
    states = []
    for model_number in range(CODE.num_models):
        model = build_model("small-cnn", data.image_shape, 10, seed=model_number)
        own = [users[user] for user in CODE.users_of(model_number)]
        images, labels = (np.concatenate(each) for each in zip(*own, strict=True))
        train(
            model,
            images,
            labels,
            epochs=8,
            batch_size=32,
            learning_rate=0.05,
            optimizer="sgd",
            seed=model_number,
        )
        states.append(get_state(model))
    stacked = stack_states(states)
    answers = predict_stacked(model, stacked, data.test_images[:300])
    confusion = confusion_counts(answers, data.test_labels[:300], 10)
    return CodedEnsemble(CODE, stacked, confusion, data.image_shape, "small-cnn", None, *PAPER)


def triggered(data: ImageData) -> np.ndarray:
    backdoor = draw_backdoor(PixelTrigger, data.image_shape, 10, seed=0, target=0)
    return backdoor.trigger.apply(data.test_images[300:])


def test_predict__is_right_about_clean_images(ensemble: CodedEnsemble, data: ImageData) -> None:
    accuracy = (ensemble.predict(data.test_images[300:]) == data.test_labels[300:]).mean()
    assert accuracy > 0.9


def test_triggered_images_are_noticed_and_the_poisoner_is_named(
    ensemble: CodedEnsemble, data: ImageData
) -> None:
    images, others = triggered(data), data.test_labels[300:] != 0
    assert (ensemble.attack_probability(images)[others] > 0.5).mean() > 0.7
    assert (ensemble.attack_probability(data.test_images[300:]) > 0.5).mean() < 0.2
    named = ensemble.suspects(images)[others].mean(axis=0)
    assert named.argmax() == POISONER


def test_answers_are_the_decoders(ensemble: CodedEnsemble, data: ImageData) -> None:
    images = data.test_images[300:340]
    expected = SubsetDecoder(CODE, ensemble.confusion, attacker_prior=PRIOR).decode(
        ensemble.predict_models(images)
    )
    np.testing.assert_array_equal(ensemble.predict(images), expected.labels)
    np.testing.assert_array_equal(ensemble.predict_proba(images), expected.label_probabilities)
    np.testing.assert_array_equal(ensemble.attack_probability(images), expected.attack_probability)
    np.testing.assert_array_equal(ensemble.suspects(images), expected.suspects)
    np.testing.assert_allclose(ensemble.predict_proba(images).sum(axis=1), 1.0)


def test_save__and_load_give_the_same_classifier(
    ensemble: CodedEnsemble, data: ImageData, tmp_path: Path
) -> None:
    path = ensemble.save(tmp_path / "deep" / "ensemble")
    assert path == tmp_path / "deep" / "ensemble.npz"
    loaded = CodedEnsemble.load(path)
    assert loaded.code == ensemble.code
    assert (loaded.code.kind, loaded.code.num_attackers) == ("correction", 1)
    np.testing.assert_array_equal(
        loaded.predict_proba(data.test_images[:50]), ensemble.predict_proba(data.test_images[:50])
    )


def test_the_file_needs_no_pickle(ensemble: CodedEnsemble, tmp_path: Path) -> None:
    with np.load(ensemble.save(tmp_path / "e.npz"), allow_pickle=False) as archive:
        assert all(archive[key].dtype != object for key in archive.files)


def test_an_architecture_without_a_name_is_given_when_loading(tmp_path: Path) -> None:
    def network() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))

    states = stack_states([get_state(network()) for _ in range(3)])
    confusion = np.tile(np.eye(2), (3, 1, 1))
    path = CodedEnsemble(CODE, states, confusion, (1, 2, 2), model=network()).save(tmp_path / "own.npz")
    images = np.random.default_rng(0).random((5, 1, 2, 2), dtype=np.float32)
    assert CodedEnsemble.load(path, network()).predict(images).shape == (5,)
    with pytest.raises(ParameterError, match="model_name"):
        CodedEnsemble.load(path)


def test_decoder_settings_are_kept_in_the_file(ensemble: CodedEnsemble, tmp_path: Path) -> None:
    told = CodedEnsemble(
        CODE,
        ensemble.stacked_state,
        ensemble.confusion,
        ensemble.image_shape,
        "small-cnn",
        decoder_name="unknown-obedience",
        decoder_options={"attack_rate": 0.1, "attacker_prior": [0.7, 0.3]},
    )
    loaded = CodedEnsemble.load(told.save(tmp_path / "e.npz"))
    assert loaded.decoder_name == "unknown-obedience"
    assert loaded.decoder_options == told.decoder_options
    assert repr(loaded.decoder) == repr(told.decoder)


def test_a_stream_is_learned_from_batch_by_batch(ensemble: CodedEnsemble, data: ImageData) -> None:
    joint = replace(ensemble, decoder_name="joint", decoder_options={})
    clean, marked = data.test_images[300:], triggered(data)
    memory = None
    for images in (*np.array_split(clean, 3), *np.array_split(marked, 3)):
        memory = joint.observe(memory, images)
    others = data.test_labels[300:] != 0
    assert (joint.attack_probability(marked, memory)[others] > 0.5).mean() > 0.7
    assert (joint.predict(clean, memory) == data.test_labels[300:]).mean() > 0.9
    accused = joint.named(marked, memory)[others].mean(axis=0)
    assert accused[[user for user in range(3) if user != POISONER]].max() == 0.0


def test_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ParameterError, match="format"):
        CodedEnsemble.load(tmp_path / "other.npz")


def test_parts_that_do_not_belong_together_are_refused(ensemble: CodedEnsemble) -> None:
    two = {key: array[:2] for key, array in ensemble.stacked_state.items()}
    with pytest.raises(ParameterError, match="3 models"):
        CodedEnsemble(CODE, two, ensemble.confusion, ensemble.image_shape, "small-cnn")
    with pytest.raises(ParameterError):
        CodedEnsemble(CODE, ensemble.stacked_state, ensemble.confusion[:2], ensemble.image_shape, "small-cnn")
    with pytest.raises(ParameterError, match="images"):
        ensemble.predict(np.zeros((2, 1, 9, 9), np.float32))
