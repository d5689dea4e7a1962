"""What is learned from what: model, data, training and test, all plain PyTorch."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

NUM_TEST = 297


class Net(nn.Module):
    """A small convolutional network for images of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Linear(16 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give logits, shape (N, 10)."""
        return self.classifier(self.features(images).flatten(1))


def load_tensors() -> TensorDataset:
    """All 1,797 digits in an order that every node draws alike; the last 297 are the server's."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    values = torch.tensor(images[order] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return TensorDataset(values, torch.tensor(labels[order]))


def load_partition(partition_id: int, num_partitions: int) -> DataLoader:
    """One client's images."""
    images, labels = (tensor[:-NUM_TEST] for tensor in load_tensors().tensors)
    mine = slice(partition_id, None, num_partitions)
    return DataLoader(TensorDataset(images[mine], labels[mine]), batch_size=16, shuffle=True)


def load_test() -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels that no client has."""
    images, labels = (tensor[-NUM_TEST:] for tensor in load_tensors().tensors)
    return images, labels


def train(net: Net, batches: DataLoader, epochs: int, learning_rate: float) -> float:
    """Train in place; the mean loss of the last epoch."""
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate, momentum=0.9)
    loss_of = nn.CrossEntropyLoss()
    net.train()
    total = 0.0
    for _ in range(epochs):
        total = 0.0
        for images, labels in batches:
            optimizer.zero_grad()
            loss = loss_of(net(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() / len(batches)
    return total


def measure(net: Net, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Loss and accuracy."""
    net.eval()
    with torch.no_grad():
        logits = net(images)
    loss = nn.functional.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(1) == labels).float().mean().item()
