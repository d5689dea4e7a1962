"""Labeled images: the embedded digits and four public sets read from a data directory, offline or not.

:func:`load_images` returns float32 images of shape (N, C, H, W) in [0, 1] with int64 labels. Nothing is
augmented and nothing is normalized here: models do that, so that a trigger is drawn in pixel units.

The set ``"digits"`` ships with scikit-learn and needs no file. The others are looked for in a data directory,
in a plain folder layout or in torchvision's own; ``download=True`` lets torchvision fetch what is missing.

Left out: augmentation, and any set whose images differ in size (traffic signs are resized to 32 x 32).
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import ParameterError
from flower_coded.learning.flwr_datasets_bridge import SOURCE, raw_images, read_source
from flower_coded.learning.image_files import RawImages, read_images

__all__ = ["DATASET_NAMES", "ImageData", "load_images"]

DATASET_NAMES = ("digits", "mnist", "fashion-mnist", "cifar10", "gtsrb")

_NUM_DIGITS_TRAIN = 1200  # 12 users of 100 images, as the demonstration divides them


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set with its training and test parts; the arrays are read-only.

    Attributes
    ----------
    name : str
        One of :data:`DATASET_NAMES`, or a name of your own.
    train_images, test_images : ndarray of shape (N, C, H, W), float32
        Pixels in [0, 1].
    train_labels, test_labels : ndarray of shape (N,), int64
        Classes ``0 .. num_classes - 1``.
    num_classes : int
        ``c``.
    train_groups : ndarray of shape (N,), int64, or None
        Images of one group are near-identical (the frames of one traffic sign's track) and must stay
        together in every split. None where every image stands alone.
    train_ids : ndarray of shape (N,), int64, or None
        Whose each image is: a traffic sign's track, a writer. None where the set does not say.
    validation_images, validation_labels : ndarray, or None
        Images that were set aside before the training set is divided, to choose settings and rounds on.

    Raises
    ------
    ParameterError
        If shapes, types, pixel range or labels do not fit together.

    Examples
    --------
    >>> data = load_images("digits")
    >>> data.train_images.shape, data.test_images.shape, data.num_classes, data.image_shape
    ((1200, 1, 8, 8), (597, 1, 8, 8), 10, (1, 8, 8))
    """

    name: str
    train_images: NDArray[np.float32] = field(repr=False)
    train_labels: NDArray[np.int64] = field(repr=False)
    test_images: NDArray[np.float32] = field(repr=False)
    test_labels: NDArray[np.int64] = field(repr=False)
    num_classes: int
    train_groups: NDArray[np.int64] | None = field(default=None, repr=False)
    train_ids: NDArray[np.int64] | None = field(default=None, repr=False)
    validation_images: NDArray[np.float32] | None = field(default=None, repr=False)
    validation_labels: NDArray[np.int64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.validation_images is None) != (self.validation_labels is None):
            raise ParameterError(
                "validation_labels", "must come with validation_images, and only there", None
            )
        for part in ("train", "test", *(() if self.validation_images is None else ("validation",))):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            _check_part(part, images, labels, self.num_classes)
            if images.shape[1:] != self.image_shape:
                raise ParameterError(
                    f"{part}_images", f"must have image shape {self.image_shape}", images.shape[1:]
                )
        for name in ("train_groups", "train_ids"):
            given = getattr(self, name)
            if given is not None and given.shape != self.train_labels.shape:
                raise ParameterError(name, "must hold one for each image", given.shape)
        for part in ("train", "test", "validation"):
            for array in (getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")):
                if array is not None:
                    array.flags.writeable = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width


def load_images(
    name: str,
    data_directory: str | Path | None = None,
    *,
    seed: int = 0,
    limit: int | None = None,
    test_limit: int | None = None,
    num_validation: int = 0,
    channels: int = 0,
    download: bool = False,
) -> ImageData:
    """Read a data set by name; every process that asks with the same arguments gets the same arrays.

    Parameters
    ----------
    name : str
        ``"digits"`` (embedded), ``"mnist"``, ``"fashion-mnist"``, ``"cifar10"``, ``"gtsrb"``, or a set that
        ``flwr-datasets`` loads (:mod:`flower_coded.learning.flwr_datasets_bridge`).
    data_directory : str, path or None
        Where the files are. None or ``""`` means the environment variable ``FLOWER_CODED_DATA``, else
        ``data`` in the working directory. ``digits`` does not look at it.
    seed : int
        Chooses the training and test parts of ``digits`` and the images that a limit keeps.
    limit, test_limit : int or None
        Keep that many training and test images, drawn without replacement; of traffic signs, whole tracks.
    num_validation : int
        Set that many of the training images aside for validation, drawn from the seed; of traffic signs,
        whole tracks, at most as many.
    channels : int
        3 repeats the one channel of gray images three times; 0 leaves images as they are.
    download : bool
        Let torchvision fetch missing files into the data directory. Needs a network.

    Returns
    -------
    ImageData
        Shared between callers in one process, hence read-only.

    Raises
    ------
    ParameterError
        If the name is unknown, a limit is below 1, too few images are left, or the channels cannot be had.
    DataNotFoundError
        If no file is where it was looked for; the message lists the places.
    """
    if name.startswith(SOURCE):
        read_source(name)
    elif name not in DATASET_NAMES:
        raise ParameterError(
            "name",
            "must be a known data set",
            name,
            hint=f"one of {', '.join(DATASET_NAMES)}, or {SOURCE}NAME",
        )
    for parameter, value in (("limit", limit), ("test_limit", test_limit)):
        if value is not None and value < 1:
            raise ParameterError(parameter, "must be at least 1", value, hint="None keeps every image")
    if channels not in (0, 1, 3):
        raise ParameterError(
            "image-channels", "must be 0, 1 or 3", channels, hint="0 leaves images as they are"
        )
    if num_validation < 0:
        raise ParameterError("validation-images", "must not be negative", num_validation)
    directory = str(_data_directory(data_directory))
    return _load(name, directory, seed, limit, test_limit, num_validation, channels, download)


@functools.lru_cache(maxsize=4)
def _load(
    name: str,
    directory: str,
    seed: int,
    limit: int | None,
    test_limit: int | None,
    num_validation: int,
    channels: int,
    download: bool,
) -> ImageData:
    generator = np.random.default_rng([seed, 0x1A6E5])
    if name.startswith(SOURCE):
        raw = raw_images(name, seed)
    else:
        raw = (
            _digits(generator) if name == "digits" else read_images(name, Path(directory), download=download)
        )
    ids = raw.train_groups if raw.train_ids is None else raw.train_ids
    train = _keep(len(raw.train_labels), limit, raw.train_groups, generator)
    test = _keep(len(raw.test_labels), test_limit, None, generator)
    train, validation = _set_aside(train, num_validation, raw.train_groups, seed)

    def pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _with_channels(_as_pixels(images), channels)

    return ImageData(
        name=name,
        train_images=pixels(raw.train_images[train]),
        train_labels=raw.train_labels[train].astype(np.int64),
        test_images=pixels(raw.test_images[test]),
        test_labels=raw.test_labels[test].astype(np.int64),
        num_classes=raw.num_classes,
        train_groups=None if raw.train_groups is None else raw.train_groups[train],
        train_ids=None if ids is None else ids[train],
        validation_images=pixels(raw.train_images[validation]) if num_validation else None,
        validation_labels=raw.train_labels[validation].astype(np.int64) if num_validation else None,
    )


def _data_directory(data_directory: str | Path | None) -> Path:
    return Path(data_directory or os.environ.get("FLOWER_CODED_DATA") or "data").expanduser()


def _digits(generator: np.random.Generator) -> RawImages:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8)
    order = generator.permutation(len(images))
    train, test = order[:_NUM_DIGITS_TRAIN], order[_NUM_DIGITS_TRAIN:]
    labels = digits.target.astype(np.int64)
    return RawImages(images[train], labels[train], images[test], labels[test], num_classes=10)


def _keep(
    count: int, limit: int | None, groups: NDArray[np.int64] | None, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Give indices of at most ``limit`` images, in ascending order; whole groups where there are groups."""
    if limit is None or limit >= count:
        return np.arange(count)
    if groups is None:
        return np.sort(generator.permutation(count)[:limit])
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = generator.permutation(len(sizes))
    kept = order[np.cumsum(sizes[order]) <= limit]
    return np.flatnonzero(np.isin(group_of, kept))


def _set_aside(
    train: NDArray[np.int64], count: int, groups: NDArray[np.int64] | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split training indices into those that stay and ``count`` for validation."""
    if not count:
        return train, train[:0]
    # A stream of its own: what a limit keeps does not depend on what is set aside.
    generator = np.random.default_rng([seed, 0x7A11D])
    aside = _keep(len(train), count, None if groups is None else groups[train], generator)
    if not 0 < len(aside) < len(train):
        raise ParameterError(
            "validation-images", f"must leave some of {len(train)} images, and hold a whole group", count
        )
    return np.delete(train, aside), train[aside]


def _with_channels(images: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    if channels in (0, images.shape[1]):
        return images
    if images.shape[1] != 1:
        raise ParameterError("image-channels", f"must be 0 or {images.shape[1]} for color images", channels)
    # A view that repeats: three channels of Fashion-MNIST as copies would take 560 MB.
    return np.broadcast_to(images, (len(images), channels, *images.shape[2:]))


def _as_pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.astype(np.float32) / np.float32(255)


def _check_part(part: str, images: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int) -> None:
    if images.ndim != 4 or images.dtype != np.float32:
        raise ParameterError(
            f"{part}_images", "must be float32 of shape (N, C, H, W)", f"{images.dtype} {images.shape}"
        )
    if labels.shape != images.shape[:1] or labels.dtype != np.int64:
        raise ParameterError(f"{part}_labels", f"must be int64 of shape {images.shape[:1]}", labels.shape)
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= num_classes:
        raise ParameterError(f"{part}_labels", f"must be classes 0 to {num_classes - 1}", np.unique(labels))
