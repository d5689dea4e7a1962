"""The pretrained network with adapters, and what is said of them over the network."""

import functools

import torch
from torch import nn

from fine_tuning.data import pretraining_digits

try:
    import peft as lora
except ImportError:  # then a few lines of this project's own do
    from fine_tuning import lora

get_peft_model_state_dict = lora.get_peft_model_state_dict
set_peft_model_state_dict = lora.set_peft_model_state_dict
WIDTH = 32


class Transformer(nn.Module):
    """One block of attention over the rows of an image of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(8, WIDTH))
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.layers = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.classifier = nn.Linear(8 * WIDTH, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give logits, shape (N, 10)."""
        rows = self.embed(images) + self.position
        scores = self.query(rows) @ self.key(rows).transpose(1, 2) / WIDTH**0.5
        rows = rows + scores.softmax(dim=2) @ self.value(rows)
        return self.classifier((rows + self.layers(rows)).flatten(1))


@functools.cache
def pretrained() -> dict[str, torch.Tensor]:
    """Weights of a network that tells 0 to 4; what a real project would download."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Transformer()
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        images, labels = pretraining_digits()
        for _ in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    return network.state_dict()


def get_model() -> nn.Module:
    """Make the pretrained network, frozen, with adapters that every node begins alike."""
    network = Transformer()
    network.load_state_dict(pretrained())
    config = lora.LoraConfig(
        r=4, lora_alpha=8, target_modules=["query", "value"], modules_to_save=["classifier"]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return lora.get_peft_model(network, config)
