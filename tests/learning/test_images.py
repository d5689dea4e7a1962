"""Data sets: shapes, layouts, limits and what is said where files are missing."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from flower_coded.errors import DataNotFoundError, ParameterError
from flower_coded.learning import ImageData, load_images
from flower_coded.learning.image_files import parse_idx


def write_idx(path: Path, array: np.ndarray, *, packed: bool) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if packed else content)


def write_mnist_like(folder: Path, *, packed: bool) -> None:
    suffix = "-ubyte.gz" if packed else "-ubyte"
    for part, count in (("train", 6), ("t10k", 4)):
        images = np.arange(count * 784).reshape(count, 28, 28) % 256
        write_idx(folder / f"{part}-images-idx3{suffix}", images, packed=packed)
        write_idx(folder / f"{part}-labels-idx1{suffix}", np.arange(count), packed=packed)


def test_digits_are_scikit_learns_with_every_image_once() -> None:
    from sklearn.datasets import load_digits

    data = load_images("digits", seed=3)
    together = np.concatenate([data.train_images, data.test_images]).reshape(1797, -1)
    original = np.rint(load_digits().data * (255 / 16)) / 255
    order, original_order = np.lexsort(together.T), np.lexsort(original.T)
    np.testing.assert_allclose(together[order], original[original_order], atol=1e-6)
    labels = np.concatenate([data.train_labels, data.test_labels])
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(load_digits().target))


def test_digits_depend_on_the_seed_and_on_nothing_else() -> None:
    first, other = load_images("digits", seed=0), load_images("digits", seed=1)
    assert load_images("digits", seed=0) is first
    assert not np.array_equal(first.train_labels, other.train_labels)


def test_shared_arrays_are_read_only() -> None:
    data = load_images("digits")
    with pytest.raises(ValueError, match="read-only"):
        data.train_images[0] = 0.0


def test_limits_keep_that_many_images() -> None:
    data = load_images("digits", limit=50, test_limit=20)
    assert (len(data.train_labels), len(data.test_labels)) == (50, 20)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw"])
def test_mnist_is_read_from_either_layout(tmp_path: Path, folder: str, packed: bool) -> None:
    write_mnist_like(tmp_path / folder, packed=packed)
    data = load_images("mnist", tmp_path)
    assert data.train_images.shape == (6, 1, 28, 28)
    np.testing.assert_allclose(data.train_images[0, 0, 0, :4] * 255, [0, 1, 2, 3], atol=1e-4)
    np.testing.assert_array_equal(data.test_labels, [0, 1, 2, 3])


def test_the_data_directory_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist_like(tmp_path / "fashion_mnist", packed=True)
    monkeypatch.setenv("FLOWER_CODED_DATA", str(tmp_path))
    assert load_images("fashion-mnist").image_shape == (1, 28, 28)


def test_color_images_become_channels_first(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "cifar10").mkdir()
    labels = np.arange(5)
    np.savez(tmp_path / "cifar10" / "part.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    data = load_images("cifar10", tmp_path)
    np.testing.assert_allclose(data.train_images[2, 1, 7, 9], images[2, 7, 9, 1] / 255, rtol=1e-6)


def test_tracks_of_traffic_signs_are_numbered_across_classes(tmp_path: Path) -> None:
    (tmp_path / "gtsrb").mkdir()
    images = np.zeros((4, 32, 32, 3), np.uint8)
    np.savez(
        tmp_path / "gtsrb" / "small.npz",
        x_train=images,
        y_train=[0, 0, 1, 1],
        track_train=[0, 0, 0, 1],
        x_test=images,
        y_test=[0, 1, 2, 3],
    )
    data = load_images("gtsrb", tmp_path)
    assert data.train_groups is not None
    assert data.train_groups.tolist() == [0, 0, 1, 2]


def test_traffic_signs_are_read_from_torchvisions_folders(tmp_path: Path) -> None:
    from PIL import Image

    training = tmp_path / "gtsrb" / "GTSRB" / "Training"
    testing = tmp_path / "gtsrb" / "GTSRB" / "Final_Test" / "Images"
    testing.mkdir(parents=True)
    for label, name, gray in ((3, "00000_00001", 10), (3, "00001_00000", 20), (7, "00000_00000", 30)):
        (training / f"{label:05d}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 50), (gray, 0, 0)).save(training / f"{label:05d}" / f"{name}.ppm")
    Image.new("RGB", (20, 20), (40, 0, 0)).save(testing / "00000.ppm")
    (tmp_path / "gtsrb" / "GT-final_test.csv").write_text("Filename;ClassId\n00000.ppm;7\n")
    data = load_images("gtsrb", tmp_path)
    assert data.train_labels.tolist() == [3, 3, 7]
    assert data.train_groups is not None
    assert data.train_groups.tolist() == [0, 1, 2]
    np.testing.assert_allclose(data.test_images[0, :, 5, 5] * 255, [40, 0, 0], atol=1e-4)


def test_missing_files_are_listed_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        load_images("mnist", tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "mnist") in message
    assert str(tmp_path / "MNIST" / "raw") in message
    assert "data-directory" in message
    assert "download=True" in message


@pytest.mark.parametrize(
    ("name", "reader", "method"), [("mnist", "MNIST", "mnist"), ("gtsrb", "GTSRB", "gtsrb")]
)
def test_download_asks_torchvision_and_then_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reader: str, method: str
) -> None:
    import torchvision.datasets

    asked: list[tuple[str, bool]] = []

    def fetch(root: str, download: bool = False, **options: object) -> None:
        asked.append((root, download))

    monkeypatch.setattr(torchvision.datasets, reader, fetch)
    with pytest.raises(DataNotFoundError):
        load_images(name, tmp_path, download=True)
    assert asked
    assert set(asked) == {(str(tmp_path), True)}


@pytest.mark.parametrize(
    "idx_bytes",
    [b"", b"\x00\x01\x08\x01", b"\x00\x00\x09\x01\x00\x00\x00\x00", b"\x00\x00\x08\x01\x00\x00\x00\x05ab"],
)
def test_parse_idx__refuses_other_bytes(idx_bytes: bytes) -> None:
    with pytest.raises(ParameterError):
        parse_idx(idx_bytes)


@pytest.mark.parametrize("name", ["digit", "MNIST", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="one of digits"):
        load_images(name)


def test_an_archive_without_its_arrays_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    np.savez(tmp_path / "cifar10" / "part.npz", x_train=np.zeros(3))
    with pytest.raises(ParameterError, match="y_train"):
        load_images("cifar10", tmp_path)


def test_image_data__refuses_what_does_not_fit_together() -> None:
    images, labels = np.zeros((3, 1, 8, 8), np.float32), np.zeros(3, np.int64)
    with pytest.raises(ParameterError, match="train_labels"):
        ImageData("x", images, labels[:2], images, labels, 10)
    with pytest.raises(ParameterError, match="test_images"):
        ImageData("x", images, labels, images[:, :, :4], labels, 10)
    with pytest.raises(ParameterError, match="test_labels"):
        ImageData("x", images, labels, images, labels + 10, 10)


@pytest.mark.parametrize(
    ("name", "shape", "num_classes"),
    [("mnist", (1, 28, 28), 10), ("fashion-mnist", (1, 28, 28), 10), ("cifar10", (3, 32, 32), 10)],
)
def test_the_real_sets_are_read(
    data_directory: Path, name: str, shape: tuple[int, int, int], num_classes: int
) -> None:
    data = load_images(name, data_directory, limit=100, test_limit=50)
    assert data.image_shape == shape
    assert data.num_classes == num_classes
    assert 0.1 < float(data.train_images.mean()) < 0.6


def test_real_mnist_has_its_published_label_counts(data_directory: Path) -> None:
    labels = load_images("mnist", data_directory).train_labels
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_limits_keep_whole_tracks_of_real_traffic_signs(data_directory: Path) -> None:
    whole = load_images("gtsrb", data_directory)
    part = load_images("gtsrb", data_directory, limit=700)
    assert whole.train_groups is not None
    assert part.train_groups is not None
    sizes = np.bincount(whole.train_groups)
    kept, counts = np.unique(part.train_groups, return_counts=True)
    np.testing.assert_array_equal(counts, sizes[kept])
    assert 650 <= len(part.train_labels) <= 700


def test_validation_images_are_set_aside_from_training_and_the_rest_stays_as_it_was() -> None:
    whole, split = load_images("digits", seed=3), load_images("digits", seed=3, num_validation=200)
    assert whole.validation_images is whole.validation_labels is None
    assert split.validation_images is not None
    assert split.validation_labels is not None
    assert len(split.train_labels) == 1000
    assert len(split.validation_labels) == 200
    np.testing.assert_array_equal(split.test_images, whole.test_images)
    together = np.concatenate([split.train_images, split.validation_images]).reshape(1200, -1)
    before = whole.train_images.reshape(1200, -1)
    np.testing.assert_array_equal(together[np.lexsort(together.T)], before[np.lexsort(before.T)])
    other = load_images("digits", seed=4, num_validation=200)
    assert not np.array_equal(other.validation_labels, split.validation_labels)
    with pytest.raises(ValueError, match="read-only"):
        split.validation_images[0] = 0.0


@pytest.mark.parametrize("count", [-1, 1200])
def test_as_many_validation_images_as_there_are_cannot_be_set_aside(count: int) -> None:
    with pytest.raises(ParameterError, match=r"^validation-images"):
        load_images("digits", num_validation=count)


def test_traffic_signs_set_whole_tracks_aside(tmp_path: Path) -> None:
    labels = np.repeat([0, 0, 1, 1], 30)
    (tmp_path / "gtsrb").mkdir()
    np.savez(
        tmp_path / "gtsrb" / "part.npz",
        x_train=np.random.default_rng(0).integers(0, 256, (120, 32, 32, 3), dtype=np.uint8),
        y_train=labels,
        track_train=np.repeat([0, 1, 0, 1], 30),
        x_test=np.zeros((2, 32, 32, 3), np.uint8),
        y_test=np.array([0, 1]),
    )
    data = load_images("gtsrb", tmp_path, num_validation=40)
    assert data.validation_labels is not None
    assert data.train_groups is not None
    assert len(data.validation_labels) == 30
    assert sorted(np.bincount(data.train_groups, minlength=4).tolist()) == [0, 30, 30, 30]
    with pytest.raises(ParameterError, match=r"^validation-images must leave some"):
        load_images("gtsrb", tmp_path, num_validation=20)


def test_gray_images_get_three_equal_channels_and_color_images_keep_theirs(tmp_path: Path) -> None:
    write_mnist_like(tmp_path / "mnist", packed=False)
    gray, repeated = load_images("mnist", tmp_path), load_images("mnist", tmp_path, channels=3)
    assert (gray.image_shape, repeated.image_shape) == ((1, 28, 28), (3, 28, 28))
    for channel in range(3):
        np.testing.assert_array_equal(repeated.train_images[:, channel], gray.train_images[:, 0])
        np.testing.assert_array_equal(repeated.test_images[:, channel], gray.test_images[:, 0])
    with pytest.raises(ParameterError, match=r"^image-channels must be 0, 1 or 3"):
        load_images("mnist", tmp_path, channels=2)
