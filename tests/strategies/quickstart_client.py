"""A ClientApp as a newcomer to Flower writes it: a torch model, train and evaluate handlers, nothing of ours.

The shape of Flower's quickstart for PyTorch in our own words, on scikit-learn's digits instead of a
download. It must never import flower_coded.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

app = ClientApp()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(64, 24)
        self.output = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(functional.relu(self.hidden(x.flatten(1))))


@cache
def load_all() -> tuple[torch.Tensor, torch.Tensor]:
    digits = load_digits()
    images = torch.tensor(digits.images[:, None] / 16.0, dtype=torch.float32)
    return images, torch.tensor(digits.target)


def load_data(partition_id: int, num_partitions: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_all()
    mine = np.arange(partition_id, 1200, num_partitions)
    return images[mine], labels[mine]


@app.train()
def train(msg: Message, context: Context) -> Message:
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    images, labels = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    optimizer = torch.optim.SGD(model.parameters(), lr=context.run_config.get("lr", 0.2), momentum=0.9)
    for batch in torch.arange(len(labels)).split(32):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
    metrics = MetricRecord({"train_loss": loss.item(), "num-examples": len(labels)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    model = Net()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    images, labels = load_data(context.node_config["partition-id"], context.node_config["num-partitions"])
    with torch.no_grad():
        logits = model(images)
    metrics = MetricRecord(
        {
            "eval_loss": functional.cross_entropy(logits, labels).item(),
            "eval_acc": (logits.argmax(1) == labels).float().mean().item(),
            "num-examples": len(labels),
        }
    )
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
