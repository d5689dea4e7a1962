"""A bridge to ``flwr-datasets`` (extra ``datasets``): its partitioners divide our sets, its sets are ours.

A partitioner is named as a call, ``"DirichletPartitioner(alpha=0.3, self_balancing=True)"``. The number of
users, the column it divides by and the seed are filled in where the class asks for them; what stands in the
call are plain values, nothing of it is evaluated. A data set is named ``"flwr-datasets:NAME"``, with the
names of columns where several could be meant,
``"flwr-datasets:flwrlabs/femnist?label=character&ids=writer_id"``. ``NAME`` is one of the Hugging Face hub's,
or a directory of files that ``datasets`` reads.

Left out: sets that are not images; vertical partitioners, which divide columns; those that take functions
or arrays, which are no plain values; and those by natural ids, which would divide by class here: that is
``partition=natural``.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import DataNotFoundError, ParameterError
from flower_coded.learning.division import Division
from flower_coded.learning.image_files import RawImages

if TYPE_CHECKING:
    from flower_coded.learning.partition import Asked

__all__ = ["SOURCE", "check_call", "divide_by_call", "divide_with", "raw_images", "read_source"]

SOURCE = "flwr-datasets:"
"""How the name of a data set begins that ``flwr-datasets`` loads."""

_INDEX, _LABEL = "index", "label"
_FILLED_IN = ("num_partitions", "partition_by", "seed")
_LEFT_OUT = ("Partitioner", "IdToSizeFncPartitioner", "DistributionPartitioner")


def check_call(text: str) -> tuple[Any, dict[str, Any]]:
    """Read a partitioner's call without making it.

    Parameters
    ----------
    text : str
        ``"Name(key=value, ...)"``.

    Returns
    -------
    cls : type
        A class of ``flwr_datasets.partitioner``.
    arguments : dict
        What the call says.

    Raises
    ------
    ParameterError
        If it is no such call, names what is not there, gives what is filled in, or ``flwr-datasets`` is not
        installed.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or call.args:
            raise ValueError(text)
        arguments = {each.arg or "**": ast.literal_eval(each.value) for each in call.keywords}
        if len(arguments) < len(call.keywords):
            raise ValueError("a name is given twice")
    except (SyntaxError, ValueError):
        raise ParameterError(
            "partition",
            "must be a call with named plain values",
            text,
            hint="PathologicalPartitioner(num_classes_per_partition=2), say",
        ) from None
    partitioners = _import("flwr_datasets.partitioner")
    names = [
        name
        for name in partitioners.__all__
        if name not in _LEFT_OUT and "Vertical" not in name and "NaturalId" not in name
    ]
    if call.func.id not in names:
        hint = "the ids of a data set are divided by partition=natural" if "NaturalId" in text else ""
        raise ParameterError("partition", f"must be a call of {', '.join(names)}", text, hint=hint)
    cls = getattr(partitioners, call.func.id)
    known = set(inspect.signature(cls).parameters)
    for key in arguments:
        if key in _FILLED_IN or key not in known:
            free = sorted(known - set(_FILLED_IN))
            raise ParameterError("partition", f"must give {call.func.id} nothing but {', '.join(free)}", text)
    return cls, arguments


def divide_by_call(
    text: str, labels: NDArray[np.int64], num_users: int, asked: Asked, generator: np.random.Generator
) -> Division:
    """Divide samples by the partitioner that a call names.

    Parameters
    ----------
    text : str
        See :func:`check_call`.
    labels : ndarray of shape (N,), int64
        Classes.
    num_users : int
        Partitions there must be.
    asked : Asked
        Its seed is the partitioner's; of ``samples_per_user`` times ``num_users`` samples, drawn first, the
        partitioner divides all.
    generator : numpy.random.Generator
        Draws and orders the samples: some partitioners take them as they come.

    Returns
    -------
    Division

    Raises
    ------
    ParameterError
        If the partitioner refuses, or makes another number of partitions.
    """
    cls, arguments = check_call(text)
    filled = {"num_partitions": num_users, "partition_by": _LABEL, "seed": asked.seed}
    known = inspect.signature(cls).parameters
    try:
        partitioner = cls(**arguments, **{key: value for key, value in filled.items() if key in known})
        return divide_with(partitioner, labels, num_users, generator, samples_per_user=asked.samples_per_user)
    except ParameterError:
        raise
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        raise ParameterError(
            "partition", f"must be one that divides {len(labels)} samples: {error}", text
        ) from error


def divide_with(
    partitioner: Any,
    labels: NDArray[np.int64],
    num_users: int,
    generator: np.random.Generator,
    *,
    samples_per_user: int | None = None,
) -> Division:
    """Divide samples by a partitioner object that has no data set yet.

    Parameters
    ----------
    partitioner : flwr_datasets.partitioner.Partitioner
        Divides by the column ``"label"``.
    labels : ndarray of shape (N,), int64
        Classes.
    num_users : int
        Partitions there must be.
    generator : numpy.random.Generator
        Draws and orders the samples.
    samples_per_user : int or None
        Mean number of samples; None divides all.

    Returns
    -------
    Division

    Raises
    ------
    ParameterError
        If there are not that many samples, or the partitioner makes another number of partitions.
    """
    number = len(labels) if samples_per_user is None else samples_per_user * num_users
    if not num_users <= number <= len(labels):
        if not 1 <= num_users <= len(labels):
            raise ParameterError("num_users", f"must lie between 1 and {len(labels)} samples", num_users)
        raise ParameterError(
            "samples_per_user", f"must lie between 1 and {len(labels) // num_users}", samples_per_user
        )
    chosen = generator.permutation(len(labels))[:number]
    dataset = _import("datasets").Dataset
    partitioner.dataset = dataset.from_dict({_INDEX: chosen, _LABEL: labels[chosen]})
    if partitioner.num_partitions != num_users:
        raise ParameterError(
            "partition", f"must make {num_users} partitions, one for each user", partitioner.num_partitions
        )
    parts = [
        np.asarray(partitioner.load_partition(user)[_INDEX], dtype=np.int64) for user in range(num_users)
    ]
    return Division([generator.permutation(part) for part in parts], len(labels))


@dataclass(frozen=True)
class Source:
    """A data set's name and its columns, as far as they were named."""

    name: str
    image: str = ""
    label: str = ""
    ids: str = ""


def read_source(text: str) -> Source:
    """Read ``"flwr-datasets:NAME?label=...&ids=..."``.

    Parameters
    ----------
    text : str
        With or without columns.

    Returns
    -------
    Source

    Raises
    ------
    ParameterError
        If there is no name, or a key is not ``image``, ``label`` or ``ids``.

    Examples
    --------
    >>> read_source("flwr-datasets:flwrlabs/femnist?label=character&ids=writer_id")
    Source(name='flwrlabs/femnist', image='', label='character', ids='writer_id')
    """
    name, _, query = text.removeprefix(SOURCE).partition("?")
    columns = dict(parse_qsl(query))
    if not name or not set(columns) <= {"image", "label", "ids"} or (query and not columns):
        raise ParameterError(
            "dataset", "must be flwr-datasets:NAME, with ?image=, label= or ids= joined by &", text
        )
    return Source(name, **columns)


def raw_images(text: str, seed: int) -> RawImages:
    """Load a data set by its name through ``flwr-datasets``.

    Parameters
    ----------
    text : str
        See :func:`read_source`.
    seed : int
        Draws the tenth of the images that is held out where a set has no part ``test``.

    Returns
    -------
    RawImages
        With the ids of the column named for them.

    Raises
    ------
    ParameterError
        If a column is not there or not what it should be, or images differ in size.
    DataNotFoundError
        If there is no such data set, or no way to it.
    """
    source, module = read_source(text), _import("flwr_datasets")
    try:
        federated = module.FederatedDataset(dataset=source.name, partitioners={}, shuffle=False)
        train = federated.load_split("train")
        splits = federated._dataset  # what was loaded: there is no public way to ask for its parts
    except (OSError, ValueError, RuntimeError) as error:
        raise DataNotFoundError(source.name, [f"{SOURCE}{source.name} ({error})"]) from error
    if len(train) < 2:
        raise ParameterError("dataset", "must have at least two images", len(train))
    if "test" in splits:
        test = splits["test"]
    else:
        order = np.random.default_rng([seed, 0x7E57]).permutation(len(train))
        held_out = max(1, len(train) // 10)
        train, test = train.select(order[held_out:]), train.select(order[:held_out])
    return _raw(train, test, source)


def _raw(train: Any, test: Any, source: Source) -> RawImages:
    image = source.image or _only(train, "Image", "image")
    label = source.label or _only(train, "ClassLabel", "label")
    for column in (image, label, *([source.ids] if source.ids else [])):
        if column not in train.features:
            raise ParameterError("dataset", f"must have a column {column}", sorted(train.features))
    names, train_labels = np.unique(_values(train, label), return_inverse=True)
    of_test = _values(test, label)
    test_labels = np.searchsorted(names, of_test)
    if not np.array_equal(names[np.minimum(test_labels, len(names) - 1)], of_test):
        raise ParameterError("dataset", "must have every class of its test images among the others", label)
    ids = np.unique(_values(train, source.ids), return_inverse=True)[1] if source.ids else None
    return RawImages(
        _pixels(train[image]),
        train_labels.astype(np.int64),
        _pixels(test[image]),
        test_labels.astype(np.int64),
        num_classes=len(names),
        train_ids=None if ids is None else ids.astype(np.int64),
    )


def _only(part: Any, kind: str, word: str) -> str:
    found = [name for name, feature in part.features.items() if type(feature).__name__ == kind]
    if len(found) != 1:
        raise ParameterError(
            "dataset", f"must name its column of {word}s (?{word}=...): {len(found)} could be it", found
        )
    return str(found[0])


def _values(part: Any, column: str) -> NDArray[Any]:
    values = np.asarray(part[column])
    if values.ndim != 1 or values.dtype == object:  # lists, or some are missing
        raise ParameterError(
            "dataset", f"must have one value for each image in column {column}", values.tolist()[:3]
        )
    return values


def _pixels(images: Any) -> NDArray[np.uint8]:
    """(N, C, H, W) of a column of images."""
    arrays = [_channels_last(image) for image in images]
    kinds = {f"{array.shape} {array.dtype}" for array in arrays}
    if len(kinds) != 1 or arrays[0].dtype != np.uint8:
        raise ParameterError("dataset", "must have images of one size, of 8 bits", sorted(kinds)[:3])
    return np.ascontiguousarray(np.stack(arrays).transpose(0, 3, 1, 2))


def _channels_last(image: Any) -> NDArray[Any]:
    # Read as they are, a palette's pixels are numbers of colors and those of 1 bit are truth values.
    mode = {"P": "RGB", "1": "L"}.get(getattr(image, "mode", ""))
    return np.atleast_3d(np.asarray(image.convert(mode) if mode else image))


def _import(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ParameterError(
            "partition or dataset",
            "of flwr-datasets must have that package",
            f"no module {error.name}",
            hint="pip install 'flower-coded[datasets]'",
        ) from error
