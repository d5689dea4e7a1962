"""Digits of scikit-learn: some to pretrain on, some for each client, some to test."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

NUM_PRETRAINING, NUM_TEST = 500, 297


def load_tensors() -> tuple[torch.Tensor, torch.Tensor]:
    """All 1,797 digits, (N, 8, 8), in an order that every node draws alike."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    values = torch.tensor(images[order] / 16, dtype=torch.float32).reshape(-1, 8, 8)
    return values, torch.tensor(labels[order])


def pretraining_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Select the digits 0 to 4 among the first, which no client has."""
    images, labels = (tensor[:NUM_PRETRAINING] for tensor in load_tensors())
    return images[labels < 5], labels[labels < 5]


def load_partition(partition_id: int, num_partitions: int) -> DataLoader:
    """One client's images."""
    images, labels = (tensor[NUM_PRETRAINING:-NUM_TEST] for tensor in load_tensors())
    mine = slice(partition_id, None, num_partitions)
    return DataLoader(TensorDataset(images[mine], labels[mine]), batch_size=16, shuffle=True)


def load_test() -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels that no client has."""
    images, labels = (tensor[-NUM_TEST:] for tensor in load_tensors())
    return images, labels
