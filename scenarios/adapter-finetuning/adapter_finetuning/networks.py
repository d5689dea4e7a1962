"""Small transformers: one over words, one over patches of an image, with the same blocks.

Both take float32 arrays of shape (B, C, H, W), in which the package's data travel: an image as it is, a
sentence as one row of word numbers. The blocks are those of the papers (Vaswani et al. 2017; Dosovitskiy et
al. 2021), normalized before each part; what is left out is a class token (the mean over positions is
classified) and dropout (the networks are too small to need it).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from flower_coded.errors import ParameterError

__all__ = ["NETWORK_NAMES", "Patches", "SmallTransformer", "Words", "build_network"]

NETWORK_NAMES = ("small", "vit_b_16", "hugging-face")


class Words(nn.Module):
    """Embed rows of word numbers, shape (B, 1, 1, T), with their positions."""

    def __init__(self, num_words: int, length: int, width: int) -> None:
        super().__init__()
        self.word = nn.Embedding(num_words, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))

    def forward(self, inputs: Tensor) -> Tensor:
        """Give (B, T, width)."""
        embedded: Tensor = self.word(inputs.flatten(1).long()) + self.position
        return embedded


class Patches(nn.Module):
    """Embed squares of an image, shape (B, C, H, W), with their positions."""

    def __init__(self, image_shape: tuple[int, int, int], side: int, width: int) -> None:
        super().__init__()
        channels, height, columns = image_shape
        if height % side or columns % side:
            raise ParameterError("side", f"must divide {height} and {columns}", side)
        self.patch = nn.Conv2d(channels, width, side, stride=side)
        self.position = nn.Parameter(0.02 * torch.randn(height // side * (columns // side), width))

    def forward(self, inputs: Tensor) -> Tensor:
        """Give (B, T, width)."""
        patches: Tensor = self.patch(2.0 * inputs - 1.0).flatten(2).transpose(1, 2) + self.position
        return patches


class Block(nn.Module):
    """Attention and two layers, each added to what came in."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.layers_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Give (B, T, width)."""
        normed = self.attention_norm(inputs)
        query, key, value = (self._heads(layer(normed)) for layer in (self.query, self.key, self.value))
        # Written out: the fused form has no rule for many models at once, and is no faster on short rows.
        scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        attended = (scores.softmax(dim=3) @ value).transpose(1, 2).flatten(2)
        inputs = inputs + self.out(attended)
        added: Tensor = inputs + self.narrow(functional.gelu(self.widen(self.layers_norm(inputs))))
        return added

    def _heads(self, values: Tensor) -> Tensor:
        batch, length, width = values.shape
        return values.view(batch, length, self.num_heads, width // self.num_heads).transpose(1, 2)


class SmallTransformer(nn.Module):
    """Embedding, blocks, mean over positions, head."""

    def __init__(
        self, embedding: nn.Module, width: int, depth: int, num_heads: int, num_classes: int
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.Sequential(*(Block(width, num_heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Give logits (B, c)."""
        logits: Tensor = self.head(self.norm(self.blocks(self.embedding(inputs))).mean(dim=1))
        return logits


class ResizedViT(nn.Module):
    """torchvision's ViT-B/16 over images of any size, enlarged to its 224 pixels."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        from torchvision.models import vit_b_16

        self.network = vit_b_16(weights=None)
        self.network.heads = nn.Sequential()
        self.head = nn.Linear(self.network.hidden_dim, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Give logits (B, c)."""
        colored = inputs.expand(-1, 3, -1, -1) if inputs.shape[1] == 1 else inputs
        enlarged = functional.interpolate(colored, size=(224, 224), mode="bilinear", antialias=True)
        logits: Tensor = self.head(self.network(2.0 * enlarged - 1.0))
        return logits


def build_network(
    embedding: nn.Module, num_classes: int, *, width: int, depth: int, num_heads: int = 4
) -> SmallTransformer:
    """Make a small transformer from the generator's present state."""
    if width % num_heads:
        raise ParameterError("width", f"must be a multiple of {num_heads} heads", width)
    return SmallTransformer(embedding, width, depth, num_heads, num_classes)
