"""Image sets in files: where they are looked for, and how each layout is read.

For every set two layouts are accepted under one data directory, tried in this order:

=================  ==============================  ===================================
set                plain folder                    torchvision's own
=================  ==============================  ===================================
``mnist``          ``mnist/*-ubyte[.gz]``          ``MNIST/raw/*-ubyte[.gz]``
``fashion-mnist``  ``fashion_mnist/*-ubyte[.gz]``  ``FashionMNIST/raw/*-ubyte[.gz]``
``cifar10``        ``cifar10/*.npz``               ``cifar-10-batches-py/``
``gtsrb``          ``gtsrb/*.npz``                 ``gtsrb/GTSRB/Training/`` and beside
=================  ==============================  ===================================

A ``.npz`` holds ``x_train``, ``y_train``, ``x_test``, ``y_test`` (uint8 images (N, H, W, C), integer labels)
and, for traffic signs, ``track_train``. Files are read without pickle except by torchvision's own CIFAR-10
reader, which checks each file's digest first. The IDX format of MNIST is two zero bytes, a type byte (8 for
uint8), the number of axes, each axis' length as a big-endian 32-bit integer, and the bytes [1]_.

References
----------
.. [1] LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import DataNotFoundError, ParameterError

__all__ = ["RawImages", "parse_idx", "read_images"]

_IDX_UINT8 = 8
_IDX_PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_FOLDERS = {"mnist": ("mnist", "MNIST"), "fashion-mnist": ("fashion_mnist", "FashionMNIST")}
_SIGN_SIZE = (32, 32)


class RawImages(NamedTuple):
    """Images as the files hold them: uint8 of shape (N, C, H, W), with labels; groups and ids where known."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    num_classes: int
    train_groups: NDArray[np.int64] | None = None
    train_ids: NDArray[np.int64] | None = None


def read_images(name: str, directory: Path, *, download: bool = False) -> RawImages:
    """Read a set from whichever layout is there; fetch it with torchvision first if asked and absent.

    Parameters
    ----------
    name : str
        ``"mnist"``, ``"fashion-mnist"``, ``"cifar10"`` or ``"gtsrb"``.
    directory : Path
        The data directory.
    download : bool
        Let torchvision fetch what is missing into ``directory``.

    Returns
    -------
    RawImages

    Raises
    ------
    DataNotFoundError
        If neither layout is there; the message lists every place and what to do.
    ParameterError
        If a file is there but is not what its name says.
    """
    raw = _read_any(name, directory)
    if raw is None and download:
        _download(name, directory)
        raw = _read_any(name, directory)
    if raw is None:
        raise DataNotFoundError(name, [str(place) for place in _places(name, directory)])
    return raw


def parse_idx(idx_bytes: bytes) -> NDArray[np.uint8]:
    """Array held by the bytes of an IDX file of unsigned bytes.

    Parameters
    ----------
    idx_bytes : bytes
        The file's content, unpacked.

    Returns
    -------
    ndarray, uint8
        Read-only view of the bytes in the shape that the header states.

    Raises
    ------
    ParameterError
        If the header is not one of an IDX file of unsigned bytes, or the length differs from it.

    Examples
    --------
    >>> parse_idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    array([[7, 8, 9]], dtype=uint8)
    """
    if len(idx_bytes) < 4 or idx_bytes[:2] != b"\0\0" or idx_bytes[2] != _IDX_UINT8:
        raise ParameterError("idx_bytes", "must start with the header 00 00 08", idx_bytes[:4])
    num_axes = idx_bytes[3]
    start = 4 + 4 * num_axes
    shape = tuple(np.frombuffer(idx_bytes[4:start], dtype=">u4").tolist())
    if len(idx_bytes) - start != math.prod(shape):
        raise ParameterError("idx_bytes", f"must hold {shape} bytes after its header", len(idx_bytes) - start)
    return np.frombuffer(idx_bytes, dtype=np.uint8, offset=start).reshape(shape)


def _places(name: str, directory: Path) -> list[Path]:
    if name in _FOLDERS:
        plain, torchvision_name = _FOLDERS[name]
        file_name = f"{_IDX_PARTS[0]}-ubyte[.gz]"
        return [directory / plain / file_name, directory / torchvision_name / "raw" / file_name]
    torchvision_place = {"cifar10": "cifar-10-batches-py/data_batch_1", "gtsrb": "gtsrb/GTSRB/Training"}[name]
    return [directory / name / "*.npz", directory / torchvision_place]


def _read_any(name: str, directory: Path) -> RawImages | None:
    if name in _FOLDERS:
        plain, torchvision_name = _FOLDERS[name]
        return _read_idx(directory / plain) or _read_idx(directory / torchvision_name / "raw")
    archives = sorted((directory / name).glob("*.npz"))
    if archives:
        return _read_npz(archives[0], name)
    readers: dict[str, Callable[[Path], RawImages | None]] = {"cifar10": _read_cifar10, "gtsrb": _read_gtsrb}
    return readers[name](directory)


def _read_idx(folder: Path) -> RawImages | None:
    arrays = []
    for part in _IDX_PARTS:
        plain, packed = folder / f"{part}-ubyte", folder / f"{part}-ubyte.gz"
        if plain.is_file():
            arrays.append(parse_idx(plain.read_bytes()))
        elif packed.is_file():
            arrays.append(parse_idx(gzip.decompress(packed.read_bytes())))
        else:
            return None
    train_images, train_labels, test_images, test_labels = arrays
    return RawImages(
        train_images[:, None],
        train_labels.astype(np.int64),
        test_images[:, None],
        test_labels.astype(np.int64),
        num_classes=10,
    )


def _read_npz(path: Path, name: str) -> RawImages:
    needed = ["x_train", "y_train", "x_test", "y_test"] + (["track_train"] if name == "gtsrb" else [])
    with np.load(path, allow_pickle=False) as archive:
        missing = sorted(set(needed) - set(archive.files))
        if missing:
            raise ParameterError(str(path), f"must hold the arrays {', '.join(needed)}", archive.files)
        x_train, y_train, x_test, y_test, *tracks = (archive[key] for key in needed)
    labels = y_train.astype(np.int64)
    return RawImages(
        _channels_first(x_train),
        labels,
        _channels_first(x_test),
        y_test.astype(np.int64),
        num_classes=43 if name == "gtsrb" else 10,
        train_groups=_track_groups(labels, tracks[0]) if tracks else None,
    )


def _read_cifar10(directory: Path) -> RawImages | None:
    if not (directory / "cifar-10-batches-py").is_dir():
        return None
    from torchvision.datasets import CIFAR10

    train, test = (CIFAR10(str(directory), train=part) for part in (True, False))
    return RawImages(
        _channels_first(np.asarray(train.data)),
        np.asarray(train.targets, dtype=np.int64),
        _channels_first(np.asarray(test.data)),
        np.asarray(test.targets, dtype=np.int64),
        num_classes=10,
    )


def _read_gtsrb(directory: Path) -> RawImages | None:
    root = directory / "gtsrb"
    training = sorted((root / "GTSRB" / "Training").glob("*/*.ppm"))
    answers = root / "GT-final_test.csv"
    if not training or not answers.is_file():
        return None
    with answers.open(encoding="ascii", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    testing = [root / "GTSRB" / "Final_Test" / "Images" / row["Filename"] for row in rows]
    labels = np.array([int(path.parent.name) for path in training], dtype=np.int64)
    tracks = np.array([int(path.stem.split("_")[0]) for path in training], dtype=np.int64)
    return RawImages(
        _channels_first(np.stack([_resized_sign(path) for path in training])),
        labels,
        _channels_first(np.stack([_resized_sign(path) for path in testing])),
        np.array([int(row["ClassId"]) for row in rows], dtype=np.int64),
        num_classes=43,
        train_groups=_track_groups(labels, tracks),
    )


def _download(name: str, directory: Path) -> None:
    from torchvision import datasets

    if name == "gtsrb":
        for split in ("train", "test"):
            datasets.GTSRB(str(directory), split=split, download=True)
    else:
        classes = {
            "mnist": datasets.MNIST,
            "fashion-mnist": datasets.FashionMNIST,
            "cifar10": datasets.CIFAR10,
        }
        classes[name](str(directory), download=True)


def _track_groups(labels: NDArray[np.int64], tracks: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number per (class, track): a track's number is unique only within its class."""
    pairs = np.stack([labels, tracks.astype(np.int64)], axis=1)
    groups: NDArray[np.int64] = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return groups


def _channels_first(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _resized_sign(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(path) as image:
        resized = image.convert("RGB").resize(_SIGN_SIZE, Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8)
