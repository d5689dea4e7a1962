"""Training and test, plain PyTorch; only adapters have gradients."""

import torch
from torch import nn
from torch.utils.data import DataLoader


def train(model: nn.Module, batches: DataLoader, epochs: int, learning_rate: float) -> float:
    """Train what is not frozen, in place; the mean loss of the last epoch."""
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=learning_rate)
    model.train()
    total = 0.0
    for _ in range(epochs):
        total = 0.0
        for images, labels in batches:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() / len(batches)
    return total


def measure(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images that the model tells."""
    model.eval()
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()
