"""Data sets, partitions, models and training loops in torch."""

from flower_coded.learning.adapters import LowRankLinear, add_adapters, frozen_state, product_gap
from flower_coded.learning.division import Division
from flower_coded.learning.ensemble import CodedEnsemble
from flower_coded.learning.images import DATASET_NAMES, ImageData, load_images
from flower_coded.learning.model_versions import ModelVersions, train_versions
from flower_coded.learning.models import (
    MODEL_NAMES,
    ModelState,
    build_model,
    federated_names,
    get_state,
    initial_states,
    set_state,
    stack_states,
    unstack_states,
)
from flower_coded.learning.partition import PARTITION_NAMES, check_partition, user_indices
from flower_coded.learning.partition_rules import (
    partition_by_class,
    partition_dirichlet,
    partition_iid,
    partition_natural,
    partition_pathological,
    partition_shards,
)
from flower_coded.learning.stacked import predict_stacked, predict_stacked_logits, train_stacked
from flower_coded.learning.training import (
    OPTIMIZER_NAMES,
    TrainReport,
    TrainSettings,
    choose_device,
    predict_labels,
    predict_logits,
    train,
)

__all__ = [
    "DATASET_NAMES",
    "MODEL_NAMES",
    "OPTIMIZER_NAMES",
    "PARTITION_NAMES",
    "CodedEnsemble",
    "Division",
    "ImageData",
    "LowRankLinear",
    "ModelState",
    "ModelVersions",
    "TrainReport",
    "TrainSettings",
    "add_adapters",
    "build_model",
    "check_partition",
    "choose_device",
    "federated_names",
    "frozen_state",
    "get_state",
    "initial_states",
    "load_images",
    "partition_by_class",
    "partition_dirichlet",
    "partition_iid",
    "partition_natural",
    "partition_pathological",
    "partition_shards",
    "predict_labels",
    "predict_logits",
    "predict_stacked",
    "predict_stacked_logits",
    "product_gap",
    "set_state",
    "stack_states",
    "train",
    "train_stacked",
    "train_versions",
    "unstack_states",
    "user_indices",
]
