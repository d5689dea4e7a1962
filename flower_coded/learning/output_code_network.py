"""Network that predicts a codeword: feature extractor f, encoder E, and a projection head g for pretraining.

The encoder is one linear layer followed by ``tanh``, so that every bit of a predicted codeword lies in (-1,
1): a code book made of means of such words is bounded, whoever contributes to it. The projection head (one
hidden layer, as in SimCLR) is used while pretraining only and travels with the rest, so that pretraining can
go on later. BYOL wants a second head of that form behind it, the predictor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flower_coded.errors import ParameterError
from flower_coded.learning.models import build_model
from flower_coded.learning.output_code_head import without_head

__all__ = ["OutputCodeNetwork", "build_output_code_network"]


class OutputCodeNetwork(nn.Module):
    """Images to codewords, and codewords to projections.

    Parameters
    ----------
    features : torch.nn.Module
        f: maps images of shape (B, C, H, W) to features of shape (B, num_features); any module will do.
    num_features : int
        Width of the features.
    num_bits : int
        Length of a codeword.
    num_projections : int
        Width of the projections that the contrastive loss compares.
    has_predictor : bool
        Whether there is a predictor, which BYOL needs; see :mod:`flower_coded.learning.byol`.

    Raises
    ------
    ParameterError
        If a width is below 1.

    Examples
    --------
    >>> network = OutputCodeNetwork(nn.Flatten(), 64, num_bits=16)
    >>> words = network(torch.rand(5, 1, 8, 8))
    >>> words.shape, network.project(words).shape
    (torch.Size([5, 16]), torch.Size([5, 64]))
    """

    def __init__(
        self,
        features: nn.Module,
        num_features: int,
        num_bits: int,
        *,
        num_projections: int = 64,
        has_predictor: bool = False,
    ) -> None:
        for name, value in (
            ("num_features", num_features),
            ("num_bits", num_bits),
            ("num_projections", num_projections),
        ):
            if value < 1:
                raise ParameterError(name, "must be at least 1", value)
        super().__init__()
        self.num_bits = num_bits
        self.features = features
        self.encoder = nn.Linear(num_features, num_bits)
        self.projection = _head(num_bits, num_projections)
        self.predictor = _head(num_projections, num_projections) if has_predictor else None

    def forward(self, images: Tensor) -> Tensor:
        """Predicted codewords of shape (B, num_bits), every entry in (-1, 1)."""
        return torch.tanh(self.unsquashed(images))

    def unsquashed(self, images: Tensor) -> Tensor:
        """Compute the encoder's outputs of shape (B, num_bits), before ``tanh`` flattens them."""
        outputs: Tensor = self.encoder(self.features(images))
        return outputs

    def project(self, words: Tensor) -> Tensor:
        """Projections of shape (B, num_projections), for the contrastive loss alone."""
        projections: Tensor = self.projection(words)
        return projections

    def predict(self, projections: Tensor) -> Tensor:
        """Predictions of shape (B, num_projections) of another view's projections, for BYOL alone."""
        if self.predictor is None:
            raise ParameterError("network", "must have a predictor for BYOL", None, hint="has_predictor=True")
        predictions: Tensor = self.predictor(projections)
        return predictions


def build_output_code_network(
    name: str,
    image_shape: tuple[int, int, int],
    num_bits: int,
    *,
    seed: int,
    num_projections: int = 64,
    has_predictor: bool = False,
) -> OutputCodeNetwork:
    """Network on one of the package's own models.

    Parameters
    ----------
    name : str
        ``"small-cnn"``, ``"cnn4"`` or ``"resnet18"``; see :func:`flower_coded.learning.models.build_model`.
    image_shape : (int, int, int)
        Channels, height, width.
    num_bits, num_projections, has_predictor
        See :class:`OutputCodeNetwork`.
    seed : int
        Seed of the initial weights.

    Returns
    -------
    OutputCodeNetwork
    """
    features, num_features = without_head(build_model(name, image_shape, 2, seed=seed))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return OutputCodeNetwork(
            features, num_features, num_bits, num_projections=num_projections, has_predictor=has_predictor
        )


def _head(num_inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_inputs, width), nn.ReLU(), nn.Linear(width, width))
