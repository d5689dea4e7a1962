"""flwr-datasets' partitioners and data sets through the bridge; what needs the package skips without it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flower_coded.errors import DataNotFoundError, ParameterError
from flower_coded.learning import flwr_datasets_bridge as bridge
from flower_coded.learning import load_images, user_indices
from flower_coded.learning.flwr_datasets_bridge import divide_with, read_source

pytestmark = pytest.mark.filterwarnings("ignore:Specifying null_placement:FutureWarning")  # datasets' own

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 120))
CALLS = {
    "IidPartitioner()": 120,
    "DirichletPartitioner(alpha=0.5)": None,
    "PathologicalPartitioner(num_classes_per_partition=2, class_assignment_mode='deterministic')": None,
    "ShardPartitioner(num_shards_per_partition=2)": 120,
    "SizePartitioner(partition_sizes=[120, 120, 120, 120, 120, 120, 120, 120, 120, 120])": 120,
    "LinearPartitioner()": None,
}


@pytest.fixture
def partitioners() -> Any:
    return pytest.importorskip("flwr_datasets.partitioner", reason="pip install 'flower-coded[datasets]'")


@pytest.mark.parametrize("call", CALLS)
def test_a_partitioner_divides_our_samples(partitioners: Any, call: str) -> None:
    division, again, other = (user_indices(LABELS, 10, seed=seed, partition=call) for seed in (1, 1, 2))
    together = np.concatenate(division)
    assert len(np.unique(together)) == len(together) == 1200 - division.num_left
    assert CALLS[call] is None or (division.sizes == CALLS[call]).all()
    assert all(np.array_equal(a, b) for a, b in zip(division, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(division, other, strict=True))


def test_our_rules_have_what_defines_theirs(partitioners: Any) -> None:
    theirs = partitioners.PathologicalPartitioner(10, "label", num_classes_per_partition=3)
    division = divide_with(theirs, LABELS, 10, np.random.default_rng(0))
    ours = user_indices(LABELS, 10, partition="pathological", pieces_per_user=3)
    for each in (division, ours):
        assert ((each.class_counts(LABELS) > 0).sum(axis=1) == 3).all()
    shards = partitioners.ShardPartitioner(10, "label", num_shards_per_partition=2)
    division = divide_with(shards, LABELS, 10, np.random.default_rng(0))
    ours = user_indices(LABELS, 10, partition="shards", pieces_per_user=2)
    for each in (division, ours):
        assert (each.sizes == 120).all()
        assert ((each.class_counts(LABELS) > 0).sum(axis=1) <= 4).all()
    dirichlet = partitioners.DirichletPartitioner(10, "label", alpha=1e4)
    division = divide_with(dirichlet, LABELS, 10, np.random.default_rng(0))
    ours = user_indices(LABELS, 10, 1e4, partition="dirichlet")
    for each in (division, ours):
        assert np.abs(each.class_counts(LABELS) - 12).max() <= 3


def test_a_partitioner_divides_so_many_samples_per_user(partitioners: Any) -> None:
    division = user_indices(LABELS, 4, samples_per_user=30, partition="IidPartitioner()")
    assert division.sizes.tolist() == [30] * 4
    assert division.num_left == 1200 - 120


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("DirichletPartitoner(alpha=1)", "partition must be a call of ContinuousPartitioner, Dirichlet"),
        (
            "DirichletPartitioner(alpha=1, seed=3)",
            "must give DirichletPartitioner nothing but alpha, min_part",
        ),
        ("DirichletPartitioner(1)", "must be a call with named plain values"),
        ("DirichletPartitioner(alpha=open('x'))", "must be a call with named plain values"),
        ("os.system(x=1)", "must be a call with named plain values"),
        ("DirichletPartitioner(alpha=-1.0)", "must be one that divides 1200 samples"),
        ("SizePartitioner(partition_sizes=[600, 600])", "must make 4 partitions, one for each user; rec"),
        ("VerticalEvenPartitioner()", "partition must be a call of"),
        ("NaturalIdPartitioner()", "the ids of a data set are divided by partition=natural"),
        ("GroupedNaturalIdPartitioner(group_size=0)", "divided by partition=natural"),
        ("IdToSizeFncPartitioner(partition_id_to_size_fn=3)", "partition must be a call of"),
        ("DirichletPartitioner(alpha=1.0, alpha=2.0)", "must be a call with named plain values"),
    ],
)
def test_a_call_that_is_none_is_refused(partitioners: Any, call: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        user_indices(LABELS, 4, partition=call)


def test_more_users_than_samples_are_refused_by_their_number(partitioners: Any) -> None:
    with pytest.raises(ParameterError, match="num_users must lie between 1 and 1200 samples"):
        user_indices(LABELS, 1201, partition="IidPartitioner()")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flwr_datasets.partitioner", None)
    with pytest.raises(ParameterError, match=r"pip install 'flower-coded\[datasets\]'"):
        user_indices(LABELS, 4, partition="IidPartitioner()")
    monkeypatch.setitem(sys.modules, "flwr_datasets", None)
    with pytest.raises(ParameterError, match=r"pip install 'flower-coded\[datasets\]'"):
        load_images("flwr-datasets:somebody/images")


@pytest.mark.parametrize("name", ["flwr-datasets:", "flwr-datasets:x?labels=y", "flwr-datasets:x?nonsense"])
def test_a_source_names_its_columns_by_known_keys(name: str) -> None:
    with pytest.raises(ParameterError, match="dataset must be flwr-datasets:NAME, with"):
        read_source(name)


@pytest.fixture
def stored(partitioners: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set as a directory of files: 8 x 8 images, writers, no part for tests."""
    import datasets

    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    draw = np.random.default_rng(0)
    columns = {
        "image": list(draw.integers(256, size=(60, 8, 8)).astype(np.uint8)),
        "character": [["b", "a", "c"][row % 3] for row in range(60)],
        "writer": [f"w{row // 6}" for row in range(60)],
    }
    features = datasets.Features(
        {"image": datasets.Image(), "character": datasets.Value("string"), "writer": datasets.Value("string")}
    )
    part = datasets.Dataset.from_dict(columns, features=features)
    (tmp_path / "set" / "data").mkdir(parents=True)
    part.to_parquet(tmp_path / "set" / "data" / "train-00000.parquet")
    return tmp_path / "set"


def test_a_data_set_of_theirs_is_divided_by_its_writers(stored: Path) -> None:
    data = load_images(f"flwr-datasets:{stored}?label=character&ids=writer")
    assert data.train_images.shape == (54, 1, 8, 8)
    assert data.test_images.shape == (6, 1, 8, 8)
    assert data.num_classes == 3
    division = user_indices(data.train_labels, 5, partition="natural", ids=data.train_ids)
    writers = [set(data.train_ids[part].tolist()) for part in division]
    assert [len(each) for each in writers] == [2] * 5
    assert len(set.union(*writers)) == 10


def test_a_data_set_whose_columns_are_not_plain_asks_for_them(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ParameterError, match=r"must name its column of labels \(\?label=...\): 0 could be it"
    ):
        load_images(f"flwr-datasets:{stored}")
    with pytest.raises(ParameterError, match="dataset must have a column letter"):
        load_images(f"flwr-datasets:{stored}?label=letter")
    with pytest.raises(DataNotFoundError):
        load_images(f"flwr-datasets:{tmp_path / 'nothing'}?label=character")


@pytest.mark.parametrize(("mode", "channels"), [("P", 3), ("1", 1)])
def test_a_palettes_pixels_are_colors(mode: str, channels: int) -> None:
    from PIL import Image

    gray = np.where(np.arange(16).reshape(4, 4) % 2, 255, 0).astype(np.uint8)
    image = Image.fromarray(gray).convert("RGB").convert(mode)
    pixels = bridge._pixels([image, image])
    assert pixels.shape == (2, channels, 4, 4)
    assert (pixels == gray).all()


@pytest.mark.parametrize("values", [["a", None], [1, None], [[1, 2], [3, 4]]])
def test_a_column_with_other_than_one_value_per_image_is_refused(values: list[Any]) -> None:
    with pytest.raises(ParameterError, match="must have one value for each image in column writer"):
        bridge._values({"writer": values}, "writer")
